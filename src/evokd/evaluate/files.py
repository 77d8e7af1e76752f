"""Scores of plain files: what `evokd score` does, as one dict for JSON and as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from evokd.data.languages import split_direction
from evokd.errors import InputError
from evokd.evaluate.comparison import SystemOutput, TestSet, behaviour_all, compare_all, score_all
from evokd.evaluate.scores import metric_scorers
from evokd.evaluate.segments import check_counts, read_segments
from evokd.evaluate.significance import DEFAULT_SAMPLES, DEFAULT_SEED, SIGNIFICANT_BELOW
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS
from evokd.rundir import hash_file, versions


def score_files(
    direction: str,
    source_path: str | Path | None,
    reference_paths: Sequence[str | Path],
    hypothesis_paths: Sequence[str | Path],
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
    each file's lines and SHA-256, `versions` what computed all this.

    Raises:
        InputError: a file is missing, empty, not UTF-8 or of a different length than the
            references; unknown language, metric, tokenizer or baseline.
    """
    if not hypothesis_paths:
        raise InputError("no translations given; name at least one file of them")
    metric_scorers(metrics, split_direction(direction)[1], tokenizer=tokenizer)  # can they be made?
    names = system_names(hypothesis_paths)
    base = _find_baseline(baseline, names, hypothesis_paths)
    references = [read_segments(path) for path in reference_paths]
    reference_names = [str(path) for path in reference_paths]
    sources = None if source_path is None else read_segments(source_path)
    if sources is not None:
        check_counts(sources, references, str(source_path), reference_names)
    systems = [read_segments(path) for path in hypothesis_paths]
    for path, lines in zip(hypothesis_paths, systems, strict=True):
        check_counts(lines, references, str(path), reference_names)
    test_set = TestSet(Path(reference_paths[0]).name, direction, sources, references)
    outputs = [
        SystemOutput(name, None, test_set.name, direction, lines)
        for name, lines in zip(names, systems, strict=True)
    ]
    result: dict[str, Any] = {
        "scores": score_all(outputs, [test_set], metrics, teacher=None, tokenizer=tokenizer),
        "comparisons": [],
        "behaviour": behaviour_all(outputs, [test_set]),
        "significance": None,
    }
    if len(outputs) > 1:
        n_samples = n_samples or DEFAULT_SAMPLES.get(test)
        how: dict[str, Any] = {"test": test, "n_samples": n_samples, "seed": seed}
        result["comparisons"] = compare_all(
            outputs, [test_set], base, metrics, tokenizer=tokenizer, **how
        )
        result["significance"] = how | {"baseline": base}
    files = [
        *([("source", source_path)] if source_path is not None else []),
        *(("reference", path) for path in reference_paths),
        *zip(names, hypothesis_paths, strict=True),
    ]
    result["files"] = [
        {"role": role, "path": str(path), "lines": len(references[0])}
        | {"sha256": hash_file(Path(path))}
        for role, path in files
    ]
    return result | {"versions": versions()}


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
    body = []
    for system in systems:
        line = [system]
        for metric in metrics:
            line.append(f"{scores[system, metric]['score']:.2f}")
            if compared:
                line += _difference(compared.get((system, metric)))
        body.append(line)
    parts = [_tabulate(body, header)]
    if compared:
        how = result["significance"]
        parts.append(
            f"Δ and p: against {how['baseline']}, paired {how['test']}, {how['n_samples']} samples,"
            f" seed {how['seed']}; * p < {SIGNIFICANT_BELOW:g}."
        )
    signatures = [f"{labels[name]}|{scores[systems[0], name]['signature']}" for name in metrics]
    parts.append("\n".join([*signatures, f"sacreBLEU {result['versions']['sacrebleu']}"]))
    return "\n\n".join([*parts, _behaviour_table(result["behaviour"])])


def system_names(paths: Sequence[str | Path]) -> list[str]:
    """Short names of files: `a.en-de.txt`, `b.en-de.txt` → `a`, `b`.

    Files of the same name are called after their folders (`a/en-de.txt`, `b/en-de.txt` → `a`,
    `b`); where neither tells all of them apart, each is called by its path.

    Raises:
        InputError: the same path twice.
    """
    texts = [str(path) for path in paths]
    for position, text in enumerate(texts):
        if text in texts[:position]:
            raise InputError(f"{text} is given twice; name each file once")
    files = [Path(path).name for path in paths]
    shared = _shared_suffix(files)
    stems = [name.removesuffix(shared) for name in files]
    folders = [Path(path).parent.name for path in paths]
    for names in (stems, folders if len(set(files)) == 1 else texts):
        if len(set(names)) == len(names) and all(names):
            return names
    return texts


def _shared_suffix(names: Sequence[str]) -> str:
    """The longest ending, from a dot on, that all file names have; a single file's extension."""
    if len(names) == 1:
        return Path(names[0]).suffix
    pieces = [name.split(".")[1:] for name in names]
    shared = ""
    for endings in zip(*(reversed(piece) for piece in pieces), strict=False):
        if len(set(endings)) > 1:
            break
        shared = f".{endings[0]}{shared}"
    return shared


def _find_baseline(baseline: str | None, names: Sequence[str], paths: Sequence[str | Path]) -> str:
    if baseline is None:
        return names[0]
    for name, path in zip(names, paths, strict=True):
        if baseline in (name, str(path)):
            return name
    raise InputError(
        f"baseline {baseline!r} isn't one of the systems; accepted: {', '.join(names)}"
    )


def _difference(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["", ""]
    mark = "*" if row["significant"] else " "
    return [f"{row['delta']:+.2f}", f"{row['p_value']:.4f}{mark}"]


def _behaviour_table(rows: Sequence[dict[str, Any]]) -> str:
    counts = ["segments", "empty", "copied", "over_long", "cut_off", "repeated"]
    known = [kind for kind in counts if any(row[kind] is not None for row in rows)]
    body = [
        [
            row["system"],
            *(str(row[kind]) for kind in known),
            "" if row["length_ratio"] is None else f"{row['length_ratio']:.3f}",
        ]
        for row in rows
    ]
    table = _tabulate(body, ["system", *(kind.replace("_", "-") for kind in known), "length ratio"])
    where = [
        f"{row['system']}, {kind.replace('_', '-')}: line "
        + ", ".join(map(str, numbers))
        + (" …" if row[kind] > len(numbers) else "")
        for row in rows
        for kind, numbers in row["examples"].items()
    ]
    return "\n\n".join([table, "\n".join(where)]) if where else table


def _tabulate(body: list[list[str]], header: list[str]) -> str:
    """Numbers come as text, so that no digit is lost or added."""
    aligned = ("left", *("right" for _ in header[1:]))
    return tabulate(body, header, tablefmt="simple", disable_numparse=True, colalign=aligned)
