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
from pathlib import Path

from evokd.errors import InputError


@dataclass(frozen=True)
class Language:
    """One language: its two-letter code (three where it has none), English name, ISO 15924 script
    and the sacreBLEU tokenizer for text in it."""

    code: str
    name: str
    script: str
    sacrebleu_tokenizer: str


FILE = Path(__file__).with_name("languages.tsv")
"""A language a line: its code, further ones (ISO 639-2, 639-3 and FLORES), name and script."""
# What sacreBLEU itself takes for a target language; every other one gets 13a.
_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


def _spellings() -> dict[str, Language]:
    spellings = {}
    for row in FILE.read_text(encoding="utf-8").splitlines()[1:]:
        code, others, name, script = row.split("\t")
        entry = Language(code, name, script, _TOKENIZERS.get(code, "13a"))
        spellings.update(dict.fromkeys((code, *others.split(), name.lower()), entry))
    return spellings


SPELLINGS = _spellings()
"""Every lower-case code and name → its language."""


def language(code: str) -> Language:
    """The language that a code or English name means; case, script and region don't matter.

    Raises:
        InputError: no known language; the message names the nearest spellings.
    """
    entry = _find(code)
    if entry is None:
        near = difflib.get_close_matches(code.strip().lower(), SPELLINGS, n=3, cutoff=0.6)
        nearest = dict.fromkeys(SPELLINGS[spelling] for spelling in near)
        names = ", ".join(f"{one.code} ({one.name})" for one in nearest)
        raise InputError(
            f"unknown language {code!r}; {f'near: {names}; ' if names else ''}accepted: codes such "
            "as en, eng, eng_Latn, en-US of the languages that docs/data.md lists"
        )
    return entry


def same_language(a: str, b: str) -> bool:
    """Whether two codes mean one language; a code that nobody knows equals only itself."""
    first, second = _find(a), _find(b)
    return first == second if first and second else a.lower() == b.lower()


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
    return SPELLINGS.get(code) or SPELLINGS.get(re.split(r"[-_.@]", code)[0])
