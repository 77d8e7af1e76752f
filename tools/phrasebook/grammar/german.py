"""German agreement: articles, adjective endings and contractions."""

from __future__ import annotations

from grammar.words import GERMAN_CASES, Adjective, Noun, Place

_GENDERS = ("m", "f", "n", "p")


def _table(rows: str) -> dict[tuple[str, str], str]:
    """Read rows of cases and columns of genders; "-" is no ending."""
    table = {}
    for case, row in zip(GERMAN_CASES, rows.split("/"), strict=True):
        for gender, form in zip(_GENDERS, row.split(), strict=True):
            table[case, gender] = "" if form == "-" else form
    return table


# nominative / accusative / dative / genitive; masculine feminine neuter plural
_DEFINITE = _table("der die das die/den die das die/dem der dem den/des der des der")
_DIES = _table("er e es e/en e es e/em er em en/es er es er")
_EIN = _table("- e - e/en e - e/em er em en/es er es er")
_WEAK = _table("e e e en/en e e en/en en en en/en en en en")
_MIXED = _table("er e es en/en e es en/en en en en/en en en en")
_STRONG = _table("er e es e/en e es e/em er em en/en er en er")
_PRONOUN = _table("er sie es sie/ihn sie es sie/ihm ihr ihm ihnen/- - - -")
_RELATIVE = _table("der die das die/den die das die/dem der dem denen/dessen deren dessen deren")

_CONTRACTIONS = {
    "in dem": "im", "in das": "ins", "an dem": "am", "an das": "ans", "zu dem": "zum",
    "zu der": "zur", "von dem": "vom", "bei dem": "beim",
}  # fmt: skip


def determiner_form(determiner: str, case: str, gender: str) -> str:
    """The article or possessive: ("mein", "dat", "f") is "meiner"; plural "ein" is empty."""
    if not determiner or (determiner == "ein" and gender == "p"):
        return ""
    if determiner == "der":
        return _DEFINITE[case, gender]
    if determiner in ("dies", "welch", "jed"):
        return determiner + _DIES[case, gender]
    return determiner + _EIN[case, gender]


def adjective_form(adjective: Adjective, determiner: str, case: str, gender: str) -> str:
    """The adjective with the weak, mixed or strong ending its determiner asks for."""
    if not determiner or (determiner == "ein" and gender == "p"):
        endings = _STRONG
    elif determiner in ("der", "dies", "welch", "jed"):
        endings = _WEAK
    else:
        endings = _MIXED
    if adjective.de.endswith("*"):  # rosa, lila: never inflected
        return adjective.de[:-1]
    return adjective.de + endings[case, gender]


def phrase(
    noun: Noun | Place, case: str, determiner: str = "", adjective: Adjective | None = None
) -> str:
    """A noun phrase: phrase(coat, "acc", "ein", red) is "einen roten Mantel"."""
    if isinstance(noun, Place):
        noun = noun.noun
    gender = noun.de_gender
    words = [determiner_form(determiner, case, gender)]
    if adjective:
        words.append(adjective_form(adjective, determiner, case, gender))
    words.append(noun.de[GERMAN_CASES.index(case)])
    return " ".join(word for word in words if word)


def after(preposition: str, words: str) -> str:
    """Preposition and noun phrase, contracted where German contracts: "in dem" is "im"."""
    joined = f"{preposition} {words}"
    head = " ".join(joined.split(" ", 2)[:2])
    return _CONTRACTIONS[head] + joined[len(head) :] if head in _CONTRACTIONS else joined


def pronoun(noun: Noun, case: str) -> str:
    return _PRONOUN[case, noun.de_gender]


def relative(noun: Noun, case: str) -> str:
    return _RELATIVE[case, noun.de_gender]


def verb(noun: Noun, singular: str, plural: str) -> str:
    return plural if noun.de_gender == "p" else singular
