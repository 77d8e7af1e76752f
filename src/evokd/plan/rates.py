"""How fast trainings were on this machine: a small file that the next plan reads.

In $XDG_CACHE_HOME/evokd/rates.json (~/.cache): device → the last few trainings that finished there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from evokd.rundir.files import write_json

KEPT = 20
"""Trainings of a device."""
LEAST_SECONDS = 20.0
"""A shorter one says more of its start than of its speed."""


@dataclass(frozen=True)
class Rate:
    """The median of what was measured."""

    flops_per_s: float
    """Of one device."""
    trainings: int
    date: str

    def words(self) -> str:
        of = f"the median of {self.trainings} trainings" if self.trainings > 1 else "one training"
        return f"{self.flops_per_s / 1e12:.3g} TFLOP/s, {of}"


def rates_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evokd/rates.json"


def remember(device: str, facts: Mapping[str, Any]) -> None:
    """Keep a finished training's rate; whatever goes wrong with that is no matter of the run's."""
    rate, seconds = facts.get("flops_per_s"), facts.get("train_seconds") or 0.0
    if not rate or seconds < LEAST_SECONDS:
        return
    with suppress(OSError, ValueError, TypeError, AttributeError):
        path, tree = rates_file(), {}
        with suppress(OSError, ValueError):
            tree = json.loads(path.read_text(encoding="utf-8"))
        entry = {key: facts.get(key) for key in ("parameters", "tokens_per_s")}
        entry |= {"flops_per_s": float(rate), "date": date.today().isoformat()}
        tree[device] = [*tree.get(device, []), entry][-KEPT:]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, tree)


def measured_rate(device: str) -> Rate | None:
    """What trainings on a device reached; None: there was none, or the file is damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found = json.loads(rates_file().read_text(encoding="utf-8"))[device]
        rates = [float(one["flops_per_s"]) for one in found]
        return Rate(median(rates), len(rates), str(found[-1]["date"])) if rates else None
    return None
