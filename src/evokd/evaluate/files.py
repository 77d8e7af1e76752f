"""Scores of plain files: what `evokd score` does, as one dict for JSON and as a table to read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from evokd.data.languages import split_direction
from evokd.data.sources import read_source
from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.evaluate.behaviour import KINDS
from evokd.evaluate.comparison import (
    SystemOutput,
    TestSet,
    behaviour_all,
    check_counts,
    compare_all,
    score_all,
)
from evokd.evaluate.judged import write_judged
from evokd.evaluate.neural import judge
from evokd.evaluate.scores import metric_scorers
from evokd.evaluate.significance import DEFAULT_SAMPLES, DEFAULT_SEED, SIGNIFICANT_BELOW
from evokd.progress import say
from evokd.recipe.corpus import CorpusSource
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS, WORTH
from evokd.rundir.files import hash_file
from evokd.rundir.versions import versions

SHOWN = 5
"""Lines of each kind of misbehaviour that the table names."""


def score_files(
    direction: str | Sequence[str],
    source_path: str | None,
    reference_paths: Sequence[str],
    hypothesis_paths: Sequence[str],
    metrics: Sequence[str] = DEFAULT_METRICS,
    baseline: str | None = None,
    *,
    test_path: str | None = None,
    out: Path | None = None,
    test: str = "bootstrap",
    n_samples: int | None = None,
    seed: int = DEFAULT_SEED,
    correction: str = "none",
    tokenizer: str | None = None,
) -> dict[str, Any]:
    """Score translations in plain files, one segment per line.

    Systems are named as `system_names` says. With two systems or more, each is tested against
    `baseline` (a name or a path; default: the first file). Without a source, copies of it can't be
    counted.

    Args:
        direction: one, or several; then paths are folders with a file for each, whose name has the
            direction in it (en-de.txt). A folder is accepted for one direction, too.
        test_path: source and reference in one file, of any kind that a recipe's test sets have, in
            the place of source and reference paths.
        out: a folder to write results.json and sentences.jsonl into, as a run has them.

    Returns a dict of plain values: `scores`, `comparisons` and `behaviour` are rows as
    `comparison.score_all`, `compare_all` and `behaviour_all` give them (seed None, test set named
    by the first reference file), `significance` says how differences were tested, `files` gives
    each file's lines and SHA-256, `versions` what computed all this. `notes` are of neural metrics
    that can't be computed here; the others are.

    Raises:
        InputError: a file is missing, empty, not UTF-8 or of a different length than the
            references; unknown language, metric, tokenizer or baseline.
    """
    if not hypothesis_paths:
        raise InputError("no translations given; name at least one file of them")
    directions = [direction] if isinstance(direction, str) else list(dict.fromkeys(direction))
    for one in directions:  # can they be made?
        metric_scorers(metrics, split_direction(one)[1], tokenizer=tokenizer)
    names = system_names(hypothesis_paths)
    spellings = dict(zip([*names, *hypothesis_paths], names * 2, strict=True))
    base = spellings.get(names[0] if baseline is None else baseline)
    if base is None:
        raise InputError(
            f"baseline {baseline!r} isn't one of the systems; accepted: {', '.join(names)}"
        )
    systems = dict(zip(names, hypothesis_paths, strict=True))
    if test_path is not None and (source_path is not None or reference_paths):
        raise InputError(
            "found --test beside --src or --ref; --test has both sides, leave them out"
        )
    paths = [*hypothesis_paths, *reference_paths, source_path, test_path]
    alone = [path for path in paths if path is not None and not Path(path).is_dir()]
    if len(directions) > 1 and alone:
        raise InputError(
            f"{alone[0]} is one file, and {len(directions)} directions are named; a folder with a "
            "file for each is accepted"
        )
    outputs: list[SystemOutput] = []
    test_sets: list[TestSet] = []
    files: list[dict[str, Any]] = []
    for one in directions:
        test_set, read = _test_set(one, source_path, reference_paths, test_path)
        if any(known.cell == test_set.cell for known in test_sets):
            raise InputError(f"direction {one} is given twice; name each once")
        test_sets.append(test_set)
        if len(directions) > 1:
            say(f"{one}: {len(test_set)} segments, {len(systems)} systems")
        for name, given in systems.items():
            path = file_of(given, one)
            lines = read_lines(path)
            check_counts(lines, test_set.references, str(path), read.get("reference", [test_path]))
            outputs.append(SystemOutput(name, None, test_set.name, one, lines))
            read[name] = [path]
        files += [
            {"role": role, "path": str(path), "lines": lines, "sha256": hash_file(Path(path))}
            for role, paths in read.items()
            for path in paths
            for lines in [len(test_set.references[0])]
        ]
    metrics, notes = judge(metrics, outputs, test_sets)
    n_samples = n_samples or DEFAULT_SAMPLES.get(test)
    how: dict[str, Any] = {"test": test, "n_samples": n_samples, "seed": seed}
    how["correction"] = correction
    options = how | {"tokenizer": tokenizer}
    several = len(outputs) > len(test_sets)
    compare = compare_all(outputs, test_sets, base, metrics, **options) if several else []
    result: dict[str, Any] = {
        "scores": score_all(outputs, test_sets, metrics, teacher=None, tokenizer=tokenizer),
        "comparisons": compare,
        "behaviour": behaviour_all(outputs, test_sets),
        "significance": how | {"baseline": base} if several else None,
        "files": files,
        "notes": notes,
        "versions": versions(),
    }
    if out is not None:
        write_judged(out, result, outputs, test_sets, metrics, base)
    return result


def _test_set(
    direction: str, source: str | None, references: Sequence[str], test: str | None
) -> tuple[TestSet, dict[str, list[Any]]]:
    """What is translated, and the files that it was read from, by their part."""
    if test is not None:
        path = file_of(test, direction)
        pairs, _ = read_source(CorpusSource(path=str(path)), [direction], Path())
        targets = [[pair.target for pair in pairs]]
        name = path.name.partition(".")[0]
        found = TestSet(name, direction, [pair.source for pair in pairs], targets)
        check_counts(found.sources or [], targets, str(path))
        return found, {"test": [path]}
    paths = {"source": [source] if source is not None else [], "reference": list(references)}
    read = {role: [file_of(one, direction) for one in given] for role, given in paths.items()}
    texts = {role: [read_lines(path) for path in own] for role, own in read.items()}
    spelled = [str(path) for path in read["reference"]]
    for role, own in texts.items():
        for path, lines in zip(read[role], own, strict=True):
            check_counts(lines, texts["reference"], str(path), spelled)
    if not spelled:
        raise InputError("no reference given; type --ref FILE, or --test FILE with both sides")
    sources = next(iter(texts["source"]), None)
    given = Path(references[0])
    return TestSet(given.name, direction, sources, texts["reference"]), read


def file_of(given: str, direction: str) -> Path:
    """The path itself, or the file in that folder whose name has the direction in it."""
    folder = Path(given)
    if not folder.is_dir():
        return folder
    found = sorted(path for path in folder.iterdir() if direction in path.name and path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        which = (
            f"several files with {direction} in their names: {names}"
            if found
            else (f"no file with {direction} in its name")
        )
        raise InputError(f"{given} has {which}; one is accepted")
    return found[0]


def as_table(result: dict[str, Any]) -> str:
    """The result of `score_files` for people: tables, and below them what makes them repeatable."""
    directions = list(dict.fromkeys(row["direction"] for row in result["scores"]))
    parts = []
    for direction in directions:
        own = {
            key: [row for row in result[key] if row["direction"] == direction]
            for key in ("scores", "comparisons", "behaviour")
        }
        if len(directions) > 1:
            parts.append(f"{direction}, {own['behaviour'][0]['segments']} segments")
        parts += _of_direction(result | own)
    return "\n\n".join([*parts, f"sacreBLEU {result['versions']['sacrebleu']}"])


def _of_direction(result: dict[str, Any]) -> list[str]:
    systems = list(dict.fromkeys(row["system"] for row in result["scores"]))
    metrics = list(dict.fromkeys(row["metric"] for row in result["scores"]))
    scores = {(row["system"], row["metric"]): row for row in result["scores"]}
    compared = {(row["system"], row["metric"]): row for row in result["comparisons"]}
    labels = {name: METRICS[name].sacrebleu_label or METRICS[name].label for name in metrics}
    header = ["system"]
    for metric in metrics:
        header.append(labels[metric] + (" ↓" if METRICS[metric].lower_is_better else ""))
        header += ["Δ", "95 %", "p"] if compared else []
    cells = {
        place: [f"{row['score']:.2f}", *(_difference(compared.get(place)) if compared else ())]
        for place, row in scores.items()
    }
    body = [[name, *(text for one in metrics for text in cells[name, one])] for name in systems]
    parts = [_tabulate(body, header)]
    if compared:
        how = result["significance"]
        holm = ", p corrected by Holm" if how["correction"] == "holm" else ""
        seen = [[r["detectable"] for r in compared.values() if r["metric"] == m] for m in metrics]
        smallest = ", ".join(
            f"{statistics.median(sizes):.2f} {labels[name]}"
            for name, sizes in zip(metrics, seen, strict=True)
        )
        parts.append(
            f"Δ, its 95 % interval and p: against {how['baseline']}, paired {how['test']}, "
            f"{how['n_samples']} samples, seed {how['seed']}{holm}; * p < {SIGNIFICANT_BELOW:g}.\n"
            f"With {result['comparisons'][0]['segments']:,} lines, fewer than 80 % of such tests "
            f"would see a difference below {smallest}. {WORTH}"
        )
    signatures = [f"{labels[name]}|{scores[systems[0], name]['signature']}" for name in metrics]
    return [*parts, "\n".join(signatures), _behaviour_table(result["behaviour"])]


def system_names(paths: Sequence[str]) -> list[str]:
    """Short names of files: `a.en-de.txt`, `b.en-de.txt` → `a`, `b`.

    Files of the same name are called after their folders (`a/en-de.txt`, `b/en-de.txt` → `a`,
    `b`); where neither tells all of them apart, each is called by its path.

    Raises:
        InputError: the same path twice.
    """
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"{path} is given twice; name each file once")
    files = [Path(path).name for path in paths]
    dots = [place for place, sign in enumerate(files[0]) if sign == "."]
    endings = [files[0][dot:] for dot in (dots if len(files) > 1 else dots[-1:])]
    shared = next((one for one in endings if all(name.endswith(one) for name in files)), "")
    stems = [name.removesuffix(shared) for name in files]
    folders = [Path(path).parent.name for path in paths] if len(set(files)) == 1 else []
    for names in (stems, folders):
        if len(set(names)) == len(paths) and all(names):
            return names
    return list(paths)


def _difference(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["", "", ""]
    mark = "*" if row["significant"] else " "
    low, high = row["delta_interval"]
    p_value = row.get("p_corrected", row["p_value"])
    return [f"{row['delta']:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{p_value:.4f}{mark}"]


def _behaviour_table(rows: Sequence[dict[str, Any]]) -> str:
    names = {kind: kind.replace("_", "-") for kind in KINDS}
    looked_for = [kind for kind in KINDS if any(row[kind] is not None for row in rows)]
    known = [kind for kind in looked_for if any(row[kind] for row in rows)]
    body, where = [], []
    for row in rows:
        ratio = "" if row["length_ratio"] is None else f"{row['length_ratio']:.3f}"
        counts = (str(row[kind]) for kind in ("segments", *known))
        body.append([row["system"], *counts, ratio])
        for kind, numbers in row["lines"].items():
            lines = ", ".join(map(str, numbers[:SHOWN])) + " …" * (len(numbers) > SHOWN)
            where.append(f"{row['system']}, {names[kind]}: line {lines}")
    heading = ["system", "segments", *(names[kind] for kind in known), "length ratio"]
    if none := [names[kind] for kind in looked_for if kind not in known]:
        where.append(f"none: {', '.join(none)}")
    return "\n\n".join([_tabulate(body, heading), *(["\n".join(where)] if where else [])])


def _tabulate(body: list[list[str]], header: list[str]) -> str:
    """Numbers come as text, so that no digit is lost or added."""
    aligned = ("left", *("right" for _ in header[1:]))
    return tabulate(body, header, tablefmt="simple", disable_numparse=True, colalign=aligned)
