"""Difficulty token by token, against a loop over sentences with full logits."""

from __future__ import annotations

import pytest
import torch

from evokd.data.pairs import Pair
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.distil.diagnosis import EDGES, GATES, SHOWN, diagnose, gate_quality
from evokd.distil.objectives import difficulty, token_loss
from evokd.distil.teacher.signal import LiveTeacher
from evokd.models.fresh import train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.methods import MethodSettings
from small_study import sentences
from tiny import encode_pair, tiny_llama

PAIRS = [Pair(*pair, "en", "de", "") for pair in sentences(30)]
GAMMA = 1.55
METHOD = MethodSettings(name="self_evolution", gamma=GAMMA, lam=0.7)


def outspoken(model):
    """Far from uniform, so that difficulties differ."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8 if weight.dim() == 2 else 1)
    return model


@pytest.fixture(scope="module")
def student():
    texts = [text for pair in sentences(30) for text in pair]
    tokenizer = train_tokenizer(texts, 300, prompt_tags(["en", "de"]))
    return Translator(
        outspoken(tiny_llama(1, vocab_size=len(tokenizer))), tokenizer, load_prompt("compact")
    )


def per_token(student, teacher, size):
    """(d, NLL, the teacher's NLL) of each pair's tokens, and the mass beyond `size` of both."""
    rows, lost = [], torch.zeros(2)
    for pair in PAIRS:
        example = encode_pair(student.tokenizer, student.prompt, pair)
        labels = torch.tensor(example["labels"])
        places = (labels >= 0).nonzero()[:, 0]
        both = [
            model(torch.tensor([example["input_ids"]])).logits[0, places - 1].detach()
            for model in (teacher, student.model)
        ]
        lost += torch.stack([one.softmax(-1)[:, size:].sum() for one in both])
        theirs, ours = (one[:, :size] for one in both)
        d = difficulty(ours, theirs, labels[places], lam=0.7)
        nll, teacher_nll = (token_loss("sft", one, None, labels[places]) for one in (ours, theirs))
        rows.append(torch.stack([d, nll, teacher_nll], dim=1))
    return rows, lost


@pytest.mark.parametrize("beyond", [0, 8])
def test_it_is_that_of_each_sentence_alone(student, beyond):
    size = len(student.tokenizer)
    teacher = outspoken(tiny_llama(2, hidden_size=24, vocab_size=size + beyond))
    made = diagnose(student, LiveTeacher(teacher), PAIRS, METHOD, size, batch_size=7)
    rows, lost = per_token(student, teacher, size)
    d, nll, teacher_nll = torch.cat(rows).double().T
    assert made["tokens"] == len(d)
    assert made["mean_difficulty"] == pytest.approx(float(d.mean()), rel=1e-5)
    assert made["student_nll"] == pytest.approx(float(nll.mean()), rel=1e-5)
    assert made["teacher_nll"] == pytest.approx(float(teacher_nll.mean()), rel=1e-5)
    assert made["gamma"] == GAMMA
    assert made["hard_share"] == pytest.approx(float((d > GAMMA).double().mean()))
    assert 0.1 < made["hard_share"] < 0.9
    teachers, students = (lost / len(d)).tolist()
    assert made["lost_mass"] == {"teacher": pytest.approx(teachers, rel=1e-5), "student": students}
    assert (teachers > 0) == (beyond > 0)
    assert made["histogram"]["edges"] == [*EDGES, None]
    expected = torch.histc(d, 50, 0, 5).long().tolist()
    assert made["histogram"]["counts"] == [*expected, int((d > 5).sum())]


def test_some_sentences_are_shown_from_first_to_last(student):
    size = len(student.tokenizer)
    teacher = outspoken(tiny_llama(2, hidden_size=24, vocab_size=size))
    shown = diagnose(student, teacher, PAIRS, METHOD, size)["sentences"]
    assert len(shown) == SHOWN
    assert (shown[0]["source"], shown[-1]["source"]) == (PAIRS[0].source, PAIRS[-1].source)
    rows, _ = per_token(student, teacher, size)
    values = dict(zip((pair.source for pair in PAIRS), rows, strict=True))
    for sentence in shown:
        tokens = sentence["tokens"]
        assert "".join(token["text"] for token in tokens[:-1]) == sentence["reference"]
        assert tokens[-1]["text"] == "⏎"
        for token, (d, nll, theirs) in zip(tokens, values[sentence["source"]], strict=True):
            assert token["difficulty"] == pytest.approx(float(d), abs=1e-4)
            assert token["student_nll"] == pytest.approx(float(nll), abs=1e-4)
            assert token["teacher_nll"] == pytest.approx(float(theirs), abs=1e-4)
            assert token["hard"] == (float(d) > GAMMA)


def test_gates_are_judged_by_the_words_that_are_wrong(student):
    """Of every third pair all words and the end are wrong, of every other third the second word."""
    size = student.model.config.vocab_size
    teacher = outspoken(tiny_llama(2, vocab_size=size))
    wrong = [
        set(range(len(pair.target.split()) + 1)) if i % 3 == 0 else {1} if i % 3 == 1 else set()
        for i, pair in enumerate(PAIRS)
    ]
    found = gate_quality(student, LiveTeacher(teacher), PAIRS, wrong, size)
    assert [(row["gamma"], row["doubt"]) for row in found] == GATES
    flags, values = [], []
    for pair, own in zip(PAIRS, wrong, strict=True):
        example = encode_pair(student.tokenizer, student.prompt, pair)
        ids = [i for i in example["labels"] if i >= 0]
        labels = torch.tensor(example["labels"])
        places = (labels >= 0).nonzero()[:, 0]
        inputs = torch.tensor([example["input_ids"]])
        theirs, ours = (
            model(inputs).logits[0, places - 1].detach() for model in (teacher, student.model)
        )
        values.append(
            torch.stack(
                [
                    difficulty(ours, theirs, labels[places]),
                    token_loss("sft", theirs, None, labels[places]),
                    torch.distributions.Categorical(logits=theirs).entropy(),
                ]
            )
        )
        for end in range(1, len(ids)):
            words = student.tokenizer.decode(ids[:end], skip_special_tokens=False).split()
            flags.append(max(0, len(words) - 1) in own)
        flags.append(len(pair.target.split()) in own)
    d, teacher_nll, entropy = torch.cat(values, dim=1)
    is_wrong = torch.tensor(flags)
    assert 0.2 < is_wrong.float().mean() < 0.8
    for row in found:
        damped = d > row["gamma"]
        if row["doubt"] is not None:
            damped &= (teacher_nll > row["doubt"]) & (teacher_nll > entropy)
        hits = float((damped & is_wrong).sum())
        assert row["damped"] == pytest.approx(float(damped.float().mean()))
        assert row["recall"] == pytest.approx(hits / float(is_wrong.sum()))
        if damped.any():
            assert row["precision"] == pytest.approx(hits / float(damped.sum()))
