"""How much arithmetic a finished training did in a second, and what share of the card's that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evokd.errors import InputError
from evokd.plan.devices import card
from evokd.plan.shapes import shape_of_config
from evokd.plan.time import Amount, model_flops


def speed_facts(
    facts: Mapping[str, Any],
    student: Mapping[str, Any],
    teacher: Mapping[str, Any] | None,
    length: float,
    device: str,
    devices: int = 1,
) -> dict[str, float | None]:
    """Model FLOP/s of one device, and their share of its peak (MFU), None where that isn't known.

    What a method asks for counts, once: student forward and backward, the forward of a teacher
    that reads the text. Activations that are computed again don't.

    Args:
        facts: tokens and response tokens a second, of all devices together.
        student, teacher: their configs; None: the teacher doesn't read along.
        length: tokens of a pair.
        device: its name.
    """
    tokens, responses = facts.get("tokens_per_s"), facts.get("response_tokens_per_s")
    if not tokens or not responses:
        return {}
    try:
        shape = shape_of_config(student, "the student")
        reads = None if teacher is None else shape_of_config(teacher, "the teacher")
    except InputError:  # an architecture that isn't known here
        return {}
    second = Amount(tokens / length, length, responses * length / tokens)
    rate = model_flops(shape, reads, second) / devices
    known = card(device)
    share = None if known is None or known.peak is None else rate / known.peak
    return {"flops_per_s": float(f"{rate:.4g}"), "mfu": None if share is None else round(share, 4)}
