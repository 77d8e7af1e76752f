"""The n best translations: what they are, their order and their probabilities, by brute force."""

import math

import pytest
import torch

from evokd.data.prompts import load_prompt, prompt_tags
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.models import FreshModel
from evokd.translate import nbest
from evokd.translate.decoding import translate
from evokd.translate.nbest import candidates
from test_decoding import OwnKind
from tiny import encode_prompt

LINES = ["rot blau", "Haus", "", "Katze läuft grün", "Baum Hund gelb steht rot", "gelb gelb"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([line for line in LINES if line] * 10, 330, prompt_tags(["en", "de"]))


@pytest.fixture(scope="module")
def translator(tokenizer):
    settings = FreshModel(
        hidden_size=64, layers=2, heads=2, max_positions=256, tie_embeddings=False
    )
    model = fresh_model(settings, tokenizer, 3).eval()
    with torch.no_grad():  # larger than fresh weights, so that outputs vary and some end early
        for weight in model.parameters():
            weight.mul_(4 if weight.dim() == 2 else 1)
        model.lm_head.weight[tokenizer.eos_token_id] *= 4
    return Translator(model, tokenizer, load_prompt("compact"))


@pytest.fixture
def seen(monkeypatch):
    """The tokens of each answer by its text, as they are read."""
    ids = {}
    original = nbest.answer_lines

    def keep(*arguments):
        for answer in original(*arguments):
            ids.setdefault(answer.text, []).append(answer.ids)
            yield answer

    monkeypatch.setattr(nbest, "answer_lines", keep)
    return ids


def log_probability(translator, line, answer):
    """One token after the other, without padding and without a cache, in float64."""
    tokenizer = translator.tokenizer
    ids = encode_prompt(tokenizer, translator.prompt, line, "en", "de")
    total = 0.0
    for token in answer:
        with torch.no_grad():
            logits = translator.model(torch.tensor([ids])).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[token])
        ids = [*ids, token]
    return total


@pytest.mark.parametrize(("beam", "count"), [(1, 1), (4, 1), (4, 4)])
def test_scores_are_those_of_a_pass_of_their_own(translator, seen, beam, count):
    settings = DecodingSettings(beam=beam, batch_size=4)
    made = candidates(translator, LINES, "en", "de", settings, count)
    assert made[2] == []
    stops = set()
    for line, found in zip(LINES, made, strict=True):
        for one in found:
            expected = [log_probability(translator, line, ids) for ids in seen[one.text]]
            assert any(one.log_probability == pytest.approx(e, abs=1e-3) for e in expected)
            assert one.tokens in map(len, seen[one.text])
            stops.add(one.stopped_by)
    assert stops >= {"cap", "eos"}


@pytest.mark.parametrize(("beam", "count"), [(1, 1), (4, 4), (5, 3)])
def test_the_first_is_what_translate_gives(translator, beam, count):
    settings = DecodingSettings(beam=beam, batch_size=3)
    expected = translate(translator, LINES, "en", "de", settings)
    made = candidates(translator, LINES, "en", "de", settings, count)
    assert [found[0].text if found else "" for found in made] == expected.lines
    assert [bool(f) and f[0].stopped_by == "cap" for f in made] == expected.cut_off
    for found in made:
        assert len(found) <= count
        assert len({one.text for one in found}) == len(found)
    assert count == 1 or max(map(len, made)) > 1


def test_they_stand_in_the_order_of_their_probability(translator):
    for penalty in (0.0, 1.0):
        settings = DecodingSettings(beam=6, length_penalty=penalty)
        for found in candidates(translator, LINES, "en", "de", settings, 6):
            ranks = [one.log_probability / one.tokens**penalty for one in found]
            assert ranks == sorted(ranks, reverse=True) or ranks == pytest.approx(
                sorted(ranks, reverse=True), abs=1e-4
            )


def test_a_wide_beam_finds_the_most_probable_of_all(translator):
    """Two tokens at most, so that every answer can be looked at."""
    settings = DecodingSettings(
        beam=300, extra_tokens=1, tokens_per_source_token=0.01, length_penalty=0.0
    )
    (found,) = candidates(translator, ["Haus"], "en", "de", settings, 40)
    ids = torch.tensor([encode_prompt(translator.tokenizer, translator.prompt, "Haus", "en", "de")])
    model = translator.model
    with torch.no_grad():
        first = model(ids).logits[0, -1].log_softmax(-1)
        rows = torch.cat([ids.expand(len(first), -1), torch.arange(len(first))[:, None]], dim=1)
        both = first[:, None] + model(rows).logits[:, -1].log_softmax(-1)
    end = translator.tokenizer.eos_token_id
    both[end] = -math.inf
    best = max(float(first[end]), float(both.max()))
    assert found[0].log_probability == pytest.approx(best, abs=1e-4)
    assert sum(math.exp(one.log_probability) for one in found) < 1


def test_a_foreign_kind_of_model_and_any_batch_give_the_same(translator):
    other = OwnKind(translator.model.config).eval()
    other.load_state_dict(translator.model.state_dict())
    other = Translator(other, translator.tokenizer, translator.prompt)
    for beam, count in [(1, 1), (3, 3)]:
        expected = candidates(
            translator, LINES, "en", "de", DecodingSettings(beam=beam, batch_size=1), count
        )
        made = candidates(other, LINES, "en", "de", DecodingSettings(beam=beam), count)
        for theirs, ours in zip(made, expected, strict=True):
            assert [one.text for one in theirs] == [one.text for one in ours]
            assert [one.log_probability for one in theirs] == pytest.approx(
                [one.log_probability for one in ours], abs=1e-3
            )


def test_the_same_text_in_other_tokens_is_merged(translator, monkeypatch):
    """Answers that differ in their tokens and not in their text: the first stays."""
    tokenizer = translator.tokenizer
    whole = tokenizer("blau", add_special_tokens=False)["input_ids"]
    spelled = [i for c in "blau" for i in tokenizer(c, add_special_tokens=False)["input_ids"]]
    assert whole != spelled
    end = tokenizer.eos_token_id
    answers = [[*spelled, end], [*whole, end], [*whole, *whole, end]]

    def search(model, requests, ends, settings, best):
        yield [(0, ids) for ids in answers]

    monkeypatch.setattr(nbest, "search_by", lambda engine: search)
    (found,) = candidates(translator, ["rot"], "en", "de", DecodingSettings(beam=3), 3)
    assert [one.text for one in found] == ["blau", "blaublau"]
    assert found[0].tokens == len(spelled) + 1
    assert found[0].log_probability == pytest.approx(
        log_probability(translator, "rot", answers[0]), abs=1e-3
    )


def test_progress_and_the_models_own_settings(translator):
    calls = []
    translator.model.train()
    own = translator.model.generation_config
    settings = DecodingSettings(beam=2, batch_size=2)
    candidates(translator, LINES, "en", "de", settings, 2, lambda *call: calls.append(call))
    assert translator.model.training
    assert translator.model.generation_config is own
    assert calls[0] == (1, 6)  # the blank line
    assert calls[-1] == (6, 6)
    assert calls == sorted(calls)
    translator.model.eval()


def test_more_answers_than_beams_are_a_mistake(translator):
    with pytest.raises(AssertionError, match="3 answers of a beam of 2"):
        candidates(translator, LINES, "en", "de", DecodingSettings(beam=2), 3)
