"""Checkpoints to which each process writes its part of student and optimizer, and which any number
of processes can go on from; so can a student that isn't sharded, and a sharded one from a whole
checkpoint.

torch.distributed.checkpoint, under the names of the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from evokd import processes
from evokd.errors import InputError
from evokd.models import zero3
from evokd.models.adapters import is_adapted, take_adapters
from evokd.models.sharding import (
    is_sharded,
    laid_out_like,
    release,
    trains_parts,
    whole_weights,
)

WEIGHTS, OPTIMIZER = "sharded/weights", "sharded/optimizer"
"""Folders in a checkpoint."""
HANDED_OUT = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def is_in_parts(checkpoint: Path) -> bool:
    """Whether a sharded student wrote it."""
    return (checkpoint / WEIGHTS).is_dir()


def check_goes_on(student: nn.Module, checkpoint: Path) -> None:
    """See that a student can go on from a checkpoint.

    Raises:
        InputError: DeepSpeed wrote it and doesn't train the student, or the other way round, or
            with another number of processes.
    """
    wrote, now = zero3.processes_of(checkpoint), 0
    if zero3.is_partitioned(student):
        now = processes.count()
    if wrote != now:
        made, asked = (f"{n} processes of DeepSpeed" if n else "no DeepSpeed" for n in (wrote, now))
        raise InputError(
            f"{checkpoint} was made with {made}, and a training with {asked} can't go on from it; "
            "start as before, or remove that folder to begin again"
        )


def save_parts(checkpoint: Path, student: nn.Module, optimizer: Any) -> None:
    """Called by all processes; it is whole when the call returns in the first."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper
    dcp.save(get_model_state_dict(student), checkpoint_id=checkpoint / WEIGHTS)
    state = get_optimizer_state_dict(student, optimizer)
    dcp.save(state, checkpoint_id=checkpoint / OPTIMIZER)


def load_weights(student: nn.Module, checkpoint: Path) -> None:
    """A checkpoint's weights into a student, in place; called by all processes."""
    release(student)
    if zero3.is_partitioned(student):
        zero3.take_weights(student, checkpoint)
    elif is_adapted(student):
        take_adapters(student, checkpoint)
    elif is_in_parts(checkpoint):
        weights = get_model_state_dict(student)
        dcp.load(weights, checkpoint_id=checkpoint / WEIGHTS)
        set_model_state_dict(student, weights)
    elif is_sharded(student):
        whole = _saved(student, checkpoint).state_dict() if dist.get_rank() == 0 else {}
        set_model_state_dict(student, whole, options=HANDED_OUT)
    else:
        student.load_state_dict(_saved(student, checkpoint).state_dict())


def load_optimizer(student: nn.Module, optimizer: Any, checkpoint: Path) -> None:
    """The same of the optimizer's state."""
    optimizer = getattr(optimizer, "optimizer", optimizer)
    if is_in_parts(checkpoint):
        state = get_optimizer_state_dict(student, optimizer)
        dcp.load(state, checkpoint_id=checkpoint / OPTIMIZER)
        set_optimizer_state_dict(student, optimizer, state)
    else:
        saved = torch.load(checkpoint / OPTIMIZER_NAME, "cpu", mmap=True, weights_only=True)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for number, own in saved["state"].items():
            like = weights[number]
            for key, value in own.items():
                if torch.is_tensor(value) and value.shape == like.shape:
                    own[key] = laid_out_like(like, value)
        optimizer.load_state_dict(saved)


class ShardedCheckpoints:
    """What Trainer's own checkpoints don't know of: students of which each process has a part."""

    model: Any
    optimizer: Any
    lr_scheduler: Any
    args: Any

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's. The first process writes an ordinary folder; in checkpoints the parts stand
        for it."""
        if not (trains_parts(self.model) or zero3.is_partitioned(self.model)):
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]
        elif _internal_call:
            Path(str(output_dir)).mkdir(
                parents=True, exist_ok=True
            )  # Trainer looks whether it is there
        else:
            weights = whole_weights(self.model)
            if self.args.should_save:
                self.model.save_pretrained(output_dir or self.args.output_dir, state_dict=weights)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not trains_parts(self.model):
            return super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
        save_parts(Path(output_dir), self.model, self.optimizer)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._in_parts(resume_from_checkpoint):
            load_weights(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self._in_parts(checkpoint):
            return super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        load_optimizer(self.model, self.optimizer, Path(checkpoint))
        schedule = torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True)
        self.lr_scheduler.load_state_dict(schedule)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint  # type: ignore[attr-defined]
        if self._in_parts(best):
            load_weights(self.model, Path(best))
        else:
            super()._load_best_model()  # type: ignore[misc]

    def _in_parts(self, checkpoint: str) -> bool:
        """Whether either of the two is: student, checkpoint."""
        return trains_parts(self.model) or is_in_parts(Path(checkpoint))


def _saved(student: Any, checkpoint: Path) -> Any:
    return student.from_pretrained(checkpoint, dtype=next(student.parameters()).dtype)
