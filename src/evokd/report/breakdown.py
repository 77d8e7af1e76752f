"""Which sentences and words a system does well: scores by length, by difficulty, by frequency."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from evokd.data.hypotheses import bare_words, words
from evokd.data.languages import split_direction
from evokd.recipe.metrics import describe
from evokd.report.formatting import arrow
from evokd.report.results import Record, Results
from evokd.report.svg import (
    DASHES,
    INK,
    Palette,
    draw_svg,
    legend_below,
    legend_height,
    make_palette,
    series,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = 5
MOST_PAIRS = 200_000
"""Training pairs whose words are counted."""
SEEN = (1, 10, 100, 1000)
"""How often a word stands in the text: where the next class begins."""
Panel = tuple[list[str], dict[str, list[list[float]]]]
"""Labels of the classes; system → for each seed the value in each class."""


def breakdown_figures(results: Results) -> list[tuple[str | None, str, str]]:
    """Figure, title and caption, as far as there are sentences with scores."""
    rows = [row for row in results.files.sentences if row["references"] and row["outputs"]]
    there = {one["system"] for row in rows for one in row["outputs"]}
    names = [name for name in results.systems if name in there]
    own = ["teacher", *results.with_curves]
    shown = [name for name in names if name in own] or names[: len(own)]
    palette = make_palette(results.systems)
    text, seen = _seen(results, rows)
    bands = " Bands: the range of seeds." if len(results.seeds) > 1 else ""
    figures: list[tuple[str | None, str, str]] = []
    for test_set in dict.fromkeys(row["test_set"] for row in rows):
        where = f", {test_set}" if len(results.columns) > 1 else ""
        here = [{**row, "shown": shown} for row in rows if row["test_set"] == test_set]
        metric = _metric(here)
        score = f"mean {describe(metric).label}" if metric else ""
        by: list[tuple[str, str, Callable[[Record], Panel], str, str]] = [
            (
                *("length", "Scores by sentence length", partial(by_length, metric=metric)),
                *(score, "Fifths of the sentences, by how many words the reference has."),
            ),
            (
                *("hardness", "Scores by difficulty", partial(by_difficulty, metric=metric)),
                *(score, "Fifths of the sentences, by the mean score of all systems."),
            ),
            (
                *("frequency", "Words by frequency", partial(by_frequency, seen=seen)),
                *("F1 of words, %", f"By how often a word stands in {text}; order doesn’t count."),
            ),
        ]
        for key, title, measure, unit, caption in by:
            if unit:
                panels = {arrow(row["direction"]): measure(row) for row in here}
                svg = _figure(f"by-{key}-{test_set}", f"{title}{where}", panels, unit, palette)
                figures.append((svg, f"{title}{where}", caption + bands))
    return figures


def by_length(row: Record, metric: str) -> Panel:
    """Mean scores in fifths of the sentences, shortest first."""
    sizes = [len(words(reference)) for reference in row["references"][0]]
    fifths = _fifths(sizes)
    labels = [f"≤ {max((sizes[i] for i in part), default=0)}" for part in fifths]
    return labels, _means(row, metric, fifths)


def by_difficulty(row: Record, metric: str) -> Panel:
    """Mean scores in fifths of the sentences, those first that all systems together do worst."""
    scores = [one["scores"][metric] for one in row["outputs"] if metric in one["scores"]]
    sign = -1 if describe(metric).lower_is_better else 1
    fifths = _fifths([sign * fmean(of_sentence) for of_sentence in zip(*scores, strict=True)])
    labels = ["hardest", *[""] * (len(fifths) - 2), "easiest"][: len(fifths)]
    return labels, _means(row, metric, fifths)


def by_frequency(row: Record, seen: dict[str, Counter[str]]) -> Panel:
    """F1 in per cent of words (of each sentence, each as often as both have it), by class."""
    known = seen[split_direction(row["direction"])[1]]
    expected = [Counter(bare_words(reference)) for reference in row["references"][0]]
    wanted = _by_class(known, expected)
    kept = [place for place, number in enumerate(wanted) if number]

    def f1(lines: Sequence[str]) -> list[float]:
        made = [Counter(bare_words(line)) for line in lines]
        right = _by_class(known, (a & b for a, b in zip(made, expected, strict=True)))
        total = [a + b for a, b in zip(_by_class(known, made), wanted, strict=True)]
        return [200 * right[place] / total[place] for place in kept]

    values: dict[str, list[list[float]]] = {}
    for one in _shown(row):
        values.setdefault(one["system"], []).append(f1(one["lines"]))
    labels = ["0", *(f"{number}+" for number in SEEN)]
    return [labels[place] for place in kept], values


def _seen(results: Results, rows: Sequence[Record]) -> tuple[str, dict[str, Counter[str]]]:
    """Where words were counted, the training text or else the references; language → words."""
    seen = {split_direction(row["direction"])[1]: Counter[str]() for row in rows}
    for pair in results.files.training_text(MOST_PAIRS) if rows else ():
        if pair["target_language"] in seen:
            seen[pair["target_language"]].update(bare_words(pair["target"]))
    if any(seen.values()):
        return "the training text", seen
    for row in rows:
        for reference in row["references"][0]:
            seen[split_direction(row["direction"])[1]].update(bare_words(reference))
    return "the references", seen


def _by_class(known: Counter[str], counts: Iterable[Counter[str]]) -> list[int]:
    """Words in each class of frequency."""
    totals = [0] * (len(SEEN) + 1)
    for word, number in _sum(counts).items():
        totals[bisect_right(SEEN, known[word])] += number
    return totals


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return total


def _fifths(keys: Sequence[float]) -> list[list[int]]:
    """Numbers of sentences in order of their key, cut into parts of the same size."""
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    parts = min(PARTS, len(order))
    return [order[len(order) * i // parts : len(order) * (i + 1) // parts] for i in range(parts)]


def _means(row: Record, metric: str, parts: Sequence[Sequence[int]]) -> dict[str, Any]:
    values: dict[str, list[list[float]]] = {}
    for one in _shown(row):
        if scores := one["scores"].get(metric):
            means = [fmean(scores[i] for i in part) for part in parts]
            values.setdefault(one["system"], []).append(means)
    return values


def _metric(rows: Sequence[Record]) -> str:
    """The metric that is shown: any but BLEU, which is made for whole texts, if there is one."""
    known = dict.fromkeys(name for row in rows for one in row["outputs"] for name in one["scores"])
    return min(known, key=lambda name: name == "bleu", default="")


def _shown(row: Record) -> Iterator[Record]:
    return (one for one in row["outputs"] if one["system"] in row["shown"])


def _figure(
    name: str, label: str, panels: dict[str, Panel], unit: str, palette: Palette
) -> str | None:
    """A panel for each direction, in it a line for each system."""
    systems = list(dict.fromkeys(name for _, values in panels.values() for name in values))
    if not systems:
        return None
    down = -(-len(panels) // 2)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(down, min(2, len(panels)), squeeze=False).flat
        for panel, (title, (labels, values)) in zip(axes, panels.items(), strict=False):
            places = range(len(labels))
            for system, seeds in values.items():
                style: dict[str, Any] = {"color": palette[system], "gid": series(system)}
                low, high, mean = (
                    list(map(of, zip(*seeds, strict=True))) for of in (min, max, fmean)
                )
                panel.fill_between(places, low, high, alpha=0.14, linewidth=0, **style)
                dashes = DASHES.get(system, "solid")
                panel.plot(places, mean, label=system, linestyle=dashes, linewidth=1.6, **style)
            panel.set_xticks(places, labels, fontsize=7.5)
            panel.set_title(title, fontsize=10, color=INK, loc="left")
            tidy(panel, 0)
        for panel in list(figure.axes)[len(panels) :]:
            panel.set_visible(False)
        for panel in figure.axes[:: min(2, len(panels))]:
            panel.set_ylabel(unit)
        legend_below(figure)

    return draw_svg(name, label, draw, 0.6 + down * 2.2 + legend_height(systems))
