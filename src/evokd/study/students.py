"""The students: each method and seed, and what is pruned of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evokd.recipe.methods import RENAMED, MethodSettings
from evokd.recipe.objectives import BETA_RULES, TEXT_PRESETS
from evokd.recipe.recipe import Recipe, StudentKind
from evokd.rundir import Stage, fingerprint
from evokd.study.context import Study, System, TeacherSource, training_key
from evokd.study.models import diagnose_student, finish_stage, load_for_training, train_student


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
                key = [
                    _text_hashes(study, method),
                    [teacher.fingerprint, origin.fingerprint],
                    _identity(method),
                    training_key(training),
                    seed,
                    *_micro_batches(kind),
                    *([] if method.text == "reference" else [texts[method.text].fingerprint]),
                    *_approximation(recipe, method),
                ]
            else:
                origin = systems[method.name]
                key = [origin.fingerprint, level, training_key(training), *_micro_batches(kind)]
            folder = study.paths.students / f"{name}.seed{seed}"
            label = f"student {name}, seed {seed}"
            systems[name] = System(label, folder, fingerprint(*key), name, seed)
            specs.append(StudentSpec(systems[name], origin, kind))
    return specs


def make_student(study: Study, spec: StudentSpec) -> System:
    """Train a student from where it starts, and keep it; one of another name will do, too, that
    was made the same way."""
    stage, (method, training, level) = spec.stage, spec.kind
    others = sorted(study.paths.students.glob(f"*.seed{stage.seed}"))
    if study.is_done(stage, others):
        return stage
    from evokd.models.magnitude_pruning import prune_model, pruned_facts

    stage.begin()
    student, masks = load_for_training(study, spec.origin), None
    if level is not None:
        # After a kill the same ones: they are read off the same student.
        masks = prune_model(student.model, level)
    source = _source_for(study, method)
    facts = train_student(study, stage, student, training, method, source, masks)
    facts["teacher_signal"] = "none" if source is None else source.description
    if masks is not None:
        facts |= pruned_facts(student.model, masks)
    if study.corpus.valid:
        diagnostics = diagnose_student(study, stage, student, method, study.teacher_source)
        facts["valid_difficulty"] = diagnostics["mean_difficulty"]
    finish_stage(study, stage, student, facts)
    return stage


def _text_hashes(study: Study, method: MethodSettings) -> dict[str, str]:
    """Of the text that students depend on; those of the teacher's own don't on the references."""
    hashes = study.text_hashes()
    return {k: v for k, v in hashes.items() if k != "train.jsonl" or method.text != "teacher"}


def _identity(method: MethodSettings) -> dict[str, Any]:
    """Of its settings what makes another student; a new name of one alone doesn't."""
    settings = method.model_dump(
        mode="json", exclude={"name", "start", "training", "open"}, exclude_defaults=True
    )
    for (key, old), new in RENAMED.items():
        if settings.get(key) == new:
            settings[key] = old
    return settings


def _source_for(study: Study, method: MethodSettings) -> TeacherSource | None:
    """A cache knows nothing of text made on the fly, nor of text that only NLL is trained on."""
    if method.on_policy is not None:
        return study.live_teacher_source()
    if method.kind() in TEXT_PRESETS and study.recipe.teacher.signal != "live":
        return None
    return study.teacher_source


def _micro_batches(kind: StudentKind) -> list[int]:
    """The size of micro-batches where it changes a student: some objectives choose among the tokens
    of each, the network that predicts β learns from one."""
    method, size = kind.method, kind.training.micro_batch_size
    ranks = method.ranks_each_batch() or method.spec.ranked_by
    matters = ranks or (isinstance(method.beta, str) and method.beta in BETA_RULES)
    return [size] if matters and size else []


def _approximation(recipe: Recipe, method: MethodSettings) -> list[str]:
    """What of the teacher's signal changes a student: hidden states are as good as the teacher."""
    teacher = recipe.teacher
    return [f"top{teacher.top_k}"] if teacher.signal == "topk" and method.spec.needs_teacher else []
