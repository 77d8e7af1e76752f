"""The phrasebook against tables of agreement and sentences written by hand."""

# A sentence stands on one line.
# ruff: noqa: E501

from __future__ import annotations

import hashlib
import lzma
import math
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations, product

import pytest

import drawing as book
import make
from drawing import LANGUAGES, PATTERNS, Triple, phrasebook
from grammar import calendar, czech, english, german, people, places, things, travelling
from grammar import patterns as grammar
from grammar.eating import czech_count, english_count, german_count


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Triple]]:
    return phrasebook()


def texts(triple: Triple) -> tuple[str, str, str]:
    return triple.english, triple.german, triple.czech


def clothing(word: str):
    return next(noun for noun in things.CLOTHES if noun.word == word)


COAT, SHIRT, JACKET = clothing("coat"), clothing("shirt"), clothing("jacket")
SHOES, TROUSERS, DRESS = clothing("shoes"), clothing("trousers"), clothing("dress")
RED = next(colour for colour in things.COLOURS if colour.word == "red")


# -- agreement ------------------------------------------------------------------------------------

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
    found = [german.phrase(noun, case, determiner, RED) for noun in (COAT, SHIRT, JACKET, SHOES)]
    assert found == expected


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
    found = (english_count(count, what), german_count(count, what), czech_count(count, what))
    assert ", ".join(found) == expected


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


# -- one sentence of each pattern, written out and read -------------------------------------------

GOLDEN = (
    ("buy clothes", "On Friday, Tereza bought a grey cap.",
     "Am Freitag hat Tereza eine graue Mütze gekauft.",
     "V pátek si Tereza koupila šedou čepici."),
    ("ask for a colour", "Do you have this cap in brown and a bit smaller?",
     "Haben Sie diese Mütze in Braun und etwas kleiner?",
     "Máte tuto čepici v hnědé barvě a o něco menší?"),
    ("ask the price", "How much does this brown umbrella cost?",
     "Wie viel kostet dieser braune Regenschirm?",
     "Kolik stojí tento hnědý deštník?"),
    ("tell the price", "The brown cap costs seventy euros.",
     "Die braune Mütze kostet siebzig Euro.",
     "Ta hnědá čepice stojí sedmdesát eur."),
    ("does not fit", "This brown cap is too expensive for Tereza.",
     "Diese braune Mütze ist für Tereza zu teuer.",
     "Tato hnědá čepice je pro Terezu příliš drahá."),
    ("compare clothes", "The brown cap is more expensive than the grey suit.",
     "Die braune Mütze ist teurer als der graue Anzug.",
     "Ta hnědá čepice je dražší než ten šedý oblek."),
    ("look for clothes", "I am looking for a grey cap for our teacher.",
     "Ich suche eine graue Mütze für unsere Lehrerin.",
     "Hledám šedou čepici pro naši učitelku."),
    ("give a present", "Our teacher gave her uncle a big cake for Christmas.",
     "Unsere Lehrerin hat ihrem Onkel zu Weihnachten eine große Torte geschenkt.",
     "Naše učitelka dala svému strýci k Vánocům velký dort."),
    ("ask the way", "Excuse me, how do I get from the library to the cinema?",
     "Entschuldigung, wie komme ich von der Bibliothek zum Kino?",
     "Promiňte, jak se dostanu od knihovny do kina?"),
    ("train departs", "The train to Bratislava leaves at four o'clock from platform six.",
     "Der Zug nach Bratislava fährt um vier Uhr von Gleis 6 ab.",
     "Vlak do Bratislavy odjíždí ve čtyři hodiny ze šestého nástupiště."),
    ("train is late", "Because of a storm, the train from Bratislava is an hour late.",
     "Wegen eines Sturms hat der Zug aus Bratislava eine Stunde Verspätung.",
     "Kvůli bouřce má vlak z Bratislavy hodinu zpoždění."),
    ("went to a town", "At Easter, our teacher went to Bratislava by bus.",
     "Zu Ostern ist unsere Lehrerin mit dem Bus nach Bratislava gefahren.",
     "O Velikonocích jela naše učitelka autobusem do Bratislavy."),
    ("lost something", "On Friday, Tereza lost her green camera at the post office.",
     "Am Freitag hat Tereza auf der Post ihre grüne Kamera verloren.",
     "V pátek Tereza na poště ztratila svůj zelený fotoaparát."),
    ("ask for a lost thing", "Has anyone found a green camera? We left it at the post office.",
     "Hat jemand eine grüne Kamera gefunden? Wir haben sie auf der Post vergessen.",
     "Nenašel někdo zelený fotoaparát? Zapomněli jsme ho na poště."),
    ("is there one nearby", "Is there a cheap bakery near the park?",
     "Gibt es in der Nähe des Parks eine billige Bäckerei?",
     "Je blízko parku nějaké levné pekařství?"),
    ("tell where it is", "The library is behind the park.",
     "Die Bibliothek ist hinter dem Park.",
     "Knihovna je za parkem."),
    ("tell the way", "Go straight ahead to the park and turn right at the bridge.",
     "Gehen Sie geradeaus bis zum Park und biegen Sie an der Brücke rechts ab.",
     "Jděte rovně až k parku a u mostu zahněte doprava."),
    ("buy tickets", "Five single tickets to Bratislava for Wednesday, please.",
     "Fünf einfache Fahrkarten nach Bratislava für Mittwoch, bitte.",
     "Pět jednosměrných jízdenek do Bratislavy na středu, prosím."),
    ("change trains", "Do we have to change trains if we go from Bratislava to Budapest on Wednesday?",
     "Müssen wir umsteigen, wenn wir am Mittwoch von Bratislava nach Budapest fahren?",
     "Musíme přestupovat, když pojedeme ve středu z Bratislavy do Budapešti?"),
    ("how long it takes", "How long does the journey from Bratislava to Budapest take by bus?",
     "Wie lange dauert die Fahrt mit dem Bus von Bratislava nach Budapest?",
     "Jak dlouho trvá cesta autobusem z Bratislavy do Budapešti?"),
    ("tram and bus lines", "Tram number ten goes from the stadium to the zoo.",
     "Die Straßenbahn Nummer zehn fährt vom Stadion zum Zoo.",
     "Tramvaj číslo deset jezdí od stadionu k zoo."),
    ("order drinks and snacks", "Five pizzas and five bottles of water, please.",
     "Fünf Pizzen und fünf Flaschen Wasser, bitte.",
     "Pět pizz a pět lahví vody, prosím."),
    ("order a meal", "I'll have the duck with salad and an apple juice, please.",
     "Ich nehme die Ente mit Salat und einen Apfelsaft, bitte.",
     "Dám si kachnu se salátem a jablečný džus, prosím."),
    ("ask the waiter", "Could you bring the children four more sandwiches, please?",
     "Könnten Sie den Kindern bitte noch vier Sandwiches bringen?",
     "Můžete dětem prosím přinést ještě čtyři sendviče?"),
    ("like and dislike", "Our teacher likes salad but does not like strawberries.",
     "Unsere Lehrerin mag Salat, aber keine Erdbeeren.",
     "Naše učitelka má ráda salát, ale nemá ráda jahody."),
    ("buy by weight", "Three kilos of onions and three kilos of pears, please.",
     "Drei Kilo Zwiebeln und drei Kilo Birnen, bitte.",
     "Tři kila cibule a tři kila hrušek, prosím."),
    ("find fault with a dish", "Our teacher thinks that the rice is too dry.",
     "Unsere Lehrerin findet, dass der Reis zu trocken ist.",
     "Naše učitelka si myslí, že je ta rýže moc suchá."),
    ("reserve a table", "We would like to reserve a table for eight people for Wednesday at half past ten.",
     "Wir möchten für Mittwoch um halb elf einen Tisch für acht Personen reservieren.",
     "Chtěli bychom zarezervovat stůl pro osm osob na středu v půl jedenácté."),
    ("breakfast", "For breakfast, Jakub usually eats toast with ham and drinks milk.",
     "Zum Frühstück isst Jakub meistens Toast mit Schinken und trinkt Milch.",
     "K snídani Jakub obvykle jí toast se šunkou a pije mléko."),
    ("buy on the way home", "Tereza, can you buy juice and strawberries on the way home?",
     "Tereza, kannst du auf dem Heimweg Saft und Erdbeeren kaufen?",
     "Terezo, můžeš cestou domů koupit džus a jahody?"),
    ("need a room", "We need a cheap room with air conditioning for five nights from Wednesday.",
     "Wir brauchen ab Mittwoch für fünf Nächte ein billiges Zimmer mit Klimaanlage.",
     "Potřebujeme od středy na pět nocí levný pokoj s klimatizací."),
    ("something is broken", "The telephone in our flat has not worked since Wednesday.",
     "Das Telefon in unserer Wohnung funktioniert seit Mittwoch nicht.",
     "Od středy nefunguje v našem bytě telefon."),
    ("rent something", "We would like to rent five scooters for two weeks from Wednesday.",
     "Wir möchten ab Mittwoch für zwei Wochen fünf Roller mieten.",
     "Chtěli bychom si od středy na dva týdny půjčit pět koloběžek."),
    ("something hurts", "Our teacher's shoulder has been hurting since Wednesday.",
     "Seit Mittwoch tut unserer Lehrerin die Schulter weh.",
     "Od středy bolí naši učitelku rameno."),
    ("take a medicine", "Take this syrup once a day before going to bed for ten days.",
     "Nehmen Sie diesen Sirup zehn Tage lang einmal täglich vor dem Schlafengehen.",
     "Berte tento sirup deset dní jednou denně před spaním."),
    ("have an appointment", "Jakub has an appointment at the eye doctor's on Tuesday at a quarter past two.",
     "Jakub hat am Dienstag um Viertel nach zwei einen Termin beim Augenarzt.",
     "V úterý ve čtvrt na tři má Jakub termín u očního lékaře."),
    ("call back", "Please tell Mrs Černá that I will call her on Wednesday at four o'clock.",
     "Bitte sagen Sie Frau Černá, dass ich sie am Mittwoch um vier Uhr anrufe.",
     "Řekněte prosím paní Černé, že jí ve středu ve čtyři hodiny zavolám."),
    ("somebody is out", "Mrs Černá is not here at the moment, but she will be back at four o'clock.",
     "Frau Černá ist im Moment nicht hier, aber sie kommt um vier Uhr zurück.",
     "Paní Černá teď není tady, ale vrátí se ve čtyři hodiny."),
    ("arrange to meet", "Let's meet on Wednesday at four o'clock opposite the town hall.",
     "Treffen wir uns am Mittwoch um vier Uhr gegenüber dem Rathaus.",
     "Sejdeme se ve středu ve čtyři hodiny naproti radnici."),
    ("wait for somebody", "Our teacher is waiting for her uncle in front of the town hall.",
     "Unsere Lehrerin wartet vor dem Rathaus auf ihren Onkel.",
     "Naše učitelka čeká před radnicí na svého strýce."),
    ("ask to lend", "Tereza, can you lend me your green watch until Thursday?",
     "Tereza, kannst du mir bis Donnerstag deine grüne Uhr leihen?",
     "Terezo, můžeš mi do čtvrtka půjčit své zelené hodinky?"),
    ("do not forget", "Tereza, don't forget your phone when you go to the stadium.",
     "Tereza, vergiss dein Handy nicht, wenn du ins Stadion gehst.",
     "Terezo, nezapomeň si telefon, až půjdeš na stadion."),
    ("hobby", "Our teacher likes painting on holiday.",
     "Unsere Lehrerin malt im Urlaub gern.",
     "Naše učitelka na dovolené ráda maluje."),
    ("can and cannot", "Our teacher can play the guitar well, but she cannot paint.",
     "Unsere Lehrerin kann gut Gitarre spielen, aber nicht malen.",
     "Naše učitelka umí dobře hrát na kytaru, ale neumí malovat."),
    ("cannot come because", "Our teacher cannot go to the zoo on Sunday because she has to go to the doctor.",
     "Unsere Lehrerin kann am Sonntag nicht in den Zoo gehen, weil sie zum Arzt gehen muss.",
     "Naše učitelka v neděli nemůže jít do zoo, protože musí jít k lékaři."),
    ("profession", "Tereza works as a translator in Olomouc.",
     "Tereza arbeitet als Übersetzerin in Olmütz.",
     "Tereza pracuje v Olomouci jako překladatelka."),
    ("age and home", "Tereza is thirty-two years old and she lives in Olomouc.",
     "Tereza ist zweiunddreißig Jahre alt und wohnt in Olmütz.",
     "Tereze je třicet dva let a bydlí v Olomouci."),
    ("lives there since", "Our teacher has been living in Olomouc for four years.",
     "Unsere Lehrerin wohnt seit vier Jahren in Olmütz.",
     "Naše učitelka bydlí v Olomouci už čtyři roky."),
    ("came back ago", "Our teacher came back from Olomouc six months ago.",
     "Unsere Lehrerin ist vor sechs Monaten aus Olmütz zurückgekommen.",
     "Před šesti měsíci se naše učitelka vrátila z Olomouce."),
    ("works there since", "Jakub has been working at the bakery for three weeks.",
     "Jakub arbeitet seit drei Wochen in der Bäckerei.",
     "Jakub pracuje v pekařství už tři týdny."),
    ("working hours", "On Wednesday, Jakub works at the bakery from seven to two.",
     "Am Mittwoch arbeitet Jakub von sieben bis zwei in der Bäckerei.",
     "Ve středu Jakub pracuje v pekařství od sedmi do dvou."),
    ("says that it is closed", "Jakub thinks that the bakery is open on Wednesday.",
     "Jakub glaubt, dass die Bäckerei am Mittwoch geöffnet ist.",
     "Jakub si myslí, že je pekařství ve středu otevřené."),
    ("ask opening hours", "Do you know at what time the bakery closes on Wednesday?",
     "Wissen Sie, um wie viel Uhr die Bäckerei am Mittwoch schließt?",
     "Nevíte, v kolik hodin ve středu zavírá pekařství?"),
    ("when we were there", "When our teacher was in Olomouc at Easter, she visited a small castle.",
     "Als unsere Lehrerin zu Ostern in Olmütz war, hat sie ein kleines Schloss besucht.",
     "Když byla naše učitelka o Velikonocích v Olomouci, navštívila malý zámek."),
    ("if the weather", "If the sun shines this afternoon, our teacher will go to the zoo.",
     "Wenn heute Nachmittag die Sonne scheint, geht unsere Lehrerin in den Zoo.",
     "Jestli bude dnes odpoledne svítit slunce, půjde naše učitelka do zoo."),
    ("although", "Although it was windy, our teacher went to the zoo.",
     "Obwohl es windig war, ist unsere Lehrerin in den Zoo gegangen.",
     "Ačkoli foukal vítr, šla naše učitelka do zoo."),
    ("weather forecast", "This afternoon, the sun will shine in Olomouc.",
     "Heute Nachmittag wird in Olmütz die Sonne scheinen.",
     "Dnes odpoledne bude v Olomouci svítit slunce."),
    ("where is the thing that", "Where is the green bottle that our teacher left here on Friday?",
     "Wo ist die grüne Flasche, die unsere Lehrerin am Freitag hier vergessen hat?",
     "Kde je ta zelená láhev, kterou tu naše učitelka v pátek zapomněla?"),
    ("who wears it", "The boy who is wearing a brown cap is my brother.",
     "Der Junge, der eine braune Mütze trägt, ist mein Bruder.",
     "Ten chlapec, který má na sobě hnědou čepici, je můj bratr."),
    ("who is doing that", "The boy who is talking on the phone is my brother.",
     "Der Junge, der gerade telefoniert, ist mein Bruder.",
     "Ten chlapec, který právě telefonuje, je můj bratr."),
    ("put it there", "On Monday, our teacher hung the picture on the wall.",
     "Am Montag hat unsere Lehrerin das Bild an die Wand gehängt.",
     "V pondělí naše učitelka pověsila obraz na zeď."),
    ("it is there", "Our green bottle is by the window.",
     "Unsere grüne Flasche steht am Fenster.",
     "Naše zelená láhev stojí u okna."),
    ("help somebody", "On Friday, our teacher helped her uncle with the translation.",
     "Am Freitag hat unsere Lehrerin ihrem Onkel bei der Übersetzung geholfen.",
     "V pátek naše učitelka pomáhala svému strýci s překladem."),
    ("send something", "Our teacher sent her uncle a heavy parcel from Olomouc.",
     "Unsere Lehrerin hat ihrem Onkel aus Olmütz ein schweres Paket geschickt.",
     "Naše učitelka poslala svému strýci z Olomouce těžký balík."),
    ("visit somebody", "This afternoon, Jakub will visit his uncle in Olomouc.",
     "Heute Nachmittag wird Jakub seinen Onkel in Olmütz besuchen.",
     "Dnes odpoledne Jakub navštíví svého strýce v Olomouci."),
    ("speaks better", "Jakub speaks Italian better than Polish.",
     "Jakub spricht besser Italienisch als Polnisch.",
     "Jakub mluví lépe italsky než polsky."),
    ("has been learning", "Jakub has been learning Italian for four years.",
     "Jakub lernt seit vier Jahren Italienisch.",
     "Jakub se učí italsky už čtyři roky."),
    ("is interested in", "Jakub is interested in foreign languages but not in computers.",
     "Jakub interessiert sich für Fremdsprachen, aber nicht für Computer.",
     "Jakub se zajímá o cizí jazyky, ale ne o počítače."),
)  # fmt: skip


def representative(pattern) -> dict:
    """The first filling that the pattern accepts when its lists are read from two thirds on."""
    turned = []
    for values in pattern.slots.values():
        cut = len(values) * 2 // 3
        turned.append([*values[cut:], *values[:cut]])
    for values in product(*turned):
        filling = dict(zip(pattern.slots, values, strict=True))
        if pattern.accepts is None or pattern.accepts(**filling):
            return filling
    raise AssertionError(f"{pattern.name} accepts nothing")


@pytest.mark.parametrize(("name", "english_text", "german_text", "czech_text"), GOLDEN)
def test_golden_sentence(name, english_text, german_text, czech_text):
    pattern = grammar.PATTERNS[PATTERNS.index(name)]
    filling = representative(pattern)
    assert book.sentence(pattern.en(**filling)) == english_text
    assert book.sentence(pattern.de(**filling)) == german_text
    assert book.sentence(pattern.cs(**filling)) == czech_text


def test_every_pattern_has_a_golden_sentence():
    assert tuple(row[0] for row in GOLDEN) == PATTERNS
    assert len(set(PATTERNS)) == len(PATTERNS)


def test_every_word_of_every_list_can_be_used():
    """No value of a slot is refused whatever stands beside it."""
    for pattern in grammar.PATTERNS:
        if pattern.accepts is None:
            continue
        unused = {slot: list(range(len(values))) for slot, values in pattern.slots.items()}
        generator = book.random.Random(1)
        for _ in range(20_000):
            picked = {s: int(generator.random() * len(v)) for s, v in pattern.slots.items()}
            if not any(index in unused[slot] for slot, index in picked.items()):
                continue
            if pattern.accepts(**{s: pattern.slots[s][i] for s, i in picked.items()}):
                for slot, index in picked.items():
                    if index in unused[slot]:
                        unused[slot].remove(index)
            if not any(unused.values()):
                break
        assert not any(unused.values()), (pattern.name, unused)


# -- the corpus -----------------------------------------------------------------------------------


def test_sizes_languages_and_patterns(splits):
    assert LANGUAGES == ("en", "de", "cs")
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 20_000, "valid": 500, "test": 1_000}  # fmt: skip
    assert {triple.pattern for triple in splits["train"]} == set(PATTERNS)
    assert not any(triple.unseen for triple in splits["train"] + splits["valid"])


def test_no_sentence_occurs_twice_in_any_language(splits):
    everything = [triple for split in splits.values() for triple in split]
    for language in range(3):
        sentences = [texts(triple)[language].casefold() for triple in everything]
        assert len(set(sentences)) == len(sentences)


def test_form_of_sentences(splits):
    faults = re.compile(r"[{}|_*<>]|\bNone\b|  | [.,?!]|[.,?!]{2}|[.,?!]\w|^\s|\s$|\n|\(|\)")
    for split in splits.values():
        for triple in split:
            for text in texts(triple):
                assert not faults.search(text), text
                assert text[0].isupper(), text
                assert text[-1] in ".?!", text
                assert text.isprintable(), text
                assert 2 <= len(text.split()) <= 22, text
            marks = {text[-1] for text in texts(triple)}
            assert len(marks) == 1, triple


def test_letters_belong_to_the_language(splits):
    names = {letter for person in people.NAMES for letter in person.en.lower()}
    names |= {letter for surname in people.SURNAMES for letter in surname.en.lower()}
    alphabet = set("abcdefghijklmnopqrstuvwxyz '.,?!-") | {"é"} | names
    own = (alphabet, alphabet | set("äöüß0123456789"), alphabet | set("áčďéěíňóřšťúůýž"))
    for triple in splits["train"]:
        for text, letters in zip(texts(triple), own, strict=True):
            assert set(text.lower()) <= letters, text


def test_german_commas_before_subordinate_clauses(splits):
    for triple in splits["train"]:
        for word in ("weil", "dass"):
            if f" {word} " in triple.german:
                assert f", {word} " in triple.german, triple.german
        for word in ("protože", "že", "ale", "který", "která", "kterou"):
            if f" {word} " in triple.czech:
                assert f", {word} " in triple.czech, triple.czech


def pairs(triple: Triple) -> set[tuple[str, str]]:
    return set(combinations(sorted(triple.words), 2))


def test_unseen_combinations_are_unseen(splits):
    known = set().union(*(pairs(triple) for triple in splits["train"] + splits["valid"]))
    words = {word for triple in splits["train"] for word in triple.words}
    unseen = [triple for triple in splits["test"] if triple.unseen]
    assert len(unseen) == 400
    for triple in unseen:
        assert pairs(triple) - known, triple
        assert set(triple.words) <= words, triple  # each word by itself is known


def test_unseen_sentences_are_not_all_at_one_end(splits):
    first_half = sum(triple.unseen for triple in splits["test"][:500])
    assert 120 < first_half < 280


def test_words_fall_off_like_zipf(splits):
    """Few words are frequent, many rare; log frequency falls about linearly with log rank."""
    for language in range(3):
        counts = Counter(
            word
            for triple in splits["train"]
            for word in re.findall(r"\w+", texts(triple)[language].lower())
        )
        ranked = [count for _, count in counts.most_common(400)]
        points = [(math.log(rank), math.log(count)) for rank, count in enumerate(ranked, 1)]
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
            (x - mean_x) ** 2 for x, _ in points
        )
        assert -1.3 < slope < -0.7, (LANGUAGES[language], slope)
        assert 0.15 < sum(ranked[:10]) / sum(counts.values()) < 0.45


def digest(split_sizes: tuple[int, int, int] = (300, 30, 60), seed: int = 1) -> str:
    train, valid, test = split_sizes
    lines = [
        "\t".join((name, *texts(triple), triple.pattern, str(triple.unseen)))
        for name, split in phrasebook(seed, train, valid, test).items()
        for triple in split
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_the_same_in_another_process_with_other_hashes():
    program = "import sys; sys.path.insert(0, sys.argv[1]); import test_phrasebook as t; print(t.digest())"
    found = {digest()}
    for hash_seed in ("1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", program, os.path.dirname(__file__)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.add(done.stdout.strip())
    assert found == {PINNED}


# Changes with the grammar; a change of it must be meant, for it changes every study made on it.
PINNED = "a9bba7067fac6038"


def test_the_package_ships_what_the_grammar_gives():
    shipped = lzma.decompress(make.FILE.read_bytes())
    assert hashlib.sha256(shipped).hexdigest() == hashlib.sha256(make.lines()).hexdigest(), (
        "type python tools/phrasebook/make.py"
    )


def test_seeds_differ_and_the_test_split_does_not_depend_on_the_size_of_train():
    assert digest(seed=1) != digest(seed=2)
    assert phrasebook(3, 50, 10, 40)["test"] == phrasebook(3, 500, 20, 40)["test"]


def test_more_than_there_is(monkeypatch):
    monkeypatch.setattr(grammar, "PATTERNS", grammar.PATTERNS[1:3])
    with pytest.raises(ValueError, match=r"the grammar gives about \d+"):
        phrasebook(train=5_000, valid=0, test=0)


def test_negative_sizes_are_refused():
    with pytest.raises(ValueError, match="train is -1"):
        phrasebook(train=-1)


@pytest.mark.parametrize(
    ("plain", "own"),
    [
        ("mou sestru", "svou sestru"),
        ("mého bratra", "svého bratra"),
        ("našeho souseda", "našeho souseda"),
    ],
)
def test_what_is_mine_is_reflexive_where_i_am_the_subject(plain, own):
    from grammar.shopping import _own

    assert _own(plain) == own
    made = phrasebook(train=2000, valid=50, test=50)["train"]
    sought = [t.czech for t in made if t.czech.startswith("Hledám")]
    assert sought
    assert not any(" pro mou " in text or " pro mého " in text for text in sought)
