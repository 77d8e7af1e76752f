"""The colours of systems."""

from __future__ import annotations

from evokd.report.svg import KNOWN_COLOURS, make_palette


def test_colours_are_fixed_and_apart() -> None:
    palette = make_palette(["mine", *KNOWN_COLOURS, "other", *map(str, range(20))])
    assert palette["self_evolution"] == make_palette(["self_evolution"])["self_evolution"]
    assert len(set(palette.values())) == len(palette)
