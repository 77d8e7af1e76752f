"""How fast a training goes, and how much of what it reads is padding."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from evokd.distil.statistics import Statistics
from evokd.distil.train.distributed import Devices
from evokd.models.packing import pairs_of


class Throughput:
    """Tokens, and positions they were laid out on, over the time of training since the last log."""

    def __init__(self, device: torch.device):
        self._positions = torch.zeros(2, dtype=torch.long, device=device)
        self._start = 0.0  # the clock stands

    @property
    def running(self) -> bool:
        return self._start > 0

    def begin(self) -> None:
        """Start the clock, if it stands."""
        self._start = self._start or time.perf_counter()

    def count(self, batch: dict[str, Tensor]) -> None:
        self._positions[0] += (pairs_of(batch) >= 0).sum()
        self._positions[1] += batch["labels"].numel()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out what goes on meanwhile: an evaluation isn't training."""
        since = time.perf_counter()
        yield
        if self.running:
            self._start += time.perf_counter() - since

    def metrics(self, statistics: Statistics, devices: Devices) -> dict[str, float]:
        """What the metrics file gets, of all devices together; and counts anew."""
        now = time.perf_counter()
        seconds = now - self._start
        real, laid_out = devices.all_reduce(self._positions).tolist()
        self._positions.zero_()
        self._start = now
        responses = float(statistics.sums.get("tokens", 0.0))
        return {
            "tokens_per_s": round(real / seconds, 1),
            "response_tokens_per_s": round(responses / seconds, 1),
            "padding_share": 1.0 - real / max(1, laid_out),
        }
