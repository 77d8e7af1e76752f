"""What changes over training."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]
"""From the share of optimizer steps done, 0 to 1, to a value."""


def linear(start: float, end: float, of: str = "student") -> Schedule:
    """Progressive β (paper 5.2.2), and a Γ that falls: linear from start to end.

    The paper says that the integration ratio of the target falls, while its β multiplies the
    student (Eq. 6); so both readings are here: `of="student"` moves β itself, `of="target"` moves
    1 − β.
    """
    if of not in ("student", "target"):
        raise ValueError(f"schedule of {of!r}; 'student' and 'target' are accepted")

    def value(progress: float) -> float:
        moved = start + (end - start) * _share(progress)
        return moved if of == "student" else 1.0 - moved

    return value


def cosine(start: float, end: float) -> Schedule:
    """Half a cosine from start to end: slow at both ends, half way at half time."""

    def value(progress: float) -> float:
        return end + (start - end) * (1.0 + math.cos(math.pi * _share(progress))) / 2

    return value


def _share(progress: float) -> float:
    return min(max(progress, 0.0), 1.0)
