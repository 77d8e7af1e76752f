import pytest
import torch

from evokd.data.prompts import load_prompt, prompt_tags
from evokd.errors import InputError
from evokd.models.encoded import collate
from evokd.models.fresh import train_tokenizer
from evokd.models.loading import describe, load_translator
from evokd.models.magnitude_pruning import matrices, prune_model, pruned_facts
from evokd.models.saving import save_translator
from tiny import VOCABULARY, copy_task, tiny_llama

CPU = torch.device("cpu")


def masks_of(model):
    return {name: weight != 0 for name, weight in matrices(model).items()}


def zeros(model):
    return {name: int((p == 0).sum()) for name, p in matrices(model).items()}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("level", [0.3, 0.5, 0.9])
def test_the_smallest_weights_of_all_matrices_together_are_gone(tied, level):
    model = tiny_llama(1, tie_word_embeddings=tied, attention_bias=True)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    flat = torch.cat([p.flatten().abs() for p in before.values() if p.dim() == 2])
    count = round(level * flat.numel())
    threshold = flat.sort().values[count - 1]
    masks = prune_model(model, level)
    assert ("lm_head.weight" in masks) == (not tied)
    assert sum(zeros(model).values()) == count
    for name, after in model.named_parameters():
        if before[name].dim() < 2:
            assert name not in masks
            assert torch.equal(after, before[name])
        else:
            assert masks[name].dtype == torch.bool
            assert torch.equal(masks[name], before[name].abs() > threshold)
            assert torch.equal(after, before[name] * masks[name])


def test_a_layer_of_tiny_weights_loses_more():
    model = tiny_llama(2, num_hidden_layers=2)
    with torch.no_grad():
        for weight in model.model.layers[0].parameters():
            weight.mul_(0.01)
    prune_model(model, 0.5)
    shares = {name: gone / matrices(model)[name].numel() for name, gone in zeros(model).items()}
    assert min(share for name, share in shares.items() if "layers.0" in name) > 0.95
    assert max(share for name, share in shares.items() if "layers.0" not in name) < 0.3


def test_what_comes_out_is_an_ordinary_model_with_its_parameters_in_order():
    model = tiny_llama(3, attention_bias=True)
    names, own = list(model.state_dict()), [name for name, _ in model.named_parameters()]
    prune_model(model, 0.5)
    assert list(model.state_dict()) == names
    assert [name for name, _ in model.named_parameters()] == own
    assert not [name for name, _ in model.named_buffers() if "mask" in name]
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


def test_a_higher_level_takes_what_a_lower_one_took_and_more():
    stepwise, at_once = tiny_llama(4), tiny_llama(4)
    half = prune_model(stepwise, 0.5)
    fifth = prune_model(stepwise, 0.8)
    assert not any((fifth[name] & ~half[name]).any() for name in half)
    expected = prune_model(at_once, 0.8)
    assert all(torch.equal(fifth[name], expected[name]) for name in expected)


@pytest.mark.parametrize("level", [0, 1, -0.5, 80])
def test_levels_beyond_0_and_1_are_refused(level):
    with pytest.raises(InputError, match="above 0 and below 1"):
        prune_model(tiny_llama(), level)


def test_pruned_weights_stay_0_in_training_that_masks_them_and_only_then():
    model = tiny_llama(5)
    masks = prune_model(model, 0.6)
    batch = collate(copy_task(16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(**batch).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with pytest.raises(ValueError, match="aren't 0: the masks were lost"):
            pruned_facts(model, masks)
        with torch.no_grad():
            for name, mask in masks.items():
                matrices(model)[name].mul_(mask)
    assert losses[-1] < losses[0]
    assert all(torch.equal(masks_of(model)[name], mask) for name, mask in masks.items())
    assert pruned_facts(model, masks)["pruned_share"] == pytest.approx(0.6, abs=1e-3)


def test_facts_count_what_is_left():
    model = tiny_llama(6)
    size = sum(p.numel() for p in matrices(model).values())
    whole = describe(model)["parameters"]
    facts = pruned_facts(model, prune_model(model, 0.75))
    assert facts["parameters"] == whole
    assert facts["nonzero_parameters"] == whole - round(0.75 * size)
    assert facts["pruned_share"] == round(0.75 * size) / size
    assert facts["compression"] == whole / facts["nonzero_parameters"] > 3.5
    assert facts["mib_packed"] == round((4 * facts["nonzero_parameters"] + size / 8) / 2**20, 2)


def test_masks_of_another_model_are_refused():
    masks = prune_model(tiny_llama(hidden_size=8), 0.5)
    with pytest.raises(ValueError, match=r"no model\.embed_tokens\.weight of shape"):
        pruned_facts(tiny_llama(hidden_size=16), masks)


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_one_comes_back_with_its_masks_and_its_logits(tmp_path, tied):
    tokenizer = train_tokenizer(["rot blau Haus"], 300, prompt_tags(["en", "de"]))
    model = tiny_llama(7, vocab_size=len(tokenizer), tie_word_embeddings=tied).eval()
    masks = prune_model(model, 0.8)
    save_translator(model, tokenizer, load_prompt("compact"), tmp_path / "model")
    loaded = load_translator(tmp_path / "model", CPU, torch.float32).model
    found = masks_of(loaded)
    assert list(found) == list(masks)
    assert all(torch.equal(found[name], masks[name]) for name in masks)
    assert pruned_facts(loaded, masks) == pruned_facts(model, masks)
    ids = torch.arange(12)[None] % VOCABULARY
    assert torch.equal(loaded(ids).logits, model(ids).logits)
