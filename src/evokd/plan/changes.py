"""The smallest change that makes a training fit, tried in the order of what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from evokd.plan.memory import GIB, Training, training_memory
from evokd.plan.placement import Placement
from evokd.plan.stages import Planned

RANK = 16
"""Of the LoRA that is proposed."""
MOST_DEVICES = 256


@dataclass(frozen=True)
class Change:
    """What to type, and what a device then holds."""

    typed: tuple[str, ...]
    total: float
    devices: int
    changes_result: bool = False

    def words(self) -> str:
        more = f"{self.devices} GPUs with " if self.devices > 1 else ""
        other = " (other results: label them)" if self.changes_result else ""
        return f"{more}{' '.join(self.typed)}: {self.total / GIB:.1f} GiB{other}"

    def as_dict(self) -> dict[str, object]:
        return {
            "type": list(self.typed),
            "gpus": self.devices,
            "total_gib": round(self.total / GIB, 2),
            "changes_result": self.changes_result,
        }


def smallest_changes(stage: Planned, memory: float, devices: int, signal: str) -> list[Change]:
    """The first change that fits on the same devices, and the first one with more of them.

    Args:
        memory: bytes of a device.
        signal: the recipe's teacher.signal.
    """
    if stage.training is None:
        return []
    here = next(_that_fit(_here(stage, stage.training, devices, signal), memory), None)
    changes = [] if here is None else [here]
    if here is None or here.changes_result:
        more = next(_that_fit(_more(stage, stage.training, devices), memory), None)
        on_gpu = stage.training.device == "gpu"
        changes += [more] if on_gpu and more is not None else []
    return changes


Tried = Iterator[tuple[tuple[str, ...], Training, bool]]


def _that_fit(tried: Tried, memory: float) -> Iterator[Change]:
    for typed, training, changes_result in tried:
        total = training_memory(training).total
        if total <= memory:
            yield Change(typed, total, training.placement.devices, changes_result)


def _here(stage: Planned, training: Training, devices: int, signal: str) -> Tried:
    """On the devices that there are: what changes no result first."""
    yield from _lighter(stage, training, (), False)
    if training.teacher is not None and training.signal == "live" and signal == "live":
        typed = ("teacher.signal=hidden",)
        yield from _lighter(stage, replace(training, signal="hidden"), typed, False)
    if devices > 1 and training.placement.kind != "fsdp2":
        sharded = replace(training, placement=Placement("fsdp2", devices))
        yield from _lighter(stage, sharded, ("training.sharding=fsdp2",), False)
    model = "teacher" if stage.keys.startswith("teacher") else "student"
    lora = replace(training.formats, state=8.0, rank=RANK)
    lean = (f"{model}.lora={{rank: {RANK}}}",)
    yield from _lighter(stage, replace(training, formats=lora), lean, True)
    if training.signal == "live" and signal == "live" and training.teacher is not None:
        cached = replace(training, formats=lora, signal="hidden")
        yield from _lighter(stage, cached, (*lean, "teacher.signal=hidden"), True)


def _more(stage: Planned, training: Training, devices: int) -> Tried:
    """With more devices, which share the weights."""
    count = 2
    while count <= MOST_DEVICES:
        if count > devices:
            shared = replace(training, placement=Placement("fsdp2", count))
            yield from _lighter(stage, shared, ("training.sharding=fsdp2",), False)
        count *= 2


def _lighter(stage: Planned, training: Training, typed: tuple[str, ...], other: bool) -> Tried:
    """As it is; with smaller micro-batches, with checkpointing, with both."""
    if typed:
        yield typed, training, other
    for checkpointing in dict.fromkeys((training.checkpointing, True)):
        rows = training.tokens.rows
        more = typed
        if checkpointing and not training.checkpointing:
            more += (f"{stage.keys}.gradient_checkpointing=true",)
            yield more, replace(training, checkpointing=True), other
        while rows > 1:
            rows = rows // 2
            smaller = replace(
                training,
                tokens=training.tokens._replace(rows=rows),
                responses=max(1, training.responses * rows // training.tokens.rows),
                accumulates=True,
                checkpointing=checkpointing,
            )
            yield (*more, f"{stage.keys}.micro_batch_size={rows}"), smaller, other
