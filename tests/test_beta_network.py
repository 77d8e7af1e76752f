"""A network that predicts β: its signal against autograd, and what it learns."""

import copy

import pytest
import torch

from evokd.distil.teacher.signal import LazyLogits
from evokd.distil.token_batch import TokenBatch
from evokd.distil.tokens import Tokens, mixture
from evokd.models.lm_head import Head
from evokd.recipe.objectives import ObjectiveSettings
from evokd_extras.beta_network import (
    BetaNetwork,
    features_of,
    lookahead,
    skew_gradient,
)

SETTINGS = ObjectiveSettings()


def draw_batch(count=12, size=9, width=5, seed=0):
    """float64: hidden, head weight, teacher logits, labels, β."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    labels = torch.randint(size, (count,), generator=draw)
    betas = torch.rand(count, generator=draw, dtype=torch.float64) * 0.9 + 0.05
    return normal(count, width), normal(size, width), 2 * normal(count, size), labels, betas


def skew_of(tokens, betas):
    """KL(ỹ‖β q + (1 − β) ỹ) of each token, with a β of its own."""
    return torch.stack(
        [
            tokens.target.probabilities[i]
            @ (
                tokens.target.log[i]
                - torch.logaddexp(
                    tokens.log_q[i] + betas[i].log(), tokens.target.log[i] + (1 - betas[i]).log()
                )
            )
            for i in range(len(betas))
        ]
    )


def features(tokens, progress):
    """As they are defined."""
    q, p = tokens.log_q.detach().exp(), tokens.p.probabilities
    columns = [
        torch.linalg.vecdot(tokens.target.probabilities, tokens.target.log - tokens.log_q.detach()),
        tokens.nll.detach(),
        tokens.teacher_nll,
        -torch.xlogy(q, q).sum(1),
        -torch.xlogy(p, p).sum(1),
        torch.full_like(tokens.teacher_nll, progress),
    ]
    return torch.stack(columns, dim=1).float().log1p()


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_features_are_those_of_the_distributions(lam):
    hidden, weight, teacher, labels, _ = draw_batch()
    logits = hidden @ weight.T
    tokens = Tokens(logits, teacher, labels, SETTINGS.model_copy(update={"lam": lam}))
    expected = features(tokens, 0.7) if lam else None
    found = features_of(logits.clone(), teacher.clone(), labels, lam, 0.7)
    if expected is None:  # ỹ is one-hot: d is the NLL
        expected = features(Tokens(logits, teacher, labels, SETTINGS), 0.7)
        expected[:, 0] = expected[:, 1]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    barred = torch.arange(9) == (labels[:, None] + 1) % 9  # what a teacher can't say
    teacher = teacher.masked_fill(barred, -torch.inf)
    nearly = features_of(logits.clone(), teacher.masked_fill(barred, -80), labels, lam, 0.7)
    found = features_of(logits.clone(), teacher, labels, lam, 0.7)
    torch.testing.assert_close(found, nearly)


def test_the_skew_gradient_is_that_of_the_objective_and_so_is_its_change():
    hidden, weight, teacher, labels, betas = draw_batch()
    logits = (hidden @ weight.T).requires_grad_()
    betas.requires_grad_()
    tokens = Tokens(logits, teacher, labels, SETTINGS)
    (theirs,) = torch.autograd.grad(skew_of(tokens, betas).sum(), logits, create_graph=True)
    ours, change = skew_gradient(
        tokens.log_q.detach().exp(), tokens.target.probabilities, betas.detach()
    )
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-13, rtol=1e-10)
    look = torch.randn_like(theirs)  # any linear function of the gradient
    (by_beta,) = torch.autograd.grad((theirs * look).sum(), betas)
    torch.testing.assert_close((change * look).sum(1), by_beta, atol=1e-12, rtol=1e-9)
    same = Tokens(logits.detach(), teacher, labels, SETTINGS)
    loss = same.target.kl_to(mixture(same.log_q, same.target.log, 0.3))
    torch.testing.assert_close(skew_of(same, torch.full_like(betas, 0.3).detach()), loss)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("count", [12, 7])
def test_cosine_and_slope_are_those_of_explicit_head_gradients(cap, count):
    hidden, weight, teacher, labels, betas = draw_batch(count)
    weight.requires_grad_()
    betas.requires_grad_()
    head = Head(weight, scale=1.7, cap=cap)

    def gradient_of_head(loss_of, rows):
        tokens = Tokens(head.logits(hidden[rows]), teacher[rows], labels[rows], SETTINGS)
        (found,) = torch.autograd.grad(loss_of(tokens).sum(), weight, create_graph=True)
        return found.flatten()

    middle = count // 2
    halves = slice(0, middle), slice(middle, count)
    cosines = []
    for a, b in (halves, halves[::-1]):
        ours = gradient_of_head(lambda tokens, a=a: skew_of(tokens, betas[a]), a)
        others = gradient_of_head(lambda tokens: tokens.nll, b)
        cosines.append(torch.cosine_similarity(ours, others, dim=0))
    expected = sum(cosines) / 2
    (slope,) = torch.autograd.grad(expected, betas)

    with torch.no_grad():
        logits = head.logits(hidden)
        tokens = Tokens(logits, teacher, labels, SETTINGS)
        slopes = None if cap is None else 1 - (logits / cap).square()
    found, found_slope = lookahead(
        betas.detach(), hidden, tokens.log_q.exp(), tokens.target.probabilities, labels, slopes
    )
    assert found == pytest.approx(float(expected.detach()), abs=1e-12)
    torch.testing.assert_close(found_slope, slope, atol=1e-12, rtol=1e-9)
    assert slope.abs().max() > 1e-3


def test_learn_hands_that_slope_to_the_weights():
    """Through features, net and sample: the mean cosine rises along −gradient."""
    hidden, weight, teacher, labels, _ = draw_batch(16)
    head = Head(weight, cap=4.0)
    said = LazyLogits(teacher, Head(torch.eye(9, dtype=torch.float64)))
    net = BetaNetwork(seed=1)
    torch.nn.init.normal_(net.outer.weight, generator=torch.Generator().manual_seed(5))
    tokens = Tokens(head.logits(hidden), teacher, labels, SETTINGS)
    before = copy.deepcopy(net)
    returned = net.learn(TokenBatch(hidden, head, labels, 9), said, SETTINGS, seed=3)

    # The same sample, made here: runs of four of the sixteen tokens.
    order = torch.randperm(4, generator=torch.Generator().manual_seed(3))
    chosen = torch.cat([torch.arange(4 * i, 4 * i + 4) for i in order.tolist()])
    betas = before(features(tokens, 0.0))[chosen]
    cosine, slope = lookahead(
        betas.detach().double(),
        hidden[chosen],
        tokens.log_q[chosen].exp(),
        tokens.target.probabilities[chosen],
        labels[chosen],
        1 - (head.logits(hidden[chosen]) / 4.0).square(),
    )
    (0.3 * (betas.mean() - 0.5).square() - (betas * slope).sum()).backward()
    assert returned == pytest.approx(cosine, abs=1e-12)
    for ours, theirs in zip(net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4)


def made_up(seed, count=400, classes=12, size=30, width=16):
    """States in clusters, whose token the teacher knows; half of the references are noise."""
    draw = torch.Generator().manual_seed(seed)
    kind = torch.randint(classes, (count,), generator=draw)
    means = torch.randn(classes, width, generator=draw)
    hidden = means[kind] + 0.3 * torch.randn(count, width, generator=draw)
    noisy = torch.rand(count, generator=draw) < 0.5
    labels = torch.where(noisy, torch.randint(size, (count,), generator=draw), kind)
    logits = 0.3 * torch.randn(count, size, generator=draw)
    logits[torch.arange(count), kind] += 4.0
    head = Head(0.3 * torch.randn(size, width, generator=draw))
    signal = LazyLogits(logits, Head(torch.eye(size)))
    return TokenBatch(hidden, head, labels, size), signal, noisy


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noisy_references_get_a_smaller_beta(seed):
    *given, noisy = made_up(seed)
    net = BetaNetwork(seed)
    first = net.betas(*given, SETTINGS)
    assert (first == 0.5).all()
    cosines = [net.learn(*given, SETTINGS, seed=step) for step in range(250)]
    betas = net.betas(*given, SETTINGS)
    assert betas[noisy].mean() < betas[~noisy].mean() - 0.1
    assert sum(cosines[-50:]) / 50 > sum(cosines[:20]) / 20 + 0.05
    assert betas.min() >= 0.02
    assert betas.max() <= 0.98


def test_betas_are_the_same_in_chunks_of_any_size_and_leave_the_given_alone():
    *given, _ = made_up(0, count=50)
    hidden = given[0].hidden.requires_grad_()
    net = BetaNetwork(0)
    torch.nn.init.normal_(net.outer.weight, generator=torch.Generator().manual_seed(1))
    kept = hidden.detach().clone(), given[1].hidden.clone()
    whole = net.betas(*given, SETTINGS, 0.4, 50)
    assert whole.std() > 0.01
    assert not whole.requires_grad
    torch.testing.assert_close(net.betas(*given, SETTINGS, 0.4, 7), whole)
    tokens = Tokens(given[0].head.logits(hidden), given[1].hidden, given[0].labels, SETTINGS)
    assert torch.allclose(net(features(tokens, 0.4)), whole, atol=1e-5)
    assert not torch.equal(net.betas(*given, SETTINGS, progress=0.9), whole)
    net.learn(*given, SETTINGS, seed=1)
    assert hidden.grad is None
    assert torch.equal(hidden, kept[0])
    assert torch.equal(given[1].hidden, kept[1])


def test_it_goes_on_after_a_restart_as_if_nothing_had_been(tmp_path):
    *given, _ = made_up(2)

    def learn(net, steps):
        for step in steps:
            net.learn(*given, SETTINGS, seed=step)

    whole, halted = BetaNetwork(7), BetaNetwork(7)
    learn(whole, range(8))
    learn(halted, range(4))
    torch.save(halted.state_dict(), tmp_path / "net.pt")
    again = BetaNetwork(8)
    again.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    learn(again, range(4, 8))
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(again.betas(*given, SETTINGS), whole.betas(*given, SETTINGS))


def test_the_seed_decides_and_global_randomness_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    *given, _ = made_up(2)
    one, same, other = BetaNetwork(1), BetaNetwork(1), BetaNetwork(2)
    for net in (one, same, other):
        net.learn(*given, SETTINGS, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.inner.weight, same.inner.weight)
    assert not torch.equal(one.inner.weight, other.inner.weight)


def test_devices_that_share_their_gradients_stay_the_same():
    """Two, one of which holds too few tokens: the step is that of the mean."""
    *given, _ = made_up(2)
    whole = given[0]
    few = [TokenBatch(whole.hidden[:2], whole.head, whole.labels[:2], 30), given[1]]
    alone = BetaNetwork(1)
    alone.learn(*given, SETTINGS, seed=1)
    own = torch.cat([p.grad.flatten() for p in alone.parameters()])
    busy, idle = BetaNetwork(1), BetaNetwork(1)
    seen = []

    def average(mine):
        seen.append(mine)
        return own / 2

    busy.learn(*given, SETTINGS, seed=1, average=average)
    assert idle.learn(*few, SETTINGS, seed=1, average=average) == 0
    torch.testing.assert_close(seen[0], own)
    assert (seen[1] == 0).all()
    for ours, theirs in zip(busy.parameters(), idle.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    untouched = BetaNetwork(1)
    assert untouched.learn(*few, SETTINGS, seed=1) == 0
    for ours, theirs in zip(untouched.parameters(), BetaNetwork(1).parameters(), strict=True):
        assert torch.equal(ours, theirs)
