"""Low-rank adapters: what is trained, merged and saved, through training and its interruptions."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from torch.utils._python_dispatch import TorchDispatchMode

from evokd.distil.chunked_loss import chunked_loss
from evokd.distil.teacher.signal import LazyLogits
from evokd.distil.token_batch import LossOptions, TokenBatch
from evokd.distil.train import run as training
from evokd.distil.train.run import train
from evokd.errors import InputError
from evokd.models.adapters import add_adapters, merge_adapters, save_adapters
from evokd.models.lm_head import Head, check_head
from evokd.models.loading import load_model
from evokd.recipe.models import LoraSettings, ModelSettings
from test_train_run import WITH_STATE, copy_task, job_of, killed_at, same, sampler, trained, work
from tiny import tiny_llama

IDS = torch.arange(3, 15)[None]
LORA = LoraSettings(rank=4)


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def moved(adapted):
    """With adapters that do something."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    return adapted


@pytest.fixture(params=["none", "8bit", "4bit"])
def base(request, tmp_path):
    """A model to adapt, its linear layers in so many bits."""
    made = tiny_llama(1, hidden_size=64)
    if request.param == "none":
        return made
    made.save_pretrained(tmp_path / "base")
    where = ModelSettings(model=str(tmp_path / "base"))
    return load_model(where, torch.device("cpu"), torch.float32, request.param)


@pytest.mark.parametrize("tied", [True, False])
def test_at_first_adapters_change_nothing_and_are_all_that_is_trained(tied):
    model = tiny_llama(1, tie_word_embeddings=tied).bfloat16()
    before, names = logits(model), set(model.state_dict())
    adapted = add_adapters(model, LORA, seed=1)
    check_head(adapted)
    assert torch.equal(logits(adapted), before)
    for name, weight in adapted.named_parameters():
        assert weight.requires_grad == ("lora_" in name)
        assert weight.dtype == (torch.float32 if "lora_" in name else torch.bfloat16)
    again = add_adapters(tiny_llama(1, tie_word_embeddings=tied).bfloat16(), LORA, seed=1)
    assert same(adapted, again)
    merged = merge_adapters(adapted, torch.bfloat16)
    assert merged is model
    assert set(merged.state_dict()) == names
    assert all(weight.requires_grad for weight in merged.parameters())


def test_merged_and_saved_are_what_was_trained(base, tmp_path):
    """Quantized weights are whole again, with what they were multiplied as."""
    adapted = moved(add_adapters(base, LORA, seed=1))
    expected, was_8bit = logits(adapted), getattr(base, "is_loaded_in_8bit", False)
    save_adapters(adapted, tmp_path / "adapter")
    merged = merge_adapters(adapted, torch.float32)
    rounds_inputs = was_8bit  # LLM.int8 multiplies whole numbers
    tolerance = (0.01 if rounds_inputs else 1e-5) * expected.abs().max().item()
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=tolerance)
    merged.save_pretrained(tmp_path / "merged")
    where = ModelSettings(model=str(tmp_path / "merged"))
    loaded = load_model(where, torch.device("cpu"), torch.float32)
    assert torch.equal(logits(loaded), logits(merged))
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}


def test_saved_adapters_are_read_by_peft(tmp_path):
    adapted = moved(add_adapters(tiny_llama(1), LORA, seed=1))
    save_adapters(adapted, tmp_path / "adapter")
    other = PeftModel.from_pretrained(tiny_llama(1), tmp_path / "adapter")
    assert torch.equal(logits(other), logits(adapted))


def test_gradients_of_adapters_reach_through_quantized_weights_after_an_evaluation(base):
    """Against the same adapters on the weights as they were multiplied with."""
    adapted = moved(add_adapters(base, LORA, seed=1))
    logits(adapted)  # an evaluation, which must leave the weights' layout alone

    def gradients(model):
        model.train()
        model(input_ids=IDS, labels=IDS).loss.backward()
        return [weight.grad for weight in model.parameters() if weight.requires_grad]

    found = gradients(adapted)
    state = {k: v.clone() for k, v in adapted.state_dict().items() if "lora_" in k}
    plain = adapted.unload()
    if getattr(plain, "is_quantized", False):
        plain = plain.dequantize()
    again = add_adapters(plain, LORA, seed=1)
    again.load_state_dict(state, strict=False)
    for one, other in zip(found, gradients(again), strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05 * other.abs().max().item())


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (("q_proj", "lm_head"), "hold the head of LlamaForCausalLM"),
        (("q_proj", "embed_tokens"), "hold the embeddings of LlamaForCausalLM"),
        (("w_proj",), r"\('w_proj',\) don't fit LlamaForCausalLM"),
    ],
)
def test_targets_that_are_no_layers_or_the_head_are_refused(targets, said):
    with pytest.raises(InputError, match=said):
        add_adapters(tiny_llama(1), LoraSettings(rank=2, targets=targets), seed=1)


def test_a_frozen_head_takes_no_gradient_and_no_buffer_of_its_size():
    """And the hidden states' gradient is the same."""
    n, v, h = 96, 4096, 24
    hidden, weight = torch.randn(n, h), torch.randn(v, h)
    teacher, labels = LazyLogits(torch.randn(n, h), Head(torch.randn(v, h))), torch.arange(n)

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if "empty" in str(function) and found.numel() == v * h:
                made.append(function)
            if "mm" in str(function):
                products.append(function)
            return found

    gradients, counts = {}, {}
    for trained_head in (True, False):
        made, products = [], []
        leaf = hidden.clone().requires_grad_()
        head = Head(weight.clone().requires_grad_(trained_head))
        with Watch():
            batch, options = TokenBatch(leaf, head, labels, v), LossOptions(chunk_tokens=32)
            chunked_loss("self_evolution", batch, teacher, options).backward()
        gradients[trained_head], counts[trained_head] = leaf.grad, (len(made), len(products))
        assert (head.weight.grad is None) != trained_head
    assert torch.equal(*gradients.values())
    buffers, multiplied = zip(*(counts[one] for one in (True, False)), strict=True)
    assert buffers[0] > 0
    assert buffers[1] == 0
    assert multiplied[0] - multiplied[1] == 3, "one product a chunk fewer"


@pytest.mark.parametrize("what", ["plain", "own text"])
def test_killed_equals_uninterrupted(tmp_path, what, monkeypatch):
    """Adapters, dropout and all, also where the student's own translations are trained on."""

    def run(folder):
        lora = LoraSettings(rank=4, dropout=0.1)
        adapted = add_adapters(tiny_llama(1), lora, seed=1)
        method = WITH_STATE.get(what, {"name": "noevo"})
        job = replace(job_of(folder, method), sampler=sampler())
        teacher = tiny_llama(2, hidden_size=24)
        train(job, adapted, teacher, copy_task(64), copy_task(16, seed=9), lambda text: None)
        return adapted

    whole = run(tmp_path / "whole")
    assert not torch.equal(logits(whole), logits(tiny_llama(1)))
    monkeypatch.setattr(training.Bar, "on_step_end", killed_at(8))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts")
    monkeypatch.undo()
    assert same(whole, run(tmp_path / "parts"))


@pytest.mark.parametrize("select", ["best", "last"])
def test_a_training_killed_after_its_last_step_keeps_its_adapters(tmp_path, select):
    job = work(tmp_path, max_steps=6, eval_every=2, select=select)
    one, facts = trained(job, add_adapters(tiny_llama(1), LORA, seed=1))
    other, again = trained(job, add_adapters(tiny_llama(1), LORA, seed=1))
    assert same(one, other)
    assert facts["kept_step"] == again["kept_step"]


def test_checkpointing_of_activations_changes_nothing(tmp_path):
    students = [
        trained(
            work(tmp_path / str(switch), gradient_checkpointing=switch),
            add_adapters(tiny_llama(1), LORA, seed=1),
        )[0]
        for switch in (False, True)
    ]
    for one, other in zip(*(student.parameters() for student in students), strict=True):
        torch.testing.assert_close(one, other)
    fresh = add_adapters(tiny_llama(1), LORA, seed=1)
    assert not same(students[1], fresh)


def test_adapters_on_everything_move_as_the_weights_would():
    """Of full rank, one small step goes the weights' way: the adapter's is a projection of it."""
    model = tiny_llama(1)
    before = copy.deepcopy(model)
    adapted = add_adapters(model, LoraSettings(rank=16, alpha=16), seed=1)
    optimizer = torch.optim.SGD([w for w in adapted.parameters() if w.requires_grad], lr=1e-2)
    adapted(input_ids=IDS, labels=IDS).loss.backward()
    optimizer.step()
    merged = merge_adapters(adapted, torch.float32)
    before(input_ids=IDS, labels=IDS).loss.backward()
    for name, weight in before.named_parameters():
        if "proj" in name:
            change = merged.get_parameter(name) - weight
            assert (change * -weight.grad).sum() > 0, name
        else:
            assert torch.equal(merged.get_parameter(name), weight), name
