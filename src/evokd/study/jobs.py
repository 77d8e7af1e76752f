"""A study made by many processes: what can be made, and by whom, until all is there.

The stages' manifests say what is done, and their fingerprints what is made from what; nothing else
is kept. The driver (`make_stages`) plans as a dry run does, hands what can be made to an
`Executor`, and plans again; each worker does what `evokd run RECIPE --only STAGE` does. Driver,
workers and machines may be killed at any moment and lose what came after the last checkpoint.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, get_args

from evokd.errors import InputError
from evokd.progress import say
from evokd.recipe.file import dump_recipe, load_recipe, points
from evokd.recipe.methods import TeacherText
from evokd.recipe.recipe import Recipe
from evokd.rundir.files import write_text
from evokd.rundir.lock import locked
from evokd.rundir.stage import manifest_in
from evokd.study.grid import check_grid, siblings_of
from evokd.study.results import RESULTS
from evokd.study.run import run_only
from evokd.study.steps import UNDECIDED, Step, inputs_of
from evokd.study.teacher_shards import SHARD_SENTENCES, Part

RETRIES = 3
"""Times that a stage is begun again whose worker was killed."""
FIRST = ("corpus", "tokenizer")
"""Made by the driver: without them nothing is known of the rest."""
TEXTS = [f"teacher_text/{kind}" for kind in get_args(TeacherText)]
"""Stages whose work is shared out."""
MOST_PARTS = 16
"""Of one; each worker reads the teacher."""
Key = tuple[str, ...]
"""What tells a step from others: its fingerprint and place. The same stage of several points of a
grid is one; translations aren't taken over, so each point has its own."""


class Lost(Exception):
    """A worker was killed, or its machine is gone."""


class Executor(Protocol):
    """Where stages are made."""

    slots: int
    """How many it takes at once; what comes on top waits here."""

    def make(self, task: Task) -> None:
        """Make a task's stages somewhere, and wait until that is done; called from threads.

        Raises:
            InputError: as `run_only`.
            Lost: the worker was killed; another try may do.
        """

    def stop(self) -> None:
        """End what is at work."""


@dataclass(frozen=True)
class Task:
    """What one worker makes, one stage after the other."""

    name: str
    only: tuple[str, ...]
    """Places in the run folder."""
    folder: Path
    """The run folder, with the recipe in it."""
    store: Path | None
    home: Path
    """The working folder, for paths in the recipe."""
    makes: frozenset[Key]
    needs: frozenset[Key]

    def argv(self) -> list[str]:
        """Its command, without `evokd`."""
        recipe, store = self.folder / "recipe.yaml", self.store
        shared = [] if store is None else ["--store", str(store)]
        return ["run", str(recipe), "-o", str(self.folder), *shared, "--only", *self.only]

    def make(self) -> None:
        """Make its stages in this process.

        Raises:
            InputError: as `run_only`.
        """
        os.chdir(self.home)
        recipe = load_recipe(self.folder / "recipe.yaml")
        make_only(recipe, self.folder, self.only, say, self.store)


def make_only(
    recipe: Recipe,
    folder: Path,
    only: Sequence[str],
    log: Callable[[str], None] = print,
    store: Path | None = None,
) -> None:
    """`run_only`, also of the studies of a grid, whose stages are named POINT/STAGE.

    Raises:
        InputError: as `run_only`.
    """
    if not recipe.grid:
        run_only(recipe, folder, only, log, store=store)
        return
    studies = points(recipe)
    for name in only:
        if name.split("/")[0] not in studies or "/" not in name:
            raise InputError(
                f"--only {name}: the recipe has a grid; POINT/STAGE is accepted, POINT one of "
                f"{', '.join(studies)}"
            )
    for point, study in studies.items():
        own = [name.partition("/")[2] for name in only if name.split("/")[0] == point]
        if own:
            run_only(study, folder / point, own, log, siblings_of(folder, studies, point), store)


def make_stages(
    recipe: Recipe,
    folder: Path,
    executor: Executor,
    log: Callable[[str], None] = print,
    store: Path | None = None,
) -> None:
    """Have all stages made that `run` (of a grid: `run_grid`) would make, so that results and pages
    are what is left to it.

    Raises:
        InputError: as `run`; a stage that can't be made ends what is at work elsewhere.
        RuntimeError: a worker failed, or was killed again and again.
    """
    folder = folder.absolute()
    store = None if store is None else store.absolute()
    studies = check_grid(recipe, folder) if recipe.grid else {"": recipe}
    with locked(folder):
        if recipe.grid:
            write_text(folder / "recipe.yaml", dump_recipe(recipe))
        driver = _Driver(studies, folder, executor, log, store)
        for point in studies:
            driver.walk(point, FIRST, log)
        driver.make_all()


class _Driver:
    def __init__(
        self,
        studies: Mapping[str, Recipe],
        folder: Path,
        executor: Executor,
        log: Callable[[str], None],
        store: Path | None,
    ) -> None:
        self.studies = studies
        self.folder = folder
        self.executor = executor
        self.log = log
        self.store = store
        self.running: dict[Future[None], Task] = {}
        self.tries: Counter[Key] = Counter()
        self.made: set[Key] = set()

    def make_all(self) -> None:
        pool = ThreadPoolExecutor(self.executor.slots)
        try:
            while todo := self._plan():
                self._make(todo, pool)
        except BaseException:
            self.executor.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def walk(
        self, point: str, only: Sequence[str] = (), log: Callable[[str], None] = lambda text: None
    ) -> list[Step]:
        """All steps of a study; what is found of it elsewhere is put into its place, and made what
        is named."""
        siblings = siblings_of(self.folder, self.studies, point) if point else []
        recipe = self.studies[point]
        return run_only(recipe, self.folder / point, only, log, siblings, self.store)

    def _plan(self) -> list[Task]:
        """What is left to make and not at work, in the order of one process."""
        tasks: list[Task] = []
        taken = {key for task in self.running.values() for key in task.makes}
        for point in self.studies:
            for group in grouped(self.walk(point)):
                makes = {key_of(point, step) for step, _ in group}
                needs = {key_of(point, one) for _, inputs in group for one in inputs} - makes
                if not makes & taken:  # of another point, or at work
                    taken |= makes
                    prefix = f"{point}/" if point else ""
                    only = tuple(f"{prefix}{step.place}" for step, _ in group)
                    name = prefix + name_of(group[0][0])
                    given = (self.folder, self.store, Path.cwd())
                    task = Task(name, only, *given, frozenset(makes), frozenset(needs))
                    shares = self._shares(point, group[0][0], task)
                    needs.update(key for one in shares for key in one.makes)
                    tasks += [one for one in shares if not one.makes <= self.made | taken]
                    tasks.append(replace(task, needs=frozenset(needs)))
        # What was made and isn't found again is left to the run that follows.
        return [task for task in tasks if all(self.tries[key] <= RETRIES for key in task.makes)]

    def _shares(self, point: str, step: Step, task: Task) -> list[Task]:
        """What is to be done before the teacher's text is one: the translations of its shards, by
        as many workers as there are places for."""
        if step.place not in TEXTS:
            return []
        pairs = manifest_in(self.folder / point / "corpus")["facts"]["train_pairs"]
        count = min(self.executor.slots, MOST_PARTS, -(-pairs // SHARD_SENTENCES))
        parts = [Part(number, count) for number in range(1, count + 1)] if count > 1 else []
        return [
            replace(
                task,
                name=f"{task.name}, part {part.number} of {count}",
                only=(f"{task.only[0]}/{part}",),
                makes=frozenset((*key, str(part)) for key in task.makes),
            )
            for part in parts
        ]

    def _make(self, todo: list[Task], pool: ThreadPoolExecutor) -> None:
        """Have a plan carried out, as far as it goes."""
        total, done = len(todo), 0
        while todo or self.running:
            at_work = self.running.values()
            pending = {key for task in (*todo, *at_work) for key in task.makes}
            ready = [task for task in todo if not task.needs & pending]
            for task in ready[: self.executor.slots - len(self.running)]:
                todo.remove(task)
                self.running[pool.submit(self.executor.make, task)] = task
            if not self.running:
                return
            for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                task = self.running.pop(future)
                if self._is_lost(task, future):
                    todo.insert(0, task)
                    continue
                done += 1
                self.made |= task.makes
                names = ", ".join(other.name for other in self.running.values())
                rest = f"; at work: {names}" if names else ""
                self.log(f"{done} of {total} done: {task.name}{rest}")
                if any(key[-1] == "gate" for key in task.makes):  # which may decide what comes next
                    todo = self._plan()
                    total = done + len(todo) + len(self.running)

    def _is_lost(self, task: Task, future: Future[None]) -> bool:
        """Whether a task is to be begun again."""
        self.tries.update(task.makes)
        try:
            future.result()
        except Lost as error:
            times = max(self.tries[key] for key in task.makes)
            if times > RETRIES:
                raise RuntimeError(
                    f"{task.name}: {error}, {times} times; is there enough memory for it?"
                ) from None
            self.log(f"{task.name}: {error}; begun again from its last checkpoint")
            return True
        return False


def key_of(point: str, step: Step) -> Key:
    return (point, step.place) if step.is_record else (step.key, step.place)


def name_of(step: Step) -> str:
    """What a task is called that begins with it: "translations sft.seed1" for all of a system."""
    if step.kind != "translations":
        return step.name
    return f"translations {step.name.split('.', 2)[-1]}"


def grouped(steps: Sequence[Step]) -> list[list[tuple[Step, list[Step]]]]:
    """What of a study is to be made, with what each is made from that isn't there: a stage, or the
    translations and measures of a system. Those of a student from which no other stage is made are
    made with it, by the process that has it at hand."""
    left: list[tuple[Step, list[Step]]] = []
    undecided: set[str] = set()
    for number, step in enumerate(steps):
        if step.action == "keep" or step.name == RESULTS:
            continue
        twins = [one for one in steps[:number] if one.key == step.key and not one.is_record]
        inputs = [*inputs_of(step, steps[:number]), *twins]
        if step.because == UNDECIDED or any(one.place in undecided for one in inputs):
            undecided.add(step.place)
            continue
        left.append((step, [one for one in inputs if one.action != "keep"]))
    used = {one.key for step, inputs in left if not step.is_record for one in inputs}
    last = {step.key: step.place for step, _ in left if step.kind == "students"}
    groups: dict[str, list[tuple[Step, list[Step]]]] = {}
    for step, inputs in left:
        name = step.place
        if step.is_record:
            system = str(step.made_of["system"])
            name = last.get(system, system) if system not in used else system
        groups.setdefault(name, []).append((step, inputs))
    return list(groups.values())
