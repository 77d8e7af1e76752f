"""Packed rows against the same pairs padded or alone: layout, hidden states, losses, gradients."""

import logging
from itertools import product

import pytest
import torch
import transformers
from torch import nn
from transformers import LlamaForCausalLM, TrainingArguments

from evokd import DistillationTrainer
from evokd.models.encoded import collate
from evokd.models.lm_head import final_hidden
from evokd.models.packing import lay_out, pack, pairs_of, takes_packed, width_weight
from evokd.recipe.objectives import IGNORED
from tiny import VOCABULARY, copy_task, tiny_llama

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
FAMILIES = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": 4},
    "Gemma2": {"sliding_window": 4},
    "Gemma3Text": {"sliding_window": 4, "model": "Gemma3ForCausalLM"},
}


def small(name, attention="eager", **more):
    settings = {**SIZES, **FAMILIES.get(name, {}), **more}
    model = getattr(transformers, settings.pop("model", f"{name}ForCausalLM"))
    config = getattr(transformers, f"{name}Config")(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return model._from_config(config, attn_implementation=attention).eval()


@pytest.fixture(scope="module")
def padded():
    """Pairs of many lengths, every token a target."""
    examples = copy_task(12, seed=3, longest=9)
    return collate([{**e, "labels": e["input_ids"]} for e in examples])


def by_pair(values, batch):
    """(tokens, …) in the order of pairs, filler left out."""
    pairs = pairs_of(batch).flatten()
    order = pairs.argsort(stable=True)
    return values.flatten(0, 1)[order[pairs[order] >= 0]]


# Layout


def test_a_batch_laid_out_by_hand():
    batch = collate([{"input_ids": x, "labels": x} for x in ([1, 2, 3], [4], [5, 6])])
    found = pack(batch)
    assert found["input_ids"].tolist() == [[1, 2, 3], [5, 6, 4]]
    assert found["position_ids"].tolist() == [[0, 1, 2], [0, 1, 0]]
    assert found["labels"].tolist() == [[IGNORED, 2, 3], [IGNORED, 6, IGNORED]]
    assert found["pairs"].tolist() == [[0, 0, 0], [2, 2, 1]]


def test_filler_stands_at_position_0_and_is_of_no_pair():
    batch = collate([{"input_ids": [7] * n, "labels": [7] * n} for n in (4, 3)])
    found = pack(batch, width_weight=1.0)
    assert found["position_ids"].tolist() == [[0, 1, 2, 3], [0, 1, 2, 0]]
    assert found["pairs"].tolist() == [[0, 0, 0, 0], [1, 1, 1, -1]]
    assert found["labels"][1, 3] == IGNORED


def test_one_row_without_filler_where_attention_knows_where_pairs_end(padded):
    found = pack(padded, width_weight=None)
    assert found["input_ids"].shape == (1, int(padded["attention_mask"].sum()))
    assert (found["pairs"] >= 0).all()


def partitions(items):
    """All ways to lay items into rows."""
    if not items:
        yield []
        return
    first, *rest = items
    for rows in partitions(rest):
        yield [[first], *rows]
        for i, row in enumerate(rows):
            yield [*rows[:i], [first, *row], *rows[i + 1 :]]


@pytest.mark.parametrize("weight", [0.001, 0.03, 1.0])
def test_the_layout_is_near_the_best_of_all(weight):
    generator = torch.Generator().manual_seed(0)

    def cost(lengths, rows):
        width = max(sum(lengths[i] for i in row) for row in rows)
        return len(rows) * width * (1 + weight * width)

    for _ in range(10):
        lengths = torch.randint(1, 30, (7,), generator=generator).tolist()
        rows, width = lay_out(lengths, weight)
        assert sorted(i for row in rows for i in row) == list(range(7))
        assert width == max(sum(lengths[i] for i in row) for row in rows)
        best = min(cost(lengths, other) for other in partitions(list(range(7))))
        assert cost(lengths, rows) <= 1.1 * best
        assert cost(lengths, rows) <= cost(lengths, [[i] for i in range(7)])


def test_wide_rows_cost_where_attention_looks_at_all_of_them():
    lengths = [9, 8, 7, 7, 6, 6, 6, 5]
    widths = [lay_out(lengths, weight)[1] for weight in (0.0, 0.01, 1.0)]
    assert widths[0] > widths[1] > widths[2] == 9


# What a model makes of it


ATTENTIONS = [one for one in product(FAMILIES, ["eager", "sdpa"]) if one != ("Gemma2", "sdpa")]


@pytest.mark.parametrize(("name", "attention"), ATTENTIONS)
@pytest.mark.parametrize("weight", [0.0, None])
def test_hidden_states_and_gradients_are_those_of_each_pair_alone(name, attention, weight, padded):
    model = small(name, attention).double()
    assert takes_packed(model)
    lengths = padded["attention_mask"].sum(1).tolist()
    alone = [
        final_hidden(model, model, {"input_ids": ids[None, :n], "attention_mask": mask[None, :n]})
        for ids, mask, n in zip(padded["input_ids"], padded["attention_mask"], lengths, strict=True)
    ]
    batch = pack(padded, weight)
    together = final_hidden(model, model, {k: batch[k] for k in ("input_ids", "position_ids")})
    assert torch.isfinite(together).all()  # filler has something to look at: itself
    found = []
    for states in (torch.cat(alone, 1)[0], by_pair(together, batch)):
        aim = torch.sin(torch.arange(states.numel(), dtype=torch.float64)).view_as(states)
        decoder = [p for n, p in model.named_parameters() if "lm_head" not in n]
        found.append((states, *torch.autograd.grad((states * aim).sum(), decoder)))
    # The eager softmax and Gemma's norms are in float32, whatever the model is in.
    tolerance = 1e-10 if attention == "sdpa" and "Gemma" not in name else 1e-5
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


class Deaf(LlamaForCausalLM):
    """Takes positions and doesn't use them."""

    def forward(self, position_ids=None, **kwargs):
        return super().forward(**kwargs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_that_mix_the_pairs_of_a_row_are_found_out(dtype):
    config = tiny_llama(1).config
    assert takes_packed(LlamaForCausalLM(config).to(dtype))
    assert not takes_packed(Deaf(config).to(dtype))
    assert not takes_packed(small("Mamba", head_dim=8).to(dtype))  # a state runs along the row
    assert not takes_packed(small("OPT", ffn_dim=32, word_embed_proj_dim=16).to(dtype))


def test_rows_are_as_wide_as_the_model_and_its_attention_want():
    model, wider = tiny_llama(1), tiny_llama(2, hidden_size=24)
    assert width_weight([model]) == width_weight([wider, model]) == pytest.approx(1 / (6 * 16))
    model.config._attn_implementation = "flash_attention_2"
    assert width_weight([wider, model]) is None


# Training


def step(folder, packing, *, dtype=torch.float32, student=None, teacher=None, **more):
    """Weights and last log after two steps of plain SGD, and sums over a validation set."""
    args = TrainingArguments(
        str(folder),
        max_steps=2,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        learning_rate=0.5,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=100.0,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
    )
    trainer = DistillationTrainer(
        model=student or tiny_llama(1, num_hidden_layers=2).to(dtype),
        teacher=teacher or tiny_llama(2, hidden_size=24).to(dtype),
        args=args,
        train_dataset=copy_task(40, longest=12),
        packing=packing,
        **more,
    )
    trainer.train()
    weights = nn.utils.parameters_to_vector(trainer.model.parameters()).detach()
    sums = trainer.statistics_on(copy_task(11, seed=8, longest=12)).sums
    return weights, trainer, {name: float(value) for name, value in sums.items()}


@pytest.mark.parametrize("reduction", ["token", "sequence"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grouped", [True, False])
def test_packed_training_is_padded_training(tmp_path, reduction, dtype, grouped):
    more = {"reduction": reduction, "dtype": dtype, "group_by_length": grouped}
    padded, a, sums = step(tmp_path, False, **more)
    packed, b, packed_sums = step(tmp_path, True, **more)
    assert (a.packing, b.packing) == (False, True)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(packed, padded, rtol=0, atol=tolerance)
    assert packed_sums == pytest.approx(sums, rel=1e-5)
    logs = [[x for x in one.state.log_history if "loss" in x] for one in (a, b)]
    for one, other in zip(*logs, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["padding_share"] <= one["padding_share"]
    shares = [[line["padding_share"] for line in log] for log in logs]
    assert sum(shares[1]) < sum(shares[0])


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_what_cannot_be_packed_is_padded_and_said_once(tmp_path, caplog, who):
    deaf = {who: Deaf(tiny_llama(1, num_hidden_layers=2).config)}
    with caplog.at_level(logging.WARNING, "evokd"):
        assert not step(tmp_path, True, **deaf)[1].packing
    assert [r.message for r in caplog.records if "padded instead" in r.message] == [
        "Deaf can't tell pairs of one row apart: padded instead"
    ]
