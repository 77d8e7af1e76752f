"""Training text without what the teacher disbelieves: what goes, what stays, and after a kill."""

import pytest
import torch

from evokd.data.corpus import Corpus, save_corpus
from evokd.data.hypotheses import LEFT_OUT
from evokd.data.noise import add_noise
from evokd.data.pairs import read_pairs
from evokd.data.prompts import load_prompt
from evokd.distil import surprisal
from evokd.errors import InputError
from evokd.recipe.corpus import NoiseSettings
from evokd.recipe.recipe import Recipe
from evokd.rundir.files import read_json
from evokd.study import filtering, sanity_check
from evokd.study.context import Study
from small_study import both_ways, stand_in
from small_study import recipe as small_recipe

CLEAN = both_ways(150)
TRAIN, RECORD = add_noise(CLEAN, [NoiseSettings(kind="misaligned", share=0.3)])
WRONG = {(one.origin, one.direction) for one in RECORD}
TRANSLATION = {(pair.source, pair.target) for pair in CLEAN}


class FakeTeacher:
    """Surprised by what is no translation: 5 nats a token, else 1; its entropy is 1."""

    tokenizer = None
    model = None


@pytest.fixture
def study(tmp_path, monkeypatch):
    calls = []

    def surprise(signal, pairs, size, device, progress=None):
        calls.append(len(pairs))
        return [
            torch.tensor([[1.0 + 4.0 * ((p.source, p.target) not in TRANSLATION), 1.0, 0.1]] * 3)
            + torch.tensor([0.1 * (len(p.source) % 5), 0.0, 0.0])
            for p in pairs
        ]

    monkeypatch.setattr(surprisal, "reference_surprisal", surprise)
    monkeypatch.setattr("evokd.models.encoded.encode_corpus", lambda pairs, *_: (pairs, 0))
    monkeypatch.setattr(
        "evokd.distil.teacher.signal.LiveTeacher", lambda model: type("Signal", (), {"width": 9})
    )
    tree = small_recipe()
    tree["methods"] = [{"name": "noevo", "text": "filtered"}]
    tree["teacher"]["sft"] = False
    notes = []
    study = Study(Recipe.model_validate(tree), tmp_path, load_prompt("compact"), notes.append)
    study.__dict__.update(teacher=FakeTeacher(), device=torch.device("cpu"))
    report = {"notes": []}
    save_corpus(Corpus(TRAIN, CLEAN[:100], {}, report), study.paths.corpus)
    study.stage("corpus", study.paths.corpus, {}).finish({})
    study.calls, study.notes = calls, notes
    return study


def made(study):
    teacher = stand_in(study.folder, "teacher", "print")
    return filtering.make_filtered_text(study, teacher)


def changed(study, **by_teacher):
    corpus = study.recipe.corpus
    cleaning = corpus.cleaning.model_copy(
        update={"by_teacher": corpus.cleaning.by_teacher.model_copy(update=by_teacher)}
    )
    study.recipe = study.recipe.model_copy(
        update={"corpus": corpus.model_copy(update={"cleaning": cleaning})}
    )
    return study


@pytest.mark.parametrize("by", ["excess", "nll", "dual"])
def test_wrong_pairs_go_and_right_ones_stay(study, by):
    stage = made(changed(study, by=by))
    kept = list(study.pairs("filtered"))
    assert [pair for pair in TRAIN if (pair.origin, pair.direction) not in WRONG] == kept
    facts = stage.facts()
    assert facts["pairs"] == len(kept)
    assert facts["left_out"] == {"disbelieved": len(WRONG)}
    for direction in ("en-de", "de-en"):
        assert facts["wrong"][direction]["share"] == pytest.approx(0.3, abs=0.08)
    left_out = read_json(stage.folder / LEFT_OUT)
    assert left_out["reasons"]["disbelieved"]["count"] == len(WRONG)
    assert len(left_out["reasons"]["disbelieved"]["examples"]) == 5
    assert "pairs left out" in study.notes[-1]


def test_of_pairs_that_it_was_trained_on_as_many_go_that_surprise_it_most(study, monkeypatch):
    """By the share among the others: what it has learnt has no excess any more."""
    teacher = study.recipe.teacher.model_copy(update={"sft": True})
    held_out = study.recipe.corpus.model_copy(update={"held_out": 75})
    study.recipe = study.recipe.model_copy(update={"teacher": teacher, "corpus": held_out})
    seen = [pair for i, pair in enumerate(TRAIN) if i // 2 % 2]
    others = [pair for pair in TRAIN if pair not in seen]
    save_corpus(Corpus(TRAIN, CLEAN[:100], {}, {"notes": []}, models=seen), study.paths.corpus)
    surprise = surprisal.reference_surprisal

    def learnt(signal, pairs, *others):
        rows = surprise(signal, pairs, *others)
        calm = torch.tensor([[0.1, 0.0, 1.0]])  # −ln p(y) of what it was trained on
        return [r * calm if p in seen else r for p, r in zip(pairs, rows, strict=True)]

    monkeypatch.setattr(surprisal, "reference_surprisal", learnt)
    facts = made(study).facts()
    kept = set(study.pairs("filtered"))
    for part in (seen, others):
        wrong = {pair for pair in part if (pair.origin, pair.direction) in WRONG}
        gone = set(part) - kept
        assert 0.6 * len(wrong) < len(gone & wrong)
        assert len(gone - wrong) < 0.1 * len(wrong)
    for direction in ("en-de", "de-en"):
        assert facts["wrong"][direction]["share"] == pytest.approx(0.3, abs=0.15)
    made(changed(study, threshold=2.5))  # which only new ones reach
    assert set(seen) < set(study.pairs("filtered"))
    made(changed(study, threshold=0.3, by="nll"))
    kept = set(study.pairs("filtered"))
    wrong = {pair for pair in seen if (pair.origin, pair.direction) in WRONG}
    assert wrong
    assert not kept & wrong


def test_text_of_its_own_stays_and_few_pairs_tell_nothing(study):
    """What the teacher was trained on alone isn't judged by what is wrong elsewhere."""
    teacher = study.recipe.teacher.model_copy(update={"sft": True})
    study.recipe = study.recipe.model_copy(update={"teacher": teacher})
    for new in (120, 80):  # of both directions
        seen = TRAIN[:-new]
        save_corpus(Corpus(TRAIN, CLEAN[:100], {}, {"notes": []}, models=seen), study.paths.corpus)
        for known in ("corpus", "unseen"):
            study.__dict__.pop(known, None)
        (study.paths.filtered / "manifest.json").unlink(missing_ok=True)
        told = made(study).facts()["wrong"]["en-de"]["share"] is not None
        assert set(seen) <= set(study.pairs("filtered"))
        assert told == (new >= 2 * filtering.FEW)
        assert (len(study.pairs("filtered")) < len(TRAIN)) == told
    assert "where there is a ? too few pairs are new" in study.notes[-1]


def test_the_share_of_wrong_pairs_is_told_by_those_that_are_new_to_the_teacher(study):
    teacher = stand_in(study.folder, "teacher", "print")
    assert sanity_check._wrong_share(study, teacher) == pytest.approx(0.3, abs=0.05)
    trained = study.recipe.teacher.model_copy(update={"sft": True})
    study.recipe = study.recipe.model_copy(update={"teacher": trained})
    del study.unseen
    assert sanity_check._wrong_share(study, teacher) is None


def test_a_teacher_to_whom_all_look_the_same_leaves_all_in(study, monkeypatch):
    same = torch.tensor([[1.0, 1.0, 0.1]])
    monkeypatch.setattr(surprisal, "reference_surprisal", lambda _, pairs, *__: [same] * len(pairs))
    facts = made(study).facts()
    assert list(study.pairs("filtered")) == TRAIN
    assert facts["wrong"]["en-de"] == {"share": None, "threshold": None}
    assert "right and wrong ones look the same to it" in study.notes[-1]


def test_a_threshold_of_ones_own(study):
    made(study)
    count = len(study.calls)
    made(changed(study, threshold=100.0))
    assert len(study.calls) == count  # what the teacher says is the same
    assert read_pairs(study.paths.filtered / "pairs.jsonl") == TRAIN
    with pytest.raises(InputError, match="all 300 pairs; cleaning"):
        made(changed(study, threshold=-1.0))


def test_a_killed_scoring_goes_on_behind_the_last_shard(study, monkeypatch):
    monkeypatch.setattr(filtering, "SHARD", 128)
    whole = made(study).facts()
    assert len(study.calls) > 4
    count = len(study.calls)
    (study.paths.filtered / "manifest.json").unlink()
    last = sorted(study.paths.surprisal.glob("*/0*.json"))[-1]
    last.unlink()
    assert made(study).facts() == whole
    assert len(study.calls) == count + 1
    assert made(study).facts() == whole
    assert len(study.calls) == count + 1


def test_without_text_that_is_right_a_teacher_knows_what_to_expect(study):
    corpus = study.recipe.corpus.model_copy(update={"valid": ()})
    study.recipe = study.recipe.model_copy(update={"corpus": corpus})
    facts = made(study).facts()
    assert facts["left_out"] == {"disbelieved": len(WRONG)}
