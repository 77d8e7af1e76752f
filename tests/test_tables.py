"""The tables, against tables written by hand."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from evokd.report.headline import headline
from evokd.report.results import focus_system, main_table, plain_student
from evokd.report.tables import (
    as_latex,
    as_markdown,
    as_text,
    closeness,
    examples_text,
    latex_escape,
)
from fake_run import make_results


def small_results() -> dict[str, Any]:
    """One direction, round numbers."""
    bleu = {"teacher": 30.0, "forward_kd": 24.0, "sft": 20.0, "self_evolution": 25.5, "skew": 23.0}
    where = {"test_set": "news", "direction": "en-de", "metric": "bleu"}
    compared = {"sft": 0.001, "self_evolution": 0.01, "skew": 0.2, "teacher": 0.001}
    return {
        "directions": ["en-de"],
        "baseline": "forward_kd",
        "seeds": [1],
        "systems": [{"system": name, "objective": name, "seed": 1} for name in bleu],
        "scores": [
            {"system": name, "seed": 1, "score": score, "signature": "tok:13a", **where}
            for name, score in bleu.items()
        ],
        "summary": [
            {"system": name, "mean": score, "std": None, "seeds": 1, **where}
            for name, score in bleu.items()
        ],
        "comparisons": [
            {
                "system": name,
                "seed": 1,
                "baseline": "forward_kd",
                "delta": bleu[name] - 24.0,
                "p_value": p_value,
                "significant": p_value < 0.05,
                **where,
            }
            for name, p_value in compared.items()
        ],
        "gap_closed": [
            {"system": name, "seed": None, "value": (bleu[name] - 20) / 10, "reason": None, **where}
            for name in ("forward_kd", "self_evolution", "skew")
        ],
    }


def test_terminal_table_is_the_one_written_by_hand() -> None:
    expected = """\
Test set news

system             BLEU       gap
                  en-de    closed
--------------  -------  --------
teacher          30.00†         –
sft              20.00‡         –
forward_kd       24.00       40 %
self_evolution   25.50†      55 %
skew             23.00       30 %

† better than forward_kd; ‡ worse than forward_kd (paired test, p < 0.05)
gap closed: (system − sft) / (teacher − sft), in en-de BLEU
BLEU: tok:13a"""
    assert as_text(small_results()) == expected


def test_markdown_table_is_the_one_written_by_hand() -> None:
    expected = """\
### news

| system | BLEU en-de | gap closed |
|:--|--:|--:|
| teacher | 30.00† | – |
| sft | 20.00‡ | – |
| forward_kd | 24.00 | 40 % |
| self_evolution | **25.50†** | 55 % |
| skew | 23.00 | 30 % |
"""
    assert as_markdown(small_results()).startswith(expected)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_terminal_tables_fit_100_columns_and_lose_no_number(seeds: tuple[int, ...]) -> None:
    results = make_results(seeds)
    text = as_text(results)
    tables = text.split("\n\n† ")[0]
    assert max(map(len, tables.splitlines())) <= 100
    for row in results["summary"]:
        if row["metric"] != "bleu_vs_teacher":
            assert f"{row['mean']:.2f}" in tables
    assert ("±" in tables) == (len(seeds) > 1)


def test_many_directions_are_split_within_100_columns() -> None:
    results = small_results()
    results["directions"] = [f"en-{code}" for code in ("cs", "de", "fr", "is", "ja", "ru", "uk")]
    for key in ("scores", "summary"):
        results[key] = [
            row | {"direction": direction, "mean": 12.0, "std": 0.12, "seeds": 3}
            for row in results[key]
            for direction in results["directions"]
        ]
    tables = as_text(results).split("\n\ngap")[0]
    assert max(map(len, tables.split("no system")[0].splitlines())) <= 100
    assert all(direction in tables for direction in results["directions"])


def test_marks_need_every_seed() -> None:
    results = small_results()
    second = copy.deepcopy([row for row in results["comparisons"] if row["system"] == "sft"])
    results["comparisons"] += [row | {"seed": 2, "significant": False} for row in second]
    marks = {row.system: row.cells["bleu", "en-de"].mark for row in main_table(results)}
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
    rows = {row.system: row.cells["ter", "en-de"] for row in main_table(results)}
    assert rows["sft"].best
    assert rows["sft"].mark == "†"
    assert rows["self_evolution"].mark == "‡"


def test_latex_columns_add_up_and_ink_is_plain() -> None:
    latex = as_latex(make_results((1, 2)))
    assert latex.isascii()
    preamble = re.search(r"\\begin\{tabular\}\{(\w+)\}", latex)
    assert preamble
    body = latex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + 6
    for line in rows:
        spans = [int(number) - 1 for number in re.findall(r"\\multicolumn\{(\d)\}", line)]
        assert line.count(" & ") + line.startswith("& ") + sum(spans) + 1 == len(preamble[1])
    assert r"self\_evolution & \textbf{" in latex
    assert not re.search(r"(?<!\\)[_%&#](?!\s)", body.replace(" & ", " "))
    assert len(re.findall(r"\\begin\{", latex)) == len(re.findall(r"\\end\{", latex))


def test_latex_escapes() -> None:
    assert latex_escape(r"50 % of a_b & {c} \ $5 #1 ~^|") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{} \$5 \#1 "
        r"\textasciitilde{}\textasciicircum{}\textbar{}"
    )


def test_examples_follow_their_rule() -> None:
    results = make_results()
    made = results["examples"][2]["translations"]
    made["self_evolution"] = "Ganz falsch ."
    text = examples_text(results, n=1)
    assert text == examples_text(results, n=1)
    shown = max(results["examples"], key=_gain)
    assert shown["reference"] in text
    assert text.count("reference  ") == 1
    assert "Ganz falsch" not in text
    assert "closer to the reference in 5, further in 1" in " ".join(text.split())


def test_closeness_by_hand() -> None:
    assert closeness("a b c", "a b c") == 1
    assert closeness("a x c d", "a b c d") == pytest.approx(2 * 3 / 8)
    assert closeness("x", "a b") == 0


def test_a_teacher_that_was_fine_tuned_is_no_student() -> None:
    results = make_results(objectives=("forward_kd",))
    assert results["systems"][0]["objective"] == "sft"
    assert plain_student(results) is None


def test_focus_is_self_evolution_else_the_best_distilled_student() -> None:
    assert focus_system(make_results()) == "self_evolution"
    assert focus_system(make_results(objectives=("sft", "skew", "noevo"))) == "noevo"
    assert focus_system(make_results(objectives=("sft",))) is None


def test_headline_says_what_was_found() -> None:
    assert headline(small_results())[0] == (
        "self_evolution closes 55 % of the gap between the SFT student (20.0 BLEU) and the teacher "
        "(30.0), +1.5 BLEU over forward_kd (p = 0.010)."
    )


def test_headline_is_honest_when_there_is_little() -> None:
    results = small_results()
    for row in results["comparisons"]:
        row["significant"], row["p_value"] = False, 0.31
    assert "; its +1.5 BLEU over forward_kd is not significant (p = 0.31)." in headline(results)[0]
    for row in results["summary"]:
        row["mean"] = {"self_evolution": 19.0}.get(row["system"], row["mean"])
    results["gap_closed"][1]["value"] = -0.1
    line = headline(results)[0]
    assert line.startswith("self_evolution (19.0 BLEU) falls behind the SFT student (20.0)")
    assert "−5.0 BLEU against forward_kd" in line


def test_headline_knows_the_noise() -> None:
    results = small_results()
    for key in ("systems", "scores", "summary"):
        twin = next(row for row in results[key] if row["system"] == "forward_kd")
        changes = {"system": "noevo", "objective": "noevo", "mean": 25.8, "score": 25.8}
        results[key].append(twin | {k: v for k, v in changes.items() if k in twin})
    assert "no larger than the noise of this setup" in headline(results)[1]
    results["summary"][-1]["mean"] = 24.3
    assert "still differ by 0.3 BLEU: smaller differences mean nothing" in headline(results)[1]
    results["summary"][-1]["mean"] = 24.0
    assert "gave the same scores" in headline(results)[1]
    assert "only more seeds would show its noise" in headline(results)[1]
    results["seeds"] = [1, 2]
    assert "its noise is that between seeds" in " ".join(headline(results))


def test_headline_ends_with_the_speed_of_teacher_and_best_student() -> None:
    results = small_results()
    assert len(headline(results)) == 1
    pace = {"teacher": [(100, 4.0), (400, 1.0)], "self_evolution": [(400, 2.0)], "sft": [(900, 1)]}
    how = {"beam": 1, "dtype": "float32", "device": "cpu"}
    results["speed"] = [
        {"system": name, "words_per_s": rate, "seconds": seconds, **how}
        for name, rows in pace.items()
        for rate, seconds in rows
    ]
    # 400 + 400 words in 5 seconds; sft is faster still, but not the best
    assert headline(results)[-1] == (
        "The teacher translates 160 words/s, the best student, self_evolution, 400: "
        "2.5 times as many (beam 1, float32, cpu)."
    )
    results["speed"][-2]["device"] = "cuda:0"  # a comparison of devices, no longer of models
    assert headline(results)[-1] == (
        "The teacher translates 160 words/s (beam 1, float32, cpu), the best student, "
        "self_evolution, 400 (beam 1, float32, cuda:0)."
    )
    results["speed"] = results["speed"][:2]
    assert len(headline(results)) == 1


def test_missing_parts_leave_dashes_not_errors() -> None:
    assert as_text({}) == "Nothing has been scored yet."
    assert headline({}) == ["Nothing has been scored yet."]
    assert main_table({}) == []
    assert examples_text({}) == ""
    results = small_results()
    del results["summary"], results["comparisons"], results["gap_closed"]
    results["scores"] = results["scores"][:2]
    rows = {row.system: row.cells["bleu", "en-de"].mean for row in main_table(results)}
    assert rows["teacher"] == 30.0
    assert rows["sft"] is None
    assert "| sft | – | – |" in as_markdown(results)


def _gain(example: dict[str, Any]) -> float:
    made, reference = example["translations"], example["reference"]
    return closeness(made["self_evolution"], reference) - closeness(made["sft"], reference)
