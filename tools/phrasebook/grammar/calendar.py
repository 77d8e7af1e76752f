"""Days, hours, spans of time and numbers."""

# A list of numerals reads best on one line.

from __future__ import annotations

from dataclasses import dataclass

from grammar.words import Count, Phrase

DAYS = (
    Phrase("on Friday", "am Freitag", "v pátek"),
    Phrase("on Monday", "am Montag", "v pondělí"),
    Phrase("on Saturday", "am Samstag", "v sobotu"),
    Phrase("on Sunday", "am Sonntag", "v neděli"),
    Phrase("on Wednesday", "am Mittwoch", "ve středu"),
    Phrase("on Tuesday", "am Dienstag", "v úterý"),
    Phrase("on Thursday", "am Donnerstag", "ve čtvrtek"),
)
WEEKDAYS = tuple(day for day in DAYS if day.en not in ("on Saturday", "on Sunday"))
FOR_DAY = (
    Phrase("for Friday", "für Freitag", "na pátek"),
    Phrase("for Saturday", "für Samstag", "na sobotu"),
    Phrase("for tonight", "für heute Abend", "na dnes večer"),
    Phrase("for tomorrow", "für morgen", "na zítra"),
    Phrase("for Sunday", "für Sonntag", "na neděli"),
    Phrase("for Monday", "für Montag", "na pondělí"),
    Phrase("for Wednesday", "für Mittwoch", "na středu"),
    Phrase("for Thursday", "für Donnerstag", "na čtvrtek"),
    Phrase("for Tuesday", "für Dienstag", "na úterý"),
)
SINCE = (
    Phrase("since yesterday", "seit gestern", "od včerejška"),
    Phrase("since Monday", "seit Montag", "od pondělí"),
    Phrase("since Sunday", "seit Sonntag", "od neděle"),
    Phrase("since this morning", "seit heute Morgen", "od rána"),
    Phrase("since Friday", "seit Freitag", "od pátku"),
    Phrase("since Saturday", "seit Samstag", "od soboty"),
    Phrase("since Wednesday", "seit Mittwoch", "od středy"),
    Phrase("since Thursday", "seit Donnerstag", "od čtvrtka"),
    Phrase("since Tuesday", "seit Dienstag", "od úterý"),
)
UNTIL = (
    Phrase("until tomorrow", "bis morgen", "do zítřka"),
    Phrase("until Monday", "bis Montag", "do pondělí"),
    Phrase("until Friday", "bis Freitag", "do pátku"),
    Phrase("until Sunday", "bis Sonntag", "do neděle"),
    Phrase("until Wednesday", "bis Mittwoch", "do středy"),
    Phrase("until Thursday", "bis Donnerstag", "do čtvrtka"),
    Phrase("until Tuesday", "bis Dienstag", "do úterý"),
    Phrase("until Saturday", "bis Samstag", "do soboty"),
)
# A past moment that can stand at the head of a sentence.
PAST = (
    Phrase("yesterday", "gestern", "včera"),
    Phrase("last week", "letzte Woche", "minulý týden"),
    Phrase("on Saturday", "am Samstag", "v sobotu"),
    Phrase("yesterday evening", "gestern Abend", "včera večer"),
    Phrase("on Monday", "am Montag", "v pondělí"),
    Phrase("this morning", "heute Morgen", "dnes ráno"),
    Phrase("on Friday", "am Freitag", "v pátek"),
    Phrase("the day before yesterday", "vorgestern", "předevčírem"),
    Phrase("on Sunday", "am Sonntag", "v neděli"),
)
LONG_PAST = (
    Phrase("last year", "letztes Jahr", "loni"),
    Phrase("last summer", "letzten Sommer", "loni v létě"),
    Phrase("last week", "letzte Woche", "minulý týden"),
    Phrase("in May", "im Mai", "v květnu"),
    Phrase("last month", "letzten Monat", "minulý měsíc"),
    Phrase("at Easter", "zu Ostern", "o Velikonocích"),
    Phrase("in September", "im September", "v září"),
    Phrase("last winter", "letzten Winter", "loni v zimě"),
)
FUTURE = (
    Phrase("tomorrow", "morgen", "zítra"),
    Phrase("next week", "nächste Woche", "příští týden"),
    Phrase("this evening", "heute Abend", "dnes večer"),
    Phrase("on Saturday", "am Samstag", "v sobotu"),
    Phrase("the day after tomorrow", "übermorgen", "pozítří"),
    Phrase("this afternoon", "heute Nachmittag", "dnes odpoledne"),
    Phrase("on Sunday", "am Sonntag", "v neděli"),
    Phrase("on Friday", "am Freitag", "v pátek"),
)

ENGLISH = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
GERMAN = [
    "ein",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
]
CZECH = [
    "jeden",
    "dva",
    "tři",
    "čtyři",
    "pět",
    "šest",
    "sedm",
    "osm",
    "devět",
    "deset",
    "jedenáct",
    "dvanáct",
]
# "half past seven" is named after the coming hour: v půl osmé.
_CZECH_HALF = [
    "jedné",
    "druhé",
    "třetí",
    "čtvrté",
    "páté",
    "šesté",
    "sedmé",
    "osmé",
    "deváté",
    "desáté",
    "jedenácté",
    "dvanácté",
]
_CZECH_TO = ["jednu", "dvě", *CZECH[2:]]


def _czech_hour(hour: int) -> str:
    if hour == 1:
        return "v jednu hodinu"
    preposition = "ve" if hour in (2, 3, 4, 12) else "v"
    return f"{preposition} {_CZECH_TO[hour - 1]} {'hodiny' if hour < 5 else 'hodin'}"


def _times() -> tuple[Phrase, ...]:
    """Four times of each hour, the hours of the day people speak of most coming first."""
    times = []
    for hour in (8, 7, 9, 10, 6, 5, 3, 2, 4, 11, 1, 12):
        coming = hour % 12
        english, german = ENGLISH[hour - 1], GERMAN[hour - 1]
        next_german = "eins" if coming == 0 else GERMAN[coming]
        plain_german = "eins" if hour == 1 else german
        times += [
            Phrase(f"at {english} o'clock", f"um {german} Uhr", _czech_hour(hour)),
            Phrase(f"at half past {english}", f"um halb {next_german}",
                   f"v půl {_CZECH_HALF[coming]}"),
            Phrase(f"at a quarter past {english}", f"um Viertel nach {plain_german}",
                   f"ve čtvrt na {_CZECH_TO[coming]}"),
            Phrase(f"at a quarter to {ENGLISH[coming]}", f"um Viertel vor {next_german}",
                   f"ve tři čtvrtě na {_CZECH_TO[coming]}"),
        ]  # fmt: skip
    return tuple(times)


TIMES = _times()
# Hours at which offices are open: from eight to eleven, from two to four.
OFFICE_TIMES = (*TIMES[:4], *TIMES[8:16], *TIMES[24:40])


def _counts() -> tuple[Count, ...]:
    counts = []
    for value in (2, 1, 3, 4, 5, 6, 8, 7, 10, 9, 12):
        case = "sg" if value == 1 else "few" if value < 5 else "many"
        counts.append(Count(value, ENGLISH[value - 1], GERMAN[value - 1], CZECH[value - 1], case))
    return tuple(counts)


COUNTS = _counts()
MANY = tuple(count for count in COUNTS if count.value > 1)


def czech_number(count: Count, gender: str) -> str:
    """The number in the accusative: jedno pivo, jednu kávu, dvě piva, dva čaje, pět piv."""
    if count.value == 1:
        return {"I": "jeden", "f": "jednu", "n": "jedno"}[gender]
    if count.value == 2:
        return "dva" if gender in "MI" else "dvě"
    return count.cs


@dataclass(frozen=True)
class Span:
    """A span of time: German after "seit" and "vor", Czech accusative and instrumental."""

    en: str
    de_dative: str
    cs_accusative: str
    cs_instrumental: str
    long: bool  # a month or more


def _span(en: str, de: str, cs: str) -> Span:
    accusative, instrumental = cs.split(", ")
    return Span(en, de, accusative, instrumental, "day" not in en and "week" not in en)


SPANS = (
    _span("two years", "zwei Jahren", "dva roky, dvěma lety"),
    _span("three days", "drei Tagen", "tři dny, třemi dny"),
    _span("a week", "einer Woche", "týden, týdnem"),
    _span("a year", "einem Jahr", "rok, rokem"),
    _span("two weeks", "zwei Wochen", "dva týdny, dvěma týdny"),
    _span("three years", "drei Jahren", "tři roky, třemi lety"),
    _span("two days", "zwei Tagen", "dva dny, dvěma dny"),
    _span("five years", "fünf Jahren", "pět let, pěti lety"),
    _span("a month", "einem Monat", "měsíc, měsícem"),
    _span("five days", "fünf Tagen", "pět dní, pěti dny"),
    _span("six months", "sechs Monaten", "šest měsíců, šesti měsíci"),
    _span("three weeks", "drei Wochen", "tři týdny, třemi týdny"),
    _span("ten years", "zehn Jahren", "deset let, deseti lety"),
    _span("four years", "vier Jahren", "čtyři roky, čtyřmi lety"),
    _span("two months", "zwei Monaten", "dva měsíce, dvěma měsíci"),
    _span("eight years", "acht Jahren", "osm let, osmi lety"),
    _span("three months", "drei Monaten", "tři měsíce, třemi měsíci"),
)
LONG_SPANS = tuple(span for span in SPANS if span.long)

# How long a stay or a loan is: after für and na, in the accusative.
STAYS = (
    Phrase("for three days", "für drei Tage", "na tři dny"),
    Phrase("for a week", "für eine Woche", "na týden"),
    Phrase("for two days", "für zwei Tage", "na dva dny"),
    Phrase("for five days", "für fünf Tage", "na pět dní"),
    Phrase("for two weeks", "für zwei Wochen", "na dva týdny"),
    Phrase("for four days", "für vier Tage", "na čtyři dny"),
)
NIGHTS = (
    Phrase("for two nights", "für zwei Nächte", "na dvě noci"),
    Phrase("for one night", "für eine Nacht", "na jednu noc"),
    Phrase("for three nights", "für drei Nächte", "na tři noci"),
    Phrase("for a week", "für eine Woche", "na týden"),
    Phrase("for five nights", "für fünf Nächte", "na pět nocí"),
    Phrase("for four nights", "für vier Nächte", "na čtyři noci"),
    Phrase("for six nights", "für sechs Nächte", "na šest nocí"),
)
FROM_DAY = (
    Phrase("from Friday", "ab Freitag", "od pátku"),
    Phrase("from tomorrow", "ab morgen", "od zítřka"),
    Phrase("from Monday", "ab Montag", "od pondělí"),
    Phrase("from Saturday", "ab Samstag", "od soboty"),
    Phrase("from Sunday", "ab Sonntag", "od neděle"),
    Phrase("from Wednesday", "ab Mittwoch", "od středy"),
    Phrase("from Thursday", "ab Donnerstag", "od čtvrtka"),
    Phrase("from Tuesday", "ab Dienstag", "od úterý"),
)
