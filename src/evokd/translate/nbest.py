"""The best few translations of each line, with what the model thinks of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from evokd.data.hypotheses import Candidate
from evokd.models.encoding import IGNORED, collate, pad_id_of
from evokd.models.lm_head import head_of
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.translate.continuous_batching import Budget, Request
from evokd.translate.decoding import (
    Answer,
    Progress,
    answer_of,
    by_model,
    jobs_of,
    plain_settings,
    reported,
)
from evokd.translate.likelihood import batch_scores
from evokd.translate.stopping import Ends

__all__ = ["Candidate", "candidates"]


def candidates(
    translator: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings | None = None,
    count: int = 1,
    progress: Progress = False,
) -> list[list[Candidate]]:
    """Translate lines of one direction as `translate` does, and keep up to `count` of each.

    They stand in the order of beam search, which ranks by ln q / tokens^length_penalty, the best
    first; of those with the same text the first is kept. A blank line has none. Probabilities are
    those of one forward pass over prompt and translation.

    Args:
        count: at most the beam; with a beam of 1 decoding is greedy.
        progress: true draws a bar on stderr; a function is called with lines done and lines in all.

    Raises:
        InputError: unknown language, a chat prompt without a chat template.
    """
    settings = settings or DecodingSettings()
    model, tokenizer = translator.model, translator.tokenizer
    pad_id, ends = pad_id_of(tokenizer), Ends.of(translator)
    jobs = jobs_of(translator, lines, source_code, target_code, settings)
    requests = [Request(job.prompt_ids, job.cap) for job in jobs]
    found: list[list[Candidate]] = [[] for _ in lines]
    done = len(lines) - len(jobs)
    with plain_settings(model), reported(progress, len(lines)) as report:
        report(done, len(lines))
        for group in by_model(model, requests, ends, pad_id, settings, count):
            written: dict[tuple[int, str], tuple[list[int], Answer]] = {}
            for place, ids in group:
                answer = answer_of(tokenizer, ids, jobs[place].cap, ends)
                written.setdefault((place, answer.text), (ids[: answer.tokens], answer))
            sequences = [(jobs[i].prompt_ids, ids) for (i, _), (ids, _) in written.items()]
            scores = _log_probabilities(translator, sequences, settings)
            for ((i, text), (_, answer)), score in zip(written.items(), scores, strict=True):
                made = Candidate(text, score, answer.tokens, answer.stopped_by)
                found[jobs[i].line].append(made)
            done += len({place for place, _ in group})
            report(done, len(lines))
    return found


@torch.no_grad()
def _log_probabilities(
    translator: Translator,
    sequences: Sequence[tuple[list[int], list[int]]],
    settings: DecodingSettings,
) -> list[float]:
    """Of answers after prompts, as many at once as the settings allow."""
    model, pad_id = translator.model, pad_id_of(translator.tokenizer)
    head, budget = head_of(model), Budget(settings.batch_size, settings.batch_tokens)
    order = sorted(range(len(sequences)), key=lambda i: -sum(map(len, sequences[i])))
    waiting = [Request([*sequences[i][0], *sequences[i][1]], 0) for i in order]
    scores: dict[int, float] = {}
    while len(scores) < len(order):
        begun = len(scores)
        places = order[begun : begun + budget.more(waiting[begun : begun + budget.rows])]
        examples = [
            {"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + answer}
            for prompt, answer in (sequences[i] for i in places)
        ]
        found = batch_scores(model, head, collate(examples, pad_id))
        scores |= {i: score.log_probability for i, score in zip(places, found, strict=True)}
    return [scores[i] for i in range(len(sequences))]
