"""Sentence patterns: restaurants, food and drink."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from grammar import calendar, people, things
from grammar import czech as cs
from grammar import german as de
from grammar.things import noun
from grammar.words import Count, Pattern, Phrase


def english_count(count: Count, what: things.Countable) -> str:
    return f"{count.en} {what.en[count.value > 1]}"


def german_count(count: Count, what: things.Countable) -> str:
    return what.de[0] if count.value == 1 else f"{count.de} {what.de[1]}"


def czech_count(count: Count, what: things.Countable) -> str:
    return (
        calendar.czech_number(count, what.cs_gender) + " " + cs.counted(count, *what.cs)
    )  # fmt: skip


def with_czech(instrumental: str) -> str:
    """ "s rýží" but "se salátem"."""
    return f"{'se' if instrumental[0] in 'szšž' else 's'} {instrumental}"


def german_dative(food: things.Food) -> str:
    return food.de + "n" if food.de_gender == "p" and food.de[-1] not in "ns" else food.de


_TO_TEN = calendar.COUNTS[:7]

ORDER = Pattern(
    "order drinks and snacks",
    {"one": _TO_TEN, "what": things.ORDERED, "two": _TO_TEN, "other": things.ORDERED},
    en=lambda one, what, two, other: (
        f"{english_count(one, what)} and {english_count(two, other)}, please."),
    de=lambda one, what, two, other: (
        f"{german_count(one, what)} und {german_count(two, other)}, bitte."),
    cs=lambda one, what, two, other: (
        f"{czech_count(one, what)} a {czech_count(two, other)}, prosím."),
    accepts=lambda one, what, two, other: what is not other,
)  # fmt: skip

_DRINKS = (
    Phrase("a beer", "ein Bier", "pivo", "beer"),
    Phrase("a glass of red wine", "ein Glas Rotwein", "sklenici červeného vína", "wine"),
    Phrase("a mineral water", "ein Mineralwasser", "minerálku", "mineral water"),
    Phrase("a glass of white wine", "ein Glas Weißwein", "sklenici bílého vína", "wine"),
    Phrase("an apple juice", "einen Apfelsaft", "jablečný džus", "juice"),
    Phrase("a lemonade", "eine Limonade", "limonádu", "lemonade"),
    Phrase("a black tea", "einen schwarzen Tee", "černý čaj", "tea"),
)

TAKE_DISH = Pattern(
    "order a meal",
    {"dish": things.food("m"), "side": things.food("s"), "drink": _DRINKS},
    en=lambda dish, side, drink: f"I'll have the {dish.en} with {side.en} and {drink.en}, please.",
    de=lambda dish, side, drink: (
        f"Ich nehme {de.determiner_form('der', 'acc', dish.de_gender)} {dish.de} mit "
        f"{german_dative(side)} und {drink.de}, bitte."),
    cs=lambda dish, side, drink: (
        f"Dám si {dish.cs_acc} {with_czech(side.cs_ins)} a {drink.cs}, prosím."),
    accepts=lambda dish, side, drink: (
        dish.en != "goulash" or side.en in ("bread", "dumplings", "potatoes", "noodles")),
    about=("have",),
)  # fmt: skip


_TABLEWARE = (
    *things.ORDERED[:4],
    things.countable("fork, forks", "eine Gabel, Gabeln", "f, vidličku, vidličky, vidliček"),
    things.countable("knife, knives", "ein Messer, Messer", "I, nůž, nože, nožů"),
    things.countable("plate, plates", "einen Teller, Teller", "I, talíř, talíře, talířů"),
    things.countable("spoon, spoons", "einen Löffel, Löffel", "f, lžíci, lžíce, lžic"),
    things.countable("glass, glasses", "ein Glas, Gläser", "f, sklenici, sklenice, sklenic"),
    things.countable("cup, cups", "eine Tasse, Tassen", "I, šálek, šálky, šálků"),
    things.countable("chair, chairs", "einen Stuhl, Stühle", "f, židli, židle, židlí"),
    things.countable("menu, menus", "eine Speisekarte, Speisekarten",
           "I, jídelní lístek, jídelní lístky, jídelních lístků"),
    *things.ORDERED[4:],
)  # fmt: skip
_FOR_WHOM = (
    Phrase("us", "uns", "nám"),
    Phrase("me", "mir", "mi"),
    Phrase("the children", "den Kindern", "dětem"),
)
_FEW = calendar.COUNTS[:5]


def _more(count: Count, what: things.Countable) -> str:
    return f"another {what.en[0]}" if count.value == 1 else f"{count.en} more {what.en[1]}"


BRING = Pattern(
    "ask the waiter",
    {"whom": _FOR_WHOM, "count": _FEW, "what": _TABLEWARE},
    en=lambda whom, count, what: f"Could you bring {whom.en} {_more(count, what)}, please?",
    de=lambda whom, count, what: (
        f"Könnten Sie {whom.de} bitte noch {german_count(count, what)} bringen?"
    ),
    cs=lambda whom, count, what: (
        f"Můžete {whom.cs} prosím přinést ještě {czech_count(count, what)}?"
    ),
    accepts=lambda whom, count, what: (
        whom.en != "the children" or what.word not in ("coffee", "beer", "glass of wine", "knife")
    ),
    about=("bring",),
)

_LIKED = things.food("l")

LIKE_FOOD = Pattern(
    "like and dislike",
    {"who": people.OTHERS, "liked": _LIKED, "other": _LIKED},
    en=lambda who, liked, other: (
        f"{who.en} {who.en_verb('like', 'likes')} {liked.en} but {who.en_verb('do', 'does')} "
        f"not like {other.en}."
    ),
    de=lambda who, liked, other: (
        f"{who.de[0]} {who.de_verb('mag mag mögen')} {liked.de}, aber "
        f"{de.determiner_form('kein', 'acc', other.de_gender)} {other.de}."
    ),
    cs=lambda who, liked, other: (
        f"{who.cs[0]} {who.cs_verb('mám má máme mají')} {who.cs_glad()} {liked.cs_acc}, ale "
        f"{who.cs_verb('nemám nemá nemáme nemají')} {who.cs_glad()} {other.cs_acc}."
    ),
    accepts=lambda who, liked, other: (
        liked is not other and ("d" in liked.kinds) == ("d" in other.kinds)
    ),
    about=("like",),
)

_AMOUNTS = (
    Phrase("a kilo", "ein Kilo", "kilo"),
    Phrase("half a kilo", "ein halbes Kilo", "půl kila"),
    Phrase("two kilos", "zwei Kilo", "dvě kila"),
    Phrase("two hundred grams", "zweihundert Gramm", "dvě stě gramů"),
    Phrase("three kilos", "drei Kilo", "tři kila"),
    Phrase("five hundred grams", "fünfhundert Gramm", "pět set gramů"),
)

_LIGHT = ("cheese", "ham", "meat", "mushrooms", "strawberries")
_HEAVY = ("three kilos",)


def _is_sensible(amount: Phrase, what: things.Food) -> bool:
    """Cheese by the gram, potatoes by the kilo."""
    if amount.en.endswith("grams"):
        return what.en in _LIGHT
    return amount.en not in _HEAVY or what.en not in _LIGHT


BY_WEIGHT = Pattern(
    "buy by weight",
    {"amount": _AMOUNTS, "what": things.food("w"), "second": _AMOUNTS, "other": things.food("w")},
    en=lambda amount, what, second, other: (
        f"{amount.en} of {what.en} and {second.en} of {other.en}, please."),
    de=lambda amount, what, second, other: (
        f"{amount.de} {what.de} und {second.de} {other.de}, bitte."),
    cs=lambda amount, what, second, other: (
        f"{amount.cs} {what.cs_gen} a {second.cs} {other.cs_gen}, prosím."),
    accepts=lambda amount, what, second, other: (
        what is not other and _is_sensible(amount, what) and _is_sensible(second, other)),
)  # fmt: skip

_DISHES = (
    noun("soup", "die Suppe", "f polévka polévky polévce polévku polévce polévkou"),
    noun("meat", "das Fleisch", "n maso masa masu maso mase masem"),
    noun("coffee", "der Kaffee", "f káva kávy kávě kávu kávě kávou"),
    noun("fish", "der Fisch", "f ryba ryby rybě rybu rybě rybou"),
    noun("potatoes+", "pl Kartoffeln", "p brambory brambor bramborám brambory bramborách bramborami"),
    noun("salad", "der Salat", "I salát salátu salátu salát salátu salátem"),
    noun("tea", "der Tee", "I čaj čaje čaji čaj čaji čajem"),
    noun("sauce", "die Soße", "f omáčka omáčky omáčce omáčku omáčce omáčkou"),
    noun("rice", "der Reis", "f rýže rýže rýži rýži rýži rýží"),
    noun("wine", "der Wein", "n víno vína vínu víno víně vínem"),
    noun("cake", "der Kuchen", "I koláč koláče koláči koláč koláči koláčem"),
    noun("dumplings+", "pl Knödel", "p knedlíky knedlíků knedlíkům knedlíky knedlících knedlíky"),
    noun("bread", "das Brot", "I chléb chleba chlebu chléb chlebu chlebem"),
)  # fmt: skip
_COMPLAINTS = (
    (things.adjective("cold", "kalt", "studený"), "soup meat coffee fish potatoes tea sauce rice dumplings"),
    (things.adjective("salty", "salzig", "slaný"), "soup meat fish potatoes sauce rice bread salad"),
    (things.adjective("hot", "heiß", "horký"), "soup coffee potatoes tea sauce"),
    (things.adjective("sweet", "süß", "sladký"), "coffee tea sauce wine cake"),
    (things.adjective("strong", "stark", "silný"), "coffee tea wine"),
    (things.adjective("hard", "hart", "tvrdý"), "meat potatoes dumplings bread cake"),
    (things.adjective("dry", "trocken", "suchý"), "meat fish cake rice bread"),
)  # fmt: skip

COMPLAIN = Pattern(
    "find fault with a dish",
    {"who": people.OTHERS, "what": _DISHES, "how": _COMPLAINTS},
    en=lambda who, what, how: (
        f"{who.en} {who.en_verb('think', 'thinks')} that the {what.en} "
        f"{'are' if what.en_many else 'is'} too {how[0].en}."
    ),
    de=lambda who, what, how: (
        f"{who.de[0]} {who.de_verb('finde findet finden')}, dass {de.phrase(what, 'nom', 'der')} "
        f"zu {how[0].de_plain} {de.verb(what, 'ist', 'sind')}."
    ),
    cs=lambda who, what, how: (
        f"{who.cs[0]} si {who.cs_verb('myslím myslí myslíme myslí')}, že "
        f"{cs.verb(what, 'je', 'jsou')} {cs.phrase(what, 'nom', 'ten')} moc "
        f"{cs.adjective_form(how[0].cs, 'nom', what.cs_gender)}."
    ),
    accepts=lambda who, what, how: what.word in how[1].split(),
)

_PERSONS = (
    Phrase("four", "vier", "čtyři osoby"),
    Phrase("two", "zwei", "dvě osoby"),
    Phrase("six", "sechs", "šest osob"),
    Phrase("three", "drei", "tři osoby"),
    Phrase("five", "fünf", "pět osob"),
    Phrase("eight", "acht", "osm osob"),
    Phrase("seven", "sieben", "sedm osob"),
    Phrase("ten", "zehn", "deset osob"),
)

TABLE = Pattern(
    "reserve a table",
    {"count": _PERSONS, "day": calendar.FOR_DAY, "time": calendar.TIMES[:20]},
    en=lambda count, day, time: (
        f"We would like to reserve a table for {count.en} people {day.en} {time.en}."
    ),
    de=lambda count, day, time: (
        f"Wir möchten {day.de} {time.de} einen Tisch für {count.de} Personen reservieren."
    ),
    cs=lambda count, day, time: (
        f"Chtěli bychom zarezervovat stůl pro {count.cs} {day.cs} {time.cs}."
    ),
    share=0.8,
)

_SPREADS = tuple(
    Phrase(item.en, german_dative(item), with_czech(item.cs_ins), item.en)
    for item in things.FOOD
    if item.en in ("butter", "cheese", "ham", "honey")
)
_BASES = (
    Phrase("bread", "Brot", "chléb", "bread"),
    Phrase("a roll", "ein Brötchen", "rohlík", "roll"),
    Phrase("toast", "Toast", "toast", "toast"),
    Phrase("a croissant", "ein Croissant", "croissant", "croissant"),
)
_MORNING_DRINKS = tuple(
    item for item in things.FOOD if item.en in ("coffee", "tea", "milk", "juice")
)

BREAKFAST = Pattern(
    "breakfast",
    {"who": people.SPEAKERS, "base": _BASES, "spread": _SPREADS, "drink": _MORNING_DRINKS},
    en=lambda who, base, spread, drink: (
        f"For breakfast, {who.en} usually {who.en_verb('eat', 'eats')} {base.en} with {spread.en} "
        f"and {who.en_verb('drink', 'drinks')} {drink.en}."
    ),
    de=lambda who, base, spread, drink: (
        f"Zum Frühstück {who.de_verb('esse isst essen')} {who.de[0]} meistens {base.de} mit "
        f"{spread.de} und {who.de_verb('trinke trinkt trinken')} {drink.de}."
    ),
    cs=lambda who, base, spread, drink: (
        f"K snídani {who.cs[0]} obvykle {who.cs_verb('jím jí jíme jedí')} {base.cs} {spread.cs} a "
        f"{who.cs_verb('piji pije pijeme pijí')} {drink.cs_acc}."
    ),
    about=("eat", "drink"),
)

_BOUGHT = things.food("b")

ON_THE_WAY_HOME = Pattern(
    "buy on the way home",
    {"name": people.NAMES, "what": _BOUGHT, "other": _BOUGHT},
    en=lambda name, what, other: (
        f"{name.en}, can you buy {what.en} and {other.en} on the way home?"
    ),
    de=lambda name, what, other: (
        f"{name.en}, kannst du auf dem Heimweg {what.de} und {other.de} kaufen?"
    ),
    cs=lambda name, what, other: (
        f"{name.cs_vocative}, můžeš cestou domů koupit {what.cs_acc} a {other.cs_acc}?"
    ),
    accepts=lambda name, what, other: what is not other,
    about=("buy",),
)

PATTERNS = (
    ORDER, TAKE_DISH, BRING, LIKE_FOOD, BY_WEIGHT, COMPLAIN, TABLE, BREAKFAST, ON_THE_WAY_HOME,
)  # fmt: skip
