"""The records of the lexicon. A word stands for one meaning and carries its forms in all languages.

Genders. German: m, f, n, and p for a noun used in the plural. Czech: M (masculine animate),
I (masculine inanimate), f, n, p (plural of I and f), q (plural of n) and P (plural of M).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Order of the cases in every table of forms.
GERMAN_CASES = ("nom", "acc", "dat", "gen")
CZECH_CASES = ("nom", "gen", "dat", "acc", "loc", "ins")


@dataclass(frozen=True)
class Noun:
    """A noun; where a language has only a plural (trousers, kalhoty) its gender says so."""

    word: str  # English citation form, the identity of the content word
    en: str
    en_many: bool  # the English form is a plural
    de_gender: str
    de: tuple[str, ...]  # in the order of GERMAN_CASES
    cs_gender: str
    cs: tuple[str, ...]  # in the order of CZECH_CASES


@dataclass(frozen=True)
class Adjective:
    """An adjective; `de` is its inflected stem ("teur"), `de_plain` the predicate ("teuer")."""

    word: str
    en: str
    de: str
    de_plain: str
    cs: str  # nominative singular masculine: -ý is hard, -í is soft
    en_more: str = ""  # comparatives, where the word is compared
    de_more: str = ""
    cs_more: str = ""


@dataclass(frozen=True)
class Place:
    """A noun one can be at, go to and come from, with the prepositions each language wants."""

    word: str
    noun: Noun
    en_at: str
    en_to: str
    de_at: str
    de_to: str
    de_from: str
    cs_at: str
    cs_to: str
    cs_from: str


@dataclass(frozen=True)
class Town:
    """A proper name of a town or country; `de_in` and so on hold the preposition."""

    en: str
    de_in: str
    de_to: str
    de_from: str
    cs_in: str
    cs_to: str
    cs_from: str


@dataclass(frozen=True)
class Person:
    """A person as subject or object. `agreement`: 0 I, 1 singular, 2 we, 3 plural."""

    agreement: int
    en: str
    en_pronoun: str
    en_object: str
    en_possessive: str  # "his"
    en_genitive: str  # "my brother's"
    de: tuple[str, str, str]  # nominative, accusative, dative
    de_pronoun: tuple[str, str, str]
    de_possessive: str  # stem: "sein"
    cs: tuple[str, ...]  # in the order of CZECH_CASES; the subject "I" is silent
    cs_pronoun: tuple[str, str]  # unstressed dative and accusative: "mu", "ho"
    cs_gender: str  # M, f, P (masculine plural) or p
    cs_vocative: str = ""

    def en_verb(self, plain: str, third: str) -> str:
        return third if self.agreement == 1 else plain

    def be(self) -> str:
        return ("am", "is", "are", "are")[self.agreement]

    def was(self) -> str:
        return ("was", "was", "were", "were")[self.agreement]

    def de_verb(self, forms: str) -> str:
        """Pick from "habe hat haben"."""
        return forms.split()[min(self.agreement, 2)]

    def cs_verb(self, forms: str) -> str:
        """Pick from "mám má máme mají"."""
        return forms.split()[self.agreement]

    def cs_past(self, masculine: str, stem: str = "") -> str:
        """The past participle: "koupil", or with a stem of its own: "šel", "šl"."""
        if self.cs_gender == "M":
            return masculine
        return (stem or masculine) + {"f": "a", "P": "i", "p": "y"}[self.cs_gender]

    def cs_aux(self) -> str:
        """The auxiliary of the past tense, silent in the third person."""
        return ("jsem", "", "jsme", "")[self.agreement]

    def cs_glad(self) -> str:
        return {"M": "rád", "f": "ráda", "P": "rádi", "p": "rády"}[self.cs_gender]


@dataclass(frozen=True)
class Phrase:
    """Words that stay together and need no agreement (a time, a weekday, an infinitive)."""

    en: str
    de: str
    cs: str
    word: str = ""  # set where the phrase counts as a content word


@dataclass(frozen=True)
class Count:
    """A number; `cs_case` is what it does to a Czech noun: "sg", "few" (2-4) or "many"."""

    value: int
    en: str
    de: str
    cs: str
    cs_case: str


@dataclass(frozen=True)
class Pattern:
    """A sentence in three languages with slots, filled from the lists named in `slots`.

    `about` names content words that stand in the pattern itself; together with the content words
    of the slots they make the combinations of which some are held out of training.
    """

    name: str
    slots: Mapping[str, Sequence[Any]]
    en: Callable[..., str]
    de: Callable[..., str]
    cs: Callable[..., str]
    about: tuple[str, ...] = ()
    accepts: Callable[..., bool] | None = None
    share: float = 1.0  # how often the pattern is drawn, compared with the others
