"""Weights of pairs from pass rates: what passes, what a rate is worth, and that it is done once."""

import json
import statistics

import pytest
import torch
from sacrebleu import sentence_chrf

from evokd.distil.train.batches import WeightedPairs
from evokd.distil.train.on_policy import PairsToWeigh, prompt_length
from evokd.errors import InputError
from evokd_extras import CompetenceSettings, competence
from evokd_extras.competence import FILE, pair_weights, weights_of
from tiny import copy_task, tiny_llama

END = 1


def decode(ids):
    """Letters, so that chrF has something to compare."""
    return "".join(chr(ord("a") + token % 26) for token in ids if token != END)


class Sampler:
    """Says the reference (the prompt's words, in this task) but for some tokens; how many depends
    on the seed."""

    def __init__(self, give_up_after=None):
        self.calls = 0
        self.give_up_after = give_up_after
        self.said = {}

    def __call__(self, model, prompts, caps, temperature, seeds):
        if self.calls == self.give_up_after:
            raise KeyboardInterrupt
        assert not model.training
        assert temperature == 1.0
        self.calls += 1
        answers = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            wrong = seed % (len(prompt) + 2)
            answers.append([*(t if i >= wrong else 3 for i, t in enumerate(prompt[:-1])), END])
            self.said.setdefault(tuple(prompt), []).append(answers[-1])
        return answers


def distinct(count):
    """Pairs of which no two have the same prompt."""
    found = {tuple(e["input_ids"]): e for e in copy_task(10 * count, longest=9)}
    return list(found.values())[:count]


def asked(folder, sampler, data, notes=None, **settings):
    log = (notes if notes is not None else []).append
    student = tiny_llama(1).train()
    return pair_weights(
        PairsToWeigh(student, sampler, data, decode, folder, seed=3, log=log),
        CompetenceSettings(**{"threshold": 40.0, "samples": 5} | settings),
    )


def test_weights_are_those_of_the_formula(tmp_path):
    """Rates from sacreBLEU's own function, weights by hand."""
    data, sampler, notes = distinct(60), Sampler(), []
    found = asked(tmp_path, sampler, data, notes, a=2.0, b=0.5)
    plain = []
    for example in data:
        before = prompt_length(example)
        reference = decode(example["input_ids"][before:])
        answers = sampler.said[tuple(example["input_ids"][:before])]
        assert len(answers) == 5
        passed = [sentence_chrf(decode(a), [reference]).score >= 40.0 for a in answers]
        rate = sum(passed) / 5
        plain.append(rate**2 * (1 - rate) ** 0.5)
    mean = statistics.mean(plain)
    assert found == pytest.approx([one / mean for one in plain])
    assert statistics.mean(found) == pytest.approx(1.0)
    assert len(set(found)) > 3
    assert "of pairs pass 0 of 5 samples" in notes[0]
    assert "chrF of at least 40" in notes[0]


def test_powers_of_0_count_everything():
    settings = CompetenceSettings(samples=4, a=0, b=0)
    assert weights_of([0, 1, 4], settings) == [1.0, 1.0, 1.0]
    assert weights_of([0, 2, 4], CompetenceSettings(samples=4, a=1, b=0)) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(("passed", "word"), [([0] * 9 + [4], "Lower"), ([4] * 10, "Raise")])
def test_all_weights_0_is_an_error_that_says_why(passed, word):
    with pytest.raises(InputError) as error:
        weights_of(passed, CompetenceSettings(threshold=50, samples=4))
    assert f"{word} competence.threshold (chrF, now 50)" in str(error.value)
    assert "10 % 4" in str(error.value) or "100 % of pairs pass 4 of 4" in str(error.value)


def test_it_is_done_once_and_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(competence, "CHUNK", 16)
    data = distinct(50)
    expected = asked(tmp_path / "whole", Sampler(), data)
    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path / "part", Sampler(give_up_after=12), data)  # in the third of four chunks
    path = tmp_path / "part" / FILE
    with path.open("a") as file:
        file.write("[1, 2, ")  # a line that was cut off
    again = Sampler()
    assert asked(tmp_path / "part", again, data) == expected
    assert again.calls == 2 * 5
    assert path.read_text() == (tmp_path / "whole" / FILE).read_text()
    assert asked(tmp_path / "part", Sampler(give_up_after=0), data) == expected
    # Other settings, or other data, are another question.
    for change in ({"threshold": 41.0}, {"samples": 2}):
        with pytest.raises(KeyboardInterrupt):
            asked(tmp_path / "part", Sampler(give_up_after=0), data, **change)
    assert len(path.read_text().splitlines()) == 1
    assert json.loads(path.read_text())["samples"] == 2


def test_powers_need_no_new_samples(tmp_path):
    data = distinct(30)
    asked(tmp_path, Sampler(), data)
    asked(tmp_path, Sampler(give_up_after=0), data, a=3.0)


def test_the_student_is_left_as_it_was(tmp_path):
    student = tiny_llama(1).train()
    before = [p.clone() for p in student.parameters()]
    state = torch.random.get_rng_state()
    pair_weights(
        PairsToWeigh(student, Sampler(), distinct(20), decode, tmp_path),
        CompetenceSettings(threshold=40),
    )
    assert student.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_a_weight_for_each_pair():
    data = copy_task(3)
    weighted = WeightedPairs(data, [0.5, 1.0, 1.5])
    assert weighted[2] == {**data[2], "weight": 1.5}
    assert weighted.lengths.tolist() == [len(e["input_ids"]) for e in data]
    with pytest.raises(ValueError, match="2 weights for 3 pairs"):
        WeightedPairs(data, [1.0, 1.0])
