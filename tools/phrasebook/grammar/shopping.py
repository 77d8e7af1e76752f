"""Sentence patterns: clothes, presents, shops and prices."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from grammar import calendar, people, things
from grammar import czech as cs
from grammar import english as en
from grammar import german as de
from grammar.words import Pattern, Phrase

_PRICES = (
    Phrase("twenty euros", "zwanzig Euro", "dvacet eur"),
    Phrase("thirty euros", "dreißig Euro", "třicet eur"),
    Phrase("fifty euros", "fünfzig Euro", "padesát eur"),
    Phrase("a hundred euros", "hundert Euro", "sto eur"),
    Phrase("forty euros", "vierzig Euro", "čtyřicet eur"),
    Phrase("sixty euros", "sechzig Euro", "šedesát eur"),
    Phrase("eighty euros", "achtzig Euro", "osmdesát eur"),
    Phrase("fifteen euros", "fünfzehn Euro", "patnáct eur"),
    Phrase("seventy euros", "siebzig Euro", "sedmdesát eur"),
    Phrase("two hundred crowns", "zweihundert Kronen", "dvě stě korun"),
    Phrase("five hundred crowns", "fünfhundert Kronen", "pět set korun"),
    Phrase("a thousand crowns", "tausend Kronen", "tisíc korun"),
)
_OCCASIONS = (
    Phrase("for {} birthday", "zum Geburtstag", "k narozeninám"),
    Phrase("for Christmas", "zu Weihnachten", "k Vánocům"),
)

BUY_CLOTHES = Pattern(
    "buy clothes",
    {"time": calendar.PAST, "who": people.SINGLE_OTHERS, "how": things.CLOTHES_ADJECTIVES,
     "what": things.CLOTHES},
    en=lambda time, who, how, what: (
        f"{time.en}, {who.en} bought {en.phrase(what, 'a', how)}."),
    de=lambda time, who, how, what: (
        f"{time.de} {who.de_verb('habe hat haben')} {who.de[0]} {de.phrase(what, 'acc', 'ein', how)} gekauft."),
    cs=lambda time, who, how, what: (
        f"{time.cs} {who.cs_aux()} si {who.cs[0]} {who.cs_past('koupil')} {cs.phrase(what, 'acc', '', how)}."),
    accepts=lambda time, who, how, what: (
        things.can_be(what, how) and things.suits(what, who.cs_gender)),
    about=("buy",),
)  # fmt: skip

ASK_COLOUR = Pattern(
    "ask for a colour",
    {"what": things.CLOTHES, "colour": things.COLOURS, "size": (None, things.BIG, things.SMALL)},
    en=lambda what, colour, size: (
        f"Do you have {en.phrase(what, 'this')} in {colour.en}"
        + (f" and a bit {size.en_more}?" if size else "?")),
    de=lambda what, colour, size: (
        f"Haben Sie {de.phrase(what, 'acc', 'dies')} in {_german_colour(colour)}"
        + (f" und etwas {size.de_more}?" if size else "?")),
    cs=lambda what, colour, size: (
        f"Máte {cs.phrase(what, 'acc', 'tento')} {_czech_in_colour(colour)} barvě"
        + (f" a o něco {cs.adjective_form(size.cs_more, 'acc', what.cs_gender)}?" if size else "?")),
)  # fmt: skip


def _german_colour(colour: things.Adjective) -> str:
    """The colour as a noun: in Rot."""
    return colour.de_plain.capitalize()


def _czech_in_colour(colour: things.Adjective) -> str:
    form = cs.adjective_form(colour.cs, "loc", "f")
    return f"{'ve' if form.startswith('ž') else 'v'} {form}"


_PRICED = tuple(how for how in things.CLOTHES_ADJECTIVES if how is not things.CHEAP)

ASK_PRICE = Pattern(
    "ask the price",
    {"how": _PRICED, "what": (*things.CLOTHES, *things.CARRIED)},
    en=lambda how, what: f"How much {en.does(what)} {en.phrase(what, 'this', how)} cost?",
    de=lambda how, what: (
        f"Wie viel {de.verb(what, 'kostet', 'kosten')} {de.phrase(what, 'nom', 'dies', how)}?"),
    cs=lambda how, what: (
        f"Kolik {cs.verb(what, 'stojí', 'stojí')} {cs.phrase(what, 'nom', 'tento', how)}?"),
    accepts=lambda how, what: (
        how in (*things.COLOURS, things.NEW)
        or (what in things.CLOTHES and things.can_be(what, how))),
    about=("cost",),
)  # fmt: skip

TELL_PRICE = Pattern(
    "tell the price",
    {"how": things.COLOURS, "what": things.CLOTHES, "price": _PRICES},
    en=lambda how, what, price: (
        f"{en.phrase(what, 'the', how)} {en.verb(what, 'cost', 'costs')} {price.en}."),
    de=lambda how, what, price: (
        f"{de.phrase(what, 'nom', 'der', how)} {de.verb(what, 'kostet', 'kosten')} {price.de}."),
    cs=lambda how, what, price: f"{cs.phrase(what, 'nom', 'ten', how)} stojí {price.cs}.",
    about=("cost",),
)  # fmt: skip

TOO_BIG = Pattern(
    "does not fit",
    {"how": things.COLOURS, "what": things.CLOTHES, "size": things.SIZES, "who": people.SINGLE_OTHERS},
    en=lambda how, what, size, who: (
        f"{en.phrase(what, 'this', how)} {en.be(what)} too {size.en} for {who.en}."),
    de=lambda how, what, size, who: (
        f"{de.phrase(what, 'nom', 'dies', how)} {de.verb(what, 'ist', 'sind')} für {who.de[1]} zu {size.de_plain}."),
    cs=lambda how, what, size, who: (
        f"{cs.phrase(what, 'nom', 'tento', how)} {cs.verb(what, 'je', 'jsou')} pro {who.cs[3]} "
        f"příliš {cs.adjective_form(size.cs, 'nom', what.cs_gender)}."),
    accepts=lambda how, what, size, who: (
        things.suits(what, who.cs_gender) and things.can_be(what, size)
        and (size is things.EXPENSIVE or what not in things.WITHOUT_SIZE)),
)  # fmt: skip

COMPARE = Pattern(
    "compare clothes",
    {"how": things.COLOURS, "what": things.CLOTHES, "than": things.COMPARED,
     "other_how": things.COLOURS, "other": things.CLOTHES},
    en=lambda how, what, than, other_how, other: (
        f"{en.phrase(what, 'the', how)} {en.be(what)} {than.en_more} than {en.phrase(other, 'the', other_how)}."),
    de=lambda how, what, than, other_how, other: (
        f"{de.phrase(what, 'nom', 'der', how)} {de.verb(what, 'ist', 'sind')} {than.de_more} als "
        f"{de.phrase(other, 'nom', 'der', other_how)}."),
    cs=lambda how, what, than, other_how, other: (
        f"{cs.phrase(what, 'nom', 'ten', how)} {cs.verb(what, 'je', 'jsou')} "
        f"{cs.adjective_form(than.cs_more, 'nom', what.cs_gender)} než {cs.phrase(other, 'nom', 'ten', other_how)}."),
    accepts=lambda how, what, than, other_how, other: (
        what is not other and how is not other_how
        and things.can_be(what, than) and things.can_be(other, than)),
)  # fmt: skip

_WEARERS = tuple(person for person in people.RELATIVES if person.agreement == 1)


def _own(accusative: str) -> str:
    """What belongs to a subject "já" is "svůj", not "můj"; "náš" stays."""
    return accusative.replace("mého ", "svého ").replace("mou ", "svou ")


LOOK_FOR = Pattern(
    "look for clothes",
    {"how": things.CLOTHES_ADJECTIVES, "what": things.CLOTHES, "who": _WEARERS},
    en=lambda how, what, who: f"I am looking for {en.phrase(what, 'a', how)} for {who.en}.",
    de=lambda how, what, who: f"Ich suche {de.phrase(what, 'acc', 'ein', how)} für {who.de[1]}.",
    cs=lambda how, what, who: f"Hledám {cs.phrase(what, 'acc', '', how)} pro {_own(who.cs[3])}.",
    accepts=lambda how, what, who: (
        things.can_be(what, how) and things.suits(what, who.cs_gender)),
    about=("look for",),
)  # fmt: skip

GIVE = Pattern(
    "give a present",
    {"who": people.EVERYBODY, "whom": people.KIN, "how": things.PRESENT_ADJECTIVES,
     "what": things.PRESENTS, "occasion": _OCCASIONS},
    en=lambda who, whom, how, what, occasion: (
        f"{who.en} gave {who.en_possessive} {whom.en} {en.phrase(what, 'a', how)} "
        f"{occasion.en.format(whom.en_possessive)}."),
    de=lambda who, whom, how, what, occasion: (
        f"{who.de[0]} {who.de_verb('habe hat haben')} {whom.german(who, 'dat')} {occasion.de} "
        f"{de.phrase(what, 'acc', 'ein', how)} geschenkt."),
    cs=lambda who, whom, how, what, occasion: (
        f"{who.cs[0]} {who.cs_past('dal')} {who.cs_aux()} {whom.czech('dat')} {occasion.cs} "
        f"{cs.phrase(what, 'acc', '', how)}."),
    accepts=lambda who, whom, how, what, occasion: (
        people.can_have(who, whom) and things.can_be_given(what, how)
        and (what.word != "ring" or whom.gender == "f")),
    about=("give",),
)  # fmt: skip

PATTERNS = (
    BUY_CLOTHES, ASK_COLOUR, ASK_PRICE, TELL_PRICE, TOO_BIG, COMPARE, LOOK_FOR, GIVE,
)  # fmt: skip
