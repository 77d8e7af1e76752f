"""Hidden states and head, taken apart, against the model's own logits, in many architectures."""

import copy

import pytest
import torch
import torch._dynamo
import transformers
from torch import nn
from torch._dynamo.utils import counters
from transformers import LlamaForCausalLM, TrainingArguments

from evokd import DistillationTrainer, token_loss
from evokd.distil.chunked_loss import chunked_loss
from evokd.distil.objectives import LOSSES
from evokd.distil.statistics import Statistics
from evokd.distil.teacher.signal import LazyLogits, LiveTeacher
from evokd.distil.token_batch import LossOptions, TokenBatch
from evokd.models.encoded import collate, target_mask
from evokd.models.lm_head import Head, check_head, final_hidden, head_of
from evokd.recipe.objectives import objective_settings
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
ARCHITECTURES = {
    "Llama": {},
    "Llama tied": {"tie_word_embeddings": True},
    "Mistral": {},
    "Qwen2": {},
    "Qwen3": {},
    "Phi": {},  # a bias in its head
    "Granite": {"logits_scaling": 8.0},
    "Cohere": {"logit_scale": 0.0625},
    "Gemma2": {"final_logit_softcapping": 0.2},
    "Gemma3Text": {"final_logit_softcapping": 0.2, "model": "Gemma3ForCausalLM"},
}


def small(name):
    """A random model; logits large enough that a forgotten scale or cap shows."""
    kind, *_ = name.split()
    settings = dict(ARCHITECTURES[name])
    model = getattr(transformers, settings.pop("model", f"{kind}ForCausalLM"))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        made = model(getattr(transformers, f"{kind}Config")(**{**SIZES, **settings}))
        layer = made.get_output_embeddings()
        nn.init.normal_(layer.weight, std=0.2)
        if layer.bias is not None:
            nn.init.normal_(layer.bias)
    return made.eval()


@pytest.fixture(scope="module")
def batch():
    """Responses of several lengths, so that there is padding."""
    return collate(copy_task(5, seed=2))


def full_loss(student, teacher, batch, objective):
    """The independent truth: all logits of the model's own forward, and autograd."""
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    labels = batch["labels"][:, 1:].flatten()
    logits = student(**read).logits[:, :-1].flatten(0, 1)
    said = teacher(**read).logits[:, :-1].flatten(0, 1).detach()
    return token_loss(objective, logits, said, labels).sum()


def loss_of_models(student, teacher, batch, objective, *observers):
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    predicts = target_mask(batch["labels"])
    head = head_of(student)
    tokens = TokenBatch(
        final_hidden(student, student, read)[predicts],
        head,
        batch["labels"].roll(-1, dims=1)[predicts],
        head.weight.shape[0],
    )
    options = LossOptions(objective_settings(objective), chunk_tokens=7, observers=observers)
    return chunked_loss(objective, tokens, LiveTeacher(teacher).forward(read, predicts), options)


def gradients(loss, model):
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.autograd.grad(loss, trained, allow_unused=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_is_autograd_on_the_models_own_logits(name, batch):
    student, teacher = small(name), tiny_llama(2, hidden_size=24).eval()
    check_head(student)
    expected = full_loss(student, teacher, batch, "self_evolution")
    found = loss_of_models(student, teacher, batch, "self_evolution")
    torch.testing.assert_close(found, expected)
    pairs = zip(gradients(found, student), gradients(expected, student), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Llama", "Gemma2", "Granite", "Cohere", "Phi"])
def test_these_architectures_serve_as_teachers(name, batch):
    student, teacher = tiny_llama(1), small(name)
    expected = full_loss(student, teacher, batch, "forward_kd")
    torch.testing.assert_close(loss_of_models(student, teacher, batch, "forward_kd"), expected)


@pytest.mark.parametrize("name", ["Llama", "Llama tied"])
def test_a_frozen_head_and_frozen_layers(name, batch):
    student, teacher = small(name), tiny_llama(2).eval()
    student.get_output_embeddings().weight.requires_grad_(False)
    student.model.layers[0].requires_grad_(False)
    found = gradients(loss_of_models(student, teacher, batch, "noevo"), student)
    expected = gradients(full_loss(student, teacher, batch, "noevo"), student)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Unknown(LlamaForCausalLM):
    """Does something after its head that no configuration tells."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + 0.1 * output.logits.abs()
        return output


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match="Unknown does more at its head"):
        check_head(Unknown(tiny_llama(1, hidden_size=16).config))


class Adapted(nn.Module):
    """A low-rank adapter around a head, as PEFT makes them: B is 0 at the start."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer.requires_grad_(False)
        self.A = nn.Linear(layer.in_features, 2, bias=False)
        self.B = nn.Linear(2, layer.out_features, bias=False)
        nn.init.zeros_(self.B.weight)

    @property
    def weight(self):
        return self.base_layer.weight

    def forward(self, x):
        return self.base_layer(x) + self.B(self.A(x))


def test_an_adapter_in_the_head_is_refused():
    model = tiny_llama(1, tie_word_embeddings=False)
    model.lm_head = Adapted(model.lm_head)
    with pytest.raises(ValueError, match=r"trains A\.weight, B\.weight in its head"):
        check_head(model)


# Autocast


@pytest.mark.parametrize("objective", sorted(LOSSES))
def test_autocast_rounds_nothing_in_the_objective(objective):
    """Sums over the vocabulary in half precision would move difficulty across Γ.

    On a CPU the head's products stay in float32 too: that is no slower there.
    """
    generator = torch.Generator().manual_seed(0)
    hidden, seen = (torch.randn(50, 16, generator=generator) for _ in range(2))
    weight = torch.randn(300, 16, generator=generator).requires_grad_()
    read = torch.randn(300, 16, generator=generator)
    labels = torch.randint(300, (50,), generator=generator)
    statistics = Statistics()
    with torch.autocast("cpu", torch.bfloat16):
        found = chunked_loss(
            objective,
            TokenBatch(hidden, Head(weight), labels, 300),
            LazyLogits(seen, Head(read)),
            LossOptions(
                objective_settings(objective), chunk_tokens=16, observers=(statistics.count,)
            ),
        )
    student = (hidden @ weight.t()).detach()
    expected = token_loss(objective, student, seen @ read.t(), labels)
    torch.testing.assert_close(found, expected.sum())
    d = token_loss("noevo", student, seen @ read.t(), labels)
    assert statistics.sums["difficulty"].item() == pytest.approx(d.sum().item(), rel=1e-6)


def one_step(folder, student=None, batch=16, packing=False, **settings):
    """The way the weights went in an epoch of 16 pairs, by plain SGD at rate 1, as one vector.

    By default in one step, so it is the gradient.
    """
    student = student or tiny_llama(1, num_hidden_layers=2)
    args = TrainingArguments(
        str(folder),
        max_steps=16 // batch,
        per_device_train_batch_size=batch,
        learning_rate=1.0,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=100.0,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        **settings,
    )
    trainer = DistillationTrainer(
        model=student,
        teacher=tiny_llama(2, hidden_size=24),
        args=args,
        train_dataset=copy_task(16),
        packing=packing,
    )
    before = nn.utils.parameters_to_vector(student.parameters()).detach().clone()
    trainer.train()
    return before - nn.utils.parameters_to_vector(student.parameters()).detach()


def test_bfloat16_gives_nearly_the_same_gradient(tmp_path):
    exact, rounded = one_step(tmp_path), one_step(tmp_path, bf16=True)
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(tmp_path, reentrant):
    more = {"gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    found = one_step(tmp_path, gradient_checkpointing=True, **more)
    torch.testing.assert_close(found, one_step(tmp_path))


@pytest.mark.parametrize(
    "more", [{}, {"packing": True, "gradient_checkpointing": True, "bf16": True}]
)
def test_a_compiled_student_learns_the_same_and_is_compiled_once(tmp_path, more):
    """Four steps on batches of four widths. (How the graph is made into code is not ours.)"""
    torch._dynamo.reset()
    counters.clear()
    expected = one_step(tmp_path, tiny_llama(1), batch=4, **more)
    assert not counters["stats"]
    compiled = {"torch_compile": True, "torch_compile_backend": "eager"}
    found = one_step(tmp_path, tiny_llama(1), batch=4, **compiled, **more)
    # torch.compile makes a graph of its own for a batch of one row, which packing may lead to.
    assert 1 <= counters["stats"]["unique_graphs"] <= (2 if "packing" in more else 1)
    tolerance = 0.02 if "bf16" in more else 1e-5
    assert (found - expected).norm() < tolerance * expected.norm()


def test_nothing_is_kept_of_a_forward_pass_and_a_copy_is_apart(batch):
    model = tiny_llama(1)
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    final_hidden(model, model, read)
    other = copy.deepcopy(model)
    nn.init.zeros_(other.model.norm.weight)
    assert final_hidden(other, other, read).abs().max() == 0
    assert final_hidden(model, model, read).abs().max() > 0
    model(**read)
    hooks = [hook for one in (model, other) for hook in one.model._forward_hooks.values()]
    assert len(hooks) == 2
    assert all(hook.hidden is None for hook in hooks)


def test_looking_takes_no_gradients(batch):
    student, statistics = small("Llama"), Statistics()
    with torch.no_grad():
        loss = loss_of_models(student, tiny_llama(2), batch, "noevo", statistics.count)
    assert not loss.requires_grad
    assert "gradient_all" not in statistics.sums
    assert "difficulty" in statistics.sums
