"""A side of a pair put right: characters that were decoded wrongly, mark-up, white space."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Collection

import ftfy

LOST = "\ufffd"
"""What decoders write for bytes that mean nothing."""

# Invisible and without meaning between words. ZWNJ and ZWJ (U+200C, U+200D) stay: Persian spelling,
# Indic conjuncts and emoji need them; so do the marks of writing direction.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_COMMENT = re.compile(r"<!--.*?-->|<!\[CDATA\[|\]\]>|<!DOCTYPE[^<>]*>|<\?[A-Za-z][^<>]*\?>", re.S)
_ATTRIBUTE = r"""\s+[\w:.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+)"""
_TAG = re.compile(rf"<(/?)([A-Za-z][\w:.-]*)((?:{_ATTRIBUTE})*)\s*(/?)>")
# Tags that are ones without a slash or an attribute, too: <name> may be a placeholder.
_IN_LINE = re.compile(
    "a|abbr|b|big|cite|code|del|em|font|i|img|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|"
    "tt|u|var"
)
# Those that part what stands on either side of them.
_BLOCK = re.compile(
    "blockquote|body|br|center|d[dlt]|div|footer|form|h[1-6]|head|header|hr|html|li|ol|option|p|pre|"
    "section|table|tbody|t[dhr]|tfoot|thead|title|ul"
)


_LOST_LETTER = re.compile(r"[^\W\d_]\?[^\W\d_A-Z]")


def has_lost(text: str) -> bool:
    """Whether characters were lost in another encoding: "caf\ufffd", "Schn?rsenkel"."""
    if LOST in text:
        return True
    words = [word for word in text.split() if "?" in word] if "?" in text else ()
    return any(_LOST_LETTER.search(word) and not {"/", "="} & set(word) for word in words)


def repair(text: str) -> str:
    """Unicode NFC, no control or zero-width characters, and every run of white space one space."""
    # No-break spaces and all that is invisible aren't printable to Python.
    if text.isprintable() and "  " not in text and unicodedata.is_normalized("NFC", text):
        return text.strip()
    text = _INVISIBLE.sub("", _CONTROL.sub("", text))
    return " ".join(unicodedata.normalize("NFC", text).split())


def strip_markup(text: str) -> str:
    """Without tags and comments of HTML, XML and XLIFF, and with characters for entities.

    "a < b" stays, and so does <name>: a tag is one with an attribute or a slash, one whose end
    stands in the same text, or one of HTML.
    """
    if "&" in text:  # first: what was escaped may be a tag, and escaped twice
        for _ in range(2):
            text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    if "<" not in text and "]]>" not in text:
        return text
    closed = {name.lower() for slash, name, _, _ in _TAG.findall(text) if slash}

    def without(tag: re.Match[str]) -> str:
        end, name, attributes, alone = tag.groups()
        name = name.lower()
        block = _BLOCK.fullmatch(name)
        known = block or _IN_LINE.fullmatch(name) or name in closed
        if not (end or attributes or alone or known):
            return tag[0]
        return " " if block else ""

    return _TAG.sub(without, _COMMENT.sub("", text))


def fix_mojibake(text: str) -> str:
    """What UTF-8 was before it was read as Latin-1, Windows-1252 and the like (ftfy)."""
    return text if text.isascii() else ftfy.fix_encoding(text)


STEPS: dict[str, Callable[[str], str]] = {
    "mojibake": fix_mojibake,
    "markup": strip_markup,
    "characters": repair,
}
"""What is put right, in this order: bytes of mojibake look like no-break and control characters."""


def put_right(text: str, kept: Collection[str]) -> tuple[str, list[str]]:
    """A text put right but for the steps that are `kept` as they are, and the steps that changed
    it."""
    changed_by = []
    for step, change in STEPS.items():
        changed = text if step in kept else change(text)
        if changed != text:
            changed_by.append(step)
            text = changed
    return text, changed_by
