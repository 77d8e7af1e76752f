"""Places in town and out of it, and the names of towns."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from grammar import german
from grammar.things import noun
from grammar.words import CZECH_CASES, Noun, Place, Town

_CZECH_TO_CASE = {"na": "acc", "do": "gen", "k": "dat"}


def _place(forms: Noun, de: str, cs: str, en: str = "at") -> Place:
    """`de` holds the prepositions of where, where to, where from; `cs` likewise.

    German "in" and "auf" take the dative for where and the accusative for where to; Czech "na"
    takes the locative and the accusative, "v" the locative, "u", "do", "z" and "od" the genitive, "k" the dative.
    """
    de_at, de_to, de_from = de.split()
    cs_at, cs_to, cs_from = cs.split()
    to_case = "dat" if de_to == "zu" else "acc"
    czech = dict(zip(CZECH_CASES, forms.cs, strict=True))
    return Place(
        word=forms.word,
        noun=forms,
        en_at=f"{en} the {forms.en}",
        en_to=f"to the {forms.en}",
        de_at=german.after(de_at, german.phrase(forms, "dat", "der")),
        de_to=german.after(de_to, german.phrase(forms, to_case, "der")),
        de_from=german.after(de_from, german.phrase(forms, "dat", "der")),
        cs_at=f"{cs_at} {czech['gen' if cs_at == 'u' else 'loc']}",
        cs_to=f"{cs_to} {czech[_CZECH_TO_CASE[cs_to]]}",
        cs_from=f"{cs_from} {czech['gen']}",
    )


STATION = _place(
    noun("station", "der Bahnhof", "n nádraží nádraží nádraží nádraží nádraží nádražím"),
    "an zu von", "na na z")  # fmt: skip
HOTEL = _place(
    noun("hotel", "das Hotel", "I hotel hotelu hotelu hotel hotelu hotelem"),
    "in in von", "v do z")  # fmt: skip
RESTAURANT = _place(
    noun("restaurant", "das Restaurant", "f restaurace restaurace restauraci restauraci restauraci restaurací"),
    "in in von", "v do z", "in")  # fmt: skip
MUSEUM = _place(
    noun("museum", "das Museum", "n muzeum muzea muzeu muzeum muzeu muzeem"),
    "in in von", "v do z")  # fmt: skip
CINEMA = _place(
    noun("cinema", "das Kino", "n kino kina kinu kino kině kinem"), "in in von", "v do z")  # fmt: skip
PARK = _place(
    noun("park", "der Park", "I park parku parku park parku parkem"), "in in von", "v do z", "in")  # fmt: skip
MARKET = _place(
    noun("market", "der Markt", "I trh trhu trhu trh trhu trhem", "Marktes"),
    "auf auf von", "na na z")  # fmt: skip
POST_OFFICE = _place(
    noun("post office", "die Post", "f pošta pošty poště poštu poště poštou"),
    "auf zu von", "na na z")  # fmt: skip
BANK = _place(
    noun("bank", "die Bank", "f banka banky bance banku bance bankou"), "in zu von", "v do z")  # fmt: skip
PHARMACY = _place(
    noun("pharmacy", "die Apotheke", "f lékárna lékárny lékárně lékárnu lékárně lékárnou"),
    "in in von", "v do z")  # fmt: skip
CASTLE = _place(
    noun("castle", "das Schloss", "I zámek zámku zámku zámek zámku zámkem"),
    "in in von", "na na ze")  # fmt: skip
THEATRE = _place(
    noun("theatre", "das Theater", "n divadlo divadla divadlu divadlo divadle divadlem"),
    "in in von", "v do z")  # fmt: skip
AIRPORT = _place(
    noun("airport", "der Flughafen", "n letiště letiště letišti letiště letišti letištěm"),
    "an zu von", "na na z")  # fmt: skip
LIBRARY = _place(
    noun("library", "die Bibliothek", "f knihovna knihovny knihovně knihovnu knihovně knihovnou"),
    "in in von", "v do z", "in")  # fmt: skip
SUPERMARKET = _place(
    noun("supermarket", "der Supermarkt", "I supermarket supermarketu supermarketu supermarket supermarketu supermarketem", "Supermarktes"),
    "in in von", "v do ze", "at")  # fmt: skip
CHURCH = _place(
    noun("church", "die Kirche", "I kostel kostela kostelu kostel kostele kostelem"),
    "in in von", "v do z", "in")  # fmt: skip
SCHOOL = _place(
    noun("school", "die Schule", "f škola školy škole školu škole školou"), "in in von", "ve do ze")  # fmt: skip
HOSPITAL = _place(
    noun("hospital", "das Krankenhaus", "f nemocnice nemocnice nemocnici nemocnici nemocnici nemocnicí"),
    "in in von", "v do z", "at")  # fmt: skip
BAKERY = _place(
    noun("bakery", "die Bäckerei", "n pekařství pekařství pekařství pekařství pekařství pekařstvím"),
    "in in von", "v do z")  # fmt: skip
CAFE = _place(
    noun("café", "das Café", "f kavárna kavárny kavárně kavárnu kavárně kavárnou"),
    "in in von", "v do z", "in")  # fmt: skip
POOL = _place(
    noun("swimming pool", "das Schwimmbad", "I bazén bazénu bazénu bazén bazéně bazénem"),
    "in in von", "na na z")  # fmt: skip
STADIUM = _place(
    noun("stadium", "das Stadion", "I stadion stadionu stadionu stadion stadionu stadionem"),
    "in in von", "na na ze")  # fmt: skip
ZOO = _place(
    noun("zoo", "der Zoo", "f zoo zoo zoo zoo zoo zoo"), "in in von", "v do ze")  # fmt: skip
BRIDGE = _place(
    noun("bridge", "die Brücke", "I most mostu mostu most mostě mostem"),
    "auf auf von", "na na z", "on")  # fmt: skip
BUS_STOP = _place(
    noun("bus stop", "die Bushaltestelle", "f zastávka_autobusu zastávky_autobusu zastávce_autobusu zastávku_autobusu zastávce_autobusu zastávkou_autobusu"),
    "an zu von", "na na ze")  # fmt: skip
TOWN_HALL = _place(
    noun("town hall", "das Rathaus", "f radnice radnice radnici radnici radnici radnicí"),
    "in zu von", "na na z")  # fmt: skip
UNIVERSITY = _place(
    noun("university", "die Universität", "f univerzita univerzity univerzitě univerzitu univerzitě univerzitou"),
    "an zu von", "na na z")  # fmt: skip
BEACH = _place(
    noun("beach", "der Strand", "f pláž pláže pláži pláž pláži pláží", "Strandes"),
    "an an von", "na na z", "on")  # fmt: skip
LAKE = _place(
    noun("lake", "der See", "n jezero jezera jezeru jezero jezeře jezerem"),
    "an an von", "u k od")  # fmt: skip
GALLERY = _place(
    noun("gallery", "die Galerie", "f galerie galerie galerii galerii galerii galerií"),
    "in in von", "v do z")  # fmt: skip
DEPARTMENT_STORE = _place(
    noun("department store", "das Kaufhaus", "I obchodní_dům obchodního_domu obchodnímu_domu obchodní_dům obchodním_domě obchodním_domem"),
    "in in von", "v do z")  # fmt: skip

# Where one goes for a few hours, most frequent first.
OUTINGS = (
    CINEMA, MUSEUM, PARK, RESTAURANT, THEATRE, MARKET, CASTLE, CAFE, POOL, LIBRARY, ZOO, STADIUM,
    LAKE, GALLERY, CHURCH, BEACH, DEPARTMENT_STORE,
)  # fmt: skip
# What a visitor asks the way to.
SIGHTS_AND_SERVICES = (
    STATION, HOTEL, MUSEUM, POST_OFFICE, PHARMACY, BANK, CASTLE, HOSPITAL, SUPERMARKET, MARKET,
    THEATRE, AIRPORT, CHURCH, LIBRARY, TOWN_HALL, CINEMA, BAKERY, PARK, UNIVERSITY, STADIUM, ZOO,
    GALLERY, POOL,
)  # fmt: skip
BUILDINGS = (
    STATION, HOTEL, POST_OFFICE, PHARMACY, BANK, MUSEUM, SUPERMARKET, CINEMA, BAKERY, THEATRE,
    CHURCH, SCHOOL, RESTAURANT, LIBRARY, CAFE, TOWN_HALL, HOSPITAL, CASTLE, GALLERY, STADIUM,
)  # fmt: skip
LANDMARKS = (*BUILDINGS[:12], PARK, BRIDGE, BUS_STOP, TOWN_HALL, UNIVERSITY, HOSPITAL)
OPENING = (
    MUSEUM, SUPERMARKET, PHARMACY, BANK, POST_OFFICE, RESTAURANT, LIBRARY, CASTLE, CAFE, POOL,
    BAKERY, GALLERY, ZOO, TOWN_HALL, DEPARTMENT_STORE,
)  # fmt: skip
MEETING = (
    CINEMA, STATION, THEATRE, MUSEUM, HOTEL, POST_OFFICE, CHURCH, LIBRARY, SCHOOL, CAFE,
    TOWN_HALL, RESTAURANT, BANK, STADIUM, SUPERMARKET,
)  # fmt: skip
LOSING = (
    STATION, HOTEL, CINEMA, RESTAURANT, PARK, AIRPORT, MUSEUM, MARKET, THEATRE, CAFE, SCHOOL,
    SUPERMARKET, POOL, POST_OFFICE, LIBRARY, BEACH, ZOO, UNIVERSITY, STADIUM, HOSPITAL,
)  # fmt: skip
WORKPLACES = (
    HOSPITAL, BANK, SCHOOL, HOTEL, RESTAURANT, PHARMACY, LIBRARY, POST_OFFICE, MUSEUM, SUPERMARKET,
    UNIVERSITY, AIRPORT, BAKERY, THEATRE, TOWN_HALL, ZOO, CAFE, GALLERY,
)  # fmt: skip
SHOPS = (MARKET, DEPARTMENT_STORE, SUPERMARKET)


def _town(en: str, de: str, cs: str) -> Town:
    """`cs` holds where, where to and where from with their prepositions."""
    cs_in, cs_to, cs_from = cs.split(", ")
    return Town(en, f"in {de}", f"nach {de}", f"aus {de}", cs_in, cs_to, cs_from)


TOWNS = (
    _town("Prague", "Prag", "v Praze, do Prahy, z Prahy"),
    _town("Vienna", "Wien", "ve Vídni, do Vídně, z Vídně"),
    _town("Berlin", "Berlin", "v Berlíně, do Berlína, z Berlína"),
    _town("Munich", "München", "v Mnichově, do Mnichova, z Mnichova"),
    _town("Brno", "Brünn", "v Brně, do Brna, z Brna"),
    _town("Hamburg", "Hamburg", "v Hamburku, do Hamburku, z Hamburku"),
    _town("Dresden", "Dresden", "v Drážďanech, do Drážďan, z Drážďan"),
    _town("Salzburg", "Salzburg", "v Salcburku, do Salcburku, ze Salcburku"),
    _town("London", "London", "v Londýně, do Londýna, z Londýna"),
    _town("Paris", "Paris", "v Paříži, do Paříže, z Paříže"),
    _town("Rome", "Rom", "v Římě, do Říma, z Říma"),
    _town("Leipzig", "Leipzig", "v Lipsku, do Lipska, z Lipska"),
    _town("Pilsen", "Pilsen", "v Plzni, do Plzně, z Plzně"),
    _town("Nuremberg", "Nürnberg", "v Norimberku, do Norimberku, z Norimberku"),
    _town("Linz", "Linz", "v Linci, do Lince, z Lince"),
    _town("Zurich", "Zürich", "v Curychu, do Curychu, z Curychu"),
    _town("Bratislava", "Bratislava", "v Bratislavě, do Bratislavy, z Bratislavy"),
    _town("Budapest", "Budapest", "v Budapešti, do Budapešti, z Budapešti"),
    _town("Warsaw", "Warschau", "ve Varšavě, do Varšavy, z Varšavy"),
    _town("Cologne", "Köln", "v Kolíně nad Rýnem, do Kolína nad Rýnem, z Kolína nad Rýnem"),
    _town("Frankfurt", "Frankfurt", "ve Frankfurtu, do Frankfurtu, z Frankfurtu"),
    _town("Olomouc", "Olmütz", "v Olomouci, do Olomouce, z Olomouce"),
    _town("Venice", "Venedig", "v Benátkách, do Benátek, z Benátek"),
    _town("Graz", "Graz", "ve Štýrském Hradci, do Štýrského Hradce, ze Štýrského Hradce"),
    _town("Barcelona", "Barcelona", "v Barceloně, do Barcelony, z Barcelony"),
    _town("Ostrava", "Ostrau", "v Ostravě, do Ostravy, z Ostravy"),
    _town("Brussels", "Brüssel", "v Bruselu, do Bruselu, z Bruselu"),
    _town("Copenhagen", "Kopenhagen", "v Kodani, do Kodaně, z Kodaně"),
    _town("Lisbon", "Lissabon", "v Lisabonu, do Lisabonu, z Lisabonu"),
    _town("Geneva", "Genf", "v Ženevě, do Ženevy, ze Ženevy"),
    _town("Madrid", "Madrid", "v Madridu, do Madridu, z Madridu"),
    _town("Milan", "Mailand", "v Miláně, do Milána, z Milána"),
)
NEARBY_TOWNS = TOWNS[:24]  # within reach of a train
