"""sentences.jsonl: each segment of the test sets, what every system made of it, how it was judged.

A line for each test set and direction:

    {"test_set", "direction", "sources": [text] or null, "references": [[text]],
     "outputs": [{"system", "seed", "lines": [text], "scores": {metric: [number]},
                  "behaviour": {kind: [number of a line, from 1]}}]}

The page shows it, and runs are laid beside each other by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from evokd.data.languages import split_direction
from evokd.errors import InputError
from evokd.evaluate.comparison import Row, SystemOutput, TestSet
from evokd.evaluate.scores import metric_scorers, segment_scores
from evokd.rundir.files import write_lines

SENTENCES = "sentences.jsonl"
DIGITS = 2
"""Of a segment's score, in points."""


def write_sentences(
    folder: Path,
    outputs: Sequence[SystemOutput],
    test_sets: Sequence[TestSet],
    metrics: Sequence[str],
    behaviour: Sequence[Row] = (),
    tokenizer: str | None = None,
) -> None:
    """Write FOLDER/sentences.jsonl.

    Args:
        behaviour: rows of `behaviour_all`, for these outputs.
        tokenizer: BLEU's.
    """
    misbehaved = {_key(row): row.get("lines", {}) for row in behaviour}

    def row_of(test_set: TestSet) -> Row:
        target = split_direction(test_set.direction)[1]
        given = (test_set.references, tokenizer, test_set.sources)
        scorers = metric_scorers(metrics, target, *given)
        made = []
        for output in (one for one in outputs if one.cell == test_set.cell):
            lines = list(output.hypotheses)
            labels = {"system": output.system, "seed": output.seed}
            scores = {
                name: [round(score, DIGITS) for score in segment_scores(scorer, lines)]
                for name, scorer in scorers.items()
            }
            own = misbehaved.get((*labels.values(), *output.cell), {})
            made.append(labels | {"lines": lines, "scores": scores, "behaviour": own})
        return {
            "test_set": test_set.name,
            "direction": test_set.direction,
            "sources": test_set.sources and list(test_set.sources),
            "references": [list(document) for document in test_set.references],
            "outputs": made,
        }

    rows = (json.dumps(row_of(test_set), ensure_ascii=False) for test_set in test_sets)
    write_lines(folder / SENTENCES, rows)


def read_sentences(path: Path) -> Iterator[Row]:
    """A test set and direction at a time.

    Raises:
        InputError: it isn't there or can't be read.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} can't be read ({error}); `evokd run` writes it anew beside results.json"
        ) from None


def as_outputs(rows: Iterable[Row]) -> tuple[list[SystemOutput], list[TestSet]]:
    """What was scored, from what `read_sentences` gives."""
    outputs, test_sets = [], []
    for row in rows:
        cell = row["test_set"], row["direction"]
        test_sets.append(TestSet(*cell, row["sources"], row["references"]))
        for one in row["outputs"]:
            cut_off = one["behaviour"].get("cut_off")
            flags = cut_off and [n in set(cut_off) for n in range(1, len(one["lines"]) + 1)]
            outputs.append(SystemOutput(one["system"], one["seed"], *cell, one["lines"], flags))
    return outputs, test_sets


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("system", "seed", "test_set", "direction"))
