"""Czech agreement: adjectives, demonstratives and possessives by case, gender and animacy."""

from __future__ import annotations

from grammar.words import CZECH_CASES, Adjective, Count, Noun, Place

_GENDERS = ("M", "I", "f", "n", "p", "q")


def _table(rows: str) -> dict[tuple[str, str], str]:
    """Read rows of cases (CZECH_CASES) and columns of genders (M I f n p q)."""
    table = {}
    for case, row in zip(CZECH_CASES, rows.split("/"), strict=True):
        for gender, form in zip(_GENDERS, row.split(), strict=True):
            table[case, gender] = form
    return table


_HARD = _table(
    "ý ý á é é á/ého ého é ého ých ých/ému ému é ému ým ým/"
    "ého ý ou é é á/ém ém é ém ých ých/ým ým ou ým ými ými"
)
_SOFT = _table(
    "í í í í í í/ího ího í ího ích ích/ímu ímu í ímu ím ím/"
    "ího í í í í í/ím ím í ím ích ích/ím ím í ím ími ími"
)
_DETERMINERS = {
    "ten": _table(
        "ten ten ta to ty ta/toho toho té toho těch těch/tomu tomu té tomu těm těm/"
        "toho ten tu to ty ta/tom tom té tom těch těch/tím tím tou tím těmi těmi"
    ),
    "můj": _table(
        "můj můj moje moje moje moje/mého mého mé mého mých mých/mému mému mé mému mým mým/"
        "mého můj moji moje moje moje/mém mém mé mém mých mých/mým mým mou mým mými mými"
    ),
    "svůj": _table(
        "svůj svůj svoje svoje svoje svoje/svého svého své svého svých svých/"
        "svému svému své svému svým svým/svého svůj svou své své svá/"
        "svém svém své svém svých svých/svým svým svou svým svými svými"
    ),
    "náš": _table(
        "náš náš naše naše naše naše/našeho našeho naší našeho našich našich/"
        "našemu našemu naší našemu našim našim/našeho náš naši naše naše naše/"
        "našem našem naší našem našich našich/naším naším naší naším našimi našimi"
    ),
}
_PRONOUN_ACC = {"M": "ho", "I": "ho", "f": "ji", "n": "ho", "p": "je", "q": "je"}


def determiner_form(determiner: str, case: str, gender: str) -> str:
    if determiner == "tento":
        return _DETERMINERS["ten"][case, gender] + "to"
    return _DETERMINERS[determiner][case, gender]


def adjective_form(adjective: str, case: str, gender: str) -> str:
    """The adjective, given as "nový" or "moderní", in a case and gender; "*" marks no change."""
    if adjective.endswith("ý"):
        return adjective[:-1] + _HARD[case, gender]
    if adjective.endswith("í"):
        return adjective[:-1] + _SOFT[case, gender]
    raise AssertionError(f"not the citation form of a Czech adjective: {adjective}")


def phrase(
    noun: Noun | Place, case: str, determiner: str = "", adjective: Adjective | str | None = None
) -> str:
    """A noun phrase: phrase(coat, "acc", "svůj", red) is "svůj červený kabát"."""
    if isinstance(noun, Place):
        noun = noun.noun
    words = []
    if determiner:
        words.append(determiner_form(determiner, case, noun.cs_gender))
    if adjective:
        plain = adjective if isinstance(adjective, str) else adjective.cs
        words.append(adjective_form(plain, case, noun.cs_gender))
    words.append(noun.cs[CZECH_CASES.index(case)])
    return " ".join(words)


def pronoun_acc(noun: Noun) -> str:
    return _PRONOUN_ACC[noun.cs_gender]


def past(noun: Noun, masculine: str, stem: str = "") -> str:
    """The past participle agreeing with a thing: "ležel", "ležela", "leželo", "ležely"."""
    ending = {"M": "", "I": "", "f": "a", "n": "o", "p": "y", "q": "a"}[noun.cs_gender]
    return masculine if not ending else (stem or masculine) + ending


def verb(noun: Noun, singular: str, plural: str) -> str:
    return plural if noun.cs_gender in "pq" else singular


def counted(count: Count, singular: str, few: str, many: str) -> str:
    """The noun form a number asks for: dvě piva, pět piv."""
    return {"sg": singular, "few": few, "many": many}[count.cs_case]
