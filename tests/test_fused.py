"""The chunked objective against autograd on full logits, in value, gradients and memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from evokd.distil.fused import Statistics, objective_on_hidden
from evokd.distil.objectives import OBJECTIVES, Tokens, objective_settings, token_loss
from evokd.distil.teachers import HeadedHidden
from evokd.models.heads import Head

N, V, HS, HT = 37, 50, 12, 20
NAMES = sorted(OBJECTIVES)


class Case:
    """Two heads on random hidden states, in float64."""

    def __init__(self, bias=False, scale=1.0, cap=None):
        generator = torch.Generator().manual_seed(3)

        def random(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.hidden = random(N, HS).requires_grad_()
        self.weight = random(V, HS).requires_grad_()
        self.bias = random(V).requires_grad_() if bias else None
        self.head = Head(self.weight, self.bias, scale, cap)
        # A teacher that agrees with the student in part, so that some tokens are hard, some easy.
        seen = torch.cat([self.hidden.detach(), random(N, HT - HS)], dim=1)
        read = torch.cat([self.weight.detach(), 0.2 * random(V, HT - HS)], dim=1)
        self.teacher = HeadedHidden(seen, Head(read))
        self.labels = torch.randint(0, V, (N,), generator=generator)
        self.labels[::2] = (self.hidden @ self.weight.t())[::2].argmax(1)
        self.leaves = [x for x in (self.hidden, self.weight, self.bias) if x is not None]

    def chunked(self, name, chunk_tokens=8, **more):
        loss = objective_on_hidden(
            name,
            objective_settings(name) if isinstance(name, str) else objective_settings("noevo"),
            self.hidden,
            self.head,
            self.teacher,
            self.labels,
            chunk_tokens=chunk_tokens,
            **more,
        )
        return loss, torch.autograd.grad(loss, self.leaves)

    def full(self, name, weights=1.0, size=V):
        raw = self.hidden @ self.weight.t() + (0 if self.bias is None else self.bias)
        logits = raw * self.head.scale
        if self.head.cap is not None:
            logits = self.head.cap * torch.tanh(logits / self.head.cap)
        teacher = self.teacher.hidden @ self.teacher.head.weight.t()
        losses = token_loss(name, logits[:, :size], teacher[:, :size], self.labels)
        loss = (losses * weights).sum()
        return loss, torch.autograd.grad(loss, self.leaves)


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0])
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk_tokens", [1, 8, 37, 1000])
def test_equals_full_logits(name, chunk_tokens):
    case = Case()
    assert_same(case.chunked(name, chunk_tokens), case.full(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "head",
    [{"bias": True}, {"scale": 0.25}, {"cap": 3.0}, {"bias": True, "scale": 2.0, "cap": 5.0}],
)
def test_knows_every_part_of_a_head(name, head):
    case = Case(**head)
    assert_same(case.chunked(name), case.full(name))


def test_weights_count_each_token():
    case = Case()
    weights = torch.linspace(0, 2, N, dtype=torch.float64)
    assert_same(
        case.chunked("self_evolution", weights=weights), case.full("self_evolution", weights)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_vocabulary_slice_is_a_smaller_vocabulary(name):
    case = Case(bias=True)
    case.labels = case.labels % 30
    assert_same(case.chunked(name, vocabulary_size=30), case.full(name, size=30))


def test_an_upstream_gradient_scales_all():
    case = Case()
    gradients = case.chunked("noevo")[1]
    again = objective_on_hidden(
        "noevo", objective_settings("noevo"), case.hidden, case.head, case.teacher, case.labels
    )
    scaled = torch.autograd.grad(again * 3.0, case.leaves)
    for one, other in zip(scaled, gradients, strict=True):
        torch.testing.assert_close(one, 3.0 * other)


def test_a_frozen_head_gets_no_gradient():
    case = Case()
    case.head = Head(case.weight.detach())
    case.leaves = [case.hidden]
    (gradient,) = case.chunked("noevo")[1]
    assert case.head.weight.grad is None
    raw = case.hidden @ case.head.weight.t()
    teacher = case.teacher.hidden @ case.teacher.head.weight.t()
    expected = torch.autograd.grad(
        token_loss("noevo", raw, teacher, case.labels).sum(), case.hidden
    )
    torch.testing.assert_close(gradient, expected[0])


def test_any_function_of_tokens_is_an_objective():
    def half_sft(t: Tokens):
        return 0.5 * t.nll

    case = Case()
    loss, gradients = case.chunked(half_sft)
    expected = case.full("sft")
    torch.testing.assert_close(loss, 0.5 * expected[0])
    torch.testing.assert_close(gradients[1], 0.5 * expected[1][1])


def test_no_tokens_give_0():
    case = Case()
    empty = HeadedHidden(case.teacher.hidden[:0], case.teacher.head)
    for name in NAMES:
        loss = objective_on_hidden(
            name, objective_settings(name), case.hidden[:0], case.head, empty, case.labels[:0]
        )
        assert loss.item() == 0
        assert torch.autograd.grad(loss, case.weight)[0].abs().max() == 0


def test_statistics_are_what_the_equations_say():
    case = Case()
    statistics = Statistics.empty()
    case.chunked("self_evolution", statistics=statistics)
    student = (case.hidden @ case.weight.t()).detach().requires_grad_()
    teacher = case.teacher.hidden @ case.teacher.head.weight.t()
    d = token_loss("noevo", student, teacher, case.labels).detach()
    losses = token_loss("self_evolution", student, teacher, case.labels)
    gradient = torch.autograd.grad(losses.sum(), student)[0].norm(dim=1)
    hard = d > 0.4
    assert 0 < hard.sum() < N
    means = statistics.means()
    assert means["hard_share"] == pytest.approx(hard.double().mean().item())
    assert means["noevo_loss"] == pytest.approx(d.mean().item())
    assert means["student_nll"] == pytest.approx(
        token_loss("sft", student, None, case.labels).mean().item()
    )
    assert means["teacher_nll"] == pytest.approx(
        token_loss("sft", teacher, None, case.labels).mean().item()
    )
    assert means["loss_share_hard"] == pytest.approx((losses[hard].sum() / losses.sum()).item())
    assert means["grad_share_hard"] == pytest.approx(
        (gradient[hard].sum() / gradient.sum()).item(), rel=1e-5
    )
    assert means["grad_share_hard"] + means["grad_share_easy"] == pytest.approx(1.0)


def test_logits_of_a_batch_never_stand_in_memory_at_once():
    n, v, h = 2048, 8192, 8
    hidden = torch.randn(n, h, requires_grad=True)
    head = Head(torch.randn(v, h, requires_grad=True))
    teacher = HeadedHidden(torch.randn(n, h), Head(torch.randn(v, h)))
    labels = torch.randint(0, v, (n,))
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                largest = max(largest, found.numel())
            return found

    with Watch():
        objective_on_hidden(
            "self_evolution",
            objective_settings("self_evolution"),
            hidden,
            head,
            teacher,
            labels,
            chunk_tokens=64,
        ).backward()
    assert largest == 64 * v


def test_an_objective_that_sums_is_refused():
    with pytest.raises(ValueError, match=r"one loss per token, \(8,\) here; found \(\)"):
        Case().chunked(lambda t: t.nll.sum())
