"""A study with methods of all families: on other text, on its own, pruned, cut from its teacher."""

from __future__ import annotations

import json
import shutil

import pytest

from small_study import changed, evokd, recipe, snapshot, write_recipe

METHODS = [
    "sft",
    "seq_kd",
    {"name": "inter", "objective": "atkd", "text": "nearest", "start": "seq_kd"},
    {"name": "own", "objective": "jsd", "on_policy": {"share": 1.0, "every": 2}},
    {"name": "following", "objective": "self_evolution", "gamma": {"rule": "running_mean"}},
    {"name": "network", "objective": "self_evolution", "beta": "network"},
    {"name": "level", "objective": "noevo", "competence": {"threshold": 1, "samples": 2}},
]
NAMES = ("sft", "seq_kd", "inter", "own", "following", "network", "level")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    teacher = {
        "model": "fresh",
        "fresh": {"hidden_size": 48, "layers": 2, "heads": 2},
        "training": {"max_steps": 120, "learning_rate": 1e-2},
        "signal": "hidden",
    }
    cut = {"layers": 1, "calibration_pairs": 8}
    tree = recipe(
        name="families",
        corpus={
            "train": "phrasebook:train:100",
            "valid": "phrasebook:valid:10",
            "test": [{"name": "phrases", "path": "phrasebook:test:8"}],
        },
        teacher=teacher,
        student={"model": "cut", "cut": cut},
        teacher_text={"beam": 2, "candidates": 2, "max_length_ratio": 100},
        decoding={"extra_tokens": 4, "tokens_per_source_token": 1.0},
        methods=METHODS,
        pruning={"methods": ["seq_kd"], "levels": [0.5], "training": {"max_steps": 2}},
        analysis={"beams": [2], "likelihood": True, "acceptance": True},
        scoring={"bootstrap_samples": 10},
    )
    tree["training"] |= {"max_steps": 4}
    path = write_recipe(folder / "families.yaml", tree)
    code, out, err = evokd("run", path, "-o", folder / "run")
    assert code == 0, err
    return folder / "run", path, out


def facts_of(folder, system):
    return json.loads((folder / f"students/{system}.seed1/manifest.json").read_text())["facts"]


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_every_student_is_there_and_scored(finished):
    found = results_of(finished[0])
    systems = {"teacher", *NAMES, "seq_kd_pruned50"}
    assert {row["system"] for row in found["scores"]} == systems
    kinds = {row["system"]: row["objective"] for row in found["systems"]}
    assert (kinds["seq_kd"], kinds["inter"], kinds["seq_kd_pruned50"]) == (
        *("seq_kd", "atkd"),
        "pruned",
    )


def test_students_are_taught_by_what_fits_their_text(finished):
    signals = {name: facts_of(finished[0], name)["teacher_signal"] for name in NAMES}
    assert signals["own"] == "live"
    assert signals["seq_kd"] == "none"
    assert signals["inter"].startswith("cached, hidden states")
    assert facts_of(finished[0], "own")["own_share"] == 1.0


def test_a_student_cut_from_its_teacher_is_smaller(finished):
    teacher = json.loads((finished[0] / "teacher/manifest.json").read_text())["facts"]
    student = facts_of(finished[0], "sft")
    assert (teacher["layers"], student["layers"]) == (2, 1)
    assert student["vocabulary"] == teacher["vocabulary"]


@pytest.mark.parametrize("signal", ["live", "hidden"])
def test_a_student_may_know_the_tokens_of_its_text_only(finished, tmp_path, signal):
    """Taught by the same teacher as one that knows them all."""
    teacher = {"model": str(finished[0] / "teacher/model"), "sft": False, "signal": signal}
    tree = recipe(
        name="few_words",
        corpus={
            "train": "phrasebook:train:12",
            "valid": "phrasebook:valid:3",
            "test": [{"name": "phrases", "path": "phrasebook:test:3"}],
        },
        teacher=teacher,
        student={"model": "cut", "cut": {"vocabulary": "corpus"}},
        methods=["noevo"],
        scoring={"bootstrap_samples": 10},
    )
    tree["training"] |= {"max_steps": 2, "learning_rate": 1e-9}
    run = tmp_path / "run"
    code, _, err = evokd("run", write_recipe(tmp_path / "few_words.yaml", tree), "-o", run)
    assert code == 0, err
    sizes = [
        json.loads((run / f"{name}/manifest.json").read_text())["facts"]["vocabulary"]
        for name in ("teacher", "students/noevo.seed1")
    ]
    assert sizes[1] < sizes[0]
    # It is its teacher but for the tokens it lacks, so only what both think of these is between.
    gate = json.loads((run / "gate/diagnostics.json").read_text())
    assert gate["student_nll"] == pytest.approx(gate["teacher_nll"], abs=1e-4)


def test_a_pruned_student_has_half_of_its_weights(finished):
    facts = facts_of(finished[0], "seq_kd_pruned50")
    assert facts["pruned_share"] == pytest.approx(0.5, abs=0.01)
    assert facts["nonzero_parameters"] < 0.55 * facts["parameters"]
    assert facts["steps"] == 2


def test_systems_are_looked_at_beside_their_scores(finished):
    rows = {row["system"]: row for row in results_of(finished[0])["analysis"]}
    assert set(rows) == {"teacher", *NAMES, "seq_kd_pruned50"}
    for name, row in rows.items():
        assert row["perplexity"] > 1
        assert 0 <= row["mode_mass"] <= 1
        assert [cell["beam"] for cell in row["beams"]] == [2, 2]
        if name != "teacher":
            assert 0 <= row["acceptance"] <= 1
            assert row["tokens_per_pass"] >= 1
    for text in (finished[2], (finished[0] / "table.md").read_text(encoding="utf-8")):
        assert "perplexity" in text
        assert "drafts" in text
    assert 'id="analysis"' in (finished[0] / "report.html").read_text(encoding="utf-8")


def test_what_is_done_stays_and_what_depends_on_a_change_is_redone(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    before = snapshot(folder)
    assert evokd("run", finished[1], "-o", folder)[0] == 0
    views = {"recipe.yaml", "table.md", "table.tex", "report.html"}
    assert changed(before, snapshot(folder)) <= views
    before = snapshot(folder)
    more = "methods.seq_kd.training.max_steps=5"
    assert evokd("run", finished[1], "-o", folder, more)[0] == 0
    touched = {name.split("/")[1] for name in changed(before, snapshot(folder)) if "/" in name}
    redone = {name.removesuffix(".seed1") for name in touched if name.endswith(".seed1")}
    assert redone == {"seq_kd", "inter", "seq_kd_pruned50"}
