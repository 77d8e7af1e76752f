"""The stages before any model: the text, and the tokenizer of fresh models."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evokd.data.cleaning import summary
from evokd.data.corpus import build_corpus, corpus_files, save_corpus
from evokd.data.pairs import different_texts
from evokd.data.prompts import prompt_tags
from evokd.errors import InputError
from evokd.progress import passing_by
from evokd.recipe.code import code_hashes
from evokd.recipe.formats import AUTO, BUILT_IN
from evokd.rundir.integrity import hash_of
from evokd.rundir.stage import Stage, manifest_in
from evokd.study.context import Study
from evokd.study.identity import model_identity


def make_corpus(study: Study) -> Stage:
    """Read, clean and split the text; write down what was dropped and why.

    Raises:
        InputError: a file is missing, damaged or doesn't fit the recipe.
    """
    settings, directions = study.recipe.corpus, study.recipe.directions
    made_of: dict[str, Any] = {
        "corpus": settings.model_dump(
            mode="json", exclude={"root": True, "cleaning": {"by_teacher"}}
        ),
        "directions": list(directions),
    }
    sources = (*settings.train, *settings.valid, *settings.test)
    formats = [source.format for source in sources]
    if code := code_hashes(formats, {AUTO, *BUILT_IN}, study.recipe.plugins):
        made_of["code"] = code
    hashes = _source_hashes(study, made_of)
    stage = study.stage("corpus", study.paths.corpus, made_of | {"files": list(hashes.values())})
    if study.is_done(stage):
        return stage if study.planned is None else _planned_corpus(study, stage)
    study.folder.mkdir(parents=True, exist_ok=True)
    # Before begin: bad text leaves the old.
    corpus = build_corpus(settings, directions, seed=1, scratch=study.folder)
    stage.begin()
    save_corpus(corpus, stage.folder)
    facts = {
        "train_pairs": len(corpus.train),
        "valid_pairs": len(corpus.valid),
        "test_pairs": {f"{n}.{d}": len(pairs) for (n, d), pairs in corpus.tests.items()},
    }
    stage.finish(facts, inputs=hashes)
    parts = [f"{len(corpus.train)} training pairs"]
    parts += [f"{len(corpus.models)} for teacher and start"] if corpus.models else []
    parts += [f"{len(corpus.unpaired)} sentences without translations"] if corpus.unpaired else []
    study.log(f"corpus: {', '.join(parts)} and {len(corpus.valid)} validation pairs")
    study.log(f"corpus: of training text {summary(corpus.report)}")
    for what, part in (("for teacher and start", "models"), ("without translations", "unpaired")):
        if part in corpus.report:
            study.log(f"corpus: of text {what} {summary(corpus.report[part])}")
    if corpus.unpaired and not any(m.text == "teacher" or m.open for m in study.recipe.methods):
        study.log(
            "warning: no method uses corpus.unpaired, which is for the teacher to translate; "
            "seq_kd, text: teacher and auto do"
        )
    for text in corpus.report.get("notes", []):
        study.log(f"corpus: {text}")
    return stage


def _planned_corpus(study: Study, stage: Stage) -> Stage:
    """Of a dry run: the one that is there, or one that is gone with the process."""
    if manifest_in(stage.folder).get("fingerprint") != stage.fingerprint:
        settings, directions = study.recipe.corpus, study.recipe.directions
        corpus = build_corpus(settings, directions, seed=1)
        draft = Path(tempfile.mkdtemp(prefix="evokd-"))
        atexit.register(shutil.rmtree, draft, ignore_errors=True)
        stage = Stage(stage.name, draft, "corpus", stage.made_of)
        stage.begin()
        save_corpus(corpus, stage.folder)
        stage.finish({})
    study.paths.corpus = stage.folder
    return stage


def make_tokenizer(study: Study) -> Stage:
    """The tokenizer of fresh models: that of the other model, or one trained on the corpus."""
    recipe = study.recipe
    models = (recipe.teacher, recipe.student)
    ready_made = next((m for m in models if m.model not in ("fresh", "cut")), None)
    if ready_made:
        origin = model_identity(study, ready_made, "tokenizer")
    else:
        origin = recipe.tokenizer.model_dump() | {"text": study.models_hashes()}
    made_of = {"tokenizer": origin, "languages": list(recipe.languages())}
    stage = study.stage("tokenizer", study.paths.tokenizer, made_of)
    if study.is_done(stage):
        return stage
    from evokd.models.fresh import train_tokenizer
    from evokd.models.loading import load_tokenizer

    stage.begin()
    if ready_made:
        tokenizer = load_tokenizer(ready_made)
    else:
        pairs = study.pairs("models")
        texts = different_texts(passing_by(pairs, "text for the tokenizer", len(pairs)))
        size = recipe.tokenizer.vocab_size
        tokenizer = train_tokenizer(texts, size, prompt_tags(recipe.languages()))
    tokenizer.save_pretrained(stage.folder)
    stage.finish({"vocabulary": len(tokenizer)})
    return stage


def _source_hashes(study: Study, made_of: Mapping[str, Any]) -> dict[str, str]:
    """Of each file that the text comes from. Where they aren't at hand, as they were when the
    corpus that stands here was made of them: a run folder goes on without."""
    try:
        files = corpus_files(study.recipe.corpus, study.recipe.directions)
    except InputError:
        manifest = manifest_in(study.paths.corpus)
        known = {key: part for key, part in manifest.get("made_of", {}).items() if key != "files"}
        if known != made_of:
            raise
        study.log("corpus: the files that it was made of aren't here; it is kept as it is")
        return dict(manifest["inputs"])
    return {str(path): hash_of(path, study.folder) for path in files}
