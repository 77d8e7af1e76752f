"""A whole study on one page: the stages in order.

    corpus → tokenizer → teacher → init → teacher's text → cache → students → pruned students
    → translations → analysis → exports → results → report

Each stage fills a folder of the run and writes its manifest last. Its fingerprint covers the
settings it depends on and the fingerprints of the stages before it: running again skips what is
done, and a changed setting redoes what depends on it and nothing else. What was made under other
settings is kept, and taken up again when these come back.
"""

from __future__ import annotations

import contextlib
import difflib
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from evokd import processes
from evokd.data.prompts import load_prompt
from evokd.errors import InputError
from evokd.processes import by_first
from evokd.recipe.engines import check_installed
from evokd.recipe.file import dump_recipe, first_point
from evokd.recipe.recipe import Recipe
from evokd.report.map import has_grid
from evokd.report.page import build_report
from evokd.rundir.claims import CLAIMS
from evokd.rundir.files import telling_of_full_disks, write_text
from evokd.rundir.lock import locked, usable
from evokd.rundir.stage import Stage
from evokd.rundir.verify import seal_pages
from evokd.study import (
    analysis,
    evaluation,
    exporting,
    filtering,
    models,
    preparation,
    quantization,
    sanity_check,
    students,
    teacher_cache,
    teacher_translations,
)
from evokd.study.advice import with_advice
from evokd.study.check import check_code, check_packages
from evokd.study.context import Study
from evokd.study.forecast import Forecast
from evokd.study.places import System
from evokd.study.results import RESULTS, make_results
from evokd.study.steps import Step
from evokd.study.teacher_shards import part_in

OF_A_RUN = {".lock", CLAIMS, "corpus", "recipe.yaml", "kept"}
"""One of these is in every folder that a run has begun to fill."""


def run(
    recipe: Recipe,
    folder: Path,
    log: Callable[[str], None] = print,
    siblings: Sequence[Path] = (),
    store: Path | None = None,
) -> dict[str, Any]:
    """Run a study into a folder, from wherever it stands, and return its results.

    Args:
        siblings: folders of other studies, whose stages are taken over where they are the same.
        store: a folder of stages that studies share: what is there isn't made again.

    Raises:
        InputError: something about the recipe, the files or the models doesn't fit.
    """
    processes.join(recipe.device)
    by_first(lambda: _refuse_other(folder))
    said = log if processes.is_first() else _say_nothing
    study = Study(recipe, folder, load_prompt(recipe.prompt), said, siblings, store)
    with locked(folder) if processes.is_first() else nullcontext(), _at_work(study):
        results = _run(study)
        by_first(lambda: build_report(folder))
    return results


def run_only(
    recipe: Recipe,
    folder: Path,
    only: Collection[str],
    log: Callable[[str], None] = print,
    siblings: Sequence[Path] = (),
    store: Path | None = None,
) -> list[Step]:
    """Make some stages of a study, from whatever others left of them; what they are made from has
    to be there. Any number of processes may do so in one folder: a stage that another one is
    making is waited for.

    Args:
        only: names or places of the stages.

    Returns:
        All steps of the study, with what is still to be done about each.

    Raises:
        InputError: there is no such stage, or what it is made from isn't there.
    """
    processes.join(recipe.device)
    by_first(lambda: _refuse_other(folder))
    usable(folder).close()
    steps: list[Step] = []
    prompt, said = load_prompt(recipe.prompt), log if processes.is_first() else _say_nothing
    study = Study(recipe, folder, prompt, said, siblings, store, steps, only, takes_up=True)
    with _at_work(study):
        _run(study)
    by_first(lambda: _check_named(only, steps))
    return steps


def dry_run(
    recipe: Recipe, folder: Path, siblings: Sequence[Path] = (), store: Path | None = None
) -> Forecast:
    """What `run` would do with each stage; nothing is made, but for the corpus, which is read.

    Raises:
        InputError: something about the recipe or the files doesn't fit.
    """
    _refuse_other(folder)
    steps: list[Step] = []
    prompt = load_prompt(recipe.prompt)
    study = Study(recipe, folder, prompt, _say_nothing, siblings, store, steps)
    _run(study)
    return Forecast.of(steps, folder, study.corpus.train)


def _run(study: Study) -> dict[str, Any]:
    recipe, dry = study.recipe, study.planned is not None
    check_code(recipe)
    check_installed(recipe.decoding.engine)
    check_packages(recipe)
    exporting.check_exports(recipe)
    corpus = by_first(lambda: preparation.make_corpus(study))
    by_first(lambda: _check_asked(study))
    if not dry or study.takes_up:
        by_first(lambda: _save_recipe(study))
    tokenizer = by_first(lambda: preparation.make_tokenizer(study))
    teacher = models.make_teacher(study, tokenizer)
    starts = models.make_init(study, tokenizer, teacher)
    init = starts[recipe.seeds[0]]
    loss = by_first(lambda: quantization.measure_quantization(study, teacher))
    init_facts = by_first(lambda: sanity_check.sanity_check(study, teacher, init)) | loss
    study.undecided = dry and study.corpus.valid != [] and not init_facts
    if "advice" in init_facts:
        study.recipe = recipe = with_advice(recipe, init_facts["advice"]["method"], study.log)
    texts: dict[str, Stage] = {
        kind: by_first(partial(teacher_translations.make_teacher_text, study, teacher, kind), study)
        for kind in recipe.texts()
    }
    if any(method.text == "filtered" for method in recipe.methods):
        texts["filtered"] = by_first(lambda: filtering.make_filtered_text(study, teacher))
    specs = students.student_specs(study, teacher, starts, texts)
    missing = [spec for spec in specs if not students.is_there(study, spec)]
    if recipe.teacher.signal != "live" and missing:
        by_first(lambda: _make_cache(study, teacher, init, texts), study)
        study.release_teacher()  # students are trained without it
    systems = [teacher, *(students.make_student(study, spec) for spec in specs)]
    for system in systems:
        by_first(partial(evaluation.translate_tests, study, system), study)
    rows = by_first(lambda: analysis.analyse(study, systems), study)
    exports = by_first(lambda: exporting.make_exports(study, systems), study)
    start = study.facts(init) | init_facts
    return by_first(lambda: make_results(study, corpus, systems, start, rows, texts, exports))


def _check_asked(study: Study) -> None:
    """Once the text is there, and before anything is made of it: raises InputError as
    `_check_named`. What is advised later may bring stages that aren't known yet."""
    if not study.only or study.paths.corpus != study.folder / "corpus":
        return
    steps: list[Step] = []
    given = (study.prompt, _say_nothing, study.siblings, study.store, steps)
    ahead = Study(study.recipe, study.folder, *given)
    _run(ahead)
    if not (ahead.undecided and any(method.open for method in study.recipe.methods)):
        _check_named(study.only, steps)


def _check_named(only: Collection[str], steps: Sequence[Step]) -> None:
    """Raises InputError: a name is of none of a study's stages."""
    known = {text for step in steps if step.name != RESULTS for text in (step.name, step.place)}
    for name in only:
        of_a_part = any(part_in(name, one.place) for one in steps if one.kind == "teacher_text")
        if name not in known and not of_a_part:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            places = ", ".join(step.place for step in steps if not step.is_record)
            raise InputError(
                f"--only {name}: no such stage; {hint}accepted are names and places as --dry-run "
                f"prints them: {places}; results are made without --only"
            )


def _make_cache(study: Study, teacher: System, init: System, texts: Mapping[str, Stage]) -> None:
    made = teacher_cache.make_cache(study, teacher, init, texts)
    teacher_cache.check_cache(study, made, init)


def _say_nothing(text: str) -> None:
    """What the others would say, the first process says."""


def cache(
    recipe: Recipe, folder: Path, log: Callable[[str], None] = print
) -> tuple[Path, dict[str, Any]]:
    """Make the teacher of a study and write down its signal for all training text.

    What is there is checked to the last byte, and made again where it is damaged. Where methods
    need the signal for text that the teacher writes itself, it writes that first.

    Returns:
        The cache's folder, and how much it holds.

    Raises:
        InputError: something about the recipe, the files or the models doesn't fit.
    """
    if recipe.grid:
        point, settings = first_point(recipe)
        typed = shlex.join(["-o", str(folder / point), "grid={}", *settings])
        raise InputError(
            f"the recipe has a grid, and a cache is of one study; name a point, e.g. {typed}"
        )
    if recipe.teacher.signal == "live":
        log(
            "cache: the recipe's teacher.signal is live; hidden states are written, which are exact"
        )
        teacher_settings = recipe.teacher.model_copy(update={"signal": "hidden"})
        recipe = recipe.model_copy(update={"teacher": teacher_settings})
    _refuse_other(folder)
    study = Study(recipe, folder, load_prompt(recipe.prompt), log)
    with locked(folder), _at_work(study):
        preparation.make_corpus(study)
        _save_recipe(study)
        tokenizer = preparation.make_tokenizer(study)
        teacher, init = models.make_teacher(study, tokenizer), None
        if recipe.student.prunes_vocabulary:  # only a student knows which tokens are kept
            init = models.make_init(study, tokenizer, teacher)[recipe.seeds[0]]
        texts: dict[str, Stage] = {
            kind: teacher_translations.make_teacher_text(study, teacher, kind)
            for kind in recipe.texts()
            if kind in teacher_cache.cached_texts(recipe)
        }
        stage = teacher_cache.make_cache(study, teacher, init, texts, check=True)
    return stage.folder, stage.facts()


def _refuse_other(folder: Path) -> None:
    """Raises InputError: the folder is somebody else's."""
    if has_grid(folder):
        raise InputError(
            f"{folder} holds the studies of a grid; name another folder with -o, or that of a point"
        )
    there = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
    if there and not there & OF_A_RUN:
        raise InputError(
            f"{folder} holds other things than a run ({', '.join(sorted(there)[:3])}, …); name a "
            "new folder with -o"
        )


@contextlib.contextmanager
def _at_work(study: Study) -> Iterator[None]:
    """What is begun and not finished is free for others afterwards."""
    with telling_of_full_disks(study.folder):
        try:
            yield
        finally:
            study.release()


def _save_recipe(study: Study) -> None:
    """After the corpus is made: a recipe that names a missing file leaves the folder as it was.
    Processes that work on the same study write it once."""
    text = dump_recipe(study.recipe)
    path, of_many = study.paths.recipe, study.takes_up
    if of_many and path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    write_text(study.paths.recipe, text)
    seal_pages(study.folder, [study.paths.recipe.name])
