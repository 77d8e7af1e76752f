"""One sentence of each pattern, written out and read."""

# A sentence stands on one line.
# ruff: noqa: E501

from __future__ import annotations

from itertools import product

import pytest

import drawing as book
from drawing import PATTERNS
from grammar import patterns as grammar

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
