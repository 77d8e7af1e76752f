"""Results parsed once: marks, best scores, who the report is about; each row is read once."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evokd.report import analysis
from evokd.report.headline import headline
from evokd.report.latex import as_latex
from evokd.report.page import build_report, write_page
from evokd.report.results import Results
from evokd.report.tables import as_markdown, as_text, examples_text
from fake_run import make_results, make_run, small_results


def test_marks_need_every_seed() -> None:
    results = small_results()
    second = copy.deepcopy([row for row in results["comparisons"] if row["system"] == "sft"])
    results["comparisons"] += [row | {"seed": 2, "significant": False} for row in second]
    marks = {row.system: row.cells["bleu", "en-de"].mark for row in Results(results).tables[0].rows}
    assert marks == {
        "teacher": "†",
        "sft": "",
        "forward_kd": "",
        "self_evolution": "†",
        "skew": "",
    }


def test_lower_ter_is_better() -> None:
    results = small_results()
    for key in ("scores", "summary", "comparisons"):
        for row in results[key]:
            row["metric"] = "ter"
    rows = {row.system: row.cells["ter", "en-de"] for row in Results(results).tables[0].rows}
    assert rows["sft"].best
    assert rows["sft"].mark == "†"
    assert rows["self_evolution"].mark == "‡"


def test_a_teacher_that_was_fine_tuned_is_no_student() -> None:
    results = make_results(objectives=("forward_kd",))
    assert results["systems"][0]["objective"] == "sft"
    assert Results(results).plain_student is None


def test_focus_is_self_evolution_else_the_best_distilled_student() -> None:
    assert Results(make_results()).focus == "self_evolution"
    assert Results(make_results(objectives=("sft", "skew", "noevo"))).focus == "noevo"
    assert Results(make_results(objectives=("sft",))).focus is None


# What is read once.


class CountingRows(list[Any]):
    """Counts how often its rows are gone through."""

    def __init__(self, rows: Iterable[Any]) -> None:
        super().__init__(rows)
        self.times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("rows are gone through, not picked out")


LISTS = (
    *("systems", "scores", "comparisons", "summary", "gap_closed"),
    *("behaviour", "speed", "examples"),
)


def test_the_report_reads_each_score_once(tmp_path: Path) -> None:
    tree = make_results((1, 2))
    counted = {key: CountingRows(tree[key]) for key in LISTS}
    results = Results(tree | counted)
    write_page(results, tmp_path / "report.html")
    assert headline(results)
    for write in (as_text, as_markdown, as_latex, examples_text):
        assert write(results)
    assert analysis.as_text(results) == ""
    assert {key: rows.times for key, rows in counted.items()} == dict.fromkeys(counted, 1)


def test_the_report_reads_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, seeds=(1, 2))
    reads: Counter[Path] = Counter()

    def read_text(path: Path, encoding: str) -> str:
        reads[path] += 1
        return path.read_bytes().decode(encoding)

    written = [path for path in run.rglob("*") if path.is_file()]
    monkeypatch.setattr(Path, "read_text", read_text)
    build_report(run)
    assert {path: reads[path] for path in written} == dict.fromkeys(written, 1)
