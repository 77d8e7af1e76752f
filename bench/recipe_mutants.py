"""Recipes that were changed at random: text and tree, and what `evokd run` makes of them."""

from __future__ import annotations

import copy
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tiny_study import TREE, write_recipe
from trials import Tally, run_evokd, tree_hash

from evokd.recipe.shipped import shipped_recipes

MEMORY = 1 << 31
"""Bytes that a child may have beyond what it begins with."""
CHECK_SECONDS, DRY_SECONDS, RUN_SECONDS = 20, 60, 40
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 10**6, 10**12, 10**30, -(10**12), 2**63, 0.5, -0.5),
    *(1e-300, 1e308, float("nan"), float("inf"), float("-inf"), "", " ", "no", "fresh", "sft"),
    *("auto", "cut", "en-de", "de-en", "xx-yy", "en", "teacher", "0", "-1", "nan", "1e9", "~"),
    *("~nobody/x", ".", "..", "/", "a" * 5000, "\u0000", "\ud7ff", "ünï 漢字 🦊", "\u202e"),
    *("line\nline", "{}", "[", "%s%n", "../../x", "hub:", ":", "phrasebook:train:0", "none.yaml"),
    *("phrasebook:x", "phrasebook:train:5", "sacrebleu:", "data/train", [], [None], [[]], {}),
    *(["sft", "sft"], [1, 2, 3], {"": None}, {"name": None}, {"rule": "quantile"}, {1: 2}),
    *({"a": {"b": {"c": []}}}, {"start": 1, "end": 0}, {"max_steps": 1}, [{"path": "data/train"}]),
)


def try_recipes(count: int, seed: int, finished: Path, folder: Path) -> Tally:
    """Check mutants and, where the check passes, ask what a run would do; of some of the tiny
    study really run them.

    Args:
        finished: a copy of a finished run; what is checked and asked for there leaves it as it is.
        folder: where all of this goes on.
    """
    tally = Tally("recipes mutated (--check, --dry-run, run)")
    sources, before = _sources(folder), tree_hash(finished)
    accepted = ran = 0
    for number in range(count):
        chance = random.Random(f"{seed}:{number}")
        name = chance.choice(["tiny"] * len(sources) + list(sources))
        path = folder / "mutant.yaml"
        path.write_bytes(mutant(sources[name], chance))
        argv = ["run", path, "-o", finished]
        ending = run_evokd([*argv, "--check"], folder, CHECK_SECONDS, MEMORY)
        problem, asked = ending.breach(), "--check"
        if problem is None and ending.code == 0:
            accepted += 1
            asked = "--dry-run"
            problem = run_evokd([*argv, "--dry-run"], folder, DRY_SECONDS, MEMORY).breach()
            if problem is None and name == "tiny" and number % 2 == 0:
                ran, asked = ran + 1, "run"
                problem = _really(path, folder)
        if problem is None and tree_hash(finished) != before:
            problem = "a finished run was changed"
        where = f"seed {seed}, recipe {number} ({name}), {asked}"
        tally.count(None if problem is None else f"{where}: {problem}")
    tally.notes = [f"{accepted} mutants were accepted, {ran} of these run"]
    return tally


def mutant(text: str, chance: random.Random) -> bytes:
    """A recipe's text with some things changed in its tree, in its text, or in both."""
    if chance.random() < 0.75:
        tree = yaml.safe_load(text)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            tree = _of_tree(tree, chance)
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        if chance.random() < 0.85:
            return text.encode("utf-8", "surrogatepass")
    return chance.choice(TEXT_CHANGES)(text, chance)


def _really(path: Path, folder: Path) -> str | None:
    """Run a mutant in a folder of its own; one that is still at work in the end is stopped."""
    run = folder / "mutant"
    few = ["teacher.training.max_steps=2", "training.max_steps=2"]
    ending = run_evokd(["run", path, "-o", run, *few], folder, RUN_SECONDS, MEMORY)
    run_evokd(["status", run], folder)
    shutil.rmtree(run, ignore_errors=True)
    return None if ending.signal == 9 and "Traceback" not in ending.said else ending.breach()


def _sources(folder: Path) -> dict[str, str]:
    """Recipes by name, of little text each; what they read lies in the folder."""
    data = folder / "data"
    for part, lines in {"train": 40, "valid": 8, "test": 8, "more": 12}.items():
        for code, word in {"en": "house", "de": "Haus"}.items():
            text = "".join(f"{word} {part} number {n} stands here.\n" for n in range(lines))
            data.mkdir(exist_ok=True)
            (data / f"{part}.{code}").write_text(text, encoding="utf-8")
    texts = {"tiny": write_recipe(folder / "source.yaml", TREE).read_text(encoding="utf-8")}
    for name, path in shipped_recipes().items():
        text = path.read_text(encoding="utf-8")
        texts[name] = re.sub(r"phrasebook:(\w+)(:\d+)?", r"phrasebook:\1:40", text)
    return texts


CHANGES = (*["value"] * 2, *["nudge"] * 3, "delete", "rename", "swap", "double", "wrap")
NUDGES: tuple[Callable[[float], float], ...] = (
    *(lambda x: x + 1, lambda x: x - 1, lambda x: 2 * x, lambda x: x / 2, lambda x: -x),
    *(lambda x: 1000 * x, lambda x: 10**6 * x, lambda x: 10**12 * x, lambda x: x + 0.5),
)
Place = tuple[Any, Any]
"""A mapping or list of a tree, and the key or position in it."""


def _places(tree: Any) -> list[Place]:
    """All places of a tree."""
    found: list[Place] = []
    if isinstance(tree, dict):
        found += [(tree, key) for key in tree]
    elif isinstance(tree, list):
        found += [(tree, number) for number in range(len(tree))]
    return found + [place for node, key in list(found) for place in _places(node[key])]


def _of_tree(tree: Any, chance: random.Random) -> Any:
    """A tree with one thing deleted, doubled, swapped, of another type, or under another key."""
    places = _places(tree)
    if not places:
        return chance.choice(VALUES)
    change = chance.choice(CHANGES)
    numbers = [place for place in places if type(place[0][place[1]]) in (int, float)]
    node, key = chance.choice(numbers if change == "nudge" and numbers else places)
    other, other_key = chance.choice(places)
    if change == "nudge" and type(node[key]) in (int, float):
        node[key] = chance.choice(NUDGES)(node[key])
    elif change == "value":
        node[key] = copy.deepcopy(chance.choice(VALUES))
    elif change == "delete":
        del node[key]
    elif change == "rename" and isinstance(node, dict):
        name = chance.choice(["", "nmae", f"{key}s", str(key)[:-1], other_key, None, 3, "name"])
        node[name] = node.pop(key)
    elif change == "swap":
        node[key], other[other_key] = copy.deepcopy(other[other_key]), copy.deepcopy(node[key])
    elif change == "double" and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    elif change == "double" and isinstance(other, dict):
        other[str(key)] = copy.deepcopy(node[key])
    else:
        node[key] = chance.choice(([node[key]], {"path": node[key]}, {str(key): node[key]}))
    return tree


def _cut(text: str, chance: random.Random) -> bytes:
    return text.encode()[: chance.randrange(len(text.encode()))]


def _flip(text: str, chance: random.Random) -> bytes:
    data = bytearray(text.encode())
    for _ in range(chance.choice((1, 2, 20))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _indent(text: str, chance: random.Random) -> bytes:
    lines = text.split("\n")
    number = chance.randrange(len(lines))
    lines[number] = chance.choice((" ", "    ", "\t", "- ", "? ", "--- ")) + lines[number]
    return "\n".join(lines).encode()


def _move_lines(text: str, chance: random.Random) -> bytes:
    lines = text.split("\n")
    lines.insert(chance.randrange(len(lines)), lines.pop(chance.randrange(len(lines))))
    return "\n".join(lines).encode()


def _insert(text: str, chance: random.Random) -> bytes:
    number = chance.randrange(len(text))
    pieces = ("\x00", "\ufeff", "\u2028", "&a [*a]", "*b", "!!python/object:os.system x", "<<: *a")
    more = ("!!int ", "!!float x", "!!binary /", "!!timestamp 1", "2001-99-99", "%YAML 9", "|", ">")
    piece = chance.choice((*pieces, *more, "{" * 30, "0x", "1_0", "1:30:00", "=", "@", "`"))
    return (text[:number] + piece + text[number:]).encode()


def _deep(text: str, chance: random.Random) -> bytes:
    depth = chance.choice((50, 500, 5000, 50_000))
    opening, closing = chance.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")))
    return f"{text}\nplugins: {opening * depth}{closing * depth}\n".encode()


def _aliases(text: str, chance: random.Random) -> bytes:
    """Ten lists, each of nine times the one before: a few lines that stand for 10⁹ words."""
    key = chance.choice(("plugins", "seeds", "grid", "methods", "more"))
    lines = ["x0: &x0 [sft, sft, sft, sft, sft, sft, sft, sft, sft]"]
    for n in range(1, 10):
        lines.append(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]")
    return "\n".join([text, *lines, f"{key}: *x9", ""]).encode()


def _cycle(text: str, chance: random.Random) -> bytes:
    key = chance.choice(("plugins", "grid", "methods", "seeds", "more", "analysis"))
    cycles = ("&a [*a]", "&a {b: *a}", "&a [{name: *a}]", "&a {name: x, training: *a}")
    cycle = chance.choice(cycles)
    return f"{text}\n{key}: {cycle}\n".encode()


def _other_encoding(text: str, chance: random.Random) -> bytes:
    return text.encode(chance.choice(("utf-16", "utf-32", "utf-16-le", "utf-8-sig")))


TEXT_CHANGES: tuple[Callable[[str, random.Random], bytes], ...] = (
    *(_cut, _flip, _flip, _indent, _move_lines, _insert, _insert, _deep),
    *(_aliases, _cycle, _other_encoding),
)
