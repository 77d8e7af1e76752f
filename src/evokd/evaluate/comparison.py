"""From all translations of a study to its numbers: plain rows, ready for JSON.

A cell is one test set in one direction. A seed of None marks a system that exists once, whatever
the seeds of the others are.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evokd.data.languages import split_direction
from evokd.errors import InputError
from evokd.evaluate.behaviour import measure_behaviour
from evokd.evaluate.scores import metric_scorers
from evokd.evaluate.significance import SIGNIFICANT_BELOW, compare_runs, holm, statistics_of
from evokd.recipe.metrics import AVERAGE, BLEU_VS_TEACHER, DEFAULT_METRICS, describe

MINIMUM_GAP = 0.5
"""Points that the teacher must lead by before shares of its lead say anything."""
CORRECTIONS = ("none", "holm")

Row = dict[str, Any]
Cell = tuple[str, str]
KEY = ("system", "test_set", "direction", "metric")
BySeed = dict[int | None, float]


@dataclass(frozen=True)
class SystemOutput:
    """What one system made of one cell: one line per segment."""

    system: str
    seed: int | None
    test_set: str
    direction: str
    hypotheses: Sequence[str]
    cut_off: Sequence[bool] | None = None
    """Per segment: whether the decoder stopped at its cap of tokens."""

    @property
    def cell(self) -> Cell:
        return self.test_set, self.direction


@dataclass(frozen=True)
class TestSet:
    """Sources and references of one cell; every reference is a document, one line per segment."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    name: str
    direction: str
    sources: Sequence[str] | None
    references: Sequence[Sequence[str]]

    @property
    def cell(self) -> Cell:
        return self.name, self.direction

    def __len__(self) -> int:
        return len(self.references[0])


def score_all(
    outputs: Sequence[SystemOutput],
    test_sets: Sequence[TestSet],
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    teacher: str | None = "teacher",
    tokenizer: str | None = None,
) -> list[Row]:
    """Score everything: rows {system, seed, test_set, direction, metric, score, signature}.

    `score` is the corpus score in points (0–100; TER may exceed 100), unrounded.
    Where the teacher's outputs are there, every other system also gets `bleu_vs_teacher`: BLEU
    with the teacher's output as the reference, which tells how much of the teacher has been passed
    on (paper, 5.3.1).

    Raises:
        InputError: outputs of an unknown test set, twice the same, or of a wrong length.
    """
    rows = []
    for test_set, own in _by_cell(outputs, test_sets):
        target = split_direction(test_set.direction)[1]
        given = (test_set.references, tokenizer, test_set.sources)
        scorers = metric_scorers(metrics, target, *given)
        teacher_scorers = {
            output.seed: metric_scorers(["bleu"], target, [output.hypotheses], tokenizer)["bleu"]
            for output in own
            if output.system == teacher
        }
        for output in own:
            own_scorers = dict(scorers)
            likeness = teacher_scorers.get(output.seed, teacher_scorers.get(None))
            if output.system != teacher and likeness is not None:
                own_scorers[BLEU_VS_TEACHER] = likeness
            for name, scorer in own_scorers.items():
                score = float(scorer.corpus_score(output.hypotheses, None).score)
                row = {"metric": name, "score": score, "signature": str(scorer.get_signature())}
                rows.append(_labels(output) | row)
    return rows


def compare_all(
    outputs: Sequence[SystemOutput],
    test_sets: Sequence[TestSet],
    baseline: str,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    tokenizer: str | None = None,
    correction: str = "none",
    trials: int | None = None,
    **options: Any,
) -> list[Row]:
    """Test every system against the baseline of the same seed, cell by cell.

    Rows: {system, baseline, seed, test_set, direction} and what `compare_runs` gives, which also
    takes the `options`. A system without a seed (the teacher) is compared with the baseline of
    every seed; a baseline without a seed serves systems of all seeds.

    Args:
        correction: "holm" adds `p_corrected` to the rows, by which they are significant or not. A
            family is what is tested against one baseline in one cell and metric.
        trials: there are also rows in which all runs of a system are tested against all those of
            the baseline, by a randomization of so many trials. Their seed is None, and `runs` has
            how many they are of the system, and of the baseline.

    Raises:
        InputError: as `score_all`, an unknown correction, or a system has no baseline to be
            compared with.
    """
    if correction not in CORRECTIONS:
        accepted = ", ".join(CORRECTIONS)
        raise InputError(f"unknown correction {correction!r} of p-values; accepted: {accepted}")
    rows: list[Row] = []
    for test_set, own in _by_cell(outputs, test_sets):
        target = split_direction(test_set.direction)[1]
        given = (test_set.references, tokenizer, test_set.sources)
        scorers = metric_scorers(metrics, target, *given)
        counted = {
            (metric, output.system, output.seed): statistics_of(scorer, output.hypotheses)
            for metric, scorer in scorers.items()
            for output in own
        }
        for labels, runs, how in _families(own, baseline, test_set, trials):
            for metric, scorer in scorers.items():
                of_runs = [[counted[metric, one.system, one.seed] for one in of] for of in runs]
                found = compare_runs(metric, scorer, of_runs, **(options | how))
                if correction == "holm":
                    corrected = holm([row["p_value"] for row in found])
                    for row, p_value in zip(found, corrected, strict=True):
                        row |= {"p_corrected": p_value, "significant": p_value < SIGNIFICANT_BELOW}
                rows += [label | row for label, row in zip(labels, found, strict=True)]
    return rows


def behaviour_all(outputs: Sequence[SystemOutput], test_sets: Sequence[TestSet]) -> list[Row]:
    """Misbehaviour of every output: the fields of `behaviour.Behaviour`, labelled.

    Raises:
        InputError: as `score_all`.
    """
    rows = []
    languages = {code for one in test_sets for code in split_direction(one.direction)}
    for test_set, own in _by_cell(outputs, test_sets):
        target = split_direction(test_set.direction)[1]
        text = test_set.references, test_set.sources
        for output in own:
            behaviour = measure_behaviour(
                output.hypotheses, *text, output.cut_off, target=target, others=languages
            )
            rows.append(_labels(output) | asdict(behaviour))
    return rows


def summarise(scores: Sequence[Row]) -> list[Row]:
    """Mean and spread over seeds: rows {system, test_set, direction, metric, mean, std, seeds}.

    `scores` are rows of `score_all`; `std` is the sample standard deviation, None for one seed;
    `seeds` is how many there are. A test set with two or more directions also gets the direction
    "average": the mean over directions seed by seed, then mean and deviation over seeds. A seed
    that lacks one of the directions has no average.
    """
    rows = []
    for key, by_seed in _seeds_by_key(scores).items():
        values = list(by_seed.values())
        std = statistics.stdev(values) if len(values) > 1 else None
        numbers = {"mean": statistics.fmean(values), "std": std, "seeds": len(values)}
        rows.append(dict(zip(KEY, key, strict=True)) | numbers)
    return rows


def gap_closed(scores: Sequence[Row], student: str = "sft", teacher: str = "teacher") -> list[Row]:
    """How much of the way from the plain student to the teacher a system went.

    value = (system − student) / (teacher − student), a fraction: 0 is the student trained without
    a teacher, 1 the teacher. Rows {system, seed, test_set, direction, metric, value, reason}: one
    per seed, and one with seed None made of the mean scores over seeds. Of several directions
    there is also the "average", made of average scores (a ratio of means, which no single tiny gap
    can blow up). `value` is None, with a `reason`, where a score is missing or the teacher leads by
    no more than half a point. `bleu_vs_teacher` has no gap to close.
    """
    table = _seeds_by_key(row for row in scores if row["metric"] != BLEU_VS_TEACHER)
    rows = []
    for key, by_seed in table.items():
        system, *place, metric = key
        if system in (student, teacher):
            continue
        trio = [table.get((one, *place, metric), {}) for one in (student, system, teacher)]
        for seed in [*(seed for seed in by_seed if seed is not None), None]:
            low, score, high = (_of_seed(scores, seed) for scores in trio)
            row: Row = {"seed": seed, "value": None, "reason": None}
            if low is None or score is None or high is None:
                row["reason"] = f"no score of {student if low is None else teacher}"
            else:
                lead = low - high if describe(metric).lower_is_better else high - low
                if lead > MINIMUM_GAP:
                    row["value"] = (score - low) / (high - low)
                else:
                    needed = f"over {MINIMUM_GAP:g} is needed"
                    row["reason"] = f"{teacher} leads {student} by {lead:.2f} points; {needed}"
            rows.append(dict(zip(KEY, key, strict=True)) | row)
    return rows


def check_counts(
    lines: Sequence[str],
    references: Sequence[Sequence[str]],
    name: str,
    reference_names: Sequence[str] = (),
) -> None:
    """Lines and each reference must be as many, at least one.

    Raises:
        InputError: naming both sides and both counts.
    """
    if not lines:
        raise InputError(f"{name} holds no lines; one translation per line is accepted")
    if not references:
        raise InputError("no reference given; at least one is needed")
    for number, document in enumerate(references):
        if len(document) != len(lines):
            reference = reference_names[number] if reference_names else f"reference {number + 1}"
            raise InputError(
                f"{name} has {len(lines)} lines and {reference} has {len(document)}; "
                "line n of both must belong to the same segment"
            )


def _by_cell(
    outputs: Sequence[SystemOutput], test_sets: Sequence[TestSet]
) -> Iterable[tuple[TestSet, list[SystemOutput]]]:
    """Every test set that has outputs, with these; all of them checked before any is scored."""
    known = {test_set.cell: test_set for test_set in test_sets}
    own: dict[Cell, dict[tuple[str, int | None], SystemOutput]] = {}
    for output in outputs:
        name = _name(output)
        if output.cell not in known:
            accepted = ", ".join(f"{name} {direction}" for name, direction in known) or "none"
            raise InputError(f"{name}: no such test set and direction; known: {accepted}")
        check_counts(output.hypotheses, known[output.cell].references, name)
        systems = own.setdefault(output.cell, {})
        if (output.system, output.seed) in systems:
            raise InputError(f"{name} is there twice; one output per system and seed is accepted")
        systems[output.system, output.seed] = output
    return [(known[cell], list(systems.values())) for cell, systems in own.items()]


def _matches(
    outputs: Sequence[SystemOutput], baseline: str, test_set: TestSet
) -> Iterator[tuple[SystemOutput, list[SystemOutput]]]:
    """Each output of the baseline, with the outputs that are to be compared with it, if any."""
    anchors = [output for output in outputs if output.system == baseline]
    seeds = [anchor.seed for anchor in anchors]
    if not anchors:
        systems = ", ".join(dict.fromkeys(output.system for output in outputs))
        raise InputError(
            f"baseline {baseline!r} has no output for {test_set.name} {test_set.direction}; "
            f"systems found: {systems}"
        )
    for output in outputs:
        if output.seed not in seeds and None not in (output.seed, *seeds):
            raise InputError(
                f"{_name(output)} has no baseline: {baseline!r} was trained with seeds "
                f"{', '.join(map(str, seeds))}"
            )
    for anchor in anchors:
        others = [
            output
            for output in outputs
            if output.system != baseline
            and (output.seed == anchor.seed or None in (output.seed, anchor.seed))
        ]
        if others:
            yield anchor, others


def _families(
    outputs: Sequence[SystemOutput], baseline: str, test_set: TestSet, trials: int | None
) -> Iterator[tuple[list[Row], list[list[SystemOutput]], Row]]:
    """What is tested together in a cell: labels of the rows, the runs of the baseline and of each
    other system, and how they are tested, where that isn't as everything is."""
    for anchor, others in _matches(outputs, baseline, test_set):
        seeds = [anchor.seed if output.seed is None else output.seed for output in others]
        labels = [
            _labels(output) | {"seed": seed, "baseline": baseline}
            for output, seed in zip(others, seeds, strict=True)
        ]
        yield labels, [[anchor], *([output] for output in others)], {}
    if trials is not None:
        names = dict.fromkeys([baseline, *(output.system for output in outputs)])
        first, *rest = ([output for output in outputs if output.system == one] for one in names)
        labels = [
            _labels(own[0]) | {"seed": None, "baseline": baseline, "runs": [len(own), len(first)]}
            for own in rest
        ]
        if rest:
            yield labels, [first, *rest], {"test": "randomization", "n_samples": trials}


def _seeds_by_key(scores: Iterable[Row]) -> dict[tuple[str, ...], BySeed]:
    """(System, test set, direction, metric) → seed → score, with the directions' average."""
    table: dict[tuple[str, ...], BySeed] = {}
    directions: dict[str, dict[str, None]] = {}
    for row in scores:
        table.setdefault(tuple(row[name] for name in KEY), {})[row["seed"]] = row["score"]
        directions.setdefault(row["test_set"], {})[row["direction"]] = None
    averages: dict[tuple[str, ...], BySeed] = {}
    for system, test_set, _, metric in table:
        parts = [table.get((system, test_set, d, metric), {}) for d in directions[test_set]]
        average = {
            seed: statistics.fmean(part[seed] for part in parts)
            for seed in parts[0]
            if all(seed in part for part in parts)
        }
        if average and len(parts) > 1:
            averages[system, test_set, AVERAGE, metric] = average
    return table | averages


def _of_seed(by_seed: BySeed, seed: int | None) -> float | None:
    """A system's score of one seed, or its only one; of no seed, its mean."""
    if seed is None:
        return statistics.fmean(by_seed.values()) if by_seed else None
    return by_seed.get(seed, by_seed.get(None))


def _labels(output: SystemOutput) -> Row:
    return {key: getattr(output, key) for key in ("system", "seed", "test_set", "direction")}


def _name(output: SystemOutput) -> str:
    seed = "" if output.seed is None else f", seed {output.seed}"
    return f"{output.system} on {output.test_set} {output.direction}{seed}"
