"""The corpus section of a recipe: where the text comes from and what of it is dropped."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator

from evokd.recipe.formats import AUTO, FORMATS
from evokd.recipe.section import Section, as_list
from evokd.recipe.validation import unknown


class CorpusSource(Section):
    """One place that parallel text comes from."""

    path: str
    """A Moses prefix, a file, `hub:REPO[/CONFIG]:SPLIT[:SRC:TGT][@REVISION]`, `sacrebleu:NAME` or
    `phrasebook:train|valid|test`."""
    format: str = AUTO
    """auto, or a name of `recipe.formats.FORMATS`."""
    languages: tuple[str, str] | None = None
    """The two languages it holds, in the order of its columns; default: those of `directions`."""
    directions: tuple[str, ...] | None = None
    """Which of the study's directions it serves; default: every one that its languages allow."""
    columns: tuple[str, str] | None = None
    """Names (JSON keys, TSV header) or 1-based numbers of the two text columns."""
    limit: int | None = Field(default=None, ge=1)
    """Take the first so many pairs."""

    @field_validator("format")
    @classmethod
    def _format_exists(cls, value: str) -> str:
        if value not in (AUTO, *FORMATS):
            raise ValueError(unknown("format", value, (AUTO, *FORMATS)))
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _numbers_are_columns(cls, value: Any) -> Any:
        return [str(column) for column in value] if isinstance(value, list) else value


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
    """A text file, a sentence a line."""
    direction: str
    limit: int | None = Field(default=None, ge=1)


class CleaningSettings(Section):
    """What is dropped from the training text. Validation and test sets are never touched."""

    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(default=250, ge=1)
    max_word_chars: int = Field(default=100, ge=1)
    max_length_ratio: float = Field(default=4.0, ge=1)
    """Longest accepted ratio of the two sides' lengths in characters (for sides over 20 chars)."""
    min_letter_share: float = Field(default=0.4, ge=0, le=1)
    """Least accepted share of letters among the characters that aren't spaces."""
    drop_copies: bool = True
    drop_duplicates: bool = True
    drop_test_leaks: bool = True


class CorpusSettings(Section):
    root: str = "."
    """Folder that relative paths start from."""
    train: tuple[CorpusSource, ...]
    """Empty only where all training text is the teacher's, of `unpaired`."""
    valid: tuple[CorpusSource, ...] = ()
    """Held-out text for checkpoints and the sanity gate; without it, 2 % of train (at most 500
    pairs) is set aside."""
    test: tuple[TestSource, ...] = Field(min_length=1)
    cleaning: CleaningSettings = CleaningSettings()
    unpaired: tuple[UnpairedSource, ...] = ()
    """Text without translations: its teacher's translations are trained on (methods.text)."""
    weights: dict[str, float] = Field(default_factory=dict)
    """How often a direction's pairs are seen per epoch: 2 twice, 0.5 every second one."""
    limit: int | None = Field(default=None, ge=1)
    """Use so many sentence pairs for training (a seeded random subset, before directions)."""

    @field_validator("train", "valid", mode="before")
    @classmethod
    def _paths_are_sources(cls, value: Any) -> Any:
        return [{"path": v} if isinstance(v, str) else v for v in as_list(value)]

    @field_validator("test", mode="before")
    @classmethod
    def _tests_are_listed(cls, value: Any) -> Any:
        return as_list(value)

    @field_validator("weights")
    @classmethod
    def _weights_are_positive(cls, value: dict[str, float]) -> dict[str, float]:
        for direction, weight in value.items():
            if not 0 <= weight <= 100:
                raise ValueError(f"weight of {direction} is {weight}; 0 to 100 is accepted")
        return value
