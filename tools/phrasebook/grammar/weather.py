"""Sentence patterns: the weather, and what people do because or in spite of it."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass

from grammar import calendar, people, places
from grammar.words import Pattern, Phrase


@dataclass(frozen=True)
class Weather:
    """English if-clause, German and Czech with a gap for the time."""

    word: str
    en: str
    de: str
    cs: str
    good: bool


_WEATHER = (
    Weather("rain", "it rains", "es {} regnet", "bude {} pršet", False),
    Weather("nice", "the weather is nice", "das Wetter {} schön ist", "bude {} hezky", True),
    Weather("cold", "it is cold", "es {} kalt ist", "bude {} zima", False),
    Weather("hot", "it is hot", "es {} heiß ist", "bude {} horko", True),
    Weather("snow", "it snows", "es {} schneit", "bude {} sněžit", False),
    Weather("sun", "the sun shines", "{} die Sonne scheint", "bude {} svítit slunce", True),
    Weather("windy", "it is windy", "es {} windig ist", "bude {} foukat vítr", False),
    Weather("warm", "it is warm", "es {} warm ist", "bude {} teplo", True),
)
_INSIDE = ("cinema", "museum", "theatre", "café", "library", "gallery", "restaurant",
           "department store")  # fmt: skip
_OUTSIDE = ("park", "zoo", "lake", "castle", "swimming pool", "stadium", "market", "beach")

_FUTURE_DAYS = tuple(day for day in calendar.FUTURE if day.en != "next week")

_FAIR_AND_FOUL = tuple(place for place in places.OUTINGS if place.word in (*_INSIDE, *_OUTSIDE))

IF_WEATHER = Pattern(
    "if the weather",
    {"weather": _WEATHER, "day": _FUTURE_DAYS, "who": people.EVERYBODY, "where": _FAIR_AND_FOUL},
    en=lambda weather, day, who, where: (
        f"If {weather.en} {day.en}, {who.en} will go {where.en_to}."),
    de=lambda weather, day, who, where: (
        f"Wenn {weather.de.format(day.de)}, {who.de_verb('gehe geht gehen')} {who.de[0]} {where.de_to}."),
    cs=lambda weather, day, who, where: (
        f"Jestli {weather.cs.format(day.cs)}, {who.cs_verb('půjdu půjde půjdeme půjdou')} "
        f"{who.cs[0]} {where.cs_to}."),
    accepts=lambda weather, day, who, where: (
        where.word in (_OUTSIDE if weather.good else _INSIDE)),
    about=("go",),
)  # fmt: skip

_PAST_WEATHER = (
    Phrase("it was raining", "es regnete", "pršelo", "rain"),
    Phrase("it was cold", "es kalt war", "byla zima", "cold"),
    Phrase("it was very late", "es sehr spät war", "bylo velmi pozdě", "late"),
    Phrase("it was snowing", "es schneite", "sněžilo", "snow"),
    Phrase("it was windy", "es windig war", "foukal vítr", "windy"),
    Phrase("it was very hot", "es sehr heiß war", "bylo velké horko", "hot"),
)

_LATE = ("park", "café", "cinema", "lake", "beach", "restaurant")

_BRAVED = tuple(
    place
    for place in places.OUTINGS
    if place.word in (*_LATE, *_OUTSIDE) and place.word != "swimming pool"
)

ALTHOUGH = Pattern(
    "although",
    {"weather": _PAST_WEATHER, "who": people.EVERYBODY, "where": _BRAVED},
    en=lambda weather, who, where: f"Although {weather.en}, {who.en} went {where.en_to}.",
    de=lambda weather, who, where: (
        f"Obwohl {weather.de}, {who.de_verb('bin ist sind')} {who.de[0]} {where.de_to} gegangen."),
    cs=lambda weather, who, where: (
        f"Ačkoli {weather.cs}, {who.cs_past('šel', 'šl')} {who.cs_aux()} {who.cs[0]} {where.cs_to}."),
    accepts=lambda weather, who, where: (
        where.word in _LATE if weather.word == "late"
        else where.word in ("park", "zoo", "castle", "stadium", "market") if weather.word == "hot"
        else where.word in _OUTSIDE),
    about=("go",),
)  # fmt: skip

_FORECAST = (
    Phrase("it will rain", "wird es {} regnen", "bude {} pršet", "rain"),
    Phrase("it will be cold", "wird es {} kalt sein", "bude {} zima", "cold"),
    Phrase("it will be warm", "wird es {} warm sein", "bude {} teplo", "warm"),
    Phrase("it will snow", "wird es {} schneien", "bude {} sněžit", "snow"),
    Phrase("the sun will shine", "wird {} die Sonne scheinen", "bude {} svítit slunce", "sun"),
    Phrase("it will be hot", "wird es {} heiß sein", "bude {} horko", "hot"),
    Phrase("there will be fog", "wird es {} Nebel geben", "bude {} mlha", "fog"),
)

FORECAST = Pattern(
    "weather forecast",
    {"day": calendar.FUTURE, "weather": _FORECAST, "town": places.TOWNS},
    en=lambda day, weather, town: f"{day.en}, {weather.en} in {town.en}.",
    de=lambda day, weather, town: f"{day.de} {weather.de.format(town.de_in)}.",
    cs=lambda day, weather, town: f"{day.cs} {weather.cs.format(town.cs_in)}.",
    accepts=lambda day, weather, town: (
        day.en != "this evening" or weather.word not in ("sun", "hot")),
    share=0.8,
)  # fmt: skip

PATTERNS = (IF_WEATHER, ALTHOUGH, FORECAST)
