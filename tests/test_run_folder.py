"""A finished run: what another would do, what is damaged, what isn't used, and stages shared."""

from __future__ import annotations

import json
import random
import re
import shutil
from unittest import mock

import pytest

from evokd.data.hypotheses import Candidate
from evokd.errors import InputError
from evokd.report.results import Results
from evokd.rundir import integrity
from evokd.rundir.claims import claim
from evokd.rundir.verify import verify
from evokd.study import forecast
from evokd.study.cleanup import remove
from small_study import (
    changed,
    evokd,
    recipe,
    sentences,
    snapshot,
    without_figures,
    write_moses,
    write_recipe,
)

GAMMA = "methods.self_evolution.gamma=1.0"


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Without figures, and with a teacher that writes something that can be trained on."""

    def say(translator, asked, *_):
        return [[Candidate("Das Dorf liegt hinter den Bergen.", -1.0, 3, "eos")] for _ in asked]

    with without_figures(), mock.patch("evokd.translate.nbest.candidates", say):
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of files that were there once: its folder and its recipe."""
    folder = tmp_path_factory.mktemp("run")
    tree = recipe(methods=["sft", "self_evolution", "seq_kd"], teacher_text={"beam": 1})
    tree["corpus"]["train"] = str(write_moses(folder, "train", sentences(60)))
    tree["teacher"]["signal"] = "hidden"
    path = write_recipe(folder / "r.yaml", tree)
    code, _, err = evokd("run", path, "-o", folder / "run")
    assert code == 0, err
    return folder / "run", path


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def planned(path, folder, *argv):
    code, out, err = evokd("run", path, "-o", folder, "--dry-run", "--format", "json", *argv)
    assert code == 0, err
    return json.loads(out)["stages"]


def actions(steps):
    return {step["name"]: (step["action"], step["because"]) for step in steps}


def test_a_dry_run_of_what_is_done_keeps_all_and_writes_nothing(finished):
    before = snapshot(finished[0])
    steps = planned(finished[1], finished[0])
    assert {step["action"] for step in steps} == {"keep"}
    names = [step["name"] for step in steps]
    assert names[:3] == ["corpus", "tokenizer", "teacher"]
    assert {"student seq_kd, seed 1", "teacher text (teacher)", "results"} <= set(names)
    assert changed(before, snapshot(finished[0])) == set()


def test_a_dry_run_before_anything_is_there_makes_all_of_it(finished, tmp_path):
    steps = planned(finished[1], tmp_path / "new")
    assert {step["action"] for step in steps} == {"make"}
    assert not (tmp_path / "new").exists()
    cache = [step for step in steps if step["name"] == "cache hidden"]
    assert len(cache) == 1
    students = [step["steps"] for step in steps if step["name"].startswith("student")]
    assert students == [6, 6, 6]


def test_a_dry_run_names_the_settings_that_differ(finished):
    said = actions(planned(finished[1], finished[0], GAMMA))
    assert said["student self_evolution, seed 1"] == ("remake", "method.gamma: default → 1.0")
    assert said["student sft, seed 1"] == ("keep", "done before")
    assert said["results"] == ("remake", "systems.self_evolution.seed1 changed")
    anew = [name for name, (action, _) in said.items() if action != "keep"]
    assert anew == [
        "student self_evolution, seed 1",
        "translations phrases.en-de.self_evolution.seed1",
        "translations phrases.de-en.self_evolution.seed1",
        "results",
    ]
    said = actions(planned(finished[1], finished[0], "teacher.training.max_steps=30"))
    assert said["teacher"] == ("remake", "training.max_steps: 20 → 30")
    assert said["student seq_kd, seed 1"][1] == "teacher changed, training text changed"
    assert said["start"] == ("keep", "done before")
    said = actions(planned(finished[1], finished[0], "decoding.beam=2"))
    assert said["translations phrases.en-de.teacher"] == ("remake", "decoding.beam: 1 → 2")


def test_the_plan_is_what_happens_and_is_said_before(finished, copied):
    steps = planned(finished[1], copied, GAMMA, "methods.sft.training={max_steps: 3}")
    told = {step["name"] for step in steps if step["action"] == "remake"}
    before = snapshot(copied)
    argv = (GAMMA, "methods.sft.training={max_steps: 3}")
    code, _, err = evokd("run", finished[1], "-o", copied, *argv)
    assert code == 0, err
    lines = err.splitlines()
    announced = next(line for line in lines if line.startswith("student sft, seed 1"))
    assert "remake  training.max_steps: 6 → 3; 3 steps" in announced
    assert lines.index(announced) < lines.index("corpus: done before, kept")
    made = {name for name in changed(before, snapshot(copied)) if not name.startswith("kept/")}
    made = {name for name in made if not name.endswith("README.md")}  # of others' scores as well
    folders = {f"{p[0]}/{p[1]}" for p in (name.split("/") for name in made) if len(p) > 2}
    assert folders == {"students/sft.seed1", "students/self_evolution.seed1"}
    assert {name for name in told if "student" in name} == {
        "student sft, seed 1",
        "student self_evolution, seed 1",
    }
    assert {step["action"] for step in planned(finished[1], copied, *argv)} == {"keep"}
    assert actions(planned(finished[1], copied))["student sft, seed 1"][0] == "keep"
    assert {p.split(" ")[0] for p in verify(copied)} == set()


def test_hours_are_not_spent_again_unasked(finished, copied, monkeypatch):
    monkeypatch.setattr("evokd.cli.studies.LONG", 0.001)
    monkeypatch.setattr("evokd.cli.studies.at_terminal", lambda: True)
    before = snapshot(copied)
    code, _, err = evokd("run", finished[1], "-o", copied, GAMMA, stdin=b"n\n")
    assert (code, changed(before, snapshot(copied))) == (2, set())
    assert "go on? [y/N]" in err
    assert "--yes goes on without asking" in err
    assert evokd("run", finished[1], "-o", copied, GAMMA, stdin=b"y\n")[0] == 0
    assert evokd("run", finished[1], "-o", copied, "--yes")[0] == 0


def test_each_file_of_a_finished_run_that_is_flipped_or_cut_is_found(finished, copied):
    """By `verify`, which names it; and a run makes what is damaged again, and all of it whole."""
    chance = random.Random(4)
    assert evokd("run", finished[1], "-o", copied, GAMMA)[0] == 0
    assert evokd("verify", copied)[:2] == (0, f"{copied}: whole\n")
    files = [p for p in sorted(copied.rglob("*")) if p.is_file() and p.stat().st_size]
    files = [p for p in files if p.name != "README.md"]  # a card: anyone may edit it
    assert len(files) > 60
    for path in files:
        whole = path.read_bytes()
        for damage in ("flipped", "cut"):
            place = chance.randrange(len(whole))
            flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
            path.write_bytes(flipped if damage == "flipped" else whole[:place])
            name = str(path.relative_to(copied))
            problems = verify(copied)
            known = name.removesuffix("manifest.json")
            assert any(one.startswith(known) for one in problems), (name, damage, problems)
        path.write_bytes(whole)
    assert verify(copied) == []
    (copied / "students/sft.seed1/model/extra.bin").write_text("mine")
    (copied / "notes.txt").write_text("mine")
    code, out, _ = evokd("verify", copied)
    assert code == 1
    assert "students/sft.seed1/model/extra.bin is foreign" in out
    assert "notes.txt is foreign" in out


@pytest.mark.parametrize(
    "name",
    [
        "corpus/train.jsonl",
        "students/sft.seed1/model/model.safetensors",
        "students/sft.seed1/manifest.json",
        "teacher_text/teacher/pairs.jsonl",
        "translations/phrases.en-de.sft.seed1.txt",
        "translations/phrases.en-de.sft.seed1.json",
        "results.json",
    ],
)
def test_a_run_makes_what_is_damaged_again_and_says_so(finished, copied, name, monkeypatch):
    path = copied / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    monkeypatch.setattr(integrity, "_seen", set())
    steps = actions(planned(finished[1], copied))
    reasons = [because for action, because in steps.values() if action == "remake"]
    assert any("isn't what was written" in because for because in reasons), steps
    code, _, err = evokd("run", finished[1], "-o", copied)
    assert code == 0, err
    assert "isn't what was written" in err
    assert verify(copied) == []
    if not name.endswith(".json"):
        assert path.read_bytes() == whole


def test_a_moved_run_goes_on_without_its_source_text(finished, copied, tmp_path, monkeypatch):
    monkeypatch.setattr(integrity, "_seen", set())
    hidden = finished[0].parent / "hidden"
    hidden.mkdir()
    for path in finished[0].parent.glob("train.*"):
        path.rename(hidden / path.name)
    try:
        elsewhere = shutil.copytree(copied, tmp_path / "elsewhere", copy_function=shutil.copyfile)
        code, _, err = evokd("run", finished[1], "-o", elsewhere, GAMMA)
        assert code == 0, err
        assert "the files that it was made of aren't here" in err
        assert "teacher: done before" in err
        code, _, err = evokd("run", finished[1], "-o", tmp_path / "new")
        assert (code, (tmp_path / "new").exists()) == (2, True)
        assert "train" in err
    finally:
        for path in hidden.iterdir():
            path.rename(finished[0].parent / path.name)
        hidden.rmdir()


def test_clean_removes_what_the_recipe_does_not_use_when_it_is_told_to(finished, copied):
    assert evokd("clean", copied) == (0, f"{copied}: nothing to remove\n", "")
    assert evokd("run", finished[1], "-o", copied, "methods=[sft, self_evolution]", GAMMA)[0] == 0
    before = snapshot(copied)
    code, out, _ = evokd("clean", copied)
    assert (code, changed(before, snapshot(copied))) == (0, set())
    assert "kept/students/self_evolution.seed1/" in out
    assert "  students/seq_kd.seed1" in out
    assert "teacher_text/teacher" in out
    assert "--yes removes it" in out
    assert "students/sft.seed1" not in out
    assert evokd("clean", copied, "--yes")[0] == 0
    assert not (copied / "kept").exists()
    assert not (copied / "students/seq_kd.seed1").exists()
    assert verify(copied) == []
    steps = planned(copied / "recipe.yaml", copied)
    assert {step["action"] for step in steps} == {"keep"}
    code, _, err = evokd("clean", copied / "nothing")
    assert (code, "recipe.yaml not found" in err) == (2, True)


def test_two_studies_share_what_is_the_same_in_a_store(finished, tmp_path):
    store = ("--store", tmp_path / "store")
    assert evokd("run", finished[1], "-o", tmp_path / "one", *store)[0] == 0
    steps = actions(planned(finished[1], tmp_path / "two", *store, GAMMA))
    assert steps["teacher"][0] == steps["cache hidden" if "cache hidden" in steps else "start"][0]
    assert steps["student sft, seed 1"][0] == "keep"
    assert steps["student self_evolution, seed 1"] == ("make", "not made yet")
    code, _, err = evokd("run", finished[1], "-o", tmp_path / "two", *store, GAMMA)
    assert code == 0, err
    name = "students/sft.seed1/model/model.safetensors"
    assert (tmp_path / "one" / name).samefile(tmp_path / "two" / name)
    assert "student self_evolution, seed 1: its teacher is cached" in err
    assert verify(tmp_path / "two") == []
    assert verify(tmp_path / "store") == []

    assert "nothing to remove" in evokd("clean", tmp_path / "store")[1]
    alone = tmp_path / "two/students/self_evolution.seed1"
    fingerprint = json.loads((alone / "manifest.json").read_text())["fingerprint"]
    shutil.rmtree(alone)
    code, out, err = evokd("clean", tmp_path / "store", "--yes")
    assert code == 0, err
    assert out.count("MiB") == 2
    assert f"students/{fingerprint}" in out
    assert not (tmp_path / "store/students" / fingerprint).exists()
    assert verify(tmp_path / "one") == []


def test_nothing_is_removed_beside_a_worker_at_a_point_of_a_grid(tmp_path):
    kept = tmp_path / "slow/kept/teacher/abc"
    kept.mkdir(parents=True)
    held = claim(tmp_path / "slow", "teacher")
    with pytest.raises(InputError, match="slow: teacher is being made; wait for it"):
        remove(tmp_path, {"slow/kept/teacher/abc": 1.0})
    held.release()
    remove(tmp_path, {"slow/kept/teacher/abc": 1.0})
    assert not kept.exists()


def test_what_a_stage_takes_is_read_off_others_of_its_kind(finished, copied):
    steps = planned(finished[1], copied, "methods=[sft, {name: more, objective: skew}]")
    more = next(step for step in steps if step["name"] == "student more, seed 1")
    assert (more["action"], more["steps"]) == ("make", 6)
    assert more["seconds"] > 0
    assert more["mib"] > 0
    assert 16 * 6 * 10 < more["tokens"] < 16 * 6 * 200
    one = forecast.Cost(10, 2e6, None, 7200.0)
    assert one.words() == "10 steps, 2.0 M tokens, about 2 h 00 min"
    assert forecast.total([one, forecast.Cost(5)]) == forecast.Cost(15, 2e6, None, 7200.0)


def test_what_an_earlier_version_made_is_kept_and_called_so(finished, copied):
    path = copied / "students/sft.seed1/manifest.json"
    old = {"stage": "student sft, seed 1", "fingerprint": "0123456789abcdef", "facts": {}}
    path.write_text(json.dumps(old))
    said = actions(planned(finished[1], copied))["student sft, seed 1"]
    assert said == ("remake", "an earlier version of evokd made it")
    assert evokd("run", finished[1], "-o", copied)[0] == 0
    assert (copied / "kept/students/sft.seed1/unknown/model/model.safetensors").exists()


def test_a_page_is_of_the_results_and_says_what_has_changed_since(finished, copied, monkeypatch):
    """Where a run with other settings was stopped before it scored anything."""
    from evokd.study import evaluation

    before = Results.read(copied)
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "write_record", mock.Mock(side_effect=KeyboardInterrupt))
        assert evokd("run", finished[1], "-o", copied, GAMMA)[0] == 130
    assert "gamma: 1.0" in (copied / "recipe.yaml").read_text()
    assert evokd("report", copied)[0] == 0
    page, after = (copied / "report.html").read_text(), Results.read(copied)
    assert "students/self_evolution.seed1 isn&#39;t what these results are of" in page
    assert "students/sft.seed1 isn" not in page
    assert "gamma: 1.0" not in page, "the recipe is that of the results"
    assert after.curves["self_evolution"] == before.curves["self_evolution"]
    assert len(before.curves["start"]) == len(before.diagnostics["start"]) == 1
    assert after.files.manifest("teacher")["facts"] == before.files.manifest("teacher")["facts"]
    shutil.rmtree(copied / "kept")
    assert "self_evolution" not in Results.read(copied).curves
    said = Results.read(copied).files.changed()
    assert said == [
        "students/self_evolution.seed1 isn't what these results are of, and that is gone: what is "
        "said of it is left out"
    ]
    path = copied / "results.json"
    path.write_text(path.read_text().replace('"baseline": "sft"', '"baseline": "set"'))
    code, _, err = evokd("report", copied)
    assert (code, "results.json isn't what was written" in err) == (2, True)


def test_status_says_what_is_done_and_what_is_left(finished, copied, monkeypatch):
    from evokd.rundir.lock import locked
    from evokd.study import models

    code, out, _ = evokd("status", copied)
    assert code == 0
    assert re.fullmatch(rf"{copied}: finished, (\d+) of \1 stages done\n", out)

    real = models.finish_stage

    def killed(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("evokd.study.students.finish_stage", killed)
    assert evokd("run", finished[1], "-o", copied, GAMMA)[0] == 130
    monkeypatch.setattr("evokd.study.students.finish_stage", real)
    first, *lines = evokd("status", copied)[1].splitlines()
    assert "stopped" in first
    assert "of work left, as far as is known" in first
    student = next(line for line in lines if line.startswith("student self_evolution, seed 1"))
    assert "begun, step 6, nll" in student
    assert lines[-1].startswith("results")
    with locked(copied):
        assert "at work" in evokd("status", copied)[1]
    code, _, err = evokd("status", copied / "none")
    assert (code, "recipe.yaml not found" in err) == (2, True)


@pytest.mark.parametrize("model", ["models/none", "."])
def test_a_model_that_is_not_there_in_place_of_one_that_was_made(finished, model):
    code, _, err = evokd("run", finished[1], "-o", finished[0], f"student.model={model}")
    assert (code, "the run failed" in err) == (2, False)
    assert model in err
