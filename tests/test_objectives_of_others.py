"""The neighbours' objectives against naive twins in float64, their limits and identities."""

import math

import pytest
import torch

from evokd.distil.objectives import LOSSES, Tokens, head_share, target_and_diversity, token_loss
from evokd.recipe.objectives import objective_settings

NAMES = ("word_kd", "atkd", "skl", "srkl", "jsd", "akl", "selective_kd", "tip")
N, V = 40, 11


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    student = 2 * torch.randn(N, V, generator=generator, dtype=torch.float64)
    teacher = 2 * torch.randn(N, V, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, V, (N,), generator=generator)
    return student, teacher, labels


def kl(a, b):
    return (a * (a / b).log()).sum(-1)


def top(values, percent):
    """The ⌈percent % · N⌉ largest, as 0 and 1."""
    values = values.tolist()
    count = math.ceil(percent / 100 * len(values))
    chosen = sorted(range(len(values)), key=lambda i: -values[i])[:count]
    return torch.tensor([float(i in chosen) for i in range(len(values))], dtype=torch.float64)


def twin(name, z, t, y, **given):
    """From probabilities in float64, with plain sums and quotients: the batch's loss, and no
    function of the package."""
    get = given.get
    q, p = z.softmax(-1), t.softmax(-1)
    at = torch.arange(len(y)), y
    nll = -q[at].log()
    return {
        "word_kd": lambda: word_kd(p, q, nll, get("alpha", 0.5)),
        "atkd": lambda: atkd(p, q, y, **given),
        "skl": lambda: kl(p, get("alpha", 0.1) * p + (1 - get("alpha", 0.1)) * q).mean(),
        "srkl": lambda: kl(q, (1 - get("alpha", 0.1)) * p + get("alpha", 0.1) * q).mean(),
        "jsd": lambda: jsd(p, q, get("beta", 0.5)),
        "akl": lambda: akl(p, q, get("mu", 0.5)),
        "selective_kd": lambda: selective_kd(p, q, nll, **given),
        "tip": lambda: tip(p, q, get("top_percent", 50.0)),
    }[name]()


def word_kd(p, q, nll, alpha):
    return ((1 - alpha) * nll - alpha * (p * q.log()).sum(1)).mean()


def jsd(p, q, beta):
    middle = beta * p + (1 - beta) * q
    return (beta * kl(p, middle) + (1 - beta) * kl(q, middle)).mean()


def atkd(p, q, y, lam=0.2, top_percent=50.0, averaging="groups"):
    hard = top(torch.stack([1 - row[label] for row, label in zip(p, y, strict=True)]), top_percent)
    terms = []
    for row, other, label, is_hard in zip(p, q, y, hard, strict=True):
        others = [k for k in range(V) if k != label]
        rest, other_rest = row[others].sum(), other[others].sum()
        binary = torch.stack([row[label], rest]), torch.stack([other[label], other_rest])
        among = kl(row[others] / rest, other[others] / other_rest)
        terms.append(among + kl(*binary) if is_hard else among)
    terms, easy = torch.stack(terms), 1 - hard
    if averaging == "all":
        return (lam * easy * terms + (1 - lam) * hard * terms).sum() / len(y)
    means = [(group * terms).sum() / max(1, group.sum()) for group in (easy, hard)]
    return lam * means[0] + (1 - lam) * means[1]


def akl(p, q, mu):
    losses = []
    for row, other in zip(p, q, strict=True):
        head, mass = [], 0.0
        for k in sorted(range(V), key=lambda k: -row[k].item()):
            if mass >= mu:
                break
            head.append(k)
            mass += row[k].item()
        gap = (row - other).abs().detach()
        share = gap[head].sum() / gap.sum()
        losses.append(share * kl(row, other) + (1 - share) * kl(other, row))
    return torch.stack(losses).mean()


def selective_kd(p, q, nll, smoothing=0.1, top_percent=50.0):
    uniform = -q.log().sum(1) / V
    smoothed = (1 - smoothing) * nll + smoothing * uniform
    return (smoothed + top(nll, top_percent) * kl(p, q)).mean()


def tip(p, q, top_percent):
    h = -(q * q.log()).sum(1) / math.log(V)
    d = kl(q, p)
    h, d = ((x - x.min()) / (x.max() - x.min()) for x in (h, d))
    kept = top(1 - (1 - h) * (1 - d), top_percent)
    return (kept * kl(q, p)).sum() / max(1, kept.sum())


def gradient(name, student, teacher, labels, **settings):
    z = student.clone().requires_grad_()
    token_loss(name, z, teacher, labels, **settings).mean().backward()
    return z.grad


CASES = [
    *((name, {}) for name in NAMES),
    ("word_kd", {"alpha": 0.9}),
    ("atkd", {"averaging": "all"}),
    ("atkd", {"lam": 0.6, "top_percent": 30.0}),
    ("atkd", {"top_percent": 0.0}),
    ("atkd", {"top_percent": 100.0}),
    ("skl", {"alpha": 0.7}),
    ("srkl", {"alpha": 0.7}),
    ("jsd", {"beta": 0.1}),
    ("akl", {"mu": 0.9}),
    ("akl", {"mu": 0.05}),
    ("selective_kd", {"smoothing": 0.0, "top_percent": 20.0}),
    ("tip", {"top_percent": 20.0}),
    ("tip", {"top_percent": 100.0}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_batches_equal_a_naive_twin(name, settings, logits):
    student, teacher, labels = logits
    z = student.clone().requires_grad_()
    expected = twin(name, z, teacher, labels, **settings)
    torch.testing.assert_close(token_loss(name, *logits, **settings).mean(), expected.detach())
    (slopes,) = torch.autograd.grad(expected, z)
    torch.testing.assert_close(gradient(name, *logits, **settings), slopes)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "akl"])
def test_gradients_equal_finite_differences(name, logits):
    """akl's weights have no gradient: it has a test of its own."""
    student, teacher, labels = logits
    found = gradient(name, *logits)
    step = 1e-6
    for row, column in [(0, 0), (1, 3), (2, 10), (3, int(labels[3]))]:
        nudge = torch.zeros_like(student)
        nudge[row, column] = step
        up, down = (twin(name, student + s * nudge, teacher, labels).item() for s in (1, -1))
        assert found[row, column].item() == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_every_objective_has_a_test():
    """A new one is to be put into a twin here or in test_objectives.py."""
    from test_objectives import PAPER

    assert {*NAMES, *PAPER} == LOSSES.keys()


@pytest.mark.parametrize(
    ("name", "settings", "same_as", "its_settings"),
    [
        ("word_kd", {"alpha": 0.0}, "sft", {}),
        ("skl", {"alpha": 0.0}, "forward_kd", {"lam": 1.0}),
        ("srkl", {"alpha": 0.0}, "reverse_kd", {"lam": 1.0}),
        ("skl", {"alpha": 0.3}, "skew_teacher", {"lam": 1.0, "beta": 0.7}),
        ("skl", {"alpha": 0.3}, "skew", {"lam": 1.0, "beta": 0.7}),
        ("akl", {"mu": 0.0}, "reverse_kd", {"lam": 1.0}),
        ("akl", {"mu": 1.0}, "forward_kd", {"lam": 1.0}),
        ("tip", {"top_percent": 100.0}, "reverse_kd", {"lam": 1.0}),
        ("selective_kd", {"smoothing": 0.0, "top_percent": 0.0}, "sft", {}),
    ],
)
def test_limits(name, settings, same_as, its_settings, logits):
    for of in (token_loss, gradient):
        torch.testing.assert_close(
            of(name, *logits, **settings), of(same_as, *logits, **its_settings)
        )


def test_all_of_selective_kd_is_nll_and_kl(logits):
    loss = token_loss("selective_kd", *logits, smoothing=0.0, top_percent=100.0)
    both = [token_loss(name, *logits, lam=1.0) for name in ("sft", "forward_kd")]
    torch.testing.assert_close(loss, sum(both))


def test_word_kd_differs_from_forward_kd_by_the_teachers_entropy(logits):
    p = logits[1].softmax(-1)
    entropy = -(p * p.log()).sum(1)
    more = token_loss("word_kd", *logits) - token_loss("forward_kd", *logits)
    torch.testing.assert_close(more, 0.5 * entropy)
    torch.testing.assert_close(gradient("word_kd", *logits), gradient("forward_kd", *logits))


def test_kl_is_made_of_atkds_two_parts(logits):
    student, teacher, labels = logits
    on_label, among = target_and_diversity(
        Tokens(student, teacher, labels, objective_settings("atkd"))
    )
    doubt = 1 - teacher.softmax(-1)[torch.arange(N), labels]
    torch.testing.assert_close(on_label + doubt * among, token_loss("forward_kd", *logits, lam=1.0))


@pytest.mark.parametrize("sure", [12.0, 30.0, 90.0])
def test_atkd_keeps_its_digits_where_the_teacher_is_sure(sure):
    """1 − p(y) is 0 in float32 from a gap of 17 nats on."""
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(6, V, generator=generator)
    teacher = torch.randn(6, V, generator=generator)
    labels = torch.arange(6)
    teacher[labels, labels] += sure
    student[labels, labels] += sure / 2
    wide = student.double(), teacher.double(), labels
    expected = token_loss("atkd", *wide)
    torch.testing.assert_close(
        token_loss("atkd", student, teacher, labels).double(), expected, rtol=1e-5, atol=1e-5
    )
    slopes = gradient("atkd", *wide)
    assert slopes.abs().max() > 0.01  # what its diversity part is for
    torch.testing.assert_close(
        gradient("atkd", student, teacher, labels).double(), slopes, rtol=1e-4, atol=1e-6
    )


def test_a_teacher_that_rules_all_others_out_leaves_no_diversity():
    teacher = torch.full((2, V), -torch.inf)
    teacher[:, 3] = 0.0
    student = torch.randn(2, V, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([3, 3])
    loss = token_loss("atkd", student, teacher, labels, top_percent=100.0, lam=0.0)
    torch.testing.assert_close(loss, token_loss("sft", student, None, labels))
    assert gradient("atkd", student, teacher, labels).isfinite().all()


@pytest.mark.parametrize("beta", [0.1, 0.3, 0.5])
def test_jsd_is_symmetric(beta, logits):
    student, teacher, labels = logits
    torch.testing.assert_close(
        token_loss("jsd", student, teacher, labels, beta=beta),
        token_loss("jsd", teacher, student, labels, beta=1 - beta),
    )


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_jsd_is_0_at_both_ends(beta, logits):
    for found in (token_loss("jsd", *logits, beta=beta), gradient("jsd", *logits, beta=beta)):
        torch.testing.assert_close(found, torch.zeros_like(found))
    near = abs(beta - 1e-4)
    assert 0 < token_loss("jsd", *logits, beta=near).max() < 1e-2


@pytest.mark.parametrize("name", ["skl", "srkl", "jsd", "akl"])
def test_it_is_0_exactly_where_the_student_equals_the_teacher(name, logits):
    _, teacher, labels = logits
    assert (token_loss(name, *logits) > 0).all()
    same = token_loss(name, teacher + 3.0, teacher, labels)
    torch.testing.assert_close(same, torch.zeros_like(same))


def test_skew_divergences_are_bounded(logits):
    student, teacher, labels = logits
    for name in ("skl", "srkl"):
        loss = token_loss(name, 40 * student, 40 * teacher, labels, alpha=0.1)
        assert -math.log(0.1) / 2 < loss.max() <= -math.log(0.1) + 1e-12


def test_the_head_takes_the_token_that_crosses_mu():
    p = torch.tensor([[0.1, 0.5, 0.25, 0.15]], dtype=torch.float64)
    q = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    gaps = {1: 0.2, 2: 0.05, 3: 0.05, 0: 0.3}  # in the order of p
    for mu, head in [(0.0, []), (0.3, [1]), (0.5, [1]), (0.6, [1, 2]), (0.8, [1, 2, 3])]:
        tokens = Tokens(q.log(), p.log(), torch.tensor([0]), objective_settings("akl", mu=mu))
        expected = sum(gaps[k] for k in head) / sum(gaps.values())
        assert head_share(tokens).item() == pytest.approx(expected)
    same = Tokens(p.log(), p.log(), torch.tensor([0]), objective_settings("akl"))
    assert head_share(same).item() == 0.5


def test_a_head_may_be_long():
    """Some rows of a vocabulary of 500 have a head of a few tokens, some of hundreds."""
    generator = torch.Generator().manual_seed(2)
    spread = torch.tensor([[8.0], [0.01], [3.0], [0.5]], dtype=torch.float64)
    student, teacher = (
        spread * torch.randn(4, 500, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    q, p = student.softmax(-1), teacher.softmax(-1)
    lengths, expected = [], []
    for row, other in zip(p, q, strict=True):
        order = row.argsort(descending=True)
        lengths.append(int((row[order].cumsum(0) < 0.5).sum()) + 1)
        gap = (row - other).abs()
        expected.append(gap[order[: lengths[-1]]].sum() / gap.sum())
    assert [length > 64 for length in lengths] == [False, True, False, True]
    tokens = Tokens(student, teacher, torch.zeros(4, dtype=torch.long), objective_settings("akl"))
    torch.testing.assert_close(head_share(tokens), torch.stack(expected))


def test_akls_weights_have_no_gradient(logits):
    share = head_share(Tokens(*logits, objective_settings("akl")))
    ways = [gradient(name, *logits, lam=1.0) for name in ("forward_kd", "reverse_kd")]
    expected = share[:, None] * ways[0] + (1 - share[:, None]) * ways[1]
    torch.testing.assert_close(gradient("akl", *logits), expected)


def test_selected_tokens_are_those_that_the_student_finds_hard(logits):
    nll = token_loss("sft", *logits)
    plain = token_loss("selective_kd", *logits, top_percent=0.0)
    taught = token_loss("selective_kd", *logits, top_percent=25.0) > plain + 1e-9
    assert taught.sum() == 10
    assert nll[taught].min() > nll[~taught].max()


def test_tokens_that_tip_drops_have_no_loss(logits):
    loss = token_loss("tip", *logits, top_percent=30.0)
    assert (loss > 0).sum() == 12
    assert (gradient("tip", *logits, top_percent=30.0).abs().sum(1) > 0).sum() == 12


@pytest.mark.parametrize("name", ["skl", "srkl", "jsd", "akl", "tip"])
def test_the_reference_makes_no_difference(name, logits):
    student, teacher, labels = logits
    torch.testing.assert_close(
        token_loss(name, student, teacher, labels),
        token_loss(name, student, teacher, (labels + 1) % V),
    )


def test_difficulty_is_on_one_scale_for_all_objectives(logits):
    """λ of atkd is the weight of a group, not the teacher's share in the target."""
    d = token_loss("noevo", *logits)
    for name in LOSSES:
        torch.testing.assert_close(Tokens(*logits, objective_settings(name)).difficulty, d)


def test_defaults_are_the_papers():
    assert objective_settings("word_kd").alpha == 0.5
    assert objective_settings("skl").alpha == objective_settings("srkl").alpha == 0.1
    assert objective_settings("jsd").beta == 0.5
    assert objective_settings("akl").mu == 0.5
    atkd = objective_settings("atkd")
    assert (atkd.lam, atkd.top_percent, atkd.averaging) == (0.2, 50.0, "groups")
    assert atkd.target_lam == 0.5
    selective = objective_settings("selective_kd")
    assert (selective.smoothing, selective.top_percent, selective.queue) == (0.1, 50.0, 0)
    assert objective_settings("tip").top_percent == 50.0
