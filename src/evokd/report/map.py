"""What the studies of a grid found, side by side: each method's gain over the baseline."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from evokd.errors import InputError
from evokd.recipe.metrics import AVERAGE
from evokd.report.exports import Exported, exports_grid, of_study
from evokd.report.formatting import DASH, decimal, percent, places, signed
from evokd.report.results import BETTER, WORSE, Record, Results
from evokd.report.tables import Grid, grid_markdown
from evokd.rundir.versions import versions

METRIC = "bleu"
T_LIMITS = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t beyond which p < 0.05, two-sided, with 2 to 9 degrees of freedom."""


@dataclass(frozen=True)
class Gain:
    """What a method gains over the baseline at one point of the grid, in average BLEU."""

    score: float
    gain: float
    spread: float | None
    """Standard deviation of the gain over seeds, each compared with the baseline of its own."""
    mark: str
    """Of a gain or loss with p < 0.05: by a paired t-test over seeds, three or more; with fewer, by
    the bootstrap of each direction and seed."""

    @property
    def printed(self) -> str:
        """91.72 (+3.5 ± 0.2†), for tables."""
        spread = "" if self.spread is None else f" ± {self.spread:.{places(self.gain)}f}"
        return f"{self.score:.2f} ({signed(self.gain)}{spread}{self.mark})"


class Map:
    """The finished studies in the folder of a grid."""

    def __init__(self, folder: Path) -> None:
        """Read them.

        Raises:
            InputError: there is no grid, or nothing of it is finished.
        """
        tree = _recipe_in(folder)
        self.axes: dict[str, list[str]] = {
            axis: list(places) for axis, places in (tree.get("grid") or {}).items()
        }
        if not self.axes:
            raise InputError(
                f"{folder / 'recipe.yaml'} has no grid; give the folder of a run of a recipe that "
                "has one"
            )
        self.name: str = tree["name"]
        self.title: str = (tree.get("report") or {}).get("title") or f"{self.name}: the map"
        self.studies = {
            point: Results.read(folder / ".".join(point))
            for point in product(*self.axes.values())
            if (folder / ".".join(point) / "results.json").is_file()
        }
        if not self.studies:
            raise InputError(f"no study in {folder} has finished; evokd run goes on with them")

    @property
    def baseline(self) -> str:
        """What others are compared with; one for all."""
        return next(iter(self.studies.values())).baseline or ""

    @cached_property
    def systems(self) -> list[str]:
        """Every student of any study."""
        return list(dict.fromkeys(s for one in self.studies.values() for s in one.students))

    @cached_property
    def rivals(self) -> list[str]:
        """The students but the baseline."""
        return [name for name in self.systems if name != self.baseline]

    @cached_property
    def gated(self) -> list[str]:
        """Students that damp tokens of the references, by whatever gate."""
        return [
            name
            for name in self.systems
            if any(
                one.objective(name) in ("self_evolution", "skew") and one.on_references(name)
                for one in self.studies.values()
                if name in one.students
            )
        ]

    @cached_property
    def rows(self) -> list[tuple[str, ...]]:
        """Places on all axes but the last: a panel each."""
        return list(product(*list(self.axes.values())[:-1]))

    @property
    def columns(self) -> list[str]:
        """Places on the last axis."""
        return list(self.axes.values())[-1]

    @cached_property
    def gains(self) -> dict[tuple[str, tuple[str, ...]], Gain]:
        """(System, point) → its gain, wherever it was scored."""
        gains = {}
        for point, study in self.studies.items():
            usual = _by_seed(study, self.baseline)
            for name in study.students:
                own = _by_seed(study, name)
                over = [own[seed] - usual[seed] for seed in own if seed in usual]
                if over:
                    spread = statistics.stdev(over) if len(over) > 1 else None
                    score, gain = statistics.fmean(own.values()), statistics.fmean(over)
                    mark = _mark_over_seeds(over) if len(over) > 2 else _mark(study, name)
                    gains[name, point] = Gain(score, gain, spread, mark)
        return gains

    def of(self, system: str, points: Iterable[tuple[str, ...]] | None = None) -> list[Gain]:
        """A system's gains, at all points or some."""
        wanted = self.studies if points is None else points
        return [self.gains[system, point] for point in wanted if (system, point) in self.gains]

    def summary(self) -> Grid:
        """Each method over the whole grid: its worst, middle and best, how often it is ahead."""
        plain = next(iter(self.studies.values())).plain_student
        plain = None if plain == self.baseline else plain
        rows = []
        for name in self.rivals:
            if not self.of(name):
                continue
            gains = [one.gain for one in self.of(name)]
            marks = [one.mark for one in self.of(name)]
            over = [
                self.gains[name, point].score - self.gains[plain, point].score
                for point in self.studies
                if plain and (name, point) in self.gains and (plain, point) in self.gains
            ]
            rows.append(
                [
                    name,
                    *(signed(f(gains)) for f in (min, statistics.median, max)),
                    *(f"{marks.count(mark)} of {len(marks)}" for mark in (BETTER, WORSE)),
                    *([DASH if name == plain or not over else signed(min(over))] if plain else []),
                ]
            )
        headings = ["method", "worst", "median", "best", "better", "worse"]
        headings += [f"worst over {plain}"] if plain else []
        return Grid(headings, {"": rows})

    def scores(self, row: tuple[str, ...]) -> Grid:
        """Average BLEU of every system along the last axis, and what that is over the baseline."""
        names = ["teacher", *self.systems]
        points = [(*row, column) for column in self.columns if (*row, column) in self.studies]
        rows = []
        for name in names:
            cells = []
            for point in points:
                gain = None if name == self.baseline else self.gains.get((name, point))
                cells.append(gain.printed if gain else decimal(self.studies[point].bleu(name), 2))
            rows.append([name, *cells])
        return Grid(["method", *(point[-1] for point in points)], {"": rows})

    @cached_property
    def exports(self) -> list[Exported]:
        """What the students of all points were exported to: a series for each format, and for each
        system where there are several."""
        found = [
            (" · ".join(point), one)
            for point, study in self.studies.items()
            for one in of_study(study)
        ]
        several = len({one.name for _, one in found}) > 1
        return [
            Exported(f"{one.name}, {one.series}", f"{point} · {one.name}", point, one.record)
            if several
            else Exported(one.series, point, point, one.record)
            for point, one in found
        ]

    @property
    def teachers(self) -> dict[str, float]:
        """Their BLEU, as far as it is known and differs."""
        found = {p: study.bleu("teacher") for p, study in self.studies.items()}
        return {str(bleu): bleu for bleu in found.values() if bleu is not None}

    def conditions(self) -> Grid:
        """What was measured before training at each point, and what was advised."""
        rows = []
        for point, study in self.studies.items():
            start = study.start
            advice: Record = start.get("advice") or {}
            rows.append(
                [
                    " · ".join(point),
                    *(decimal(start.get(key), 2) for key in ("teacher_nll", "student_nll")),
                    *(percent(start.get(key)) for key in ("hard_share", "wrong_share")),
                    _method(advice.get("method") or {}),
                ]
            )
        headings = ["point", "teacher NLL", "start NLL", "hard tokens", "look wrong", "advised"]
        return Grid(headings, {"": rows})

    def gates(self) -> dict[tuple[str, ...], list[Record]]:
        """Point → what is known of how well gates find wrong tokens."""
        return {
            point: rows
            for point, study in self.studies.items()
            if (rows := [row for row in study.start.get("gates") or [] if row["recall"]])
        }


def has_grid(folder: Path) -> bool:
    """Whether a run's folder is that of a grid."""
    return bool(_recipe_in(folder).get("grid"))


def point_of(folder: Path) -> tuple[str, ...]:
    """The point of a grid that a run's folder is the study of; empty where it isn't one's."""
    grid = _recipe_in(folder.resolve().parent).get("grid")
    axes = grid.values() if isinstance(grid, dict) else ()  # which may be anyone's recipe.yaml
    points = product(*(map(str, places) for places in axes if isinstance(places, dict)))
    return next((point for point in points if ".".join(point) == folder.resolve().name), ())


def as_markdown(shown: Map) -> str:
    """The map's tables for other pages."""
    blocks = [("Over the whole grid", shown.summary())]
    blocks += [(" · ".join(row) or shown.name, shown.scores(row)) for row in shown.rows]
    blocks += [("Before training", shown.conditions()), ("Exports", exports_grid(shown.exports))]
    return "\n".join(grid_markdown(title, grid) for title, grid in blocks if grid)


def as_tree(shown: Map) -> dict[str, Any]:
    """Its numbers, for other programs."""
    return {
        "name": shown.name,
        "axes": shown.axes,
        "baseline": shown.baseline,
        "gains": [
            {"point": list(point), "system": name, "score": one.score, "spread": one.spread}
            | {"gain": one.gain, "mark": one.mark}
            for (name, point), one in shown.gains.items()
        ],
        "exports": [{"point": one.name, **one.record} for one in shown.exports],
        "start": [
            {"point": list(point)} | {k: v for k, v in study.start.items() if k != "advice"}
            for point, study in shown.studies.items()
        ],
        "versions": versions(),
    }


def _recipe_in(folder: Path) -> dict[str, Any]:
    """A run's recipe; empty where there is none that can be read."""
    try:
        tree = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _places(study: Results) -> list[tuple[str, str, str]]:
    """The first test set in BLEU, each direction."""
    test_set = next(iter(study.columns))
    columns = study.columns[test_set]
    return [(test_set, METRIC, d) for m, d in columns if m == METRIC and d != AVERAGE]


def _by_seed(study: Results, system: str) -> dict[int, float]:
    """Average BLEU over directions of a system's students."""
    scores: dict[int, list[float]] = {}
    for place in _places(study):
        for record in study.scores.get((system, *place), []):
            scores.setdefault(record["seed"], []).append(record["score"])
    return {seed: statistics.fmean(own) for seed, own in scores.items()}


def _mark_over_seeds(gains: Sequence[float]) -> str:
    """Of gains whose mean is too far from 0 to be chance, by Student's t."""
    mean, error = statistics.fmean(gains), statistics.stdev(gains) / len(gains) ** 0.5
    limit = T_LIMITS[min(len(gains) - 3, len(T_LIMITS) - 1)]
    return "" if abs(mean) <= limit * error else BETTER if mean > 0 else WORSE


def _mark(study: Results, system: str) -> str:
    """Of a difference that is significant in every direction and seed."""
    marks = {study.cell(system, test_set, (m, d)).mark for test_set, m, d in _places(study)}
    return marks.pop() if len(marks) == 1 else ""


def _method(keys: Mapping[str, Any]) -> str:
    parts: Sequence[str] = [str(keys[k]) for k in ("gate", "objective") if k in keys][:1]
    text = keys.get("text")
    return " ".join([*parts, *([f"on {text}’s text"] if text == "teacher" else [])]) or DASH
