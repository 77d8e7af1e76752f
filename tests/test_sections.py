"""What the sections show, by hand."""

from __future__ import annotations

from evokd.report.sections import differing_words


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
