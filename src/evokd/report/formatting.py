"""Numbers as people write them; None is a dash."""

from __future__ import annotations

from evokd import progress

DASH = "–"


def arrow(direction: str) -> str:
    """en-de as en → de."""
    return direction.replace("-", " → ")


def count(number: float | None) -> str:
    """920 k, 4.1 M, 7.0 B."""
    if number is None:
        return DASH
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            value = number / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{number:.0f}"


def duration(seconds: float | None) -> str:
    """48 s, 27 min, 5 h 12 min."""
    return DASH if seconds is None else progress.duration(seconds)


def percent(share: float | None) -> str:
    """A fraction in per cent; small ones with a decimal."""
    if share is None:
        return DASH
    return f"{100 * share:.1f} %" if 0 < share < 0.1 or 0.95 < share < 1 else f"{100 * share:.0f} %"


def whole(number: float | None) -> str:
    """Rounded, with a narrow space between thousands."""
    return DASH if number is None else f"{number:,.0f}".replace(",", "\u202f")


def decimal(number: float | None, places: int) -> str:
    """A number with so many decimals."""
    return DASH if number is None else f"{number:.{places}f}"


def places(difference: float) -> int:
    """Decimals of a difference: two where one would show none."""
    return 2 if abs(difference) < 0.1 else 1


def points(difference: float) -> str:
    """1.2, 0.03; see `places`."""
    return f"{difference:.{places(difference)}f}"


def signed(difference: float) -> str:
    """+1.2, −0.8; see `points`."""
    return ("+" if difference >= 0 else "−") + points(abs(difference))


def p_value(p: float) -> str:
    """p = 0.31, p = 0.003, p < 0.001."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
