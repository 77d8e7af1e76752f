"""A study's results, parsed once: every table, figure and sentence of the report reads from here.

Each list of `results.json` is gone through once, each file beside it is read when it is first
needed. What isn't there is None or empty.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from evokd.errors import InputError
from evokd.recipe.file import recipe_text
from evokd.recipe.metrics import AVERAGE, BLEU_VS_TEACHER, describe
from evokd.recipe.objectives import ObjectiveSettings
from evokd.report.formatting import decimal
from evokd.report.run_files import RunFiles, read_mapping
from evokd.rundir.files import SEAL, read_json, read_json_lines, read_sealed

Record = Mapping[str, Any]
"""One row of a list in results.json, or one line of metrics.jsonl."""
Column = tuple[str, str]
"""Metric and direction; the direction may be "average"."""
PLACE = ("system", "test_set", "metric", "direction")
"""What a score belongs to, seeds apart."""

BETTER, WORSE = "†", "‡"
OBJECTIVE_KEYS = ObjectiveSettings.model_fields.keys()
MOST_CURVES = 8
"""Students whose curves stand in one figure; more can't be told apart."""


@dataclass(frozen=True)
class TableCell:
    """One number of the table: mean over seeds, in points.

    std: standard deviation over seeds, None for a single one. interval: half the width of the
    bootstrap's 95 % interval. mark: † or ‡ if it differs from the baseline with p < 0.05, in every
    seed or of all pooled. best: no student is better in this column (as printed; ties share it).
    """

    mean: float | None = None
    std: float | None = None
    interval: float | None = None
    mark: str = ""
    best: bool = False

    @property
    def printed(self) -> str:
        """25.31, or a dash."""
        return decimal(self.mean, 2)

    @property
    def spread(self) -> str:
        """± 0.22, or nothing."""
        return "" if self.std is None else f"± {self.std:.2f}"


@dataclass(frozen=True)
class TableRow:
    """One system; `gap` is the share of the teacher's lead over sft that it closed (a fraction)."""

    system: str
    cells: dict[Column, TableCell]
    gap: float | None
    gap_reason: str | None


@dataclass(frozen=True)
class Table:
    """The scores on one test set; columns: metric by metric the directions, then their average."""

    test_set: str
    columns: list[Column]
    rows: list[TableRow]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(metric for metric, _ in self.columns))

    @property
    def has_gap(self) -> bool:
        return any(row.gap is not None for row in self.rows)


class Results:
    """What stands in results.json and beside it in the run folder, if there is one."""

    def __init__(self, tree: Record, folder: Path | None = None) -> None:
        def grouped(key: str, *fields: str) -> dict[Any, list[Record]]:
            groups: dict[Any, list[Record]] = {}
            for record in tree.get(key) or []:
                groups.setdefault(itemgetter(*fields)(record), []).append(record)
            return groups

        self.tree = tree
        self.folder = folder
        self.files = RunFiles(folder, tree.get("stages") or {})
        self.directions: list[str] = tree.get("directions") or []
        self.seeds: list[int] = tree.get("seeds") or []
        self.baseline: str | None = tree.get("baseline")
        self.examples: list[Record] = list(tree.get("examples") or [])
        # system → its records: of its trainings, its translations' speed, its analysis
        self.runs = grouped("systems", "system")
        self.speed = grouped("speed", "system")
        self.analysis = grouped("analysis", "system")
        self.behaviour = grouped("behaviour", "test_set", "direction", "system")
        # place → its records, one a seed
        self.scores = grouped("scores", *PLACE)
        self.comparisons = grouped("comparisons", *PLACE)
        self.pooled = grouped("pooled", *PLACE)  # of all seeds together
        self.significance: Record = tree.get("significance") or {}
        decide = self.pooled if self.significance.get("test") == "randomization" else {}
        self.tests = decide or self.comparisons  # on marks
        self._summary = grouped("summary", *PLACE)
        self._gaps = grouped("gap_closed", *PLACE)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """The results of a run folder.

        Raises:
            InputError: there is no results.json, or it can't be read.
        """
        path = folder / "results.json"
        try:
            tree = read_json(path)
            if isinstance(tree, dict) and SEAL in tree:
                tree = read_sealed(path)
        except FileNotFoundError:
            raise InputError(
                f"{path} not found; give the folder of a run that has finished scoring "
                "(evokd run RECIPE writes one)"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} can't be read: {error}") from None
        if not isinstance(tree, dict):
            raise InputError(f"{path} holds a {type(tree).__name__}; a mapping of keys is accepted")
        return cls(tree, folder)

    # systems

    @cached_property
    def systems(self) -> list[str]:
        """Every system: teacher, sft, then the others in the recipe's order."""

        def rank(name: str) -> int:
            return 0 if name == "teacher" else 1 if self.objective(name) == "sft" else 2

        return sorted(dict.fromkeys([*self.runs, *(place[0] for place in self.scores)]), key=rank)

    @cached_property
    def students(self) -> list[str]:
        """Every system but the teacher."""
        return [name for name in self.systems if name != "teacher"]

    @cached_property
    def plain_student(self) -> str | None:
        """The student that was trained without a teacher. Of several the baseline; the one that no
        sweep made; else the best on validation."""
        names = [name for name in self.students if self.objective(name) == "sft"]
        alone = [name for name in names if not self.settings(name).get("swept")]
        if self.baseline in names:
            return self.baseline
        return next(iter(alone), None) or self.best_on_validation(names) or next(iter(names), None)

    @cached_property
    def start(self) -> Record:
        """What was measured before training: the students' common start, the text, the teacher."""
        return self.tree.get("start") or {}

    @cached_property
    def focus(self) -> str | None:
        """The distilled student that the report is about.

        What was advised for the data, if it took part; else self-evolution; else any. Of several it
        is the best on validation; of these others, where that isn't known, the one with the best
        average BLEU.
        """
        distilled = [name for name in self.students if self.objective(name) != "sft"]
        advised = [name for name in distilled if self.settings(name).get("open")]
        ours = [name for name in distilled if self.objective(name) == "self_evolution"]
        pool = advised or ours or distilled
        chosen = self.best_on_validation(pool)
        if pool is distilled:
            chosen = chosen or self.best(pool)
        return chosen or next(iter(pool), None)

    @cached_property
    def with_curves(self) -> list[str]:
        """Students whose curves are drawn: trained on the references, and where these are too many
        the plain one, the baseline, what the report is about and those with the best BLEU."""
        names = [
            name
            for name in self.students
            if self.on_references(name) and self.objective(name) != "pruned"
        ]
        ranked = sorted(names, key=lambda name: -(self.bleu(name) or 0.0))
        first = [self.plain_student, self.baseline, self.focus, *ranked]
        kept = [name for name in dict.fromkeys(first) if name in names][:MOST_CURVES]
        return [name for name in names if name in kept]

    def objective(self, system: str) -> str:
        """What a system was trained with; its own name where that isn't known."""
        runs = self.runs.get(system)
        return (runs[-1].get("objective") if runs else None) or system

    def settings(self, system: str) -> Record:
        """The settings of its method that were in force."""
        runs = self.runs.get(system)
        return (runs[0].get("settings") if runs else None) or {}

    def trained_as(self, system: str) -> str:
        """What its training is but for the objective, as text to compare: λ, text, start and all
        else that isn't a setting of some objective alone."""
        run = next(iter(self.runs.get(system) or []), {})
        settings = self.settings(system)
        own = {*OBJECTIVE_KEYS, "swept"} - {"lam"}
        shared = {k: v for k, v in settings.items() if k not in own}
        return repr((sorted(shared.items()), run.get("training"), run.get("train_steps")))

    def on_references(self, system: str) -> bool:
        """Whether its training text was the references, so that what was logged of it compares."""
        settings = self.settings(system)
        return settings.get("text", "reference") == "reference" and not settings.get("on_policy")

    @cached_property
    def words_per_s(self) -> dict[str, float | None]:
        """System → source words per second over everything that it translated."""
        rates = {}
        for system, records in self.speed.items():
            seconds = [record.get("seconds") or 0 for record in records]
            words = [s * (r.get("words_per_s") or 0) for s, r in zip(seconds, records, strict=True)]
            rates[system] = sum(words) / sum(seconds) if sum(seconds) else None
        return rates

    def decoding(self, system: str, key: str) -> list[str]:
        """What its translations were made with (beam, dtype, device, …), each value once."""
        values = [record.get(key) for record in self.speed[system]]
        return list(dict.fromkeys(str(value) for value in values if value is not None))

    @cached_property
    def exports(self) -> list[Record]:
        """What came of each student in another format: the recipe's, then those that `evokd export`
        noted in the run folder since."""
        rows = list(self.tree.get("exports") or [])
        for run in chain.from_iterable(self.runs.values()):
            name = f"{run['system']}.seed{run['seed']}"
            for found in self.files.noted_exports(name):
                rows.append({"system": run["system"], "seed": run["seed"], **found})
        return rows

    # scores

    @cached_property
    def columns(self) -> dict[str, list[Column]]:
        """Test set → the columns of its table."""
        scored: dict[str, dict[Column, None]] = {}
        for _, test_set, metric, direction in self.scores:
            own = scored.setdefault(test_set, {})
            if metric != BLEU_VS_TEACHER:
                own[metric, direction] = None
        columns = {}
        for test_set, own in scored.items():
            unordered = {direction for _, direction in own}
            directions = [name for name in self.directions if name in unordered]
            directions += sorted(unordered.difference(directions))
            if len(directions) > 1:
                directions.append(AVERAGE)
            metrics = dict.fromkeys(metric for metric, _ in own)
            columns[test_set] = [(metric, name) for metric in metrics for name in directions]
        return columns

    @cached_property
    def tables(self) -> list[Table]:
        """The main table of each test set."""
        tables = []
        for test_set, columns in self.columns.items():
            cells = {
                name: {column: self.cell(name, test_set, column) for column in columns}
                for name in self.systems
            }
            for column in columns:
                choose = min if describe(column[0]).lower_is_better else max
                means = [cells[name][column].mean for name in self.students]
                best = choose((mean for mean in means if mean is not None), default=None)
                for name in self.students:
                    # the second decimal is all that a reader sees
                    if best is not None and cells[name][column].printed == decimal(best, 2):
                        cells[name][column] = replace(cells[name][column], best=True)
            rows = [TableRow(name, cells[name], *self.gap_closed(name, test_set)) for name in cells]
            tables.append(Table(test_set, columns, rows))
        return tables

    def cell(self, system: str | None, test_set: str, column: Column) -> TableCell:
        """One score over seeds, and what the comparisons with the baseline say about it."""
        place = (system, test_set, *column)
        intervals = [test.get("interval") for test in self.comparisons.get(place, [])]
        interval, mark = next(iter(intervals), None), _mark(column[0], self.tests.get(place, []))
        for record in self._summary.get(place, []):
            return TableCell(record["mean"], record.get("std"), interval, mark)
        scores = [record["score"] for record in self.scores.get(place, [])]
        std = statistics.stdev(scores) if len(scores) > 1 else None
        return TableCell(mean_of(scores), std, interval, mark)

    def overall(self, test_set: str) -> str:
        """The direction that stands for all of them: "average", or the only one there is."""
        columns = self.columns[test_set]
        return columns[-1][1] if columns else AVERAGE

    def bleu(self, system: str | None, direction: str | None = None) -> float | None:
        """Mean BLEU over seeds on the first test set; of all directions unless one is named."""
        for test_set in self.columns:
            return self.cell(system, test_set, ("bleu", direction or self.overall(test_set))).mean
        return None

    def best(self, systems: Iterable[str]) -> str | None:
        """The system with the best BLEU, as far as they have any."""
        scores = {name: self.bleu(name) for name in systems}
        known = {name: score for name, score in scores.items() if score is not None}
        return max(known, key=lambda name: known[name]) if known else None

    def validated(self, system: str) -> float | None:
        """Mean BLEU on validation text, of a student of a sweep."""
        rows = self.tree.get("validation") or []
        return mean_of(row["score"] for row in rows if row["system"] == system)

    def best_on_validation(self, systems: Sequence[str]) -> str | None:
        """The best of several systems by BLEU on validation text, of those that have one; else by
        the NLL of its references, where all have been measured."""
        if len(systems) < 2:
            return next(iter(systems), None)
        scores = {name: self.validated(name) for name in systems}
        known = {name: score for name, score in scores.items() if score is not None}
        if not known:
            nll = {
                name: mean_of(one.get("student_nll") for one in self.diagnostics.get(name, []))
                for name in systems
            }
            known = {name: -value for name, value in nll.items() if value is not None}
            known = known if len(known) == len(systems) else {}
        return max(known, key=lambda name: known[name]) if known else None

    def gap_closed(self, system: str, test_set: str) -> tuple[float | None, str | None]:
        """Share of the teacher's lead in BLEU that a system closed; if it is None, why."""
        gaps = self._gaps.get((system, test_set, "bleu", self.overall(test_set)), [])
        # the record without a seed is made of mean scores: a ratio of means, not a mean of ratios
        for record in sorted(gaps, key=lambda record: record.get("seed") is not None):
            return record["value"], record.get("reason")
        return None, None

    # files of the run folder

    @cached_property
    def recipe_yaml(self) -> str:
        """The recipe that these results are of."""
        if "recipe" in self.tree:
            return recipe_text(self.tree["recipe"])
        path = self.folder / "recipe.yaml" if self.folder else None
        return path.read_text(encoding="utf-8") if path and path.is_file() else ""

    @cached_property
    def curves(self) -> dict[str, list[list[Record]]]:
        """System → the lines of metrics.jsonl of each of its runs."""
        names = ("start", *self.systems)
        found = {n: self.files.of_trainings(n, "metrics.jsonl", read_json_lines) for n in names}
        return {name: lines for name, lines in found.items() if lines}

    @cached_property
    def diagnostics(self) -> dict[str, list[Record]]:
        """ "start" and systems → diagnostics.json of each of their runs."""
        stages = {"start": "gate"} | {name: name for name in self.systems}
        found = {
            name: self.files.of_trainings(stage, "diagnostics.json", read_mapping)
            for name, stage in stages.items()
        }
        return {name: records for name, records in found.items() if records}


def is_significant(comparison: Record) -> bool:
    """p < 0.05, as the comparison says itself or by its p value."""
    return bool(comparison.get("significant", comparison["p_value"] < 0.05))


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _mark(metric: str, tests: Sequence[Record]) -> str:
    rising = not describe(metric).lower_is_better
    effects = {(test["delta"] > 0) == rising if is_significant(test) else None for test in tests}
    return BETTER if effects == {True} else WORSE if effects == {False} else ""
