"""What a run would take: steps, tokens, disk and time, from what was measured in its folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tabulate import tabulate

from evokd.data.pairs import Pair
from evokd.report.formatting import count, duration
from evokd.rundir.integrity import MANIFEST
from evokd.rundir.stage import KEPT, manifest_in
from evokd.study.steps import Step

SAMPLE = 200
"""Pairs whose tokens are counted."""


@dataclass(frozen=True)
class Cost:
    """Of a stage that isn't there; None: not known before it is made once."""

    steps: int | None = None
    tokens: float | None = None
    mib: float | None = None
    seconds: float | None = None

    def words(self) -> str:
        """600 steps, 1.2 M tokens, 3.5 MiB, about 50 s."""
        parts = [
            None if self.steps is None else f"{self.steps} steps",
            None if self.tokens is None else f"{count(self.tokens)} tokens",
            None if self.mib is None else f"{self.mib:.1f} MiB",
            None if self.seconds is None else f"about {duration(self.seconds)}",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Forecast:
    """What a run would do, and what it would take."""

    steps: list[Step]
    costs: dict[str, Cost]
    """Of what isn't kept, by name."""

    @classmethod
    def of(cls, steps: list[Step], folder: Path, pairs: Sequence[Pair]) -> Forecast:
        made = [step for step in steps if step.action != "keep"]
        return cls(steps, {step.name: cost_of(step, folder, pairs) for step in made})

    def lines(self, replaced_only: bool = False) -> list[str]:
        """A line each, and what it comes to.

        Args:
            replaced_only: only what is made anew, in place of something else.
        """
        shown = [step for step in self.steps if step.action == "remake" or not replaced_only]
        rows = []
        for name, step in together(shown):
            why = "; ".join(filter(None, [step.because, self._cost(step)]))
            rows.append([name, step.action, why])
        counts = Counter(step.action for step in self.steps)
        sums = f"{counts['keep']} kept, {counts['make']} to make, {counts['remake']} to make anew"
        words = self.total().words()
        lines = tabulate(rows, tablefmt="plain").splitlines()
        lines.append(f"{sums}{f': {words}, as far as is known' if words else ''}")
        if counts["remake"]:
            lines.append(f"what stands in their places goes to {KEPT}/; evokd clean removes it")
        return lines

    def seconds_again(self) -> float:
        """Of what is made anew, as far as is known."""
        again = [self.costs[step.name] for step in self.steps if step.action == "remake"]
        return total(again).seconds or 0.0

    def total(self) -> Cost:
        return total(list(self.costs.values()))

    def as_dict(self) -> dict[str, Any]:
        rows = [step.as_dict() | asdict(self.costs.get(step.name, Cost())) for step in self.steps]
        return {"stages": rows, "total": asdict(self.total())}

    def _cost(self, step: Step) -> str:
        return self.costs[step.name].words() if step.name in self.costs else ""


def together(steps: Iterable[Step]) -> Iterator[tuple[str, Step]]:
    """What a line calls each step; translations of which the same is to be said share one."""

    def said(step: Step) -> tuple[str, str, str]:
        name = "translations" if step.name.startswith("translations ") else step.name
        return name, step.action, step.because

    for (name, _, _), alike in groupby(steps, key=said):
        first, *more = alike
        yield f"{name} ({1 + len(more)})" if more else first.name, first


def cost_of(step: Step, folder: Path, pairs: Sequence[Pair]) -> Cost:
    """What it takes to make a stage.

    Args:
        folder: the run folder, for what stages of its kind took.
        pairs: the training pairs.
    """
    training = step.made_of.get("training")
    if not training:
        before = step.before
        return Cost(None, None, _mib(before), before.get("wall_s"))
    steps = step.made_of.get("steps") or training["max_steps"]
    size = training["batch_size"]
    steps = steps or math.ceil(training["epochs"] * math.ceil(len(pairs) / size))
    kin = [step.before] if step.before else _kin(folder, step.place)
    rates = [one["wall_s"] / one["facts"]["steps"] for one in kin if one["facts"].get("steps")]
    sizes = [mib for one in kin if (mib := _mib(one))]
    length = _tokens_per_pair(folder, pairs)
    return Cost(
        steps,
        None if length is None else steps * size * length,
        median(sizes) if sizes else None,
        steps * median(rates) if rates else None,
    )


def total(costs: Sequence[Cost]) -> Cost:
    """Of all of them, as far as they are known."""

    def added(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    steps = added([cost.steps for cost in costs])
    return Cost(
        None if steps is None else int(steps),
        added([cost.tokens for cost in costs]),
        added([cost.mib for cost in costs]),
        added([cost.seconds for cost in costs]),
    )


def _kin(folder: Path, place: str) -> list[dict[str, Any]]:
    """Manifests of stages of its kind."""
    kind = place.split("/")[0].split(".")[0]
    paths = [*folder.glob(f"{kind}*/{MANIFEST}"), *folder.glob(f"{kind}/*/{MANIFEST}")]
    return [manifest for path in paths if (manifest := manifest_in(path.parent))]


def _mib(manifest: Mapping[str, Any]) -> float | None:
    files = manifest.get("files", {})
    return sum(one["bytes"] for one in files.values()) / 2**20 if files else None


def _tokens_per_pair(folder: Path, pairs: Sequence[Pair]) -> float | None:
    """Of source and target, without the prompt's own words; None without a tokenizer."""
    path = folder / "tokenizer/tokenizer.json"
    if not path.is_file() or not pairs:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    sample = pairs[:: max(1, len(pairs) // SAMPLE)]
    texts = [f"{pair.source} {pair.target}" for pair in sample]
    return fmean(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
