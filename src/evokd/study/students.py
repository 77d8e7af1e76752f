"""The students: each method and seed, and what is pruned of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evokd import processes
from evokd.recipe.code import code_hashes
from evokd.recipe.methods import RENAMED, MethodSettings
from evokd.recipe.objectives import (
    BETA_RULES,
    BUILT_IN,
    PAIR_WEIGHTS,
    TEXT_PRESETS,
    objective_settings,
)
from evokd.recipe.recipe import Recipe, StudentKind
from evokd.recipe.training import TrainingSettings
from evokd.rundir.stage import KEPT, Stage
from evokd.study.context import Study
from evokd.study.identity import adapters_in, saved_in, training_key
from evokd.study.models import diagnose_student, finish_stage, train_student
from evokd.study.places import System, TeacherSource
from evokd.study.spreading import IN_PARTS, sharding
from evokd.study.steps import UNDECIDED, step_of
from evokd.study.systems import load_for_training, spread


@dataclass(frozen=True)
class StudentSpec:
    """A student to be, or one that is there already."""

    stage: System
    origin: System
    """What it goes on from: its seed's start, or another student."""
    kind: StudentKind


def student_specs(
    study: Study, teacher: System, starts: Mapping[int, System], texts: Mapping[str, Stage]
) -> list[StudentSpec]:
    """All students of a study, in the order in which they can be made.

    Args:
        starts: what those of each seed go on from.
        texts: the stages in which the teacher wrote training text, by kind.
    """
    recipe, specs = study.recipe, []
    for seed in recipe.seeds:
        systems: dict[str, System] = {}
        for name, kind in recipe.students().items():
            method, training, level = kind
            if level is None:
                origin = starts[seed] if method.start is None else systems[method.start]
                made_of = {
                    "text": _text_hashes(study, method),
                    "teacher": teacher.fingerprint,
                    "start": origin.fingerprint,
                    "method": _identity(method, recipe.plugins),
                    "training": training_key(training),
                    "seed": seed,
                    "training text": texts[method.text].fingerprint
                    if method.text in texts
                    else None,
                    "signal": _approximation(recipe, method),
                }
            else:
                origin = systems[method.name]
                made_of = {
                    "student": origin.fingerprint,
                    "pruned": level,
                    "training": training_key(training),
                }
            size = kind.training.micro_batch_size
            made_of["micro_batch_size"] = size if kind.method.learns_by_micro_batch else None
            made_of |= saved_in(recipe.student) | adapters_in(recipe.student.adapters)
            folder = study.paths.students / f"{name}.seed{seed}"
            label = f"student {name}, seed {seed}"
            systems[name] = study.system(label, folder, made_of, name, seed)
            specs.append(StudentSpec(systems[name], origin, kind))
    return specs


def make_student(study: Study, spec: StudentSpec) -> System:
    """Train a student from where it starts, and keep it; one of another name will do, too, that
    was made the same way."""
    stage, (method, training, level) = spec.stage, spec.kind
    if study.planned is not None and study.undecided and method.open:
        study.plan(replace(step_of(stage, None), because=UNDECIDED))
        return stage
    if study.is_done(stage, of_other_names(study, stage)):
        return stage
    from evokd.models.magnitude_pruning import prune_model

    processes.by_first(stage.begin)
    lora, masks = study.recipe.student.adapters, None

    def load(device: Any) -> Any:
        nonlocal masks
        student = load_for_training(study, spec.origin, training.weights, lora, device)
        if level is not None:
            # After a kill the same ones: they are read off the same student.
            masks = prune_model(student.model, level)
        return student

    student = spread(study, training, load)
    if sharding(study.recipe, training) in IN_PARTS:  # only the first has had it whole
        masks = processes.by_first(lambda: masks)
    source = _source_for(study, method, training)
    facts = train_student(study, stage, student, training, method, source, masks, lora)
    facts["teacher_signal"] = "none" if source is None else source.description
    if study.corpus.valid:
        theirs = source or study.source_for(training)
        diagnostics = diagnose_student(study, stage, student, method, theirs)
        facts["valid_difficulty"] = diagnostics["mean_difficulty"]
    finish_stage(study, stage, student, facts, masks=masks)
    return stage


def is_there(study: Study, spec: StudentSpec) -> bool:
    """Whether a student needs no training."""
    found = processes.by_first(lambda: study.found(spec.stage, of_other_names(study, spec.stage)))
    return found is not None


def of_other_names(study: Study, stage: System) -> list[Path]:
    """Folders of students of its seed under other names, and of those that were kept."""
    kept = (study.folder / KEPT / "students").glob(f"*.seed{stage.seed}/{stage.fingerprint}")
    return [*sorted(study.paths.students.glob(f"*.seed{stage.seed}")), *sorted(kept)]


def _text_hashes(study: Study, method: MethodSettings) -> dict[str, str]:
    """Of the text that students depend on; those of the teacher's own don't on the references."""
    hashes = study.text_hashes()
    return {k: v for k, v in hashes.items() if k != "train.jsonl" or method.text != "teacher"}


def _identity(method: MethodSettings, plugins: Sequence[str]) -> dict[str, Any]:
    """Of its settings what makes another student; a new name of one alone doesn't."""
    settings = method.model_dump(
        mode="json", exclude={"name", "start", "training", "open", "swept"}, exclude_defaults=True
    )
    for (key, old), new in RENAMED.items():
        if settings.get(key) == new:
            settings[key] = old
    usual = objective_settings(method.objective)
    for key in ("lam", "beta", "alpha"):  # written out or not, the objective's own is the same
        if key in settings and settings[key] == getattr(usual, key):
            del settings[key]
    rules = [BETA_RULES[method.beta]] if method.beta in BETA_RULES else []
    rules += [PAIR_WEIGHTS[key] for key in method.pair_weights]
    names = [method.objective, *(f"{rule.module}:method_part" for rule in rules)]
    code = code_hashes(names, BUILT_IN, plugins)
    return settings | ({"code": code} if code else {})


def _source_for(
    study: Study, method: MethodSettings, training: TrainingSettings
) -> TeacherSource | None:
    """A cache knows nothing of text made on the fly, nor of text that only NLL is trained on."""
    if method.kind() in TEXT_PRESETS and study.recipe.teacher.signal != "live":
        return None
    return study.source_for(training, live=method.on_policy is not None)


def _approximation(recipe: Recipe, method: MethodSettings) -> str | None:
    """What of the teacher's signal changes a student: hidden states are as good as the teacher."""
    teacher = recipe.teacher
    approximate = teacher.signal == "topk" and method.spec.needs_teacher
    return f"top{teacher.top_k}" if approximate else None
