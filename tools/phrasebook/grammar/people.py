"""People: subjects and objects of sentences."""

# A paradigm or a sentence reads best on one line.

from __future__ import annotations

from dataclasses import dataclass

from grammar import czech, german
from grammar.words import Person

_HE = ("he", "him", "his", ("er", "ihn", "ihm"), "sein", ("mu", "ho"), "M")
_SHE = ("she", "her", "her", ("sie", "sie", "ihr"), "ihr", ("jí", "ji"), "f")
_THEY = ("they", "them", "their", ("sie", "sie", "ihnen"), "ihr", ("jim", "je"), "P")


def _person(en: str, de: str, cs: str, kind: tuple, vocative: str = "") -> Person:
    """`de` is nominative, accusative, dative; `cs` the six cases; both separated by commas."""
    pronoun, obj, possessive, de_pronoun, de_possessive, cs_pronoun, gender = kind
    nominative, accusative, dative = de.split(", ")
    plural = gender in "Pp"
    return Person(
        agreement=3 if plural else 1,
        en=en,
        en_pronoun=pronoun,
        en_object=obj,
        en_possessive=possessive,
        en_genitive=en + ("'" if en.endswith("s") else "'s"),
        de=(nominative, accusative, dative),
        de_pronoun=de_pronoun,
        de_possessive=de_possessive,
        cs=tuple(cs.split(", ")),
        cs_pronoun=cs_pronoun,
        cs_gender=gender,
        cs_vocative=vocative,
    )


def _name(cs: str, kind: tuple) -> Person:
    """A first name: six Czech cases, then the vocative."""
    *cases, vocative = cs.split()
    name = cases[0]
    return _person(name, f"{name}, {name}, {name}", ", ".join(cases), kind, vocative)


I = Person(  # noqa: E741
    0, "I", "I", "me", "my", "my", ("ich", "mich", "mir"), ("ich", "mich", "mir"), "mein",
    ("", "mě", "mi", "mě", "mně", "mnou"), ("mi", "mě"), "M",
)  # fmt: skip
WE = Person(
    2, "we", "we", "us", "our", "our", ("wir", "uns", "uns"), ("wir", "uns", "uns"), "unser",
    ("", "nás", "nám", "nás", "nás", "námi"), ("nám", "nás"), "P",
)  # fmt: skip

NAMES = (
    _name("Eva Evy Evě Evu Evě Evou Evo", _SHE),
    _name("Martin Martina Martinovi Martina Martinovi Martinem Martine", _HE),
    _name("Petr Petra Petrovi Petra Petrovi Petrem Petře", _HE),
    _name("Anna Anny Anně Annu Anně Annou Anno", _SHE),
    _name("Jana Jany Janě Janu Janě Janou Jano", _SHE),
    _name("David Davida Davidovi Davida Davidovi Davidem Davide", _HE),
    _name("Lucie Lucie Lucii Lucii Lucii Lucií Lucie", _SHE),
    _name("Adam Adama Adamovi Adama Adamovi Adamem Adame", _HE),
    _name("Hana Hany Haně Hanu Haně Hanou Hano", _SHE),
    _name("Jakub Jakuba Jakubovi Jakuba Jakubovi Jakubem Jakube", _HE),
    _name("Tereza Terezy Tereze Terezu Tereze Terezou Terezo", _SHE),
    _name("Pavel Pavla Pavlovi Pavla Pavlovi Pavlem Pavle", _HE),
    _name("Monika Moniky Monice Moniku Monice Monikou Moniko", _SHE),
    _name("Robert Roberta Robertovi Roberta Robertovi Robertem Roberte", _HE),
    _name("Klára Kláry Kláře Kláru Kláře Klárou Kláro", _SHE),
    _name("Viktor Viktora Viktorovi Viktora Viktorovi Viktorem Viktore", _HE),
)
MY_SISTER = _person(
    "my sister", "meine Schwester, meine Schwester, meiner Schwester",
    "moje sestra, mé sestry, mé sestře, mou sestru, mé sestře, mou sestrou", _SHE,
)  # fmt: skip
MY_BROTHER = _person(
    "my brother", "mein Bruder, meinen Bruder, meinem Bruder",
    "můj bratr, mého bratra, mému bratrovi, mého bratra, mém bratrovi, mým bratrem", _HE,
)  # fmt: skip
MY_MOTHER = _person(
    "my mother", "meine Mutter, meine Mutter, meiner Mutter",
    "moje matka, mé matky, mé matce, mou matku, mé matce, mou matkou", _SHE,
)  # fmt: skip
MY_FATHER = _person(
    "my father", "mein Vater, meinen Vater, meinem Vater",
    "můj otec, mého otce, mému otci, mého otce, mém otci, mým otcem", _HE,
)  # fmt: skip
MY_PARENTS = _person(
    "my parents", "meine Eltern, meine Eltern, meinen Eltern",
    "moji rodiče, mých rodičů, mým rodičům, mé rodiče, mých rodičích, mými rodiči", _THEY,
)  # fmt: skip
MY_FRIENDS = _person(
    "my friends", "meine Freunde, meine Freunde, meinen Freunden",
    "moji přátelé, mých přátel, mým přátelům, mé přátele, mých přátelích, mými přáteli", _THEY,
)  # fmt: skip
NEIGHBOUR = _person(
    "our neighbour", "unser Nachbar, unseren Nachbarn, unserem Nachbarn",
    "náš soused, našeho souseda, našemu sousedovi, našeho souseda, našem sousedovi, naším sousedem",
    _HE,
)  # fmt: skip
TEACHER = _person(
    "our teacher", "unsere Lehrerin, unsere Lehrerin, unserer Lehrerin",
    "naše učitelka, naší učitelky, naší učitelce, naši učitelku, naší učitelce, naší učitelkou",
    _SHE,
)  # fmt: skip
MY_GRANDMOTHER = _person(
    "my grandmother", "meine Großmutter, meine Großmutter, meiner Großmutter",
    "moje babička, mé babičky, mé babičce, mou babičku, mé babičce, mou babičkou", _SHE,
)  # fmt: skip
MY_GRANDFATHER = _person(
    "my grandfather", "mein Großvater, meinen Großvater, meinem Großvater",
    "můj dědeček, mého dědečka, mému dědečkovi, mého dědečka, mém dědečkovi, mým dědečkem", _HE,
)  # fmt: skip
MY_AUNT = _person(
    "my aunt", "meine Tante, meine Tante, meiner Tante",
    "moje teta, mé tety, mé tetě, mou tetu, mé tetě, mou tetou", _SHE,
)  # fmt: skip
MY_UNCLE = _person(
    "my uncle", "mein Onkel, meinen Onkel, meinem Onkel",
    "můj strýc, mého strýce, mému strýci, mého strýce, mém strýci, mým strýcem", _HE,
)  # fmt: skip
COLLEAGUE = _person(
    "our colleague", "unser Kollege, unseren Kollegen, unserem Kollegen",
    "náš kolega, našeho kolegy, našemu kolegovi, našeho kolegu, našem kolegovi, naším kolegou", _HE,
)  # fmt: skip

RELATIVES = (
    MY_SISTER, MY_BROTHER, MY_MOTHER, MY_FATHER, MY_PARENTS, MY_GRANDMOTHER, NEIGHBOUR,
    MY_FRIENDS, MY_GRANDFATHER, TEACHER, MY_AUNT, MY_UNCLE, COLLEAGUE,
)  # fmt: skip


def _mixed() -> tuple[Person, ...]:
    """Names and relatives, taken in turn so that both have frequent members."""
    mixed = []
    for index in range(len(NAMES)):
        mixed.append(NAMES[index])
        mixed += RELATIVES[index : index + 1]
    return tuple(mixed)


OTHERS = _mixed()  # third persons
EVERYBODY = (WE, *OTHERS)  # not "I": a Czech speaker's past tense would tell the sex
SPEAKERS = (I, WE, *OTHERS)
# Who may be said to work somewhere as if it were news.
WORKERS = tuple(
    person
    for person in SPEAKERS
    if person not in (MY_GRANDMOTHER, MY_GRANDFATHER, TEACHER, COLLEAGUE)
)
SINGLE_OTHERS = tuple(person for person in OTHERS if person.agreement == 1)


@dataclass(frozen=True)
class Kin:
    """A relative or friend of the subject: her mother, ihre Mutter, svou matku."""

    en: str
    en_possessive: str
    gender: str  # German m or f; the Czech gender follows
    age: int  # -1 younger, 0 the same, 1 parents' age, 2 grandparents' age
    de: tuple[str, str]  # accusative, dative
    cs: tuple[str, str, str]  # dative, accusative, instrumental

    def german(self, owner: Person, case: str) -> str:
        noun = self.de[case == "dat"]
        return f"{german.determiner_form(owner.de_possessive, case, self.gender)} {noun}"

    def czech(self, case: str) -> str:
        gender = "M" if self.gender == "m" else "f"
        noun = self.cs[("dat", "acc", "ins").index(case)]
        return f"{czech.determiner_form('svůj', case, gender)} {noun}"


def _kin(en: str, gender: str, age: int, de: str, cs: str) -> Kin:
    accusative, _, dative = de.partition("/")
    dative_cs, accusative_cs, instrumental_cs = cs.split()
    return Kin(
        en, "his" if gender == "m" else "her", gender, age, (accusative, dative or accusative),
        (dative_cs, accusative_cs, instrumental_cs),
    )  # fmt: skip


KIN = (
    _kin("mother", "f", 1, "Mutter", "matce matku matkou"),
    _kin("sister", "f", 0, "Schwester", "sestře sestru sestrou"),
    _kin("brother", "m", 0, "Bruder", "bratrovi bratra bratrem"),
    _kin("father", "m", 1, "Vater", "otci otce otcem"),
    _kin("friend", "m", 0, "Freund", "kamarádovi kamaráda kamarádem"),
    _kin("grandmother", "f", 2, "Großmutter", "babičce babičku babičkou"),
    _kin("daughter", "f", -1, "Tochter", "dceři dceru dcerou"),
    _kin("son", "m", -1, "Sohn", "synovi syna synem"),
    _kin("uncle", "m", 1, "Onkel", "strýci strýce strýcem"),
    _kin("aunt", "f", 1, "Tante", "tetě tetu tetou"),
    _kin("grandfather", "m", 2, "Großvater", "dědečkovi dědečka dědečkem"),
    _kin("neighbour", "m", 0, "Nachbarn", "sousedovi souseda sousedem"),
    _kin("cousin", "f", 0, "Cousine", "sestřenici sestřenici sestřenicí"),
)


def can_have(owner: Person, kin: Kin) -> bool:
    """Nobody's uncle gives his grandmother a bicycle, nor do my friends share a mother."""
    if owner in (MY_GRANDMOTHER, MY_GRANDFATHER):
        return kin.age < 0 or kin.en in ("friend", "neighbour")
    if owner is MY_PARENTS or owner is MY_FRIENDS:
        return kin.age < 0 or kin.en == "neighbour"
    if owner in RELATIVES and owner not in (MY_SISTER, MY_BROTHER):
        return kin.age < 2 and kin.en not in owner.en and (owner not in _ELDERS or kin.age < 1)
    if owner in (MY_SISTER, MY_BROTHER):
        return kin.en not in ("sister", "brother", "mother", "father") and kin.age < 2
    if owner is WE:
        return kin.en != "cousin"
    return True


_ELDERS = (MY_MOTHER, MY_FATHER, MY_AUNT, MY_UNCLE)


@dataclass(frozen=True)
class Surname:
    """Mr or Mrs somebody: German accusative and dative are alike, Czech has its cases."""

    en: str
    en_object: str
    de: str
    de_object: str
    de_pronoun: tuple[str, str]  # accusative, dative
    cs_nom: str
    cs_dat: str
    cs_ins: str
    cs_pronoun_dat: str


def _mister(en: str, cs: str) -> Surname:
    nominative, dative, instrumental = cs.split()
    return Surname(
        f"Mr {en}", "him", f"Herr {en}", f"Herrn {en}", ("ihn", "ihm"),
        f"pan {nominative}", f"panu {dative}", f"panem {instrumental}", "mu",
    )  # fmt: skip


def _mistress(en: str, cs: str) -> Surname:
    nominative, dative, instrumental = cs.split()
    return Surname(
        f"Mrs {en}", "her", f"Frau {en}", f"Frau {en}", ("sie", "ihr"),
        f"paní {nominative}", f"paní {dative}", f"paní {instrumental}", "jí",
    )  # fmt: skip


SURNAMES = (
    _mister("Novák", "Novák Novákovi Novákem"),
    _mistress("Nováková", "Nováková Novákové Novákovou"),
    _mister("Schmidt", "Schmidt Schmidtovi Schmidtem"),
    _mistress("Dvořáková", "Dvořáková Dvořákové Dvořákovou"),
    _mister("Müller", "Müller Müllerovi Müllerem"),
    _mister("Brown", "Brown Brownovi Brownem"),
    _mistress("Černá", "Černá Černé Černou"),
    _mister("Kučera", "Kučera Kučerovi Kučerou"),
    _mistress("Veselá", "Veselá Veselé Veselou"),
    _mister("Wagner", "Wagner Wagnerovi Wagnerem"),
)
