"""How much text a recipe trains on, from files that are at hand: lines and bytes, no tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from evokd.data.phrasebook import read_phrasebook
from evokd.data.prompts import load_prompt
from evokd.data.source_request import request_for
from evokd.data.sources import input_files, shards
from evokd.data.textfiles import COMPRESSIONS, open_bytes, path_in
from evokd.errors import InputError
from evokd.plan.time import Amount
from evokd.recipe.corpus import CorpusSource
from evokd.recipe.recipe import Recipe
from evokd.recipe.training import TrainingSettings

BYTES_PER_TOKEN = 3.5
"""Of European languages in the vocabularies of Llama, Qwen and Gemma, roughly."""
SENTENCE_BYTES = 100.0
"""Of a sentence whose text isn't at hand."""
SAMPLE = 1 << 20
PACKED = 3.0
"""So many times as long is a packed file's text, roughly."""


@dataclass(frozen=True)
class Text:
    """What is known of a study's text."""

    train: Amount | None
    """One pass over what students are trained on; None: not known."""
    models: Amount | None
    """The same of teacher and start."""
    known_from: str
    prompt_tokens: float
    sentence_tokens: float

    def trained(self, training: TrainingSettings, of_models: bool = False) -> Amount | None:
        """What a training reads in all."""
        if training.max_steps is not None:
            return self.of_pairs(float(training.max_steps * training.batch_size))
        once = self.models if of_models else self.train
        return None if once is None else once.times(training.epochs)

    def of_pairs(self, pairs: float) -> Amount:
        sentence = self.sentence_tokens
        return Amount(pairs, self.prompt_tokens + 2 * sentence, sentence)


def text_of(recipe: Recipe, folder: Path | None = None, pairs: int | None = None) -> Text:
    """Sizes of a recipe's training text: as told, of a run's corpus, or of the files it names.

    Args:
        folder: of a run, whose corpus is looked at first.
        pairs: directed sentence pairs of an epoch, where the reader knows better.
    """
    prompt = _prompt_tokens(recipe)
    if pairs is not None:
        return _text(pairs, SENTENCE_BYTES, f"--pairs {pairs}", prompt)
    if folder is not None and (folder / "corpus/train.jsonl").is_file():
        lines, width = _lines_of([folder / "corpus/train.jsonl"])
        return _text(lines, max(8.0, (width - 90) / 2), "the run's corpus", prompt)
    sizes = [(source.use, _size_of(source, recipe)) for source in recipe.corpus.train]
    known = [(use, size) for use, size in sizes if size is not None]
    if not known or len(known) < len(sizes):
        return Text(None, None, "not at hand", prompt, SENTENCE_BYTES / BYTES_PER_TOKEN)
    count = sum(size.pairs for _, size in known)
    width = sum(size.pairs * size.width for _, size in known) / max(1.0, count)

    def without(other: str) -> float:
        """Directed pairs for one of the two uses."""
        own = [size for use, size in known if use != other]
        sentences = sum(size.sentences for size in own)
        share = min(1.0, (recipe.corpus.limit or sentences) / max(1.0, sentences))
        return share * sum(size.pairs for size in own)

    found = _text(without("models"), width, "the files it names", prompt)
    return replace(found, models=found.of_pairs(without("students")))


def _text(pairs: float, sentence_bytes: float, known_from: str, prompt: float) -> Text:
    sentence = max(1.0, sentence_bytes / BYTES_PER_TOKEN)
    amount = Amount(pairs, prompt + 2 * sentence, sentence)
    return Text(amount, amount, known_from, prompt, sentence)


def _prompt_tokens(recipe: Recipe) -> float:
    """Of what a prompt says itself."""
    words = load_prompt(recipe.prompt)
    tags = 12.0 if words.chat else 1.0
    return tags + (3.0 if words.style == "compact" else len(words.template) / BYTES_PER_TOKEN)


class _Size(NamedTuple):
    """Of a source."""

    pairs: float
    """Directed."""
    sentences: float
    """Pairs of them, whatever their directions."""
    width: float
    """Bytes of a sentence."""


def _size_of(source: CorpusSource, recipe: Recipe) -> _Size | None:
    """None: it isn't at hand, or can't be read."""
    root = path_in(Path(), recipe.corpus.root)
    try:
        request = request_for(source, recipe.directions, root)
        if source.path.startswith("phrasebook:"):
            lines, width = float(sum(1 for _ in read_phrasebook(request, []))), 45.0
        else:
            files = input_files(source, recipe.directions, root)
            if not files:
                return None
            aligned = len(files) // len(shards(source, root))  # files that say the same
            lines, width = _lines_of(files)
            lines, width = lines / aligned, width if aligned > 1 else width / 2
    except InputError:
        return None
    lines = max(0.0, lines - source.skip)
    lines = min(lines, source.limit or lines)
    wanted = request.directions
    return _Size(lines * len(wanted), lines * len({frozenset(one) for one in wanted}), width)


def _lines_of(files: Iterable[Path]) -> tuple[float, float]:
    """Lines of some files together and the mean bytes of one, from the first MiB of each.

    Raises:
        InputError: one can't be read.
    """
    lines = size = 0.0
    for path in files:
        with open_bytes(path) as file:
            sample = file.read(SAMPLE)
        whole = path.stat().st_size * (PACKED if path.suffix in COMPRESSIONS else 1.0)
        whole = float(len(sample)) if len(sample) < SAMPLE else whole
        lines += whole * max(1, sample.count(b"\n")) / max(1, len(sample))
        size += whole
    return lines, size / max(1.0, lines)
