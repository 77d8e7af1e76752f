"""The methods section of a recipe: short forms, defaults of objectives, and what goes together."""

from __future__ import annotations

import pytest

from evokd.recipe.file import check_recipe
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import OBJECTIVES, method_names
from evokd_extras import CompetenceSettings
from small_study import recipe
from test_recipe import refusal


def methods(*given):
    return {method.name: method for method in check_recipe(recipe(methods=list(given))).methods}


def refused(*given) -> str:
    return refusal(recipe(methods=list(given)))


@pytest.mark.parametrize("name", [n for n in method_names() if n != "seq_inter"])
def test_a_bare_name_is_a_method(name):
    (made,) = methods(name).values()
    of_settings = {"vouched": "self_evolution", "auto": "self_evolution"}
    assert (made.name, made.kind()) == (name, of_settings.get(name, name))
    assert (made.gate == "vouched") == (name in of_settings)
    assert made.open == (name == "auto")


def test_methods_of_kim_and_rush_are_nll_on_the_teachers_text():
    made = methods("seq_kd", "seq_inter")
    assert (made["seq_kd"].objective, made["seq_kd"].text) == ("sft", "teacher")
    inter = made["seq_inter"]
    assert (inter.objective, inter.text, inter.start) == ("sft", "nearest", "seq_kd")


def test_a_preset_takes_settings_and_another_name():
    (made,) = methods({"name": "mine", "objective": "seq_kd", "training": {"epochs": 2}}).values()
    assert (made.name, made.objective, made.kind()) == ("mine", "sft", "seq_kd")
    assert made.training.model_dump(exclude_unset=True) == {"epochs": 2}


def test_defaults_depend_on_the_objective():
    made = methods("noevo", "atkd", "skew_teacher", "word_kd", "skl", "srkl", "jsd")
    in_force = {name: method.in_force()[1] for name, method in made.items()}
    assert [in_force[n].lam for n in ("noevo", "atkd")] == [0.5, 0.2]
    assert [in_force[n].beta for n in ("noevo", "skew_teacher", "jsd")] == [0.5, 0.9, 0.5]
    assert [in_force[n].alpha for n in ("word_kd", "skl", "srkl")] == [0.5, 0.1, 0.1]


def test_gamma_may_be_a_rule():
    (made,) = methods({"name": "self_evolution", "gamma": {"rule": "linear", "start": 5}}).values()
    assert (made.first_gamma(), made.gamma.end) == (5.0, 0.4)
    (made,) = methods({"name": "self_evolution", "gamma": {"rule": "running_mean"}}).values()
    assert made.first_gamma() == 0.4


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ({"gamma": {"rule": "median"}}, ["gamma.rule: unknown rule 'median'", "running_quantile"]),
        ({"gamma": {"rul": "linear"}}, ["gamma.rul: unknown key 'rul'; did you mean 'rule'?"]),
        ({"gamma": "high"}, ["gamma: found 'high'; a finite number or {rule"]),
        ({"beta": "half"}, ["beta: found 'half'; a number from 0 to 1, difficulty, network or"]),
        (
            {"objective": "noevo", "gamma": {"rule": "linear"}},
            ["setting of self_evolution"],
        ),
        (
            {"objective": "skew", "gate": "smooth"},
            ["gate is a setting of self_evolution", "Leave gate out, or set it to hard"],
        ),
        ({"objective": "noevo", "doubt": 3}, ["doubt is a setting of self_evolution"]),
        ({"doubt": 3}, ["doubt: found 3.0, which is of gate: vouched", "Type gate: vouched, or"]),
        ({"gate": "vouched", "tau": 0.1}, ["tau: found 0.1, which is of gate: smooth; the gate"]),
        ({"gate": "vouched", "doubt": -3}, ["doubt: found -3; input should be greater"]),
        (
            {"gate": "vouched", "doubt": float("inf")},
            ["doubt: found inf; input should be"],
        ),
        (
            {"objective": "auto", "gate": "smooth"},
            ["objective, gate and text are what", "'gate': 'smooth'"],
        ),
        (
            {"objective": "skew", "beta": "network"},
            ["the objective is skew"],
        ),
        ({"objective": "jds"}, ["unknown objective 'jds'; did you mean 'jsd'?", "seq_kd"]),
        ({"gamma": {"rule": "quantile"}, "gate": "smooth"}, ["takes gate: hard", "smooth"]),
        ({"start": "nobody"}, ["methods.m.start: 'nobody' is no method", "those are: none"]),
        ({"name": "start"}, ["'start' can't name a system"]),
    ],
)
def test_what_does_not_go_together_is_refused(method, parts):
    said = refused({"name": "m", "objective": "self_evolution", **method})
    for part in parts:
        assert part in said


def test_a_method_goes_on_from_one_that_stands_before_it():
    assert methods("noevo", {"name": "more", "objective": "skl", "start": "noevo"})
    said = refused({"name": "more", "objective": "skl", "start": "noevo"}, "noevo")
    assert "methods.more.start: 'noevo' is no method that stands before it" in said
    assert "'seq_kd' is no method that stands before it" in refused("seq_inter")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ones_own_text_needs_an_objective_without_reference(objective):
    method = {"name": "own", "objective": objective, "on_policy": {"share": 1.0}}
    if OBJECTIVES[objective].reads_reference != "always":
        assert methods({**method, "lam": 1.0})["own"].on_policy.share == 1.0
    else:
        said = refused({**method, "lam": 1.0})
        assert "compares the student with the reference" in said
        assert "jsd" in said


@pytest.mark.parametrize("objective", ["forward_kd", "reverse_kd", "skew_teacher"])
def test_a_mix_with_the_reference_is_no_objective_without_it(objective):
    method = {"name": "own", "objective": objective, "on_policy": {}}
    assert "compares the student with the reference" in refused(method)


@pytest.mark.parametrize("name", ["vouched", "auto"])
def test_what_the_vouched_gate_reads_is_dumped_and_read_again(name):
    for given in (name, {"objective": name, "name": "m", "doubt": 4.0}):
        (made,) = methods(given).values()
        assert MethodSettings.model_validate(made.model_dump(mode="json")) == made


def test_an_old_name_of_a_value_goes_on_working(caplog):
    (made,) = methods({"name": "self_evolution", "gate": "swapped"}).values()
    assert made.gate == "inverted"
    assert "gate: swapped is called inverted by now" in caplog.text


def test_a_pair_weight_stands_among_the_keys_of_its_method():
    (made,) = methods({"name": "noevo", "competence": {"samples": 2}}).values()
    assert made.pair_weights == {"competence": CompetenceSettings(samples=2)}
    dumped = made.model_dump(mode="json")
    assert "pair_weights" not in dumped
    assert MethodSettings.model_validate(dumped) == made
    assert not methods({"name": "noevo", "competence": None})["noevo"].pair_weights
    said = refused({"name": "noevo", "competence": {"sample": 2}})
    assert "competence.sample: unknown key 'sample'; did you mean 'samples'?" in said
    assert "competence" in refused({"name": "noevo", "competense": {}})


def test_pruned_students_have_names_of_their_own():
    made = check_recipe(
        recipe(methods=["sft"], pruning={"methods": ["sft"], "levels": [0.5, 0.875]})
    )
    assert list(made.students()) == ["sft", "sft_pruned50", "sft_pruned87_5"]
    tree = recipe(methods=["sft"], pruning={"methods": ["noevo"]})
    assert "pruning.methods: unknown method 'noevo'" in refusal(tree)
    tree = recipe(methods=["sft"], pruning={"levels": [1.0]})
    assert "pruning.levels.0: found 1.0; input should be less than 1" in refusal(tree)
