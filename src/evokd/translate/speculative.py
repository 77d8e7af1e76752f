"""A teacher that translates with its student as a draft, and how good a draft a student is.

The student proposes a few tokens, and one pass of the teacher judges all of them: those that the
teacher would have said itself are taken, and the pass adds one of the teacher's own. The lines are
those that the teacher gives alone. This is the greedy case of speculative sampling (Chen et al.
2023, arXiv 2302.01318): a token is accepted while both argmaxes agree.

The share of accepted tokens is also a measure of distillation: it asks, along the teacher's own
translations, how often the student would go on as its teacher does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from evokd.models.encoding import IGNORED, collate
from evokd.models.lm_head import final_hidden, head_of
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.translate.continuous_batching import Budget, Request
from evokd.translate.decoding import (
    Groups,
    Progress,
    Translations,
    by_model,
    end_of,
    plain_settings,
    translate,
)
from evokd.translate.drafts import (
    DRAFT_TOKENS,
    Count,
    Drafting,
    answer_with_draft,
    as_draft,
    check_draft,
    count_of,
    has_room,
    width_of,
)
from evokd.translate.stopping import Ends

HEAD_ROWS = 512
"""Positions whose logits are held at once."""


@dataclass(frozen=True)
class Said:
    """A prompt and what a model answers: `ids` with the token that ends it, at most `cap`."""

    prompt_ids: list[int]
    ids: list[int]
    cap: int


def translate_with_draft(
    teacher: Translator,
    student: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings | None = None,
    progress: Progress = False,
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
        InputError: a beam, different tokens or prompts, a model whose memory can't be taken back;
            and what `translate` raises.
    """
    settings = (settings or DecodingSettings()).model_copy(update={"batch_size": 1})
    check_draft(teacher, student, settings.beam)
    counts: list[Count] = []
    seconds: list[tuple[float, float]] = []

    def generate(requests: Sequence[Request], ends: Ends, pad_id: int) -> Groups:
        timed = _spread(len(requests), timed_lines)
        for place, request in enumerate(requests):
            start = time.perf_counter()
            if has_room(student.model, request):
                ids, count = answer_with_draft(
                    teacher.model, student.model, request, ends, pad_id, draft_tokens
                )
            else:
                ids, count = alone(request, ends, pad_id)
            counts.append(count)
            done = time.perf_counter()
            if place in timed:
                alone(request, ends, pad_id)
                seconds.append((time.perf_counter() - done, done - start))
            yield [(place, ids)]

    def alone(request: Request, ends: Ends, pad_id: int) -> tuple[list[int], Count]:
        groups = by_model(teacher.model, [request], ends, pad_id, settings)
        ((_, ids),) = (pair for group in groups for pair in group)
        tokens = end_of(ids, request.cap, ends)[1]
        return ids, Count(tokens, teacher_passes=tokens)

    with as_draft(student.model, teacher.model, draft_tokens):
        made = translate(
            teacher, lines, source_code, target_code, settings, progress, generate=generate
        )
    made = replace(made, seconds=made.seconds - sum(own for own, _ in seconds))
    warm = seconds[1:] or seconds
    speedup = sum(own for own, _ in warm) / sum(drafted for _, drafted in warm) if warm else None
    return made, Drafting.of(counts, draft_tokens, speedup)


def acceptance(
    teacher: Translator,
    student: Translator,
    sources: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings | None = None,
    draft_tokens: int = DRAFT_TOKENS,
    said: Sequence[Said] | None = None,
) -> dict[str, Any]:
    """How good a draft of its teacher's greedy translations a student is, without drafting.

    A draft that was accepted so far stands on the teacher's path. So whether the student's argmax
    is the teacher's token, at each place of the teacher's answers, tells what would be accepted of
    any draft: one forward of the student for a batch of whole answers. The counts are those of
    `translate_with_draft`.

    Args:
        said: the teacher's answers where they are known (`greedy_answers`), so that several
            students can be compared; `sources` are then left aside.

    Returns:
        `Drafting.facts()`, and "agreement": the share of all tokens, ends included, for which the
        student's argmax along the teacher's answer is the teacher's token. It depends on no number
        of drafted tokens; None where there is no token.

    Raises:
        InputError: as `translate_with_draft`.
    """
    settings = settings or DecodingSettings()
    check_draft(teacher, student)
    if said is None:
        said = greedy_answers(teacher, sources, source_code, target_code, settings)
    with_room = {
        i: each
        for i, each in enumerate(said)
        if has_room(student.model, Request(each.prompt_ids, each.cap))
    }
    size = min(width_of(teacher.model), width_of(student.model))
    found = agreements(student.model, list(with_room.values()), size, settings)
    agrees = dict(zip(with_room, found, strict=True))
    counts = [
        count_of(agrees[i], each.cap, draft_tokens)
        if i in agrees
        else Count(len(each.ids), teacher_passes=len(each.ids))
        for i, each in enumerate(said)
    ]
    tokens = sum(map(len, found))
    agreement = sum(map(sum, found)) / tokens if tokens else None
    return {"agreement": agreement, **Drafting.of(counts, draft_tokens).facts()}


def greedy_answers(
    translator: Translator,
    sources: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings | None = None,
    progress: Progress = False,
) -> list[Said]:
    """What a model says to each line that isn't blank, as tokens; the longest prompts first."""
    settings = (settings or DecodingSettings()).model_copy(update={"beam": 1})
    said: dict[int, Said] = {}

    def generate(requests: Sequence[Request], ends: Ends, pad_id: int) -> Groups:
        for group in by_model(translator.model, requests, ends, pad_id, settings):
            for place, ids in group:
                request = requests[place]
                tokens = end_of(ids, request.cap, ends)[1]
                said[place] = Said(list(request.prompt_ids), ids[:tokens], request.cap)
            yield group

    translate(translator, sources, source_code, target_code, settings, progress, generate)
    return [said[place] for place in sorted(said)]


@torch.no_grad()
def agreements(
    model: Any, said: Sequence[Said], size: int, settings: DecodingSettings
) -> list[list[bool]]:
    """For each token of each answer: whether a model's argmax, given all before it, is that token.

    Args:
        size: entries of the vocabulary that the model may choose from.
    """
    order = sorted(range(len(said)), key=lambda i: -len(said[i].prompt_ids) - len(said[i].ids))
    waiting = [Request([*said[i].prompt_ids, *said[i].ids], cap=0) for i in order]
    budget = Budget(settings.batch_size, settings.batch_tokens)
    found: list[list[bool]] = []
    with plain_settings(model):
        while len(found) < len(said):
            count = budget.more(waiting[len(found) : len(found) + budget.rows])
            batch = [said[i] for i in order[len(found) : len(found) + count]]
            found += _agreements_of_batch(model, batch, size)
    return [agrees for _, agrees in sorted(zip(order, found, strict=True))]


def _agreements_of_batch(model: Any, batch: Sequence[Said], size: int) -> list[list[bool]]:
    head = head_of(model)
    examples = [
        {
            "input_ids": [*each.prompt_ids, *each.ids],
            "labels": [IGNORED] * len(each.prompt_ids) + each.ids,
        }
        for each in batch
    ]
    inputs = {name: part.to(model.device) for name, part in collate(examples, pad_id=0).items()}
    targets = inputs.pop("labels")[:, 1:]
    # What the teacher's vocabulary has beyond this model's reads as some other token.
    inputs["input_ids"].clamp_(max=width_of(model) - 1)
    answered = targets != IGNORED
    hidden = final_hidden(model, model, inputs)[:, :-1][answered]
    best = [head.logits(rows, size).argmax(dim=-1) for rows in hidden.split(HEAD_ROWS)]
    agrees = torch.cat(best) == targets[answered]
    return [part.tolist() for part in agrees.split([len(each.ids) for each in batch])]


def _spread(count: int, wanted: int) -> set[int]:
    """So many places spread over `count`, and the first one more, which warms up."""
    if not wanted or not count:
        return set()
    return {0, *range(count - 1, 0, -max(1, -(-count // wanted)))}
