"""The students: each method and seed, and what is pruned of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from evokd.recipe.methods import PRESETS, GammaRule, MethodSettings
from evokd.recipe.training import TrainingSettings, pruned_name
from evokd.rundir import Stage, fingerprint, write_json
from evokd.study.context import Study, System, TeacherSource, training_key
from evokd.study.models import (
    diagnose_student,
    finish_stage,
    load_for_training,
    train_student,
)

RANKING = frozenset({"self_evolution_topk", "atkd", "selective_kd", "tip"})
"""Objectives that choose among the tokens of a micro-batch (`distil.objectives.RANKS_TOKENS`)."""


@dataclass(frozen=True)
class StudentSpec:
    """A student to be, or one that is there already."""

    stage: System
    origin: System
    """What it goes on from: the common start, or another student."""
    method: MethodSettings
    training: TrainingSettings
    level: float | None = None
    """Share of the origin's weights that are pruned first."""


def student_specs(
    study: Study, teacher: System, init: System, texts: Mapping[str, Stage]
) -> list[StudentSpec]:
    """All students of a study, in the order in which they can be made.

    Args:
        texts: the stages in which the teacher wrote training text, by kind.
    """
    recipe = study.recipe
    specs = []
    for seed in recipe.seeds:
        systems: dict[str, System] = {}
        for method in recipe.methods:
            training = recipe.training_of(recipe.student.training, method.training)
            origin = init if method.start is None else systems[method.start]
            settings = method.model_dump(
                mode="json", exclude={"name", "start", "training"}, exclude_defaults=True
            )
            system = _system(
                study,
                method.name,
                seed,
                study.text_hashes(),
                [teacher.fingerprint, origin.fingerprint],
                settings,
                training_key(training),
                seed,
                *_micro_batches(method, training),
                *([] if method.text == "reference" else [texts[method.text].fingerprint]),
                *_approximation(study, method),
            )
            systems[method.name] = system
            specs.append(StudentSpec(system, origin, method, training))
        for name in recipe.pruning.methods:
            method, origin = recipe.method(name), systems[name]
            training = recipe.training_of(
                recipe.student.training, method.training, recipe.pruning.training
            )
            for level in recipe.pruning.levels:
                system = _system(
                    study,
                    pruned_name(name, level),
                    seed,
                    origin.fingerprint,
                    level,
                    training_key(training),
                    *_micro_batches(method, training),
                )
                specs.append(StudentSpec(system, origin, method, training, level))
    return specs


def make_student(study: Study, spec: StudentSpec) -> System:
    """Train a student from where it starts, and keep it."""
    stage, method = spec.stage, spec.method
    if study.is_done(stage):
        return stage
    from evokd.models.magnitude_pruning import prune_model, pruned_facts

    began = time.perf_counter()
    stage.begin()
    student, masks = load_for_training(study, spec.origin), None
    if spec.level is not None:
        # After a kill the same ones: they are read off the same student.
        masks = prune_model(student.model, spec.level)
    source = _source_for(study, method)
    facts = train_student(study, stage, student, spec.training, method, source, masks)
    facts["teacher_signal"] = "none" if source is None else source.description
    if masks is not None:
        facts |= pruned_facts(student.model, masks)
    if study.corpus.valid:
        diagnostics = diagnose_student(study, student, method, study.teacher_source)
        write_json(stage.folder / "diagnostics.json", diagnostics)
        facts["valid_difficulty"] = diagnostics["mean_difficulty"]
    finish_stage(study, stage, student, began, facts)
    return stage


def _system(study: Study, name: str, seed: int, *depends_on: object) -> System:
    return System(
        f"student {name}, seed {seed}",
        study.paths.students / f"{name}.seed{seed}",
        fingerprint(*depends_on),
        name,
        seed,
    )


def _source_for(study: Study, method: MethodSettings) -> TeacherSource | None:
    """A cache knows nothing of text made on the fly, nor of text that only NLL is trained on."""
    if method.on_policy is not None:
        return study.live_teacher_source()
    if method.kind() in PRESETS and study.recipe.teacher.signal != "live":
        return None
    return study.teacher_source


def _micro_batches(method: MethodSettings, training: TrainingSettings) -> list[int]:
    """The size of micro-batches where it changes a student: some objectives choose among the tokens
    of each, the network that predicts β learns from one."""
    ranked = isinstance(method.gamma, GammaRule) and method.gamma.rule == "quantile"
    matters = ranked or method.objective in RANKING or method.beta == "network"
    return [training.micro_batch_size] if matters and training.micro_batch_size else []


def _approximation(study: Study, method: MethodSettings) -> list[str]:
    """What of the teacher's signal changes a student: hidden states are as good as the teacher."""
    teacher = study.recipe.teacher
    return [f"top{teacher.top_k}"] if teacher.signal == "topk" and method.objective != "sft" else []
