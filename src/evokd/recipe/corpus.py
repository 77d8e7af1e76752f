"""The corpus section of a recipe: where the text comes from and what of it is dropped."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from evokd.recipe.formats import AUTO, FORMATS, add_format
from evokd.recipe.section import Section, as_list, as_mappings
from evokd.recipe.validation import one_of

Column = Annotated[str, BeforeValidator(str)]
"""A name (JSON key, TSV header) or a number from 1."""


NOISES = {
    "misaligned": "another pair's target",
    "wrong_language": "another sentence of the source language",
    "copied": "the source itself",
    "word_by_word": "the source word by word, as a bad system translates it",
    "truncated": "the target's beginning",
    "dropped_words": "without some words",
    "swapped_words": "some words in their neighbours' places",
    "replaced_words": "other words in the place of some",
}
"""What a target may be made into on purpose; functions of `evokd.data.noise` by these names."""
OF_WORDS = {"dropped_words", "swapped_words", "replaced_words"}
"""Those whose share is of words, so that it is no share of the pairs."""


class NoiseSettings(Section):
    """Training targets made wrong on purpose, for controlled studies."""

    kind: Annotated[str, one_of("kind", lambda: NOISES)]
    share: float = Field(ge=0, le=1)
    """Of the pairs of each direction; of the words where the kind is about words."""
    seed: int = 1


class CorpusSource(Section):
    """One place that parallel text comes from."""

    path: str
    """A Moses prefix, a file, `hub:REPO[/CONFIG]:SPLIT[:SRC:TGT][@REVISION]`, `sacrebleu:NAME` or
    `phrasebook:train|valid|test`."""
    format: Annotated[str, one_of("format", lambda: (AUTO, *FORMATS), add_format)] = AUTO
    """auto, a name of `recipe.formats.FORMATS`, or package.module:reader."""
    languages: tuple[str, str] | None = None
    """The two languages it holds, in the order of its columns; default: those of `directions`."""
    directions: tuple[str, ...] | None = None
    """Which of the study's directions it serves; default: every one that its languages allow."""
    columns: tuple[Column, Column] | None = None
    limit: int | None = Field(default=None, ge=1)
    """Take the first so many pairs."""
    skip: int = Field(default=0, ge=0)
    """After so many others."""


class TrainSource(CorpusSource):
    """Parallel text that is trained on."""

    use: Literal["all", "models", "students"] = "all"
    """models: to fine-tune the teacher and to warm the students' start up; students: by the
    methods, which compare what becomes of that start."""
    noise: tuple[NoiseSettings, ...] = ()

    @field_validator("noise", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return as_list(value)

    @field_validator("noise")
    @classmethod
    def _each_pair_has_one_kind(cls, noise: tuple[NoiseSettings, ...]) -> Any:
        of_pairs = sum(one.share for one in noise if one.kind not in OF_WORDS)
        if of_pairs > 1 + 1e-9:
            raise ValueError(f"shares of pairs sum to {of_pairs:g}; at most 1 is accepted")
        return noise


class TestSource(CorpusSource):
    """Parallel text that students are judged on, under a name of its own."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    name: str

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ValueError(
                f"{name!r} is no test set name; letters, digits, '_' and '-' are accepted"
            )
        return name


class UnpairedSource(Section):
    """Lines of one language, to be translated by the teacher."""

    path: str
    """A text file, a sentence a line; or hub:…, sacrebleu:…, phrasebook:…, of which only the source
    side is read."""
    direction: str
    limit: int | None = Field(default=None, ge=1)
    skip: int = Field(default=0, ge=0)


class TeacherFilter(Section):
    """How text is filtered by the teacher, for methods with text: filtered."""

    by: Literal["excess", "nll", "dual"] = "excess"
    """What a pair is judged by, nats a token: excess, −ln p(y) − H(p) of the teacher; nll, −ln p(y)
    alone; dual, that of both directions and their difference (Junczys-Dowmunt 2018)."""
    threshold: float | None = None
    """Above which it is left out; null: where it is likelier wrong than right, which is read off
    pairs whose targets are shuffled."""


class CleaningSettings(Section):
    """What is dropped from the training text. Validation and test sets are never touched."""

    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(default=250, ge=1)
    max_word_chars: int = Field(default=100, ge=1)
    max_length_ratio: float = Field(default=4.0, ge=1)
    """Longest accepted ratio of the two sides' lengths in characters (for sides over 20 chars)."""
    min_letter_share: float = Field(default=0.4, ge=0, le=1)
    """Least accepted share of letters among the characters that aren't spaces."""
    mojibake: Literal["repair", "drop", "keep"] = "repair"
    """Text in a wrong encoding ("Ã¤" for "ä"); what can't be repaired is dropped by the first."""
    markup: Literal["strip", "drop", "keep"] = "strip"
    """Tags and entities of HTML and XML; an entity becomes its character."""
    swapped_sides: Literal["swap", "drop", "keep"] = "swap"
    """Each side in the other one's language."""
    drop_wrong_language: bool = True
    """A side that py3langid takes for another language's."""
    drop_copies: bool = True
    drop_duplicates: bool = True
    drop_test_leaks: bool = True
    by_teacher: TeacherFilter = TeacherFilter()


class CorpusSettings(Section):
    root: str = "."
    """Folder that relative paths start from."""
    train: tuple[TrainSource, ...]
    """Empty only where all training text is the teacher's, of `unpaired`."""
    valid: tuple[CorpusSource, ...] = ()
    """Held-out text for checkpoints and the sanity gate; without it, 2 % of train (at most 500
    pairs) is set aside."""
    test: tuple[TestSource, ...] = Field(min_length=1)
    cleaning: CleaningSettings = CleaningSettings()
    unpaired: tuple[UnpairedSource, ...] = ()
    """Text without translations: its teacher's translations are trained on (methods.text)."""
    weights: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=dict)
    """How often a direction's pairs are seen per epoch: 2 twice, 0.5 every second one."""
    limit: int | None = Field(default=None, ge=1)
    """Use so many sentence pairs for training (a seeded random subset, before directions)."""

    held_out: int = Field(default=0, ge=0)
    """So many lines of train that teacher and start aren't trained on: what the teacher
    makes of these tells how many references are wrong. A tenth at most, and at least 50 of each
    pair of languages, or none of it."""

    @model_validator(mode="after")
    def _parts_fit(self) -> CorpusSettings:
        noisy = [
            i
            for i, source in enumerate(self.train)
            if source.use != "models" and any(noise.share for noise in source.noise)
        ]
        if noisy and not self.valid:
            raise ValueError(
                f"train.{noisy[0]}.noise: without corpus.valid validation text is set aside "
                "from that text and would be wrong, too; name some in corpus.valid"
            )
        return self

    def first(self, pairs: int) -> CorpusSettings:
        """The same with at most so many sentence pairs, or lines, of each training source."""

        def fewer(source: Any) -> Any:
            limit = pairs if source.limit is None else min(pairs, source.limit)
            return source.model_copy(update={"limit": limit})

        sources = {"train": self.train, "unpaired": self.unpaired}
        return self.model_copy(
            update={name: tuple(map(fewer, those)) for name, those in sources.items()}
        )

    def train_for(self, use: str) -> list[TrainSource]:
        """The sources that models, or students, are trained on."""
        return [source for source in self.train if source.use in ("all", use)]

    @field_validator("train")
    @classmethod
    def _each_use_has_text(cls, sources: tuple[TrainSource, ...]) -> Any:
        for use in ("models", "students"):
            if sources and all(source.use not in ("all", use) for source in sources):
                raise ValueError(f"no source is for {use}; add one with use: {use} or use: all")
        return sources

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _paths_are_sources(cls, value: Any) -> Any:
        return as_mappings(value, "path")
