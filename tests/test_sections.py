"""What the sections show, by hand."""

from __future__ import annotations

from evokd.report.results import Results
from evokd.report.sections import differing_words, gates


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
