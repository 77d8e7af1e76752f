"""The paper's equations against a naive float64 twin, hand arithmetic, and their own algebra."""

import math
import re

import pytest
import torch

import evokd
from evokd.distil.objectives import LOSSES, token_loss
from evokd.recipe.objectives import ObjectiveSettings, objective_settings

NAMES = sorted(LOSSES)
PAPER = sorted(
    (
        *("sft", "forward_kd", "reverse_kd", "noevo", "skew", "skew_teacher"),
        *("self_evolution", "self_evolution_topk"),
    )
)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    student = 2 * torch.randn(40, 11, generator=generator, dtype=torch.float64)
    teacher = 2 * torch.randn(40, 11, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 11, (40,), generator=generator)
    return student, teacher, labels


def twin(name, z, t, y, lam=0.5, beta=None, gamma=0.4, top_percent=50.0):
    """Loops and math.log over one token at a time; nothing of the package is used."""
    beta = (0.9 if name == "skew_teacher" else 0.5) if beta is None else beta

    def softmax(row):
        top = max(row)
        exps = [math.exp(v - top) for v in row]
        return [e / sum(exps) for e in exps]

    def kl(a, b):
        return sum(x * (math.log(x) - math.log(w)) for x, w in zip(a, b, strict=True) if x > 0)

    def mix(a, b, weight):
        return [weight * x + (1 - weight) * w for x, w in zip(a, b, strict=True)]

    rows = []
    for q, p, label in zip(
        map(softmax, z.tolist()), map(softmax, t.tolist()), y.tolist(), strict=True
    ):
        one_hot = [float(i == label) for i in range(len(q))]
        rows.append((q, p, mix(p, one_hot, lam), -math.log(q[label])))
    d = [kl(target, q) for q, p, target, nll in rows]
    count = math.ceil(top_percent / 100 * len(d))
    top = sorted(range(len(d)), key=lambda i: -d[i])[:count]
    losses = []
    for i, (q, p, target, nll) in enumerate(rows):
        hard_loss = kl(target, mix(q, target, beta))
        losses.append(
            {
                "sft": nll,
                "forward_kd": (1 - lam) * nll + lam * kl(p, q),
                "reverse_kd": (1 - lam) * nll + lam * kl(q, p),
                "noevo": d[i],
                "skew": hard_loss,
                "skew_teacher": (1 - lam) * nll + lam * kl(p, mix(q, p, beta)),
                "self_evolution": hard_loss if d[i] > gamma else d[i],
                "self_evolution_topk": hard_loss if i in top else d[i],
            }[name]
        )
    return torch.tensor(losses, dtype=torch.float64)


def gradient(name, student, teacher, labels, **settings):
    z = student.clone().requires_grad_()
    token_loss(name, z, teacher, labels, **settings).sum().backward()
    return z.grad


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize(
    "settings", [{}, {"lam": 0.3}, {"beta": 0.8}, {"gamma": 1.5}, {"top_percent": 20.0}]
)
def test_values_equal_a_naive_twin(name, settings, logits):
    expected = twin(name, *logits, **settings)
    torch.testing.assert_close(token_loss(name, *logits, **settings), expected)


@pytest.mark.parametrize("name", PAPER)
def test_gradients_equal_finite_differences(name, logits):
    student, teacher, labels = (part[:4] for part in logits)
    found = gradient(name, student, teacher, labels)
    step = 1e-6
    for row, column in [(0, 0), (1, 3), (2, 10), (3, int(labels[3]))]:
        nudge = torch.zeros_like(student)
        nudge[row, column] = step
        up = twin(name, student + nudge, teacher, labels).sum()
        down = twin(name, student - nudge, teacher, labels).sum()
        assert found[row, column].item() == pytest.approx((up - down).item() / (2 * step), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_close_to_float64(name, logits):
    student, teacher, labels = logits
    narrow = token_loss(name, student.float(), teacher.float(), labels)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), token_loss(name, *logits), rtol=1e-4, atol=1e-5)


def test_a_case_by_hand():
    # q = (1/2, 1/4, 1/4), p = (1/4, 1/2, 1/4), reference 0, λ = β = 1/2.
    z = torch.tensor([[math.log(2), 0.0, 0.0]], dtype=torch.float64)
    t = torch.tensor([[0.0, math.log(2), 0.0]], dtype=torch.float64)
    y = torch.tensor([0])
    # ỹ = (5/8, 1/4, 1/8); d = 5/8 ln(5/4) + 1/4 ln 1 + 1/8 ln(1/2)
    d = 5 / 8 * math.log(5 / 4) + 1 / 8 * math.log(1 / 2)
    # q̂ = (9/16, 1/4, 3/16)
    hard = 5 / 8 * math.log(10 / 9) + 1 / 8 * math.log(2 / 3)
    assert evokd.difficulty(z, t, y).item() == pytest.approx(d)
    assert token_loss("skew", z, t, y).item() == pytest.approx(hard)
    assert token_loss("self_evolution", z, t, y, gamma=d - 1e-9).item() == pytest.approx(hard)
    assert token_loss("self_evolution", z, t, y, gamma=d + 1e-9).item() == pytest.approx(d)
    kl_pq = 1 / 4 * math.log(1 / 2) + 1 / 2 * math.log(2)
    forward = 0.5 * math.log(2) + 0.5 * kl_pq
    assert token_loss("forward_kd", z, t, y).item() == pytest.approx(forward)


def test_a_token_at_the_threshold_is_easy(logits):
    d = evokd.difficulty(*logits)
    one = tuple(part[:1] for part in logits)
    at = token_loss("self_evolution", *one, gamma=d[0].item())
    torch.testing.assert_close(at, d[:1])


def test_forward_kd_and_noevo_have_the_same_gradient(logits):
    for lam in (0.0, 0.3, 0.5, 1.0):
        torch.testing.assert_close(
            gradient("forward_kd", *logits, lam=lam), gradient("noevo", *logits, lam=lam)
        )


@pytest.mark.parametrize(
    ("name", "settings", "same_as", "its_settings"),
    [
        ("self_evolution", {"gamma": math.inf}, "noevo", {}),
        ("self_evolution", {"gamma": -1.0}, "skew", {}),
        ("self_evolution", {"beta": 1.0}, "noevo", {}),
        ("self_evolution_topk", {"top_percent": 0.0}, "noevo", {}),
        ("self_evolution_topk", {"top_percent": 100.0}, "skew", {}),
        ("skew", {"beta": 1.0}, "noevo", {}),
        ("skew_teacher", {"beta": 1.0}, "forward_kd", {}),
        ("skew_teacher", {"lam": 1.0, "beta": 0.7}, "skew", {"lam": 1.0, "beta": 0.7}),
        ("noevo", {"lam": 0.0}, "sft", {}),
        ("forward_kd", {"lam": 0.0}, "sft", {}),
        ("reverse_kd", {"lam": 0.0}, "sft", {}),
    ],
)
def test_limits(name, settings, same_as, its_settings, logits):
    torch.testing.assert_close(
        token_loss(name, *logits, **settings), token_loss(same_as, *logits, **its_settings)
    )
    torch.testing.assert_close(
        gradient(name, *logits, **settings), gradient(same_as, *logits, **its_settings)
    )


def test_hard_tokens_count_nothing_at_beta_0(logits):
    loss = token_loss("skew", *logits, beta=0.0)
    torch.testing.assert_close(loss, torch.zeros_like(loss))
    assert gradient("skew", *logits, beta=0.0).abs().max() == 0


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_the_loss_of_a_hard_token_is_bounded(beta, logits):
    student, teacher, labels = logits
    loss = token_loss("skew", 30 * student, teacher, labels, beta=beta)
    assert loss.max() <= -math.log(1 - beta)
    assert loss.max() > -math.log(1 - beta) / 2
    assert (loss <= beta * evokd.difficulty(30 * student, teacher, labels) + 1e-12).all()


def test_the_gradient_of_a_hard_token_is_the_closed_form(logits):
    student, teacher, labels = logits
    q, p = student.softmax(-1), teacher.softmax(-1)
    target = 0.5 * torch.nn.functional.one_hot(labels, 11) + 0.5 * p
    ratio = target / (0.5 * q + 0.5 * target)
    closed = -0.5 * q * (ratio - (q * ratio).sum(-1, keepdim=True))
    torch.testing.assert_close(gradient("skew", *logits), closed)


@pytest.mark.parametrize(
    ("q_y", "damped"), [(0.001, 0.001), (0.05, 0.048), (0.2, 0.167), (0.5, 0.333)]
)
def test_hard_tokens_are_damped_the_more_the_worse_they_are(q_y, damped):
    z = torch.log(torch.tensor([[q_y, (1 - q_y) / 2, (1 - q_y) / 2]], dtype=torch.float64))
    label = torch.tensor([0])
    settings = {"lam": 0.0}
    easy = gradient("noevo", z, torch.zeros_like(z), label, **settings).norm()
    hard = gradient("skew", z, torch.zeros_like(z), label, **settings).norm()
    assert (hard / easy).item() == pytest.approx(damped, abs=1e-3)


def test_difficulty_is_0_exactly_where_the_student_equals_the_target(logits):
    _, teacher, labels = logits
    target = 0.5 * torch.nn.functional.one_hot(labels, 11) + 0.5 * teacher.softmax(-1)
    d = evokd.difficulty(target.log(), teacher, labels)
    torch.testing.assert_close(d, torch.zeros_like(d))
    assert (evokd.difficulty(*logits) > 0).all()


def test_a_perfect_mimic_keeps_hard_tokens():
    # q = p and p(y) = a: d = (1+a)/2 ln((1+a)/2a) − (1−a)/2 ln 2, above 0.4 for a < 0.189.
    for a, is_hard in [(0.18, True), (0.20, False)]:
        p = torch.tensor([[a, 1 - a]], dtype=torch.float64).log()
        d = evokd.difficulty(p, p, torch.tensor([0])).item()
        expected = (1 + a) / 2 * math.log((1 + a) / (2 * a)) - (1 - a) / 2 * math.log(2)
        assert d == pytest.approx(expected)
        assert (d > 0.4) is is_hard


@pytest.mark.parametrize("name", NAMES)
def test_ignored_positions_give_exactly_nothing(name, logits):
    student, teacher, labels = logits
    labels = labels.clone()
    labels[::3] = -100
    loss = token_loss(name, student, teacher, labels)
    assert (loss[::3] == 0).all()
    kept = labels != -100
    torch.testing.assert_close(
        loss[kept], token_loss(name, student[kept], teacher[kept], labels[kept])
    )
    assert (gradient(name, student, teacher, labels)[::3] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_stay_finite(name):
    z = torch.tensor([[200.0, -200.0, 0.0], [-300.0, 300.0, 0.0]])
    t = torch.tensor([[-200.0, 200.0, 0.0], [300.0, -300.0, 0.0]])
    labels = torch.tensor([1, 0])
    assert token_loss(name, z, t, labels).isfinite().all()
    assert gradient(name, z, t, labels).isfinite().all()


def test_bfloat16_logits_are_widened(logits):
    student, teacher, labels = logits
    loss = token_loss("self_evolution", student.bfloat16(), teacher.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss,
        token_loss(
            "self_evolution", student.bfloat16().float(), teacher.bfloat16().float(), labels
        ),
    )


def test_no_gradient_reaches_the_teacher(logits):
    student, teacher, labels = logits
    teacher = teacher.clone().requires_grad_()
    token_loss("self_evolution", student.clone().requires_grad_(), teacher, labels).sum().backward()
    assert teacher.grad is None


def test_defaults_are_the_papers():
    paper = {"lam": 0.5, "beta": 0.5, "gamma": 0.4, "top_percent": 50.0}
    beyond = {"gate": "hard", "difficulty": "kl"}
    found = vars(objective_settings("self_evolution"))
    assert paper.items() | beyond.items() <= found.items()
    assert objective_settings("skew_teacher").beta == 0.9


def jensen_shannon(target, q):
    middle = (target + q) / 2
    return ((target * (target / middle).log()).sum(1) + (q * (q / middle).log()).sum(1)) / 2


MEASURES = {
    "kl": lambda target, q, nll: (target * (target / q).log()).sum(1),
    "js": lambda target, q, nll: jensen_shannon(target, q),
    "reverse_kl": lambda target, q, nll: (q * (q / target).log()).sum(1),
    "nll": lambda target, q, nll: nll,
}


def evolved(z, t, y, gate, measure, beta=0.5, gamma=0.4, tau=0.2, doubt=2.0, betas=None):
    """self_evolution's options from probabilities, by autograd; nothing of the package is used."""
    q, p = z.softmax(-1), t.softmax(-1)
    target = (torch.nn.functional.one_hot(y, z.shape[1]) + p) / 2
    measured = MEASURES[measure](target, q, -q[torch.arange(len(y)), y].log()).detach()
    if beta == "difficulty":
        betas = gamma / (gamma + measured)
    beta = torch.full_like(measured, 0.5) if betas is None else betas
    proxy = beta[:, None] * q + (1 - beta[:, None]) * target
    easy = (target * (target / q).log()).sum(1)
    hard = (target * (target / proxy).log()).sum(1)
    surprised = -p[range(len(y)), y].log()
    disbelieved = (surprised > doubt) & (surprised > -(p * p.log()).sum(1))
    share = {
        "hard": (measured > gamma).double(),
        "inverted": (measured <= gamma).double(),
        "vouched": ((measured > gamma) & disbelieved).double(),
        "smooth": 1 / (1 + torch.exp((gamma - measured) / tau)),
    }[gate]
    return share * hard + (1 - share) * easy


@pytest.mark.parametrize("gate", ["hard", "smooth", "inverted", "vouched"])
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("beta", [0.5, "difficulty"])
def test_gates_and_measures_equal_a_naive_twin(gate, measure, beta, logits):
    student, teacher, labels = logits
    gamma = {"kl": 2.8, "js": 0.45, "reverse_kl": 2.0, "nll": 5.0}[measure]
    z = student.clone().requires_grad_()
    expected = evolved(z, teacher, labels, gate, measure, beta, gamma)
    d = MEASURES[measure](
        (torch.nn.functional.one_hot(labels, 11) + teacher.softmax(-1)) / 2,
        student.softmax(-1),
        token_loss("sft", *logits),
    )
    assert 5 < (d > gamma).sum() < 35
    settings = {"gate": gate, "difficulty": measure, "beta": beta, "gamma": gamma}
    torch.testing.assert_close(token_loss("self_evolution", *logits, **settings), expected)
    (slopes,) = torch.autograd.grad(expected.sum(), z)
    torch.testing.assert_close(gradient("self_evolution", *logits, **settings), slopes)


def test_each_token_may_have_its_own_beta(logits):
    student, teacher, labels = logits
    betas = torch.linspace(0, 1, 40, dtype=torch.float64)
    z = student.clone().requires_grad_()
    expected = evolved(z, teacher, labels, "hard", "kl", betas=betas)
    torch.testing.assert_close(token_loss("self_evolution", *logits, betas=betas), expected)
    found = gradient("self_evolution", *logits, betas=betas)
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), z)[0])
    for name in ("skew", "skew_teacher", "self_evolution", "self_evolution_topk"):
        alike = token_loss(name, *logits, betas=torch.full_like(betas, 0.3))
        torch.testing.assert_close(alike, token_loss(name, *logits, beta=0.3))


@pytest.mark.parametrize(
    ("settings", "same_as"),
    [
        ({"gate": "smooth", "tau": 1e-6}, {}),
        ({"gate": "smooth", "gamma": math.inf}, {"gamma": math.inf}),
        ({"gate": "inverted", "gamma": math.inf}, {"gamma": -1.0}),
        ({"gate": "inverted", "gamma": -1.0}, {"gamma": math.inf}),
        ({"gate": "inverted", "beta": 1.0}, {"beta": 1.0}),
        ({"gate": "vouched", "doubt": math.inf}, {"gamma": math.inf}),  # noevo
        ({"beta": "difficulty", "gamma": math.inf}, {"gamma": math.inf}),
        ({"beta": "difficulty", "gamma": 0.0}, {"beta": 0.0, "gamma": 0.0}),
    ],
)
def test_limits_of_gates(settings, same_as, logits):
    for of in (token_loss, gradient):
        torch.testing.assert_close(
            of("self_evolution", *logits, **settings), of("self_evolution", *logits, **same_as)
        )


@pytest.mark.parametrize(
    ("others", "own", "same_as"),
    [
        (2.0, -80.0, "self_evolution"),  # sure of other tokens: all references are disbelieved
        (2.0, 80.0, "noevo"),  # sure of the references
        (0.0, 0.1, "noevo"),  # sure of nothing: −ln p(y) = 2.31 > δ, but H(p) = 2.40
    ],
)
def test_whom_the_vouched_gate_listens_to(others, own, same_as, logits):
    student, teacher, labels = logits
    teacher = (others / 2 * teacher).scatter(1, labels[:, None], own)
    given = (student, teacher, labels)
    for of in (token_loss, gradient):
        found = of("self_evolution", *given, gate="vouched")
        torch.testing.assert_close(found, of(same_as, *given))


def test_a_teacher_that_is_the_student_disbelieves_what_surprises_both(logits):
    student, labels = logits[0] / 8, logits[2]
    found = token_loss("self_evolution", student, student, labels, gate="vouched")
    nll, skewed = (token_loss(name, student, student, labels) for name in ("sft", "skew"))
    surprised = nll > torch.distributions.Categorical(logits=student).entropy().clamp(min=2.0)
    assert 5 < surprised.sum() < 35
    easy = token_loss("noevo", student, student, labels)
    torch.testing.assert_close(found, torch.where(surprised, skewed, easy))


@pytest.mark.parametrize("name", NAMES)
def test_the_end_token_counts_like_any_other(name, logits):
    """Where all labels but one are ignored, that one is the whole loss."""
    student, teacher, labels = logits
    end = torch.full_like(labels, -100)
    end[-1] = labels[-1]
    alone = token_loss(name, student[-1:], teacher[-1:], labels[-1:])
    assert alone > 0
    torch.testing.assert_close(token_loss(name, student, teacher, end).sum(), alone[0])


def test_bad_calls_say_what_is_accepted(logits):
    student, teacher, labels = logits
    with pytest.raises(
        ValueError, match=r"unknown objective 'kd'; did you mean 'atkd'\? accepted: sft, forward_kd"
    ):
        token_loss("kd", *logits)
    with pytest.raises(ValueError, match="betta: unknown key 'betta'; did you mean 'beta'"):
        token_loss("noevo", *logits, betta=1.0)
    for name, settings, said in (
        ("noevo", {"beta": 1.5}, "beta: found 1.5; a number from 0 to 1"),
        ("skl", {"alpha": -0.1}, "alpha: found -0.1; input should be greater than or equal to 0"),
        ("selective_kd", {"smoothing": 1.0}, "smoothing: found 1.0; input should be less than 1"),
        ("noevo", {"target_lam": 0.5}, "target_lam is of atkd; the target of noevo has lam"),
        ("self_evolution", {"tau": 0}, "tau: found 0; input should be greater than 0"),
        ("selective_kd", {"queue": 0.5}, "queue: found 0.5; input should be a valid integer"),
        (
            "self_evolution",
            {"gate": "soft"},
            "gate: found 'soft'; input should be 'hard', 'smooth'",
        ),
        ("atkd", {"averaging": "mean"}, "found 'mean'; input should be 'groups' or 'all'"),
        ("noevo", {"gate": "vouched"}, "gate is a setting of self_evolution; the objective is"),
        ("self_evolution", {"tau": 0.1}, "tau: found 0.1, which is of gate: smooth; the gate is"),
        ("self_evolution", {"gate": "vouched", "doubt": math.nan}, "doubt: found nan; input"),
        ("self_evolution", {"gamma": math.nan}, "gamma: found nan; a number is accepted"),
        ("vouched", {}, "here type 'self_evolution', gate='vouched'"),
        ("auto", {}, "'auto' is of recipes, where it stands for {objective: self_evolution, gate:"),
        ("seq_kd", {}, "stands for {objective: sft, text: teacher}; here type 'sft'"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            token_loss(name, *logits, **settings)
    with pytest.raises(ValueError, match="slice both to the vocabulary they share"):
        token_loss("noevo", student, teacher[:, :5], labels)
    with pytest.raises(ValueError, match=r"noevo needs the teacher's logits.*; without do: sft"):
        token_loss("noevo", student, None, labels)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (11, "found the label 11; ids from 0 to 10 are accepted, and -100"),
        (-1, "found the label -1; ids from 0 to 10"),
        (0.5, r"labels are torch\.float64; ids .* as torch\.int64"),
    ],
)
def test_labels_that_are_no_ids_are_refused(wrong, said, logits):
    student, teacher, labels = logits
    labels = labels.to(type(wrong)).index_fill(0, torch.tensor([3]), wrong)
    with pytest.raises(ValueError, match=said):
        token_loss("sft", student, None, labels)
    with pytest.raises(ValueError, match=said):
        evokd.fused_loss("noevo", student, torch.eye(11).double(), teacher, torch.eye(11), labels)


def test_the_docstring_lists_every_setting_with_its_default():
    for key, field in ObjectiveSettings.model_fields.items():
        assert f"{key}={field.default!r}".replace("'", '"') in token_loss.__doc__
