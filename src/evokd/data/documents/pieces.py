"""What stands in a text and isn't language: tags, placeholders, addresses.

A text with such pieces is a *flat* one: a string in which piece i is the one character
chr(FIRST + i) of a private-use plane. So a flat text is cut, stripped and searched like any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evokd.errors import InputError

FIRST, LAST = 0xF0000, 0x10FFFF
PIECE = re.compile(f"[{chr(FIRST)}-{chr(LAST)}]")
Kind = Literal["open", "close", "single", "placeholder"]


@dataclass(frozen=True)
class Piece:
    """One of them.

    Attributes:
        text: as it stands in the file.
        kind: "open", "close" and "single" are tags, which a translator can do without; a
            "placeholder" stands for words.
        name: what the two tags of a pair have in common.
        data: what the format's writer knows it by.
    """

    text: str
    kind: Kind
    name: str = ""
    data: Any = None


Content = Sequence["str | Piece"]
"""A text in the order it is read."""

PLACEHOLDER = re.compile(
    r"""
      (?:https?|ftp|file)://[^\s<>"'{}|\\^`]*[^\s<>"'{}|\\^`.,;:!?()\[\]]   # an address
    | www\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>"']*[^\s<>"'.,;:!?()\[\]])?
    | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+           # of a mailbox
    | \{\{[^{}\n]*\}\}                                   # i18next, Vue, Jinja: {{ x }}
    | [$#%]\{[^{}\n]*\}                                  # ${x}, #{x}, %{x}
    | %\([^()\s]*\)[-+ #0]*(?:[1-9]\d*)?(?:\.\d+)?[a-zA-Z]   # Python: %(count)d
    # printf: %s, %-5.2f, %1$s, %lu
    | %(?:\d+\$)?[-+#0']*(?:[1-9]\d*)?(?:\.\d+)?(?:hh?|ll?|[Lqjzt])?[diouxXeEfFgGaAcspn@](?![\w%])
    | (?<![\w%])%\d{1,2}(?![\w%])                        # Qt: %1
    | %%
    # {}, {0}, {name}, {price:.2f}, ICU {n, number}
    | \{[\w.$\[\]-]*(?:![rsa])?(?:[:,][^{}\n]*)?\}
    | \$[A-Z_][A-Z0-9_]*\b | \$t\([^()\n]*\)             # $NAME, i18next $t(key)
    | &(?:[A-Za-z]\w{1,30}|\#\d{1,7}|\#x[0-9A-Fa-f]{1,6});    # an entity
    """,
    re.VERBOSE,
)
_ATTRIBUTE = r"""\s+[\w:@.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)"""
TAG = re.compile(rf"<(/?)([A-Za-z][\w:-]*)((?:{_ATTRIBUTE})*\s*/?)>|<!--(?:(?!<!--).)*?-->")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"}
VOID |= {"track", "wbr"}
"""HTML's elements that have no end."""


def with_tags(text: str) -> list[str | Piece]:
    """A text that may have tags of HTML in it, as interface strings have."""
    content: list[str | Piece] = []
    end = 0
    for found in TAG.finditer(text):
        content.append(text[end : found.start()])
        slash, name, rest = found.groups()
        kind: Kind = "close" if slash else "open"
        if name is None or name.lower() in VOID or rest.endswith("/"):
            kind = "single"
        content.append(Piece(found[0], kind, (name or "").lower()))
        end = found.end()
    content.append(text[end:])
    return content


def flatten(content: Content) -> tuple[str, list[Piece]]:
    """The flat text of a content, its placeholders found, and its pieces.

    Raises:
        InputError: more pieces than a flat text has characters for.
    """
    pieces: list[Piece] = []
    flat: list[str] = []

    def take(piece: Piece) -> None:
        if FIRST + len(pieces) > LAST:
            raise InputError(
                f"a text of more than {len(pieces)} tags and placeholders: break it into lines"
            )
        flat.append(chr(FIRST + len(pieces)))
        pieces.append(piece)

    for item in content:
        if isinstance(item, Piece):
            take(item)
            continue
        end = 0
        for found in _FINDER.finditer(item) if _SIGN.search(item) else ():
            flat.append(item[end : found.start()])
            take(Piece(found[0], "placeholder"))
            end = found.end()
        flat.append(item[end:])
    return "".join(flat), pieces


# A private-use character of the text itself is a piece, too, so that no other is taken for one.
_FINDER = re.compile(f"{PLACEHOLDER.pattern}|{PIECE.pattern}", re.VERBOSE)
_SIGN = re.compile(rf"[{{%$&@]|://|www\.|{PIECE.pattern}")
"""One of these is in every placeholder; most texts have none."""


def unflatten(flat: str, pieces: Sequence[Piece]) -> list[str | Piece]:
    """The content of a flat text; placeholders are text again."""
    content: list[str | Piece] = []
    text: list[str] = []
    for part in re.split(f"({PIECE.pattern})", flat):
        if is_tag(part, pieces):
            content += ["".join(text), known(part, pieces)]
            text = []
        else:
            text.append(known(part, pieces).text if PIECE.fullmatch(part) else part)
    return [*content, "".join(text)]


def known(char: str, pieces: Sequence[Piece]) -> Piece:
    """The piece that a character of a flat text stands for."""
    return pieces[ord(char) - FIRST]


def is_tag(char: str, pieces: Sequence[Piece]) -> bool:
    """Whether a character of a flat text is a tag."""
    return len(char) == 1 and ord(char) >= FIRST and known(char, pieces).kind != "placeholder"


def visible(flat: str, pieces: Sequence[Piece]) -> str:
    """Without its tags, and a space where one stood alone between two words, as a line break does;
    placeholders as they stand in the file."""

    def shown(found: re.Match[str]) -> str:
        piece = known(found[0], pieces)
        if piece.kind == "placeholder":
            return piece.text
        around = flat[max(0, found.start() - 1)], flat[min(len(flat) - 1, found.end())]
        return " " if piece.kind == "single" and all(c.isalnum() for c in around) else ""

    return PIECE.sub(shown, flat)


def partners(chars: Sequence[str], pieces: Sequence[Piece]) -> dict[str, str]:
    """{open tag: its close tag} of a sequence of pieces' characters; a tag whose other half isn't
    there is in none."""
    pairs: dict[str, str] = {}
    opened: list[tuple[str, str]] = []
    names = Counter[str]()  # of those, or a tag that was never opened is looked for among all
    for char in chars:
        piece = known(char, pieces)
        if piece.kind == "open":
            opened.append((piece.name, char))
            names[piece.name] += 1
        elif piece.kind == "close" and names[piece.name]:
            while True:
                name, other = opened.pop()
                names[name] -= 1
                if name == piece.name:
                    break
            pairs[other] = char
    return pairs
