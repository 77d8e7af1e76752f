"""What the sections show, by hand."""

from __future__ import annotations

from evokd.report import sections
from evokd.report.results import Results
from evokd.report.sections import differing_words, gates, training
from fake_run import make_results


def test_differing_words_by_hand() -> None:
    assert differing_words("a  red dog runs", "a dog runs fast") == [
        ("a", False),
        ("  ", False),
        ("red", True),
        (" ", False),
        ("dog runs", False),
    ]
    assert differing_words("我爱狗", "我爱猫") == [("我爱", False), ("狗", True)]
    assert differing_words("", "a b") == []


def test_gates_are_shown_where_wrong_tokens_are_known() -> None:
    papers = {"gamma": 0.4, "doubt": None, "damped": 0.5, "precision": 0.25, "recall": 1.0}
    vouched = {"gamma": 0.4, "doubt": 2.0, "damped": 0.0, "precision": None, "recall": 0.0}
    grid = gates(Results({"start": {"gates": [papers, vouched]}}))
    assert grid is not None
    assert grid.groups[""] == [
        ["self_evolution", "0.4", "–", "50 %", "25 %", "100 %"],
        ["vouched", "0.4", "2", "0 %", "–", "0 %"],
    ]
    assert gates(Results({})) is None


def test_what_was_put_right_is_shown_before_and_after():
    example = {
        "origin": "train:3",
        "source": "A\u200b dog\u00a0&amp; a cat.",
        "target": "Ein Hund.",
        "source_became": "A dog & a cat.",
        "target_became": "Ein Hund.",
    }
    report = {"read": 9, "kept": 9, "repaired": 1, "repairs": {"markup": {"count": 1}}}
    report["repairs"]["markup"]["examples"] = [example]
    shown = sections.cleaning(Results({"cleaning": report}))
    ((name, number, share, cell),) = shown["drops"].groups["put right"]
    assert (name, number, share) == ("markup", "1", "11 %")
    assert "A\\u200b dog\\xa0&amp;amp; a cat.</span> →" in cell
    assert ">A dog &amp; a cat.</span>" in cell
    assert "train:3" in cell


def test_arithmetic_is_shown_with_its_share_of_the_peak_where_that_is_known() -> None:
    grid = training(Results(make_results()))
    place = grid.headings.index("GFLOP/s (of peak)")
    cells = {row[0]: row[place] for row in grid.groups[""]}
    assert cells["teacher"] == "80 (31 %)"
    assert {cell for name, cell in cells.items() if name != "teacher"} == {"73"}
