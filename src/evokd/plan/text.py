"""How much text a recipe trains on, from files that are at hand: lines and bytes, no tokenizer."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evokd.data.prompts import load_prompt
from evokd.data.sources import input_files
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
PHRASEBOOK = {"train": 20_000, "valid": 1_000, "test": 1_000}


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
    count = sum(lines for _, (lines, _) in known)
    width = sum(lines * width for _, (lines, width) in known) / max(1.0, count)
    most = recipe.corpus.limit or count
    students = min(most, sum(lines for use, (lines, _) in known if use != "models"))
    models = sum(lines for use, (lines, _) in known if use != "students")
    found = _text(students, width, "the files it names", prompt)
    return replace(found, models=found.of_pairs(min(most, models)))


def _text(pairs: float, sentence_bytes: float, known_from: str, prompt: float) -> Text:
    sentence = max(1.0, sentence_bytes / BYTES_PER_TOKEN)
    amount = Amount(pairs, prompt + 2 * sentence, sentence)
    return Text(amount, amount, known_from, prompt, sentence)


def _prompt_tokens(recipe: Recipe) -> float:
    """Of what a prompt says itself."""
    words = load_prompt(recipe.prompt)
    tags = 12.0 if words.chat else 1.0
    return tags + (3.0 if words.style == "compact" else len(words.template) / BYTES_PER_TOKEN)


def _size_of(source: CorpusSource, recipe: Recipe) -> tuple[float, float] | None:
    """Directed pairs of a source, and bytes of a sentence; None: not at hand."""
    kind, _, rest = source.path.partition(":")
    if kind == "phrasebook":
        split, _, most = rest.partition(":")
        lines, width = float(most or PHRASEBOOK.get(split, 1_000)), 45.0
    else:
        try:
            files = input_files(source, recipe.directions, Path(recipe.corpus.root))
        except InputError:
            return None
        if not files:
            return None
        lines, width = _lines_of(files)
        width /= 1 if len(files) > 1 else 2
        lines /= max(1, len(files))
    lines = max(0.0, lines - source.skip)
    return min(lines, source.limit or lines) * _directions(source, recipe.directions), width


def _directions(source: CorpusSource, directions: Sequence[str]) -> int:
    """How many of the study's directions a source serves."""
    if source.directions:
        return len(source.directions)
    if source.languages is None:
        return len(directions)
    return sum({*direction.split("-")} == {*source.languages} for direction in directions) or 1


def _lines_of(files: Iterable[Path]) -> tuple[float, float]:
    """Lines of some files together and the mean bytes of one, from the first MiB of each."""
    lines = size = 0.0
    for path in files:
        packed = path.suffix == ".gz"
        with gzip.open(path) if packed else path.open("rb") as file:
            sample = file.read(SAMPLE)
        whole = path.stat().st_size * (3.0 if packed else 1.0)
        whole = float(len(sample)) if len(sample) < SAMPLE else whole
        lines += whole * max(1, sample.count(b"\n")) / max(1, len(sample))
        size += whole
    return lines, size / max(1.0, lines)
