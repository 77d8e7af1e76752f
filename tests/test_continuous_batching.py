"""The token loop against transformers' own generate, family by family."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GenerationConfig,
    GPT2Config,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    StoppingCriteriaList,
)

from evokd.models.batching import Budget, Request
from evokd.translate.continuous_batching import decode_continuously, supports_continuous_batching
from evokd.translate.stopping import EndOfAnswer, Ends

VOCABULARY, PAD = 96, 0
ENDS = Ends(
    ids=(1, 7, 8),
    newline=torch.arange(VOCABULARY) % 16 == 9,
    text=torch.arange(VOCABULARY) % 16 > 4,
    text_first=torch.arange(VOCABULARY) % 32 == 9,
)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": PAD,
    "tie_word_embeddings": False,
}
WINDOW = {"sliding_window": 8}
FAMILIES = {
    "llama": LlamaConfig(**SHAPE),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3, one layer with a window": Qwen3Config(
        **SHAPE,
        **WINDOW,
        use_sliding_window=True,
        layer_types=["full_attention", "sliding_attention"],
    ),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "mistral with a window": MistralConfig(**SHAPE, **WINDOW),
    "mistral with a wide window": MistralConfig(**SHAPE, sliding_window=70),
    "gemma2": Gemma2Config(**SHAPE, **WINDOW, query_pre_attn_scalar=8),
    "gemma3": Gemma3TextConfig(
        **SHAPE, **WINDOW, layer_types=["sliding_attention", "full_attention"]
    ),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=PAD
    ),
}  # fmt: skip


def build(config, **how):
    """Larger than fresh weights, so that outputs vary and logits don't tie."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(config, **how).eval()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() == 2:
                    weight.normal_(std=0.35)
    model.generation_config = GenerationConfig()
    return model


def make_requests(count, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high, size=()):
        return torch.randint(low, high, size, generator=generator).tolist()

    return [Request(draw(2, VOCABULARY, (draw(1, 30),)), draw(1, 34)) for _ in range(count)]


def up_to_the_end(ids, cap):
    """The answer as it is read: with its end token or newline, at most its cap."""
    text = False
    for place, token in enumerate(ids[:cap]):
        if token in ENDS.ids or (ENDS.newline[token] and (text or ENDS.text_first[token])):
            return ids[: place + 1]
        text = text or bool(ENDS.text[token])
    return ids[:cap]


def by_generate(model, requests, batch_size):
    """The plain loop: batches in input order, each as long as its longest answer."""
    answers = []
    for at in range(0, len(requests), batch_size):
        batch = requests[at : at + batch_size]
        width = max(len(request.prompt_ids) for request in batch)
        ids = [[PAD] * (width - len(r.prompt_ids)) + r.prompt_ids for r in batch]
        seen = [[0] * (width - len(r.prompt_ids)) + [1] * len(r.prompt_ids) for r in batch]
        caps = torch.tensor([request.cap for request in batch])
        output = model.generate(
            torch.tensor(ids),
            attention_mask=torch.tensor(seen),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=int(caps.max()),
                eos_token_id=list(ENDS.ids),
                pad_token_id=PAD,
            ),
            stopping_criteria=StoppingCriteriaList([EndOfAnswer(ENDS, width, caps)]),
        )[:, width:].tolist()
        answers += [up_to_the_end(row, r.cap) for row, r in zip(output, batch, strict=True)]
    return answers


def by_our_loop(model, requests, budget, **how):
    answers = {}
    for group in decode_continuously(model, requests, ENDS, budget, **how):
        assert group
        for place, ids in group:
            assert place not in answers
            answers[place] = up_to_the_end(ids, requests[place].cap)
    return [answers[place] for place in range(len(requests))]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_generate(family):
    model, requests = build(FAMILIES[family]), make_requests(24)
    assert supports_continuous_batching(model)
    expected = by_generate(model, requests, batch_size=8)
    if family in ("llama", "gemma3"):
        assert expected == by_generate(model, requests, batch_size=1)
    assert len({len(answer) for answer in expected}) > 6  # rows leave at different times
    assert sum(len(a) == r.cap for a, r in zip(expected, requests, strict=True)) > 2
    assert by_our_loop(model, requests, Budget(5, 10_000)) == expected
    places = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt_ids))
    ordered = by_our_loop(model, [requests[i] for i in places], Budget(64, 600))
    assert ordered == [expected[i] for i in places]


@pytest.mark.parametrize(("rows", "sync_every"), [(1, 1), (1, 4), (4, 4), (12, 50)])
def test_answers_depend_neither_on_rows_nor_on_how_often_one_looks(rows, sync_every):
    model, requests = build(FAMILIES["llama"]), make_requests(12)
    budget = Budget(rows, 10_000)
    answers = by_our_loop(model, requests, budget, sync_every=sync_every)
    assert answers == by_generate(model, requests, 8)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral with a window"])
def test_both_kinds_of_attention_take_our_masks(family, attention):
    model = build(FAMILIES[family], attn_implementation=attention)
    requests = make_requests(8, seed=1)
    assert by_our_loop(model, requests, Budget(8, 10_000)) == by_generate(model, requests, 8)


class Watch:
    """Notes how many rows and columns the model was asked for, call by call."""

    def __init__(self, model):
        self.calls = []
        model.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, module, args, kwargs):
        self.calls.append((*kwargs["input_ids"].shape, kwargs["attention_mask"].shape[-1]))


def test_only_what_is_needed_is_computed():
    model, requests = build(FAMILIES["llama"]), make_requests(200, seed=2)
    watch = Watch(model)
    answers = by_our_loop(model, requests, Budget(32, 10_000))
    steps = [(rows, width) for rows, new, width in watch.calls if new == 1]
    # An answer's first token comes with its prompt.
    needed = sum(len(answer) - 1 for answer in answers)
    assert needed <= sum(rows for rows, _ in steps) < 1.25 * needed
    assert max(rows for rows, _ in steps) == 32
    plain = sum(
        max(len(answer) for answer in answers[at : at + 32]) for at in range(0, len(answers), 32)
    )
    assert len(steps) < 0.8 * plain
    # Padding goes when the rows that needed it have gone: 30 + 34 is the longest a row can get.
    assert max(width for _, width in steps) < 64 + 34


def test_a_row_never_exceeds_the_positions_of_its_model():
    """What has ended waits for others in place: position 64 of this model doesn't exist."""
    model = build(FAMILIES["gpt2"])
    requests = [Request([9] * 40, 24), Request([5] * 2, 60), *[Request([6] * 2, 62)] * 6]
    never = Ends((), *torch.zeros(3, VOCABULARY, dtype=torch.bool))
    for sync_every in (1, 7):
        groups = list(
            decode_continuously(model, requests, never, Budget(8, 400), sync_every=sync_every)
        )
        assert sum(len(group) for group in groups) == 8


class OwnLlama(LlamaForCausalLM):
    pass


def test_other_kinds_of_memory_are_left_to_generate():
    mamba = MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, state_size=4)
    assert not supports_continuous_batching(build(mamba))
    llama4 = Llama4TextConfig(
        **SHAPE, attention_chunk_size=8, intermediate_size_mlp=48, num_local_experts=2
    )
    assert not supports_continuous_batching(build(llama4))
    assert not supports_continuous_batching(OwnLlama(FAMILIES["llama"]))
    assert not supports_continuous_batching(torch.nn.Linear(2, 2))
