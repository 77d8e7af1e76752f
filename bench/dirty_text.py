"""What cleaning makes of dirty text: faults of ten kinds, planted at random in text that is right.

    python bench/dirty_text.py data/train -l de-en

A fault is caught if its pair is dropped, or put right to the last character. A good pair is lost if
it is dropped although nothing was planted in it; duplicates of the text itself aren't.
"""

from __future__ import annotations

import argparse
import html
import json
import random
import re
import statistics
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from evokd.data.cleaning import clean
from evokd.data.pairs import Pair
from evokd.data.sources import load_pairs
from evokd.recipe.corpus import CleaningSettings

Fault = Callable[[str, random.Random], str]


def in_tags(text: str, chance: random.Random) -> str:
    """A word or all of it in tags, or a tag beside it."""
    words = text.split(" ")
    place = chance.randrange(len(words))
    name = chance.choice(["b", "i", "span", "em", "g"])
    attribute = chance.choice(["", ' class="x"', " id='1'"])
    words[place] = f"<{name}{attribute}>{words[place]}</{name}>"
    around = chance.choice(["{}", "<p>{}</p>", "{}<br/>", "{} <br>", "<!-- 1 -->{}"])
    return around.format(" ".join(words))


def in_entities(text: str, chance: random.Random) -> str:
    """Some of its characters as entities; a space, if need be, as &nbsp;."""
    special = [c for c in dict.fromkeys(text) if not (c.isascii() and c.isalnum()) and c != " "]
    if not special:
        return text.replace(" ", "&nbsp;", 1) if " " in text else text + "&nbsp;"
    character = chance.choice(special)
    named = html.escape(character)
    return text.replace(character, named if named != character else f"&#{ord(character)};")


def decoded_wrongly(text: str, chance: random.Random) -> str:
    """Its UTF-8 read as Windows-1252 or Latin-1; characters that have no such form stay."""
    encoding = chance.choice(["cp1252", "latin1"])

    def wrongly(character: str) -> str:
        try:
            return character.encode().decode(encoding)
        except UnicodeDecodeError:
            return character.encode().decode("latin1")

    return "".join(map(wrongly, text))


def with_characters(characters: str) -> Fault:
    """Some of `characters` put in between others."""

    def plant(text: str, chance: random.Random) -> str:
        for _ in range(chance.randint(1, 3)):
            place = chance.randint(0, len(text))
            text = text[:place] + chance.choice(characters) + text[place:]
        return text

    return plant


def with_odd_spaces(text: str, chance: random.Random) -> str:
    """No-break spaces for spaces, tabs, a byte order mark, the end of a DOS line."""
    space = chance.choice(["\u00a0", "\u202f", "\u2003", "  ", "\t"])
    return "\ufeff" * chance.randint(0, 1) + text.replace(" ", space) + chance.choice(["\r", " "])


def decomposed(text: str, chance: random.Random) -> str:
    """Letters and their accents apart (NFD)."""
    return unicodedata.normalize("NFD", text)


OF_A_SIDE: dict[str, Fault] = {
    "tags": in_tags,
    "entities": in_entities,
    "mojibake": decoded_wrongly,
    "zero-width characters": with_characters("\u200b\u2060\ufeff\u00ad"),
    "control characters": with_characters("\x00\x01\x07\x08\x0e\x1b\x7f"),
    "odd spaces": with_odd_spaces,
    "decomposed letters": decomposed,
}
KINDS = ("swapped sides", "wrong language", "copy", *OF_A_SIDE)
ACCENTED = re.compile(r"[^\x00-\x7f]")


def plant(kind: str, pair: Pair, other: Pair, chance: random.Random) -> Pair:
    """A pair with a fault; `other` lends its text."""
    if kind == "swapped sides":
        return replace(pair, source=pair.target, target=pair.source)
    if kind == "copy":
        return replace(pair, target=pair.source)
    if kind == "wrong language":
        side = chance.choice(["source", "target"])
        return replace(pair, **{side: other.target if side == "source" else other.source})
    sides = [side for side in ("source", "target") if ACCENTED.search(getattr(pair, side))]
    if kind not in ("mojibake", "decomposed letters") or not sides:
        sides = ["source", "target"]
    side = chance.choice(sides)
    return replace(pair, **{side: OF_A_SIDE[kind](getattr(pair, side), chance)})


def seconds(text: list[Pair], settings: CleaningSettings) -> float:
    """That cleaning takes."""
    start = time.perf_counter()
    clean(text, settings)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", help="parallel text that is right, as corpus.train takes it")
    parser.add_argument("-l", "--direction", default="de-en")
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    settings = CleaningSettings()
    everything = load_pairs(args.text, args.direction)
    text = chance.sample(everything, min(args.pairs, len(everything)))
    right = {pair.origin: pair for pair in clean(text, settings)[0]}

    faults: dict[str, str] = {}
    planted = list(text)
    while len(faults) < args.faults:
        kind = KINDS[len(faults) % len(KINDS)]
        place = chance.randrange(len(text))
        pair = plant(kind, text[place], chance.choice(text), chance)
        if text[place].origin in right and text[place].origin not in faults and pair != text[place]:
            planted[place], faults[pair.origin] = pair, kind

    kept, report = clean(planted, settings)
    left = {pair.origin: pair for pair in kept}
    rows = []
    for kind in KINDS:
        origins = [origin for origin, one in faults.items() if one == kind]
        dropped = sum(origin not in left for origin in origins)
        repaired = sum(left.get(origin) == right[origin] for origin in origins)
        rows.append([kind, len(origins), dropped, repaired, len(origins) - dropped - repaired])
    rows.append(["all", *(sum(row[i] for row in rows) for i in range(1, 5))])
    print(tabulate(rows, ["fault", "planted", "dropped", "put right", "missed"], "github"))
    for origin, kind in faults.items():
        if origin in left and left[origin] != right[origin]:
            print(f"missed: {kind}: {left[origin].source!r} ||| {left[origin].target!r}")

    good = {pair.origin for pair in text} - set(faults)
    alone = CleaningSettings(drop_duplicates=False)
    lost = good - {pair.origin for pair in clean(text, alone)[0]}
    print(f"\ngood pairs: {len(good)}, lost: {len(lost)} ({len(lost) / len(good):.2%})")
    for pair in text:
        if pair.origin in lost:
            print(f"lost: {pair.source!r} ||| {pair.target!r}")
    blind = CleaningSettings(drop_wrong_language=False, swapped_sides="keep")
    ratio = statistics.median(seconds(text, settings) / seconds(text, blind) for _ in range(5))
    print(f"\ncleaning takes {ratio:.1f} times as long as without a look at languages")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {"rows": rows, "good": len(good), "lost": len(lost), "cleaning": report.as_dict()}
        args.json.write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
