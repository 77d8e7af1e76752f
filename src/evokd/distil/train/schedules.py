"""What moves β and Γ while a student trains.

A Γ that follows the student is beyond the paper: there it is one number for a whole training,
which the paper names as its limitation.

A Γ that is right for a good student calls nearly every token of a weak one hard, and damps what
that one most needs to learn. Two kinds of rules are here: running ones read Γ off the difficulties
seen last, scheduled ones off the clock. A third, a share of each batch, ranks tokens before there
is a Γ, and is `self_evolution_topk` (`MethodSettings.in_force`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from evokd.distil.statistics import TokenStats
from evokd.distil.token_selection import TokenHistory
from evokd.distil.train.method_state import Exchange, LossInputs, MethodPart
from evokd.recipe.methods import GammaRule
from evokd.recipe.objectives import ObjectiveSettings

Schedule = Callable[[float], float]
"""From the share of optimizer steps done, 0 to 1, to a value."""


def linear(start: float, end: float, of: Literal["student", "target"] = "student") -> Schedule:
    """Progressive β (paper 5.2.2), and a Γ that falls: linear from start to end.

    The paper says that the integration ratio of the target falls, while its β multiplies the
    student (Eq. 6); so both readings are here: `of="student"` moves β itself, `of="target"` moves
    1 − β.
    """

    def value(progress: float) -> float:
        moved = start + (end - start) * _share(progress)
        return moved if of == "student" else 1.0 - moved

    return value


def cosine(start: float, end: float) -> Schedule:
    """Half a cosine from start to end: slow at both ends, half way at half time."""
    return lambda progress: end + (start - end) * (1.0 + math.cos(math.pi * _share(progress))) / 2


def _share(progress: float) -> float:
    return min(max(progress, 0.0), 1.0)


class ProgressiveBeta(MethodPart):
    """β by the clock (paper 5.2.2)."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        return settings.model_copy(update={"beta": self.schedule(progress)})


class ScheduledGamma(MethodPart):
    """Γ by the clock."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        return settings.model_copy(update={"gamma": self.schedule(progress)})

    def metrics(self, settings: ObjectiveSettings, all_reduce: Exchange | None) -> dict[str, float]:
        return {"gamma": settings.gamma}


class RunningGamma(MethodPart):
    """Γ from the difficulties of the last `memory` response tokens, all devices together: from d,
    or from the measure that stands in its place.

    Γ moves after each optimizer step, from what was seen up to then: a step is gated by the ones
    before it. Within a step it stands still, and the tokens of a step enter the history in an order
    that only their difficulties and the number of the step decide; so Γ doesn't depend on how the
    step was cut into micro-batches, chunks and devices, not even where the history forgets a part
    of it.

    Args:
        rule: from the history to Γ in nats; what it gives below 0 counts as 0, where all tokens
            with any difficulty are hard.
        memory: tokens that are held.
    """

    def __init__(self, rule: Callable[[TokenHistory], float], memory: int):
        self.rule = rule
        self.history = TokenHistory(memory)
        self.gamma = ObjectiveSettings().gamma  # nothing was seen yet: the paper's
        self.steps = 0
        self.observed: list[Tensor] = []

    def settings(self, settings: ObjectiveSettings, progress: float) -> ObjectiveSettings:
        return settings.model_copy(update={"gamma": self.gamma})

    def prepare(self, inputs: LossInputs) -> LossInputs:
        if not inputs.learns:
            return inputs
        observers = (*inputs.options.observers, self.observe)
        return replace(inputs, options=replace(inputs.options, observers=observers))

    def observe(self, stats: TokenStats) -> None:
        """Keep what is compared with Γ until the step is done."""
        compared = stats.difficulty if stats.measured is None else stats.measured
        if compared is not None:
            # A copy: a chunk may be written over by the next one.
            self.observed.append(compared.detach().to(torch.float32, copy=True))

    def step_done(self, gather: Exchange | None = None) -> None:
        seen = torch.cat(self.observed) if self.observed else torch.zeros(0)
        self.observed = []
        if gather is not None:
            seen = _gathered(seen, gather)
        seen = seen.cpu()
        seen = seen[seen.isfinite()]
        self.steps += 1
        if len(seen):
            self.history.push(_mixed(seen, seed=self.steps))
            self.gamma = max(0.0, self.rule(self.history))

    def metrics(self, settings: ObjectiveSettings, all_reduce: Exchange | None) -> dict[str, float]:
        return {"gamma": self.gamma}

    def state_dict(self) -> dict[str, Any]:
        return {
            "gamma": torch.tensor(self.gamma, dtype=torch.float64),
            "steps": torch.tensor(self.steps),
            **{f"queue.{name}": one for name, one in self.history.state_dict().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gamma, self.steps = float(state["gamma"]), int(state["steps"])
        held = {name.removeprefix("queue."): one for name, one in state.items() if "." in name}
        self.history.load_state_dict(held)
        self.observed = []


def running_quantile(hard_share: float, memory: int) -> RunningGamma:
    """Γ above which `hard_share` (0 to 1) of the remembered tokens lie."""
    return RunningGamma(lambda history: history.quantile(1.0 - hard_share), memory)


def running_mean(k: float, memory: int) -> RunningGamma:
    """Γ = mean + k · standard deviation of the remembered tokens' difficulties."""
    return RunningGamma(lambda history: history.mean() + k * history.std(), memory)


GAMMA_PARTS: dict[str, Callable[[GammaRule], MethodPart]] = {
    "running_quantile": lambda rule: running_quantile(rule.hard_share, rule.memory),
    "running_mean": lambda rule: running_mean(rule.k, rule.memory),
    "linear": lambda rule: ScheduledGamma(linear(rule.start, rule.end)),
    "cosine": lambda rule: ScheduledGamma(cosine(rule.start, rule.end)),
}
"""How each rule of `evokd.recipe.objectives.GAMMA_RULES` moves Γ; one that isn't here doesn't."""


def _gathered(mine: Tensor, gather: Exchange) -> Tensor:
    """(n,) of each device, n differing, in a row; collectives know equal lengths only."""
    lengths = gather(torch.tensor([len(mine)], device=mine.device))
    padded = mine.new_full((int(lengths.max()),), torch.nan)
    padded[: len(mine)] = mine
    return gather(padded)  # a padded place is no number, and dropped with all that aren't finite


def _mixed(values: Tensor, seed: int) -> Tensor:
    """In an order that depends on the values alone, and favours none of them."""
    generator = torch.Generator().manual_seed(seed)
    return values.sort().values[torch.randperm(len(values), generator=generator)]
