"""Corpus files of every format that were broken at random, and what reading makes of them."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import zstandard
from tiny_study import TREE, write_recipe
from trials import BAD_INPUT, Child, Ending, Tally, run_evokd

from evokd import load_pairs
from evokd.data.pairs import write_pairs
from evokd.errors import InputError

MEMORY = 1 << 30
"""Bytes that reading may take beyond what it begins with; the files hold some kilobytes."""
SECONDS = 20
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}
SENTENCES = [
    (f"The {noun} number {n} is green.", f"{article} Nummer {n} ist grün – „schön“.")
    for n in range(12)
    for noun, article in [("house", "Das Haus"), ("dog", "Der Hund")]
]


def try_corpora(count: int, seed: int, folder: Path) -> Tally:
    """Read broken files, most by `load_pairs`, each tenth by `evokd run --dry-run`."""
    tally, whole = Tally("corpus files broken (all formats, packed)"), 0
    for number in range(count):
        chance = random.Random(f"{seed}:{number}")
        place = folder / "corpus"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        kind, packing = chance.choice(list(FORMATS)), chance.choice(("", "", *PACKERS))
        path = _broken(kind, packing, place, chance)
        ending = _dry_run(path, place) if number % 10 == 0 else _read(path, place)
        whole += ending.code == 0
        problem = ending.breach()
        if problem is None and ending.seconds > SECONDS / 2:
            problem = f"took {ending.seconds:.0f} s"
        where = f"seed {seed}, corpus {number} ({kind}{packing})"
        tally.count(None if problem is None else f"{where}: {problem}")
    tally.notes = [f"{whole} were read all the same, {count - whole} refused"]
    return tally


def _read(path: Path, folder: Path) -> Ending:
    def read() -> int:
        try:
            pairs = load_pairs(path, "en-de", "de-en")
        except InputError as error:
            print(f"evokd: {error}")
            return BAD_INPUT
        write_pairs(folder / "read.jsonl", pairs)  # what was read can be written again
        return 0

    return Child(read, folder, MEMORY).wait(SECONDS)


def _dry_run(path: Path, folder: Path) -> Ending:
    corpus = {**TREE["corpus"], "train": [{"path": str(path), "languages": ["en", "de"]}]}
    recipe = write_recipe(folder / "recipe.yaml", {**TREE, "corpus": corpus})
    argv = ["run", recipe, "-o", folder / "run", "--dry-run"]
    return run_evokd(argv, folder, SECONDS, MEMORY)


def _broken(kind: str, packing: str, folder: Path, chance: random.Random) -> Path:
    """Write a good file with something wrong; the path that a recipe would name."""
    files = FORMATS[kind]()
    victim = chance.choice(list(files))
    for name, data in files.items():
        if name == victim:
            for _ in range(chance.choice((1, 1, 2))):
                data = chance.choice(CHANGES)(data, chance)
        packed = PACKERS[packing](data)
        if name == victim and packing and chance.random() < 0.5:
            packed = chance.choice((_cut, _flip, _flip, _trailer))(packed, chance)
        (folder / f"{name}{packing}").write_bytes(packed)
    path = folder / f"{victim}{packing}"
    odd = chance.random()
    if odd < 0.01:
        path.unlink()
        path.mkdir()
    elif odd < 0.02:
        path.unlink()
        os.mkfifo(path)
    elif odd < 0.03:
        path.unlink()
        path.symlink_to(path)
    return folder / "text" if kind == "moses" else path


def _moses() -> dict[str, bytes]:
    sides = zip(*SENTENCES, strict=True)
    texts = ("".join(f"{line}\n" for line in side) for side in sides)
    return {f"text.{code}": text.encode() for code, text in zip(("en", "de"), texts, strict=True)}


def _json() -> dict[str, bytes]:
    records = [{"translation": {"en": en, "de": de}} for en, de in SENTENCES]
    return {"text.json": json.dumps(records, ensure_ascii=False).encode()}


def _json_lines() -> dict[str, bytes]:
    lines = (json.dumps({"en": en, "de": de, "id": 3}) + "\n" for en, de in SENTENCES)
    return {"text.jsonl": "".join(lines).encode()}


def _tsv() -> dict[str, bytes]:
    return {"text.tsv": "".join(["en\tde\n", *(f"{a}\t{b}\n" for a, b in SENTENCES)]).encode()}


def _tmx() -> dict[str, bytes]:
    def side(code: str, text: str) -> str:
        return f'<tuv xml:lang="{code}"><seg>{text} <ph>x</ph></seg></tuv>'

    units = (f"<tu>{side('en-US', en)}{side('de', de)}</tu>\n" for en, de in SENTENCES)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header/><body>\n'
    return {"text.tmx": f"{head}{''.join(units)}</body></tmx>\n".encode()}


def _po() -> dict[str, bytes]:
    head = 'msgid ""\nmsgstr ""\n"Language: de\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    entries = (f'\n#: here\nmsgid "{en}"\nmsgstr "{de}"\n' for en, de in SENTENCES)
    return {"text.po": (head + "".join(entries)).encode()}


FORMATS: dict[str, Callable[[], dict[str, bytes]]] = {
    "moses": _moses,
    "json": _json,
    "jsonl": _json_lines,
    "tsv": _tsv,
    "tmx": _tmx,
    "po": _po,
}


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip(data: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.choice((1, 3, 30)) if data else 0):
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _trailer(data: bytes, chance: random.Random) -> bytes:
    return chance.choice((data[:-4], data[:-8], data + b"more", data + bytes(9), data + data))


def _empty(data: bytes, chance: random.Random) -> bytes:
    return chance.choice((b"", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b" ", b"\x00", b"\r\n\r\n"))


def _insert(data: bytes, chance: random.Random) -> bytes:
    """Something odd at any place."""
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(PIECES) + data[place:]


PIECES = (
    *(b"\x00", b"\xed\xa0\x80", b"\\ud800", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\r"),
    *("\u2028\u0085\u2029".encode(), b"&a;", b"<", b"</tu>", b"<seg>", b"]]>", b'"', b"\\"),
    *(b"\n", b"\t", b"\x1b[2J"),
    *(b"<!-- ", b"<![CDATA[", b"&#0;", b"&#xD800;", b"\x0c\x0b\x1c", b"}", b"[", b"null", b"NaN"),
    *(b"msgid", b"msgstr[1]", b"#, fuzzy\n", b"#~ ", b"#| ", b'msgctxt "x"\n', b"1e999"),
    *("e\u0301".encode() * 500, "🦊".encode() * 200, b"-" * 100_000, b"9" * 5000),
)


def _lines(data: bytes, chance: random.Random) -> bytes:
    """A line left out, doubled, moved, joined to the next, or a million characters long."""
    lines = data.split(b"\n")
    here, there = chance.randrange(len(lines)), chance.randrange(len(lines))
    change = chance.choice(("drop", "double", "move", "join", "long", "shuffle"))
    if change == "drop":
        del lines[here]
    elif change == "double":
        lines.insert(there, lines[here])
    elif change == "move":
        lines.insert(there, lines.pop(here))
    elif change == "join":
        lines[here : here + 2] = [b"".join(lines[here : here + 2])]
    elif change == "long":
        lines[here] = lines[here] * (1_000_000 // (len(lines[here]) + 1))
    else:
        chance.shuffle(lines)
    return b"\n".join(lines)


def _line_ends(data: bytes, chance: random.Random) -> bytes:
    return data.replace(b"\n", chance.choice((b"\r", b"\r\n", b"\n\r", b"\n\n", b"\x00")))


def _other_encoding(data: bytes, chance: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    names = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "utf-7")
    encoded = text.encode(chance.choice(names), "replace")
    return encoded[:-1] if chance.random() < 0.2 else encoded


def _declared_encoding(data: bytes, chance: random.Random) -> bytes:
    names = (b"UTF-16", b"latin1", b"x-none", b"cp037", b"utf-7", b"idna", b"hex", b"")
    return data.replace(b"UTF-8", chance.choice(names))


def _types(data: bytes, chance: random.Random) -> bytes:
    """Where it is JSON, a record of another kind, or one within thousands."""
    depth = chance.choice((100, 5000, 100_000))
    odd = (b"null", b"3", b"true", b'"text"', b"[]", b"{}", b"[[1]]", b'{"en": 1}', b'{"en": null}')
    more = (b'{"translation": 3}', b'{"translation": {}}', b'{"translation": {"en": ["x"]}}')
    deep = (b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth)
    piece = chance.choice((*odd, *more, *deep))
    records = data.split(b"{")
    place = chance.randrange(len(records))
    return chance.choice((piece, b"{".join([*records[:place], piece, *records[place:]])))


def _entities(data: bytes, chance: random.Random) -> bytes:
    """Where it is XML, a billion laughs, or files from elsewhere; elsewhere it is text."""
    laughs = b'<!ENTITY a0 "ha">' + b"".join(
        b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10)
    )
    outside = b'<!ENTITY a9 SYSTEM "file:///etc/hostname">'
    parameter = b'<!ENTITY % p SYSTEM "file:///dev/zero"> %p;'
    doctype = b"<!DOCTYPE tmx [%s]>\n<tmx" % chance.choice((laughs, outside, parameter))
    return data.replace(b"<tmx", doctype).replace(b"green", b"&a9;")


def _nested(data: bytes, chance: random.Random) -> bytes:
    depth = chance.choice((100, 10_000, 200_000))
    return data.replace(b"<body>", b"<body>" + b"<tu>" * depth)


def _attributes(data: bytes, chance: random.Random) -> bytes:
    olds = (b'xml:lang="de"', b"<tuv", b"</seg>", b"en", b"de", b"msgid", b"translation")
    old = chance.choice(olds)
    return data.replace(old, chance.choice((b"", b"x", b'xml:lang=""', b"\xc3\xa4", old + old)))


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_cut, _flip, _flip, _empty, _insert, _insert, _lines, _lines, _line_ends, _other_encoding),
    *(_declared_encoding, _types, _types, _entities, _nested, _attributes),
)
