"""A whole study on one page: the stages in order.

    corpus → tokenizer → teacher → start → teacher's text → cache → students → pruned students
    → translations → analysis → results → report

Each stage fills a folder of the run and writes its manifest last. Its fingerprint covers the
settings it depends on and the fingerprints of the stages before it: running again skips what is
done, and a changed setting redoes what depends on it and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evokd.data.prompts import load_prompt
from evokd.recipe.file import dump_recipe
from evokd.recipe.recipe import Recipe
from evokd.rundir import Stage, locked, write_text
from evokd.study import analysis, stages, students, teacher_cache, teacher_translations
from evokd.study.context import Study, System


def run(recipe: Recipe, folder: Path, note: Callable[[str], None] = print) -> dict[str, Any]:
    """Run a study into a folder, from wherever it stands, and return its results.

    Raises:
        InputError: something about the recipe, the files or the models doesn't fit.
    """
    prompt = load_prompt(recipe.prompt)
    with locked(folder):
        study = Study(recipe, folder, prompt, note)

        corpus = stages.make_corpus(study)
        # Not before: a recipe that names a missing file leaves the folder as it was.
        _keep_recipe(recipe, folder, note)
        tokenizer = stages.make_tokenizer(study, corpus)
        stages.check_tokenizers(study)
        stages.check_cut(study, tokenizer)
        teacher = stages.make_teacher(study, corpus, tokenizer)
        start = stages.make_start(study, corpus, tokenizer, teacher)
        stages.check_teacher(study, corpus, teacher, start)
        texts = _write_texts(study, corpus, teacher, recipe.texts())
        wanted = students.wanted_students(study, corpus, teacher, start, texts)
        if recipe.teacher.signal != "live" and not all(one.stage.is_done() for one in wanted):
            cached = teacher_cache.make_cache(study, corpus, teacher)
            teacher_cache.check_cache(study, cached, start)
            study.release_teacher()  # students are trained without it
        made = [students.make(study, one) for one in wanted]
        for system in (teacher, *made):
            stages.translate_tests(study, corpus, system)
        measured = analysis.analyse(study, corpus, teacher, made)
        told: dict[str, dict[str, Any]] = {
            kind: teacher_translations.told(study, kind) for kind in recipe.texts()
        }
        found = stages.make_results(study, corpus, teacher, start, made, measured, told)
        stages.make_report(study)
    return found


def cache(
    recipe: Recipe, folder: Path, note: Callable[[str], None] = print
) -> tuple[Path, dict[str, Any]]:
    """Make the teacher of a study and write down what it says of all training text.

    What is there is checked to the last byte, and made again where it is damaged. Where methods ask
    for the teacher's word on text that it writes itself, it writes that first.

    Returns:
        The cache's folder, and how much it holds.

    Raises:
        InputError: something about the recipe, the files or the models doesn't fit.
    """
    if recipe.teacher.signal == "live":
        note(
            "cache: the recipe's teacher.signal is live; hidden states are written, which are exact"
        )
        teacher_settings = recipe.teacher.model_copy(update={"signal": "hidden"})
        recipe = recipe.model_copy(update={"teacher": teacher_settings})
    prompt = load_prompt(recipe.prompt)
    with locked(folder):
        study = Study(recipe, folder, prompt, note)
        corpus = stages.make_corpus(study)
        _keep_recipe(recipe, folder, note)
        tokenizer = stages.make_tokenizer(study, corpus)
        stages.check_tokenizers(study)
        stages.check_cut(study, tokenizer)
        teacher = stages.make_teacher(study, corpus, tokenizer)
        if study.has_smaller_vocabulary():  # whose tokens are known when there is a student
            stages.make_start(study, corpus, tokenizer, teacher)
        taught = teacher_cache.taught_texts(recipe)
        _write_texts(study, corpus, teacher, [kind for kind in recipe.texts() if kind in taught])
        made = teacher_cache.make_cache(study, corpus, teacher, check=True)
    return made.folder, made.facts()


def _write_texts(
    study: Study, corpus: Stage, teacher: System, kinds: Sequence[teacher_translations.Kind]
) -> dict[str, Stage]:
    """What the teacher writes, by kind; from then on the study knows its pairs."""
    texts: dict[str, Stage] = {}
    for kind in kinds:
        texts[kind] = teacher_translations.make_teacher_text(study, corpus, teacher, kind)
        study.written[kind] = partial(teacher_translations.teacher_pairs, study, kind)
    return texts


def _keep_recipe(recipe: Recipe, folder: Path, note: Callable[[str], None]) -> None:
    path, text = folder / "recipe.yaml", dump_recipe(recipe)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        note(
            f"the recipe isn't the one of the last run in {folder}: what depends on the settings "
            "that changed is made again, the rest is kept"
        )
    write_text(path, text)
