"""What learns or remembers beside the student, and goes with it into every checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from evokd.distil.beta_network import BetaNetwork
from evokd.distil.chunked_loss import TeacherLogits
from evokd.distil.gamma_schedules import Gate
from evokd.distil.objectives import ObjectiveSettings
from evokd.distil.token_selection import TokenQueue
from evokd.distil.train.on_policy import OnPolicy
from evokd.models.lm_head import Head

STATE = "evokd_state"
"""File in a checkpoint, with .pt and, where several processes train, the number of each."""


@dataclass(frozen=True)
class Seen:
    """The N response tokens of a micro-batch, as student and teacher see them."""

    hidden: Tensor
    """(N, H), the student's."""
    head: Head
    said: TeacherLogits | None
    labels: Tensor
    """(N,)"""
    settings: ObjectiveSettings
    size: int
    """Vocabulary entries that both share."""
    progress: float
    """Share of optimizer steps done, 0 to 1."""

    def tokens(self) -> dict[str, Any]:
        """As `BetaNetwork` takes them."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"teacher": named.pop("said"), **named}


@dataclass
class Companions:
    """All that has a state of its own; None where a method has no such thing."""

    gate: Gate | None = None
    """Sets Γ."""
    betas: BetaNetwork | None = None
    """Predicts β of each token."""
    memory: TokenQueue | None = None
    """Losses of past tokens, for objectives that rank by them."""
    on_policy: OnPolicy | None = None
    """The student's own translations."""

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        """The settings of a step, with the Γ that the gate sets."""
        return settings if self.gate is None else self.gate.settings(settings, progress)

    def asked(self, seen: Seen, learns: bool) -> dict[str, Any]:
        """What an objective is handed for some tokens, as keywords of `objective_on_hidden`; in an
        evaluation nothing but the memory, which it leaves as it is then."""
        handed: dict[str, Any] = {} if self.memory is None else {"memory": self.memory}
        if learns and self.gate is not None:
            handed["watch"] = self.gate.observe
        if learns and self.betas is not None and seen.said is not None:
            handed["betas"] = self.betas.betas(**seen.tokens())
        return handed

    def taught(self, seen: Seen, seed: int, average: Callable[[Tensor], Tensor] | None) -> None:
        """Let the network that predicts β learn from some tokens, on all devices at once."""
        if self.betas is not None and seen.said is not None:
            self.betas.learn(**seen.tokens(), seed=seed, average=average)

    def present(self) -> dict[str, Any]:
        """By name, those that there are."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: one for name, one in named.items() if one is not None}

    def save(self, checkpoint: Path, process: int = 0, processes: int = 1) -> None:
        """Write the state of all, as a whole or not at all; without any, nothing."""
        state = {name: one.state_dict() for name, one in self.present().items()}
        if not state:
            return
        path = state_file(checkpoint, process, processes)
        unfinished = path.with_name(path.name + ".part")
        torch.save(state, unfinished)
        os.replace(unfinished, path)

    def load(self, checkpoint: Path, process: int = 0, processes: int = 1) -> None:
        """Take up the state that a checkpoint holds.

        Raises:
            ValueError: it holds none of something that there is now.
        """
        present = self.present()
        if not present:
            return
        path = state_file(checkpoint, process, processes)
        state = torch.load(path, map_location="cpu", weights_only=True) if path.exists() else {}
        missing = ", ".join(sorted(present.keys() - state.keys()))
        if missing:
            raise ValueError(
                f"the checkpoint {checkpoint} holds no state of {missing}, so it was written by "
                "another method, or by another number of processes; remove it to train anew"
            )
        for name, one in present.items():
            one.load_state_dict(state[name])


def state_file(checkpoint: Path, process: int = 0, processes: int = 1) -> Path:
    """Each process holds its own translations, so each has its own file."""
    return checkpoint / (f"{STATE}.pt" if processes == 1 else f"{STATE}_{process}.pt")


class CompanionsKeeper(TrainerCallback):
    """Saves them into each checkpoint, before whatever marks that as complete, and tells the gate
    when a step is done."""

    def __init__(self, companions: Companions, gather: Callable[[Tensor], Tensor]):
        self.companions = companions
        self.gather = gather

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.companions.gate is not None:
            self.companions.gate.step_done(self.gather if args.world_size > 1 else None)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self.companions.save(checkpoint, args.process_index, args.world_size)


class Masks(TrainerCallback):
    """Keeps pruned weights at 0: after each optimizer step they are multiplied by their masks.

    Args:
        model: what is trained.
        masks: by the name of a parameter, 0 and 1 in its shape.

    Raises:
        ValueError: no such parameter, or another shape.
    """

    def __init__(self, model: nn.Module, masks: dict[str, Tensor]):
        known = dict(model.named_parameters())
        self.masked: list[tuple[nn.Parameter, Tensor]] = []
        for name, mask in masks.items():
            if name not in known or known[name].shape != mask.shape:
                found = "no such weight" if name not in known else f"it has {known[name].shape}"
                raise ValueError(f"the mask of {name} has {mask.shape}; {found}")
            self.masked.append((known[name], mask))

    @torch.no_grad()
    def apply(self) -> None:
        """Set what is masked to 0."""
        for i, (weight, mask) in enumerate(self.masked):
            if (mask.device, mask.dtype) != (weight.device, weight.dtype):
                mask = mask.to(weight.device, weight.dtype)
                self.masked[i] = weight, mask
            weight.mul_(mask)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.apply()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.apply()
