"""The map of a grid: gains and marks of made-up results, and their figures and page."""

from __future__ import annotations

import copy
import json
import re
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from evokd.errors import InputError
from evokd.evaluate.comparison import summarise
from evokd.report.map import Gain, Map, as_markdown, as_tree
from evokd.report.map_figures import gain_lines, gate_curves, heat_map
from evokd.report.map_page import build_map, lesson
from evokd.report.page import build_report
from fake_run import small_results
from small_study import evokd
from test_page import Page

GATES = [
    {"gamma": 0.4, "doubt": None, "damped": 0.3, "precision": 0.7, "recall": 0.9},
    {"gamma": 0.4, "doubt": 2.0, "damped": 0.2, "precision": None, "recall": 0.0},
    {"gamma": 0.4, "doubt": 1.0, "damped": 0.2, "precision": 0.95, "recall": 0.8},
]
START = {
    **{"teacher_nll": 1.5, "student_nll": 2.5, "hard_share": 0.83, "wrong_share": 0.3},
    "gates": GATES,
    "advice": {"row": "noise", "method": {"objective": "self_evolution", "gate": "vouched"}},
}


def results(**bleu: float) -> dict[str, Any]:
    """forward_kd 24, sft 20 (significant), self_evolution 25.5 (significant) and skew 23 BLEU, or
    what is given."""
    made = small_results() | {"start": START}
    for row in (*made["scores"], *made["summary"], *made["comparisons"]):
        given = bleu.get(row["system"])
        if given is not None:
            row |= {"delta": given - 24} if "delta" in row else {}
            row |= {key: given for key in ("score", "mean") if key in row}
    return made


def make_grid(folder: Path, axes: dict[str, list[str]], **points: dict[str, Any]) -> Path:
    """A folder with results at each point, as they are given or the usual ones; {}: not yet."""
    tree = {
        "name": "tiny",
        "grid": {axis: {name: {} for name in names} for axis, names in axes.items()},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    for place in product(*axes.values()):
        found = points.get("_".join(place), results())
        if found:
            (folder / ".".join(place)).mkdir()
            (folder / ".".join(place) / "results.json").write_text(json.dumps(found))
    return folder


@pytest.fixture
def one_axis(tmp_path: Path) -> Path:
    """self_evolution wins with a good start and loses with a weak one."""
    axes = {"start": ["weak", "good"]}
    return make_grid(tmp_path, axes, weak=results(self_evolution=19.0, skew=23.5))


@pytest.fixture
def two_axes(tmp_path: Path) -> Path:
    """One of the four isn't finished."""
    axes = {"start": ["weak", "good"], "noise": ["clean", "pairs30"]}
    return make_grid(tmp_path, axes, good_pairs30={})


def test_gains_are_over_the_baseline_with_a_mark_where_significant(one_axis: Path) -> None:
    shown = Map(one_axis)
    found = {
        (name, *point): (gain.score, gain.gain, gain.mark)
        for (name, point), gain in shown.gains.items()
    }
    assert found == {
        ("sft", "weak"): (20.0, -4.0, "‡"),
        ("forward_kd", "weak"): (24.0, 0.0, ""),
        ("self_evolution", "weak"): (19.0, -5.0, "‡"),
        ("skew", "weak"): (23.5, -0.5, ""),
        ("sft", "good"): (20.0, -4.0, "‡"),
        ("forward_kd", "good"): (24.0, 0.0, ""),
        ("self_evolution", "good"): (25.5, 1.5, "†"),
        ("skew", "good"): (23.0, -1.0, ""),
    }
    assert [(row["system"], row["gain"]) for row in as_tree(shown)["gains"]] == [
        (name, gain) for (name, _), (_, gain, _) in found.items()
    ]


def test_the_summary_counts_points_and_takes_worst_median_and_best(one_axis: Path) -> None:
    grid = Map(one_axis).summary()
    assert grid.headings[1:] == ["worst", "median", "best", "better", "worse", "worst over sft"]
    assert grid.groups[""] == [
        ["sft", "−4.0", "−4.0", "−4.0", "0 of 2", "2 of 2", "–"],
        ["self_evolution", "−5.0", "−1.8", "+1.5", "1 of 2", "1 of 2", "−1.0"],
        ["skew", "−1.0", "−0.8", "−0.5", "0 of 2", "0 of 2", "+3.0"],
    ]
    said = lesson(Map(one_axis))
    assert said.startswith("skew is the safest of 3 methods: −1.0 to −0.5 BLEU over forward_kd")
    assert "2 conditions, significantly better under 0, worse under 0" in said


def test_directions_are_averaged_and_a_mark_needs_all_of_them_and_all_seeds(tmp_path: Path) -> None:
    made = results()
    for rows in (made["scores"], made["comparisons"]):
        rows += [copy.deepcopy(row) | {"direction": "de-en"} for row in rows]
        rows += [copy.deepcopy(row) | {"seed": 2} for row in rows if row["system"] != "teacher"]
    for row in made["scores"]:
        higher = {"de-en": 2.0}.get(row["direction"], 0.0) + (row["seed"] == 2)
        row["score"] += higher if row["system"] == "self_evolution" else 0.0
        row["score"] += 5.0 * (row["seed"] == 2)  # another start, better for each method
    made |= {"summary": summarise(made["scores"]), "directions": ["en-de", "de-en"]}
    doubtful, torn = copy.deepcopy(made), copy.deepcopy(made)
    for row in doubtful["comparisons"]:
        if (row["direction"], row["seed"]) == ("de-en", 2):
            row["significant"] = False
    for row in torn["comparisons"]:
        if row["direction"] == "de-en":
            row["delta"] *= -1
    axes = {"significant": ["always", "mostly", "both_ways"]}
    shown = Map(make_grid(tmp_path, axes, always=made, mostly=doubtful, both_ways=torn))
    gains = shown.of("self_evolution")
    # 25.5 and 27.5 with one seed, over 24; 31.5 and 33.5 with the other, over 29
    plain, marked = "29.50 (+3.0 ± 0.7)", "29.50 (+3.0 ± 0.7†)"
    assert [one.printed for one in gains] == [marked, plain, plain]
    assert [one.gain for one in gains] == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("gains", "mark"),
    [
        ((1.0, 1.2, 1.1), "†"),
        ((-1.0, -1.2, -1.1), "‡"),
        ((1.0, 2.0, 2.4), "†"),  # t = 4.3235, over 4.303
        ((1.0, 2.0, 2.5), ""),  # t = 4.1576
        ((0.0, 0.0, 0.0), ""),
        ((1.0, 2.0, 2.5, 1.5), "†"),  # t = 5.4222, and 3.182 is enough
    ],
)
def test_over_three_seeds_or_more_a_gain_is_marked_by_a_paired_t_test(
    gains: tuple[float, ...], mark: str, tmp_path: Path
) -> None:
    made = results()
    made["comparisons"] = []
    made["scores"] = [
        row | {"system": system, "seed": seed, "score": 20.0 + 3 * seed + gain * ours}
        for row in made["scores"][:1]
        for seed, gain in enumerate(gains)
        for system, ours in (("forward_kd", 0), ("self_evolution", 1))
    ]
    made["summary"] = summarise(made["scores"])
    (gain,) = Map(make_grid(tmp_path, {"start": ["weak"]}, weak=made)).of("self_evolution")
    assert gain.mark == mark


@pytest.mark.parametrize(
    ("gain", "spread", "printed"),
    [
        (3.54, 0.2, "30.00 (+3.5 ± 0.2)"),
        (0.08, 0.1, "30.00 (+0.08 ± 0.10)"),
        (0.0, 0.0, "30.00 (+0.00 ± 0.00)"),
        (-0.04, None, "30.00 (−0.04)"),
    ],
)
def test_a_gain_and_its_spread_have_as_many_decimals(
    gain: float, spread: float | None, printed: str
) -> None:
    assert Gain(30.0, gain, spread, "").printed == printed


def test_where_no_method_differs_none_is_the_safest(tmp_path: Path) -> None:
    same = results(sft=24.0, self_evolution=24.004, skew=24.0)
    folder = make_grid(tmp_path, {"start": ["weak", "good"]}, weak=same, good=same)
    assert lesson(Map(folder)) == (
        "No method differs from forward_kd: under 2 conditions all 3 have its BLEU."
    )


def test_tables_name_points_and_what_was_measured_before_training(two_axes: Path) -> None:
    shown = Map(two_axes)
    assert (shown.rows, shown.columns) == ([("weak",), ("good",)], ["clean", "pairs30"])
    assert [len(shown.scores(row).headings) for row in shown.rows] == [3, 2], "as far as it is"
    scores = {row[0]: row[1:] for row in shown.scores(("weak",)).groups[""]}
    assert scores["teacher"] == ["30.00", "30.00"]
    assert scores["forward_kd"] == ["24.00", "24.00"]
    assert scores["self_evolution"] == ["25.50 (+1.5†)", "25.50 (+1.5†)"]
    before = shown.conditions().groups[""]
    assert before[0] == ["weak · clean", "1.50", "2.50", "83 %", "30 %", "vouched"]
    assert len(before) == 3
    for title in ("### Over the whole grid", "### weak\n", "### Before training"):
        assert title in as_markdown(shown)


def texts(svg: str | None) -> set[str]:
    """Of a figure that is sound."""
    assert svg is not None
    nodes = ElementTree.fromstring(svg).iter()
    return {"".join(node.itertext()).strip() for node in nodes if node.tag.endswith("}text")}


def test_figures_name_methods_places_and_gains(one_axis: Path) -> None:
    shown = Map(one_axis)
    places = {"weak", "good"}
    gains = {"sft", "skew", "self_evolution", "+1.5†", "−5.0‡", "−0.5"}
    assert gains | places <= texts(heat_map(shown, ()))
    lines = texts(gain_lines(shown, ()))
    assert {"skew", "self_evolution", "BLEU over forward_kd"} | places <= lines
    assert "sft" not in lines, "it damps nothing"
    assert {"recall, %", "Γ alone", "vouched, δ"} <= texts(gate_curves(shown))
    found = {point: [gate["recall"] for gate in rows] for point, rows in shown.gates().items()}
    assert found == {("weak",): [0.9, 0.8], ("good",): [0.9, 0.8]}


@pytest.mark.parametrize(("axes", "panels"), [("one_axis", 1), ("two_axes", 2)])
def test_the_page_is_sound_and_leads_to_each_study(
    axes: str, panels: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(axes)
    text = build_map(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.identifiers) == len(set(page.identifiers))
    own = {f"{'.'.join(point)}/report.html" for point in Map(folder).studies}
    assert {load for load in page.loads if not load.startswith("#")} == own
    assert {load[1:] for load in page.loads if load.startswith("#")} <= set(page.identifiers)
    assert text.count("<svg") == 2 * panels + 1
    assert "tiny: the map" in page.text
    assert lesson(Map(folder)) in page.text
    assert re.search(rf"{len(own)} studies", page.text)


def test_the_page_of_a_point_says_which_it_is_and_leads_to_the_map(two_axes: Path) -> None:
    page = Page(build_report(two_axes / "weak.clean").read_text(encoding="utf-8"))
    assert page.text.count("evokd report · weak · clean") == 2
    assert [load for load in page.loads if not load.startswith("#")] == ["../report.html"]
    (two_axes / "weak.clean").rename(two_axes / "another")
    assert "../report.html" not in build_report(two_axes / "another").read_text(encoding="utf-8")


def test_report_draws_the_map_of_a_grid_and_the_page_of_a_study(one_axis: Path) -> None:
    assert evokd("report", one_axis) == (0, f"{one_axis / 'report.html'}\n", "")
    assert {"map.md", "map.json", "report.html"} <= {path.name for path in one_axis.iterdir()}
    figures = sorted((one_axis / "figures").iterdir())
    assert [path.name for path in figures] == ["gates.svg", "heat.svg", "lines.svg"]
    for path in figures:
        assert ElementTree.parse(path).getroot().get("style") == "background: white"
    assert evokd("report", one_axis / "weak")[0] == 0
    assert (one_axis / "weak/table.md").exists()
    assert not (one_axis / "weak/map.md").exists()


@pytest.mark.parametrize("unscored", [(), ("skew",)])
def test_a_grid_with_nothing_to_compare_has_a_page_all_the_same(
    tmp_path: Path, unscored: tuple[str, ...]
) -> None:
    alone = results()
    for key in ("systems", "scores", "summary", "comparisons", "gap_closed"):
        names = ("teacher", "forward_kd", *(unscored if key == "systems" else ()))
        alone[key] = [row for row in alone[key] if row["system"] in names]
    folder = make_grid(tmp_path, {"start": ["weak"]}, weak=alone)
    assert "Nothing has been compared with forward_kd" in build_map(folder).read_text()
    assert "worst over" not in (folder / "map.md").read_text(), "there is no sft"


def test_what_is_no_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recipe\.yaml has no grid; give the folder"):
        build_map(tmp_path)
    make_grid(tmp_path, {"start": ["weak"]}, weak={})
    with pytest.raises(InputError, match=r"no study in .* has finished; evokd run goes on"):
        build_map(tmp_path)
