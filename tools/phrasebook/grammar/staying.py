"""Sentence patterns: hotel, doctor, telephone and appointments."""

# A paradigm or a sentence reads best on one line.
# ruff: noqa: E501

from __future__ import annotations

from grammar import calendar, people, places, things
from grammar import czech as cs
from grammar import english as en
from grammar import german as de
from grammar.eating import czech_count, english_count, german_count
from grammar.words import Pattern, Person, Phrase

_ROOMS = (
    Phrase("a double room", "ein Doppelzimmer", "dvoulůžkový pokoj", "double room"),
    Phrase("a single room", "ein Einzelzimmer", "jednolůžkový pokoj", "single room"),
    Phrase("a quiet room", "ein ruhiges Zimmer", "klidný pokoj", "room"),
    Phrase("a bigger room", "ein größeres Zimmer", "větší pokoj", "room"),
    Phrase("a cheap room", "ein billiges Zimmer", "levný pokoj", "room"),
    Phrase("a flat", "eine Wohnung", "byt", "flat"),
)
_FEATURES = (
    Phrase("with a balcony", "mit Balkon", "s balkonem", "balcony"),
    Phrase("with a bath", "mit Bad", "s koupelnou", "bath"),
    Phrase("with a view of the lake", "mit Blick auf den See", "s výhledem na jezero", "view"),
    Phrase("with breakfast", "mit Frühstück", "se snídaní", "breakfast"),
    Phrase("with two beds", "mit zwei Betten", "se dvěma postelemi", "bed"),
    Phrase("with air conditioning", "mit Klimaanlage", "s klimatizací", "air conditioning"),
    Phrase("with a kitchen", "mit Küche", "s kuchyní", "kitchen"),
    Phrase("with a view of the castle", "mit Blick auf das Schloss", "s výhledem na zámek", "view"),
)

NEED_ROOM = Pattern(
    "need a room",
    {"room": _ROOMS, "feature": _FEATURES, "nights": calendar.NIGHTS, "day": calendar.FROM_DAY},
    en=lambda room, feature, nights, day: (
        f"We need {room.en} {feature.en} {nights.en} {day.en}."),
    de=lambda room, feature, nights, day: (
        f"Wir brauchen {day.de} {nights.de} {room.de} {feature.de}."),
    cs=lambda room, feature, nights, day: (
        f"Potřebujeme {day.cs} {nights.cs} {room.cs} {feature.cs}."),
    accepts=lambda room, feature, nights, day: (
        (feature.word != "kitchen" or room.word == "flat")
        and (feature.word != "bed" or room.word != "single room")
        and (room.word != "flat" or feature.word != "breakfast")),
    about=("need",),
)  # fmt: skip

_DEVICES = (
    things.noun("heating", "die Heizung", "n topení topení topení topení topení topením"),
    things.noun("shower", "die Dusche", "f sprcha sprchy sprše sprchu sprše sprchou"),
    things.noun("television", "der Fernseher", "f televize televize televizi televizi televizi televizí"),
    things.noun("light", "das Licht", "n světlo světla světlu světlo světle světlem"),
    things.noun("air conditioning", "die Klimaanlage", "f klimatizace klimatizace klimatizaci klimatizaci klimatizaci klimatizací"),
    things.noun("Internet", "das Internet", "I internet internetu internetu internet internetu internetem"),
    things.noun("lamp", "die Lampe", "f lampa lampy lampě lampu lampě lampou"),
    things.noun("telephone", "das Telefon", "I telefon telefonu telefonu telefon telefonu telefonem"),
    things.noun("fridge", "der Kühlschrank", "f lednička ledničky ledničce ledničku ledničce ledničkou"),
    things.noun("toilet", "die Toilette", "I záchod záchodu záchodu záchod záchodu záchodem"),
    things.noun("lift", "der Aufzug", "I výtah výtahu výtahu výtah výtahu výtahem"),
)  # fmt: skip
_IN_HOTEL = (
    Phrase("in our room", "in unserem Zimmer", "v našem pokoji", "room"),
    Phrase("in the bathroom", "im Bad", "v koupelně", "bathroom"),
    Phrase("in room twelve", "im Zimmer zwölf", "v pokoji číslo dvanáct", "room"),
    Phrase("in the kitchen", "in der Küche", "v kuchyni", "kitchen"),
    Phrase("in the bedroom", "im Schlafzimmer", "v ložnici", "bedroom"),
    Phrase("on the second floor", "im zweiten Stock", "ve druhém patře", "floor"),
    Phrase("in our flat", "in unserer Wohnung", "v našem bytě", "flat"),
    Phrase("in the living room", "im Wohnzimmer", "v obývacím pokoji", "living room"),
)
_ROOM_DEVICES = {
    "in the bathroom": ("heating", "shower", "light", "toilet"),
    "in the kitchen": ("heating", "light", "fridge", "lamp"),
    "in the bedroom": ("heating", "light", "lamp", "television", "air conditioning"),
    "in the living room": ("heating", "light", "lamp", "television", "air conditioning"),
    "on the second floor": ("heating", "light", "shower", "toilet", "Internet", "lift"),
}

BROKEN = Pattern(
    "something is broken",
    {"what": _DEVICES, "where": _IN_HOTEL, "since": calendar.SINCE},
    en=lambda what, where, since: f"The {what.en} {where.en} has not worked {since.en}.",
    de=lambda what, where, since: (
        f"{de.phrase(what, 'nom', 'der')} {where.de} funktioniert {since.de} nicht."),
    cs=lambda what, where, since: f"{since.cs} nefunguje {where.cs} {what.cs[0]}.",
    accepts=lambda what, where, since: (
        what.word in _ROOM_DEVICES[where.en] if where.en in _ROOM_DEVICES
        else what.word != "lift"),
    about=("work",),
)  # fmt: skip

_RENTED = (
    things.countable("bicycle, bicycles", "ein Fahrrad, Fahrräder", "n, kolo, kola, kol"),
    things.countable("boat, boats", "ein Boot, Boote", "f, loďku, loďky, loděk"),
    things.countable("car, cars", "ein Auto, Autos", "n, auto, auta, aut"),
    things.countable("tent, tents", "ein Zelt, Zelte", "I, stan, stany, stanů"),
    things.countable("scooter, scooters", "einen Roller, Roller", "f, koloběžku, koloběžky, koloběžek"),
    things.countable("sleeping bag, sleeping bags", "einen Schlafsack, Schlafsäcke", "I, spacák, spacáky, spacáků"),
)  # fmt: skip

RENT = Pattern(
    "rent something",
    {"count": calendar.MANY[:5], "what": _RENTED, "stay": calendar.STAYS, "day": calendar.FROM_DAY},
    en=lambda count, what, stay, day: (
        f"We would like to rent {english_count(count, what)} {stay.en} {day.en}."
    ),
    de=lambda count, what, stay, day: (
        f"Wir möchten {day.de} {stay.de} {german_count(count, what)} mieten."
    ),
    cs=lambda count, what, stay, day: (
        f"Chtěli bychom si {day.cs} {stay.cs} půjčit {czech_count(count, what)}."
    ),
    about=("rent",),
)


def _body(en: str, de: str, cs: str) -> Phrase:
    """A part of the body in the nominative, with the verb form it asks for."""
    return Phrase(en, de, cs, en.split(",")[0])


_PARTS = (
    _body("head, has", "tut, der Kopf", "bolí, hlava"),
    _body("back, has", "tut, der Rücken", "bolí, záda"),
    _body("stomach, has", "tut, der Bauch", "bolí, břicho"),
    _body("throat, has", "tut, der Hals", "bolí, v krku"),
    _body("knee, has", "tut, das Knie", "bolí, koleno"),
    _body("feet, have", "tun, die Füße", "bolí, nohy"),
    _body("shoulder, has", "tut, die Schulter", "bolí, rameno"),
    _body("eyes, have", "tun, die Augen", "bolí, oči"),
    _body("ear, has", "tut, das Ohr", "bolí, ucho"),
    _body("left hand, has", "tut, die linke Hand", "bolí, levá ruka"),
)


def _german_pain(who: Person, part: Phrase, since: Phrase) -> str:
    verb, body = part.de.split(", ")
    return f"{since.de} {verb} {who.de[2]} {body} weh."


def _czech_pain(who: Person, part: Phrase, since: Phrase) -> str:
    """ "mě" is unstressed and stands second; a noun follows the verb."""
    body = part.cs.split(", ")[1]
    if who is people.I:
        return f"{since.cs} mě bolí {body}."
    return f"{since.cs} bolí {who.cs[3]} {body}."


PAIN = Pattern(
    "something hurts",
    {"who": (people.I, *people.SINGLE_OTHERS), "part": _PARTS, "since": calendar.SINCE},
    en=lambda who, part, since: (
        f"{who.en_genitive} {part.en.replace(',', '')} been hurting {since.en}."
    ),
    de=lambda who, part, since: _german_pain(who, part, since),
    cs=lambda who, part, since: _czech_pain(who, part, since),
    about=("hurt",),
)

_MEDICINES = (
    Phrase("these tablets", "diese Tabletten", "tyto tablety", "tablets"),
    Phrase("this medicine", "dieses Medikament", "tento lék", "medicine"),
    Phrase("these drops", "diese Tropfen", "tyto kapky", "drops"),
    Phrase("this syrup", "diesen Sirup", "tento sirup", "syrup"),
    Phrase("these vitamins", "diese Vitamine", "tyto vitaminy", "vitamins"),
)
_OFTEN = (
    Phrase("three times a day", "dreimal täglich", "třikrát denně"),
    Phrase("twice a day", "zweimal täglich", "dvakrát denně"),
    Phrase("once a day", "einmal täglich", "jednou denně"),
    Phrase("four times a day", "viermal täglich", "čtyřikrát denně"),
)
_WHEN_TAKEN = (
    Phrase("before meals", "vor dem Essen", "před jídlem"),
    Phrase("after meals", "nach dem Essen", "po jídle"),
    Phrase("before going to bed", "vor dem Schlafengehen", "před spaním"),
    Phrase("with meals", "zum Essen", "při jídle"),
)
_TREATMENT = (
    Phrase("for five days", "fünf Tage lang", "pět dní"),
    Phrase("for a week", "eine Woche lang", "týden"),
    Phrase("for three days", "drei Tage lang", "tři dny"),
    Phrase("for two weeks", "zwei Wochen lang", "dva týdny"),
    Phrase("for ten days", "zehn Tage lang", "deset dní"),
    Phrase("for a month", "einen Monat lang", "měsíc"),
)

MEDICINE = Pattern(
    "take a medicine",
    {"what": _MEDICINES, "often": _OFTEN, "when": _WHEN_TAKEN, "long": _TREATMENT,
     "must": (True, False)},
    en=lambda what, often, when, long, must: (
        f"{'You must take' if must else 'Take'} {what.en} {often.en} {when.en} {long.en}."),
    de=lambda what, often, when, long, must: (
        f"Sie müssen {what.de} {long.de} {often.de} {when.de} nehmen." if must
        else f"Nehmen Sie {what.de} {long.de} {often.de} {when.de}."),
    cs=lambda what, often, when, long, must: (
        f"Musíte {long.cs} brát {what.cs} {often.cs} {when.cs}." if must
        else f"Berte {what.cs} {long.cs} {often.cs} {when.cs}."),
    accepts=lambda what, often, when, long, must: (
        when.en != "before going to bed" or often.en == "once a day"),
    about=("take",), share=0.6,
)  # fmt: skip

_OFFICES = (
    Phrase("at the doctor's", "beim Arzt", "u lékaře", "doctor"),
    Phrase("at the dentist's", "beim Zahnarzt", "u zubaře", "dentist"),
    Phrase("at the hairdresser's", "beim Friseur", "u kadeřníka", "hairdresser"),
    Phrase("at the bank", "in der Bank", "v bance", "bank"),
    Phrase("at the embassy", "in der Botschaft", "na velvyslanectví", "embassy"),
    Phrase("at the eye doctor's", "beim Augenarzt", "u očního lékaře", "eye doctor"),
    Phrase("at the town hall", "im Rathaus", "na radnici", "town hall"),
    Phrase("at the hospital", "im Krankenhaus", "v nemocnici", "hospital"),
)

APPOINTMENT = Pattern(
    "have an appointment",
    {
        "who": people.SPEAKERS,
        "day": calendar.WEEKDAYS,
        "time": calendar.OFFICE_TIMES,
        "where": _OFFICES,
    },
    en=lambda who, day, time, where: (
        f"{who.en} {who.en_verb('have', 'has')} an appointment {where.en} {day.en} {time.en}."
    ),
    de=lambda who, day, time, where: (
        f"{who.de[0]} {who.de_verb('habe hat haben')} {day.de} {time.de} einen Termin {where.de}."
    ),
    cs=lambda who, day, time, where: (
        f"{day.cs} {time.cs} {who.cs_verb('mám má máme mají')} {who.cs[0]} schůzku {where.cs}."
        if where.en in ("at the bank", "at the embassy", "at the town hall")
        else f"{day.cs} {time.cs} {who.cs_verb('mám má máme mají')} {who.cs[0]} termín {where.cs}."
    ),
    about=("appointment",),
)

CALL_BACK = Pattern(
    "call back",
    {"who": people.SURNAMES, "time": calendar.TIMES, "day": calendar.FUTURE[:1] + calendar.DAYS},
    en=lambda who, time, day: (
        f"Please tell {who.en} that I will call {who.en_object} {day.en} {time.en}."
    ),
    de=lambda who, time, day: (
        f"Bitte sagen Sie {who.de_object}, dass ich {who.de_pronoun[0]} {day.de} {time.de} anrufe."
    ),
    cs=lambda who, time, day: (
        f"Řekněte prosím {who.cs_dat}, že {who.cs_pronoun_dat} {day.cs} {time.cs} zavolám."
    ),
    about=("call",),
)

_NOT_HERE = (
    Phrase("in the office", "im Büro", "v kanceláři", "office"),
    Phrase("at home", "zu Hause", "doma", "home"),
    Phrase("here", "hier", "tady", "here"),
)

AWAY = Pattern(
    "somebody is out",
    {"who": people.SURNAMES, "where": _NOT_HERE, "time": calendar.TIMES},
    en=lambda who, where, time: (
        f"{who.en} is not {where.en} at the moment, "
        f"but {'she' if who.en_object == 'her' else 'he'} will be back {time.en}."
    ),
    de=lambda who, where, time: (
        f"{who.de} ist im Moment nicht {where.de}, aber "
        f"{'sie' if who.en_object == 'her' else 'er'} kommt {time.de} zurück."
    ),
    cs=lambda who, where, time: f"{who.cs_nom} teď není {where.cs}, ale vrátí se {time.cs}.",
    about=("come back",),
)

_BEFORE = (
    ("in front of", "vor", "před", 5),
    ("opposite", "gegenüber", "naproti", 2),
)

MEET = Pattern(
    "arrange to meet",
    {
        "day": calendar.FUTURE[:1] + calendar.DAYS,
        "time": calendar.TIMES,
        "where": places.MEETING,
        "side": _BEFORE,
    },
    en=lambda day, time, where, side: (
        f"Let's meet {day.en} {time.en} {side[0]} the {where.noun.en}."
    ),
    de=lambda day, time, where, side: (
        f"Treffen wir uns {day.de} {time.de} {side[1]} {de.phrase(where, 'dat', 'der')}."
    ),
    cs=lambda day, time, where, side: (
        f"Sejdeme se {day.cs} {time.cs} {side[2]} {where.noun.cs[side[3]]}."
    ),
    about=("meet",),
)

WAIT = Pattern(
    "wait for somebody",
    {"who": people.EVERYBODY, "whom": people.KIN, "where": places.MEETING},
    en=lambda who, whom, where: (
        f"{who.en} {who.be()} waiting for {who.en_possessive} {whom.en} in front of the {where.noun.en}."
    ),
    de=lambda who, whom, where: (
        f"{who.de[0]} {who.de_verb('warte wartet warten')} vor {de.phrase(where, 'dat', 'der')} auf "
        f"{whom.german(who, 'acc')}."
    ),
    cs=lambda who, whom, where: (
        f"{who.cs[0]} {who.cs_verb('čekám čeká čekáme čekají')} před {where.noun.cs[5]} na "
        f"{whom.czech('acc')}."
    ),
    accepts=lambda who, whom, where: people.can_have(who, whom),
    about=("wait",),
)

_LENT = tuple(
    thing
    for thing in things.BELONGINGS
    if thing.word not in ("glasses", "wallet", "bottle", "phone")
)

LEND = Pattern(
    "ask to lend",
    {
        "name": people.NAMES,
        "how": things.BELONGINGS_ADJECTIVES,
        "what": _LENT,
        "until": calendar.UNTIL,
    },
    en=lambda name, how, what, until: (
        f"{name.en}, can you lend me {en.phrase(what, 'your', how)} {until.en}?"
    ),
    de=lambda name, how, what, until: (
        f"{name.de[0]}, kannst du mir {until.de} {de.phrase(what, 'acc', 'dein', how)} leihen?"
    ),
    cs=lambda name, how, what, until: (
        f"{name.cs_vocative}, můžeš mi {until.cs} půjčit {cs.phrase(what, 'acc', 'svůj', how)}?"
    ),
    about=("lend",),
)

_FORGOTTEN = (
    things.noun("umbrella", "der Regenschirm", "I deštník deštníku deštníku deštník deštníku deštníkem"),
    things.noun("key", "der Schlüssel", "I klíč klíče klíči klíč klíči klíčem"),
    things.noun("camera", "die Kamera", "I fotoaparát fotoaparátu fotoaparátu fotoaparát fotoaparátu fotoaparátem"),
    things.noun("glasses+", "die Brille", "p brýle brýlí brýlím brýle brýlích brýlemi"),
    things.noun("jacket", "die Jacke", "f bunda bundy bundě bundu bundě bundou"),
    things.noun("wallet", "die Brieftasche", "f peněženka peněženky peněžence peněženku peněžence peněženkou"),
    things.noun("phone", "das Handy", "I telefon telefonu telefonu telefon telefonu telefonem"),
    things.noun("ticket", "die Eintrittskarte", "f vstupenka vstupenky vstupence vstupenku vstupence vstupenkou"),
    things.noun("scarf", "der Schal", "f šála šály šále šálu šále šálou"),
)  # fmt: skip

DO_NOT_FORGET = Pattern(
    "do not forget",
    {"name": people.NAMES, "what": _FORGOTTEN, "where": places.OUTINGS},
    en=lambda name, what, where: (
        f"{name.en}, don't forget your {what.en} when you go {where.en_to}."),
    de=lambda name, what, where: (
        f"{name.de[0]}, vergiss {de.phrase(what, 'acc', 'dein')} nicht, wenn du {where.de_to} gehst."),
    cs=lambda name, what, where: (
        f"{name.cs_vocative}, nezapomeň si {what.cs[3]}, až půjdeš {where.cs_to}."),
    accepts=lambda name, what, where: (
        (what.word != "camera" or where.word not in ("cinema", "theatre"))
        and (what.word != "ticket"
             or where.word in ("cinema", "theatre", "museum", "stadium", "zoo"))),
    about=("forget",),
)  # fmt: skip

PATTERNS = (
    NEED_ROOM, BROKEN, RENT, PAIN, MEDICINE, APPOINTMENT, CALL_BACK, AWAY, MEET, WAIT, LEND,
    DO_NOT_FORGET,
)  # fmt: skip
