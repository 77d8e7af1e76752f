"""What tests of significance hold, on made-up test sets whose truth is known; and their time.

    python bench/significance.py --sets 1000
    python bench/significance.py --time --systems 20 --directions 4 --seeds 3 --lines 2000

A segment has a length and a difficulty; a method makes something of its own of it, alike in all its
runs (seeds), and each run something more. N-grams match with these probabilities, and BLEU is
sacreBLEU's. Where runs differ, a run is better or worse in all segments at once, as chance in
training has it.

seeds: a paired bootstrap of each, which all must agree on a difference in one direction (what marks
a table by default). pooled: randomization over all seeds (scoring.test: randomization). apart: the
same if runs of a segment changed places one by one. An interval is that of the difference.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from tabulate import tabulate

from evokd.evaluate.significance import compare_runs

SEGMENTS, SAMPLES = 300, 300
QUALITY, METHOD, RUN = 0.12, 0.08, 0.06
"""Deviations of a segment's difficulty, of what a method and a run make of it."""
MANY = 100_000
"""Segments that a true difference is measured on."""
CASES = {
    "equal, 1 seed": (1, 0.0, 0.0),
    "equal": (3, 0.0, 0.0),
    "equal, runs differ": (3, 0.0, 0.004),
    "equal, runs differ more": (3, 0.0, 0.008),
    "different": (3, 0.02, 0.0),
}
"""Seeds, how much more of the words the second method has right, deviation of a run."""


def run_of(draw: np.random.Generator, right: np.ndarray, length: np.ndarray) -> np.ndarray:
    """(segments, 10): BLEU's statistics of one run."""
    right = np.clip(right, 0.02, 0.98)
    total = [np.maximum(length - order, 0) for order in range(4)]
    correct = [draw.binomial(n, right ** (1 + 0.6 * order)) for order, n in enumerate(total)]
    return np.array([length, length, *correct, *total], float).T


def test_set(
    draw: np.random.Generator, segments: int, seeds: int, gap: float, spread: float
) -> list[list[np.ndarray]]:
    """Of two methods the statistics of each run."""
    length, difficulty = draw.integers(5, 40, segments), draw.normal(0.55, QUALITY, segments)
    methods = []
    for better in (0.0, gap):
        alike = difficulty + better + draw.normal(0, METHOD, segments)
        shifts = draw.normal(0, spread, seeds)
        noise = draw.normal(0, RUN, (seeds, segments))
        methods.append([run_of(draw, alike + shifts[k] + noise[k], length) for k in range(seeds)])
    return methods


def simulate(sets: int) -> list[list[Any]]:
    """A row for each case."""
    bleu, rows = BLEU(references=[["a"]]), []

    def compared(runs: list[list[np.ndarray]], test: str, seed: int) -> dict[str, Any]:
        return compare_runs("bleu", bleu, runs, test=test, n_samples=SAMPLES, seed=seed)[0]

    for name, (seeds, gap, spread) in CASES.items():
        draw = np.random.default_rng(5)
        truth = compared(test_set(draw, MANY, 1, gap, 0.0), "bootstrap", 1)["delta"] if gap else 0.0
        counts = dict.fromkeys(("seeds", "pooled", "apart", "interval"), 0)
        detectable, deviation = [], []
        for seed in range(1, sets + 1):
            runs = test_set(draw, SEGMENTS, seeds, gap, spread)
            each = [compared([[a], [b]], "bootstrap", seed) for a, b in zip(*runs, strict=True)]
            signs = {row["significant"] and np.sign(row["delta"]) for row in each}
            pooled = compared(runs, "randomization", seed)
            apart = compared([[np.concatenate(own)] for own in runs], "randomization", seed)
            low, high = pooled["delta_interval"]
            found = (signs in ({1}, {-1}), pooled["significant"], apart["significant"])
            for key, seen in zip(counts, (*found, low <= truth <= high), strict=True):
                counts[key] += bool(seen)
            detectable.append(pooled["detectable"])
            deviation.append(np.std([row["baseline_score"] for row in each]))
        numbers = [f"{100 * count / sets:.1f}" for count in counts.values()]
        of_seeds = f"{np.mean(deviation) * (seeds / (seeds - 1)) ** 0.5:.2f}" if seeds > 1 else ""
        rows.append([name, seeds, f"{truth:.2f}", of_seeds, *numbers, f"{np.mean(detectable):.2f}"])
    return rows


def timed(systems: int, directions: int, seeds: int, lines: int) -> list[list[Any]]:
    """Seconds of one core for both tests of a table, statistics at hand."""
    rows = []
    for scorer in (BLEU(references=[["a"]]), CHRF(references=[["a"]])):
        draw = np.random.default_rng(5)
        length, right = draw.integers(5, 40, lines), draw.normal(0.55, QUALITY, lines)
        made = [[run_of(draw, right, length) for _ in range(seeds)] for _ in range(systems)]
        if isinstance(scorer, CHRF):  # 18 columns, of the same sizes
            made = [[np.tile(run[:, [6, 6, 2]], (1, 6)) for run in own] for own in made]
        start = time.process_time()
        for _ in range(directions):
            for seed in range(seeds):
                compare_runs("", scorer, [[own[seed]] for own in made])
        middle = time.process_time()
        for _ in range(directions):
            compare_runs("", scorer, made, test="randomization")
        end = time.process_time()
        rows.append([type(scorer).__name__, f"{middle - start:.1f}", f"{end - middle:.1f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", type=int, default=1000, help="test sets of each case")
    parser.add_argument("--time", action="store_true", help="time instead")
    for name, default in (("systems", 20), ("directions", 4), ("seeds", 3), ("lines", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    if args.time:
        rows = timed(args.systems, args.directions, args.seeds, args.lines)
        head = ["metric", "bootstrap of each seed, s", "randomization over seeds, s"]
    else:
        rows = simulate(args.sets)
        head = ["truth", "seeds", "Δ BLEU", "s.d. of seeds", "seeds: found, %", "pooled: found, %"]
        head += ["apart: found, %", "truth in the interval, %", "detectable"]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
