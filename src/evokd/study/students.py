"""The students: each method and seed, and what is pruned of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evokd.recipe.methods import RENAMED, MethodSettings
from evokd.recipe.objectives import BETA_RULES, PRESETS
from evokd.recipe.recipe import Recipe
from evokd.recipe.training import TrainingSettings, pruned_name
from evokd.rundir import Stage, fingerprint
from evokd.study.context import Study, System, TeacherSource, training_key
from evokd.study.models import (
    diagnose_student,
    finish_stage,
    load_for_training,
    train_student,
)


@dataclass(frozen=True)
class StudentSpec:
    """A student to be, or one that is there already."""

    stage: System
    origin: System
    """What it goes on from: the common start, or another student."""
    method: MethodSettings
    level: float | None = None
    """Share of the origin's weights that are pruned first."""


def student_training(recipe: Recipe, name: str) -> TrainingSettings:
    """How a student is trained or, if it was pruned, trained again."""
    method = recipe.students()[name]
    pruned = [] if name == method.name else [recipe.pruning.training]
    return recipe.training_of(recipe.student.training, method.training, *pruned)


def student_specs(
    study: Study, teacher: System, init: System, texts: Mapping[str, Stage]
) -> list[StudentSpec]:
    """All students of a study, in the order in which they can be made.

    Args:
        texts: the stages in which the teacher wrote training text, by kind.
    """
    recipe, specs = study.recipe, []
    for seed in recipe.seeds:
        systems: dict[str, System] = {}
        for method in recipe.methods:
            origin = init if method.start is None else systems[method.start]
            settings = method.model_dump(
                mode="json", exclude={"name", "start", "training"}, exclude_defaults=True
            )
            for (field, old), new in RENAMED.items():  # a new name alone makes no other student
                if settings.get(field) == new:
                    settings[field] = old
            key = [
                study.text_hashes(),
                [teacher.fingerprint, origin.fingerprint],
                settings,
                training_key(student_training(recipe, method.name)),
                seed,
                *_micro_batches(recipe, method.name),
                *([] if method.text == "reference" else [texts[method.text].fingerprint]),
                *_approximation(recipe, method),
            ]
            systems[method.name] = _system(study, method.name, seed, key)
            specs.append(StudentSpec(systems[method.name], origin, method))
        for name in recipe.pruning.methods:
            for level in recipe.pruning.levels:
                pruned = pruned_name(name, level)
                training = training_key(student_training(recipe, pruned))
                key = [systems[name].fingerprint, level, training, *_micro_batches(recipe, pruned)]
                system = _system(study, pruned, seed, key)
                specs.append(StudentSpec(system, systems[name], recipe.method(name), level))
    return specs


def make_student(study: Study, spec: StudentSpec) -> System:
    """Train a student from where it starts, and keep it."""
    stage, method = spec.stage, spec.method
    if study.is_done(stage):
        return stage
    from evokd.models.magnitude_pruning import prune_model, pruned_facts

    stage.begin()
    student, masks = load_for_training(study, spec.origin), None
    if spec.level is not None:
        # After a kill the same ones: they are read off the same student.
        masks = prune_model(student.model, spec.level)
    source = _source_for(study, method)
    training = student_training(study.recipe, stage.system)
    facts = train_student(study, stage, student, training, method, source, masks)
    facts["teacher_signal"] = "none" if source is None else source.description
    if masks is not None:
        facts |= pruned_facts(student.model, masks)
    if study.corpus.valid:
        diagnostics = diagnose_student(study, stage, student, method, study.teacher_source)
        facts["valid_difficulty"] = diagnostics["mean_difficulty"]
    finish_stage(study, stage, student, facts)
    return stage


def _system(study: Study, name: str, seed: int, key: list[Any]) -> System:
    folder = study.paths.students / f"{name}.seed{seed}"
    return System(f"student {name}, seed {seed}", folder, fingerprint(*key), name, seed)


def _source_for(study: Study, method: MethodSettings) -> TeacherSource | None:
    """A cache knows nothing of text made on the fly, nor of text that only NLL is trained on."""
    if method.on_policy is not None:
        return study.live_teacher_source()
    if method.kind() in PRESETS and study.recipe.teacher.signal != "live":
        return None
    return study.teacher_source


def _micro_batches(recipe: Recipe, name: str) -> list[int]:
    """The size of micro-batches where it changes a student: some objectives choose among the tokens
    of each, the network that predicts β learns from one."""
    method, size = recipe.students()[name], student_training(recipe, name).micro_batch_size
    ranks = method.ranks_each_batch() or method.spec.ranked_by
    matters = ranks or (isinstance(method.beta, str) and method.beta in BETA_RULES)
    return [size] if matters and size else []


def _approximation(recipe: Recipe, method: MethodSettings) -> list[str]:
    """What of the teacher's signal changes a student: hidden states are as good as the teacher."""
    teacher = recipe.teacher
    return [f"top{teacher.top_k}"] if teacher.signal == "topk" and method.spec.needs_teacher else []
