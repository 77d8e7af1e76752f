"""Sentence patterns: finding the way, trains, journeys and lost things."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from grammar import calendar, people, places, things
from grammar import czech as cs
from grammar import english as en
from grammar import german as de
from grammar.words import Pattern, Phrase

_BY = (
    Phrase("by train", "mit dem Zug", "vlakem"),
    Phrase("by car", "mit dem Auto", "autem"),
    Phrase("by bus", "mit dem Bus", "autobusem"),
)
_MINUTES = (
    Phrase("ten minutes", "zehn Minuten", "deset minut"),
    Phrase("twenty minutes", "zwanzig Minuten", "dvacet minut"),
    Phrase("half an hour", "eine halbe Stunde", "půl hodiny"),
    Phrase("five minutes", "fünf Minuten", "pět minut"),
    Phrase("fifteen minutes", "fünfzehn Minuten", "patnáct minut"),
    Phrase("an hour", "eine Stunde", "hodinu"),
    Phrase("forty minutes", "vierzig Minuten", "čtyřicet minut"),
    Phrase("two hours", "zwei Stunden", "dvě hodiny"),
)
_REASONS = (
    Phrase("snow", "wegen des Schnees", "kvůli sněhu", "snow"),
    Phrase("fog", "wegen des Nebels", "kvůli mlze", "fog"),
    Phrase("an accident", "wegen eines Unfalls", "kvůli nehodě", "accident"),
    Phrase("a storm", "wegen eines Sturms", "kvůli bouřce", "storm"),
    Phrase("a strike", "wegen eines Streiks", "kvůli stávce", "strike"),
)
_PLATFORMS = tuple(
    Phrase(english, str(number), czech)
    for number, (english, czech) in enumerate(
        (("one", "z prvního"), ("two", "z druhého"), ("three", "ze třetího"), ("four", "ze čtvrtého"),
         ("five", "z pátého"), ("six", "ze šestého"), ("seven", "ze sedmého"),
         ("eight", "z osmého")), 1)
)  # fmt: skip

ASK_WAY = Pattern(
    "ask the way",
    {"origin": places.BUILDINGS, "goal": places.SIGHTS_AND_SERVICES},
    en=lambda origin, goal: f"Excuse me, how do I get from the {origin.noun.en} {goal.en_to}?",
    de=lambda origin, goal: f"Entschuldigung, wie komme ich {origin.de_from} {de_towards(goal)}?",
    cs=lambda origin, goal: f"Promiňte, jak se dostanu {cs_from(origin)} {goal.cs_to}?",
    accepts=lambda origin, goal: origin is not goal,
)


def de_towards(place: places.Place) -> str:
    """To the place as a goal one asks for: zum Museum, not ins Museum."""
    return de.after("zu", de.phrase(place, "dat", "der"))


def cs_from(place: places.Place) -> str:
    """From beside a building, which is what one means when asking the way: od hotelu."""
    return f"od {place.noun.cs[1]}"


TRAIN_TIME = Pattern(
    "train departs",
    {"town": places.NEARBY_TOWNS, "time": calendar.TIMES, "platform": _PLATFORMS},
    en=lambda town, time, platform: (
        f"The train to {town.en} leaves {time.en} from platform {platform.en}."
    ),
    de=lambda town, time, platform: (
        f"Der Zug {town.de_to} fährt {time.de} von Gleis {platform.de} ab."
    ),
    cs=lambda town, time, platform: (
        f"Vlak {town.cs_to} odjíždí {time.cs} {platform.cs} nástupiště."
    ),
    share=0.8,
)

DELAY = Pattern(
    "train is late",
    {"reason": _REASONS, "town": places.NEARBY_TOWNS, "minutes": _MINUTES},
    en=lambda reason, town, minutes: (
        f"Because of {reason.en}, the train from {town.en} is {minutes.en} late."
    ),
    de=lambda reason, town, minutes: (
        f"{reason.de} hat der Zug {town.de_from} {minutes.de} Verspätung."
    ),
    cs=lambda reason, town, minutes: f"{reason.cs} má vlak {town.cs_from} {minutes.cs} zpoždění.",
)

WENT = Pattern(
    "went to a town",
    {"time": calendar.LONG_PAST, "who": people.EVERYBODY, "town": places.NEARBY_TOWNS, "by": _BY},
    en=lambda time, who, town, by: f"{time.en}, {who.en} went to {town.en} {by.en}.",
    de=lambda time, who, town, by: (
        f"{time.de} {who.de_verb('bin ist sind')} {who.de[0]} {by.de} {town.de_to} gefahren."
    ),
    cs=lambda time, who, town, by: (
        f"{time.cs} {who.cs_aux()} {who.cs_past('jel')} {who.cs[0]} {by.cs} {town.cs_to}."
    ),
)

LOST = Pattern(
    "lost something",
    {"time": calendar.PAST, "who": people.SINGLE_OTHERS, "where": places.LOSING,
     "how": things.BELONGINGS_ADJECTIVES, "what": things.CARRIED},
    en=lambda time, who, where, how, what: (
        f"{time.en}, {who.en} lost {who.en_possessive} {how.en} {what.en} {where.en_at}."),
    de=lambda time, who, where, how, what: (
        f"{time.de} {who.de_verb('habe hat haben')} {who.de[0]} {where.de_at} "
        f"{de.phrase(what, 'acc', who.de_possessive, how)} verloren."),
    cs=lambda time, who, where, how, what: (
        f"{time.cs} {who.cs_aux()} {who.cs[0]} {where.cs_at} {who.cs_past('ztratil')} "
        f"{cs.phrase(what, 'acc', 'svůj', how)}."),
    about=("lose",), share=1.5,
)  # fmt: skip

FOUND = Pattern(
    "ask for a lost thing",
    {"how": things.BELONGINGS_ADJECTIVES, "what": things.CARRIED, "where": places.LOSING},
    en=lambda how, what, where: (
        f"Has anyone found {en.phrase(what, 'a', how)}? We left {en.it(what)} {where.en_at}."),
    de=lambda how, what, where: (
        f"Hat jemand {de.phrase(what, 'acc', 'ein', how)} gefunden? "
        f"Wir haben {de.pronoun(what, 'acc')} {where.de_at} vergessen."),
    cs=lambda how, what, where: (
        f"Nenašel někdo {cs.phrase(what, 'acc', '', how)}? "
        f"Zapomněli jsme {cs.pronoun_acc(what)} {where.cs_at}."),
    about=("find",),
)  # fmt: skip

IS_THERE = Pattern(
    "is there one nearby",
    {"how": (things.QUALITY, things.CHEAP), "what": (
        places.RESTAURANT, places.HOTEL, places.CAFE, places.BAKERY, places.SUPERMARKET),
     "near": places.LANDMARKS},
    en=lambda how, what, near: f"Is there {en.phrase(what, 'a', how)} near the {near.noun.en}?",
    de=lambda how, what, near: (
        f"Gibt es in der Nähe {de.phrase(near, 'gen', 'der')} {de.phrase(what, 'acc', 'ein', how)}?"),
    cs=lambda how, what, near: (
        f"Je blízko {near.noun.cs[1]} {cs.adjective_form('nějaký', 'nom', what.noun.cs_gender)} "
        f"{cs.phrase(what, 'nom', '', how)}?"),
    accepts=lambda how, what, near: what is not near,
)  # fmt: skip

_SIDES = (
    ("opposite", "gegenüber", "naproti", 2),
    ("next to", "neben", "vedle", 1),
    ("behind", "hinter", "za", 5),
    ("in front of", "vor", "před", 5),
)

WHERE_BUILDING = Pattern(
    "tell where it is",
    {"what": places.BUILDINGS, "side": _SIDES, "near": places.LANDMARKS},
    en=lambda what, side, near: f"The {what.noun.en} is {side[0]} the {near.noun.en}.",
    de=lambda what, side, near: (
        f"{de.phrase(what, 'nom', 'der')} ist {side[1]} {de.phrase(near, 'dat', 'der')}."
    ),
    cs=lambda what, side, near: f"{what.noun.cs[0]} je {side[2]} {near.noun.cs[side[3]]}.",
    accepts=lambda what, side, near: what is not near,
)

_TURNS = (("left", "links", "doleva"), ("right", "rechts", "doprava"))

TURN = Pattern(
    "tell the way",
    {"until": places.LANDMARKS, "turn": _TURNS, "at": places.LANDMARKS},
    en=lambda until, turn, at: (
        f"Go straight ahead to the {until.noun.en} and turn {turn[0]} at the {at.noun.en}."
    ),
    de=lambda until, turn, at: (
        f"Gehen Sie geradeaus bis {de.after('zu', de.phrase(until, 'dat', 'der'))} und biegen Sie "
        f"{de.after('an', de.phrase(at, 'dat', 'der'))} {turn[1]} ab."
    ),
    cs=lambda until, turn, at: (
        f"Jděte rovně {cs_towards(until)} a u {at.noun.cs[1]} zahněte {turn[2]}."
    ),
    accepts=lambda until, turn, at: until is not at,
)


def cs_towards(place: places.Place) -> str:
    """Up to a landmark: až k mostu, ke kostelu."""
    form = place.noun.cs[2]
    hard = form[0] in "kg" or (form[0] in "szš" and form[1] not in "aeiouáéíóúůy")
    return f"až {'ke' if hard else 'k'} {form}"


_TICKETS = (
    things.countable("return ticket, return tickets", "eine Rückfahrkarte, Rückfahrkarten",
                      "f, zpáteční jízdenku, zpáteční jízdenky, zpátečních jízdenek"),
    things.countable("ticket, tickets", "eine Fahrkarte, Fahrkarten",
                      "f, jízdenku, jízdenky, jízdenek"),
    things.countable("single ticket, single tickets", "eine einfache Fahrkarte, einfache Fahrkarten",
                      "f, jednosměrnou jízdenku, jednosměrné jízdenky, jednosměrných jízdenek"),
    things.countable("seat reservation, seat reservations", "eine Platzreservierung, Platzreservierungen",
                      "f, místenku, místenky, místenek"),
)  # fmt: skip

TICKETS = Pattern(
    "buy tickets",
    {"count": calendar.COUNTS[:6], "what": _TICKETS, "town": places.NEARBY_TOWNS,
     "day": calendar.FOR_DAY},
    en=lambda count, what, town, day: (
        f"{count.en} {what.en[count.value > 1]} to {town.en} {day.en}, please."),
    de=lambda count, what, town, day: (
        f"{what.de[0] if count.value == 1 else count.de + ' ' + what.de[1]} {town.de_to} {day.de}, bitte."),
    cs=lambda count, what, town, day: (
        f"{calendar.czech_number(count, what.cs_gender)} {cs.counted(count, *what.cs)} "
        f"{town.cs_to} {day.cs}, prosím."),
    share=0.8,
)  # fmt: skip


def de_von(town: places.Town) -> str:
    return town.de_from.replace("aus ", "von ", 1)


CHANGE = Pattern(
    "change trains",
    {"day": calendar.DAYS, "origin": places.NEARBY_TOWNS, "goal": places.NEARBY_TOWNS},
    en=lambda day, origin, goal: (
        f"Do we have to change trains if we go from {origin.en} to {goal.en} {day.en}?"
    ),
    de=lambda day, origin, goal: (
        f"Müssen wir umsteigen, wenn wir {day.de} {de_von(origin)} {goal.de_to} fahren?"
    ),
    cs=lambda day, origin, goal: (
        f"Musíme přestupovat, když pojedeme {day.cs} {origin.cs_from} {goal.cs_to}?"
    ),
    accepts=lambda day, origin, goal: origin is not goal,
    share=0.8,
)

HOW_LONG = Pattern(
    "how long it takes",
    {"origin": places.NEARBY_TOWNS, "goal": places.NEARBY_TOWNS, "by": _BY},
    en=lambda origin, goal, by: (
        f"How long does the journey from {origin.en} to {goal.en} take {by.en}?"
    ),
    de=lambda origin, goal, by: (
        f"Wie lange dauert die Fahrt {by.de} {de_von(origin)} {goal.de_to}?"
    ),
    cs=lambda origin, goal, by: f"Jak dlouho trvá cesta {by.cs} {origin.cs_from} {goal.cs_to}?",
    accepts=lambda origin, goal, by: origin is not goal,
    share=0.8,
)

_LINES = tuple(
    Phrase(f"{english} number {calendar.ENGLISH[number - 1]}",
           f"{german} Nummer {'eins' if number == 1 else calendar.GERMAN[number - 1]}",
           f"{czech} číslo {'jedna' if number == 1 else calendar.CZECH[number - 1]}", word)
    for number in (5, 2, 3, 8, 4, 6, 7, 10, 9, 12, 11)
    for english, german, czech, word in (
        ("tram", "die Straßenbahn", "tramvaj", "tram"), ("bus", "der Bus", "autobus", "bus"))
)  # fmt: skip
_STOPS = (*places.SIGHTS_AND_SERVICES[:8], places.AIRPORT, places.UNIVERSITY, places.STADIUM,
          places.ZOO, places.TOWN_HALL, places.THEATRE, places.LAKE)  # fmt: skip

LINE = Pattern(
    "tram and bus lines",
    {"line": _LINES, "origin": _STOPS, "goal": _STOPS},
    en=lambda line, origin, goal: f"{line.en} goes from the {origin.noun.en} {goal.en_to}.",
    de=lambda line, origin, goal: f"{line.de} fährt {origin.de_from} {de_towards(goal)}.",
    cs=lambda line, origin, goal: f"{line.cs} jezdí {cs_from(origin)} {cs_as_goal(goal)}.",
    accepts=lambda line, origin, goal: origin is not goal,
)


def cs_as_goal(place: places.Place) -> str:
    """Where a line goes: na letiště and na nádraží, but k muzeu."""
    return place.cs_to if place.cs_to.startswith("na ") else cs_towards(place)[3:]


PATTERNS = (
    ASK_WAY, TRAIN_TIME, DELAY, WENT, LOST, FOUND, IS_THERE, WHERE_BUILDING, TURN, TICKETS, CHANGE,
    HOW_LONG, LINE,
)  # fmt: skip
