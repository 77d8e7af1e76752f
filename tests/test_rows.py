"""The closed forms, in C and in torch, against autograd through the equations in float64."""

import ctypes
from dataclasses import asdict

import pytest
import torch

from evokd.distil.objectives import OBJECTIVES, most_difficult, objective_settings, token_loss
from evokd.distil.row_loss import compiling, kernels, rows, rows_in_c
from evokd.distil.row_loss.closed_forms import closed_form

CLOSED = sorted(
    (
        *("sft", "forward_kd", "reverse_kd", "noevo", "skew", "skew_teacher"),
        *("self_evolution", "self_evolution_topk", "word_kd", "skl"),
    )
)
"""Objectives with a closed form, and none in the others' names."""

SETTINGS = [
    {},
    {"lam": 0.0},
    {"lam": 1.0},
    {"beta": 0.0},
    {"beta": 0.9},
    {"beta": 1.0},
    {"lam": 0.3, "gamma": 1.0},
    {"gate": "swapped"},
    {"alpha": 0.0},
    {"alpha": 0.4},
    {"alpha": 1.0},
]
HEADS = [(1.0, None), (0.5, None), (2.0, 7.0)]
SIZES = [(2, 9), (37, 20), (2100, 12)]
BACKENDS = ["c", "torch"]


@pytest.fixture(autouse=True)
def _loaded_anew():
    rows_in_c.load.cache_clear()
    yield
    rows_in_c.load.cache_clear()


def logits(size, n, spread=1.0, scale=1.0):
    """Student, teacher and labels on which about half the tokens are hard."""
    generator = torch.Generator().manual_seed(size)
    teacher = 3 * torch.randn(n, size, generator=generator)
    student = (teacher + spread * torch.randn(n, size, generator=generator)) / scale
    labels = student.argmax(1)
    labels[::2] = torch.randint(0, size, (len(labels[::2]),), generator=generator)
    return student, teacher, labels, torch.rand(n, generator=generator)


def finished(raw, scale, cap):
    return raw * scale if cap is None else cap * torch.tanh(raw * scale / cap)


def reference(name, settings, raw, teacher, labels, weights, scale, cap):
    raw = raw.double().requires_grad_()
    z = finished(raw, scale, cap)
    losses = token_loss(name, z, teacher.double(), labels, **asdict(settings))
    (losses * weights.double()).sum().backward()
    d = token_loss("noevo", z.detach(), teacher.double(), labels, lam=settings.lam)
    return losses.detach(), raw.grad, d


def matters(name, given):
    """Whether a setting is of an objective."""
    if "alpha" in given:
        return name in ("word_kd", "skl")
    return "gate" not in given or name == "self_evolution"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CLOSED)
def test_equals_autograd_in_float64(name, backend, monkeypatch):
    monkeypatch.setenv("EVOKD_ROWS", backend)
    for size, n in SIZES:
        for given in SETTINGS:
            if not matters(name, given):
                continue
            for scale, cap in HEADS:
                settings = objective_settings(name, **given)
                student, teacher, labels, weights = logits(size, n, scale=scale)
                losses, gradient, d = reference(
                    name, settings, student, teacher, labels, weights, scale, cap
                )
                hard = most_difficult(d, settings.top_percent) if "topk" in name else None
                found = rows.row_pass(
                    name, settings, student, teacher, labels, weights, hard, scale=scale, cap=cap
                )
                case = f"{size=} {given=} {scale=} {cap=}"
                floor = 1e-6  # some gradients are 0
                assert (student - gradient).norm() <= 1e-5 * gradient.norm() + floor, case
                near = {"rtol": 1e-5, "atol": 3e-5, "check_dtype": False, "msg": case}
                torch.testing.assert_close(found.loss, losses, **near)
                torch.testing.assert_close(found.difficulty, d, **near)
                torch.testing.assert_close(found.gradient_norm, gradient.norm(dim=1), **near)
                if hard is not None:
                    assert torch.equal(found.hard, hard)


@pytest.mark.parametrize("name", CLOSED)
def test_c_and_torch_find_the_same(name, monkeypatch):
    settings = objective_settings(name)
    student, teacher, labels, weights = logits(3000, 16)
    hard = torch.arange(16) % 3 == 0 if "topk" in name else None
    both = []
    for backend in BACKENDS:
        monkeypatch.setenv("EVOKD_ROWS", backend)
        rows_in_c.load.cache_clear()
        z = student.clone()
        found = rows.row_pass(name, settings, z, teacher.clone(), labels, weights, hard)
        both.append((z, *vars(found).values()))
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=3e-5)


def test_a_compiled_pass_is_there():
    """A C compiler stands on every machine that runs these tests."""
    assert isinstance(rows_in_c.load(), ctypes.CDLL)


def test_no_compiler_no_compiled_pass(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(tmp_path))
    caplog.set_level("INFO")
    assert rows_in_c.load() is None
    assert "no C compiler" in caplog.text
    student, teacher, labels, weights = logits(50, 8)
    settings = objective_settings("noevo")
    expected = reference("noevo", settings, student, teacher, labels, weights, 1.0, None)
    rows.row_pass("noevo", settings, student, teacher, labels, weights)
    torch.testing.assert_close(student.double(), expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_teacher_that_rules_words_out(backend, monkeypatch):
    """p = 0 takes no part in KL(p‖·), and KL(q‖p) is infinite."""
    monkeypatch.setenv("EVOKD_ROWS", backend)
    student, teacher, labels, weights = logits(60, 12)
    teacher[torch.arange(12), (labels + 1) % 60] = -torch.inf
    for name in ("noevo", "skew", "skew_teacher", "forward_kd"):
        settings = objective_settings(name)
        z = student.clone()
        losses, gradient, _ = reference(name, settings, z, teacher, labels, weights, 1.0, None)
        found = rows.row_pass(name, settings, z, teacher.clone(), labels, weights)
        torch.testing.assert_close(found.loss.double(), losses, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(z.double(), gradient, rtol=1e-4, atol=1e-6)
    found = rows.row_pass("reverse_kd", objective_settings("reverse_kd"), student, teacher, labels)
    assert torch.isinf(found.loss).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_far_apart_stay_finite(backend, monkeypatch):
    monkeypatch.setenv("EVOKD_ROWS", backend)
    student, teacher, labels, weights = logits(300, 10)
    for name in CLOSED:
        z = 200 * student
        hard = labels > 100 if "topk" in name else None
        settings = objective_settings(name)
        found = rows.row_pass(name, settings, z, 200 * teacher, labels, weights, hard)
        assert torch.isfinite(z).all()
        assert torch.isfinite(found.loss).all()


def test_rows_may_be_wider_than_the_vocabulary():
    student, teacher, labels, weights = logits(61, 10)
    wide = [torch.full((10, 64), 1e9) for _ in range(2)]
    for one, other in zip(wide, (student, teacher), strict=True):
        one[:, :61] = other
    settings = objective_settings("self_evolution")
    found = rows.row_pass(
        "self_evolution", settings, wide[0][:, :61], wide[1][:, :61], labels, weights
    )
    expected = rows.row_pass("self_evolution", settings, student, teacher, labels, weights)
    assert torch.equal(found.loss, expected.loss)
    assert torch.equal(wide[0][:, :61], student)
    assert (wide[0][:, 61:] == 1e9).all()


def test_without_gradient_the_losses_are_the_same():
    student, teacher, labels, _ = logits(61, 10)
    settings = objective_settings("self_evolution")
    looked = rows.row_pass(
        "self_evolution", settings, student.clone(), teacher.clone(), labels, gradient=False
    )
    learned = rows.row_pass("self_evolution", settings, student, teacher, labels)
    assert torch.equal(looked.loss, learned.loss)
    assert looked.gradient_norm is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gate", ["hard", "swapped"])
def test_a_hard_set_that_is_given_needs_no_measure(gate, backend, monkeypatch):
    monkeypatch.setenv("EVOKD_ROWS", backend)
    student, teacher, labels, weights = logits(37, 20)
    measure = {"measure": "js", "gamma": 0.2}
    settings = objective_settings("self_evolution", gate=gate, **measure)
    expected = reference("self_evolution", settings, student, teacher, labels, weights, 1.0, None)
    apart = (student.softmax(-1), (teacher.softmax(-1) + torch.eye(37)[labels]) / 2)
    middle = sum(apart) / 2
    js = sum((one * (one / middle).log()).sum(1) for one in apart) / 2
    assert 3 < (js > 0.2).sum() < 17
    found = rows.row_pass("self_evolution", settings, student, teacher, labels, weights, js > 0.2)
    torch.testing.assert_close(found.loss.double(), expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(student.double(), expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "of", "given"),
    [
        ({"gate": "smooth"}, ("self_evolution",), True),
        ({"measure": "nll"}, ("self_evolution",), False),
        (
            {"beta_from": "difficulty"},
            ("skew", "skew_teacher", "self_evolution", "self_evolution_topk"),
            True,
        ),
    ],
)
def test_what_the_formulas_do_not_cover_has_no_closed_form(options, of, given):
    for name in OBJECTIVES:
        found = closed_form(name, objective_settings(name, **options), given=given)
        assert (found is not None) == (name in CLOSED and name not in of)
        each = closed_form(name, objective_settings(name), given=given, per_token=True)
        has_proxy = "skew" in name or "evolution" in name
        assert (each is not None) == (name in CLOSED and not has_proxy)


class OnGpu:
    """As much of a GPU's logits as a row pass asks for before it hands them to a kernel."""

    device = torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "options", "known"),
    [
        *((name, {}, name not in ("word_kd", "skl")) for name in CLOSED),
        ("self_evolution", {"gate": "swapped"}, False),
    ],
)
def test_the_kernel_gets_what_it_knows_and_nothing_else(name, options, known, monkeypatch):
    called = []
    monkeypatch.setattr(kernels, "available", lambda: True)
    monkeypatch.setattr(kernels, "row_pass", lambda objective, *a, **b: called.append(objective))
    monkeypatch.setattr(rows, "apply_softcap", lambda *a: None)
    monkeypatch.setattr(rows, "_is_float_on_cpu", lambda logits: False)
    monkeypatch.setattr(rows, "_in_torch", lambda *a: None)
    settings = objective_settings(name, **options)
    rows.row_pass(name, settings, OnGpu(), None, None)
    assert called == [name] * known
    assert rows.has_row_pass(name, settings, torch.device("cuda")) == known
    assert rows.has_row_pass(name, settings, torch.device("cpu"))
    if not known:
        monkeypatch.undo()
        with pytest.raises(AssertionError, match="isn't for the kernel"):
            kernels.row_pass(
                name, settings, torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([0])
            )


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - set(CLOSED)))
def test_an_objective_without_a_closed_form_is_refused(name):
    student, teacher, labels, _ = logits(61, 10)
    with pytest.raises(ValueError, match=f"{name} has no closed form"):
        rows.row_pass(name, objective_settings(name), student, teacher, labels)
    assert not rows.has_row_pass(name, objective_settings(name), torch.device("cpu"))
