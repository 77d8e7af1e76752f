"""Drawing translations: from the model's distribution, the same whatever stands beside them."""

from collections import Counter

import numpy as np
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from evokd.data.prompts import load_prompt
from evokd.models.batching import Budget, Request
from evokd.models.encoding import end_token_id
from evokd.models.fresh import fresh_model, train_tokenizer
from evokd.models.loading import Translator
from evokd.recipe.models import FreshModel
from evokd.translate import generation
from evokd.translate.continuous_batching import decode_continuously, supports_continuous_batching
from evokd.translate.sampling import TokenSampler
from evokd.translate.stopping import Ends
from tiny import VOCABULARY, tiny_llama

END = 1
SAMPLER = TokenSampler(end_ids=(END,))


def outspoken(model):
    """Larger than fresh weights, so that some tokens are far likelier than others."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return outspoken(tiny_llama(3))


def prompts_of(count, longest=9, seed=0):
    random = np.random.default_rng(seed)
    return [
        random.integers(3, VOCABULARY, random.integers(1, longest)).tolist() for _ in range(count)
    ]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tokens_come_as_often_as_the_model_says(model, temperature):
    """Two tokens of 4000 answers to one prompt, against softmax of the plain forward pass."""
    prompt, count = [7, 12, 30], 4000
    answers = SAMPLER(model, [prompt] * count, [2] * count, temperature, range(count))
    first = Counter(answer[0] for answer in answers)
    usual = first.most_common(1)[0][0]
    second = Counter(answer[1] for answer in answers if answer[0] == usual)
    for context, tokens in [(prompt, first), ([*prompt, usual], second)]:
        with torch.no_grad():
            logits = model(torch.tensor([context])).logits[0, -1]
        expected = torch.softmax(logits.double() / temperature, 0).numpy()
        total = sum(tokens.values())
        seen = np.array([tokens[token] for token in range(VOCABULARY)]) / total
        error = 4 * np.sqrt(expected * (1 - expected) / total) + 1e-3
        assert (abs(seen - expected) < error).all()


def test_neighbours_budget_and_torchs_random_state_make_no_difference(model):
    prompts, seeds = prompts_of(40), list(range(100, 140))
    caps = [3 + i % 20 for i in range(40)]
    before = torch.random.get_rng_state()
    together = SAMPLER(model, prompts, caps, 1.0, seeds)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(9)
    alone = [
        SAMPLER(model, [p], [c], 1.0, [s])[0] for p, c, s in zip(prompts, caps, seeds, strict=True)
    ]
    few = TokenSampler((END,), budget=Budget(rows=7, tokens=90))
    assert together == alone == few(model, prompts, caps, 1.0, seeds)
    assert together != SAMPLER(model, prompts, caps, 1.0, [seed + 1 for seed in seeds])
    longer = SAMPLER(model, prompts, [cap + 5 for cap in caps], 1.0, seeds)
    assert all(a == b[: len(a)] for a, b in zip(together, longer, strict=True))


def test_an_answer_ends_with_its_end_or_at_its_cap(model):
    prompts = prompts_of(60)
    answers = SAMPLER(model, prompts, [12] * 60, 1.0, range(60))
    ended = [answer for answer in answers if END in answer]
    assert 5 < len(ended) < 60
    assert all(answer.index(END) == len(answer) - 1 for answer in ended)
    assert {len(answer) for answer in answers if END not in answer} == {12}


def test_a_low_temperature_is_greedy(model):
    prompts = prompts_of(12)
    requests = [Request(prompt, 10) for prompt in prompts]
    nothing = torch.zeros(VOCABULARY, dtype=torch.bool)
    ends = Ends((END,), nothing, nothing, nothing)
    drawn = {}
    for group in decode_continuously(model, requests, ends, Budget(20, 1000)):
        drawn |= dict(group)
    greedy = [drawn[i][: ends.end_of(drawn[i], 10)[1]] for i in range(12)]
    assert SAMPLER(model, prompts, [10] * 12, 1e-3, range(12)) == greedy


def test_generate_draws_the_same(model, monkeypatch):
    """The way for models that continuous batching doesn't fit; and one of those."""
    prompts, caps = prompts_of(30), [2 + i % 9 for i in range(30)]
    sampler = TokenSampler((END, 5), budget=Budget(rows=8, tokens=100))
    expected = sampler(model, prompts, caps, 1.0, range(30))
    monkeypatch.setattr(generation, "supports_continuous_batching", lambda model: False)
    own = model.generation_config
    assert sampler(model, prompts, caps, 1.0, range(30)) == expected
    assert model.generation_config is own
    monkeypatch.undo()
    mamba = outspoken(
        MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1))
    )
    assert not supports_continuous_batching(mamba)
    answers = sampler(mamba, prompts, caps, 1.0, range(30))
    assert len({tuple(answer) for answer in answers}) > 20


def test_only_the_shared_vocabulary_is_drawn_from(model):
    narrow = TokenSampler((END,), vocabulary_size=20)
    answers = narrow(model, prompts_of(40), [8] * 40, 2.0, range(40))
    assert max(token for answer in answers for token in answer) == 19


def test_no_answer_goes_beyond_the_models_positions():
    short = outspoken(tiny_llama(3, max_position_embeddings=10))
    prompts = [[5] * length for length in (4, 9, 10, 11)]
    answers = TokenSampler(())(short, prompts, [8, 8, 8, 8], 1.0, range(4))
    assert [len(answer) for answer in answers] == [6, 1, 0, 0]
    assert SAMPLER(short, [], [], 1.0, []) == []


def test_a_translators_end_and_padding_are_known():
    tokenizer = train_tokenizer(["ein Haus", "a house"] * 9, 300, ())
    model = fresh_model(FreshModel(hidden_size=16, layers=1, heads=2), tokenizer, 1)
    translator = Translator(model, tokenizer, load_prompt("compact"))
    sampler = TokenSampler.of(translator, vocabulary_size=260)
    assert end_token_id(tokenizer, translator.prompt) in sampler.end_ids
    assert sampler.vocabulary_size == 260
