"""Scores by kind of sentence and of word, the frontier, and what a gate does, by hand."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

from evokd.report.breakdown import by_difficulty, by_frequency, by_length
from evokd.report.figures import report_figures
from evokd.report.frontier import frontier
from evokd.report.hard_tokens import hard_tokens
from evokd.report.results import Results
from fake_run import make_run

ROW = {
    "direction": "en-de",
    "references": [[" ".join(["w"] * size) for size in (9, 1, 3, 5, 7, 2, 4, 6, 8, 10)]],
    "shown": ["a"],
    "outputs": [
        {"system": "a", "seed": 1, "scores": {"chrf": [90, 10, 30, 50, 70, 20, 40, 60, 80, 100]}},
        {"system": "b", "seed": 1, "scores": {"chrf": [0, 10, 0, 0, 0, 50, 0, 0, 0, 0]}},
    ],
}


def test_fifths_by_length() -> None:
    labels, means = by_length(ROW, "chrf")
    assert labels == ["≤ 2", "≤ 4", "≤ 6", "≤ 8", "≤ 10"]
    assert means == {"a": [[15, 35, 55, 75, 95]]}


def test_fifths_by_what_all_systems_find_difficult() -> None:
    # means of both: 45 10 15 25 35 35 20 30 40 50
    _, means = by_difficulty(ROW, "chrf")
    assert means == {"a": [[(10 + 30) / 2, (40 + 50) / 2, (60 + 70) / 2, (20 + 80) / 2, 95]]}


def test_words_are_counted_sentence_by_sentence() -> None:
    row = {
        "direction": "en-de",
        "references": [["ein Hund, ein Huhn", "ein Uhu"]],
        "shown": ["a"],
        "outputs": [{"system": "a", "seed": 1, "lines": ["ein Hund ein ein Uhu", "ein Hund"]}],
    }
    labels, values = by_frequency(row, {"de": Counter({"ein": 1000, "hund": 3, "uhu": 2})})
    # ein: 3 of 4 made and 3 wanted; Hund and Uhu: 1 of 3 made and 2 wanted; Huhn: never made
    assert labels == ["0", "1+", "1000+"]
    assert values == {"a": [[0, 200 * 1 / 5, 200 * 3 / 7]]}


def test_the_frontier_is_what_nobody_beats() -> None:
    draw = random.Random(3)
    for rising in (False, True):
        points = [(str(i), draw.randrange(9) + 1.0, draw.randrange(9) + 0.0) for i in range(12)]
        sign = 1 if rising else -1
        unbeaten = {
            (cost, quality)
            for _, cost, quality in points
            if not any(
                sign * c >= sign * cost and q >= quality and (c, q) != (cost, quality)
                for _, c, q in points
            )
        }
        assert {point[1:] for point in frontier(points, rising)} == unbeaten


def test_what_the_gate_damps_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, objectives=("sft", "self_evolution"))

    def damped(**settings: object) -> list[list[str]]:
        tree = json.loads((run / "results.json").read_text(encoding="utf-8"))
        for system in tree["systems"]:
            system["settings"] |= settings
        found = hard_tokens(Results(tree, run))
        assert found is not None
        versions = [one for sentence in found["sentences"] for one in sentence["versions"]]
        assert {token["hard"] for one in versions for token in one["tokens"]} == {True, False}
        return [[t["hard"], t["damped"]] for one in versions for t in one["tokens"]]

    assert all((shade == "0.500") == hard for hard, shade in damped(gate="hard"))
    assert all((shade == "0.500") != hard for hard, shade in damped(gate="inverted"))
    assert {shade for hard, shade in damped(gate="vouched") if not hard} == {"0.000"}
    smooth = damped(gate="smooth", tau=0.1)
    assert all((float(shade) >= 0.25) == hard for hard, shade in smooth)
    assert {shade for _, shade in damped(difficulty="nll")} == {"0.000"}


def test_training_text_counts_words_where_it_is_there(tmp_path: Path) -> None:
    run = make_run(tmp_path, objectives=("sft", "skew"))

    def captions() -> str:
        return " ".join(figure["caption"] for figure in report_figures(Results.read(run)))

    assert "in the references" in captions()
    (run / "corpus").mkdir()
    pair = {"target_language": "de", "target": "Satz ist gut"}
    (run / "corpus/train.jsonl").write_text(json.dumps(pair) + "\n", encoding="utf-8")
    assert "in the training text" in captions()
