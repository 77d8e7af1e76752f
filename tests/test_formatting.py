"""Numbers as people write them."""

from __future__ import annotations

import pytest

from evokd.report import formatting


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.count(920_000), "920 k"),
        (formatting.count(4_100_000), "4.1 M"),
        (formatting.count(7e9), "7.0 B"),
        (formatting.count(None), "–"),
        (formatting.duration(48.2), "48 s"),
        (formatting.duration(1620), "27 min"),
        (formatting.duration(18_720), "5 h 12 min"),
        (formatting.percent(0.0042), "0.4 %"),
        (formatting.percent(0.31), "31 %"),
        (formatting.percent(0.996), "99.6 %"),
        (formatting.whole(57418.2), "57\u202f418"),
        (formatting.decimal(None, 2), "–"),
        (formatting.signed(1.24), "+1.2"),
        (formatting.signed(-0.031), "−0.03"),
        (formatting.p_value(0.0004), "p < 0.001"),
        (formatting.p_value(0.01), "p = 0.010"),
        (formatting.p_value(0.31), "p = 0.31"),
    ],
)
def test_numbers_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected
