"""The stages that make students: each method and seed, and what is pruned of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from evokd.recipe.methods import RENAMED, MethodSettings
from evokd.recipe.objectives import BETA_RULES
from evokd.recipe.training import TrainingSettings, pruned_name
from evokd.rundir import Stage, fingerprint, write_json
from evokd.study.context import (
    Study,
    System,
    Teaching,
    close,
    diagnose_student,
    is_done,
    learned,
    load_system,
    text_of,
    train_student,
)


@dataclass(frozen=True)
class Wanted:
    """A student to be, or one that is there already."""

    stage: System
    origin: System
    """What it goes on from: the common start, or another student."""
    method: MethodSettings
    level: float | None = None
    """Share of the origin's weights that are pruned first."""


def wanted_students(
    study: Study, corpus: Stage, teacher: System, start: System, texts: Mapping[str, Stage]
) -> list[Wanted]:
    """All students of a study, in the order in which they can be made.

    Args:
        texts: what the teacher wrote, by kind.
    """
    recipe, wanted = study.recipe, []
    for seed in recipe.seeds:
        made: dict[str, System] = {}
        for method in recipe.methods:
            origin = start if method.start is None else made[method.start]
            stage = _student_stage(study, corpus, teacher, origin, method, seed, texts)
            made[method.name] = stage
            wanted.append(Wanted(stage, origin, method))
        for name in recipe.pruning.methods:
            method = recipe.method(name)
            wanted += [
                Wanted(_pruned_stage(study, made[name], method, level), made[name], method, level)
                for level in recipe.pruning.levels
            ]
    return wanted


def make(study: Study, wanted: Wanted) -> System:
    """Train a student from where it starts, and keep it."""
    stage, method = wanted.stage, wanted.method
    if is_done(study, stage):
        return stage
    from evokd.distil.train.run import finish
    from evokd.models.loading import describe, save_translator
    from evokd.models.magnitude_pruning import prune_model, pruned_facts

    assert stage.seed is not None
    began = time.perf_counter()
    stage.begin()
    student = load_system(study, wanted.origin)
    training, masks = _training_of(study, method), None
    if wanted.level is not None:
        # After a kill the same ones: they are read off the same student.
        masks = prune_model(student.model, wanted.level)
        training = _retraining_of(study, method)
    teaching = _teaching_of(study, method)
    facts = train_student(study, stage, student, training, method, stage.seed, teaching, masks)
    facts["teacher_signal"] = "none" if teaching is None else teaching.words
    if masks is not None:
        facts |= pruned_facts(student.model, masks)
    if study.corpus.valid:
        found = diagnose_student(study, student, method, study.teaching)
        write_json(stage.folder / "diagnostics.json", found)
        facts["valid_difficulty"] = found["mean_difficulty"]
    save_translator(student.model, student.tokenizer, study.prompt, stage.folder / "model")
    close(study, stage, began, facts | describe(student.model), stage.seed)
    finish(stage.folder)
    return stage


def _student_stage(
    study: Study,
    corpus: Stage,
    teacher: System,
    origin: System,
    method: MethodSettings,
    seed: int,
    texts: Mapping[str, Stage],
) -> System:
    settings = method.model_dump(
        mode="json", exclude={"name", "start", "training"}, exclude_defaults=True
    )
    for (key, old), new in RENAMED.items():  # a new name alone makes no other student
        if settings.get(key) == new:
            settings[key] = old
    return System(
        f"student {method.name}, seed {seed}",
        study.folder / "students" / f"{method.name}.seed{seed}",
        fingerprint(
            text_of(corpus),
            [s.fingerprint for s in (teacher, origin)],
            settings,
            learned(_training_of(study, method)),
            seed,
            *_parts_of_batches(method, _training_of(study, method)),
            *([] if method.text == "reference" else [texts[method.text].fingerprint]),
            *_approximation(study, method),
        ),
        method.name,
        seed,
    )


def _pruned_stage(study: Study, student: System, method: MethodSettings, level: float) -> System:
    name = pruned_name(method.name, level)
    return System(
        f"student {name}, seed {student.seed}",
        study.folder / "students" / f"{name}.seed{student.seed}",
        fingerprint(
            student.fingerprint,
            level,
            learned(_retraining_of(study, method)),
            *_parts_of_batches(method, _retraining_of(study, method)),
        ),
        name,
        student.seed,
    )


def _teaching_of(study: Study, method: MethodSettings) -> Teaching | None:
    """A cache knows nothing of text made on the fly, nor of text that only NLL is trained on."""
    if method.on_policy is not None:
        return study.live_teaching()
    if method.kind() in ("seq_kd", "seq_inter") and study.recipe.teacher.signal != "live":
        return None
    return study.teaching


def _training_of(study: Study, method: MethodSettings) -> TrainingSettings:
    return study.recipe.training_of(study.recipe.student.training, method.training)


def _retraining_of(study: Study, method: MethodSettings) -> TrainingSettings:
    recipe = study.recipe
    return recipe.training_of(recipe.student.training, method.training, recipe.pruning.training)


def _parts_of_batches(method: MethodSettings, training: TrainingSettings) -> list[int]:
    """The size of micro-batches where it changes a student: some objectives choose among the tokens
    of each, the network that predicts β learns from one."""
    ranks = method.ranks_each_batch() or method.spec.ranked_by
    matters = ranks or (isinstance(method.beta, str) and method.beta in BETA_RULES)
    return [training.micro_batch_size] if matters and training.micro_batch_size else []


def _approximation(study: Study, method: MethodSettings) -> list[str]:
    """What of the teacher's signal changes a student: hidden states are as good as the teacher."""
    teacher = study.recipe.teacher
    return [f"top{teacher.top_k}"] if teacher.signal == "topk" and method.spec.needs_teacher else []
