"""XLIFF 1.2 and 2.x: segments without a translation get one, to be looked through."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lxml import etree

from evokd.data.documents.forms import Options, Reading, Unit
from evokd.data.documents.pieces import Content, Kind, Piece, with_tags
from evokd.data.languages import same_language
from evokd.errors import InputError

_NAMESPACE = re.compile(r"urn:oasis:names:tc:xliff:document:(1|2)\.\d")
_AROUND = {"g", "pc", "mrk"}
"""Inline elements whose text is translated; what is in others is code."""
_ENDS: dict[str, Kind] = {
    **dict.fromkeys(("bx", "bpt", "sc", "sm"), "open"),
    **dict.fromkeys(("ex", "ept", "ec", "em"), "close"),
}
"""Inline elements that are one end of a pair, and stand for themselves."""
_DRAFTS = {"new", "needs-translation", "initial"}
"""States in which a target that is there waits for its translation."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PROLOGUE = re.compile(r"(?:\s|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>]*>)*", re.DOTALL)
_END = re.compile(r"</(?:[\w.-]+:)?xliff\s*>")
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"


def read_xliff(text: str, options: Options) -> Reading:
    """Segments that have no target, or one whose state says that it waits for its translation. What
    isn't to be translated stays, as does what is.

    Raises:
        InputError: it is no XLIFF of a version that is known, its XML is broken, or it is of
            another language.
    """
    root = _root(text, options.name)
    first = root.tag.startswith("{urn:oasis:names:tc:xliff:document:1")
    if options.target:
        _declare(root, first, options)
    places, sources = [], []
    for segment in root.iter(_named(root, "trans-unit" if first else "segment")):
        source = segment.find(_named(root, "source"))
        if source is not None and _waits(segment):
            places.append(segment)
            sources.append(source)
    units = [Unit(list(_content(one)), one.sourceline, flowing=_flows(one)) for one in sources]

    def write(contents: Sequence[Content | None]) -> str:
        for segment, source, unit, new in zip(places, sources, units, contents, strict=True):
            target = _target(segment, source)
            _fill(target, unit.content if new is None else new)
            if first:
                target.set("state", "needs-review-translation")
                target.set("state-qualifier", "leveraged-mt")
            else:
                segment.set("state", "translated")
        made = etree.tostring(root, encoding="unicode", with_tail=False)
        made = made.replace("\n", "\r\n") if "\r\n" in text else made
        prologue = _PROLOGUE.match(text)
        before = re.sub(
            r"(encoding=.)[Uu][^\"'8]*16\w*", r"\1UTF-8", prologue[0] if prologue else ""
        )
        return before + made + _END.split(text)[-1]

    return units, write


def _root(text: str, name: str) -> Any:
    entity = text.find("<!ENTITY")
    if entity >= 0:
        line = text.count("\n", 0, entity) + 1
        raise InputError(
            f"{name}:{line} defines an entity, which isn't read; write out what it says"
        )
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, strip_cdata=False
    )
    try:
        root = etree.fromstring(text.encode("utf-8", "surrogatepass"), parser)
    except etree.XMLSyntaxError as error:
        raise InputError(f"{name}:{error.lineno or 1} is broken XML: {error.msg}") from None
    namespace = etree.QName(root).namespace or ""
    if etree.QName(root).localname != "xliff" or not _NAMESPACE.fullmatch(namespace):
        raise InputError(
            f"{name} is no XLIFF 1.2 or 2.x: its first element is {etree.QName(root).localname!r} "
            f"of {namespace or 'no namespace'}"
        )
    return root


def _named(near: Any, name: str) -> str:
    """An element's full name, in the namespace of another."""
    return f"{{{etree.QName(near).namespace}}}{name}"


def _declare(root: Any, first: bool, options: Options) -> None:
    """Say which language it is translated into, where nothing says that yet."""
    key = "target-language" if first else "trgLang"
    for place in root.iter(_named(root, "file")) if first else [root]:
        declared = place.get(key)
        if declared and not same_language(declared, options.target):
            raise InputError(
                f"{options.name}:{place.sourceline} is translated into {declared}, not "
                f"{options.target}; name the direction with -l"
            )
        place.set(key, declared or options.target)


def _waits(segment: Any) -> bool:
    """Whether it is to be translated, and isn't yet."""
    wanted = (one.get("translate") for one in (segment, *segment.iterancestors()))
    if (
        next((value for value in wanted if value), "yes") == "no"
        or segment.get("approved") == "yes"
    ):
        return False
    target = segment.find(_named(segment, "target"))
    if target is None or not (len(target) or (target.text or "").strip()):
        return True
    return (target.get("state") or segment.get("state")) in _DRAFTS


def _flows(element: Any) -> bool:
    spaces = (one.get(_SPACE) for one in (element, *element.iterancestors()))
    return next((value for value in spaces if value), "default") != "preserve"


def _content(element: Any) -> Iterator[str | Piece]:
    """Text and inline elements, in order."""
    yield from _literal(element.text or "")
    for child in element:
        name = etree.QName(child).localname if isinstance(child.tag, str) else "!"
        shown = f'<{name} id="{child.get("id", "")}">'
        if name in _AROUND and child.get("translate") != "no":
            yield Piece(shown, "open", name, child)
            yield from _content(child)
            yield Piece(f"</{name}>", "close", name, child)
        else:
            pair = child.get("rid") or child.get("startRef") or child.get("id") or ""
            yield Piece(shown, _ENDS.get(name, "single"), f"end {pair}", child)
        yield from _literal(child.tail or "")


def _literal(text: str) -> Iterator[str | Piece]:
    """Text with tags written out in it, as interfaces have, which pair with each other alone."""
    for item in with_tags(text):
        yield item if isinstance(item, str) else replace(item, name=f"literal {item.name}")


def _target(segment: Any, source: Any) -> Any:
    """The target of a segment, behind its source."""
    target = segment.find(_named(segment, "target"))
    if target is None:
        parted = segment.find(_named(segment, "seg-source"))
        before = source if parted is None else parted
        target = segment.makeelement(_named(segment, "target"))
        segment.insert(segment.index(before) + 1, target)
        target.tail = before.tail
    return target


def _fill(target: Any, content: Content) -> None:
    """Give a target a content in place of what it has."""
    for child in list(target):
        target.remove(child)
    target.text, inner = "", [target]
    for item in content:
        if isinstance(item, str) or item.data is None:
            text = _NOT_XML.sub("", item if isinstance(item, str) else item.text)
            if len(inner[-1]):
                inner[-1][-1].tail = (inner[-1][-1].tail or "") + text
            else:
                inner[-1].text = (inner[-1].text or "") + text
        elif not item.name.startswith("end "):
            if item.kind == "open":
                inner.append(etree.SubElement(inner[-1], item.data.tag, dict(item.data.attrib)))
            else:
                inner.pop()
        else:
            inner[-1].append(copy.copy(item.data))
            inner[-1][-1].tail = None
