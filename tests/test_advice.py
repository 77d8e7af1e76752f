"""What is advised for which data, and what a study makes of a method that is left open."""

import pytest

from evokd.recipe.recipe import Recipe
from evokd.study.advice import advise, with_advice
from small_study import recipe

GOOD = {
    **{"student_nll": 2.0, "teacher_nll": 1.0, "teacher_entropy": 1.1},
    **{"hard_share": 0.2, "wrong_share": 0.0},
}


@pytest.mark.parametrize(
    ("facts", "unpaired", "text", "row"),
    [
        ({}, 0, "reference", "clean"),
        (
            {"wrong_share": 0.01, "teacher_nll": 0.1, "teacher_entropy": 0.1},
            0,
            "reference",
            "clean",
        ),
        ({"wrong_share": 0.3}, 0, "teacher", "noise"),
        ({"wrong_share": None}, 0, "reference", "not told"),
        ({"wrong_share": None}, 500, "teacher", "plain text"),
        ({}, 500, "teacher", "plain text"),
    ],
)
def test_text_goes_by_what_is_wrong_and_what_is_there(facts, unpaired, text, row):
    advice = advise(GOOD | facts, unpaired)
    assert advice.method == {"objective": "self_evolution", "gate": "vouched", "text": text}
    assert advice.row == row


def test_a_teacher_that_is_sure_of_nothing_is_not_followed():
    advice = advise(GOOD | {"student_nll": 6.0, "teacher_nll": 5.4, "wrong_share": 0.3}, 500)
    assert (advice.method, advice.row) == ({"objective": "sft"}, "unsure")


def test_a_teacher_without_a_lead_is_not_followed():
    advice = advise(GOOD | {"teacher_nll": 2.1, "wrong_share": 0.5})
    assert advice.method == {"objective": "sft"}


@pytest.mark.parametrize(
    ("nll", "entropy", "wrong", "row"),
    [
        (0.17, 0.37, 0.0, "blurred"),
        (0.17, 0.37, 0.3, "noise"),
        (0.17, 0.37, None, "not told"),
        (0.05, 0.12, 0.0, "clean"),
        (1.7, 2.0, 0.0, "clean"),
    ],
)
def test_a_teacher_of_worse_text_than_these_references(nll, entropy, wrong, row):
    facts = {"teacher_nll": nll, "teacher_entropy": entropy, "wrong_share": wrong}
    advice = advise(GOOD | facts)
    assert advice.row == row
    assert (advice.method["objective"] == "sft") == (row == "blurred")


def test_two_lines_say_what_and_why():
    first, second = advise(GOOD | {"wrong_share": 0.31}).lines()
    assert "31% of the training pairs look wrong" in first
    assert "20% of the start's tokens are hard" in first
    assert "leads by 1.00 nats" in first
    assert "text: teacher" in second
    assert "docs/regimes.md" in second


def test_only_what_is_left_open_changes():
    given = ["sft", {"name": "auto", "lam": 0.7, "training": {"epochs": 2}}, "vouched"]
    said = []
    advice = advise(GOOD | {"wrong_share": 0.5}).method
    made = with_advice(Recipe.model_validate(recipe(methods=given)), advice, said.append)
    assert said == ["auto: takes {objective: self_evolution, gate: vouched, text: teacher}"]
    sft, auto, vouched = made.methods
    assert (sft.objective, vouched.text) == ("sft", "reference")
    assert (auto.name, auto.text, auto.gate, auto.training.epochs) == (
        "auto",
        "teacher",
        "vouched",
        2,
    )
    assert auto.open
    assert auto.lam == 0.7
    assert made.texts() == ["teacher"]
    without = with_advice(made, {"objective": "sft"}, said.append)
    assert without.method("auto").objective == "sft"
    assert said[1:] == ["auto: takes {objective: sft}, which has no lam"]
