"""Agreement in three languages against tables written by hand."""

# A sentence stands on one line.
# ruff: noqa: E501

from __future__ import annotations

import pytest

from grammar import calendar, czech, english, german, people, places, things, travelling
from grammar.eating import czech_count, english_count, german_count


def clothing(word: str):
    return next(noun for noun in things.CLOTHES if noun.word == word)


COAT, SHIRT, JACKET = clothing("coat"), clothing("shirt"), clothing("jacket")
SHOES, TROUSERS, DRESS = clothing("shoes"), clothing("trousers"), clothing("dress")
RED = next(colour for colour in things.COLOURS if colour.word == "red")


GERMAN_TABLE = """
der   nom der rote Mantel | das rote Hemd | die rote Jacke | die roten Schuhe
der   acc den roten Mantel | das rote Hemd | die rote Jacke | die roten Schuhe
der   dat dem roten Mantel | dem roten Hemd | der roten Jacke | den roten Schuhen
der   gen des roten Mantels | des roten Hemds | der roten Jacke | der roten Schuhe
dies  nom dieser rote Mantel | dieses rote Hemd | diese rote Jacke | diese roten Schuhe
dies  acc diesen roten Mantel | dieses rote Hemd | diese rote Jacke | diese roten Schuhe
dies  dat diesem roten Mantel | diesem roten Hemd | dieser roten Jacke | diesen roten Schuhen
ein   nom ein roter Mantel | ein rotes Hemd | eine rote Jacke | rote Schuhe
ein   acc einen roten Mantel | ein rotes Hemd | eine rote Jacke | rote Schuhe
ein   dat einem roten Mantel | einem roten Hemd | einer roten Jacke | roten Schuhen
ein   gen eines roten Mantels | eines roten Hemds | einer roten Jacke | roter Schuhe
unser nom unser roter Mantel | unser rotes Hemd | unsere rote Jacke | unsere roten Schuhe
unser acc unseren roten Mantel | unser rotes Hemd | unsere rote Jacke | unsere roten Schuhe
unser dat unserem roten Mantel | unserem roten Hemd | unserer roten Jacke | unseren roten Schuhen
-     nom roter Mantel | rotes Hemd | rote Jacke | rote Schuhe
-     acc roten Mantel | rotes Hemd | rote Jacke | rote Schuhe
-     dat rotem Mantel | rotem Hemd | roter Jacke | roten Schuhen
-     gen roten Mantels | roten Hemds | roter Jacke | roter Schuhe
"""

CZECH_TABLE = """
-    nom červený kabát | červené tričko | červená bunda | červené boty
-    gen červeného kabátu | červeného trička | červené bundy | červených bot
-    dat červenému kabátu | červenému tričku | červené bundě | červeným botám
-    acc červený kabát | červené tričko | červenou bundu | červené boty
-    loc červeném kabátu | červeném tričku | červené bundě | červených botách
-    ins červeným kabátem | červeným tričkem | červenou bundou | červenými botami
ten  nom ten červený kabát | to červené tričko | ta červená bunda | ty červené boty
ten  gen toho červeného kabátu | toho červeného trička | té červené bundy | těch červených bot
ten  dat tomu červenému kabátu | tomu červenému tričku | té červené bundě | těm červeným botám
ten  acc ten červený kabát | to červené tričko | tu červenou bundu | ty červené boty
ten  ins tím červeným kabátem | tím červeným tričkem | tou červenou bundou | těmi červenými botami
tento acc tento červený kabát | toto červené tričko | tuto červenou bundu | tyto červené boty
svůj acc svůj červený kabát | své červené tričko | svou červenou bundu | své červené boty
můj  nom můj červený kabát | moje červené tričko | moje červená bunda | moje červené boty
náš  loc našem červeném kabátu | našem červeném tričku | naší červené bundě | našich červených botách
"""


def rows(table: str):
    for line in table.strip().splitlines():
        determiner, case, rest = line.split(None, 2)
        yield "" if determiner == "-" else determiner, case, rest.split(" | ")


@pytest.mark.parametrize(("determiner", "case", "expected"), rows(GERMAN_TABLE))
def test_german_article_adjective_and_noun(determiner, case, expected):
    phrases = [german.phrase(noun, case, determiner, RED) for noun in (COAT, SHIRT, JACKET, SHOES)]
    assert phrases == expected


@pytest.mark.parametrize(("determiner", "case", "expected"), rows(CZECH_TABLE))
def test_czech_determiner_adjective_and_noun(determiner, case, expected):
    nouns = (COAT, clothing("T-shirt"), JACKET, SHOES)
    assert [czech.phrase(noun, case, determiner, RED) for noun in nouns] == expected


@pytest.mark.parametrize(
    ("case", "gender", "expected"),
    [
        ("nom", "M", "moderní"), ("gen", "M", "moderního"), ("dat", "n", "modernímu"),
        ("acc", "M", "moderního"), ("acc", "I", "moderní"), ("acc", "f", "moderní"),
        ("loc", "n", "moderním"), ("ins", "f", "moderní"), ("ins", "I", "moderním"),
        ("gen", "p", "moderních"), ("dat", "p", "moderním"), ("ins", "p", "moderními"),
    ],
)  # fmt: skip
def test_czech_soft_adjectives(case, gender, expected):
    assert czech.adjective_form("moderní", case, gender) == expected


def test_number_differs_between_the_languages():
    assert english.phrase(TROUSERS, "this") == "these trousers"
    assert german.phrase(TROUSERS, "nom", "dies") == "diese Hose"
    assert czech.phrase(TROUSERS, "nom", "tento") == "tyto kalhoty"
    assert english.phrase(DRESS, "a", RED) == "a red dress"
    assert german.phrase(DRESS, "acc", "ein", RED) == "ein rotes Kleid"
    assert czech.phrase(DRESS, "acc", "", RED) == "červené šaty"


def test_stem_changes_and_animacy():
    assert german.phrase(COAT, "acc", "ein", things.EXPENSIVE) == "einen teuren Mantel"
    assert czech.adjective_form("nový", "acc", "M") == "nového"
    assert czech.adjective_form("nový", "acc", "I") == "nový"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("apple", "an apple"), ("old hat", "an old hat"), ("university", "a university"),
     ("hour", "an hour"), ("umbrella", "an umbrella"), ("euro", "a euro"), ("coat", "a coat")],
)  # fmt: skip
def test_english_article(words, expected):
    assert english.article(words) == expected


@pytest.mark.parametrize(
    ("preposition", "words", "expected"),
    [("in", "dem Park", "im Park"), ("in", "das Kino", "ins Kino"), ("zu", "der Post", "zur Post"),
     ("zu", "dem Hotel", "zum Hotel"), ("von", "dem See", "vom See"), ("an", "dem See", "am See"),
     ("in", "den Park", "in den Park"), ("vor", "dem Kino", "vor dem Kino")],
)  # fmt: skip
def test_german_contractions(preposition, words, expected):
    assert german.after(preposition, words) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (places.STATION, "am Bahnhof, zum Bahnhof, vom Bahnhof; na nádraží, na nádraží, z nádraží"),
        (places.CINEMA, "im Kino, ins Kino, vom Kino; v kině, do kina, z kina"),
        (places.MARKET, "auf dem Markt, auf den Markt, vom Markt; na trhu, na trh, z trhu"),
        (
            places.SCHOOL,
            "in der Schule, in die Schule, von der Schule; ve škole, do školy, ze školy",
        ),
        (places.LAKE, "am See, an den See, vom See; u jezera, k jezeru, od jezera"),
        (
            places.POOL,
            "im Schwimmbad, ins Schwimmbad, vom Schwimmbad; na bazéně, na bazén, z bazénu",
        ),
        (places.POST_OFFICE, "auf der Post, zur Post, von der Post; na poště, na poštu, z pošty"),
    ],
)
def test_prepositions_of_places(place, expected):
    german_forms = ", ".join((place.de_at, place.de_to, place.de_from))
    assert f"{german_forms}; {', '.join((place.cs_at, place.cs_to, place.cs_from))}" == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [(places.BRIDGE, "až k mostu"), (places.CHURCH, "až ke kostelu"), (places.SCHOOL, "až ke škole"),
     (places.CASTLE, "až k zámku"), (places.STADIUM, "až ke stadionu"), (places.ZOO, "až k zoo"),
     (places.SUPERMARKET, "až k supermarketu"), (places.CAFE, "až ke kavárně")],
)  # fmt: skip
def test_czech_preposition_k_takes_a_vowel_before_hard_groups(place, expected):
    assert travelling.cs_towards(place) == expected


@pytest.mark.parametrize(
    ("value", "word", "expected"),
    [
        (1, "beer", "one beer, ein Bier, jedno pivo"),
        (2, "beer", "two beers, zwei Bier, dvě piva"),
        (5, "beer", "five beers, fünf Bier, pět piv"),
        (1, "tea", "one tea, einen Tee, jeden čaj"),
        (2, "tea", "two teas, zwei Tee, dva čaje"),
        (3, "coffee", "three coffees, drei Kaffee, tři kávy"),
        (1, "coffee", "one coffee, einen Kaffee, jednu kávu"),
        (6, "roll", "six rolls, sechs Brötchen, šest rohlíků"),
        (4, "glass of wine", "four glasses of wine, vier Gläser Wein, čtyři sklenice vína"),
    ],
)
def test_numbers_with_nouns(value, word, expected):
    count = next(count for count in calendar.COUNTS if count.value == value)
    what = next(item for item in things.ORDERED if item.word == word)
    counted = (english_count(count, what), german_count(count, what), czech_count(count, what))
    assert ", ".join(counted) == expected


@pytest.mark.parametrize(
    "expected",
    [
        "at eight o'clock, um acht Uhr, v osm hodin",
        "at half past seven, um halb acht, v půl osmé",
        "at half past twelve, um halb eins, v půl jedné",
        "at a quarter past twelve, um Viertel nach zwölf, ve čtvrt na jednu",
        "at a quarter to two, um Viertel vor zwei, ve tři čtvrtě na dvě",
        "at one o'clock, um ein Uhr, v jednu hodinu",
        "at a quarter past one, um Viertel nach eins, ve čtvrt na dvě",
        "at four o'clock, um vier Uhr, ve čtyři hodiny",
        "at twelve o'clock, um zwölf Uhr, ve dvanáct hodin",
    ],
)
def test_times_of_day(expected):
    assert expected in {f"{time.en}, {time.de}, {time.cs}" for time in calendar.TIMES}


@pytest.mark.parametrize(
    ("person", "expected"),
    [(people.I, "koupil jsem"), (people.WE, "koupili jsme"), (people.MY_SISTER, "koupila"),
     (people.MY_BROTHER, "koupil"), (people.MY_PARENTS, "koupili")],
)  # fmt: skip
def test_czech_past_agrees_with_the_subject(person, expected):
    assert f"{person.cs_past('koupil')} {person.cs_aux()}".strip() == expected


def test_czech_irregular_participle():
    assert [p.cs_past("šel", "šl") for p in (people.MY_BROTHER, people.MY_SISTER, people.WE)] == [
        "šel", "šla", "šli"]  # fmt: skip
