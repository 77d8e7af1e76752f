"""Nouns for things and the adjectives that go with them, most frequent first in every list.

Czech forms are written out in full, case by case: rules for them would be wrong too often.
"""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass

from grammar.words import Adjective, Noun

_ARTICLES = {"der": "m", "die": "f", "das": "n", "pl": "p"}


def noun(en: str, de: str, cs: str, german_genitive: str = "") -> Noun:
    """Build a noun from compact forms.

    `en` ends in "+" where the form is a plural; `de` is article and noun ("pl" for a plural);
    `cs` is the gender and the six forms nominative genitive dative accusative locative
    instrumental, "_" standing for a space within a form.
    """
    word = en.rstrip("+")
    article, german = de.split(" ", 1)
    gender = _ARTICLES[article]
    dative = german + "n" if gender == "p" and german[-1] not in "ns" else german
    genitive = german
    if gender in "mn":
        genitive = german_genitive or german + ("es" if german[-1] in "sßxz" else "s")
    cs_gender, *forms = cs.split()
    if len(forms) != 6:
        raise AssertionError(f"{en}: six Czech forms are needed, found {len(forms)}")
    return Noun(
        word=word,
        en=word,
        en_many=en.endswith("+"),
        de_gender=gender,
        de=(german, german, dative, genitive),
        cs_gender=cs_gender,
        cs=tuple(form.replace("_", " ") for form in forms),
    )


CLOTHES = (
    noun("coat", "der Mantel", "I kabát kabátu kabátu kabát kabátu kabátem"),
    noun("shirt", "das Hemd", "f košile košile košili košili košili košilí"),
    noun("jacket", "die Jacke", "f bunda bundy bundě bundu bundě bundou"),
    noun("shoes+", "pl Schuhe", "p boty bot botám boty botách botami"),
    noun("sweater", "der Pullover", "I svetr svetru svetru svetr svetru svetrem"),
    noun("trousers+", "die Hose", "p kalhoty kalhot kalhotám kalhoty kalhotách kalhotami"),
    noun("T-shirt", "das T-Shirt", "n tričko trička tričku tričko tričku tričkem"),
    noun("dress", "das Kleid", "p šaty šatů šatům šaty šatech šaty"),
    noun("hat", "der Hut", "I klobouk klobouku klobouku klobouk klobouku kloboukem"),
    noun("scarf", "der Schal", "f šála šály šále šálu šále šálou"),
    noun("skirt", "der Rock", "f sukně sukně sukni sukni sukni sukní"),
    noun("gloves+", "pl Handschuhe", "p rukavice rukavic rukavicím rukavice rukavicích rukavicemi"),
    noun("cap", "die Mütze", "f čepice čepice čepici čepici čepici čepicí"),
    noun("suit", "der Anzug", "I oblek obleku obleku oblek obleku oblekem"),
    noun("blouse", "die Bluse", "f halenka halenky halence halenku halence halenkou"),
    noun("belt", "der Gürtel", "I pásek pásku pásku pásek pásku páskem"),
    noun("tie", "die Krawatte", "f kravata kravaty kravatě kravatu kravatě kravatou"),
    noun("socks+", "pl Socken", "p ponožky ponožek ponožkám ponožky ponožkách ponožkami"),
)

# Small belongings: carried, lost, found, lent, forgotten.
BELONGINGS = (
    noun("bag", "die Tasche", "f taška tašky tašce tašku tašce taškou"),
    noun("umbrella", "der Regenschirm", "I deštník deštníku deštníku deštník deštníku deštníkem"),
    noun("wallet", "die Brieftasche", "f peněženka peněženky peněžence peněženku peněžence peněženkou"),
    noun("phone", "das Handy", "I telefon telefonu telefonu telefon telefonu telefonem"),
    noun("book", "das Buch", "f kniha knihy knize knihu knize knihou", "Buches"),
    noun("suitcase", "der Koffer", "I kufr kufru kufru kufr kufru kufrem"),
    noun("backpack", "der Rucksack", "I batoh batohu batohu batoh batohu batohem"),
    noun("glasses+", "die Brille", "p brýle brýlí brýlím brýle brýlích brýlemi"),
    noun("camera", "die Kamera", "I fotoaparát fotoaparátu fotoaparátu fotoaparát fotoaparátu fotoaparátem"),
    noun("notebook", "das Notizbuch", "I zápisník zápisníku zápisníku zápisník zápisníku zápisníkem"),
    noun("pen", "der Kugelschreiber", "f propiska propisky propisce propisku propisce propiskou"),
    noun("bottle", "die Flasche", "f láhev láhve láhvi láhev láhvi láhví"),
    noun("watch", "die Uhr", "p hodinky hodinek hodinkám hodinky hodinkách hodinkami"),
    noun("towel", "das Handtuch", "I ručník ručníku ručníku ručník ručníku ručníkem"),
    noun("dictionary", "das Wörterbuch", "I slovník slovníku slovníku slovník slovníku slovníkem"),
    noun("blanket", "die Decke", "f deka deky dece deku dece dekou"),
    noun("torch", "die Taschenlampe", "f baterka baterky baterce baterku baterce baterkou"),
)  # fmt: skip

PRESENTS = (
    noun("book", "das Buch", "f kniha knihy knize knihu knize knihou"),
    noun("watch", "die Uhr", "p hodinky hodinek hodinkám hodinky hodinkách hodinkami"),
    noun("picture", "das Bild", "I obraz obrazu obrazu obraz obrazu obrazem"),
    noun("bicycle", "das Fahrrad", "n kolo kola kolu kolo kole kolem"),
    noun("ring", "der Ring", "I prsten prstenu prstenu prsten prstenu prstenem"),
    noun("vase", "die Vase", "f váza vázy váze vázu váze vázou"),
    noun("game", "das Spiel", "f hra hry hře hru hře hrou"),
    noun("cake", "die Torte", "I dort dortu dortu dort dortu dortem"),
    noun("lamp", "die Lampe", "f lampa lampy lampě lampu lampě lampou"),
    noun("guitar", "die Gitarre", "f kytara kytary kytaře kytaru kytaře kytarou"),
)


def adjective(en: str, de: str, cs: str, more: str = "") -> Adjective:
    """German "teuer/teur" names the predicate form and the stem that takes endings."""
    plain, _, stem = de.partition("/")
    en_more, de_more, cs_more = more.split("|") if more else ("", "", "")
    return Adjective(en, en, stem or plain, plain, cs, en_more, de_more, cs_more)


COLOURS = (
    adjective("black", "schwarz", "černý"),
    adjective("red", "rot", "červený"),
    adjective("white", "weiß", "bílý"),
    adjective("blue", "blau", "modrý"),
    adjective("green", "grün", "zelený"),
    adjective("brown", "braun", "hnědý"),
    adjective("grey", "grau", "šedý"),
    adjective("yellow", "gelb", "žlutý"),
)

# What can be said of clothes, and compared.
NEW = adjective("new", "neu", "nový")
OLD = adjective("old", "alt", "starý", "older|älter|starší")
SMALL = adjective("small", "klein", "malý", "smaller|kleiner|menší")
BIG = adjective("big", "groß", "velký", "bigger|größer|větší")
LONG = adjective("long", "lang", "dlouhý", "longer|länger|delší")
SHORT = adjective("short", "kurz", "krátký", "shorter|kürzer|kratší")
CHEAP = adjective("cheap", "billig", "levný", "cheaper|billiger|levnější")
EXPENSIVE = adjective(
    "expensive", "teuer/teur", "drahý", "more expensive|teurer|dražší"
)  # fmt: skip
WARM = adjective("warm", "warm", "teplý", "warmer|wärmer|teplejší")
NICE = adjective("nice", "schön", "hezký", "nicer|schöner|hezčí")
MODERN = adjective("modern", "modern", "moderní", "more modern|moderner|modernější")
LIGHT = adjective("light", "leicht", "lehký", "lighter|leichter|lehčí")
COMFORTABLE = adjective(
    "comfortable", "bequem", "pohodlný", "more comfortable|bequemer|pohodlnější"
)
QUALITY = adjective("good", "gut", "dobrý", "better|besser|lepší")

FOR_WOMEN = tuple(item for item in CLOTHES if item.word in ("dress", "skirt", "blouse"))
FOR_MEN = tuple(item for item in CLOTHES if item.word in ("suit", "tie"))
WARMING = tuple(
    item
    for item in CLOTHES
    if item.word in ("coat", "jacket", "sweater", "scarf", "gloves", "cap", "socks", "trousers")
)
WITHOUT_SIZE = tuple(item for item in CLOTHES if item.word in ("belt", "tie", "scarf"))
CARRIED = tuple(
    item
    for item in BELONGINGS
    if item.word not in ("suitcase", "towel", "blanket", "torch", "dictionary", "bottle")
)


def suits(what: Noun, gender: str) -> bool:
    """Would a person of this Czech gender wear it?"""
    return what not in (FOR_WOMEN if gender == "M" else FOR_MEN)


def can_be(what: Noun, how: Adjective) -> bool:
    """Is it sensible to call this piece of clothing so?"""
    if how is WARM:
        return what in WARMING
    if how is LIGHT:
        return what.word in ("coat", "jacket", "shirt", "dress", "blouse", "sweater", "trousers")
    if how is MODERN or how is COMFORTABLE:
        return what.word in (
            "coat",
            "jacket",
            "shirt",
            "dress",
            "suit",
            "shoes",
            "trousers",
            "skirt",
        )
    return True


CLOTHES_ADJECTIVES = (*COLOURS[:4], NEW, WARM, NICE, *COLOURS[4:], LIGHT, CHEAP, MODERN)
SIZES = (BIG, SMALL, EXPENSIVE, WARM)
COMPARED = (EXPENSIVE, CHEAP, NICE, WARM, COMFORTABLE, MODERN)
BELONGINGS_ADJECTIVES = (COLOURS[0], NEW, *COLOURS[1:4], SMALL, OLD, *COLOURS[4:])
PRESENT_ADJECTIVES = (NICE, NEW, EXPENSIVE, BIG, MODERN)


def can_be_given(what: Noun, how: Adjective) -> bool:
    """A big vase, but no new cake."""
    if how is BIG:
        return what.word in ("cake", "vase", "picture", "lamp")
    if how is MODERN:
        return what.word in ("vase", "picture", "lamp", "watch")
    return how is NICE or what.word != "cake"


@dataclass(frozen=True)
class Food:
    """Food or drink: the plain form is what one likes, the genitive follows an amount."""

    word: str
    en: str
    de: str  # without article
    de_gender: str
    cs_nom: str
    cs_gen: str
    cs_acc: str
    cs_ins: str
    kinds: str  # m main dish, s side dish, l liked, d drink, w by weight, b bought


def _food(en: str, de: str, cs: str, kinds: str) -> Food:
    article, german = de.split(" ", 1)
    nominative, genitive, accusative, instrumental = (f.replace("_", " ") for f in cs.split())
    return Food(
        en, en, german, _ARTICLES[article], nominative, genitive, accusative, instrumental, kinds
    )


FOOD = (
    _food("coffee", "der Kaffee", "káva kávy kávu kávou", "ldb"),
    _food("bread", "das Brot", "chléb chleba chléb chlebem", "lsb"),
    _food("cheese", "der Käse", "sýr sýra sýr sýrem", "lwb"),
    _food("tea", "der Tee", "čaj čaje čaj čajem", "ldb"),
    _food("milk", "die Milch", "mléko mléka mléko mlékem", "ldb"),
    _food("beer", "das Bier", "pivo piva pivo pivem", "ldb"),
    _food("fish", "der Fisch", "ryba ryby rybu rybou", "m"),
    _food("chicken", "das Hähnchen", "kuře kuřete kuře kuřetem", "m"),
    _food("potatoes", "pl Kartoffeln", "brambory brambor brambory bramborami", "lswb"),
    _food("apples", "pl Äpfel", "jablka jablek jablka jablky", "lwb"),
    _food("rice", "der Reis", "rýže rýže rýži rýží", "lsb"),
    _food("tomatoes", "pl Tomaten", "rajčata rajčat rajčata rajčaty", "lwb"),
    _food("butter", "die Butter", "máslo másla máslo máslem", "b"),
    _food("ham", "der Schinken", "šunka šunky šunku šunkou", "lwb"),
    _food("steak", "das Steak", "steak steaku steak steakem", "m"),
    _food("goulash", "das Gulasch", "guláš guláše guláš gulášem", "ml"),
    _food("dumplings", "pl Knödel", "knedlíky knedlíků knedlíky knedlíky", "ls"),
    _food("wine", "der Wein", "víno vína víno vínem", "ldb"),
    _food("meat", "das Fleisch", "maso masa maso masem", "lwb"),
    _food("chocolate", "die Schokolade", "čokoláda čokolády čokoládu čokoládou", "lb"),
    _food("sugar", "der Zucker", "cukr cukru cukr cukrem", "b"),
    _food("oranges", "pl Orangen", "pomeranče pomerančů pomeranče pomeranči", "lwb"),
    _food("juice", "der Saft", "džus džusu džus džusem", "db"),
    _food("chips", "pl Pommes", "hranolky hranolků hranolky hranolky", "ls"),
    _food("salad", "der Salat", "salát salátu salát salátem", "ls"),
    _food("duck", "die Ente", "kachna kachny kachnu kachnou", "m"),
    _food("trout", "die Forelle", "pstruh pstruha pstruha pstruhem", "m"),
    _food("strawberries", "pl Erdbeeren", "jahody jahod jahody jahodami", "lwb"),
    _food("onions", "pl Zwiebeln", "cibule cibule cibuli cibulí", "lwb"),
    _food("pears", "pl Birnen", "hrušky hrušek hrušky hruškami", "lwb"),
    _food("mushrooms", "pl Pilze", "houby hub houby houbami", "lw"),
    _food("honey", "der Honig", "med medu med medem", "lb"),
    _food("garlic", "der Knoblauch", "česnek česneku česnek česnekem", "lb"),
    _food("plums", "pl Pflaumen", "švestky švestek švestky švestkami", "lwb"),
    _food("vegetables", "das Gemüse", "zelenina zeleniny zeleninu zeleninou", "lsb"),
    _food("noodles", "pl Nudeln", "nudle nudlí nudle nudlemi", "lsb"),
)


def food(kind: str) -> tuple[Food, ...]:
    return tuple(item for item in FOOD if kind in item.kinds)


@dataclass(frozen=True)
class Countable:
    """What is counted: forms after one, after two to four, after five and more."""

    word: str
    en: tuple[str, str]
    de: tuple[str, str]  # accusative singular with "ein", plural after a number
    cs_gender: str
    cs: tuple[str, str, str]  # accusative singular, accusative plural, genitive plural


def countable(en: str, de: str, cs: str) -> Countable:
    """German drinks are counted without a plural: zwei Kaffee."""
    singular, plural = en.split(", ")
    german, germans = de.split(", ")
    gender, one, few, many = cs.split(", ")
    return Countable(singular, (singular, plural), (german, germans), gender, (one, few, many))


ORDERED = (
    countable("coffee, coffees", "einen Kaffee, Kaffee", "f, kávu, kávy, káv"),
    countable("beer, beers", "ein Bier, Bier", "n, pivo, piva, piv"),
    countable("tea, teas", "einen Tee, Tee", "I, čaj, čaje, čajů"),
    countable("lemonade, lemonades", "eine Limonade, Limonaden", "f, limonádu, limonády, limonád"),
    countable("roll, rolls", "ein Brötchen, Brötchen", "I, rohlík, rohlíky, rohlíků"),
    countable("ice cream, ice creams", "ein Eis, Eis", "f, zmrzlinu, zmrzliny, zmrzlin"),
    countable("sandwich, sandwiches", "ein Sandwich, Sandwiches", "I, sendvič, sendviče, sendvičů"),
    countable("orange juice, orange juices", "einen Orangensaft, Orangensaft",
               "I, pomerančový džus, pomerančové džusy, pomerančových džusů"),
    countable("pizza, pizzas", "eine Pizza, Pizzen", "f, pizzu, pizzy, pizz"),
    countable("bottle of water, bottles of water", "eine Flasche Wasser, Flaschen Wasser",
               "f, láhev vody, láhve vody, lahví vody"),
    countable("glass of wine, glasses of wine", "ein Glas Wein, Gläser Wein",
               "f, sklenici vína, sklenice vína, sklenic vína"),
    countable("salad, salads", "einen Salat, Salate", "I, salát, saláty, salátů"),
    countable("croissant, croissants", "ein Croissant, Croissants", "I, croissant, croissanty, croissantů"),
)  # fmt: skip
