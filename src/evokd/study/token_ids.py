"""Text as token ids: in memory, or where there is much of it in files, RUN/encoded/SPLIT.HASH."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evokd import processes
from evokd.data.corpus import MODELS
from evokd.errors import InputError
from evokd.progress import progress_bar
from evokd.rundir.files import fingerprint
from evokd.rundir.stage import Stage, manifest_in
from evokd.study.context import PAIRS, Study

IN_FILES = 50_000
"""Pairs from which their token ids are kept in files."""


def encoded(study: Study, split: str, tokenizer: Any, max_length: int) -> Any:
    """Text as token ids; what is too long is left out and counted."""
    from evokd.models import vocabulary
    from evokd.models.encoded import EncodedPairs, encode_corpus

    if split == "models" and not study.corpus.models:
        split = "reference"  # encoded once
    key = split, vocabulary.fingerprint(tokenizer), max_length
    if key in study.encoded:
        return study.encoded[key]
    pairs = study.pairs(split)
    made_of = {"tokenizer": key[1], "prompt": vars(study.prompt), "max_length": max_length}
    if len(pairs) < IN_FILES:
        data, too_long = encode_corpus(pairs, tokenizer, study.prompt, max_length)
    else:
        made_of |= {"text": fingerprint(_text_of(study, split))}
        stage = study.stage(
            f"encoded {split}", study.paths.encoded / f"{split}.{fingerprint(made_of)}", made_of
        )
        show = progress_bar(f"token ids of {split}")
        settings = (tokenizer, study.prompt, max_length, stage.folder, show)
        processes.by_first(lambda: _aside(study, stage, lambda: encode_corpus(pairs, *settings)[1]))
        data, too_long = EncodedPairs.in_folder(stage.folder), stage.facts()["too_long"]
    if too_long:
        study.log(
            f"{split}: {too_long} of {len(pairs)} pairs are longer than {max_length} tokens "
            "and left out (training.max_length)"
        )
    if pairs and not len(data):
        raise InputError(f"no pair of {split} fits into training.max_length={max_length}")
    study.encoded[key] = data
    return data


def _aside(study: Study, stage: Stage, make: Callable[[], int]) -> None:
    """Make what another stage needs while it is made, once for all processes."""
    found = study.found(stage)
    if found is not None and stage.is_settled(found):
        return
    held = study.claimed(stage.name, stage.place)
    try:
        found = study.found(stage)
        if found is None:
            stage.begin()
            stage.finish({"too_long": make()})
        else:
            stage.take_up(found)
    finally:
        held.release()


def _text_of(study: Study, split: str) -> str:
    """The hash of a text's file."""
    if split in ("teacher", "nearest", "filtered"):
        texts = study.paths.teacher_text / split
        folder, name = study.paths.filtered if split == "filtered" else texts, PAIRS
    else:
        names = {"valid": "valid.jsonl", "models": MODELS}
        folder, name = study.paths.corpus, names.get(split, "train.jsonl")
    return str(manifest_in(folder)["files"][name]["sha256"])
