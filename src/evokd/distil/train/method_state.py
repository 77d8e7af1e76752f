"""What changes, learns or remembers beside the student, and goes with it into every checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainingArguments

from evokd.distil.token_batch import LossOptions, TeacherLogits, TokenBatch
from evokd.distil.token_selection import TokenHistory
from evokd.errors import InputError
from evokd.recipe.objectives import ObjectiveSettings

Exchange = Callable[[Tensor], Tensor]
"""From a tensor of each device to their sum, mean or row, on all of them."""


@dataclass(frozen=True)
class LossInputs:
    """What a micro-batch's loss is computed from."""

    batch: TokenBatch
    teacher: TeacherLogits | None
    options: LossOptions
    progress: float
    """Share of optimizer steps done, 0 to 1."""
    learns: bool
    """False in an evaluation."""


class MethodPart:
    """A part of a method with a state of its own. What it doesn't define changes nothing."""

    differs = False
    """Whether each of several processes has another state."""

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        """The settings of a step; progress: share of optimizer steps done, 0 to 1."""
        return settings

    def prepare(self, inputs: LossInputs) -> LossInputs:
        """What a loss is computed from, before it is."""
        return inputs

    def learn(self, inputs: LossInputs, seed: int, average: Exchange | None) -> None:
        """Once for each optimizer step, from one of its micro-batches, on all devices at once."""

    def step_done(self, gather: Exchange | None) -> None:
        """After an optimizer step, on all devices."""

    def validated(self, loss: float) -> None:
        """After a validation: NLL of the reference, nats per token."""

    def metrics(self, settings: ObjectiveSettings, all_reduce: Exchange | None) -> dict[str, float]:
        """What the metrics file gets, of the steps since the last call."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs; taken between optimizer steps."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class RankingHistory(MethodPart):
    """Losses of past tokens, which those of a batch are ranked against."""

    def __init__(self, size: int):
        self.history = TokenHistory(size)

    def prepare(self, inputs: LossInputs) -> LossInputs:
        return replace(inputs, options=replace(inputs.options, history=self.history))

    def state_dict(self) -> dict[str, Any]:
        return self.history.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history.load_state_dict(state)


class PartsCallback(TrainerCallback):
    """Saves parts into each checkpoint, before whatever marks that as complete, and tells them when
    a step is done."""

    def __init__(self, parts: Mapping[str, MethodPart], gather: Exchange):
        self.parts = parts
        self.gather = gather

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for part in self.parts.values():
            part.step_done(self.gather if args.world_size > 1 else None)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the state of all, as a whole or not at all; without any, nothing."""
        states = {name: own for name, part in self.parts.items() if (own := part.state_dict())}
        if states:
            path = _state_file(Path(args.output_dir) / f"checkpoint-{state.global_step}", args)
            unfinished = path.with_name(path.name + ".part")
            torch.save(states, unfinished)
            os.replace(unfinished, path)

    def load(self, checkpoint: Path, args: TrainingArguments) -> None:
        """Take up the state that a checkpoint holds.

        Raises:
            InputError: it holds none of a part that has one, or what each of another number of
                processes held.
        """
        stateful = {name: part for name, part in self.parts.items() if part.state_dict()}
        if not stateful:
            return
        files = sorted(checkpoint.glob("evokd_state*.pt"))
        own = _state_file(checkpoint, args)
        as_then = own in files and len(files) == args.world_size
        path = own if as_then or not files else files[0]
        states = torch.load(path, map_location="cpu", weights_only=True) if files else {}
        missing = ", ".join(sorted(stateful.keys() - states.keys()))
        apart = [name for name, part in stateful.items() if part.differs and not as_then]
        if missing or apart:
            raise InputError(
                f"the checkpoint {checkpoint} "
                + (
                    f"holds no state of {missing}, so another method wrote it"
                    if missing
                    else f"was written by {len(files)} processes, each with {', '.join(apart)} of "
                    f"its own, and there are {args.world_size} now; go on with as many"
                )
                + "; or remove it to train anew"
            )
        for name, part in stateful.items():
            part.load_state_dict(states[name])


def _state_file(checkpoint: Path, args: TrainingArguments) -> Path:
    """Each process holds its own translations, so each has its own file."""
    process = f"_{args.process_index}" if args.world_size > 1 else ""
    return checkpoint / f"evokd_state{process}.pt"
