"""A card in each student's folder: the hub's head, its own scores; what was edited stays."""

import shutil

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from evokd.report.results import Results
from small_study import evokd, recipe, snapshot, without_figures, write_recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    tree = recipe(methods=["sft", "forward_kd"], seeds=[1, 2])
    path = write_recipe(folder / "tiny.yaml", tree | {"report": {"license": "apache-2.0"}})
    with without_figures():
        code, _, err = evokd("run", path, "-o", folder / "run")
    assert code == 0, err
    return folder / "run", path


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def card_of(run, student):
    return run / f"students/{student}/model/README.md"


def test_each_student_has_a_card_with_its_own_scores(run):
    results = Results.read(run)
    for system in ("sft", "forward_kd"):
        for seed in (1, 2):
            card = ModelCard.load(card_of(run, f"{system}.seed{seed}"))  # raises on a bad head
            head = card.data.to_dict()
            assert (head["language"], head["license"]) == (["en", "de"], "apache-2.0")
            assert head["pipeline_tag"] == "translation"
            name, entries = model_index_to_eval_results(head["model-index"])
            assert name == f"tiny-{system}"
            found = {(e.dataset_config, e.metric_type): e for e in entries}
            for direction in ("en-de", "de-en"):
                (score,) = (
                    row
                    for row in results.scores[system, "phrases", "chrf", direction]
                    if row["seed"] == seed
                )
                entry = found[direction, "chrf"]
                assert entry.metric_value == round(score["score"], 2)
                assert entry.metric_config == score["signature"]
            assert "evokd translate FOLDER -l en-de" in card.text
            assert "## Behaviour" in card.text
            assert "- text: phrasebook:train:100" in card.text
            assert str(run.parent) not in str(card)
    # every part once, however often it is written
    before = snapshot(run)
    with without_figures():
        assert evokd("report", run)[0] == 0
    assert card_of(run, "sft.seed1").read_text().count("# Translator en-de") == 1
    assert {k: v for k, v in snapshot(run).items() if "students" in k} == {
        k: v for k, v in before.items() if "students" in k
    }


def test_a_card_may_be_edited_and_lost(finished, run):
    path = card_of(run, "sft.seed1")
    path.write_text(path.read_text() + "Thanks to all.\n")
    card_of(run, "sft.seed2").unlink()
    with without_figures():
        assert evokd("report", run)[0] == 0
    assert path.read_text().endswith("Thanks to all.\n")
    assert card_of(run, "sft.seed2").is_file()
    assert evokd("verify", run) == (0, f"{run}: whole\n", "")
    code, out, _ = evokd("run", finished[1], "-o", run, "--dry-run")  # no model is made for it
    assert code == 0
    assert "nothing to make" in out or "student" not in out.split("make", 1)[-1]


def test_a_card_does_not_make_another_teacher_of_a_student(finished, run, tmp_path):
    tree = recipe(methods=["sft"], directions=["en-de"])
    tree["teacher"] = {"model": str(run / "students/sft.seed1/model"), "sft": False}
    path = write_recipe(tmp_path / "next.yaml", tree)
    with without_figures():
        code, _, err = evokd("run", path, "-o", tmp_path / "next")
        assert code == 0, err
        card = card_of(run, "sft.seed1")
        card.unlink()
        code, out, err = evokd("run", path, "-o", tmp_path / "next", "--dry-run")
    assert code == 0, err
    assert "teacher" not in "".join(line for line in out.splitlines() if "anew" in line)
