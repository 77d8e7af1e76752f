"""Students cut from their teacher: what is left must do what it did there."""

import copy

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM

from evokd.data.prompts import load_prompt
from evokd.errors import InputError
from evokd.models.fresh import train_tokenizer
from evokd.models.importance import scores_of
from evokd.models.layouts import KNOWN, layers_of, layout_of
from evokd.models.loading import load_translator
from evokd.models.saving import save_translator
from evokd.models.structured_pruning import calibration_batches, cut, describe_cut
from evokd.recipe.models import CutModel
from tiny import VOCABULARY, copy_task, tiny_llama

CPU = torch.device("cpu")
LAYERS, HEADS, GROUPS, HEAD_DIM, NEURONS = 4, 4, 2, 8, 24
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": NEURONS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS,
    "head_dim": HEAD_DIM,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOWS = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
KINDS = {
    "llama": ("Llama", {}),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {"sliding_window": 3}),
    "ministral": ("Ministral", {"sliding_window": 3, "layer_types": WINDOWS}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2 with windows": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2},
    ),
    "qwen3": ("Qwen3", {}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", {"sliding_window": 3, "layer_types": WINDOWS}),
    "gemma3_text": ("Gemma3Text", {"sliding_window": 3, "layer_types": WINDOWS}),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 1, 0, 1]}),
    "granite": ("Granite", {"logits_scaling": 4.0, "residual_multiplier": 0.5}),
}


def build(kind, **more):
    """A random model with biases and gains that aren't 0 and 1."""
    name, settings = KINDS[kind]
    model = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = model(getattr(transformers, f"{name}Config")(**{**SIZES, **settings, **more}))
        for name, weight in made.named_parameters():
            if weight.dim() == 1:
                nn.init.normal_(weight, mean=float("norm" in name), std=0.3)
            else:
                nn.init.normal_(weight, std=0.3)
        made.tie_weights()
    return made.eval()


@pytest.fixture(params=KINDS)
def model(request):
    return build(request.param)


def read():
    ids = torch.randint(3, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(5))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model):
    inputs = read()
    with torch.no_grad():
        return model(**inputs).logits[inputs["attention_mask"].bool()]


def close(ours, theirs):
    return torch.allclose(ours, theirs, atol=2e-5 * theirs.abs().max().item(), rtol=0)


CALIBRATION = calibration_batches(copy_task(20), 12, 5)


# Identities


def test_every_known_kind_is_tried():
    assert {kind.split()[0] for kind in KINDS} == set(KNOWN)


def test_cutting_nothing_changes_no_bit_and_shares_no_memory(model):
    everything = CutModel(layers=tuple(range(LAYERS)), heads=HEADS, intermediate_size=NEURONS)
    for settings in (CutModel(), everything, CutModel(layers=LAYERS)):
        student = cut(model, settings)
        assert type(student) is type(model)
        assert torch.equal(logits(student), logits(model))
        assert student.config.to_dict() == model.config.to_dict()
        theirs = {weight.data_ptr() for weight in model.parameters()}
        assert not theirs & {weight.data_ptr() for weight in student.parameters()}
        assert all(weight.requires_grad for weight in student.parameters())


@pytest.mark.parametrize("by", ["activation", "weight"])
def test_dead_heads_and_neurons_may_go(model, by):
    silence(model, heads=(2, 3), neurons=range(0, NEURONS, 2))
    for settings in (
        CutModel(heads=2, by=by),
        CutModel(intermediate_size=NEURONS // 2, by=by),
        CutModel(heads=2, intermediate_size=NEURONS // 2, by=by),
    ):
        student = cut(model, settings, CALIBRATION)
        assert close(logits(student), logits(model))
        assert sum(p.numel() for p in student.parameters()) < sum(
            p.numel() for p in model.parameters()
        )


@torch.no_grad()
def silence(model, heads, neurons):
    """Heads whose values aren't read, neurons that say nothing, other ones in each layer."""
    for number, layer in enumerate(layers_of(model)):
        if number % 2:
            heads, neurons = [(h + 2) % HEADS for h in heads], [n + 1 for n in neurons]
        for head in heads:
            layer.self_attn.o_proj.weight[:, head * HEAD_DIM : (head + 1) * HEAD_DIM] = 0
        layer.mlp.down_proj.weight[:, list(neurons)] = 0
        heads, neurons = (2, 3), range(0, NEURONS, 2)


def test_a_layer_that_adds_nothing_may_go(model):
    """A layer whose last gains or products are zero; the ones around it keep their windows."""
    with torch.no_grad():
        for number in (1, 2):
            layer = layers_of(model)[number]
            for block in (layer.self_attn.o_proj, layer.mlp.down_proj):
                nn.init.zeros_(block.weight)
                if block.bias is not None:
                    nn.init.zeros_(block.bias)
    assert close(logits(cut(model, CutModel(layers=(0, 3)))), logits(model))
    assert close(logits(cut(model, CutModel(layers=(0, 1, 3)))), logits(model))


def test_a_cut_model_is_one_built_by_hand(model):
    """Layers, heads and neurons at once, against a model of that size filled weight by weight."""
    layers, heads, width = (0, 2, 3), 2, 10
    student = cut(model, CutModel(layers=layers, heads=heads, intermediate_size=width), CALIBRATION)
    settings = {
        "num_hidden_layers": 3, "num_attention_heads": heads, "num_key_value_heads": 1,
        "head_dim": HEAD_DIM, "intermediate_size": width,
    }  # fmt: skip
    text = model.config
    for name in ("layer_types", "no_rope_layers"):
        if getattr(text, name, None):
            settings[name] = [getattr(text, name)[i] for i in layers]
    twin = type(model)(type(text)(**{**text.to_dict(), **settings})).eval()
    scores = scores_of(model, layout_of(model), "activation", CALIBRATION)
    source, weights = model.state_dict(), {}
    for name, weight in twin.state_dict().items():
        parts = name.split(".")
        if "layers" in parts:
            number = layers[int(parts[2])]
            old = source[".".join([*parts[:2], str(number), *parts[3:]])]
            worth = scores[number][0].tolist()
            group = int(worth[2] + worth[3] > worth[0] + worth[1])
            best = sorted(torch.topk(scores[number][1], width).indices.tolist())
            if parts[4] in ("q_proj", "o_proj"):
                rows = slice(group * 2 * HEAD_DIM, (group + 1) * 2 * HEAD_DIM)
                old = (
                    old[rows] if parts[4] == "q_proj" else old[..., rows] if old.dim() > 1 else old
                )
            elif parts[4] in ("k_proj", "v_proj"):
                old = old[group * HEAD_DIM : (group + 1) * HEAD_DIM]
            elif parts[4] in ("gate_proj", "up_proj"):
                old = old[best]
            elif parts[4] == "down_proj" and old.dim() > 1:
                old = old[:, best]
        else:
            old = source[name]
        assert old.shape == weight.shape, name
        weights[name] = old
    twin.load_state_dict(weights)
    assert torch.equal(logits(student), logits(twin))
    assert not torch.allclose(logits(student), logits(model), atol=1e-2)


def test_it_learns_is_saved_and_comes_back(model, tmp_path):
    student = cut(model, CutModel(layers=3, heads=2, intermediate_size=12, by="weight"))
    student.train()
    inputs = read()
    loss = student(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    torch.optim.SGD(student.parameters(), lr=0.1).step()
    assert all(weight.grad is not None for weight in student.parameters())
    student.eval()

    student.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is type(model)
    assert torch.equal(logits(again), logits(student))
    tied = model.config.tie_word_embeddings
    for one in (student, again):
        same = one.get_output_embeddings().weight is one.get_input_embeddings().weight
        assert same == tied
    prompt = {name: value[:1, :5] for name, value in inputs.items()}
    written = [
        again.generate(**prompt, max_new_tokens=6, min_new_tokens=6, use_cache=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*written)


def test_save_translator_keeps_it(tmp_path):
    tokenizer = train_tokenizer(["ein Haus, a house"] * 5, 300, ["<en>", "<de>"])
    teacher = tiny_llama(vocab_size=len(tokenizer), num_hidden_layers=3)
    student = cut(teacher, CutModel(layers=2, heads=1, intermediate_size=8), CALIBRATION)
    save_translator(student, tokenizer, load_prompt("compact"), tmp_path / "model")
    again = load_translator(tmp_path / "model", CPU, torch.float32).model
    assert torch.equal(logits(again), logits(student))


# What is chosen


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (1, [6]),
        (2, [0, 6]),
        (3, [0, 3, 6]),
        (4, [0, 2, 4, 6]),
        (7, list(range(7))),
        ((1, 4), [1, 4]),
    ],
)
def test_layers_are_spread_from_the_first_to_the_last(wanted, kept):
    model = tiny_llama(num_hidden_layers=7)
    for number, layer in enumerate(model.model.layers):
        nn.init.constant_(layer.input_layernorm.weight, number)
    student = cut(model, CutModel(layers=wanted))
    found = [int(layer.input_layernorm.weight[0]) for layer in student.model.layers]
    assert found == kept
    assert [layer.self_attn.layer_idx for layer in student.model.layers] == list(range(len(kept)))


def test_scores_by_activation_are_mean_squares_of_what_is_added():
    """By brute force: take one head or neuron away, and look at the block's output."""
    model = build("llama")
    layer = model.model.layers[1]
    inputs = read()
    real = inputs["attention_mask"].bool()

    def block_outputs(part):
        seen = []
        hook = part.register_forward_hook(lambda _m, _a, out: seen.append(out[real]))
        with torch.no_grad():
            model(**inputs)
        hook.remove()
        return seen[0]

    heads, neurons = scores_of(model, layout_of(model), "activation", [inputs])[1]
    for scores, part, size in (
        (heads, layer.self_attn.o_proj, HEAD_DIM),
        (neurons, layer.mlp.down_proj, 1),
    ):
        whole, weight = block_outputs(part), part.weight.detach().clone()
        for number, score in enumerate(scores.tolist()):
            part.weight.data[:, number * size : (number + 1) * size] = 0
            added = whole - block_outputs(part)
            part.weight.data.copy_(weight)
            assert score == pytest.approx(added.square().sum(1).mean().item(), rel=1e-3)


def test_scores_by_weight_are_norms():
    model = build("qwen2")
    layer = model.model.layers[2]
    heads, neurons = scores_of(model, layout_of(model), "weight", None)[2]
    out, values = layer.self_attn.o_proj.weight, layer.self_attn.v_proj.weight
    for head in range(HEADS):
        rows = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        shared = slice(head // 2 * HEAD_DIM, (head // 2 + 1) * HEAD_DIM)
        product = out[:, rows] @ values[shared]
        assert heads[head].item() == pytest.approx(product.norm().item(), rel=1e-4)
    mlp = layer.mlp
    expected = (
        mlp.gate_proj.weight[5].norm() * mlp.up_proj.weight[5].norm()
        * mlp.down_proj.weight[:, 5].norm()
    )  # fmt: skip
    assert neurons[5].item() == pytest.approx(expected.item(), rel=1e-4)


def test_padding_has_no_say_and_the_teacher_stays_as_it_was():
    model = build("qwen3").train()
    before = copy.deepcopy(model.state_dict())
    padded = read()
    bare = [
        {name: value[i : i + 1, : int(padded["attention_mask"][i].sum())] for name, value in
         padded.items()} for i in range(3)
    ]  # fmt: skip
    for ours, theirs in zip(
        scores_of(model, layout_of(model), "activation", [padded]),
        scores_of(model, layout_of(model), "activation", bare),
        strict=True,
    ):
        assert torch.allclose(ours[0], theirs[0], rtol=1e-4)
        assert torch.allclose(ours[1], theirs[1], rtol=1e-4)
    cut(model, CutModel(layers=2, heads=2), [padded])
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_calibration_pairs_are_spread_over_the_data():
    data = [{"input_ids": [i, i], "labels": [i, i]} for i in range(10)]
    batches = calibration_batches(data, 4, batch_size=3)
    assert [batch["input_ids"][:, 0].tolist() for batch in batches] == [[0, 2, 5], [7]]
    assert {"input_ids", "attention_mask"} <= set(batches[0])
    assert sum(len(b["input_ids"]) for b in calibration_batches(data, 99)) == 10


def test_where_one_key_serves_all_heads_leave_one_by_one():
    model = build("gemma", num_key_value_heads=1)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[:, HEAD_DIM : 3 * HEAD_DIM] = 0
    student = cut(model, CutModel(heads=2), CALIBRATION)
    assert student.config.num_key_value_heads == 1
    assert close(logits(student), logits(model))


def test_describe_cut_counts():
    model = tiny_llama(num_hidden_layers=4, hidden_size=16, tie_word_embeddings=False)
    student = cut(model, CutModel(layers=2))
    said = describe_cut(model, student)
    layer = 4 * 16 * 16 + 3 * 16 * 32  # multiply-adds
    norms, head = 2 * 16, 16 * VOCABULARY
    before, after = (n * (layer + norms) + 16 for n in (4, 2))
    assert f"{(before + 2 * head) / 1e3:.2f}k → {(after + 2 * head) / 1e3:.2f}k" in said
    assert f"{before / 1e3:.2f}k → {after / 1e3:.2f}k" in said
    ratio = (4 * layer + head) / (2 * layer + head)
    assert f"estimate: {ratio:.1f}× as fast" in said
    assert "estimate: 2.0× as fast" in said
    assert "layers 4 → 2" in said


# What isn't accepted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 5}, "has 4 layers; 1 to 4 is accepted"),
        ({"layers": 0}, "1 to 4 is accepted"),
        ({"layers": (0, 4)}, "0 to 3 in ascending"),
        ({"layers": (2, 1)}, r"type \[1, 2\]"),
        ({"layers": ()}, "0 to 3 in ascending"),
        ({"layers": (-1, 1)}, r"type \[1\]"),
        ({"heads": 3}, r"4 attention heads, 2 of which share .* 2, 4 of them"),
        ({"heads": 8}, "2, 4 of them"),
        ({"intermediate_size": 25}, "1 to 24 is accepted"),
        ({"heads": 2}, "type student.cut.by=weight"),
    ],
)
def test_numbers_that_dont_fit_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        cut(build("llama"), CutModel(**settings))


def test_heads_that_transformers_would_refuse_are_not_accepted():
    """A Llama's width must be a multiple of its heads, even where head_dim is given."""
    model = build("llama", hidden_size=16, num_attention_heads=8, num_key_value_heads=8)
    with pytest.raises(InputError, match="may have 1, 2, 4, 8 of them"):
        cut(model, CutModel(heads=3, by="weight"))
    qwen = build("qwen3", num_attention_heads=8, num_key_value_heads=8)
    assert cut(qwen, CutModel(heads=3, by="weight")).config.num_attention_heads == 3


def test_of_other_kinds_only_layers_can_be_cut():
    config = transformers.Olmo2Config(**SIZES)
    model = transformers.Olmo2ForCausalLM(config).eval()
    with pytest.raises(InputError, match=r"olmo2 models aren't known(.|\n)*llama, .*gemma3_text"):
        cut(model, CutModel(heads=2, by="weight"))
    for part in (model.model.layers[1], model.model.layers[2]):
        nn.init.zeros_(part.post_attention_layernorm.weight)
        nn.init.zeros_(part.post_feedforward_layernorm.weight)
    assert close(logits(cut(model, CutModel(layers=(0, 3)))), logits(model))

    gpt2 = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2)
    )
    with pytest.raises(InputError, match="no list of layers"):
        cut(gpt2, CutModel(layers=1))


def test_layers_that_would_change_with_their_number_are_refused():
    """What a layer does hangs on its number alone, and no list in the config says so."""
    model = build("llama")
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.looks_back = number % 2 == 0

    class Numbered(type(model)):
        def __init__(self, config):
            super().__init__(config)
            for number, layer in enumerate(self.model.layers):
                layer.self_attn.looks_back = number % 2 == 0

    model.__class__ = Numbered
    with pytest.raises(
        InputError, match=r"would change with its number .*looks_back: False → True"
    ):
        cut(model, CutModel(layers=(1, 2)))
    assert len(layers_of(cut(model, CutModel(layers=(0, 1))))) == 2


def test_a_fused_layer_is_refused():
    model = build("llama")
    model.model.layers[2].mlp.down_proj = nn.Sequential(model.model.layers[2].mlp.down_proj)
    with pytest.raises(InputError, match="layer 2 of this llama model isn't built of"):
        cut(model, CutModel(intermediate_size=4, by="weight"))
