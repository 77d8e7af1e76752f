"""Finished runs, and outputs of any other system, laid side by side on the test sets they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.evaluate.comparison import (
    Row,
    SystemOutput,
    TestSet,
    behaviour_all,
    check_counts,
    compare_all,
    score_all,
)
from evokd.evaluate.files import file_of, system_names
from evokd.evaluate.neural import judge
from evokd.evaluate.sentences import SENTENCES, as_outputs, read_sentences
from evokd.evaluate.significance import DEFAULT_SAMPLES
from evokd.recipe.metrics import BLEU_VS_TEACHER
from evokd.rundir.files import SEAL, read_json
from evokd.rundir.versions import versions

RESULTS = "results.json"
OF_SYSTEMS = ("systems", "speed", "analysis", "validation", "exports")
"""Lists of results whose rows are of a system, beside what is judged anew."""


@dataclass(frozen=True)
class SideBySide:
    """What is laid side by side, and what came of it."""

    outputs: list[SystemOutput]
    test_sets: list[TestSet]
    metrics: list[str]
    baseline: str
    found: dict[str, Any]
    """As results.json has it."""


@dataclass(frozen=True)
class _Run:
    label: str
    tree: Mapping[str, Any]
    outputs: list[SystemOutput]
    test_sets: list[TestSet]


def side_by_side(
    paths: Sequence[str],
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    test: str = "bootstrap",
    correction: str = "none",
) -> SideBySide:
    """Judge the systems of several runs together.

    A system keeps its name where no other run has another one of that name (a teacher that several
    runs share is one system); else it is called RUN/SYSTEM.

    Args:
        paths: folders of runs, or of what `evokd score -o` wrote; further systems' outputs, a file
            with a direction of these in its name, or a folder of such files.
        baseline: default: that of the first run.
        metrics: default: those that all runs have.
        test: what decides † and ‡: the bootstrap of each seed, or the randomization of all pooled.
        correction: of p-values, as of `compare_all`.

    Raises:
        InputError: a run isn't finished; test sets of one name hold different text; an output has
            another number of lines.
    """
    folders = [path for path in paths if (Path(path) / RESULTS).is_file()]
    for path in paths:
        if (Path(path) / "map.json").is_file():
            raise InputError(f"{path} is a grid; name runs of it: {path}/*/")
        if path not in folders and (Path(path) / "recipe.yaml").is_file():
            raise InputError(f"{path} isn't finished: it has no {RESULTS}; evokd run goes on")
    if not folders:
        raise InputError(
            f"none of {', '.join(paths)} is the folder of a finished run; evokd run and "
            "evokd score -o write one"
        )
    runs = [_read(path, name) for path, name in zip(folders, system_names(folders), strict=True)]
    test_sets = _shared(runs)
    runs = [_named_as(test_sets, run) for run in runs]
    others = [path for path in paths if path not in folders]
    if others:
        runs += _plain(others, test_sets)
    names = _names(runs)
    outputs: dict[tuple[Any, ...], SystemOutput] = {}
    for run in runs:
        for output in run.outputs:
            system = names[run.label, output.system]
            place = (system, output.seed, *output.cell)
            outputs.setdefault(place, replace(output, system=system))
    found = list(outputs.values())
    base = _baseline(baseline, runs[0], names, found)
    metrics, missing = judge(metrics or _metrics(runs), found, test_sets)
    seeds = {one.seed for one in found if one.system == base}
    tested = {one.cell for one in found if one.system == base}
    paired = [
        one
        for one in found
        if one.cell in tested and (one.seed in seeds or None in (one.seed, *seeds))
    ]
    teacher = "teacher" if any(one.system == "teacher" for one in found) else None
    samples = DEFAULT_SAMPLES["bootstrap"]
    how: dict[str, Any] = {"n_samples": samples, "trials": 10 * samples, "correction": correction}
    compared = compare_all(paired, test_sets, base, metrics, **how)
    if not compared:
        raise InputError(
            f"{base} shares no test set with another system here; runs are compared on the same "
            "text"
        )
    judged: dict[str, Any] = {
        "title": " · ".join(run.label for run in runs),
        "scores": score_all(found, test_sets, metrics, teacher=teacher),
        "comparisons": [row for row in compared if "runs" not in row],
        "pooled": [row for row in compared if "runs" in row],
        "significance": {"test": test, **how},
        "behaviour": behaviour_all(found, test_sets),
        "versions": versions(),
        "notes": [*missing, *_notes(runs, test_sets), *_unpaired(found, paired, base)],
    }
    for key in OF_SYSTEMS:
        rows: dict[str, Row] = {}
        for run in runs:
            for row in run.tree.get(key) or []:
                renamed = {**row, "system": names.get((run.label, row["system"]), row["system"])}
                rows.setdefault(repr(sorted(renamed.items(), key=str)), renamed)
        judged[key] = _once(list(rows.values()))
    return SideBySide(found, test_sets, metrics, base, judged)


def _read(path: str, label: str) -> _Run:
    try:
        tree = read_json(Path(path) / RESULTS)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}/{RESULTS} can't be read: {error}") from None
    outputs, test_sets = as_outputs(read_sentences(Path(path) / SENTENCES))
    return _Run(label, {key: part for key, part in tree.items() if key != SEAL}, outputs, test_sets)


def _plain(paths: Sequence[str], test_sets: Sequence[TestSet]) -> list[_Run]:
    """Outputs in files, a run each; the direction is in the file's name, the test set the only one
    of that direction."""
    runs = []
    for path, label in zip(paths, system_names(paths), strict=True):
        outputs = []
        for test_set in test_sets:
            file = Path(path)
            if file.is_dir() or test_set.direction in file.name or len(test_sets) == 1:
                lines = read_lines(file_of(path, test_set.direction))
                check_counts(lines, test_set.references, path, [test_set.name])
                outputs.append(SystemOutput(label, None, *test_set.cell, lines))
        if not outputs:
            accepted = ", ".join(dict.fromkeys(one.direction for one in test_sets))
            raise InputError(
                f"{path} is neither a finished run nor named after a direction; accepted in a "
                f"file's name: {accepted}"
            )
        runs.append(_Run(label, {}, outputs, []))
    return runs


def _shared(runs: Sequence[_Run]) -> list[TestSet]:
    """The test sets of all runs, each once, whatever they are called there."""
    known: dict[tuple[str, str], tuple[TestSet, str]] = {}
    for run in runs:
        for test_set in run.test_sets:
            if _same_among([one for one, _ in known.values()], test_set):
                continue
            first, whose = known.setdefault(test_set.cell, (test_set, run.label))
            if first is not test_set:
                raise InputError(
                    f"{test_set.name} {test_set.direction} isn't the same text in {whose} and in "
                    f"{run.label}: {_first_difference(first, test_set)}; runs are compared on the "
                    "same test sets"
                )
    return [test_set for test_set, _ in known.values()]


def _same_among(test_sets: Sequence[TestSet], wanted: TestSet) -> TestSet | None:
    """The one with the same text; a source that isn't known can't differ."""
    for one in test_sets:
        unknown = one.sources is None or wanted.sources is None
        same = unknown or list(one.sources or []) == list(wanted.sources or [])
        if same and one.direction == wanted.direction and one.references == wanted.references:
            return one
    return None


def _named_as(test_sets: Sequence[TestSet], run: _Run) -> _Run:
    """With the names that its test sets have beside the other runs'."""
    names = {}
    for own in run.test_sets:
        shared = _same_among(test_sets, own)
        names[own.cell] = shared.name if shared else own.name
    renamed = [replace(one, test_set=names.get(one.cell, one.test_set)) for one in run.outputs]
    return replace(run, outputs=renamed)


def _first_difference(one: TestSet, other: TestSet) -> str:
    if len(one) != len(other):
        return f"{len(one)} segments and {len(other)}"
    sides = [(one.sources or [], other.sources or []), (one.references[0], other.references[0])]
    for theirs in sides:
        for number, (a, b) in enumerate(zip(*theirs, strict=False), start=1):
            if a != b:
                return f"line {number} is {a[:60]!r} and {b[:60]!r}"
    return "they have other references or sources"


def _names(runs: Sequence[_Run]) -> dict[tuple[str, str], str]:
    """(Run, system) → what the system is called beside the others."""
    made: dict[str, dict[str, set[tuple[Any, ...]]]] = {}
    for run in runs:
        for one in run.outputs:
            own = made.setdefault(one.system, {}).setdefault(run.label, set())
            own.add((*one.cell, one.seed, tuple(one.hypotheses)))
    names = {}
    for system, by_run in made.items():
        for run_label, own in by_run.items():
            others = [theirs for label, theirs in by_run.items() if label != run_label]
            cells = {key[:2] for key in own}
            clash = any(cells & {key[:2] for key in theirs} and own != theirs for theirs in others)
            alone = run_label == system
            names[run_label, system] = f"{run_label}/{system}" if clash and not alone else system
    return names


def _baseline(
    asked: str | None,
    first: _Run,
    names: Mapping[tuple[str, str], str],
    outputs: Sequence[SystemOutput],
) -> str:
    systems = list(dict.fromkeys(one.system for one in outputs))
    given = asked
    if given is None:
        own = first.tree.get("baseline") or first.outputs[0].system
        given = names.get((first.label, own), own)
    if given not in systems:
        raise InputError(f"baseline {given!r} is no system here; accepted: {', '.join(systems)}")
    return given


def _metrics(runs: Sequence[_Run]) -> list[str]:
    """What all runs were scored by, in the order of the first."""
    by_run = [
        dict.fromkeys(row["metric"] for row in run.tree["scores"]) for run in runs if run.tree
    ]
    shared = [name for name in by_run[0] if all(name in other for other in by_run)]
    return [name for name in shared if name != BLEU_VS_TEACHER]


def _once(rows: list[Row]) -> list[Row]:
    """Of a system that several runs share, the first one's rows."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        labels = ("system", "seed", "test_set", "direction", "metric", "format", "quantization")
        kept.setdefault((*(row.get(key) for key in labels), row.get("beam")), row)
    return list(kept.values())


def _notes(runs: Sequence[_Run], test_sets: Sequence[TestSet]) -> list[str]:
    notes = []
    for test_set in test_sets:
        having = [run.label for run in runs if any(o.cell == test_set.cell for o in run.outputs)]
        if len(having) < len(runs):
            where = f"{test_set.name} {test_set.direction}"
            notes.append(f"{where} was translated in {', '.join(having)} alone.")
    return notes


def _unpaired(
    outputs: Sequence[SystemOutput], paired: Sequence[SystemOutput], baseline: str
) -> list[str]:
    """Seeds that the baseline hasn't: scored, and not compared."""
    cells = {one.cell for one in paired}
    left = [one for one in outputs if one not in paired]
    names = dict.fromkeys(f"{o.system}, seed {o.seed}" for o in left if o.cell in cells)
    places = dict.fromkeys(" ".join(one.cell) for one in left if one.cell not in cells)
    return [
        *(f"{name}: {baseline} has no such seed to be compared with." for name in names),
        *(f"{place}: {baseline} has no output there to be compared with." for place in places),
    ]
