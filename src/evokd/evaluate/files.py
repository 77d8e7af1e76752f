"""Scores of plain files: what `evokd score` does, as one dict for JSON and as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from evokd.data.languages import split_direction
from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.evaluate.comparison import (
    SystemOutput,
    TestSet,
    behaviour_all,
    check_counts,
    compare_all,
    score_all,
)
from evokd.evaluate.neural import judge
from evokd.evaluate.scores import metric_scorers
from evokd.evaluate.significance import DEFAULT_SAMPLES, DEFAULT_SEED, SIGNIFICANT_BELOW
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS, WORTH
from evokd.rundir.files import hash_file
from evokd.rundir.versions import versions


def score_files(
    direction: str,
    source_path: str | None,
    reference_paths: Sequence[str],
    hypothesis_paths: Sequence[str],
    metrics: Sequence[str] = DEFAULT_METRICS,
    baseline: str | None = None,
    *,
    test: str = "bootstrap",
    n_samples: int | None = None,
    seed: int = DEFAULT_SEED,
    tokenizer: str | None = None,
) -> dict[str, Any]:
    """Score translations in plain files, one segment per line.

    Systems are named as `system_names` says. With two systems or more, each is tested against
    `baseline` (a name or a path; default: the first file). Without a source, copies of it can't be
    counted.

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
    metric_scorers(metrics, split_direction(direction)[1], tokenizer=tokenizer)  # can they be made?
    names = system_names(hypothesis_paths)
    spellings = dict(zip([*names, *hypothesis_paths], names * 2, strict=True))
    base = spellings.get(names[0] if baseline is None else baseline)
    if base is None:
        raise InputError(
            f"baseline {baseline!r} isn't one of the systems; accepted: {', '.join(names)}"
        )
    files = [
        *([("source", source_path)] if source_path is not None else []),
        *(("reference", path) for path in reference_paths),
        *zip(names, hypothesis_paths, strict=True),
    ]
    texts = {path: read_lines(Path(path)) for _, path in files}
    references = [texts[path] for path in reference_paths]
    for path, lines in texts.items():
        check_counts(lines, references, path, reference_paths)
    sources = None if source_path is None else texts[source_path]
    test_set = TestSet(Path(reference_paths[0]).name, direction, sources, references)
    outputs = [
        SystemOutput(name, None, test_set.name, direction, texts[path])
        for name, path in zip(names, hypothesis_paths, strict=True)
    ]
    metrics, notes = judge(metrics, outputs, [test_set])
    result: dict[str, Any] = {
        "scores": score_all(outputs, [test_set], metrics, teacher=None, tokenizer=tokenizer),
        "comparisons": [],
        "behaviour": behaviour_all(outputs, [test_set]),
        "significance": None,
    }
    if len(outputs) > 1:
        how = {"test": test, "n_samples": n_samples or DEFAULT_SAMPLES.get(test), "seed": seed}
        options = how | {"tokenizer": tokenizer}
        result["comparisons"] = compare_all(outputs, [test_set], base, metrics, **options)
        result["significance"] = how | {"baseline": base}
    result["files"] = [
        {"role": role, "path": path, "lines": len(texts[path]), "sha256": hash_file(Path(path))}
        for role, path in files
    ]
    return result | {"notes": notes, "versions": versions()}


def as_table(result: dict[str, Any]) -> str:
    """The result of `score_files` for people: tables, and below them what makes them repeatable."""
    systems = list(dict.fromkeys(row["system"] for row in result["scores"]))
    metrics = list(dict.fromkeys(row["metric"] for row in result["scores"]))
    scores = {(row["system"], row["metric"]): row for row in result["scores"]}
    compared = {(row["system"], row["metric"]): row for row in result["comparisons"]}
    labels = {name: METRICS[name].sacrebleu_label or METRICS[name].label for name in metrics}
    header = ["system"]
    for metric in metrics:
        header.append(labels[metric] + (" ↓" if METRICS[metric].lower_is_better else ""))
        header += ["Δ", "p"] if compared else []
    cells = {
        place: [f"{row['score']:.2f}", *(_difference(compared.get(place)) if compared else ())]
        for place, row in scores.items()
    }
    body = [[name, *(text for one in metrics for text in cells[name, one])] for name in systems]
    parts = [_tabulate(body, header)]
    if compared:
        how = result["significance"]
        parts.append(
            f"Δ and p: against {how['baseline']}, paired {how['test']}, {how['n_samples']} samples,"
            f" seed {how['seed']}; * p < {SIGNIFICANT_BELOW:g}."
            f" {WORTH}"
        )
    signatures = [f"{labels[name]}|{scores[systems[0], name]['signature']}" for name in metrics]
    parts.append("\n".join([*signatures, f"sacreBLEU {result['versions']['sacrebleu']}"]))
    return "\n\n".join([*parts, *result["notes"], _behaviour_table(result["behaviour"])])


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
        return ["", ""]
    mark = "*" if row["significant"] else " "
    return [f"{row['delta']:+.2f}", f"{row['p_value']:.4f}{mark}"]


def _behaviour_table(rows: Sequence[dict[str, Any]]) -> str:
    counts = ["segments", "empty", "copied", "over_long", "cut_off", "repeated"]
    known = [kind for kind in counts if any(row[kind] is not None for row in rows)]
    body, where = [], []
    for row in rows:
        ratio = "" if row["length_ratio"] is None else f"{row['length_ratio']:.3f}"
        body.append([row["system"], *(str(row[kind]) for kind in known), ratio])
        for kind, numbers in row["examples"].items():
            lines = ", ".join(map(str, numbers)) + (" …" if row[kind] > len(numbers) else "")
            where.append(f"{row['system']}, {kind.replace('_', '-')}: line {lines}")
    table = _tabulate(body, ["system", *(kind.replace("_", "-") for kind in known), "length ratio"])
    return "\n\n".join([table, "\n".join(where)] if where else [table])


def _tabulate(body: list[list[str]], header: list[str]) -> str:
    """Numbers come as text, so that no digit is lost or added."""
    aligned = ("left", *("right" for _ in header[1:]))
    return tabulate(body, header, tablefmt="simple", disable_numparse=True, colalign=aligned)
