"""Before any hour is spent: is there something to distil, and which method is it a case for?"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from evokd.recipe.methods import MethodSettings
from evokd.study.advice import advise
from evokd.study.context import DIAGNOSED_PAIRS, Study
from evokd.study.filtering import disbelieved, some_of_each
from evokd.study.models import diagnose_student
from evokd.study.places import System
from evokd.study.systems import load_for_training


def sanity_check(study: Study, teacher: System, init: System) -> dict[str, Any]:
    """Before any hour is spent: is the teacher better than the student on validation, how many
    references look wrong to it, and which method is that a case for?

    Returns:
        What was measured; nothing where there is no validation text.
    """
    made_of = {
        "text": study.text_hashes(),
        "teacher": teacher.fingerprint,
        "start": init.fingerprint,
        "unpaired": len(study.corpus.unpaired),
        "by_teacher": vars(study.recipe.corpus.cleaning.by_teacher),
        "teacher saw all": study.teacher_saw_all,
    }
    stage = study.stage("sanity check", study.paths.sanity_check, made_of)
    if not study.corpus.valid:
        return {}
    if study.is_done(stage):
        return study.facts(stage)
    stage.begin()
    method = MethodSettings(name="noevo", objective="noevo")
    student = load_for_training(study, init)
    diagnostics = diagnose_student(study, stage, student, method, study.live_teacher_source())
    kept = ("student_nll", "teacher_nll", "teacher_entropy", "hard_share", "lost_mass")
    facts = {key: diagnostics[key] for key in kept}
    study.log(
        f"validation, nats per reference token: teacher {facts['teacher_nll']:.3f}, "
        f"student at the start {facts['student_nll']:.3f}; {facts['hard_share']:.0%} of its tokens "
        f"are hard (d > {diagnostics['gamma']})"
    )
    if facts["teacher_nll"] >= facts["student_nll"]:
        study.log(
            "warning: the teacher is no better than the student on validation, so there is little "
            "to distil. Is it fine-tuned for this task (teacher.sft), with this prompt?"
        )
    facts["wrong_share"] = _wrong_share(study, teacher)
    if study.corpus.noise:
        facts["gates"] = _gate_quality(study, student)
    advice = advise(facts, len(study.corpus.unpaired))
    facts["advice"] = vars(advice)
    for line in advice.lines():
        study.log(line)
    stage.finish(facts)
    return facts


def _wrong_share(study: Study, teacher: System) -> float | None:
    """The estimated share of wrong training pairs, from those that the teacher wasn't trained on;
    None where these are too few, or wrong ones look no different to it."""
    _, judged = disbelieved(study, teacher, some_of_each(study.unseen))
    shares = [one["share"] for one in judged["wrong"].values() if one["share"] is not None]
    return fmean(shares) if shares else None


def _gate_quality(study: Study, student: Any) -> list[dict[str, Any]]:
    """How well gates tell wrong tokens, with the student as it starts, where these are known."""
    from evokd.distil.diagnosis import gate_quality

    pairs = study.corpus.train[:: max(1, len(study.corpus.train) // DIAGNOSED_PAIRS)]
    record = {(one.origin, one.direction): one.words for one in study.corpus.noise}
    wrong = [record.get((pair.origin, pair.direction), ()) for pair in pairs]
    source = study.live_teacher_source()
    size = source.shared_vocabulary(student).size
    rows = gate_quality(student, source.signal, pairs, wrong, size)
    for row in rows:
        rule = f"Γ = {row['gamma']}" + (f", δ = {row['doubt']}" if row["doubt"] else "")
        right = "" if row["precision"] is None else f", {row['precision']:.0%} of it rightly"
        study.log(
            f"gate {rule}: damps {row['damped']:.0%} of the tokens{right}, and {row['recall']:.0%} "
            "of those that were made wrong"
        )
    return rows
