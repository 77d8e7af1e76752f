"""The figures: who is on them, that they are sound SVG, and that they fetch nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from evokd.report import figures
from evokd.report.results import Results
from evokd.report.svg import make_palette
from fake_run import OBJECTIVES, make_diagnostics, make_metrics, make_results

CURVES = {name: [make_metrics(name, seed, 300) for seed in (1, 2)] for name in OBJECTIVES[:3]}
DIAGNOSTICS = {
    "start": [make_diagnostics(1.0)],
    "skew": [make_diagnostics(0.5, 1), make_diagnostics(0.5, 2)],
}
PALETTE = make_palette(["teacher", *OBJECTIVES])
DRAWN: list[tuple[str, Callable[[], str | None], list[str]]] = [
    ("loss", lambda: figures.loss_curves(CURVES, PALETTE), list(CURVES)),
    ("hard share", lambda: figures.hard_share_curves(CURVES, PALETTE), list(CURVES)),
    (
        "weight",
        lambda: figures.hard_weight_curves("noevo", CURVES["noevo"]),
        ["tokens", "loss", "gradient"],
    ),
    (
        "histogram",
        lambda: figures.difficulty_histogram(DIAGNOSTICS, PALETTE),
        ["start", "skew", "Γ = 0.4"],
    ),
    (
        "dots",
        lambda: figures.score_dots(Results(make_results((1, 2))), "flickr2016"),
        ["teacher", *OBJECTIVES, "en → de", "de → en"],
    ),
    (
        "likeness",
        lambda: figures.score_dots(Results(make_results()), "flickr2016", "bleu_vs_teacher"),
        ["sft"],
    ),
]


@pytest.mark.parametrize(
    ("draw", "names"), [entry[1:] for entry in DRAWN], ids=[d[0] for d in DRAWN]
)
def test_figures_name_their_systems_as_text(
    draw: Callable[[], str | None], names: list[str]
) -> None:
    svg = draw()
    assert svg is not None
    assert svg == draw(), "the same data must give the same bytes"
    tree = ElementTree.fromstring(svg)
    texts = {"".join(node.itertext()).strip() for node in tree.iter() if node.tag.endswith("}text")}
    assert set(names) <= texts
    assert "width" not in tree.attrib, "a figure is as wide as its card"
    links = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', svg)
    assert all((a or b).startswith("#") for a, b in links)
    identifiers = re.findall(r'\bid="([^"]+)"', svg)
    assert len(identifiers) == len(set(identifiers))
    assert {(a or b)[1:] for a, b in links} <= set(identifiers)


def test_identifiers_differ_between_figures() -> None:
    first, second = figures.loss_curves(CURVES, PALETTE), figures.hard_share_curves(CURVES, PALETTE)
    found = [set(re.findall(r'\bid="([^"]+)"', svg or "")) for svg in (first, second)]
    assert found[0]
    assert not found[0] & found[1]


def test_nothing_to_draw_is_none() -> None:
    empty = [{"step": 1, "loss": 2.0, "noevo_loss": None}, {"step": 2, "eval_loss": 1.0}]
    point = make_metrics("skew", 1, 10)  # makes no line
    assert figures.loss_curves({"skew": [point]}, PALETTE) is None
    assert figures.hard_share_curves({"skew": [point]}, PALETTE) is None
    assert figures.hard_weight_curves("skew", [point]) is None
    assert figures.loss_curves({"sft": [empty]}, PALETTE) is None
    assert figures.hard_share_curves({}, PALETTE) is None
    assert figures.hard_weight_curves("sft", [empty]) is None
    assert figures.hard_weight_curves("skew", []) is None
    assert figures.difficulty_histogram({}, PALETTE) is None
    assert figures.difficulty_histogram({"start": [{"gamma": 0.4}]}, PALETTE) is None
    assert figures.score_dots(Results({}), "flickr2016") is None


def test_running_mean_keeps_lines_and_evens_noise() -> None:
    line = [0.5 * i for i in range(100)]
    np.testing.assert_allclose(figures._smoothed(line)[2:-2], line[2:-2])
    noise = np.random.default_rng(1).normal(size=400)
    assert figures._smoothed(noise).std() < 0.4 * noise.std()
    assert abs(figures._smoothed([0.0] * 99 + [1.0])[-1]) <= 1 / 3, "no spike at the end"
    assert list(figures._smoothed([3.0])) == [3.0]


def test_histogram_adds_seeds_and_keeps_the_open_end() -> None:
    seeds = [
        {"histogram": {"edges": [0, 1, 2, None], "counts": [3, 0, 1]}},
        {"histogram": {"edges": [0, 1, 2, None], "counts": [1, 2, 1]}},
    ]
    assert figures._histogram(seeds) == ([0, 1, 2, 3], [50, 25, 25])


def test_the_room_needs_no_torch() -> None:
    code = (
        "import sys; import evokd.report.page, evokd.report.figures as f; "
        "run = [{'step': step, 'noevo_loss': 1.0} for step in (1, 2)]; "
        "f.loss_curves({'sft': [run]}, {'sft': 'red'}); "
        "sys.exit(bool({'torch', 'transformers', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
