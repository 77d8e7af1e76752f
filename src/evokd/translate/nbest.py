"""The best few translations of each line, with what the model thinks of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from evokd.data.hypotheses import Candidate
from evokd.models.batching import Budget, Progress
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import Answer, answer_lines
from evokd.translate.engines.engine import Engine, search_by
from evokd.translate.likelihood import sequence_scores


def candidates(
    translator: Translator,
    lines: Sequence[str],
    source_code: str,
    target_code: str,
    settings: DecodingSettings,
    count: int = 1,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> list[list[Candidate]]:
    """Translate lines of one direction as `translate` does, and keep up to `count` of each.

    They stand in the order of beam search, which ranks by ln q / tokens^length_penalty, the best
    first; of those with the same text the first is kept. A blank line has none. Probabilities are
    those of one forward pass over prompt and translation.

    Args:
        count: at most the beam; with a beam of 1 decoding is greedy.
        engine: another than evokd's own decoder; probabilities are ours in any case.

    Raises:
        InputError: as `translate`.
    """
    generate = partial(search_by(engine), settings=settings, best=count)
    distinct: dict[tuple[int, str], Answer] = {}
    for answer in answer_lines(
        translator, lines, source_code, target_code, settings, progress, generate
    ):
        distinct.setdefault((answer.job.line, answer.text), answer)
    sequences = [answer.sequence for answer in distinct.values()]
    budget = Budget(settings.batch_size, settings.batch_tokens)
    scores = sequence_scores(translator, sequences, budget)
    best: list[list[Candidate]] = [[] for _ in lines]
    for answer, score in zip(distinct.values(), scores, strict=True):
        best[answer.job.line].append(
            Candidate(answer.text, score.log_probability, len(answer.ids), answer.stopped_by)
        )
    return best
