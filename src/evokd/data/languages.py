"""Language codes, however they are spelled.

Nobody agrees on codes: two letters in Moses files, three in OPUS and mtdata, `eng_Latn` in FLORES
and NLLB, `en_US` in WMT24++, `en-US` in TMX. All of these name one language here. Script and region
are not told apart: `zh-Hant` and `zh_CN` are both Chinese.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache

from evokd.errors import InputError


@dataclass(frozen=True)
class Language:
    """One language: its two-letter code (three where it has none), English name, ISO 15924 script
    and the sacreBLEU tokenizer for text in it."""

    code: str
    name: str
    script: str
    sacrebleu_tokenizer: str


# Code | further codes (ISO 639-2, 639-3 and FLORES) | English name | script.
_TABLE = """
af|afr|Afrikaans|Latn
am|amh|Amharic|Ethi
ar|ara arb|Arabic|Arab
as|asm|Assamese|Beng
az|aze azj|Azerbaijani|Latn
be|bel|Belarusian|Cyrl
bg|bul|Bulgarian|Cyrl
bho||Bhojpuri|Deva
bn|ben|Bengali|Beng
bs|bos|Bosnian|Latn
ca|cat|Catalan|Latn
cs|ces cze|Czech|Latn
cy|cym wel|Welsh|Latn
da|dan|Danish|Latn
de|deu ger|German|Latn
dsb||Lower Sorbian|Latn
el|ell gre|Greek|Grek
en|eng|English|Latn
eo|epo|Esperanto|Latn
es|spa|Spanish|Latn
et|est ekk|Estonian|Latn
eu|eus baq|Basque|Latn
fa|fas per pes|Persian|Arab
fi|fin|Finnish|Latn
fr|fra fre|French|Latn
ga|gle|Irish|Latn
gl|glg|Galician|Latn
gu|guj|Gujarati|Gujr
ha|hau|Hausa|Latn
he|heb iw|Hebrew|Hebr
hi|hin|Hindi|Deva
hr|hrv|Croatian|Latn
hsb||Upper Sorbian|Latn
hu|hun|Hungarian|Latn
hy|hye arm|Armenian|Armn
id|ind|Indonesian|Latn
ig|ibo|Igbo|Latn
is|isl ice|Icelandic|Latn
it|ita|Italian|Latn
iu|iku|Inuktitut|Cans
ja|jpn|Japanese|Jpan
ka|kat geo|Georgian|Geor
kk|kaz|Kazakh|Cyrl
km|khm|Khmer|Khmr
kn|kan|Kannada|Knda
ko|kor|Korean|Hang
ky|kir|Kyrgyz|Cyrl
lb|ltz|Luxembourgish|Latn
liv||Livonian|Latn
lo|lao|Lao|Laoo
lt|lit|Lithuanian|Latn
lv|lav lvs|Latvian|Latn
mas||Maasai|Latn
mk|mkd mac|Macedonian|Cyrl
ml|mal|Malayalam|Mlym
mn|mon khk|Mongolian|Cyrl
mr|mar|Marathi|Deva
ms|msa may zsm|Malay|Latn
mt|mlt|Maltese|Latn
my|mya bur|Burmese|Mymr
ne|nep npi|Nepali|Deva
nl|nld dut|Dutch|Latn
nn|nno|Norwegian Nynorsk|Latn
no|nor nb nob|Norwegian|Latn
pa|pan|Punjabi|Guru
pl|pol|Polish|Latn
ps|pus pbt|Pashto|Arab
pt|por|Portuguese|Latn
ro|ron rum mo|Romanian|Latn
ru|rus|Russian|Cyrl
sah||Yakut|Cyrl
si|sin|Sinhala|Sinh
sk|slk slo|Slovak|Latn
sl|slv|Slovenian|Latn
so|som|Somali|Latn
sq|sqi alb als|Albanian|Latn
sr|srp|Serbian|Cyrl
sv|swe|Swedish|Latn
sw|swa swh|Swahili|Latn
ta|tam|Tamil|Taml
te|tel|Telugu|Telu
th|tha|Thai|Thai
tl|tgl fil|Filipino|Latn
tr|tur|Turkish|Latn
uk|ukr|Ukrainian|Cyrl
ur|urd|Urdu|Arab
uz|uzb uzn|Uzbek|Latn
vi|vie|Vietnamese|Latn
xh|xho|Xhosa|Latn
yo|yor|Yoruba|Latn
zh|zho chi cmn|Chinese|Hans
zu|zul|Zulu|Latn
"""
# What sacreBLEU itself takes for a target language; every other one gets 13a.
_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


def _spellings() -> dict[str, Language]:
    """Every lower-case code and name → its language."""
    spellings = {}
    for row in _TABLE.strip().splitlines():
        code, others, name, script = row.split("|")
        entry = Language(code, name, script, _TOKENIZERS.get(code, "13a"))
        for spelling in (code, *others.split(), name.lower()):
            spellings[spelling] = entry
    return spellings


_SPELLINGS = _spellings()


def language(code: str) -> Language:
    """The language that a code or English name means; case, script and region don't matter.

    Raises:
        InputError: no known language; the message names the nearest spellings.
    """
    found = _find(code)
    if found is None:
        near = difflib.get_close_matches(code.strip().lower(), _SPELLINGS, n=3, cutoff=0.6)
        nearest = dict.fromkeys(_SPELLINGS[spelling] for spelling in near)
        names = ", ".join(f"{entry.code} ({entry.name})" for entry in nearest)
        raise InputError(
            f"unknown language {code!r}; {f'near: {names}; ' if names else ''}accepted: codes such "
            "as en, eng, eng_Latn, en-US of the languages that docs/data.md lists"
        )
    return found


def is_language(code: str) -> bool:
    """Whether `language` knows this code."""
    return _find(code) is not None


def same_language(a: str, b: str) -> bool:
    """Whether two codes mean one language; a code that nobody knows equals only itself."""
    first, second = _find(a), _find(b)
    return first == second if first and second else a.lower() == b.lower()


def languages() -> list[Language]:
    """Every known language, by code."""
    return list(dict.fromkeys(_SPELLINGS.values()))


def split_direction(direction: str) -> tuple[str, str]:
    """`en-de` → (`en`, `de`), each as it was spelled.

    Raises:
        InputError: no two different known languages joined by one hyphen.
    """
    source, hyphen, target = direction.partition("-")
    if not (hyphen and source and target) or "-" in target:
        raise InputError(
            f"{direction!r} is no direction; two codes joined by one hyphen are accepted, "
            "e.g. en-de or eng_Latn-deu_Latn"
        )
    if language(source) == language(target):
        raise InputError(f"direction {direction!r} has the same language on both sides")
    return source, target


@lru_cache(maxsize=4096)
def _find(code: str) -> Language | None:
    code = code.strip().lower()
    return _SPELLINGS.get(code) or _SPELLINGS.get(re.split(r"[-_.@]", code)[0])
