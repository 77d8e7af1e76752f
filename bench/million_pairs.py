"""How long and how much memory text takes, from files to the first step of a training.

    python bench/million_pairs.py --pairs 100000 1000000 5000000

The text is made first, and isn't counted: sentences of the phrasebook, some of which are put
together, with words and numbers that make them differ; one line in fifty is dirty. Then
`evokd run` reads, cleans and divides it both ways, trains a tokenizer, encodes, and a small fresh
student takes one step, in a process of its own. Memory is that of it and of all that it started,
what they share counted once (PSS), looked at five times a second. Seconds of a machine that others
use say little; CPU seconds of all processes, user and system, stand beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml
from tabulate import tabulate

from evokd.data.sources import load_pairs

WORDS = {
    "en": ["old", "small", "green", "quiet", "famous", "modern", "warm", "expensive"],
    "de": ["alt", "klein", "grün", "ruhig", "berühmt", "modern", "warm", "teuer"],
}
SYLLABLES = ["ber", "lin", "mar", "ten", "hal", "sel", "rod", "gen", "win", "stad", "kir", "fel"]
STAGES = {
    "corpus": "clean text in the run folder",
    "device": "the tokenizer",
    "advice": "teacher, start, and the check of both",
}
"""What the log says, and what is done by then."""
DIRTY = 50
"""Of so many lines one has something wrong with it."""


def sentences(count: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """English and German sentences of about 100 characters, nearly all different."""
    known = [(p.source, p.target) for p in load_pairs("phrasebook:train", "en-de")]
    chance = random.Random(seed)
    for number in range(count):
        parts = chance.sample(known, chance.choice((1, 1, 1, 2)))
        place = "".join(chance.choices(SYLLABLES, k=3)).title()
        word = chance.randrange(len(WORDS["en"]))
        year = chance.randrange(1200, 2030)
        english = f"In {year} {place} was {WORDS['en'][word]}. "
        german = f"Im Jahr {year} war {place} {WORDS['de'][word]}. "
        english += " ".join(one for one, _ in parts)
        german += " ".join(other for _, other in parts)
        if number % DIRTY == 7:
            english, german = spoilt(english, german, chance)
        yield english, german


def spoilt(english: str, german: str, chance: random.Random) -> tuple[str, str]:
    """One of six things that are wrong with text."""
    kind = chance.randrange(6)
    if kind == 0:
        return german, english
    if kind == 1:
        return english, ""
    if kind == 2:
        return english, english
    if kind == 3:
        return f"<b>{english}</b>", german
    if kind == 4:
        return english, german.encode().decode("latin1")
    return english.replace(" ", "\u00a0"), f"{german}\u200b"


def recipe(folder: Path) -> dict[str, Any]:
    """A tiny fresh student that takes one step beside a tiny live teacher."""
    fresh = {"hidden_size": 32, "layers": 1, "heads": 2}
    return {
        "name": "million",
        "directions": ["en-de", "de-en"],
        "corpus": {
            "root": str(folder),
            "train": ["train"],
            "test": [{"name": "phrases", "path": "phrasebook:test:10"}],
        },
        "prompt": "compact",
        "teacher": {"model": "fresh", "fresh": fresh, "sft": False},
        "student": {"model": "fresh", "fresh": fresh},
        "training": {"max_steps": 1, "batch_size": 64, "max_length": 192},
        "methods": ["noevo"],
    }


def child(path: str, out: str) -> None:
    """A run up to its first optimizer step; when each stage was there, in seconds."""
    began = time.perf_counter()
    from evokd.cli.console import quiet
    from evokd.recipe.file import load_recipe
    from evokd.study.run import run

    marks: list[tuple[str, float, float]] = []

    def cpu() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter() - began, cpu()))
        Path(out).write_text(json.dumps(marks), encoding="utf-8")

    def log(text: str) -> None:
        print(text, flush=True)
        what = text.split(":")[0]
        if what in STAGES and STAGES[what] not in [name for name, *_ in marks]:
            mark(STAGES[what])
        if what == "device":  # not before: nothing needs torch as long as text is read
            stop_after_a_step(mark)

    quiet()  # as the command does
    run(load_recipe(path), Path(path).with_name("run"), log)


def stop_after_a_step(mark: Callable[[str], None]) -> None:
    """End this process there."""
    from transformers import TrainerCallback

    from evokd.distil.train import run as training

    class First(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            mark("the first step")
            os._exit(0)

    metrics_file = training.MetricsFile

    def encoded(path: Path) -> Any:
        mark("token ids")
        return metrics_file(path)

    training.MetricsFile = encoded  # type: ignore[misc, assignment]
    training.tensorboard = lambda folder: First()  # type: ignore[assignment]


def measure(folder: Path, pairs: int) -> list[list[Any]]:
    """A row for each stage."""
    path, out = folder / "recipe.yaml", folder / "marks.json"
    path.write_text(yaml.safe_dump(recipe(folder)), encoding="utf-8")
    began, peaks, stop = time.perf_counter(), [], threading.Event()
    process = subprocess.Popen([sys.executable, __file__, "--child", str(path), str(out)])

    def watch() -> None:
        while not stop.wait(0.2):
            peaks.append((time.perf_counter() - began, pss(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    stop.set()
    watcher.join()
    rows, start, cpu_before = [], 0.0, 0.0
    stages: dict[str, tuple[float, float]] = {}
    for name, seconds, cpu in json.loads(out.read_text(encoding="utf-8")):
        stages[name] = seconds, cpu
    for name, (seconds, cpu) in stages.items():
        held = [mib for moment, mib in peaks if start <= moment <= seconds + 0.3]
        rows.append([pairs, name, seconds - start, cpu - cpu_before, max(held, default=0)])
        start, cpu_before = seconds, cpu
    rows.append([pairs, "all", start, cpu_before, max(mib for _, mib in peaks)])
    return rows


def pss(pid: int) -> float:
    """MiB of a process and all below it."""
    total = 0
    try:
        root = psutil.Process(pid)
        every = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for one in every:
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", type=Path, help="where text and run lie for a while")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    rows = []
    for pairs in args.pairs:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            with (
                (folder / "train.en").open("w", encoding="utf-8") as english,
                (folder / "train.de").open("w", encoding="utf-8") as german,
            ):
                for one, other in sentences(pairs):
                    english.write(one + "\n")
                    german.write(other + "\n")
            rows += measure(folder, pairs)
        headers = ["sentence pairs", "until", "seconds", "CPU seconds", "peak MiB"]
        print(tabulate(rows, headers, "github", floatfmt=".0f", intfmt=","), flush=True)


if __name__ == "__main__":
    main()
