"""gettext catalogues: messages without a translation get one, to be looked through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from evokd.data.documents.forms import Options, Reading, Unit
from evokd.data.documents.lines import joined
from evokd.data.documents.pieces import Content, with_tags
from evokd.data.languages import same_language
from evokd.errors import InputError

_PLURALS = re.compile(r"nplurals\s*=\s*(\d+)")
_LINE = re.compile(r'\s*(#.*|(msg(ctxt|id|id_plural|str(\[\d+\])?)\s*)?"(\\.|[^"\\])*"\s*)?')


def read_po(text: str, options: Options) -> Reading:
    """Messages that have no translation yet; those that have one, fuzzy or not, stay. What is
    filled in is marked fuzzy: msgfmt leaves it out until somebody has looked at it.

    The first plural form is the singular's translation, the others are the plural's; where the
    language has but one form that is the plural's.

    Raises:
        InputError: it is no catalogue, or one of another language.
    """
    catalogue = _catalogue(text, options)
    found = _PLURALS.search(catalogue.metadata.get("Plural-Forms", ""))
    plurals = int(found[1]) if found else 2
    units: list[Unit] = []
    filled: list[tuple[Any, Sequence[int]]] = []
    """Of each unit: the message, and which of its plural forms."""
    for entry in catalogue:
        if entry.obsolete or entry.msgstr or any(entry.msgstr_plural.values()):
            continue
        sources = [(entry.msgid, range(0))]
        if entry.msgid_plural:
            one, more = min(1, plurals - 1), range(min(1, plurals - 1), plurals)
            sources = [(entry.msgid, range(one)), (entry.msgid_plural, more)][1 - one :]
        for source, forms in sources:
            units.append(Unit(with_tags(source), entry.linenum))
            filled.append((entry, forms))

    def write(contents: Sequence[Content | None]) -> str:
        for unit, (entry, forms), new in zip(units, filled, contents, strict=True):
            made = joined(unit.content if new is None else new)
            if forms:
                entry.msgstr_plural.update(dict.fromkeys(forms, made))
            else:
                entry.msgstr = made
            if made.strip() and not entry.fuzzy:
                entry.flags.insert(0, "fuzzy")
        made = str(catalogue).removesuffix("\n") + "\n"
        return made if text.startswith("#") else made.removeprefix("#\n")

    return units, write


def _catalogue(text: str, options: Options) -> Any:
    import polib

    for number, line in enumerate(text.split("\n"), start=1):
        if not _LINE.fullmatch(line.removesuffix("\r")):
            raise InputError(
                f"{options.name}:{number} is no line of a gettext catalogue: {line[:80]!r}"
            )
    try:
        # With a line end it is never taken for a file's name.
        catalogue = polib.pofile(text.replace("\r\n", "\n") + "\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{options.name} is no gettext catalogue: {error}") from None
    declared = catalogue.metadata.get("Language", "").strip()
    if declared and options.target and not same_language(declared, options.target):
        raise InputError(
            f"{options.name} says that it translates into {declared}, not {options.target}; name "
            "the direction with -l"
        )
    return catalogue
