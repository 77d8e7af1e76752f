"""How far long work is: a bar with the time left at a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, TypeVar

from tqdm import tqdm

from evokd import processes

EVERY = 30.0
"""Seconds between two lines of a log."""
SOME = 4096
"""Items between two looks at the clock, where there are millions."""
T = TypeVar("T")


def bar_of(
    label: str,
    total: int | None = None,
    unit: str = "line",
    initial: int = 0,
    passing: bool = False,
    silent: bool = False,
) -> Any:
    """Something with `update(n)`, `set_postfix(facts)`, `close()`, `n` and `total`, as tqdm has.

    Args:
        passing: for a terminal only, and gone in the end.
        silent: for nobody.
    """
    silent = silent or not processes.is_first()
    if sys.stderr.isatty() or silent:
        return tqdm(
            desc=f"{label:<32}",
            total=total,
            initial=initial,
            unit=unit,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=not passing,
            disable=silent,
        )
    return Lines(label, total, unit, initial, EVERY if not passing else float("inf"))


def passing_by(
    items: Iterable[T], label: str, total: int | None = None, unit: str = "pair"
) -> Iterator[T]:
    """Items as they are, while a bar says how many went by."""
    with closing(bar_of(label, total, unit)) as bar:
        for number, item in enumerate(items, start=1):
            if number % SOME == 0:
                bar.update(SOME)
            yield item
        bar.update(0 if total is None else total - bar.n)


def progress_bar(label: str, passing: bool = False) -> Callable[[int, int], None]:
    """The same for a job that says how far it is: (done, total).

    Args:
        passing: see `bar_of`.
    """
    bar = bar_of(label, passing=passing)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


def say(text: str) -> None:
    """A line that keeps clear of the bars."""
    tqdm.write(text, file=sys.stderr)


class Lines:
    """A bar for a log file: what it says now and then is a line of its own."""

    def __init__(self, label: str, total: int | None, unit: str, initial: int, every: float):
        self.label = label
        self.total = total
        self.unit = unit
        self.n = self.initial = initial
        self.every = every
        self.facts: Mapping[str, str] = {}
        self.began = self.said = time.monotonic()

    def update(self, count: int) -> None:
        self.n += count
        if time.monotonic() - self.said >= self.every:
            self._say()

    def set_postfix(self, facts: Mapping[str, str]) -> None:
        self.facts = facts

    def close(self) -> None:
        if self.said > self.began:  # what was done at once needs no line
            self._say()

    def _say(self) -> None:
        self.said = time.monotonic()
        done, seconds = self.n - self.initial, self.said - self.began
        rate = done / seconds if seconds else 0.0
        parts = [f"{self.n} of {self.total} {self.unit}s", f"{rate:.3g} {self.unit}s/s"]
        if self.total and rate:
            parts.append(f"about {duration((self.total - self.n) / rate)} left")
        parts += [f"{name} {value}" for name, value in self.facts.items()]
        print(f"{self.label}: {', '.join(parts)}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """48 s, 27 min, 5 h 12 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
