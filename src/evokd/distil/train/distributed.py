"""What devices that train together exchange; one alone keeps what it has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor

from evokd.distil.statistics import SUMS, Statistics


@dataclass(frozen=True)
class Devices:
    """All that train together, as seen from one of them."""

    accelerator: Accelerator

    @property
    def is_distributed(self) -> bool:
        return bool(self.accelerator.num_processes > 1)

    @property
    def sharding(self) -> str | None:
        """What spreads the weights themselves over devices, so that none has a whole model."""
        state = self.accelerator.state
        if state.distributed_type == DistributedType.FSDP:
            return "FSDP"
        if state.distributed_type == DistributedType.DEEPSPEED:
            stage = state.deepspeed_plugin.zero_stage
            return "DeepSpeed ZeRO-3" if stage == 3 else None
        return None

    def all_reduce(self, mine: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(mine.to(self.accelerator.device), "sum")
        return total

    def mean(self, mine: Tensor) -> Tensor:
        return self.all_reduce(mine) / self.accelerator.num_processes

    def gathered(self, mine: Tensor) -> Tensor:
        """(n,) of each device to all in a row, on all devices."""
        each: Tensor = self.accelerator.gather(mine.to(self.accelerator.device))
        return each

    def all_of(self, statistics: Statistics) -> Statistics:
        """The sums of all devices."""
        if not self.is_distributed:
            return statistics
        mine = torch.tensor([float(statistics.sums.get(name, 0.0)) for name in SUMS])
        return Statistics(dict(zip(SUMS, self.all_reduce(mine), strict=True)))
