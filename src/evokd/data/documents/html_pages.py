"""Web pages: their text, in a page that is otherwise what it was, byte for byte."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

from evokd.data.documents.forms import Options, Reading, Unit
from evokd.data.documents.pieces import VOID, Content, Kind, Piece
from evokd.errors import InputError

_INLINE = """
a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q s samp small
span strike strong sub sup time tt u var wbr
"""
INLINE = frozenset(_INLINE.split())
"""Elements that stand within a sentence; every other one ends it."""
KEPT = {"code", "kbd", "samp", "script", "style", "pre", "textarea", "template", "math", "svg"}
"""Elements that are left as they are, with all that is in them."""
ATTRIBUTES = {"alt", "title", "placeholder"}
UNENDED = 20
"""Tags and comments without an end: for each of them html.parser may search all the rest."""
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'<>]+))?""")
_BEGINNING = re.compile("<[A-Za-z/!?]")


@dataclass
class _Token:
    """A stretch of a page, from one place in it to another: "text", "open", "close", "empty" (an
    element without an end) or "other"."""

    kind: str
    name: str
    line: int
    start: int
    end: int = 0
    attributes: dict[str, str | None] = field(default_factory=dict)


class _Tokens(HTMLParser):
    """Splits a page into stretches that are the page when they are joined.

    Raises:
        InputError: more than `UNENDED` tags and comments don't end.
    """

    def __init__(self, page: str, name: str) -> None:
        super().__init__(convert_charrefs=False)
        self.tokens: list[_Token] = []
        self._name, self._unended = name, 0
        self._lines = [0, *(found.end() for found in re.finditer("\n", page))]
        self.feed(page)
        self.close()
        if not self.tokens:
            self._add("other")  # a tag that doesn't end, or nothing
        ends = [token.start for token in self.tokens[1:]] + [len(page)]
        for token, end in zip(self.tokens, ends, strict=False):
            token.end = end

    def _add(self, kind: str, name: str = "") -> _Token:
        line, column = self.getpos()
        start = self._lines[line - 1] + column if self.tokens else 0
        if not (kind == "text" and self.tokens and self.tokens[-1].kind == "text"):
            self.tokens.append(_Token(kind, name, line, start))
        return self.tokens[-1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add("empty" if tag in VOID else "open", tag).attributes = dict(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add("empty", tag).attributes = dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        self._add("close", tag)

    def handle_data(self, data: str) -> None:
        self._add("text")
        if self.cdata_elem is None and _BEGINNING.match(data):
            self._unended += 1
            if self._unended > UNENDED:
                raise InputError(
                    f"{self._name}:{self.getpos()[0]} has a tag or comment that doesn't end, and "
                    f"is one of more than {UNENDED}; end them, or write &lt; where text is meant"
                )

    def handle_entityref(self, name: str) -> None:
        self._add("text")

    def handle_charref(self, name: str) -> None:
        self._add("text")

    def handle_comment(self, data: str) -> None:
        self._add("other", "!")

    def handle_decl(self, decl: str) -> None:
        self._add("other")

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """<![…]> as browsers have it; the parser's own raises where it doesn't know a word."""
        return self.parse_bogus_comment(i)

    def handle_pi(self, data: str) -> None:
        self._add("other")

    def unknown_decl(self, data: str) -> None:
        self._add("other")


def read_html(text: str, options: Options) -> Reading:
    """The text of a page, and what its attributes say. A segment ends where an element begins or
    ends that isn't one of `INLINE`.

    Raises:
        InputError: too many tags that don't end.
    """
    tokens = _Tokens(text, options.name).tokens
    stretches: list[str] = []  # the page, in stretches that stay or are replaced
    units: list[Unit] = []
    places: list[tuple[range, bool]] = []  # of a unit's stretches; whether it is an attribute's
    run: list[str | Piece] = []
    place = began = line = 0

    def end_run() -> None:
        if run:
            units.append(Unit([*run], line, flowing=True))
            places.append((range(began, len(stretches)), False))
            run.clear()

    while place < len(tokens):
        token, end, first = tokens[place], _end_of_kept(tokens, place), len(stretches)
        within = token.kind == "text" or token.name in INLINE or token.name == "!"
        if not within:
            end_run()
        elif not run:
            blank = re.match(r"\s*", text[token.start : token.end])
            began, line = first, token.line + (blank[0].count("\n") if blank else 0)
        for part, is_value in _parts_of(text[token.start : token.end], token):
            if is_value:
                units.append(Unit([html.unescape(_unquoted(part))], token.line, flowing=True))
                places.append((range(len(stretches), len(stretches) + 1), True))
            stretches.append(part)
        stretches += [text[one.start : one.end] for one in tokens[place + 1 : end]]
        if token.kind == "text":
            run.append(html.unescape(stretches[first]))
        elif within:
            kinds: dict[str, Kind] = {"open": "open", "close": "close"}
            kind = kinds.get(token.kind, "single") if end == place + 1 else "single"
            source = text[token.start : tokens[end - 1].end]
            run.append(Piece(source, kind, token.name, range(first, len(stretches))))
        place = end
    end_run()

    def write(contents: Sequence[Content | None]) -> str:
        made = list(stretches)
        # An attribute's unit comes before that of the text which its element stands in.
        for (place, is_value), new in zip(places, contents, strict=True):
            if new is not None:
                written = _written(new, made, is_value)
                made[place.start : place.stop] = [written, *[""] * (len(place) - 1)]
        return "".join(made)

    return units, write


def _end_of_kept(tokens: Sequence[_Token], place: int) -> int:
    """Behind the token or, of an element that is kept as it is, behind its end."""
    token, depth = tokens[place], 0
    if token.kind == "open" and (token.name in KEPT or _is_untranslated(token)):
        for number in range(place, len(tokens)):
            if tokens[number].name == token.name:
                depth += {"open": 1, "close": -1}.get(tokens[number].kind, 0)
            if depth == 0:
                return number + 1
        return len(tokens)
    return place + 1


def _is_untranslated(token: _Token) -> bool:
    classes = (token.attributes.get("class") or "").split()
    return token.attributes.get("translate") == "no" or "notranslate" in classes


def _parts_of(tag: str, token: _Token) -> Iterator[tuple[str, bool]]:
    """A stretch, with the values that are translated set apart."""
    end = 0
    if token.attributes and not _is_untranslated(token):
        wanted = set(ATTRIBUTES)
        if token.name == "meta" and token.attributes.get("name", "") == "description":
            wanted = {"content"}
        for found in _ATTRIBUTE.finditer(tag, len(token.name) + 1):
            if found[2] and found[1].lower() in wanted:
                yield tag[end : found.start(2)], False
                yield found[2], True
                end = found.end(2)
    yield tag[end:], False


def _unquoted(value: str) -> str:
    return value[1:-1] if value[0] in "\"'" else value


def _written(content: Content, stretches: Sequence[str], is_value: bool) -> str:
    made = []
    for item in content:
        if isinstance(item, Piece):
            made.append("".join(stretches[item.data.start : item.data.stop]))
        else:
            made.append(html.escape(item, quote=is_value).replace("\u00a0", "&nbsp;"))
    return f'"{"".join(made)}"' if is_value else "".join(made)
