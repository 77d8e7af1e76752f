import math

import pytest
import torch

from evokd.data.pairs import Pair
from evokd.data.prompts import load_prompt, prompt_tags
from evokd.models import lm_head as heads
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.models import FreshModel
from evokd.recipe.objectives import IGNORED
from evokd.translate import likelihood
from evokd.translate.decoding import translate
from evokd.translate.likelihood import (
    SequenceScore,
    likelihood_facts,
    log_probabilities,
    perplexity,
)
from tiny import encode_pair, encode_prompt

PAIRS = [
    Pair("red", "rot", "en", "de", "x:1"),
    Pair("a house is blue", "ein Haus ist blau", "en", "de", "x:2"),
    Pair("the dog runs and runs and runs", "der Hund läuft und läuft und läuft", "en", "de", "x:3"),
    Pair("green tree", "grüner Baum", "en", "de", "x:4"),
]
SOURCES, TARGETS = [pair.source for pair in PAIRS], [pair.target for pair in PAIRS]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([*SOURCES, *TARGETS] * 10, 340, prompt_tags(["en", "de"]))


def make(tokenizer, style="compact", positions=256, seed=3):
    settings = FreshModel(hidden_size=32, layers=2, heads=2, max_positions=positions)
    model = fresh_model(settings, tokenizer, seed).eval()
    with torch.no_grad():  # larger than fresh weights, so that it prefers some tokens to others
        for weight in model.parameters():
            weight.mul_(6 if weight.dim() == 2 else 1)
    return Translator(model, tokenizer, load_prompt(style))


@pytest.fixture(scope="module")
def untrained(tokenizer):
    return make(tokenizer)


@pytest.fixture(scope="module")
def certain(tokenizer):
    """A model that knows PAIRS by heart."""
    settings = FreshModel(hidden_size=48, layers=2, heads=2)
    translator = Translator(fresh_model(settings, tokenizer, 1), tokenizer, load_prompt("compact"))
    optimizer = torch.optim.AdamW(translator.model.parameters(), lr=5e-3)
    examples = [encode_pair(tokenizer, translator.prompt, pair) for pair in PAIRS]
    for _ in range(80):
        for example in examples:
            ids, labels = torch.tensor([example["input_ids"]]), torch.tensor([example["labels"]])
            (translator.model(input_ids=ids, labels=labels).loss / len(examples)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return translator


def scores_of(translator, sources, targets, *how, **settings):
    pairs = [Pair(s, t, "en", "de", "x") for s, t in zip(sources, targets, strict=True)]
    return log_probabilities(translator, pairs, *how, **settings)


def probability(score):
    return math.exp(score.log_probability)


def by_hand(translator, ids, start):
    """ln q of the tokens from `start` on: one sentence, all logits, float64."""
    model = type(translator.model)(translator.model.config).double().eval()
    model.load_state_dict(translator.model.state_dict())
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    assert logits.dtype == torch.float64
    said = logits.log_softmax(-1)
    return sum(float(said[place - 1, ids[place]]) for place in range(start, len(ids)))


@pytest.mark.parametrize("style", ["compact", "alma"])
def test_scores_are_sums_of_log_probabilities_the_end_token_among_them(tokenizer, style):
    translator = make(tokenizer, style)
    found = scores_of(translator, SOURCES, TARGETS)
    for pair, score in zip(PAIRS, found, strict=True):
        example = encode_pair(tokenizer, translator.prompt, pair)
        start = sum(label == IGNORED for label in example["labels"])
        assert example["input_ids"][-1] == tokenizer.eos_token_id
        expected = by_hand(translator, example["input_ids"], start)
        assert score.log_probability == pytest.approx(expected, rel=1e-5)
        assert score.tokens == len(example["input_ids"]) - start
    assert len({score.log_probability for score in found}) == len(PAIRS)


def test_neither_the_batch_nor_its_padding_nor_the_chunk_matters(untrained, monkeypatch):
    alone = [scores_of(untrained, [s], [t])[0] for s, t in zip(SOURCES, TARGETS, strict=True)]
    widths = []
    monkeypatch.setattr(
        likelihood,
        "final_hidden",
        lambda model, wrapped, read: (
            widths.append(tuple(read["input_ids"].shape))
            or heads.final_hidden(model, wrapped, read)
        ),
    )
    for batch_tokens in (1, 40, 10_000):
        found = scores_of(untrained, SOURCES, TARGETS, batch_tokens)
        for one, other in zip(found, alone, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, rel=1e-5)
            assert one.tokens == other.tokens
    assert all(rows * width <= 40 for rows, width in widths[4:-1])
    assert [rows for rows, _ in widths[:4]] == [1] * 4
    assert widths[-1][0] == len(PAIRS)
    assert len(widths) > 6
    monkeypatch.setattr(likelihood, "LOGIT_BYTES", {"cpu": 1, "cuda": 1})  # 16 rows a chunk
    found = scores_of(untrained, SOURCES, TARGETS)
    assert sum(score.tokens for score in found) > 16
    for one, other in zip(found, alone, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, rel=1e-5)


def test_probabilities_of_all_short_answers_add_up_to_no_more_than_1(tokenizer):
    """Every token followed by the end, and the end alone: q summed by brute force over a tree."""
    translator = make(tokenizer, seed=5)
    prompt = encode_prompt(tokenizer, translator.prompt, "red", "en", "de")
    with torch.no_grad():
        first = translator.model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
    blank = scores_of(translator, ["red"], [""])[0]
    assert blank.tokens == 1
    assert probability(blank) == pytest.approx(float(first[tokenizer.eos_token_id]), rel=1e-4)
    texts = {tokenizer.decode([i]).strip(): i for i in range(5, len(tokenizer))}
    single = [
        text
        for text in texts
        if text and len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1
    ]
    scores = scores_of(translator, ["red"] * len(single), single)
    assert len(single) > 100
    assert {score.tokens for score in scores} == {2}
    mass = probability(blank) + sum(map(probability, scores))
    reachable = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in single]
    most = float(first[tokenizer.eos_token_id] + first[reachable].sum())
    assert 0 < mass < most <= 1


def test_blank_sources_are_not_scored_and_order_is_kept(untrained):
    sources = ["", SOURCES[1], "  ", SOURCES[0]]
    seen = []
    found = scores_of(
        untrained, sources, ["rot", TARGETS[1], "", f" {TARGETS[0]} "],
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [score.tokens > 0 for score in found] == [False, True, False, True]
    whole = scores_of(untrained, SOURCES, TARGETS)
    assert found[1].log_probability == pytest.approx(whole[1].log_probability, rel=1e-5)
    assert found[3].log_probability == pytest.approx(whole[0].log_probability, rel=1e-5)
    assert seen[-1] == (4, 4)
    assert scores_of(untrained, [], []) == []


def test_what_exceeds_the_positions_is_not_scored(tokenizer):
    short = make(tokenizer, positions=16)
    lengths = [len(encode_pair(tokenizer, short.prompt, pair)["input_ids"]) for pair in PAIRS]
    found = scores_of(short, SOURCES, TARGETS)
    assert [score.tokens > 0 for score in found] == [length <= 16 for length in lengths]
    assert max(lengths) > 16 > min(lengths)


def test_perplexity_is_per_token_over_all_sentences():
    scores = [SequenceScore(math.log(1 / 8), 3), SequenceScore(math.log(1 / 16), 2)]
    assert perplexity(scores) == pytest.approx(2 ** (7 / 5))
    assert perplexity([*scores, SequenceScore(0.0, 0)]) == pytest.approx(2 ** (7 / 5))
    assert perplexity([SequenceScore(0.0, 0)]) is None


def test_a_model_is_left_as_it_was(untrained):
    untrained.model.train()
    scores_of(untrained, SOURCES[:1], TARGETS[:1])
    assert untrained.model.training
    untrained.model.eval()


def test_a_model_that_is_certain_puts_all_its_mass_on_its_mode(certain):
    outputs = [
        translate(certain, SOURCES, "en", "de", DecodingSettings(beam=beam)).lines
        for beam in (1, 3)
    ]
    assert outputs[0] == TARGETS
    facts = likelihood_facts(certain, PAIRS, outputs)
    assert 0.9 < facts["mode_mass"] <= 1
    assert 1 < facts["perplexity"] < 1.05


def test_the_most_probable_output_counts_and_the_reference_does_not(certain):
    worse = ["rot rot", "ein Baum", "der Hund", "rot"]
    mixed = [TARGETS[0], worse[1], worse[2], TARGETS[3]]
    facts = likelihood_facts(certain, PAIRS, [worse, mixed])
    masses = map(probability, scores_of(certain, SOURCES, mixed))
    assert facts["mode_mass"] == pytest.approx(sum(masses) / 4, rel=1e-4)
    assert 0.45 < facts["mode_mass"] < 0.55
    assert facts["perplexity"] == pytest.approx(
        perplexity(scores_of(certain, SOURCES, TARGETS)), rel=1e-5
    )


def test_an_untrained_model_has_no_mind(untrained):
    facts = likelihood_facts(untrained, PAIRS, [TARGETS])
    assert facts["mode_mass"] < 1e-5
    assert facts["perplexity"] > 100


def test_directions_count_together_and_what_has_no_score_not_at_all(certain):
    back = [Pair(p.target, p.source, "de", "en", p.origin) for p in PAIRS[:2]]
    blank = Pair("", "rot", "de", "en", "x:9")
    seen = []
    facts = likelihood_facts(
        certain,
        [*PAIRS, *back, blank],
        [[*TARGETS, "rot", "", ""]],
        progress=lambda done, total: seen.append((done, total)),
    )
    # Of three sources each one translation besides the reference; of one of them none is scored.
    assert seen == [(2, 10), (10, 10)]
    one = likelihood_facts(certain, PAIRS, [TARGETS])
    other = likelihood_facts(certain, [*back, blank], [["rot", "", ""]])
    assert facts["mode_mass"] == pytest.approx((4 * one["mode_mass"] + 2 * other["mode_mass"]) / 6)
    assert other["perplexity"] > facts["perplexity"] > one["perplexity"]
    assert likelihood_facts(certain, PAIRS)["mode_mass"] is None
    with pytest.raises(ValueError, match="shorter"):
        likelihood_facts(certain, PAIRS, [["rot"]])
