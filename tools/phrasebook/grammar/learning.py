"""Sentence patterns: languages and interests."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from grammar import calendar, people
from grammar.words import Pattern, Phrase

_TONGUES = (
    Phrase("German", "Deutsch", "německy", "German"),
    Phrase("English", "Englisch", "anglicky", "English"),
    Phrase("Czech", "Tschechisch", "česky", "Czech"),
    Phrase("French", "Französisch", "francouzsky", "French"),
    Phrase("Spanish", "Spanisch", "španělsky", "Spanish"),
    Phrase("Italian", "Italienisch", "italsky", "Italian"),
    Phrase("Polish", "Polnisch", "polsky", "Polish"),
    Phrase("Russian", "Russisch", "rusky", "Russian"),
)

SPEAKS = Pattern(
    "speaks better",
    {"who": people.SPEAKERS, "tongue": _TONGUES, "than": _TONGUES},
    en=lambda who, tongue, than: (
        f"{who.en} {who.en_verb('speak', 'speaks')} {tongue.en} better than {than.en}."
    ),
    de=lambda who, tongue, than: (
        f"{who.de[0]} {who.de_verb('spreche spricht sprechen')} besser {tongue.de} als {than.de}."
    ),
    cs=lambda who, tongue, than: (
        f"{who.cs[0]} {who.cs_verb('mluvím mluví mluvíme mluví')} lépe {tongue.cs} než {than.cs}."
    ),
    accepts=lambda who, tongue, than: tongue is not than,
    about=("speak",),
)

LEARNS = Pattern(
    "has been learning",
    {"who": people.SPEAKERS, "tongue": _TONGUES, "span": calendar.LONG_SPANS},
    en=lambda who, tongue, span: (
        f"{who.en} {who.en_verb('have', 'has')} been learning {tongue.en} for {span.en}."),
    de=lambda who, tongue, span: (
        f"{who.de[0]} {who.de_verb('lerne lernt lernen')} seit {span.de_dative} {tongue.de}."),
    cs=lambda who, tongue, span: (
        f"{who.cs[0]} se {who.cs_verb('učím učí učíme učí')} {tongue.cs} už {span.cs_accusative}."
        if who.cs[0] else
        f"{who.cs_verb('učím učí učíme učí')} se {tongue.cs} už {span.cs_accusative}."),
    about=("learn",),
)  # fmt: skip

_TOPICS = (
    Phrase("history", "Geschichte", "historii", "history"),
    Phrase("music", "Musik", "hudbu", "music"),
    Phrase("art", "Kunst", "umění", "art"),
    Phrase("sport", "Sport", "sport", "sport"),
    Phrase("politics", "Politik", "politiku", "politics"),
    Phrase("literature", "Literatur", "literaturu", "literature"),
    Phrase("architecture", "Architektur", "architekturu", "architecture"),
    Phrase("foreign languages", "Fremdsprachen", "cizí jazyky", "languages"),
    Phrase("computers", "Computer", "počítače", "computers"),
    Phrase("fashion", "Mode", "módu", "fashion"),
    Phrase("cars", "Autos", "auta", "cars"),
)

INTERESTED = Pattern(
    "is interested in",
    {"who": people.SPEAKERS, "topic": _TOPICS, "other": _TOPICS},
    en=lambda who, topic, other: (
        f"{who.en} {who.be()} interested in {topic.en} but not in {other.en}."),
    de=lambda who, topic, other: (
        f"{who.de[0]} {who.de_verb('interessiere interessiert interessieren')} "
        f"{('mich', 'sich', 'uns', 'sich')[who.agreement]} für {topic.de}, aber nicht für {other.de}."),
    cs=lambda who, topic, other: (
        f"{who.cs[0]} se {who.cs_verb('zajímám zajímá zajímáme zajímají')} o {topic.cs}, ale ne o {other.cs}."
        if who.cs[0] else
        f"{who.cs_verb('zajímám zajímá zajímáme zajímají')} se o {topic.cs}, ale ne o {other.cs}."),
    accepts=lambda who, topic, other: topic is not other,
    about=("interest",),
)  # fmt: skip

PATTERNS = (SPEAKS, LEARNS, INTERESTED)
