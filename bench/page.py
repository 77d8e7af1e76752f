"""How large report.html gets and how fast it opens: many systems, directions, seeds, sentences.

    python bench/page.py --systems 20 --directions 4 --seeds 3 --lines 2000

References are made of random words, as often as words are (Zipf); a system has other words in the
place of some. The page is written from that, opened in Chromium from the disk, and asked for its
sentences: times are medians of five openings, each in a new tab.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from tabulate import tabulate

from evokd.evaluate.comparison import summarise
from evokd.report.page import build_report

VOCABULARY = 20_000
LENGTHS = (4, 40)
DIRECTIONS = ("en-de", "de-en", "en-cs", "cs-en", "en-fr", "fr-en", "en-pl", "pl-en")
WRONG = (0.15, 0.45)
"""Share of words that the best and the worst system have otherwise."""
OPENINGS = 5


class Text:
    """Random words, and lines of them that are nearly the same."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        letters = "etaoinshrdlucmfwygpb"
        self.words = ["".join(self.chance.choices(letters, k=2 + i % 9)) for i in range(VOCABULARY)]
        self.weights = list(itertools.accumulate(1 / (i + 1) for i in range(VOCABULARY)))

    def draw(self, number: int) -> list[str]:
        return self.chance.choices(self.words, cum_weights=self.weights, k=number)

    def line(self) -> str:
        return " ".join(self.draw(self.chance.randint(*LENGTHS)))

    def otherwise(self, line: str, share: float) -> tuple[str, float]:
        """With other words in some places; per cent of words that are as they were."""
        old = line.split()
        new = [w if self.chance.random() > share else self.draw(1)[0] for w in old]
        same = sum(a == b for a, b in zip(old, new, strict=True))
        return " ".join(new), round(100 * same / len(old), 1)


def make_run(folder: Path, systems: int, directions: Sequence[str], seeds: int, lines: int) -> None:
    """results.json and sentences.jsonl, nothing else."""
    text = Text(1)
    names = [f"method_{number:02}" for number in range(1, systems + 1)]
    runs = [(name, seed) for name in names for seed in range(1, seeds + 1)]
    tree: dict[str, Any] = {
        "title": f"{systems} systems, {len(directions)} directions, {seeds} seeds, {lines} lines",
        **{"directions": list(directions), "seeds": list(range(1, seeds + 1))},
        **{"baseline": names[0], "scores": [], "comparisons": [], "behaviour": []},
        "systems": [{"system": name, "seed": seed, "objective": name} for name, seed in runs],
    }
    with (folder / "sentences.jsonl").open("w", encoding="utf-8") as file:
        for direction in directions:
            references = [text.line() for _ in range(lines)]
            outputs = []
            for number, (name, seed) in enumerate(runs):
                share = WRONG[0] + (WRONG[1] - WRONG[0]) * number / len(runs)
                made = [text.otherwise(line, share) for line in references]
                bleu = [score for _, score in made]
                chrf = [round(0.8 * s + text.chance.uniform(0, 20), 2) for s in bleu]
                scores = {"bleu": bleu, "chrf": chrf}
                odd = sorted(text.chance.sample(range(1, lines + 1), k=min(5, lines)))
                label = {"system": name, "seed": seed}
                outputs.append(
                    {**label, "lines": [line for line, _ in made], "scores": scores}
                    | {"behaviour": {"repeated": odd}}
                )
                label |= {"test_set": "random", "direction": direction}
                tree["behaviour"].append(
                    {**label, "segments": lines, "repeated": len(odd), "lines": {"repeated": odd}}
                )
                tree["scores"] += [
                    {**label, "metric": metric, "score": statistics.fmean(values)}
                    for metric, values in scores.items()
                ]
            row = {"test_set": "random", "direction": direction, "references": [references]}
            sources = [text.line() for _ in range(lines)]
            file.write(json.dumps({**row, "sources": sources, "outputs": outputs}) + "\n")
    tree["summary"] = summarise(tree["scores"])
    (folder / "results.json").write_text(json.dumps(tree), encoding="utf-8")


def opening(page: Page, address: str) -> dict[str, float]:
    """Seconds until the page can be read, until its sentences stand there, of a search in them."""
    start = time.perf_counter()
    page.goto(address, wait_until="load")
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    read = time.perf_counter()
    page.locator("#sentences").scroll_into_view_if_needed()
    page.wait_for_selector(".sentence")
    shown = time.perf_counter()
    page.get_by_label("Search").fill("the")
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return {
        "open, s": read - start,
        "sentences shown, s": shown - read,
        "a search, s": time.perf_counter() - shown,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--systems", type=int, default=20, help="default: 20")
    parser.add_argument("--directions", type=int, default=4, help="default: 4, of 8")
    parser.add_argument("--seeds", type=int, default=3, help="default: 3")
    parser.add_argument("--lines", type=int, default=2000, help="default: 2000")
    parser.add_argument(
        "--chromium", default="/usr/bin/chromium", help="default: /usr/bin/chromium"
    )
    parser.add_argument("--keep", type=Path, help="folder for the run; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        directions = DIRECTIONS[: args.directions]
        make_run(folder, args.systems, directions, args.seeds, args.lines)
        start = time.perf_counter()
        path = build_report(folder)
        row = {"sentences.jsonl, MB": (folder / "sentences.jsonl").stat().st_size / 1e6}
        row |= {"report.html, MB": path.stat().st_size / 1e6}
        row |= {"written in, s": time.perf_counter() - start}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=args.chromium, args=["--no-sandbox"]
            )
            times = []
            for _ in range(OPENINGS):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                times.append(opening(page, path.as_uri()))
                page.close()
            browser.close()
    row |= {key: statistics.median(one[key] for one in times) for key in times[0]}
    print(tabulate([row], headers="keys", floatfmt=".2f", tablefmt="github"))


if __name__ == "__main__":
    main()
