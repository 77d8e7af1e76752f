"""The chunked objective against autograd on full logits, in value, gradients and memory."""

import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import evokd
from evokd.distil.buffers import Buffers
from evokd.distil.chunked_loss import chunked_loss
from evokd.distil.objectives import LOSSES, Tokens, token_loss
from evokd.distil.row_loss import rows
from evokd.distil.statistics import Statistics
from evokd.distil.teacher.signal import LazyLogits
from evokd.distil.token_batch import LossOptions, TokenBatch
from evokd.distil.token_selection import TokenHistory
from evokd.models.lm_head import Head
from evokd.recipe.objectives import objective_settings

N, V, HS, HT = 37, 50, 12, 20
NAMES = sorted(LOSSES)


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
        self.teacher = LazyLogits(seen, Head(read))
        self.labels = torch.randint(0, V, (N,), generator=generator)
        self.labels[::2] = (self.hidden @ self.weight.t())[::2].argmax(1)
        self.leaves = [x for x in (self.hidden, self.weight, self.bias) if x is not None]

    def chunked(self, name, chunk_tokens=8, **more):
        columns = {
            key: more.pop(key) for key in ("weights", "betas", "vocabulary_size") if key in more
        }
        settings = more.pop(
            "settings", objective_settings(name if isinstance(name, str) else "noevo")
        )
        options = LossOptions(settings, chunk_tokens=chunk_tokens, **more)
        batch = TokenBatch(self.hidden, self.head, self.labels, **{"vocabulary_size": V, **columns})
        loss = chunked_loss(name, batch, self.teacher, options)
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
    batch = TokenBatch(case.hidden, case.head, case.labels, V)
    again = chunked_loss("noevo", batch, case.teacher)
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


def test_a_function_may_read_any_setting():
    generator = torch.Generator().manual_seed(1)
    hidden, head = (torch.randn(size, 3, generator=generator) for size in (6, 9))

    def loss(doubt):
        def believed(t):
            return torch.where(t.teacher_nll > t.settings.doubt, 0.0, t.nll)

        return evokd.fused_loss(
            believed, hidden, head, hidden, head, torch.arange(6), doubt=doubt, tau=0.3
        )

    assert loss(0.0) == 0 < loss(9.0)


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
    empty = LazyLogits(case.teacher.hidden[:0], case.teacher.head)
    for name in NAMES:
        batch = TokenBatch(case.hidden[:0], case.head, case.labels[:0], V)
        loss = chunked_loss(name, batch, empty, LossOptions(objective_settings(name)))
        assert loss.item() == 0
        assert torch.autograd.grad(loss, case.weight)[0].abs().max() == 0


def test_statistics_are_what_the_equations_say():
    case = Case()
    statistics = Statistics()
    case.chunked("self_evolution", observers=(statistics.count,))
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
    teacher = LazyLogits(torch.randn(n, h), Head(torch.randn(v, h)))
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
        batch, options = TokenBatch(hidden, head, labels, v), LossOptions(chunk_tokens=64)
        chunked_loss("self_evolution", batch, teacher, options).backward()
    assert largest == 64 * v


def test_an_objective_that_sums_is_refused():
    with pytest.raises(ValueError, match=r"one loss per token, \(8,\) here; found \(\)"):
        Case().chunked(lambda t: t.nll.sum())


def test_fused_loss_is_the_mean_over_labels():
    case = Case()
    labels = case.labels.clone()
    labels[::5] = -100
    kept = labels != -100
    teacher = case.teacher
    loss = evokd.fused_loss(
        "self_evolution", case.hidden, case.weight, teacher.hidden, teacher.head.weight, labels
    )
    found = torch.autograd.grad(loss, case.leaves)
    logits = case.hidden @ case.weight.t()
    theirs = teacher.hidden @ teacher.head.weight.t()
    expected = evokd.token_loss("self_evolution", logits, theirs, labels).sum() / kept.sum()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(found, torch.autograd.grad(expected, case.leaves), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("chunk_tokens", [1, 5, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_fused_loss_is_token_loss_with_ignored_labels_and_weights(name, chunk_tokens):
    """Also where an objective chooses among all that are left."""
    case = Case()
    kept = torch.arange(N) % 3 > 0
    labels = case.labels.masked_fill(~kept, -100)
    weights = torch.linspace(0.1, 2, N, dtype=torch.float64)
    given = case.teacher.hidden, case.teacher.head.weight, labels
    loss = evokd.fused_loss(
        name, case.hidden, case.weight, *given, weights=weights, chunk_tokens=chunk_tokens
    )
    losses = evokd.token_loss(name, case.hidden @ case.weight.t(), given[0] @ given[1].t(), labels)
    expected = (losses * weights).sum() / kept.sum()
    found = torch.autograd.grad(loss, case.leaves)
    assert_same((loss, found), (expected, torch.autograd.grad(expected, case.leaves)))


VARIANTS = [
    ("self_evolution", {"gate": "smooth", "tau": 0.5}),
    ("self_evolution", {"gate": "inverted"}),
    ("self_evolution", {"gate": "vouched"}),
    ("self_evolution", {"gate": "inverted", "difficulty": "js", "gamma": 0.1}),
    ("self_evolution", {"difficulty": "nll", "beta": "difficulty"}),
    ("self_evolution_topk", {"beta": "difficulty"}),
    ("skew", {"betas": torch.linspace(0, 1, N, dtype=torch.float64)}),
    ("self_evolution_topk", {"betas": torch.linspace(0, 1, N, dtype=torch.float64)}),
    ("atkd", {"averaging": "all", "top_percent": 20.0}),
    ("selective_kd", {"queue": 20}),
    ("tip", {"top_percent": 20.0}),
    ("skl", {"alpha": 0.0}),
    ("jsd", {"beta": 0.1}),
]


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("chunk_tokens", [5, 1000])
def test_options_equal_full_logits(name, settings, chunk_tokens):
    case = Case()
    given = case.teacher.hidden, case.teacher.head.weight, case.labels
    loss = evokd.fused_loss(
        name, case.hidden, case.weight, *given, chunk_tokens=chunk_tokens, **settings
    )
    logits = case.hidden @ case.weight.t(), given[0] @ given[1].t()
    expected = evokd.token_loss(name, *logits, case.labels, **settings).mean()
    found = torch.autograd.grad(loss, case.leaves)
    assert_same((loss, found), (expected, torch.autograd.grad(expected, case.leaves)))
    without = evokd.token_loss(name, *logits, case.labels).mean()
    assert abs(loss.item() - without.item()) > 1e-3


@pytest.mark.parametrize("chunk_tokens", [1, 8, 1000])
def test_a_memory_goes_from_batch_to_batch(chunk_tokens):
    settings = {"queue": 100, "top_percent": 40.0}
    first, second = Case(), Case()
    second.hidden = (0.3 * second.hidden.detach()).requires_grad_()
    second.leaves[0] = second.hidden
    memories = TokenHistory(100), TokenHistory(100)
    for case in (first, second):
        given = case.teacher.hidden, case.teacher.head.weight, case.labels
        loss = evokd.fused_loss(
            *("selective_kd", case.hidden, case.weight, *given),
            history=memories[0],
            chunk_tokens=chunk_tokens,
            **settings,
        )
        logits = case.hidden @ case.weight.t(), given[0] @ given[1].t()
        losses = evokd.token_loss(
            "selective_kd", *logits, case.labels, history=memories[1], **settings
        )
        torch.testing.assert_close(loss, losses.mean())
    torch.testing.assert_close(memories[0].values(), memories[1].values())
    assert len(memories[0]) == 2 * N
    with torch.no_grad():
        evokd.fused_loss(
            *("selective_kd", case.hidden, case.weight, *given), history=memories[0], **settings
        )
    assert len(memories[0]) == 2 * N


@pytest.mark.parametrize("name", ["noevo", "jsd", "atkd"])
def test_a_watcher_sees_all_tokens_in_order(name):
    case = Case()
    seen = []
    case.chunked(name, observers=(seen.append,))
    assert [len(stats.loss) for stats in seen] == [8, 8, 8, 8, 5]
    logits = (case.hidden @ case.weight.t()).detach()
    teacher = case.teacher.hidden @ case.teacher.head.weight.t()
    for of, column in [("noevo", "difficulty"), ("sft", "nll"), (name, "loss")]:
        found = torch.cat([getattr(stats, column) for stats in seen])
        torch.testing.assert_close(found, token_loss(of, logits, teacher, case.labels))
    assert all(stats.measured is None for stats in seen)


def test_what_was_compared_with_gamma_is_seen():
    case = Case()
    seen = []
    settings = objective_settings("self_evolution", difficulty="nll", gamma=1.0)
    case.chunked("self_evolution", settings=settings, observers=(seen.append,))
    for stats in seen:
        torch.testing.assert_close(stats.measured, stats.nll)
        assert torch.equal(stats.hard, stats.nll > 1.0)


def test_named_objectives_without_a_teacher_are_refused():
    case = Case()
    case.teacher = None
    with pytest.raises(ValueError, match="tip needs a teacher"):
        case.chunked("tip")


def test_fused_loss_takes_settings_and_weights():
    case = Case()
    weights = torch.linspace(0, 2, N, dtype=torch.float64)
    given = case.teacher.hidden, case.teacher.head.weight, case.labels
    loss = evokd.fused_loss(
        "skew", case.hidden, case.weight, *given, weights=weights, lam=0.3, beta=0.2, chunk_tokens=5
    )
    logits = case.hidden @ case.weight.t()
    theirs = given[0] @ given[1].t()
    losses = evokd.token_loss("skew", logits, theirs, case.labels, lam=0.3, beta=0.2)
    torch.testing.assert_close(loss, (losses * weights).mean())


def test_fused_loss_without_labels_is_0():
    case = Case()
    loss = evokd.fused_loss(
        "sft", case.hidden, case.weight, None, None, torch.full_like(case.labels, -100)
    )
    assert loss.item() == 0
    loss.backward()
    assert case.weight.grad.abs().max() == 0
    assert case.hidden.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objective": "kd"}, "unknown objective 'kd'; did you mean 'atkd'"),
        ({"gama": 1.0}, "gama: unknown key 'gama'; did you mean 'gamma'"),
        ({"teacher_hidden": None}, "noevo needs a teacher"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"\(37, 12\), .* labels \(3,\) don't fit"),
        ({"student_head": torch.zeros(V, 9)}, r"hidden states \(37, 12\), head \(50, 9\)"),
        ({"teacher_head": torch.zeros(V + 2, HT)}, "50 entries, the teacher's 52; pass voc"),
    ],
)
def test_fused_loss_refuses_what_does_not_fit(changed, said):
    case = Case()
    given = {
        "objective": "noevo",
        "student_hidden": case.hidden,
        "student_head": case.weight,
        "teacher_hidden": case.teacher.hidden,
        "teacher_head": case.teacher.head.weight,
        "labels": case.labels,
    }
    with pytest.raises(ValueError, match=said):
        evokd.fused_loss(**{**given, **changed})


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_is_handed_out_once(name):
    case = Case()
    loss, _ = case.chunked(name)
    with pytest.raises(RuntimeError, match="handed out already"):
        loss.backward()


def shape(case_dtype, n=96, v=700, hs=32, ht=48):
    generator = torch.Generator().manual_seed(1)

    def random(*of, spread=1.0):
        return (spread * torch.randn(*of, generator=generator)).to(case_dtype)

    hidden, teacher = random(n, hs), random(n, ht)
    teacher[:, :hs] = hidden + random(n, hs, spread=0.3)
    head = random(v, hs, spread=0.5)
    other = torch.cat([head, random(v, ht - hs, spread=0.1)], dim=1)
    labels = (teacher @ other.t()).float().argmax(1)
    labels[::2] = torch.randint(0, v, (n // 2,), generator=generator)
    return hidden, head, teacher, other, labels


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-3)])
@pytest.mark.parametrize("name", [*NAMES, "by autograd"])
def test_gradients_are_as_near_to_float64_as_the_inputs_allow(name, dtype, limit):
    hidden, head, teacher, other, labels = shape(dtype)
    objective = (lambda t: LOSSES["self_evolution"](t)) if name == "by autograd" else name
    named = "self_evolution" if name == "by autograd" else name
    exact = [x.double().requires_grad_() for x in (hidden, head)]
    logits = exact[0] @ exact[1].t()
    theirs = teacher.double() @ other.double().t()
    expected = torch.autograd.grad(token_loss(named, logits, theirs, labels).mean(), exact)
    given = [x.requires_grad_() for x in (hidden, head)]
    settings = {"gamma": 0.4} if name == "by autograd" else {}
    found = torch.autograd.grad(
        evokd.fused_loss(objective, *given, teacher, other, labels, **settings), given
    )
    for one, other_one in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert (one.double() - other_one).norm() <= limit * other_one.norm()


@pytest.mark.parametrize("name", [*NAMES, "by autograd"])
def test_without_a_compiler_the_loss_is_the_same(name, monkeypatch):
    hidden, head, teacher, other, labels = shape(torch.float32, v=9000)  # more than fits a cache
    objective = (lambda t: LOSSES["sft"](t)) if name == "by autograd" else name
    leaves = [x.requires_grad_() for x in (hidden, head)]
    both = []
    for way in ("c", "torch"):
        monkeypatch.setenv("EVOKD_ROWS", way)
        rows.load_rows.cache_clear()
        loss = evokd.fused_loss(objective, *leaves, teacher, other, labels)
        both.append((loss, torch.autograd.grad(loss, leaves)))
    rows.load_rows.cache_clear()
    torch.testing.assert_close(both[0], both[1], rtol=1e-4, atol=1e-6)


def test_four_products_and_no_more():
    hidden, head, teacher, other, labels = shape(torch.float32)
    flops = 0

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal flops
            name = function.overloadpacket.__name__
            if name in ("mm", "addmm", "addmm_"):
                a, b = args[-2:]
                flops += a.shape[0] * a.shape[1] * b.shape[1]
            return function(*args, **(kwargs or {}))

    hidden.requires_grad_(), head.requires_grad_()
    for name in NAMES:
        flops = 0
        with Count():
            evokd.fused_loss(name, hidden, head, teacher, other, labels, chunk_tokens=20).backward()
        n, v, hs, ht = len(labels), len(head), hidden.shape[1], teacher.shape[1]
        first = {"self_evolution_topk": hs + ht, "tip": hs + ht, "atkd": ht, "selective_kd": hs}
        assert flops == n * v * (3 * hs + ht + first.get(name, 0))


def test_buffers_are_kept_from_call_to_call():
    hidden, head, teacher, other, labels = shape(torch.float32)
    buffers = Buffers()
    places = set()
    for count in (96, 40, 96):
        batch = TokenBatch(hidden[:count], Head(head), labels[:count], len(head))
        chunked_loss(
            "noevo",
            batch,
            LazyLogits(teacher[:count], Head(other)),
            LossOptions(buffers=buffers),
        )
        places.add(tuple(kept.data_ptr() for kept in buffers._kept.values()))
    assert len(places) == 1
    wider = buffers.of("student", (200, 700), hidden)
    assert wider.shape == (200, 700)
    assert wider.stride() == (704, 1)


PEAK = """
import re, sys, torch, evokd
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
n, v, hs, ht = 2048, 32000, 64, 96
given = [torch.randn(n, hs), torch.randn(v, hs), torch.randn(n, ht), torch.randn(v, ht)]
labels = torch.randint(0, v, (n,))
def step(rows):
    student = [x[:rows].clone().requires_grad_() if x is given[0] else x.requires_grad_()
               for x in given[:2]]
    loss = evokd.fused_loss("self_evolution", *student, given[2][:rows], given[3], labels[:rows])
    loss.backward()
step(2)
before = peak()
step(n)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_call_takes_two_buffers_of_logits_and_no_more():
    """Logits of this batch would take 2 × 250 MiB, their gradients as much again."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, env=os.environ, check=True
    )
    outputs = 32000 * 64 * 4 / 2**20 + 1
    assert 20 < float(done.stdout) < 125 + outputs + 12
