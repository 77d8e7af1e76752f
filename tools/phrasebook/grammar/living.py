"""Sentence patterns: family, work and free time, many with subordinate clauses."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass

from grammar import calendar, people, places
from grammar import english as en
from grammar.words import Pattern, Person, Phrase


@dataclass(frozen=True)
class Activity:
    """Something people do: German splits into finite verb and rest, Czech likewise."""

    word: str
    en: str  # play the piano
    en_ing: str
    de_finite: str  # "spiele spielt spielen"
    de_rest: str  # "Klavier"
    de_infinitive: str
    cs_finite: str
    cs_rest: str
    cs_infinitive: str
    skill: bool


def _activity(en: str, de: str, cs: str, skill: bool = False) -> Activity:
    """Parts are separated by "/"; the German infinitive phrase is rest and plural form."""
    plain, ing = en.split("/")
    de_finite, de_rest = de.split("/")
    cs_finite, cs_rest, cs_infinitive = cs.split("/")
    infinitive = f"{de_rest} {de_finite.split()[2]}".strip()
    return Activity(
        plain, plain, ing, de_finite, de_rest, infinitive, cs_finite, cs_rest,
        f"{cs_infinitive} {cs_rest}".strip(), skill,
    )  # fmt: skip


_ACTIVITIES = (
    _activity("cook/cooking", "koche kocht kochen/", "vařím vaří vaříme vaří//vařit", True),
    _activity("swim/swimming", "schwimme schwimmt schwimmen/",
              "plavu plave plaveme plavou//plavat", True),
    _activity("play football/playing football", "spiele spielt spielen/Fußball",
              "hraji hraje hrajeme hrají/fotbal/hrát", True),
    _activity("play the piano/playing the piano", "spiele spielt spielen/Klavier",
              "hraji hraje hrajeme hrají/na klavír/hrát", True),
    _activity("listen to music/listening to music", "höre hört hören/Musik",
              "poslouchám poslouchá posloucháme poslouchají/hudbu/poslouchat"),
    _activity("ski/skiing", "fahre fährt fahren/Ski",
              "lyžuji lyžuje lyžujeme lyžují//lyžovat", True),
    _activity("dance/dancing", "tanze tanzt tanzen/",
              "tancuji tancuje tancujeme tancují//tancovat", True),
    _activity("read books/reading books", "lese liest lesen/Bücher",
              "čtu čte čteme čtou/knihy/číst"),
    _activity("play tennis/playing tennis", "spiele spielt spielen/Tennis",
              "hraji hraje hrajeme hrají/tenis/hrát", True),
    _activity("sing/singing", "singe singt singen/",
              "zpívám zpívá zpíváme zpívají//zpívat", True),
    _activity("play the guitar/playing the guitar", "spiele spielt spielen/Gitarre",
              "hraji hraje hrajeme hrají/na kytaru/hrát", True),
    _activity("paint/painting", "male malt malen/", "maluji maluje malujeme malují//malovat", True),
    _activity("play chess/playing chess", "spiele spielt spielen/Schach",
              "hraji hraje hrajeme hrají/šachy/hrát", True),
    _activity("ride a bike/riding a bike", "fahre fährt fahren/Rad",
              "jezdím jezdí jezdíme jezdí/na kole/jezdit", True),
    _activity("go for walks/going for walks", "gehe geht gehen/spazieren",
              "chodím chodí chodíme chodí/na procházky/chodit"),
    _activity("take photos/taking photos", "fotografiere fotografiert fotografieren/",
              "fotografuji fotografuje fotografujeme fotografují//fotografovat", True),
    _activity("bake/baking", "backe backt backen/", "peču peče pečeme pečou//péct", True),
)  # fmt: skip
_SKILLS = tuple(activity for activity in _ACTIVITIES if activity.skill)

_DONE_WELL = tuple(skill for skill in _SKILLS if skill.word != "ride a bike")
_LACKED = tuple(skill for skill in _SKILLS if skill.word != "take photos")

_USUAL_TIMES = (
    Phrase("at the weekend", "am Wochenende", "o víkendu"),
    Phrase("in the evening", "abends", "večer"),
    Phrase("on Sundays", "sonntags", "v neděli"),
    Phrase("after work", "nach der Arbeit", "po práci"),
    Phrase("on holiday", "im Urlaub", "na dovolené"),
    Phrase("in the afternoon", "nachmittags", "odpoledne"),
    Phrase("on Saturdays", "samstags", "v sobotu"),
)

HOBBY = Pattern(
    "hobby",
    {"who": people.EVERYBODY, "what": _ACTIVITIES, "when": _USUAL_TIMES},
    en=lambda who, what, when: f"{who.en} {who.en_verb('like', 'likes')} {what.en_ing} {when.en}.",
    de=lambda who, what, when: (
        f"{who.de[0]} {who.de_verb(what.de_finite)} {when.de} gern {what.de_rest}".rstrip() + "."),
    cs=lambda who, what, when: (
        f"{who.cs[0]} {when.cs} {who.cs_glad()} {who.cs_verb(what.cs_finite)} {what.cs_rest}".rstrip()
        + "."),
    accepts=lambda who, what, when: (
        what.word != "ski" or when.en in ("at the weekend", "on holiday", "on Sundays", "on Saturdays")),
    about=("like",),
)  # fmt: skip

CAN = Pattern(
    "can and cannot",
    {"who": people.EVERYBODY, "what": _DONE_WELL, "other": _LACKED},
    en=lambda who, what, other: f"{who.en} can {what.en} well, but {who.en_pronoun} cannot {other.en}.",
    de=lambda who, what, other: (
        f"{who.de[0]} {who.de_verb('kann kann können')} gut {what.de_infinitive}, aber "
        f"nicht {other.de_infinitive}."),
    cs=lambda who, what, other: (
        f"{who.cs[0]} {who.cs_verb('umím umí umíme umějí')} dobře {what.cs_infinitive}, ale "
        f"{who.cs_verb('neumím neumí neumíme neumějí')} {other.cs_infinitive}."),
    accepts=lambda who, what, other: (
        what is not other and not (what.en[:4] == other.en[:4] == "play")),
)  # fmt: skip

_DUTIES = (
    Phrase("work", "arbeiten", "pracovat", "work"),
    Phrase("cook dinner", "das Abendessen kochen", "vařit večeři", "cook"),
    Phrase("clean the flat", "die Wohnung putzen", "uklízet byt", "clean"),
    Phrase("study for an exam", "für eine Prüfung lernen", "se učit na zkoušku", "study"),
    Phrase("look after the children", "auf die Kinder aufpassen", "hlídat děti", "look after"),
    Phrase("repair the car", "das Auto reparieren", "opravit auto", "repair"),
    Phrase("go to the doctor", "zum Arzt gehen", "jít k lékaři", "doctor"),
    Phrase("write a long letter", "einen langen Brief schreiben", "napsat dlouhý dopis", "write"),
    Phrase("pack the suitcases", "die Koffer packen", "balit kufry", "pack"),
    Phrase("do the washing", "die Wäsche waschen", "prát prádlo", "wash"),
)
_THIS_DAY = (
    Phrase("today", "heute", "dnes"),
    Phrase("tomorrow", "morgen", "zítra"),
    Phrase("this evening", "heute Abend", "dnes večer"),
    Phrase("on Saturday", "am Samstag", "v sobotu"),
    Phrase("on Sunday", "am Sonntag", "v neděli"),
    Phrase("this afternoon", "heute Nachmittag", "dnes odpoledne"),
)

_IN_TOWN = tuple(place for place in places.OUTINGS if place.word not in ("beach", "lake"))

CANNOT_COME = Pattern(
    "cannot come because",
    {"who": people.EVERYBODY, "day": _THIS_DAY, "where": _IN_TOWN, "duty": _DUTIES},
    en=lambda who, day, where, duty: (
        f"{who.en} cannot go {where.en_to} {day.en} because {who.en_pronoun} "
        f"{who.en_verb('have', 'has')} to {duty.en}."
    ),
    de=lambda who, day, where, duty: (
        f"{who.de[0]} {who.de_verb('kann kann können')} {day.de} nicht {where.de_to} gehen, weil "
        f"{who.de_pronoun[0]} {duty.de} {who.de_verb('muss muss müssen')}."
    ),
    cs=lambda who, day, where, duty: (
        f"{who.cs[0]} {day.cs} {who.cs_verb('nemůžu nemůže nemůžeme nemůžou')} jít {where.cs_to}, "
        f"protože {_czech_must(who, duty)}."
    ),
    share=1.5,
)


def _czech_must(who: Person, duty: Phrase) -> str:
    """The reflexive "se" stands second in its clause, before the modal verb."""
    modal = who.cs_verb("musím musí musíme musí")
    if duty.cs.startswith("se "):
        return f"se {modal} {duty.cs[3:]}"
    return f"{modal} {duty.cs}"


@dataclass(frozen=True)
class Trade:
    """A profession with its two forms; English has one."""

    word: str
    en: str
    de: tuple[str, str]
    cs: tuple[str, str]


def _trade(en: str, de: str, cs: str) -> Trade:
    man, woman = de.split()
    muz, zena = cs.split()
    return Trade(en, en, (man, woman), (muz, zena))


_TRADES = (
    _trade("teacher", "Lehrer Lehrerin", "učitel učitelka"),
    _trade("doctor", "Arzt Ärztin", "lékař lékařka"),
    _trade("cook", "Koch Köchin", "kuchař kuchařka"),
    _trade("engineer", "Ingenieur Ingenieurin", "inženýr inženýrka"),
    _trade("shop assistant", "Verkäufer Verkäuferin", "prodavač prodavačka"),
    _trade("journalist", "Journalist Journalistin", "novinář novinářka"),
    _trade("lawyer", "Anwalt Anwältin", "právník právnička"),
    _trade("gardener", "Gärtner Gärtnerin", "zahradník zahradnice"),
    _trade("translator", "Übersetzer Übersetzerin", "překladatel překladatelka"),
    _trade("programmer", "Programmierer Programmiererin", "programátor programátorka"),
    _trade("baker", "Bäcker Bäckerin", "pekař pekařka"),
    _trade("pharmacist", "Apotheker Apothekerin", "lékárník lékárnice"),
)

_SINGLE_WORKERS = tuple(
    who for who in people.WORKERS if who.agreement == 1 and who is not people.NEIGHBOUR
)

WORKS_AS = Pattern(
    "profession",
    {"who": _SINGLE_WORKERS, "trade": _TRADES, "town": places.TOWNS},
    en=lambda who, trade, town: f"{who.en} works as {en.article(trade.en)} in {town.en}.",
    de=lambda who, trade, town: (
        f"{who.de[0]} arbeitet als {trade.de[who.cs_gender == 'f']} {town.de_in}."
    ),
    cs=lambda who, trade, town: (
        f"{who.cs[0]} pracuje {town.cs_in} jako {trade.cs[who.cs_gender == 'f']}."
    ),
    about=("work",),
)

_AGES = (
    ("thirty", "dreißig", "třicet let"),
    ("twenty", "zwanzig", "dvacet let"),
    ("forty", "vierzig", "čtyřicet let"),
    ("eighteen", "achtzehn", "osmnáct let"),
    ("fifty", "fünfzig", "padesát let"),
    ("twenty-five", "fünfundzwanzig", "dvacet pět let"),
    ("thirty-two", "zweiunddreißig", "třicet dva let"),
    ("forty-five", "fünfundvierzig", "čtyřicet pět let"),
    ("sixty", "sechzig", "šedesát let"),
)
_YOUNGER = (people.MY_SISTER, people.MY_BROTHER, *people.NAMES, people.COLLEAGUE)

AGE = Pattern(
    "age and home",
    {"who": _YOUNGER, "age": _AGES, "town": places.TOWNS},
    en=lambda who, age, town: (
        f"{who.en} is {age[0]} years old and {who.en_pronoun} lives in {town.en}."
    ),
    de=lambda who, age, town: f"{who.de[0]} ist {age[1]} Jahre alt und wohnt {town.de_in}.",
    cs=lambda who, age, town: f"{who.cs[2]} je {age[2]} a bydlí {town.cs_in}.",
    about=("live",),
)

_RESIDENTS = tuple(who for who in people.SPEAKERS if who is not people.NEIGHBOUR)

LIVES_SINCE = Pattern(
    "lives there since",
    {"who": _RESIDENTS, "town": places.TOWNS, "span": calendar.LONG_SPANS},
    en=lambda who, town, span: (
        f"{who.en} {who.en_verb('have', 'has')} been living in {town.en} for {span.en}."
    ),
    de=lambda who, town, span: (
        f"{who.de[0]} {who.de_verb('wohne wohnt wohnen')} seit {span.de_dative} {town.de_in}."
    ),
    cs=lambda who, town, span: (
        f"{who.cs[0]} {who.cs_verb('bydlím bydlí bydlíme bydlí')} {town.cs_in} už {span.cs_accusative}."
    ),
    about=("live",),
)

_RECENT = tuple(
    span for span in calendar.SPANS if span.en not in ("five years", "eight years", "ten years")
)

CAME_BACK = Pattern(
    "came back ago",
    {"who": people.EVERYBODY, "town": places.TOWNS, "span": _RECENT},
    en=lambda who, town, span: f"{who.en} came back from {town.en} {span.en} ago.",
    de=lambda who, town, span: (
        f"{who.de[0]} {who.de_verb('bin ist sind')} vor {span.de_dative} {town.de_from} zurückgekommen."
    ),
    cs=lambda who, town, span: (
        f"Před {span.cs_instrumental} {who.cs_aux()} se {who.cs[0]} {who.cs_past('vrátil')} {town.cs_from}."
    ),
    about=("come back",),
)

WORKS_SINCE = Pattern(
    "works there since",
    {"who": people.WORKERS, "where": places.WORKPLACES, "span": calendar.SPANS},
    en=lambda who, where, span: (
        f"{who.en} {who.en_verb('have', 'has')} been working {where.en_at} for {span.en}."
    ),
    de=lambda who, where, span: (
        f"{who.de[0]} {who.de_verb('arbeite arbeitet arbeiten')} seit {span.de_dative} {where.de_at}."
    ),
    cs=lambda who, where, span: (
        f"{who.cs[0]} {who.cs_verb('pracuji pracuje pracujeme pracují')} {where.cs_at} už {span.cs_accusative}."
    ),
    about=("work",),
)

_CZECH_FROM_HOUR = {6: "šesti", 7: "sedmi", 8: "osmi", 9: "devíti"}
_CZECH_TO_HOUR = {1: "jedné", 2: "dvou", 3: "tří", 4: "čtyř", 5: "pěti"}
_HOURS = tuple(
    (english, german, czech)
    for start in (8, 9, 7, 6)
    for end in (4, 5, 3, 2, 1)
    for english, german, czech in [(
        f"from {calendar.ENGLISH[start - 1]} to {calendar.ENGLISH[end - 1]}",
        f"von {calendar.GERMAN[start - 1]} bis {'eins' if end == 1 else calendar.GERMAN[end - 1]}",
        f"od {_CZECH_FROM_HOUR[start]} do {_CZECH_TO_HOUR[end]}",
    )]
)  # fmt: skip

WORK_HOURS = Pattern(
    "working hours",
    {"day": calendar.DAYS, "who": people.WORKERS, "where": places.WORKPLACES, "hours": _HOURS},
    en=lambda day, who, where, hours: (
        f"{day.en}, {who.en} {who.en_verb('work', 'works')} {where.en_at} {hours[0]}."
    ),
    de=lambda day, who, where, hours: (
        f"{day.de} {who.de_verb('arbeite arbeitet arbeiten')} {who.de[0]} {hours[1]} {where.de_at}."
    ),
    cs=lambda day, who, where, hours: (
        f"{day.cs} {who.cs[0]} {who.cs_verb('pracuji pracuje pracujeme pracují')} {where.cs_at} {hours[2]}."
    ),
    accepts=lambda day, who, where, hours: (
        day in calendar.WEEKDAYS
        or where.word not in ("bank", "school", "post office", "university", "town hall")
    ),
    about=("work",),
)

PATTERNS = (
    HOBBY, CAN, CANNOT_COME, WORKS_AS, AGE, LIVES_SINCE, CAME_BACK, WORKS_SINCE, WORK_HOURS,
)  # fmt: skip
