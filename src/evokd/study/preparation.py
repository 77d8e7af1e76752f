"""The stages before any model: the text, and the tokenizer of fresh models."""

from __future__ import annotations

from typing import Any

from evokd.data.corpus import MODELS, build_corpus, corpus_files, save_corpus
from evokd.data.prompts import prompt_tags
from evokd.rundir import Stage, fingerprint, hash_file
from evokd.study.context import Study
from evokd.study.models import model_identity

TRAINING_FILES = ("train.jsonl", "valid.jsonl", MODELS)
"""Files of the corpus that training depends on; a new test set needs no new models."""


def make_corpus(study: Study) -> Stage:
    """Read, clean and split the text; write down what was dropped and why.

    Raises:
        InputError: a file is missing, damaged or doesn't fit the recipe.
    """
    settings, directions = study.recipe.corpus, study.recipe.directions
    left_out: dict[str, Any] = {"cleaning": {"by_teacher"}}
    left_out |= {} if settings.held_out else {"held_out": True}  # so that old folders stay as made
    hashes = {str(path): hash_file(path) for path in corpus_files(settings, directions)}
    stage = Stage(
        "corpus",
        study.paths.corpus,
        fingerprint(
            settings.model_dump(mode="json", exclude=left_out),
            directions,
            list(hashes.values()),
        ),
    )
    if study.is_done(stage):
        return stage
    corpus = build_corpus(settings, directions, seed=1)  # before begin: bad text leaves the old
    stage.begin()
    save_corpus(corpus, stage.folder)
    facts = {
        "train_pairs": len(corpus.train),
        "valid_pairs": len(corpus.valid),
        "test_pairs": {f"{n}.{d}": len(pairs) for (n, d), pairs in corpus.tests.items()},
    }
    outputs = {
        name: hash_file(stage.folder / name)
        for name in TRAINING_FILES
        if (stage.folder / name).exists()
    }
    stage.finish(facts, inputs=hashes, outputs=outputs)
    parts = [f"{len(corpus.train)} training pairs"]
    parts += [f"{len(corpus.models)} for teacher and start"] if corpus.models else []
    parts += [f"{len(corpus.unpaired)} sentences without translations"] if corpus.unpaired else []
    study.log(f"corpus: {', '.join(parts)} and {len(corpus.valid)} validation pairs")
    if corpus.unpaired and not any(m.text == "teacher" or m.open for m in study.recipe.methods):
        study.log(
            "warning: no method uses corpus.unpaired, which is for the teacher to translate; "
            "seq_kd, text: teacher and auto do"
        )
    for text in corpus.report.get("notes", []):
        study.log(f"corpus: {text}")
    return stage


def make_tokenizer(study: Study) -> Stage:
    """The tokenizer of fresh models: that of the other model, or one trained on the corpus."""
    recipe = study.recipe
    models = (recipe.teacher, recipe.student)
    ready_made = next((m for m in models if m.model not in ("fresh", "cut")), None)
    if ready_made:
        origin: object = model_identity(ready_made)
    else:
        origin = (recipe.tokenizer.model_dump(), study.models_hashes())
    stage = Stage("tokenizer", study.paths.tokenizer, fingerprint(origin, recipe.languages()))
    if study.is_done(stage):
        return stage
    from evokd.models.fresh import train_tokenizer
    from evokd.models.loading import load_tokenizer

    stage.begin()
    if ready_made:
        tokenizer = load_tokenizer(ready_made)
    else:
        texts = dict.fromkeys(t for p in study.pairs("models") for t in (p.source, p.target))
        size = recipe.tokenizer.vocab_size
        tokenizer = train_tokenizer(texts, size, prompt_tags(recipe.languages()))
    tokenizer.save_pretrained(stage.folder)
    stage.finish({"vocabulary": len(tokenizer)})
    return stage
