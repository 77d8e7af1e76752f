"""The closed forms, in C, against autograd through the equations in float64."""

import ctypes

import pytest
import torch

from evokd.distil.objectives import LOSSES, token_loss
from evokd.distil.row_loss import compiling, rows, rows_in_triton
from evokd.distil.row_loss.closed_forms import closed_form
from evokd.distil.token_batch import LogitChunk
from evokd.distil.token_selection import most_difficult
from evokd.recipe.objectives import objective_settings

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
    {"gate": "inverted"},
    {"gate": "vouched"},
    {"gate": "vouched", "doubt": 0.0, "gamma": 1.0},
    {"alpha": 0.0},
    {"alpha": 0.4},
    {"alpha": 1.0},
]
HEADS = [(1.0, None), (0.5, None), (2.0, 7.0)]
SIZES = [(2, 9), (37, 20), (2100, 12)]


@pytest.fixture(autouse=True)
def _loaded_anew():
    rows.load_rows.cache_clear()
    yield
    rows.load_rows.cache_clear()


def logits(size, n, spread=1.0, scale=1.0):
    """Student, teacher and labels on which about half the tokens are hard."""
    generator = torch.Generator().manual_seed(size)
    teacher = 3 * torch.randn(n, size, generator=generator)
    student = (teacher + spread * torch.randn(n, size, generator=generator)) / scale
    labels = student.argmax(1)
    labels[::2] = torch.randint(0, size, (len(labels[::2]),), generator=generator)
    return student, teacher, labels, torch.rand(n, generator=generator)


def row_pass(name, settings, student, teacher, labels, weights=None, hard=None, **options):
    """The pass over a chunk, whose logits are overwritten."""
    gradient = options.pop("gradient", True)
    form = closed_form(name, settings, preselected=hard is not None)
    chunk = LogitChunk(student, teacher, labels, weights=weights, hard=hard, **options)
    assert rows.has_row_pass(chunk)
    return rows.row_pass(form, chunk, gradient)


def finished(raw, scale, cap):
    return raw * scale if cap is None else cap * torch.tanh(raw * scale / cap)


def reference(name, settings, raw, teacher, labels, weights, scale, cap):
    raw = raw.double().requires_grad_()
    z = finished(raw, scale, cap)
    losses = token_loss(name, z, teacher.double(), labels, **settings.model_dump())
    (losses * weights.double()).sum().backward()
    d = token_loss("noevo", z.detach(), teacher.double(), labels, lam=settings.lam)
    return losses.detach(), raw.grad, d


def matters(name, given):
    """Whether a setting is of an objective."""
    if "alpha" in given:
        return name in ("word_kd", "skl")
    return "gate" not in given or name == "self_evolution"


@pytest.mark.parametrize("name", CLOSED)
def test_equals_autograd_in_float64(name):
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
                found = row_pass(
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


def test_a_compiled_pass_is_there():
    """A C compiler stands on every machine that runs these tests."""
    assert isinstance(rows.load_rows(), ctypes.CDLL)


def test_no_compiler_no_compiled_pass(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(tmp_path))
    caplog.set_level("INFO")
    assert rows.load_rows() is None
    assert "no C compiler" in caplog.text
    student, teacher, labels, _ = logits(50, 8)
    assert not rows.has_row_pass(LogitChunk(student, teacher, labels))


def test_a_teacher_that_rules_words_out():
    """p = 0 takes no part in KL(p‖·), and KL(q‖p) is infinite."""
    student, teacher, labels, weights = logits(60, 12)
    teacher[torch.arange(12), (labels + 1) % 60] = -torch.inf
    for name in ("noevo", "skew", "skew_teacher", "forward_kd"):
        settings = objective_settings(name)
        z = student.clone()
        losses, gradient, _ = reference(name, settings, z, teacher, labels, weights, 1.0, None)
        found = row_pass(name, settings, z, teacher.clone(), labels, weights)
        torch.testing.assert_close(found.loss.double(), losses, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(z.double(), gradient, rtol=1e-4, atol=1e-6)
    found = row_pass("reverse_kd", objective_settings("reverse_kd"), student, teacher, labels)
    assert torch.isinf(found.loss).all()


def test_logits_far_apart_stay_finite():
    student, teacher, labels, weights = logits(300, 10)
    for name in CLOSED:
        z = 200 * student
        hard = labels > 100 if "topk" in name else None
        settings = objective_settings(name)
        found = row_pass(name, settings, z, 200 * teacher, labels, weights, hard)
        assert torch.isfinite(z).all()
        assert torch.isfinite(found.loss).all()


def test_rows_may_be_wider_than_the_vocabulary():
    student, teacher, labels, weights = logits(61, 10)
    wide = [torch.full((10, 64), 1e9) for _ in range(2)]
    for one, other in zip(wide, (student, teacher), strict=True):
        one[:, :61] = other
    settings = objective_settings("self_evolution")
    found = row_pass("self_evolution", settings, wide[0][:, :61], wide[1][:, :61], labels, weights)
    expected = row_pass("self_evolution", settings, student, teacher, labels, weights)
    assert torch.equal(found.loss, expected.loss)
    assert torch.equal(wide[0][:, :61], student)
    assert (wide[0][:, 61:] == 1e9).all()


def test_without_gradient_the_losses_are_the_same():
    student, teacher, labels, _ = logits(61, 10)
    settings = objective_settings("self_evolution")
    looked = row_pass(
        "self_evolution", settings, student.clone(), teacher.clone(), labels, gradient=False
    )
    learned = row_pass("self_evolution", settings, student, teacher, labels)
    assert torch.equal(looked.loss, learned.loss)
    assert looked.gradient_norm is None


@pytest.mark.parametrize("gate", ["hard", "inverted"])
def test_a_hard_set_that_is_given_needs_no_measure(gate):
    student, teacher, labels, weights = logits(37, 20)
    measure = {"difficulty": "js", "gamma": 0.2}
    settings = objective_settings("self_evolution", gate=gate, **measure)
    expected = reference("self_evolution", settings, student, teacher, labels, weights, 1.0, None)
    apart = (student.softmax(-1), (teacher.softmax(-1) + torch.eye(37)[labels]) / 2)
    middle = sum(apart) / 2
    js = sum((one * (one / middle).log()).sum(1) for one in apart) / 2
    assert 3 < (js > 0.2).sum() < 17
    found = row_pass("self_evolution", settings, student, teacher, labels, weights, js > 0.2)
    torch.testing.assert_close(found.loss.double(), expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(student.double(), expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "of", "preselected"),
    [
        ({"gate": "smooth"}, ("self_evolution",), True),
        ({"difficulty": "nll"}, ("self_evolution",), False),
        (
            {"beta": "difficulty"},
            ("skew", "skew_teacher", "self_evolution", "self_evolution_topk"),
            True,
        ),
    ],
)
def test_what_the_formulas_do_not_cover_has_no_closed_form(options, of, preselected):
    for name in LOSSES:
        settings = objective_settings(name).model_copy(update=options)
        found = closed_form(name, settings, preselected=preselected)
        assert (found is not None) == (name in CLOSED and name not in of)
        each = closed_form(name, objective_settings(name), preselected=preselected, per_token=True)
        has_proxy = "skew" in name or "evolution" in name
        assert (each is not None) == (name in CLOSED and not has_proxy)


@pytest.mark.parametrize(
    ("device", "types", "there"),
    [
        ("cpu", ("float32", "float32"), True),
        ("cpu", ("float64", "float64"), False),
        ("cpu", ("float32", "float64"), False),
        ("cpu", ("bfloat16", "bfloat16"), False),
        ("cuda", ("bfloat16", "float32"), True),
        ("cuda", ("float64", "float64"), False),
        ("meta", ("float32", "float32"), False),
    ],
)
def test_which_logits_there_is_a_pass_for(device, types, there, monkeypatch):
    monkeypatch.setattr(rows_in_triton, "available", lambda: True)

    class Logits:
        """As much of a tensor as is looked at: a GPU needn't be there."""

        def __init__(self, dtype):
            self.device, self.dtype = torch.device(device), getattr(torch, dtype)

    student, teacher = map(Logits, types)
    assert rows.has_row_pass(LogitChunk(student, teacher, None)) == there  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - set(CLOSED)))
def test_other_objectives_have_no_closed_form(name):
    assert closed_form(name, objective_settings(name)) is None
