"""What makes Γ follow the student, beyond the paper: there it is one number for a whole training,
which the paper names as its limitation.

A Γ that is right for a good student calls nearly every token of a weak one hard, and damps what
that one most needs to learn. Two kinds of rules are here: running ones read Γ off the difficulties
seen last, scheduled ones off the clock. A third, a share of each batch, isn't a gate: it ranks
tokens before there is a Γ, and is `self_evolution_topk` (`objective_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from evokd.distil.row_loss.closed_forms import Rows
from evokd.distil.schedules import Schedule, cosine, linear
from evokd.distil.token_selection import TokenQueue
from evokd.distil.tokens import ObjectiveSettings
from evokd.recipe.methods import GammaRule, MethodSettings

FIRST_GAMMA = 0.4
"""Γ of a running rule's first optimizer step, when nothing has been seen: the paper's."""
Gather = Callable[[Tensor], Tensor]
"""From (n,) tensors, one of each device and all as long, to all of them in a row on each device."""


class Gate(Protocol):
    """Sets Γ from step to step. It is the same on all devices."""

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        """The settings of a step, with its Γ; progress: share of optimizer steps done, 0 to 1."""
        ...

    def observe(self, rows: Rows) -> None:
        """Look at what was found of a chunk of this device's tokens, in training only."""
        ...

    def step_done(self, gather: Gather | None = None) -> None:
        """After an optimizer step, on all devices: take in what was observed since the last."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed training needs; taken between optimizer steps."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class ScheduledGate:
    """Γ by the clock."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        return replace(settings, gamma=self.schedule(progress))

    def observe(self, rows: Rows) -> None:
        pass

    def step_done(self, gather: Gather | None = None) -> None:
        pass

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass


class RunningGate:
    """Γ from the difficulties of the last `memory` response tokens, all devices together: from d,
    or from the measure that stands in its place.

    Γ moves after each optimizer step, from what was seen up to then: a step is gated by the ones
    before it. Within a step it stands still, and the tokens of a step enter the queue in an order
    that only their difficulties and the number of the step decide; so Γ doesn't depend on how the
    step was cut into micro-batches, chunks and devices, not even where the queue forgets a part
    of it.

    Args:
        rule: from the queue to Γ in nats; what it gives below 0 counts as 0, where all tokens with
            any difficulty are hard.
        memory: tokens that the queue holds.
    """

    def __init__(self, rule: Callable[[TokenQueue], float], memory: int):
        self.rule = rule
        self.queue = TokenQueue(memory)
        self.gamma = FIRST_GAMMA
        self.steps = 0
        self.observed: list[Tensor] = []

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        return replace(settings, gamma=self.gamma)

    def observe(self, rows: Rows) -> None:
        compared = rows.difficulty if rows.measured is None else rows.measured
        if compared is not None:
            # A copy: a chunk may be written over by the next one.
            self.observed.append(compared.detach().to(torch.float32, copy=True))

    def step_done(self, gather: Gather | None = None) -> None:
        seen = torch.cat(self.observed) if self.observed else torch.zeros(0)
        self.observed = []
        if gather is not None:
            seen = _gathered(seen, gather)
        seen = seen.cpu()
        seen = seen[seen.isfinite()]
        self.steps += 1
        if len(seen):
            self.queue.push(_mixed(seen, seed=self.steps))
            self.gamma = max(0.0, self.rule(self.queue))

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "gamma": torch.tensor(self.gamma, dtype=torch.float64),
            "steps": torch.tensor(self.steps),
            **{f"queue.{name}": one for name, one in self.queue.state_dict().items()},
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.gamma, self.steps = float(state["gamma"]), int(state["steps"])
        queue = {name.removeprefix("queue."): one for name, one in state.items() if "." in name}
        self.queue.load_state_dict(queue)
        self.observed = []


def running_quantile(hard_share: float, memory: int) -> RunningGate:
    """Γ above which `hard_share` (0 to 1) of the remembered tokens lie."""
    return RunningGate(lambda queue: queue.quantile(1.0 - hard_share), memory)


def running_mean(k: float, memory: int) -> RunningGate:
    """Γ = mean + k · standard deviation of the remembered tokens' difficulties."""
    return RunningGate(lambda queue: queue.mean() + k * queue.std(), memory)


def gate_of(method: MethodSettings) -> Gate | None:
    """What a method's Γ follows; None: nothing, or each batch by itself (`objective_of`)."""
    rule = method.gamma
    if not isinstance(rule, GammaRule) or rule.rule == "quantile":
        return None
    if rule.rule == "running_quantile":
        return running_quantile(rule.hard_share, rule.memory)
    if rule.rule == "running_mean":
        return running_mean(rule.k, rule.memory)
    schedule = {"linear": linear, "cosine": cosine}[rule.rule]
    return ScheduledGate(schedule(rule.start, rule.end))


def objective_of(method: MethodSettings) -> tuple[str, float]:
    """Objective and top percent of a method.

    A Γ that makes `hard_share` of each micro-batch hard is a ranking of its tokens by d.
    """
    rule = method.gamma
    if not isinstance(rule, GammaRule) or rule.rule != "quantile":
        return method.objective, method.top_percent
    return "self_evolution_topk", 100.0 * rule.hard_share


def _gathered(mine: Tensor, gather: Gather) -> Tensor:
    """(n,) of each device, n differing, in a row; collectives know equal lengths only."""
    lengths = gather(torch.tensor([len(mine)], device=mine.device))
    padded = mine.new_full((int(lengths.max()),), torch.nan)
    padded[: len(mine)] = mine
    return gather(padded)  # a padded place is no number, and dropped with all that aren't finite


def _mixed(values: Tensor, seed: int) -> Tensor:
    """In an order that depends on the values alone, and favours none of them."""
    generator = torch.Generator().manual_seed(seed)
    return values.sort().values[torch.randperm(len(values), generator=generator)]
