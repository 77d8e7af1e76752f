"""The stages of a study. Each takes what it needs, does it once, and says so in a manifest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from evokd.data.corpus import build_corpus, corpus_files
from evokd.data.prompts import prompt_tags
from evokd.data.store import UNPAIRED, save_corpus
from evokd.recipe.methods import MethodSettings
from evokd.recipe.models import ModelSettings
from evokd.recipe.training import TrainingSettings
from evokd.rundir import MANIFEST, Stage, fingerprint, hash_file, read_json, write_json
from evokd.study.context import (
    Study,
    System,
    close,
    diagnose_student,
    is_done,
    learned,
    load_system,
    progress_bar,
    text_of,
    train_student,
)

LEARNED_TEXT = ("train.jsonl", "valid.jsonl")
"""Files of the corpus that training depends on; a new test set needs no new models."""
NOT_IDENTITY = {
    *("training", "warm_start_steps", "warm_start_training", "sft"),
    *("signal", "top_k"),
}
"""Settings of a model that are of its training, or of how students get its word."""


def make_corpus(study: Study) -> Stage:
    """Read, clean and split the text; write down what was dropped and why."""
    settings, directions = study.recipe.corpus, study.recipe.directions
    hashes = {str(path): hash_file(path) for path in corpus_files(settings, directions)}
    stage = Stage(
        "corpus",
        study.folder / "corpus",
        fingerprint(settings.model_dump(mode="json"), directions, list(hashes.values())),
    )
    if is_done(study, stage):
        return stage
    start = time.perf_counter()
    corpus = build_corpus(settings, directions, seed=1)  # before begin: bad text leaves the old
    stage.begin()
    save_corpus(corpus, stage.folder)
    facts = {
        "train_pairs": len(corpus.train),
        "valid_pairs": len(corpus.valid),
        "test_pairs": {f"{n}.{d}": len(pairs) for (n, d), pairs in corpus.tests.items()},
    }
    outputs = {name: hash_file(stage.folder / name) for name in LEARNED_TEXT}
    stage.finish(time.perf_counter() - start, facts, inputs=hashes, outputs=outputs)
    study.note(
        f"corpus: {facts['train_pairs']} training and {facts['valid_pairs']} validation pairs"
    )
    for text in corpus.report.get("notes", []):
        study.note(f"corpus: {text}")
    return stage


def make_tokenizer(study: Study, corpus: Stage) -> Stage:
    """The tokenizer of fresh models: that of the other model, or one trained on the corpus."""
    recipe = study.recipe
    models = (recipe.teacher, recipe.student)
    given = next((m for m in models if m.model not in ("fresh", "cut")), None)
    origin = _identity(given) if given else (recipe.tokenizer.model_dump(), text_of(corpus))
    stage = Stage("tokenizer", study.folder / "tokenizer", fingerprint(origin, recipe.languages()))
    if is_done(study, stage):
        return stage
    from evokd.models.loading import load_tokenizer, train_tokenizer

    start = time.perf_counter()
    stage.begin()
    if given:
        tokenizer = load_tokenizer(given)
    else:
        texts = dict.fromkeys(text for p in study.corpus.train for text in (p.source, p.target))
        size = recipe.tokenizer.vocab_size
        tokenizer = train_tokenizer(texts, size, prompt_tags(recipe.languages()))
    tokenizer.save_pretrained(stage.folder)
    stage.finish(time.perf_counter() - start, {"vocabulary": len(tokenizer)})
    return stage


def check_tokenizers(study: Study) -> None:
    """Before anything is trained: do the two given models cut text into the same tokens?

    Raises:
        InputError: they don't.
    """
    teacher, student = study.recipe.teacher, study.recipe.student
    origins = [(m.model, m.revision, m.tokenizer) for m in (teacher, student)]
    done = (study.folder / "gate" / MANIFEST).exists()
    if done or origins[0] == origins[1]:
        return
    if teacher.model == "fresh" or student.model in ("fresh", "cut"):
        return  # one takes over the other one's
    from evokd.models.loading import load_tokenizer
    from evokd.models.vocabulary import shared_vocabulary

    words = [load_tokenizer(one) for one in (teacher, student)]
    shared_vocabulary(words[0], len(words[0]), words[1], len(words[1]))


def check_cut(study: Study, tokenizer: Stage) -> None:
    """Before the teacher is trained: can a student be cut from it as the recipe says?

    Raises:
        InputError: it can't.
    """
    teacher, student = study.recipe.teacher, study.recipe.student
    if student.model != "cut" or (study.folder / "start" / MANIFEST).exists():
        return
    from evokd.models import loading
    from evokd.models import structured_pruning as shrinking

    if teacher.model == "fresh":
        words = loading.load_tokenizer(ModelSettings(model=str(tokenizer.folder)))
        config: Any = loading.fresh_config(teacher.fresh, words)
    else:
        config = loading.load_config(teacher)
    shrinking.check_cut(student.cut, config)


def make_teacher(study: Study, corpus: Stage, tokenizer: Stage) -> System:
    """The teacher: fine-tuned on the corpus, or taken as it is."""
    settings, seed = study.recipe.teacher, study.recipe.seeds[0]
    training = study.recipe.training_of(settings.training)
    steps = None if settings.sft else 0
    return _make_model(study, corpus, tokenizer, "teacher", settings, training, seed, steps=steps)


def make_start(study: Study, corpus: Stage, tokenizer: Stage, teacher: System) -> System:
    """Where every method starts: the student as given, warmed up by some steps of SFT."""
    settings, seed = study.recipe.student, study.recipe.seeds[0]
    steps = settings.warm_start_steps
    training = study.recipe.training_of(
        settings.training, settings.warm_start_training, {"select": "last"}
    )
    learns_by_gate = any(m.objective.startswith("self_evolution") for m in study.recipe.methods)
    if settings.model == "fresh" and not steps and learns_by_gate:
        study.note(
            "warning: the student starts from random weights, so nearly every token is hard for "
            "long; student.warm_start_steps=N warms it up by N steps of SFT"
        )
    return _make_model(
        study, corpus, tokenizer, "start", settings, training, seed, steps=steps, teacher=teacher
    )


def check_teacher(study: Study, corpus: Stage, teacher: System, start: System) -> Stage:
    """Before any hour is spent: is the teacher better than the student on validation?"""
    stage = Stage(
        "gate",
        study.folder / "gate",
        fingerprint(text_of(corpus), teacher.fingerprint, start.fingerprint),
    )
    if is_done(study, stage) or not study.corpus.valid:
        return stage
    began = time.perf_counter()
    stage.begin()
    student = load_system(study, start)
    method = MethodSettings(name="noevo", objective="noevo")
    found = diagnose_student(study, student, method, study.live_teaching())
    write_json(stage.folder / "diagnostics.json", found)
    facts = {k: found[k] for k in ("student_nll", "teacher_nll", "hard_share", "lost_mass")}
    study.note(
        f"validation, nats per reference token: teacher {found['teacher_nll']:.3f}, "
        f"student at the start {found['student_nll']:.3f}; {found['hard_share']:.0%} of its tokens "
        f"are hard (d > {found['gamma']})"
    )
    if found["teacher_nll"] >= found["student_nll"]:
        study.note(
            "warning: the teacher is no better than the student on validation, so there is little "
            "to distil. Is it fine-tuned for this task (teacher.sft), with this prompt?"
        )
    stage.finish(time.perf_counter() - began, facts)
    return stage


def translate_tests(study: Study, corpus: Stage, system: System, beam: int | None = None) -> None:
    """Every test set of every direction through one system, a file each.

    Args:
        beam: another one than the recipe's decoding has.
    """
    wanted, settings = [], study.recipe.decoding
    if beam is not None:
        settings = settings.model_copy(update={"beam": beam})
    for (test_set, direction), pairs in study.corpus.tests.items():
        path = translation_path(study.folder, test_set, direction, system, beam)
        mark = fingerprint(
            system.fingerprint,
            [pair.source for pair in pairs],
            settings.model_dump(),
        )
        if not (path.exists() and _mark_of(path.with_suffix(".json")) == mark):
            wanted.append((direction, pairs, path, mark))
    if not wanted:
        return
    from evokd.translate.decoding import translate, write_lines

    translator = (
        study.teacher if system.system == "teacher" else load_system(study, system, serving=True)
    )
    for direction, pairs, path, mark in wanted:
        source, target = direction.split("-")
        made = translate(
            translator,
            [pair.source for pair in pairs],
            source,
            target,
            settings,
            progress=progress_bar(path.stem),
        )
        path.with_suffix(".json").unlink(missing_ok=True)
        write_lines(path, made.lines)
        write_json(path.with_suffix(".json"), {"fingerprint": mark, **made.facts()})


def make_results(
    study: Study,
    corpus: Stage,
    teacher: System,
    start: System,
    students: list[System],
    analysis: list[dict[str, Any]],
    written: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Scores, comparisons and everything else that the report shows, in results.json.

    Args:
        analysis: what was measured of systems beside their scores, a row each.
        written: what is known of each kind of the teacher's text.
    """
    from evokd.study.results import assemble

    systems = [teacher, *students]
    texts = {
        (test_set, direction, system.system, system.seed): translation_path(
            study.folder, test_set, direction, system
        )
        for (test_set, direction) in study.corpus.tests
        for system in systems
    }
    mark = fingerprint(
        study.recipe.name,
        study.recipe.scoring.model_dump(),
        study.recipe.report.model_dump(),
        corpus.fingerprint,
        [(*cell, hash_file(path)) for cell, path in texts.items()],
        [(system.label, system.fingerprint) for system in systems],
        analysis,
        written,
    )
    path = study.folder / "results.json"
    if path.exists() and read_json(path).get("fingerprint") == mark:
        return dict(read_json(path))
    facts = {s.label: s.facts() for s in systems}
    gate = study.folder / "gate/manifest.json"
    found = assemble(
        study.recipe,
        study.corpus,
        texts,
        facts,
        start=start.facts() | (read_json(gate)["facts"] if gate.exists() else {}),
        analysis=analysis,
        written=written,
        note=study.note,
    )
    write_json(path, {"fingerprint": mark, **found})
    return found


def make_report(study: Study) -> Path:
    """Tables and the page, made anew each time: they are a view of results.json."""
    from evokd.report.page import build_report

    return build_report(study.folder)


def translation_path(
    folder: Path, test_set: str, direction: str, system: System, beam: int | None = None
) -> Path:
    """Where a system's translations are, one line per segment."""
    folder = folder / "translations" / ("" if beam is None else f"beam{beam}")
    return folder / f"{test_set}.{direction}.{system.label}.txt"


def _make_model(
    study: Study,
    corpus: Stage,
    tokenizer: Stage,
    name: str,
    settings: ModelSettings,
    training: TrainingSettings,
    seed: int,
    *,
    steps: int | None,
    teacher: System | None = None,
) -> System:
    """A model as given, fresh or cut from the teacher, fine-tuned for `steps` (None: as long as
    `training` says)."""
    if steps:
        training = training.model_copy(update={"max_steps": steps})
    parts: list[Any] = [_identity(settings), tokenizer.fingerprint, vars(study.prompt), steps, seed]
    is_cut = settings.model == "cut" and teacher is not None
    if is_cut and teacher is not None:
        parts.append(teacher.fingerprint)
        if study.has_smaller_vocabulary():
            parts.append(_words_of(corpus))
    if steps != 0 or is_cut:
        parts += [text_of(corpus), learned(training)]
    stage = System(name, study.folder / name, fingerprint(name, *parts), name)
    if is_done(study, stage):
        return stage
    from evokd.distil.train.run import finish
    from evokd.models import loading
    from evokd.study.cutting import cut_from_teacher, keep_ids

    kept = None
    began = time.perf_counter()
    stage.begin()
    if settings.model == "fresh":
        words = loading.load_tokenizer(ModelSettings(model=str(tokenizer.folder)))
        model = loading.fresh_model(settings.fresh, words, seed).to(study.device)
    elif is_cut:
        made, kept = cut_from_teacher(study, training.max_length)
        model, words = made.model, made.tokenizer
    else:
        import torch

        words = loading.load_tokenizer(settings)
        model = loading.load_model(settings, study.device, torch.float32)
    described = loading.describe(model)
    study.note(f"{name}: {described['parameters'] / 1e6:.2f}M parameters, {settings.model}")
    translator = loading.Translator(model, words, study.prompt)
    facts: dict[str, Any] = {"warm_start_steps": steps} if steps else {}
    if steps != 0:
        method = MethodSettings(name="sft", objective="sft")
        facts |= train_student(study, stage, translator, training, method, seed, None)
    loading.save_translator(model, words, study.prompt, stage.folder / "model")
    keep_ids(kept, stage.folder / "model", study)
    close(study, stage, began, facts | described, seed)
    finish(stage.folder)
    return stage


def _words_of(corpus: Stage) -> list[str]:
    """The hash of the text beside LEARNED_TEXT whose tokens a cut vocabulary keeps."""
    path = corpus.folder / UNPAIRED
    return [hash_file(path)] if path.exists() else []


def _identity(settings: ModelSettings) -> dict[str, Any]:
    """What a model is; one on disk by sizes and times of its files, too big to hash each time."""
    named = settings.model_dump(mode="json", exclude=NOT_IDENTITY)
    path = Path(settings.model).expanduser()
    if settings.model == "fresh" or not path.exists():
        return named
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return named | {"files": [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]}


def _mark_of(path: Path) -> str | None:
    return read_json(path).get("fingerprint") if path.exists() else None
