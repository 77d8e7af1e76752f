"""What changes over training."""

from __future__ import annotations

from collections.abc import Callable

BetaSchedule = Callable[[float], float]
"""From the share of optimizer steps done, 0 to 1, to β."""


def linear(start: float, end: float, of: str = "student") -> BetaSchedule:
    """Progressive β (paper 5.2.2): linear from start to end over the optimizer steps.

    The paper says that the integration ratio of the target falls, while its β multiplies the
    student (Eq. 6); so both readings are here: `of="student"` moves β itself, `of="target"` moves
    1 − β.
    """
    if of not in ("student", "target"):
        raise ValueError(f"schedule of {of!r}; 'student' and 'target' are accepted")

    def beta(progress: float) -> float:
        value = start + (end - start) * min(max(progress, 0.0), 1.0)
        return value if of == "student" else 1.0 - value

    return beta
