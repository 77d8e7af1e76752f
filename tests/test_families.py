"""A study with methods of all families: on other text, on its own, pruned, cut from its teacher."""

from __future__ import annotations

import json
import shutil

import pytest

from small_study import changed, evokd, recipe, snapshot, without_figures, write_recipe

METHODS = [
    "sft",
    "seq_kd",
    {"name": "inter", "objective": "atkd", "text": "nearest", "start": "seq_kd"},
    {"name": "own", "objective": "jsd", "on_policy": {"share": 1.0, "every": 2}},
    {
        "name": "following",
        "objective": "self_evolution",
        "gamma": {"rule": "running_mean"},
        "beta": "network",
        "competence": {"threshold": 20, "samples": 2},
    },
]
NAMES = ("sft", "seq_kd", "inter", "own", "following")


@pytest.fixture(scope="module", autouse=True)
def _no_figures():
    with without_figures():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    teacher = {
        "model": "fresh",
        "fresh": {"hidden_size": 32, "layers": 2, "heads": 2},
        "training": {"max_steps": 50, "learning_rate": 2e-2},
        "signal": "hidden",
    }
    cut = {"layers": 1, "calibration_pairs": 8}
    tree = recipe(
        name="families",
        corpus={
            "train": "phrasebook:train:40",
            "valid": "phrasebook:valid:4",
            "test": [{"name": "phrases", "path": "phrasebook:test:4"}],
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


def test_what_the_teacher_wrote_is_in_the_report(finished):
    texts = results_of(finished[0])["teacher_text"]
    assert list(texts) == ["teacher", "nearest"]
    for kind, facts in texts.items():
        folder = finished[0] / "teacher_text" / kind
        assert facts["sifted"] == json.loads((folder / "left_out.json").read_text("utf-8"))
        assert facts["pairs"] == len((folder / "pairs.jsonl").read_text("utf-8").splitlines())
    page = (finished[0] / "report.html").read_text(encoding="utf-8")
    assert "The teacher’s translations nearest to the references" in page


def test_a_student_cut_from_its_teacher_is_smaller(finished):
    teacher = json.loads((finished[0] / "teacher/manifest.json").read_text())["facts"]
    student = facts_of(finished[0], "sft")
    assert (teacher["layers"], student["layers"]) == (2, 1)
    assert student["vocabulary"] == teacher["vocabulary"]


def test_a_student_may_know_the_tokens_of_its_text_only(finished, tmp_path):
    """Taught by the same teacher as one that knows them all, live or from a cache."""
    teacher = {"model": str(finished[0] / "teacher/model"), "sft": False}
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
    tree["training"] |= {"learning_rate": 1e-9}
    path, run = write_recipe(tmp_path / "few_words.yaml", tree), tmp_path / "run"
    for steps, signal, said in ((2, "live", "live"), (3, "hidden", "cached, hidden states")):
        now = f"teacher.signal={signal}", f"training.max_steps={steps}"
        code, _, err = evokd("run", path, "-o", run, *now)
        assert code == 0, err
        assert facts_of(run, "noevo")["teacher_signal"].startswith(said)
        sizes = [
            json.loads((run / f"{name}/manifest.json").read_text())["facts"]["vocabulary"]
            for name in ("teacher", "students/noevo.seed1")
        ]
        assert sizes[1] < sizes[0]
        # Its teacher but for the tokens it lacks: only what both think of these is between.
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
        assert "acceptance" in text
    assert 'id="analysis"' in (finished[0] / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ({"layers": 3}, "student.cut.layers=3, but the teacher has 1 layers"),
        ({"heads": 3}, "student.cut.heads=3, but the teacher has 2 attention heads"),
        ({"intermediate_size": 5000}, "student.cut.intermediate_size=5000"),
    ],
)
def test_a_cut_that_cannot_be_is_told_before_the_teacher_is_trained(tmp_path, cut, said):
    path = write_recipe(tmp_path / "cut.yaml", recipe(student={"model": "cut", "cut": cut}))
    code, _, err = evokd("run", path, "-o", tmp_path / "run")
    assert code == 2
    assert said in err
    assert not (tmp_path / "run/teacher").exists()


def test_what_is_done_stays_and_what_depends_on_a_change_is_redone(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    before = snapshot(folder)
    assert evokd("run", finished[1], "-o", folder)[0] == 0
    views = {"recipe.yaml", "table.md", "table.tex", "report.html", "pages.json", "sentences.jsonl"}
    assert changed(before, snapshot(folder)) <= views
    before = snapshot(folder)
    more = "methods.seq_kd.training.max_steps=5"
    assert evokd("run", finished[1], "-o", folder, more)[0] == 0
    made = {name for name in changed(before, snapshot(folder)) if not name.endswith("README.md")}
    touched = {name.split("/")[1] for name in made if "/" in name}
    redone = {name.removesuffix(".seed1") for name in touched if name.endswith(".seed1")}
    assert redone == {"seq_kd", "inter", "seq_kd_pruned50"}
