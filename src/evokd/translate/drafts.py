"""A student as its teacher's draft: who can be one, how transformers' assisted generation is driven
for a line, and what is counted. `assisted.py` says what it is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from evokd.errors import InputError
from evokd.models.loading import Translator
from evokd.models.vocabulary import shared_vocabulary
from evokd.translate.continuous_batching import Request
from evokd.translate.decoding import end_of, plain_settings
from evokd.translate.stopping import Ends

DRAFT_TOKENS = 5
"""A fixed number makes shares comparable: transformers' own default, up to 20 until the draft is
unsure, depends on how sure it is."""


@dataclass(frozen=True)
class Count:
    """Of one answer; `Drafting` says what is counted."""

    tokens: int
    teacher_passes: int
    drafted: int = 0
    accepted: int = 0
    draft: bool = False


@dataclass(frozen=True)
class Drafting:
    """What became of a draft.

    Attributes:
        draft_tokens: what the draft is asked for before each pass of the teacher.
        lines: answered ones; blank lines never reach a model.
        lines_without_draft: those among them that are too long for the draft's positions.
        tokens: of all answers, their ends included.
        teacher_passes: of the teacher, which alone needs one for each token.
        drafted: tokens asked for that could have been right: none behind the end of the teacher's
            answer, nor the one at its cap. A draft that ends too early counts as if it had gone on.
        accepted: those that were right, in each pass up to the first that was wrong.
        speedup: seconds of the teacher alone ÷ seconds with the draft, both one line at a time;
            None where it wasn't measured.
    """

    draft_tokens: int
    lines: int
    lines_without_draft: int
    tokens: int
    teacher_passes: int
    drafted: int
    accepted: int
    speedup: float | None = None

    @classmethod
    def of(
        cls, counts: Sequence[Count], draft_tokens: int, speedup: float | None = None
    ) -> Drafting:
        return cls(
            draft_tokens=draft_tokens,
            lines=len(counts),
            lines_without_draft=sum(not count.draft for count in counts),
            tokens=sum(count.tokens for count in counts),
            teacher_passes=sum(count.teacher_passes for count in counts),
            drafted=sum(count.drafted for count in counts),
            accepted=sum(count.accepted for count in counts),
            speedup=speedup,
        )

    @property
    def acceptance(self) -> float | None:
        """accepted ÷ drafted; None where nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else None

    @property
    def tokens_per_pass(self) -> float | None:
        """Tokens that a pass of the teacher yields: 1 alone, at most draft_tokens + 1."""
        return self.tokens / self.teacher_passes if self.teacher_passes else None

    def facts(self) -> dict[str, Any]:
        """All of it, for a JSON file."""
        rates = {"acceptance": self.acceptance, "tokens_per_pass": self.tokens_per_pass}
        return rates | asdict(self)

    def __str__(self) -> str:
        if self.acceptance is None or self.tokens_per_pass is None:
            return "nothing was drafted"
        said = (
            f"{self.tokens_per_pass:.2f} tokens per pass of the teacher, "
            f"{self.acceptance:.0%} of {self.drafted} drafted tokens accepted"
        )
        if self.lines_without_draft:
            said += f", {self.lines_without_draft} lines too long for the draft's positions"
        if self.speedup is not None:
            said += f", {self.speedup:.2f} × the speed of the teacher alone"
        return said


def count_of(agrees: Sequence[bool], cap: int, draft_tokens: int) -> Count:
    """What drafting one answer comes to.

    Args:
        agrees: for each token of the answer, whether the draft would say it there.
        cap: most tokens of the answer; the last one is always left to the teacher.
    """
    passes = drafted = accepted = at = 0
    while at < len(agrees):
        asked = _asked(at, len(agrees), cap, draft_tokens)
        right = next((i for i in range(asked) if not agrees[at + i]), asked)
        passes, drafted, accepted = passes + 1, drafted + asked, accepted + right
        at += right + 1
    return Count(len(agrees), passes, drafted, accepted, draft=True)


def check_draft(teacher: Translator, student: Translator, beam: int = 1) -> None:
    """See that a student can be a teacher's draft.

    Raises:
        InputError: a beam, different tokens or prompts, a model whose memory can't be taken back.
    """
    assert teacher.model is not student.model, "a draft is another model than its teacher"
    if beam != 1:
        raise InputError(
            f"a draft together with beam {beam}; drafts are of greedy translations only: "
            "type --beam 1, or leave --draft out"
        )
    for who, model in (("teacher", teacher.model), ("draft", student.model)):
        if not _can_go_back(model):
            raise InputError(
                f"the {who} is a {type(model).__name__}, whose memory can't be taken back when a "
                "drafted token is refused; accepted: models that attend to keys and values of "
                "tokens, such as Llama, Qwen2, Gemma or Mistral. Leave --draft out"
            )
    prompts = [(each.prompt.template, each.prompt.chat) for each in (teacher, student)]
    if prompts[0] != prompts[1]:
        raise InputError(
            f"the teacher's prompt is {teacher.prompt.style}, the draft's {student.prompt.style}; "
            "a draft reads what its teacher reads: take one that was trained with the same prompt, "
            "or type --prompt NAME for both"
        )
    widths = width_of(teacher.model), width_of(student.model)
    try:
        shared_vocabulary(teacher.tokenizer, widths[0], student.tokenizer, widths[1])
    except InputError as problem:
        found, *_ = str(problem).split("\n")
        raise InputError(
            f"{found}\nA draft must speak of the same tokens as its teacher: take a student that "
            "was distilled from it, or leave --draft out"
        ) from None


def answer_with_draft(
    model: Any, draft: Any, request: Request, ends: Ends, pad_id: int, draft_tokens: int
) -> tuple[list[int], Count]:
    """An answer's tokens, which may go on behind its end; both models within `as_draft`."""
    prompt = torch.tensor([list(request.prompt_ids)], device=model.device)
    passes = Passes(ends, prompt.shape[1])
    hook = model.register_forward_pre_hook(passes.see, with_kwargs=True)
    try:
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            assistant_model=draft,
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=request.cap,
                eos_token_id=list(ends.ids),
                pad_token_id=pad_id,
            ),
            stopping_criteria=StoppingCriteriaList([passes]),
        )
    finally:
        hook.remove()
    ids = output[0, prompt.shape[1] :].tolist()
    length = end_of(ids, request.cap, ends)[1]
    return ids, passes.count(ids[:length], request.cap, draft_tokens)


@contextmanager
def as_draft(draft: Any, teacher: Any, draft_tokens: int) -> Iterator[None]:
    """Set a model up as another's draft: a fixed number of tokens, the other's ids only.

    Models of one family have one tokenizer and embeddings of different widths; for transformers
    different widths are different tokenizers. So the draft claims the teacher's width, offers no id
    that the teacher lacks, and reads those that it lacks itself as some other token.
    """
    config, own, width = draft.config.get_text_config(), width_of(draft), width_of(teacher)
    hooks = []
    if own > width:
        head = draft.get_output_embeddings()
        hooks = [head.register_forward_hook(lambda _layer, _ids, logits: logits[..., :width])]
    if own < width:
        embeddings = draft.get_input_embeddings()
        hooks = [
            embeddings.register_forward_pre_hook(lambda _layer, ids: (ids[0].clamp(max=own - 1),))
        ]
    with plain_settings(draft):
        draft.generation_config.num_assistant_tokens = draft_tokens
        draft.generation_config.num_assistant_tokens_schedule = "constant"
        draft.generation_config.assistant_confidence_threshold = 0.0
        config.vocab_size = width
        try:
            yield
        finally:
            config.vocab_size = own
            for hook in hooks:
                hook.remove()


def has_room(draft: Any, request: Request) -> bool:
    """Whether a draft has positions for a prompt and its answer."""
    limit = getattr(draft.config.get_text_config(), "max_position_embeddings", None)
    return limit is None or request.size <= limit


def width_of(model: Any) -> int:
    """Entries of a model's vocabulary."""
    return int(model.config.get_text_config().vocab_size)


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
        text = self.ends.text[answer].long()
        had_text = text.cumsum(dim=0) > text
        return self.ends.newline_at(answer, had_text).any()[None]

    def count(self, answer: Sequence[int], cap: int, draft_tokens: int) -> Count:
        drafted = accepted = at = 0
        for offer, length in zip(self.offers, self.lengths, strict=True):
            pairs = list(zip(offer.tolist(), answer[at:], strict=False))
            drafted += _asked(at, len(answer), cap, draft_tokens)
            accepted += next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
            at = length
        return Count(len(answer), len(self.lengths), drafted, accepted, draft=True)


def _asked(at: int, length: int, cap: int, draft_tokens: int) -> int:
    """Tokens drafted behind the first `at` of an answer that could be right."""
    return min(draft_tokens, cap - at - 1, length - at)


def _can_go_back(model: Any) -> bool:
    """Whether a model's memory can be put back to what it was some tokens ago."""
    # Not every model with recurrent layers says that it is stateful, but the layers do.
    return not model._is_stateful and DynamicCache(config=model.config).is_croppable
