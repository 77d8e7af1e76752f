"""results.json put together from files: what stands in it, and the notes for its reader."""

from __future__ import annotations

import statistics

import pytest

from evokd.data.corpus import Corpus, Pair
from evokd.data.prompts import load_prompt
from evokd.recipe.file import check_recipe
from evokd.recipe.judging import ScoringSettings
from evokd.report.results import Results
from evokd.report.tables import legend
from evokd.rundir.records import write_record
from evokd.study.context import Study
from evokd.study.evaluation import translation_path
from evokd.study.results import _notes, _systems, make_results
from small_study import recipe, stand_in

SOURCES = [f"The train number {n} leaves at noon." for n in range(10)]
REFERENCES = [f"Der Zug Nummer {n} fährt am Mittag ab." for n in range(10)]


def decoded(**changes):
    return {
        "cut_off": [2],
        "words_per_s": 100.0,
        "seconds": 0.7,
        "batch_size": 64,
        "beam": 1,
        "dtype": "float32",
        "device": "cpu",
        **changes,
    }


@pytest.fixture
def assembled(tmp_path):
    """A function that assembles the results of some systems with one test set, en-de."""

    def make(outputs, start=None, **changes):
        tree = recipe(directions=["en-de"], methods=["sft", "noevo"], **changes)
        made = check_recipe(tree)
        pairs = [Pair(s, r, "en", "de", "own") for s, r in zip(SOURCES, REFERENCES, strict=True)]
        corpus = Corpus([], [], {("own", "en-de"): pairs}, {"notes": ["one line was odd"]})
        study = Study(made, tmp_path, load_prompt("compact"), lambda text: None)
        study.__dict__["corpus"] = corpus
        study.paths.results.unlink(missing_ok=True)  # of an earlier call in the same test
        systems = []
        for (name, seed), lines in outputs.items():
            system = stand_in(tmp_path, name, seed=seed)
            path = translation_path(study, "own", "en-de", system).with_suffix(".json")
            write_record(tmp_path, path, {}, decoded(), lines)
            system.finish({})
            systems.append(system)
        stage = study.stage("corpus", study.paths.corpus, {})
        stage.finish({})
        return make_results(study, stage, systems, start or {}, [], {})

    return make


def outputs(seeds=(1,)):
    half = REFERENCES[:5] + [""] * 5
    made = {("teacher", None): REFERENCES}
    for seed in seeds:
        made["sft", seed] = half
        made["noevo", seed] = REFERENCES[: 7 + seed - 1] + ["Nein."] * (4 - seed)
    return made


def test_scores_comparisons_gap_and_behaviour_are_there(assembled):
    found = assembled(outputs())
    bleu = {r["system"]: r["score"] for r in found["scores"] if r["metric"] == "bleu"}
    assert bleu["teacher"] == pytest.approx(100)
    assert bleu["sft"] < bleu["noevo"] < 100
    assert found["baseline"] == "sft"
    gap = next(
        r
        for r in found["gap_closed"]
        if r["metric"] == "bleu" and r["system"] == "noevo" and r["seed"] == 1
    )
    assert gap["value"] == pytest.approx(
        (bleu["noevo"] - bleu["sft"]) / (bleu["teacher"] - bleu["sft"])
    )
    empty = {r["system"]: r["empty"] for r in found["behaviour"]}
    assert (empty["teacher"], empty["sft"], empty["noevo"]) == (0, 5, 0)
    assert all(r["cut_off"] == 1 for r in found["behaviour"])
    assert {r["words_per_s"] for r in found["speed"]} == {100.0}
    assert found["versions"]["device"] == "cpu"


def test_examples_stand_beside_what_every_system_made_of_them(assembled):
    found = assembled(outputs(), report={"examples": 4})
    assert [row["line"] for row in found["examples"]] == [2, 4, 7, 9]
    for row in found["examples"]:
        assert row["source"] == SOURCES[row["line"] - 1]
        assert row["reference"] == REFERENCES[row["line"] - 1]
        assert row["translations"]["teacher"] == row["reference"]
        assert set(row["translations"]) == {"teacher", "sft", "noevo"}
    assert len(assembled(outputs(), report={"examples": 50})["examples"]) == 10
    assert assembled(outputs(), report={"examples": 0})["examples"] == []


def test_several_seeds_have_mean_and_spread(assembled):
    found = assembled(outputs((1, 2)), seeds=[1, 2])
    scores = [
        r["score"] for r in found["scores"] if (r["system"], r["metric"]) == ("noevo", "bleu")
    ]
    row = next(r for r in found["summary"] if (r["system"], r["metric"]) == ("noevo", "bleu"))
    assert row["seeds"] == 2
    assert row["mean"] == pytest.approx(sum(scores) / 2)
    assert row["std"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    assert not any("One seed" in note for note in found["notes"])


def test_the_pooled_test_decides_marks_where_the_recipe_says_so(assembled):
    made = outputs((1, 2))
    made["noevo", 2] = made["sft", 2]  # the second seed alone differs in nothing
    for test, mark in (("bootstrap", ""), ("randomization", "†")):
        found = assembled(made, seeds=[1, 2], scoring={"test": test, "bootstrap_samples": 50})
        assert found["significance"]["test"] == test
        assert {row["seed"] for row in found["comparisons"]} == {1, 2}
        assert {row["seed"] for row in found["pooled"]} == {None}
        (row,) = (r for r in found["pooled"] if (r["system"], r["metric"]) == ("noevo", "bleu"))
        assert row["runs"] == [2, 2]
        row["significant"] = True
        results = Results(found)
        assert results.cell("noevo", "own", ("bleu", "en-de")).mark == mark
        (said,) = (line for line in legend(results, results.tables[0]) if "reliably seen" in line)
        assert f"with 10 sentences, a difference below {_middle(found['comparisons'])}" in said
        assert f"{_middle(found['pooled'])} BLEU" in said
        assert "2 seeds pooled" in said


def _middle(rows):
    own = (r for r in rows if r["metric"] == "bleu" and r["system"] != "teacher")
    sizes = [row["detectable"] for row in own if row["detectable"]]  # equal outputs tell nothing
    return f"{statistics.median(sizes):.2f}"


def test_new_keys_at_their_defaults_leave_the_scoring_what_it_was():
    assert ScoringSettings().identity() == {
        "metrics": ["bleu", "chrf"], "baseline": None, "bootstrap_samples": 1000,
    }  # fmt: skip
    assert ScoringSettings(test="randomization").identity()["test"] == "randomization"
    assert ScoringSettings(correction="holm").identity()["correction"] == "holm"


def systems_with(*overrides):
    tree = recipe(directions=["en-de"])
    made = check_recipe(tree, overrides)
    facts = {"teacher": {}} | {f"{m.name}.seed1": {"steps": 3} for m in made.methods}
    return {row["system"]: row for row in _systems(made, facts)}


def test_settings_are_those_in_force():
    rows = systems_with("methods=[sft, skew_teacher, self_evolution]")
    assert rows["skew_teacher"]["settings"]["beta"] == 0.9
    assert rows["self_evolution"]["settings"]["beta"] == 0.5
    assert rows["self_evolution"]["train_steps"] == 3
    assert rows["teacher"]["objective"] == "sft"
    rows = systems_with("methods.self_evolution.beta=0.0", "teacher.sft=false")
    assert rows["self_evolution"]["settings"]["beta"] == 0.0
    assert rows["teacher"]["objective"] == "given"
    rows = systems_with("methods.sft.training.max_steps=9")
    assert [rows[n]["training"]["max_steps"] for n in ("sft", "self_evolution")] == [9, 6]
    rows = systems_with("methods.self_evolution.beta.start=0.9")
    assert rows["self_evolution"]["settings"]["beta"]["start"] == 0.9


def test_notes_tell_what_a_reader_should_know(assembled):
    notes = assembled(outputs())["notes"]
    assert "one line was odd" in notes
    assert any(note.startswith("One seed") for note in notes)
    assert not any("no better" in note for note in notes)
    assert any(note.startswith("own en-de has only 10 segments") for note in notes)

    notes = assembled(outputs(), start={"teacher_nll": 3.5, "student_nll": 3.0})["notes"]
    assert any(
        "no better than the student" in note and "3.500 against 3.000" in note for note in notes
    )


def test_damped_tokens_are_noted_whatever_the_method_is_called():
    methods = [{"name": "ours", "objective": "self_evolution"}, "noevo"]
    made = check_recipe(recipe(methods=methods))
    corpus = Corpus([], [], {}, {})
    facts = {"ours.seed1": {"hard_share_end": 0.7}, "noevo.seed1": {"hard_share_end": 0.9}}
    notes = [note for note in _notes(made, corpus, {}, facts) if "hard" in note]
    assert len(notes) == 1
    assert notes[0].startswith("ours: 70%")
    facts["ours.seed1"]["hard_share_end"] = 0.3
    assert not [note for note in _notes(made, corpus, {}, facts) if "hard" in note]


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.7, 0.3), "ours.seed1: 70% of"),
        ((0.3, 0.8), "ours.seed2: 80% of"),
        ((0.7, 0.8), "ours: 70% to 80% of"),
    ],
)
def test_seeds_whose_tokens_are_damped_are_named_where_not_all_are(shares, said):
    methods = [{"name": "ours", "objective": "self_evolution"}]
    made = check_recipe(recipe(methods=methods, seeds=[1, 2]))
    facts = {f"ours.seed{seed}": {"hard_share_end": one} for seed, one in enumerate(shares, 1)}
    assert _notes(made, Corpus([], [], {}, {}), {}, facts)[-1].startswith(said)
