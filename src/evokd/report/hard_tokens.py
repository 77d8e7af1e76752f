"""Validation sentences token by token: which tokens are hard, before training and after."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from evokd.recipe.objectives import OBJECTIVES
from evokd.report.formatting import DASH, arrow, percent
from evokd.report.results import Record, Results

SHADE_FULL = 2.0
"""Difficulty in nats from which a token's background gets no darker."""
SENTENCES_PER_DIRECTION = 2
Gate = Callable[[Record], float]


def hard_tokens(results: Results) -> dict[str, Any] | None:
    """The first validation sentences of each direction, by the common start and by one student."""
    diagnostics = results.diagnostics
    students = [name for name in (results.focus, *diagnostics) if name in diagnostics]
    after = next((name for name in students if name != "start"), None)
    names = [name for name in ("start", after) if name in diagnostics]
    by_name = {name: _sentences(diagnostics[name][0]) for name in names}
    gate = _gate(results, after, diagnostics[after][0]["gamma"]) if after else None
    shown: dict[str, list[dict[str, Any]]] = {}
    for key in by_name[names[-1]] if names else ():
        direction, source, _ = key
        of_direction = shown.setdefault(direction, [])
        if len(of_direction) < SENTENCES_PER_DIRECTION:
            versions = [
                _version(name, own[key]["tokens"], gate)
                for name, own in by_name.items()
                if key in own
            ]
            of_direction.append(
                {"direction": arrow(direction), "source": source, "versions": versions}
            )
    if not shown:
        return None
    gamma = diagnostics[names[-1]][0].get("gamma")
    return {
        "gamma": gamma,
        "gate": gate and after,
        "sentences": [sentence for of_direction in shown.values() for sentence in of_direction],
        "scale": [
            {
                "shade": shade(d),
                "text": f"{d:g}{'+' if d == SHADE_FULL else ''}{' = Γ' if d == gamma else ''}",
                "hard": gamma and d > gamma,
            }
            for d in sorted({0.0, gamma or 0.0, 1.0, SHADE_FULL})
        ],
    }


def shade(difficulty: float) -> str:
    """Opacity of a token's background, 0 to 0.6: dark text stays readable on it."""
    return f"{0.6 * min(1.0, max(0.0, difficulty) / SHADE_FULL) ** 0.7:.3f}"


def _gate(results: Results, system: str, gamma: float) -> Gate | None:
    """By how much its method damps a token, 0 to 1: Eq. 9 and its other gates (docs/method.md).

    None without a gate, and where what it looks at isn't among the numbers of a token.
    """
    spec, settings = OBJECTIVES.get(results.objective(system)), results.settings(system)
    if not (spec and "gate" in spec.settings) or settings.get("difficulty", "kl") != "kl":
        return None
    doubt, tau = settings.get("doubt", 2.0), settings.get("tau", 0.2)

    def vouched(token: Record) -> float:
        doubted = token["teacher_nll"] > max(doubt, token.get("teacher_entropy", 0.0))
        return token["hard"] and doubted

    gates: dict[str, Gate] = {
        "hard": lambda token: token["hard"],
        "inverted": lambda token: not token["hard"],
        "vouched": vouched,
        "smooth": lambda token: 0.5 + 0.5 * math.tanh((token["difficulty"] - gamma) / (2 * tau)),
    }
    return gates[settings.get("gate", "hard")]


def _sentences(diagnostics: Record) -> dict[tuple[str, str, str], Record]:
    """(Direction, source, reference) → sentence."""
    sentences = diagnostics.get("sentences") or []
    return {(one["direction"], one["source"], one["reference"]): one for one in sentences}


def _version(name: str, tokens: Sequence[Record], gate: Gate | None) -> dict[str, Any]:
    """A sentence as one model sees it."""
    difficulties = [token["difficulty"] for token in tokens]
    return {
        "damped": f"{sum(map(gate, tokens)):.3g}" if gate else "0",
        "name": name,
        "tokens": [_token(token, gate) for token in tokens],
        "hard": sum(bool(token["hard"]) for token in tokens),
        "mean": f"{statistics.fmean(difficulties):.2f}" if difficulties else DASH,
    }


def _token(token: Record, gate: Gate | None) -> dict[str, Any]:
    numbers = [f"d {token['difficulty']:.2f}"]
    for key, label in (("student_nll", "student"), ("teacher_nll", "teacher")):
        if token.get(key) is not None:
            numbers.append(f"−ln {label} {token[key]:.2f}")
    # an end token or a newline has no face of its own
    text = token["text"].replace("\n", "⏎") or "∎"
    word = text.lstrip(" ") or text
    damped = float(gate(token)) if gate else 0.0
    if gate:
        numbers.append(f"damped {percent(damped)}" if damped else "not damped")
    return {
        "damped": f"{0.5 * damped:.3f}",
        "space": text.removesuffix(word),
        "text": word,
        "shade": shade(token["difficulty"]),
        "hard": bool(token["hard"]),
        "title": f"{' · '.join(numbers)} (nats){' · hard' if token['hard'] else ''}",
    }
