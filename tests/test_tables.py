"""The tables, against tables written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from evokd.report.headline import headline
from evokd.report.results import Results
from evokd.report.tables import (
    as_markdown,
    as_text,
    closeness,
    examples_text,
)
from fake_run import make_results, small_results


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
What a difference is worth to people: docs/evaluation.md (after Kocmi et al. 2024).
BLEU: tok:13a"""
    assert as_text(Results(small_results())) == expected


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
    assert as_markdown(Results(small_results())).startswith(expected)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_terminal_tables_fit_100_columns_and_lose_no_number(seeds: tuple[int, ...]) -> None:
    results = make_results(seeds)
    text = as_text(Results(results))
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
    tables = as_text(Results(results)).split("\n\ngap")[0]
    assert max(map(len, tables.split("no system")[0].splitlines())) <= 100
    assert all(direction in tables for direction in results["directions"])


def test_examples_follow_their_rule() -> None:
    results = make_results()
    made = results["examples"][2]["translations"]
    made["self_evolution"] = "Ganz falsch ."
    text = examples_text(Results(results), n=1)
    assert text == examples_text(Results(results), n=1)
    shown = max(results["examples"], key=_gain)
    assert shown["reference"] in text
    assert text.count("reference  ") == 1
    assert "Ganz falsch" not in text
    assert "closer to the reference in 5, further in 1" in " ".join(text.split())


def test_closeness_by_hand() -> None:
    assert closeness("a b c", "a b c") == 1
    assert closeness("a x c d", "a b c d") == pytest.approx(2 * 3 / 8)
    assert closeness("x", "a b") == 0


def test_missing_parts_leave_dashes_not_errors() -> None:
    assert as_text(Results({})) == "Nothing has been scored yet."
    assert headline(Results({})) == ["Nothing has been scored yet."]
    assert Results({}).tables == []
    assert examples_text(Results({})) == ""
    results = small_results()
    del results["summary"], results["comparisons"], results["gap_closed"]
    results["scores"] = results["scores"][:2]
    rows = {row.system: row.cells["bleu", "en-de"].mean for row in Results(results).tables[0].rows}
    assert rows["teacher"] == 30.0
    assert rows["sft"] is None
    assert "| sft | – |" in as_markdown(Results(results))


def _gain(example: dict[str, Any]) -> float:
    made, reference = example["translations"], example["reference"]
    return closeness(made["self_evolution"], reference) - closeness(made["sft"], reference)
