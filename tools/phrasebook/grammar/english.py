"""English agreement: a or an, singular or plural."""

from __future__ import annotations

from grammar.words import Adjective, Noun, Place

# Words whose first letter misleads about their first sound.
_SOUNDS_LIKE_CONSONANT = ("uni", "use", "euro", "one")
_SOUNDS_LIKE_VOWEL = ("hour", "honest")


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    low = words.lower()
    vowel = low[0] in "aeiou" and not low.startswith(_SOUNDS_LIKE_CONSONANT)
    return ("an " if vowel or low.startswith(_SOUNDS_LIKE_VOWEL) else "a ") + words


def phrase(noun: Noun | Place, determiner: str = "", adjective: Adjective | None = None) -> str:
    """A noun phrase: phrase(coat, "a", old) is "an old coat"; plural nouns take no "a"."""
    if isinstance(noun, Place):
        noun = noun.noun
    words = f"{adjective.en} {noun.en}" if adjective else noun.en
    if determiner == "a":
        return words if noun.en_many else article(words)
    if determiner in ("this", "that") and noun.en_many:
        determiner = {"this": "these", "that": "those"}[determiner]
    return f"{determiner} {words}".strip()


def be(noun: Noun) -> str:
    return "are" if noun.en_many else "is"


def it(noun: Noun) -> str:
    return "them" if noun.en_many else "it"


def does(noun: Noun) -> str:
    return "do" if noun.en_many else "does"


def verb(noun: Noun, plain: str, third: str) -> str:
    return plain if noun.en_many else third
