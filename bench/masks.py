"""How often a translator copies what stands in a text for a tag or a placeholder.

    python bench/masks.py MODEL -l en-de --text lines.en

Two masks go around a word or two, as tags do, or one in the place of a word, as a placeholder does.
They are copied if each is in the answer exactly once, and in their order. Placeholders and
addresses as they are written are tried likewise.
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path

from tabulate import tabulate

import evokd

MASKS = ["[1]", "<1>", "{1}", "(1)", "⟨1⟩", "#1", "X1", "71", "701", "[701]", "(701)", "X701"]
AS_WRITTEN = ["{name}", "%s", "%1$s", "https://example.org/a", "me@example.org"]


def around(line: str, marks: list[str], chance: random.Random) -> str:
    words = line.split()
    first = chance.randrange(len(words))
    last = min(len(words), first + chance.randint(1, 2))
    return " ".join([*words[:first], marks[0], *words[first:last], marks[1], *words[last:]])


def instead(line: str, marks: list[str], chance: random.Random) -> str:
    words = line.split()
    words[chance.randrange(len(words) - 1)] = marks[0]
    return " ".join(words)


def copied(answer: str, marks: list[str]) -> bool:
    places = []
    for mark in marks:
        edges = r"(?<!\w){}(?!\w)" if mark[0].isalnum() else "{}"
        places.append([one.start() for one in re.finditer(edges.format(re.escape(mark)), answer)])
    return all(len(found) == 1 for found in places) and places == sorted(places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("-l", "--direction", required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=24)
    parser.add_argument("--prompt")
    parser.add_argument("--masks", nargs="+", default=MASKS)
    args = parser.parse_args()
    lines = [one for one in args.text.read_text("utf-8").splitlines() if 4 <= len(one.split()) < 26]
    lines = lines[: args.lines]
    translator = evokd.Translator.load(args.model, prompt=args.prompt)
    rows = []
    for mask in [*args.masks, *AS_WRITTEN]:
        number = re.search(r"\d+", mask) if mask in args.masks else None
        marks = [mask, mask]
        if number:
            marks[1] = mask.replace(number[0], str(int(number[0]) + 1))
        row: list[object] = [mask]
        for put in (around, instead):
            if put is around and not number:
                row.append(None)
                continue
            needed = marks if put is around else marks[:1]
            chance = random.Random(1)
            given = [put(line, marks, chance) for line in lines]
            answers = translator.translations(given, *args.direction.split("-")).lines
            row.append(100 * sum(copied(one, needed) for one in answers) / len(lines))
        rows.append(row)
        print(tabulate(rows[-1:], tablefmt="plain", floatfmt=".0f"), flush=True)
    headers = ["mask", "around words, %", "instead of one, %"]
    print(f"\n{args.model}, {args.direction}, {len(lines)} lines\n")
    print(tabulate(rows, headers=headers, floatfmt=".0f"))


if __name__ == "__main__":
    main()
