"""The teacher's cache of a study: what is read for it, and what it hangs on."""

from __future__ import annotations

import json

import pytest

from evokd.data.hypotheses import Candidate
from evokd.data.prompts import load_prompt
from evokd.models.loading import load_tokenizer
from evokd.recipe.models import ModelSettings
from evokd.recipe.objectives import OBJECTIVES
from evokd.recipe.recipe import Recipe
from evokd.rundir.files import write_text
from evokd.rundir.stage import Stage
from evokd.study.context import Study
from evokd.study.students import student_specs
from evokd.study.teacher_cache import _max_length
from evokd.translate import nbest as room
from small_study import evokd, recipe, stand_in, write_recipe

TAUGHT_ON_ITS_TEXT = {"name": "echo", "objective": "word_kd", "text": "teacher"}

RANKING = {name for name, spec in OBJECTIVES.items() if spec.ranked_by}


def tree_of(pairs: int, **changes):
    """A teacher and students of a step or two."""
    tree = recipe(
        corpus={
            "train": f"phrasebook:train:{pairs}",
            "valid": "phrasebook:valid:2",
            "test": [{"name": "phrases", "path": "phrasebook:test:2"}],
        },
        tokenizer={"vocab_size": 800},
        decoding={"extra_tokens": 2, "tokens_per_source_token": 0.1},
        scoring={"bootstrap_samples": 10},
        **changes,
    )
    tree["teacher"] |= {"training": {}, "signal": "hidden"}
    tree["student"]["warm_start_steps"] = 0
    tree["training"] |= {"max_steps": 1}
    return tree


def typed(command, folder, tree, *overrides):
    path = write_recipe(folder.with_suffix(".yaml"), tree)
    code, _, err = evokd(command, path, "-o", folder, *overrides)
    assert code == 0, err


def facts_of(folder):
    return json.loads((folder / "cache/hidden/manifest.json").read_text())["facts"]


@pytest.fixture(autouse=True)
def says(monkeypatch):
    """What the teacher writes, whatever it is asked: a line that other pairs know."""
    lines = ["The village lies beyond the mountains, an hour from here."]

    def say(translator, asked, *_):
        return [[Candidate(lines[0], -1.0, 3, "eos")] for _ in asked]

    monkeypatch.setattr(room, "candidates", say)
    return lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cache for students of the references."""
    folder = tmp_path_factory.mktemp("caching") / "run"
    typed("cache", folder, tree_of(40, methods=["noevo"]))
    return folder


def test_a_store_takes_no_kind_of_signal_for_another(tmp_path):
    tree = tree_of(6, methods=["noevo"])
    for signal, place in (("topk", "top64"), ("hidden", "hidden")):
        told = ("--store", tmp_path / "store", f"teacher.signal={signal}")
        typed("run", tmp_path / signal, tree, *told)
        manifest = json.loads((tmp_path / signal / "cache" / place / "manifest.json").read_text())
        assert manifest["facts"]["kind"] == signal


def test_text_that_the_teacher_writes_is_read_as_well(finished):
    """Also where there was a cache before a method asked for it."""
    before = facts_of(finished)["pairs"]
    tree = tree_of(40, methods=["noevo", TAUGHT_ON_ITS_TEXT])
    typed("cache", finished, tree)
    assert facts_of(finished)["pairs"] > before
    manifest = finished / "cache/hidden/manifest.json"
    written = manifest.stat().st_mtime_ns
    typed("run", finished, tree)
    assert manifest.stat().st_mtime_ns == written  # the same cache, to the command and to the run
    assert (finished / "students/echo.seed1/manifest.json").exists()


def test_a_student_of_few_tokens_spells_what_the_teacher_writes(finished, says, tmp_path):
    text = (finished / "corpus/train.jsonl").read_text(encoding="utf-8").splitlines()
    says[0] = json.loads(text[-1])["target"]
    teacher = {"model": str(finished / "teacher/model"), "sft": False, "signal": "hidden"}
    few = tree_of(10, methods=["seq_kd", TAUGHT_ON_ITS_TEXT])
    few |= {"teacher": teacher, "student": {"model": "cut", "cut": {"vocabulary": "corpus"}}}
    run = tmp_path / "run"
    typed("run", run, few)
    words = load_tokenizer(ModelSettings(model=str(finished / "teacher/model")))
    kept = json.loads((run / "start/model/kept_ids.json").read_text())["ids"]
    spelled = words(f" {says[0]}", add_special_tokens=False)["input_ids"]
    assert set(spelled) - set(kept), "the test needs a token beyond those that are kept"
    # The test sets have no say in which tokens are kept: with another one it is the same student.
    more = 'corpus.test=[{"name": "phrases", "path": "phrasebook:test:20"}]'
    before = (run / "start/manifest.json").read_text()
    typed("cache", run, few, more)
    assert (run / "start/manifest.json").read_text() == before


def study_of(folder, **changes):
    return Study(Recipe(**recipe(**changes)), folder, load_prompt("compact"), lambda _: None)


def test_pairs_that_only_pruned_students_read_are_in_it(tmp_path):
    pruning = {"methods": ["sft"], "training": {"max_length": 300}}
    assert _max_length(study_of(tmp_path)) == 128
    assert _max_length(study_of(tmp_path, pruning=pruning)) == 300


def test_micro_batches_make_another_student_where_tokens_of_one_are_ranked(tmp_path):
    for name in ("train.jsonl", "valid.jsonl"):
        write_text(tmp_path / "corpus" / name, "")
    Stage("corpus", tmp_path, "corpus", {}).finish({})
    systems = [stand_in(tmp_path, name) for name in ("teacher", "start")]
    quarter = {"rule": "quantile", "hard_share": 0.25}
    methods = [
        *("noevo", "self_evolution", *sorted(RANKING)),
        {"name": "quarter", "objective": "self_evolution", "gamma": quarter},
        {"name": "network", "objective": "self_evolution", "beta": "network"},
    ]
    pruning = {"methods": ["noevo", "tip"], "levels": [0.5]}

    def marks(**training):
        training = {"max_steps": 1, "batch_size": 16, **training}
        study = study_of(tmp_path, methods=methods, pruning=pruning, training=training)
        specs = student_specs(study, systems[0], {1: systems[1]}, {})
        return {one.stage.system: one.stage.fingerprint for one in specs}

    whole, parts = marks(), marks(micro_batch_size=4)
    other = {name for name in whole if whole[name] != parts[name]}
    assert other == {*RANKING, "quarter", "network", "tip_pruned50"}
