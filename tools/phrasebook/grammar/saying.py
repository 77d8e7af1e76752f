"""Sentence patterns: that-clauses, indirect questions, when-clauses."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from grammar import calendar, people, places, things
from grammar import czech as cs
from grammar import english as en
from grammar import german as de
from grammar.words import Adjective, Pattern, Person, Place

_HEARSAY = (
    ("say", "says", "sage sagt sagen", "", "říkám říká říkáme říkají"),
    ("think", "thinks", "glaube glaubt glauben", "si", "myslím myslí myslíme myslí"),
)
_STATES = (
    (things.adjective("closed", "geschlossen", "zavřený")),
    (things.adjective("open", "geöffnet", "otevřený")),
)


def reflexive(who: Person, particle: str, verb: str) -> str:
    """Subject and verb with a clitic second: "Eva si myslí", but "myslíme si"."""
    return f"{who.cs[0]} {particle} {verb}" if who.cs[0] else f"{verb} {particle}"


THAT_CLOSED = Pattern(
    "says that it is closed",
    {
        "who": people.SPEAKERS,
        "verb": _HEARSAY,
        "what": places.OPENING,
        "state": _STATES,
        "day": calendar.DAYS,
    },
    en=lambda who, verb, what, state, day: (
        f"{who.en} {who.en_verb(verb[0], verb[1])} that the {what.noun.en} is {state.en} {day.en}."
    ),
    de=lambda who, verb, what, state, day: (
        f"{who.de[0]} {who.de_verb(verb[2])}, dass {de.phrase(what, 'nom', 'der')} {day.de} "
        f"{state.de_plain} ist."
    ),
    cs=lambda who, verb, what, state, day: (
        f"{reflexive(who, verb[3], who.cs_verb(verb[4]))}, že je {what.noun.cs[0]} {day.cs} "
        f"{cs.adjective_form(state.cs, 'nom', what.noun.cs_gender)}."
    ),
    accepts=lambda who, verb, what, state, day: who.agreement in (1, 3) or verb[0] == "think",
)

ASK_OPENING = Pattern(
    "ask opening hours",
    {"when": (("when", "wann", "kdy"), ("at what time", "um wie viel Uhr", "v kolik hodin")),
     "what": places.OPENING, "verb": (("opens", "öffnet", "otevírá"), ("closes", "schließt", "zavírá")),
     "day": calendar.DAYS},
    en=lambda when, what, verb, day: f"Do you know {when[0]} the {what.noun.en} {verb[0]} {day.en}?",
    de=lambda when, what, verb, day: (
        f"Wissen Sie, {when[1]} {de.phrase(what, 'nom', 'der')} {day.de} {verb[1]}?"),
    cs=lambda when, what, verb, day: f"Nevíte, {when[2]} {day.cs} {verb[2]} {what.noun.cs[0]}?",
    about=("know",), share=0.5,
)  # fmt: skip

_SEEN = (
    places.CASTLE, places.MUSEUM, places.GALLERY, places.CHURCH, places.THEATRE, places.ZOO,
    places.MARKET, places.LIBRARY, places.TOWN_HALL, places.UNIVERSITY, places.STADIUM,
)  # fmt: skip
_FAMOUS = things.adjective("famous", "berühmt", "slavný")
_INTERESTING = things.adjective("interesting", "interessant", "zajímavý")
_SIGHT_ADJECTIVES = (things.OLD, _FAMOUS, things.BIG, _INTERESTING, things.SMALL, things.MODERN)


def _can_be_seen(what: Place, how: Adjective) -> bool:
    """Old castles and modern galleries, not the other way round."""
    if how is things.MODERN:
        return what.word in ("museum", "gallery", "theatre", "library", "stadium", "university")
    if how is _INTERESTING:
        return what.word in ("museum", "gallery", "castle", "church", "market")
    if how is things.SMALL:
        return what.word in ("museum", "gallery", "castle", "church", "theatre", "market")
    return how is not things.OLD or what.word not in (
        "zoo",
        "stadium",
        "market",
        "gallery",
        "museum",
    )


WHEN_THERE = Pattern(
    "when we were there",
    {
        "who": people.EVERYBODY,
        "town": places.TOWNS,
        "time": calendar.LONG_PAST,
        "how": _SIGHT_ADJECTIVES,
        "what": _SEEN,
    },
    en=lambda who, town, time, how, what: (
        f"When {who.en} {who.was()} in {town.en} {time.en}, {who.en_pronoun} visited "
        f"{en.article(how.en)} {what.noun.en}."
    ),
    de=lambda who, town, time, how, what: (
        f"Als {who.de[0]} {time.de} {town.de_in} {who.de_verb('war war waren')}, "
        f"{who.de_verb('habe hat haben')} {who.de_pronoun[0]} {de.phrase(what, 'acc', 'ein', how)} besucht."
    ),
    cs=lambda who, town, time, how, what: (
        f"Když {who.cs_aux()} {who.cs_past('byl')} {who.cs[0]} {time.cs} {town.cs_in}, "
        f"{who.cs_past('navštívil')} {who.cs_aux()} {cs.phrase(what, 'acc', '', how)}."
    ),
    accepts=lambda who, town, time, how, what: _can_be_seen(what, how),
    about=("visit",),
    share=1.5,
)

PATTERNS = (THAT_CLOSED, ASK_OPENING, WHEN_THERE)
