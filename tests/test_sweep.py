"""Sweeps: what they stand for in a recipe, what a study makes of them, what the page shows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from evokd.recipe.file import check_recipe, dump_recipe, points
from evokd.recipe.sweep import Range
from evokd.report.results import Results
from evokd.report.sweeps import sweep_curve, sweep_figures, sweeps_of
from fake_run import make_results
from small_study import evokd, recipe, write_recipe
from test_recipe import refusal


def swept(over: dict[str, Any], of: Any = "self_evolution", **more: Any) -> dict[str, Any]:
    return recipe(sweep={"of": of, "over": over, **more})


def settings_of(tree: dict[str, Any], key: str = "gamma") -> dict[str, Any]:
    made = check_recipe(tree).methods
    return {one.name: getattr(one, key) for one in made if one.swept}


def test_a_list_of_values_is_a_method_each():
    tree = swept({"gamma": [0.1, 2, "0.5"]})
    assert settings_of(tree) == {"gamma_0_1": 0.1, "gamma_2": 2.0, "gamma_0_5": 0.5}
    assert [m.name for m in check_recipe(tree).methods[:3]] == tree["methods"]


def test_two_keys_are_every_combination_or_one_after_the_other():
    over = {"gamma": [1, 2], "beta": [0.2, 0.8]}
    assert list(settings_of(swept(over))) == [
        "gamma_1_beta_0_2", "gamma_1_beta_0_8", "gamma_2_beta_0_2", "gamma_2_beta_0_8",
    ]  # fmt: skip
    assert list(settings_of(swept(over, how="list"))) == ["gamma_1_beta_0_2", "gamma_2_beta_0_8"]
    said = refusal(swept({"gamma": [1, 2], "beta": [0.2]}, how="list"))
    assert "equally many values of each key; gamma has 2, beta has 1" in said


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"start": 0.1, "end": 0.5, "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"start": 1, "end": 2, "step": 0.4}, [1.0, 1.4, 1.8]),
        ({"start": 3, "end": 0, "count": 4}, [3.0, 2.0, 1.0, 0.0]),
        ({"start": 1e-5, "end": 1e-3, "count": 3, "log": True}, [1e-5, 1e-4, 1e-3]),
    ],
)
def test_ranges_by_hand(given, values):
    assert Range(**given).values() == values
    assert list(settings_of(swept({"gamma": given})).values()) == values


def test_any_key_of_a_method_may_be_swept():
    over = {"training.learning_rate": [1e-5, 3e-4], "gate": ["hard", "inverted"]}
    made = [one for one in check_recipe(swept(over)).methods if one.swept]
    assert made[0].name == "learning_rate_1e_05_gate_hard"
    assert [(m.training.learning_rate, m.gate) for m in made] == [
        (1e-5, "hard"), (1e-5, "inverted"), (3e-4, "hard"), (3e-4, "inverted"),
    ]  # fmt: skip
    rules = [{"rule": "running_mean", "k": 0}, 0.4]
    assert len(settings_of(swept({"gamma": rules}))) == 2


def test_names_keep_a_sign_and_two_sweeps_over_one_key_are_told_apart():
    assert list(settings_of(swept({"gamma": [-1, 1]}))) == ["gamma_m1", "gamma_1"]
    over = {"training.learning_rate": [0.1]}
    sweeps = [{"of": "sft", "over": over}, {"of": {"name": "mine", "objective": "noevo"}}]
    made = check_recipe(recipe(sweep=[sweeps[0], {**sweeps[1], "over": over}])).methods
    assert [m.name for m in made if m.swept] == ["sft_learning_rate_0_1", "mine_learning_rate_0_1"]
    assert [m.objective for m in made if m.swept] == ["sft", "noevo"]


def test_a_method_that_stands_in_the_recipe_lends_its_settings():
    tree = swept({"gamma": [1]}, of="mine", name="mine")
    tree["methods"].append({"name": "mine", "objective": "self_evolution", "beta": 0.2})
    assert settings_of(tree, "beta") == {"mine_gamma_1": 0.2}
    tree["sweep"]["of"] = {"objective": "skew_teacher", "lam": 0.3}
    tree["sweep"]["over"] = {"beta": [0.5]}
    assert settings_of(tree, "lam") == {"mine_beta_0_5": 0.3}
    alone = swept({"gamma": [1, 2]}, of="vouched")
    del alone["methods"]
    assert list(settings_of(alone)) == ["gamma_1", "gamma_2"]


def test_a_saved_recipe_can_be_swept_otherwise():
    """recipe.yaml of a run holds the sweep and what it stands for; overrides go by the sweep."""
    saved = yaml.safe_load(dump_recipe(check_recipe(swept({"gamma": [1, 2]}))))
    assert [m["name"] for m in saved["methods"]][-2:] == ["gamma_1", "gamma_2"]
    assert settings_of(saved) == {"gamma_1": 1.0, "gamma_2": 2.0}
    made = check_recipe(saved, ["sweep.0.over.gamma=[3, 4, 5]"])
    assert [m.gamma for m in made.methods if m.swept] == [3.0, 4.0, 5.0]
    grid = {"start": {"weak": {"sweep.0.over.gamma": [7]}, "good": {}}}
    studies = points(check_recipe(saved | {"grid": grid}))
    assert [m.gamma for m in studies["weak"].methods if m.swept] == [7.0]
    assert [m.gamma for m in studies["good"].methods if m.swept] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"over": {"gama": [1]}}, "sweep.0.over: unknown key of a method 'gama'; did you mean"),
        ({"over": {"corpus.limit": [1]}}, "corpus.limit is no method's, but the study's; that is"),
        ({"of": "noevo", "over": {"gamma": [1]}}, "noevo doesn't read gamma; it reads lam"),
        ({"of": "sft", "over": {"lam": [1]}}, "sft doesn't read lam; it reads no setting"),
        ({"over": {"gamma": {"start": 1, "stop": 2}}}, "unknown key of a range 'stop'; did you"),
        ({"over": {"gamma": []}}, "over.gamma: found no value"),
        ({"over": {}}, "sweep.0.over: found nothing"),
        ({"over": {"gamma": 3}}, "found 3; a list of values or"),
        ({"over": {"lam": [0.5, 3]}}, "methods.lam_3.lam: found 3"),
        ({"over": {"gamma": [1, 1]}}, "'gamma_1' appears twice"),
        ({"over": {"gamma": {"start": 1, "end": 2}}}, "step and count; one of them"),
        ({"over": {"gamma": {"start": 0, "end": 2, "count": 3, "log": True}}}, "above 0"),
        ({"over": {"gamma": {"start": 0, "end": 1, "step": 1e-9}}}, "more than 200 values"),
        ({"over": {"gamma": list(range(201))}}, "201 combinations; at most 200"),
        ({"of": "nonsense", "over": {"gamma": [1]}}, "unknown objective 'nonsense'"),
        ({"of": {}, "over": {"gamma": [1]}}, "sweep.0.of: found no objective"),
        ({"over": {"gamma": [1]}, "how": "star"}, "sweep.0.how: found 'star'"),
    ],
)
def test_what_cannot_be_swept_is_refused(sweep, said):
    assert said in refusal(recipe(sweep={"of": "self_evolution", **sweep}))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small study of a sweep, and its folder."""
    folder = tmp_path_factory.mktemp("sweep")
    tree = swept({"gamma": [0.4, 99]}) | {"seeds": [1, 2]}
    tree["methods"] = ["sft", "noevo", "self_evolution"]
    path = write_recipe(folder / "recipe.yaml", tree)
    code, _, err = evokd("run", path, "-o", folder / "run")
    assert code == 0, err
    return path, folder / "run", err


def test_a_sweep_is_trained_scored_and_shown(study):
    _, run, err = study
    results = Results.read(run)
    assert results.students == ["sft", "noevo", "self_evolution", "gamma_0_4", "gamma_99"]
    # Γ = 0.4 is trained already, as self_evolution: the same files, no second training
    assert re.search(r"student gamma_0_4, seed 1: .*students/self_evolution.seed1.*kept", err), err
    (sweep,) = sweeps_of(results)
    assert sweep.of == "self_evolution"
    assert list(sweep.points.values()) == [{"gamma": 0.4}, {"gamma": 99}]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "self_evolution over Γ" in page
    assert "Best on validation: " in page


def test_the_best_is_chosen_on_validation(study):
    _, run, _ = study
    tree = json.loads((run / "results.json").read_text(encoding="utf-8"))
    compared = {"self_evolution", "gamma_0_4", "gamma_99"}
    assert {row["system"] for row in tree["validation"]} == compared
    assert {row["direction"] for row in tree["validation"]} == {"en-de", "de-en"}
    for best in compared:
        rows = [
            row | {"score": 30.0 if row["system"] == best else 20.0} for row in tree["validation"]
        ]
        results = Results(tree | {"validation": rows})
        assert results.focus == best
        assert results.validated(best) == 30.0


def test_a_default_that_is_written_out_is_no_other_student(study):
    path, run, _ = study
    spelled_out = ("sweep.0.over={gamma: [0.4, 99], beta: [0.5], lam: [0.5]}", "--dry-run")
    code, out, err = evokd("run", path, "-o", run, *spelled_out, "--format", "json")
    assert code == 0, err
    stages = json.loads(out)["stages"]
    students = {s["name"]: s["action"] for s in stages if s["name"].startswith("student")}
    assert len(students) == 2 * 5
    assert set(students.values()) == {"keep"}


def test_nothing_is_made_again_for_a_sweep_that_grows(study):
    path, run, _ = study
    grown = ("sweep.0.over.gamma=[0.4, 99, 0.7]", "--dry-run", "--format", "json")
    code, out, err = evokd("run", path, "-o", run, *grown)
    assert code == 0, err
    made = {s["name"] for s in json.loads(out)["stages"] if s["action"] != "keep"}
    students = {"student gamma_0_7, seed 1", "student gamma_0_7, seed 2"}
    assert {name for name in made if name.startswith("student")} == students


def fake(values: dict[str, dict[str, Any]], of: str = "skew", **more: Any) -> Results:
    """Invented results in which methods stand for points of a sweep."""
    tree = make_results(more.pop("seeds", (1, 2)), **more)
    for row in tree["systems"]:
        if row["system"] in values:
            row["settings"] = {"swept": {"of": of, "at": values[row["system"]]}}
    return Results(tree)


def test_the_figure_has_every_value_and_says_what_differs():
    results = fake({"noevo": {"gamma": 0.1}, "skew": {"gamma": 2}, "self_evolution": {"gamma": 8}})
    ((svg, title, caption),) = sweep_figures(results)
    assert svg is not None
    for text in ("0.1", "2", "8", "Γ", "forward_kd", "teacher", "sft"):
        assert f">{text}</text>" in svg
    assert title == "skew over Γ"
    assert caption.startswith("Average BLEU; bars: ± one standard deviation over seeds.")
    (sweep,) = sweeps_of(results)
    assert svg == sweep_curve(results, sweep, "flickr2016", "sweep-0-flickr2016")


def test_further_keys_are_lines_and_words_stand_side_by_side():
    at = {
        "forward_kd": {"gate": "hard", "lam": 0.2},
        "noevo": {"gate": "smooth", "lam": 0.2},
        "skew": {"gate": "hard", "lam": 0.8},
        "self_evolution": {"gate": "smooth", "lam": 0.8},
    }
    results = fake(at, baseline="sft", seeds=(1,))
    ((svg, title, caption),) = sweep_figures(results)
    assert svg is not None
    for text in ("hard", "smooth", "λ = 0.2", "λ = 0.8"):
        assert f">{text}</text>" in svg
    assert title == "skew over gate and λ"
    assert "95 % intervals" in caption


def test_one_point_is_no_figure():
    assert sweep_figures(fake({"skew": {"gamma": 2}})) == []
