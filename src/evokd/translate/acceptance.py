"""How good a draft of its teacher's translations a student is.

In speculative decoding the student proposes a few tokens, and one pass of the teacher judges all of
them: those that the teacher would have written itself are accepted, and the pass adds one of the
teacher's own. The acceptance rate is also a measure of distillation: it asks, along the teacher's
own translations, how often the student would go on as its teacher does. Here it is counted without
drafting; `speculative.py` drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from evokd.errors import InputError
from evokd.models.batching import Budget, Progress, max_positions
from evokd.models.lm_head import head_of
from evokd.models.loading import Translator
from evokd.models.vocabulary import shared_vocabulary
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import DEFAULTS, Answer, answer_lines
from evokd.translate.likelihood import NO_TOKENS, measure_tokens

DRAFT_TOKENS = 5
"""A fixed number makes rates comparable: transformers' own default, up to 20 until the draft is
unsure, depends on how sure it is."""
HEAD_ROWS = 512
"""Positions whose logits are held at once."""


@dataclass(frozen=True)
class Drafting:
    """What became of the drafts of one answer, or of several.

    Attributes:
        draft_tokens: what the draft is asked for before each pass of the teacher.
        tokens: of the answers, their ends included.
        teacher_passes: of the teacher, which alone needs one for each token.
        drafted: tokens asked for that could have been right: none behind the end of the teacher's
            answer, nor the one at its cap. A draft that ends too early counts as if it had gone on.
        accepted: those that were right, in each pass up to the first that was wrong.
        lines: answered ones; blank lines never reach a model.
        lines_without_draft: those among them that are too long for the draft's positions.
        speedup: seconds of the teacher alone ÷ seconds with the draft, both one line at a time;
            None where it wasn't measured.
    """

    draft_tokens: int
    tokens: int
    teacher_passes: int
    drafted: int = 0
    accepted: int = 0
    lines: int = 1
    lines_without_draft: int = 0
    speedup: float | None = None

    @classmethod
    def total(
        cls, parts: Sequence[Drafting], draft_tokens: int, speedup: float | None = None
    ) -> Drafting:
        """All of them together; the speed-up is measured of the whole."""
        sums: dict[str, Any] = {
            field.name: sum(getattr(part, field.name) for part in parts)
            for field in fields(cls)
            if field.name not in ("draft_tokens", "speedup")
        }
        return cls(draft_tokens, speedup=speedup, **sums)

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
        text = (
            f"{self.tokens_per_pass:.2f} tokens per pass of the teacher, "
            f"{self.acceptance:.0%} of {self.drafted} drafted tokens accepted"
        )
        if self.lines_without_draft:
            text += f", {self.lines_without_draft} lines too long for the draft's positions"
        if self.speedup is not None:
            text += f", {self.speedup:.2f} × the speed of the teacher alone"
        return text


def acceptance(
    teacher: Translator,
    student: Translator,
    answers: Sequence[Answer],
    settings: DecodingSettings = DEFAULTS,
    draft_tokens: int = DRAFT_TOKENS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How good a draft of its teacher's greedy translations a student is, without drafting.

    A draft that was accepted so far stands on the teacher's path. So whether the student's argmax
    is the teacher's token, at each place of the teacher's answers, tells what would be accepted of
    any draft: one forward of the student for a batch of whole answers. The counts are those of
    `translate_with_draft`.

    Args:
        answers: the teacher's, of any directions, see `greedy_answers`.

    Returns:
        `Drafting.facts()`, and "agreement": the share of all tokens, ends included, for which the
        student's argmax along the teacher's answer is the teacher's token. It depends on no number
        of drafted tokens; None where there is no token.

    Raises:
        InputError: different tokens or prompts, a model whose memory can't be taken back.
    """
    check_draft(teacher, student)
    head, width = head_of(student.model), width_of(student.model)
    size, limit = min(width, width_of(teacher.model)), max_positions(student.model)

    def agree(hidden: Tensor, labels: Tensor) -> Tensor:
        best = [head.logits(rows, size).argmax(dim=-1) for rows in hidden.split(HEAD_ROWS)]
        return torch.cat(best) == labels

    sequences = []
    for answer in answers:
        sequence = answer.sequence if answer.job.size <= limit else NO_TOKENS
        # What the teacher's vocabulary has beyond the student's reads as some other token.
        ids = [min(token, width - 1) for token in sequence["input_ids"]]
        sequences.append(sequence | {"input_ids": ids})
    budget = Budget(settings.batch_size, settings.batch_tokens)
    rows = measure_tokens(student, sequences, budget, agree, progress)
    agrees = [row.tolist() for row in rows]
    parts = [
        count_drafts(own, answer.job.cap, draft_tokens)
        if own
        else Drafting(draft_tokens, len(answer.ids), len(answer.ids), lines_without_draft=1)
        for answer, own in zip(answers, agrees, strict=True)
    ]
    tokens = sum(map(len, agrees))
    agreement = sum(map(sum, agrees)) / tokens if tokens else None
    return {"agreement": agreement, **Drafting.total(parts, draft_tokens).facts()}


def greedy_answers(
    translator: Translator,
    sources: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings = DEFAULTS,
) -> list[Answer]:
    """What a model answers to each line that isn't blank, in their order."""
    settings = settings.model_copy(update={"beam": 1})
    answers = answer_lines(translator, sources, source_code, target_code, settings)
    return sorted(answers, key=lambda answer: answer.job.line)


def count_drafts(agrees: Sequence[bool], cap: int, draft_tokens: int) -> Drafting:
    """What drafting one answer comes to.

    Args:
        agrees: for each token of the answer, whether the draft would write it there.
        cap: most tokens of the answer; the last one is always left to the teacher.
    """
    passes = drafted = accepted = done = 0
    while done < len(agrees):
        useful = useful_tokens(done, len(agrees), cap, draft_tokens)
        right = next((i for i in range(useful) if not agrees[done + i]), useful)
        passes, drafted, accepted = passes + 1, drafted + useful, accepted + right
        done += right + 1
    return Drafting(draft_tokens, len(agrees), passes, drafted, accepted)


def useful_tokens(done: int, length: int, cap: int, draft_tokens: int) -> int:
    """Tokens drafted behind the first `done` of an answer that could be right."""
    return min(draft_tokens, cap - done - 1, length - done)


def check_draft(teacher: Translator, student: Translator) -> None:
    """See that a student can be a teacher's draft.

    Raises:
        InputError: different tokens or prompts, a model whose memory can't be taken back.
    """
    assert teacher.model is not student.model, "a draft is another model than its teacher"
    for who, model in (("teacher", teacher.model), ("draft", student.model)):
        # Not every model with recurrent layers says that it is stateful, but the layers do.
        if model._is_stateful or not DynamicCache(config=model.config).is_croppable:
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
    except InputError as error:
        difference, *_ = str(error).split("\n")
        raise InputError(
            f"{difference}\nA draft must speak of the same tokens as its teacher: take a student "
            "that was distilled from it, or leave --draft out"
        ) from None


def width_of(model: Any) -> int:
    """Entries of a model's vocabulary."""
    return int(model.config.get_text_config().vocab_size)
