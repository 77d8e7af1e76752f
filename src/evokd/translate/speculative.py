"""A teacher that translates with its student as a draft: the same lines in fewer passes.

The lines are those that the teacher gives alone. This is the greedy case of speculative sampling
(Chen et al. 2023, arXiv 2302.01318): a token is accepted while both argmaxes agree. `acceptance.py`
says what is counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from evokd.models.batching import Groups, Progress, Request, max_positions
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.translate.acceptance import DRAFT_TOKENS, Drafting, check_draft, useful_tokens, width_of
from evokd.translate.decoding import DEFAULTS, Translations, translate
from evokd.translate.generation import plain_settings, search
from evokd.translate.stopping import Ends


def translate_with_draft(
    teacher: Translator,
    student: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings = DEFAULTS,
    progress: Progress | None = None,
    draft_tokens: int = DRAFT_TOKENS,
    timed_lines: int = 0,
) -> tuple[Translations, Drafting]:
    """The teacher's greedy translations, drafted by the student, one line at a time.

    In float32 the lines are those of `translate(teacher, …)`; in half precision a pass over several
    tokens shifts roundings, as a batch does.

    Args:
        student: on the teacher's device.
        settings: batch sizes are left aside: transformers' assisted generation takes single lines.
        timed_lines: lines that the teacher alone translates as well, to tell the speed-up. They are
            spread over all lengths; the time is not in the translations' seconds.

    Raises:
        InputError: different tokens or prompts, a model whose memory can't be taken back; and what
            `translate` raises.
    """
    settings = settings.model_copy(update={"batch_size": 1})
    assert settings.beam == 1, "drafts are of greedy translations only"
    check_draft(teacher, student)
    parts: list[Drafting] = []
    seconds: list[tuple[float, float]] = []  # of the teacher alone, with the draft

    def generate(model: Any, requests: Sequence[Request], ends: Ends) -> Groups:
        timed = _spread(len(requests), timed_lines)
        for place, request in enumerate(requests):
            start = time.perf_counter()
            if request.size <= max_positions(student.model):
                ids, drafting = _answer_with_draft(
                    model, student.model, request, ends, draft_tokens
                )
            else:
                ids = alone(request, ends)
                tokens = ends.end_of(ids, request.cap)[1]
                drafting = Drafting(draft_tokens, tokens, tokens, lines_without_draft=1)
            parts.append(drafting)
            done = time.perf_counter()
            if place in timed:
                alone(request, ends)
                seconds.append((time.perf_counter() - done, done - start))
            yield [(place, ids)]

    def alone(request: Request, ends: Ends) -> list[int]:
        ((answer,),) = search(teacher.model, [request], ends, settings)
        return answer[1]

    with _as_draft(student.model, teacher.model, draft_tokens):
        translations = translate(
            teacher, lines, source_code, target_code, settings, progress, generate
        )
    timing = sum(single for single, _ in seconds)
    translations = replace(translations, seconds=translations.seconds - timing)
    warm = seconds[1:] or seconds
    speedup = sum(s for s, _ in warm) / sum(s for _, s in warm) if warm else None
    return translations, Drafting.total(parts, draft_tokens, speedup)


class Passes(StoppingCriteria):
    """The teacher's passes over one answer: what the draft offered to each, how long the answer was
    after it. Ends the answer at a newline, which may be any of the tokens that a pass added."""

    def __init__(self, ends: Ends, prompt_width: int):
        self.ends = ends
        self.prompt_width = prompt_width
        self.offers: list[Tensor] = []
        self.lengths: list[int] = []

    def see(self, _model: Any, _args: Any, inputs: dict[str, Any]) -> None:
        """Before a pass, which reads what the cache doesn't have yet, and the draft behind it."""
        read = inputs["input_ids"][0]
        self.offers.append(read[1 if self.offers else self.prompt_width :])

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        answer = input_ids[0, self.prompt_width :]
        self.lengths.append(len(answer))
        return self.ends.newlines(answer).any()[None]

    def count(self, answer: Sequence[int], cap: int, draft_tokens: int) -> Drafting:
        drafted = accepted = done = 0
        for offer, length in zip(self.offers, self.lengths, strict=True):
            pairs = list(zip(offer.tolist(), answer[done:], strict=False))
            drafted += useful_tokens(done, len(answer), cap, draft_tokens)
            accepted += next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
            done = length
        return Drafting(draft_tokens, len(answer), len(self.lengths), drafted, accepted)


def _answer_with_draft(
    model: Any, draft: Any, request: Request, ends: Ends, draft_tokens: int
) -> tuple[list[int], Drafting]:
    """An answer's tokens, which may go on behind its end."""
    prompt = torch.tensor([list(request.prompt_ids)], device=model.device)
    passes = Passes(ends, prompt.shape[1])
    with model.register_forward_pre_hook(passes.see, with_kwargs=True):
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            assistant_model=draft,
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=request.cap,
                eos_token_id=list(ends.ids),
                pad_token_id=0,
            ),
            stopping_criteria=StoppingCriteriaList([passes]),
        )
    ids = output[0, prompt.shape[1] :].tolist()
    length = ends.end_of(ids, request.cap)[1]
    return ids, passes.count(ids[:length], request.cap, draft_tokens)


@contextmanager
def _as_draft(draft: Any, teacher: Any, draft_tokens: int) -> Iterator[None]:
    """Set a model up as another's draft: a fixed number of tokens, the other's ids only.

    Models of one family have one tokenizer and embeddings of different widths; for transformers
    different widths are different tokenizers. So the draft claims the teacher's width, offers no id
    that the teacher lacks, and reads those that it lacks itself as some other token.
    """
    config, own, width = draft.config.get_text_config(), width_of(draft), width_of(teacher)
    head, embeddings = draft.get_output_embeddings(), draft.get_input_embeddings()
    with (
        plain_settings(draft),
        head.register_forward_hook(lambda _layer, _ids, logits: logits[..., :width]),
        embeddings.register_forward_pre_hook(lambda _layer, ids: (ids[0].clamp(max=own - 1),)),
    ):
        draft.generation_config.num_assistant_tokens = draft_tokens
        draft.generation_config.num_assistant_tokens_schedule = "constant"
        draft.generation_config.assistant_confidence_threshold = 0.0
        config.vocab_size = width
        try:
            yield
        finally:
            config.vocab_size = own


def _spread(count: int, timed: int) -> set[int]:
    """So many places spread over `count`, and the first one more, which warms up."""
    if not timed or not count:
        return set()
    return {0, *range(count - 1, 0, -max(1, -(-count // timed)))}
