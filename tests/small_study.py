"""A study that takes seconds: a recipe, its corpus, and how tests run and look at it."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from evokd.cli import main
from evokd.data.pairs import Pair
from evokd.study.places import System

DIRECTIONS = ("en-de", "de-en")


def recipe(**changes: Any) -> dict[str, Any]:
    """Tiny fresh models on 100 sentences of the phrasebook, some steps each."""
    return {
        "name": "tiny",
        "directions": list(DIRECTIONS),
        "corpus": {
            "train": "phrasebook:train:100",
            "valid": "phrasebook:valid:10",
            "test": [{"name": "phrases", "path": "phrasebook:test:10"}],
        },
        "prompt": "compact",
        "tokenizer": {"vocab_size": 400},
        "teacher": {
            "model": "fresh",
            "fresh": {"hidden_size": 32, "layers": 1, "heads": 2},
            "training": {"max_steps": 20},
        },
        "student": {
            "model": "fresh",
            "fresh": {"hidden_size": 16, "layers": 1, "heads": 2},
            "warm_start_steps": 3,
        },
        "training": {
            "max_steps": 6,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "max_length": 128,
            "log_every": 2,
        },
        "methods": ["sft", "forward_kd", "self_evolution"],
        "scoring": {"bootstrap_samples": 50},
        **changes,
    }


def both_ways(count: int) -> list[Pair]:
    """Sentence pairs, each in both directions."""
    return [
        pair
        for i, (english, german) in enumerate(sentences(count))
        for pair in (
            Pair(english, german, "en", "de", f"t:{i}"),
            Pair(german, english, "de", "en", f"t:{i}"),
        )
    ]


def write_recipe(path: Path, tree: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def write_moses(folder: Path, name: str, pairs: list[tuple[str, str]]) -> Path:
    """PREFIX.en and PREFIX.de; returns PREFIX."""
    for i, language in enumerate(("en", "de")):
        text = "".join(pair[i] + "\n" for pair in pairs)
        (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return folder / name


def sentences(count: int, start: int = 0) -> list[tuple[str, str]]:
    """Distinct sentence pairs; a made-up town tells them apart."""
    things = [("train", "Zug"), ("bus", "Bus"), ("friend", "Freund"), ("brother", "Bruder")]
    hours = [
        ("one", "eins"),
        ("two", "zwei"),
        ("three", "drei"),
        ("four", "vier"),
        ("six", "sechs"),
    ]
    made = []
    for number in range(start, start + count):
        thing, hour = things[number % 4], hours[number // 4 % 5]
        town = "".join("bdfglmnrst"[int(digit)] + "aeiou"[int(digit) % 5] for digit in str(number))
        made.append(
            (
                f"The {thing[0]} comes to {town.title()} at {hour[0]}.",
                f"Der {thing[1]} kommt um {hour[1]} nach {town.title()}.",
            )
        )
    return made


def evokd(*argv: Any, stdin: bytes = b"") -> tuple[int, str, str]:
    """The command line in this process: exit code, stdout and stderr."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    err = io.StringIO()
    typed = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", typed),
    ):
        try:
            code = main([str(arg) for arg in argv])
        except SystemExit as stop:
            code = int(stop.code or 0)
    out.flush()
    return code, out.buffer.getvalue().decode("utf-8"), err.getvalue()  # type: ignore[attr-defined]


def stand_in(folder: Path, name: str, mark: str = "it", seed: int | None = None) -> System:
    """A translator's stage that nothing was trained for."""
    return System(name, folder, name, {"mark": mark}, system=name, seed=seed)


def without_figures() -> Any:
    """A context: reports are written without their figures, most of what a small run takes."""
    return mock.patch("evokd.report.page.report_figures", return_value=[])


def snapshot(folder: Path) -> dict[str, int]:
    """Every file of a folder and when it was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Files that were written, added or removed in between."""
    return {name for name in before | after if before.get(name) != after.get(name)}
