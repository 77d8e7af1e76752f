"""Sentence patterns: which thing, which person, where things are, what people do for each other."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass

from grammar import calendar, people, places, things
from grammar import czech as cs
from grammar import english as en
from grammar import german as de
from grammar.words import Noun, Pattern, Person, Phrase


def czech_relative(noun: Noun) -> str:
    """ "který" in the accusative, agreeing with a thing."""
    return cs.adjective_form("který", "acc", noun.cs_gender)


@dataclass(frozen=True)
class Deed:
    """What was done with a thing: past in English, participles in German and Czech."""

    word: str
    en: str
    de: str
    cs: tuple[str, str]  # masculine participle, stem of the other genders if it differs


_DEEDS = (
    Deed("buy", "bought", "gekauft", ("koupil", "")),
    Deed("find", "found", "gefunden", ("našel", "našl")),
    Deed("bring", "brought", "mitgebracht", ("přinesl", "")),
    Deed("forget", "left here", "hier vergessen", ("tu zapomněl", "")),
    Deed("borrow", "borrowed", "ausgeliehen", ("si půjčil", "")),
)

WHERE_IS_IT = Pattern(
    "where is the thing that",
    {"how": things.BELONGINGS_ADJECTIVES, "what": things.BELONGINGS, "who": people.EVERYBODY,
     "deed": _DEEDS, "time": calendar.PAST},
    en=lambda how, what, who, deed, time: (
        f"Where {en.be(what)} {en.phrase(what, 'the', how)} that {who.en} {deed.en} {time.en}?"),
    de=lambda how, what, who, deed, time: (
        f"Wo {de.verb(what, 'ist', 'sind')} {de.phrase(what, 'nom', 'der', how)}, "
        f"{de.relative(what, 'acc')} {who.de[0]} {time.de} {deed.de} "
        f"{who.de_verb('habe hat haben')}?"),
    cs=lambda how, what, who, deed, time: (
        f"Kde {cs.verb(what, 'je', 'jsou')} {cs.phrase(what, 'nom', 'ten', how)}, "
        f"{czech_relative(what)} {_czech_deed(who, deed, time)}?"),
    accepts=lambda how, what, who, deed, time: (
        deed.word != "borrow" or what.word in (
            "umbrella", "book", "suitcase", "backpack", "camera", "bag", "blanket", "dictionary",
            "torch")),
    share=1.5,
)  # fmt: skip


def _czech_deed(who: Person, deed: Deed, time: Phrase) -> str:
    """Clitics come first in the clause: auxiliary, "si" and "tu", then the subject."""
    masculine, stem = deed.cs
    reflexive, here = "", ""
    if masculine.startswith("si "):
        reflexive, masculine = "si", masculine[3:]
    if masculine.startswith("tu "):
        here, masculine = "tu", masculine[3:]
    return f"{who.cs_aux()} {reflexive} {here} {who.cs[0]} {time.cs} {who.cs_past(masculine, stem)}"


_FIGURES = (
    ("man", "m", "Mann", "ten muž, který"),
    ("woman", "f", "Frau", "ta žena, která"),
    ("boy", "m", "Junge", "ten chlapec, který"),
    ("girl", "n", "Mädchen", "ta dívka, která"),
)
_RELATED = (
    ("my sister", "meine Schwester", "moje sestra", "girl woman"),
    ("my brother", "mein Bruder", "můj bratr", "boy man"),
    ("our neighbour", "unser Nachbar", "náš soused", "man"),
    ("our teacher", "unsere Lehrerin", "naše učitelka", "woman"),
    ("my daughter", "meine Tochter", "moje dcera", "girl woman"),
    ("my son", "mein Sohn", "můj syn", "boy man"),
    ("my uncle", "mein Onkel", "můj strýc", "man"),
    ("my aunt", "meine Tante", "moje teta", "woman"),
    ("our doctor", "unser Arzt", "náš lékař", "man"),
    ("my mother", "meine Mutter", "moje matka", "woman"),
    ("my cousin", "meine Cousine", "moje sestřenice", "girl woman"),
)
_RELATIVE = {"m": "der", "f": "die", "n": "das"}

_SEEN_FROM_AFAR = tuple(
    item for item in things.CLOTHES if item.word not in ("belt", "socks", "gloves")
)

WHO_WEARS = Pattern(
    "who wears it",
    {"figure": _FIGURES, "how": things.COLOURS, "what": _SEEN_FROM_AFAR, "kin": _RELATED},
    en=lambda figure, how, what, kin: (
        f"The {figure[0]} who is wearing {en.phrase(what, 'a', how)} is {kin[0]}."),
    de=lambda figure, how, what, kin: (
        f"{_RELATIVE[figure[1]]} {figure[2]}, {_RELATIVE[figure[1]]} "
        f"{de.phrase(what, 'acc', 'ein', how)} trägt, ist {kin[1]}."),
    cs=lambda figure, how, what, kin: (
        f"{figure[3]} má na sobě {cs.phrase(what, 'acc', '', how)}, je {kin[2]}."),
    accepts=lambda figure, how, what, kin: (
        figure[0] in kin[3].split()
        and things.suits(what, "M" if figure[0] in ("man", "boy") else "f")),
    about=("wear",),
)  # fmt: skip

_DOING = (
    Phrase("is sitting by the window", "am Fenster sitzt", "sedí u okna", "sit"),
    Phrase("is talking to the waiter", "mit dem Kellner spricht", "mluví s číšníkem", "talk"),
    Phrase("is reading a newspaper", "eine Zeitung liest", "čte noviny", "read"),
    Phrase("is standing next to the door", "neben der Tür steht", "stojí vedle dveří", "stand"),
    Phrase("is playing the guitar", "Gitarre spielt", "hraje na kytaru", "play"),
    Phrase("is drinking coffee", "Kaffee trinkt", "pije kávu", "drink"),
    Phrase("is waiting for the bus", "auf den Bus wartet", "čeká na autobus", "wait"),
    Phrase("is taking photos of the church", "die Kirche fotografiert", "fotografuje kostel", "photograph"),
    Phrase("is talking on the phone", "gerade telefoniert", "právě telefonuje", "telephone"),
    Phrase("lives next door", "nebenan wohnt", "bydlí vedle", "live"),
    Phrase("is sleeping on the bench", "auf der Bank schläft", "spí na lavičce", "sleep"),
    Phrase("is laughing", "gerade lacht", "se právě směje", "laugh"),
)  # fmt: skip

WHO_IS_IT = Pattern(
    "who is doing that",
    {"figure": _FIGURES, "doing": _DOING, "kin": _RELATED},
    en=lambda figure, doing, kin: f"The {figure[0]} who {doing.en} is {kin[0]}.",
    de=lambda figure, doing, kin: (
        f"{_RELATIVE[figure[1]]} {figure[2]}, {_RELATIVE[figure[1]]} {doing.de}, ist {kin[1]}."
    ),
    cs=lambda figure, doing, kin: f"{figure[3]} {doing.cs}, je {kin[2]}.",
    accepts=lambda figure, doing, kin: (
        figure[0] in kin[3].split()
        and (kin[0] != "our neighbour" or doing.word != "live")
        and (kin[0] not in ("my son", "my daughter", "my mother") or doing.word != "live")
    ),
    share=0.5,
)


@dataclass(frozen=True)
class Spot:
    """Where a thing is put and is: German accusative and dative, Czech likewise."""

    word: str
    en_to: str
    en_at: str
    de_to: str
    de_at: str
    cs_to: str
    cs_at: str


_TABLE = Spot("table", "on the table", "on the table", "auf den Tisch", "auf dem Tisch",
              "na stůl", "na stole")  # fmt: skip
_SPOTS = (
    _TABLE,
    Spot("bed", "on the bed", "on the bed", "auf das Bett", "auf dem Bett", "na postel", "na posteli"),
    Spot("cupboard", "in the cupboard", "in the cupboard", "in den Schrank", "im Schrank",
         "do skříně", "ve skříni"),
    Spot("chair", "on the chair", "on the chair", "auf den Stuhl", "auf dem Stuhl", "na židli", "na židli"),
    Spot("shelf", "on the shelf", "on the shelf", "ins Regal", "im Regal", "do regálu", "v regálu"),
    Spot("sofa", "on the sofa", "on the sofa", "auf das Sofa", "auf dem Sofa", "na pohovku", "na pohovce"),
    Spot("lamp", "next to the lamp", "next to the lamp", "neben die Lampe", "neben der Lampe",
         "vedle lampy", "vedle lampy"),
    Spot("door", "next to the door", "next to the door", "neben die Tür", "neben der Tür",
         "vedle dveří", "vedle dveří"),
    Spot("window", "by the window", "by the window", "ans Fenster", "am Fenster", "k oknu", "u okna"),
    Spot("wardrobe", "in the wardrobe", "in the wardrobe", "in den Schrank", "im Schrank",
         "do skříně", "ve skříni"),
    Spot("wall", "on the wall", "on the wall", "an die Wand", "an der Wand", "na zeď", "na zdi"),
)  # fmt: skip


@dataclass(frozen=True)
class Laid:
    """A thing with the manner in which it is put: lay, stand or hang."""

    word: str
    what: Noun
    manner: str


_KEY = things.noun("key", "der Schlüssel", "I klíč klíče klíči klíč klíči klíčem")
_NEWSPAPER = things.noun(
    "newspaper", "die Zeitung", "p noviny novin novinám noviny novinách novinami"
)
_LETTER = things.noun("letter", "der Brief", "I dopis dopisu dopisu dopis dopisu dopisem")
_LAID = tuple(
    Laid(what.word, what, manner)
    for what, manner in (
        (things.BELONGINGS[4], "lay"), (_KEY, "lay"), (things.BELONGINGS[0], "stand"),
        (_LETTER, "lay"), (things.BELONGINGS[3], "lay"), (things.CLOTHES[0], "hang"),
        (_NEWSPAPER, "lay"), (things.BELONGINGS[5], "stand"), (things.BELONGINGS[7], "lay"),
        (things.PRESENTS[5], "stand"), (things.PRESENTS[2], "hang"), (things.BELONGINGS[11], "stand"),
        (things.BELONGINGS[9], "lay"), (things.CLOTHES[2], "hang"), (things.CLOTHES[13], "hang"),
    )
)  # fmt: skip
_FITTING = {
    "lay": ("table", "bed", "cupboard", "chair", "shelf", "sofa", "lamp"),
    "stand": ("table", "door", "window", "cupboard", "shelf"),
    "hang": ("wardrobe",),
}
_PUT_DE = {"lay": "gelegt", "stand": "gestellt", "hang": "gehängt"}
_PUT_CS = {"lay": "položil", "stand": "postavil", "hang": "pověsil"}
_IS_DE = {"lay": "liegt liegen", "stand": "steht stehen", "hang": "hängt hängen"}
_IS_CS = {"lay": "leží leží", "stand": "stojí stojí", "hang": "visí visí"}


def _fits(laid: Laid, spot: Spot) -> bool:
    if laid.word in ("suitcase", "bag") and spot.word not in ("door", "window"):
        return False
    if laid.word in ("vase", "bottle") and spot.word == "door":
        return False
    if laid.word == "picture":
        return spot.word == "wall"
    return spot.word in _FITTING[laid.manner]


PUT = Pattern(
    "put it there",
    {"time": calendar.PAST[:1] + calendar.PAST[3:6], "who": people.EVERYBODY, "what": _LAID,
     "where": _SPOTS},
    en=lambda time, who, what, where: (
        f"{time.en}, {who.en} {'hung' if what.manner == 'hang' else 'put'} "
        f"the {what.what.en} {where.en_to}."),
    de=lambda time, who, what, where: (
        f"{time.de} {who.de_verb('habe hat haben')} {who.de[0]} {de.phrase(what.what, 'acc', 'der')} "
        f"{where.de_to} {_PUT_DE[what.manner]}."),
    cs=lambda time, who, what, where: (
        f"{time.cs} {who.cs_aux()} {who.cs[0]} {who.cs_past(_PUT_CS[what.manner])} "
        f"{what.what.cs[3]} {where.cs_to}."),
    accepts=lambda time, who, what, where: _fits(what, where),
    about=("put",),
)  # fmt: skip

_OWNED = tuple(laid for laid in _LAID if laid.word not in ("letter", "newspaper"))

IS_THERE = Pattern(
    "it is there",
    {"how": things.BELONGINGS_ADJECTIVES, "what": _OWNED, "where": _SPOTS,
     "owner": (people.I, people.WE)},
    en=lambda how, what, where, owner: (
        f"{en.phrase(what.what, owner.en_possessive, how)} {en.be(what.what)} {where.en_at}."),
    de=lambda how, what, where, owner: (
        f"{de.phrase(what.what, 'nom', owner.de_possessive, how)} "
        f"{de.verb(what.what, *_IS_DE[what.manner].split())} {where.de_at}."),
    cs=lambda how, what, where, owner: (
        f"{cs.phrase(what.what, 'nom', 'můj' if owner is people.I else 'náš', how)} "
        f"{cs.verb(what.what, *_IS_CS[what.manner].split())} {where.cs_at}."),
    accepts=lambda how, what, where, owner: (
        _fits(what, where)
        and (owner is people.I or what.word in ("suitcase", "bag", "vase", "picture", "key", "bottle"))
        and (what.word not in ("picture", "key") or how in (things.NEW, things.OLD))),
)  # fmt: skip

_CHORES = (
    Phrase("in the kitchen", "in der Küche", "v kuchyni", "kitchen"),
    Phrase("in the garden", "im Garten", "na zahradě", "garden"),
    Phrase("with the shopping", "beim Einkaufen", "s nákupem", "shopping"),
    Phrase("with the cleaning", "beim Putzen", "s úklidem", "cleaning"),
    Phrase("with the move", "beim Umzug", "se stěhováním", "move"),
    Phrase("with the translation", "bei der Übersetzung", "s překladem", "translation"),
    Phrase("with the cooking", "beim Kochen", "s vařením", "cooking"),
    Phrase("with the luggage", "mit dem Gepäck", "se zavazadly", "luggage"),
)

HELP = Pattern(
    "help somebody",
    {"time": calendar.PAST, "who": people.EVERYBODY, "whom": people.KIN, "chore": _CHORES},
    en=lambda time, who, whom, chore: (
        f"{time.en}, {who.en} helped {who.en_possessive} {whom.en} {chore.en}."
    ),
    de=lambda time, who, whom, chore: (
        f"{time.de} {who.de_verb('habe hat haben')} {who.de[0]} {whom.german(who, 'dat')} {chore.de} "
        f"geholfen."
    ),
    cs=lambda time, who, whom, chore: (
        f"{time.cs} {who.cs_aux()} {who.cs[0]} {who.cs_past('pomáhal')} {whom.czech('dat')} {chore.cs}."
    ),
    accepts=lambda time, who, whom, chore: people.can_have(who, whom),
    about=("help",),
)

_MAIL = (
    things.noun("postcard", "die Postkarte", "f pohlednice pohlednice pohlednici pohlednici pohlednici pohlednicí"),
    _LETTER,
    things.noun("parcel", "das Paket", "I balík balíku balíku balík balíku balíkem"),
    things.noun("photo", "das Foto", "f fotografie fotografie fotografii fotografii fotografii fotografií"),
)  # fmt: skip
_MAIL_ADJECTIVES = (
    things.NICE,
    things.LONG,
    things.BIG,
    things.SMALL,
    things.adjective("heavy", "schwer", "těžký"),
    things.adjective("funny", "lustig", "vtipný"),
)
_MAIL_FIT = {"postcard": ("nice", "funny"), "letter": ("nice", "long", "funny"), "parcel": ("big", "small", "heavy"),
             "photo": ("nice", "funny")}  # fmt: skip

SEND = Pattern(
    "send something",
    {
        "who": people.EVERYBODY,
        "whom": people.KIN,
        "how": _MAIL_ADJECTIVES,
        "what": _MAIL,
        "town": places.TOWNS,
    },
    en=lambda who, whom, how, what, town: (
        f"{who.en} sent {who.en_possessive} {whom.en} {en.phrase(what, 'a', how)} from {town.en}."
    ),
    de=lambda who, whom, how, what, town: (
        f"{who.de[0]} {who.de_verb('habe hat haben')} {whom.german(who, 'dat')} {town.de_from} "
        f"{de.phrase(what, 'acc', 'ein', how)} geschickt."
    ),
    cs=lambda who, whom, how, what, town: (
        f"{who.cs[0]} {who.cs_past('poslal')} {who.cs_aux()} {whom.czech('dat')} {town.cs_from} "
        f"{cs.phrase(what, 'acc', '', how)}."
    ),
    accepts=lambda who, whom, how, what, town: (
        people.can_have(who, whom) and how.word in _MAIL_FIT[what.word]
    ),
    about=("send",),
)

_DISTANT = tuple(kin for kin in people.KIN if kin.en != "neighbour")

VISIT = Pattern(
    "visit somebody",
    {"day": calendar.FUTURE, "who": people.SPEAKERS, "whom": _DISTANT, "town": places.TOWNS},
    en=lambda day, who, whom, town: (
        f"{day.en}, {who.en} will visit {who.en_possessive} {whom.en} in {town.en}."
    ),
    de=lambda day, who, whom, town: (
        f"{day.de} {who.de_verb('werde wird werden')} {who.de[0]} {whom.german(who, 'acc')} "
        f"{town.de_in} besuchen."
    ),
    cs=lambda day, who, whom, town: (
        f"{day.cs} {who.cs[0]} {who.cs_verb('navštívím navštíví navštívíme navštíví')} "
        f"{whom.czech('acc')} {town.cs_in}."
    ),
    accepts=lambda day, who, whom, town: people.can_have(who, whom),
    about=("visit",),
)

PATTERNS = (WHERE_IS_IT, WHO_WEARS, WHO_IS_IT, PUT, IS_THERE, HELP, SEND, VISIT)
