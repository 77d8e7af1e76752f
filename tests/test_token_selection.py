"""Choosing among tokens: which, however a batch is cut, and the memory of those before."""

import numpy
import pytest
import torch

from evokd.distil.objectives import LOSSES, Tokens, token_loss
from evokd.distil.token_selection import (
    Selection,
    TokenHistory,
    most_difficult,
    scores,
    select,
    selection_of,
    soft_or,
)
from evokd.recipe.objectives import OBJECTIVES, objective_settings

RANKING = [name for name, spec in OBJECTIVES.items() if spec.ranked_by]


def tokens(n=30, v=9, name="tip", seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(n, v, generator=generator).double() for _ in range(2))
    labels = torch.randint(v, (n,), generator=generator)
    return Tokens(student, teacher, labels, objective_settings(name, **settings))


def test_the_share_of_hard_tokens_rounds_up_and_ties_go_to_the_first():
    d = torch.tensor([1.0, 3.0, 3.0, 2.0, 0.5])
    assert most_difficult(d, 50).tolist() == [False, True, True, True, False]
    assert most_difficult(d, 20).tolist() == [False, True, False, False, False]
    assert most_difficult(d, 1).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("percent", [0.0, 1.0, 30.0, 50.0, 100.0])
def test_as_many_are_chosen_as_were_asked_for(name, percent):
    given = tokens(name=name, top_percent=percent)
    selection = select(name, scores(name, given), given.settings)
    assert int(selection.hard.sum()) == {0.0: 0, 1.0: 1, 30.0: 9, 50.0: 15, 100.0: 30}[percent]
    assert selection.share == int(selection.hard.sum()) / 30


@pytest.mark.parametrize("name", RANKING)
def test_scores_have_no_gradient_and_leave_that_of_the_loss(name):
    student = torch.randn(8, 9, dtype=torch.float64, requires_grad=True)
    given = Tokens(student, student.detach().flip(0), torch.arange(8), objective_settings(name))
    assert not scores(name, given).requires_grad
    (slope,) = torch.autograd.grad(LOSSES[name](given).sum(), student)
    assert slope.abs().max() > 0


@pytest.mark.parametrize("name", RANKING)
def test_a_set_that_is_given_is_taken(name):
    given = tokens(name=name)
    of_a_batch = Selection(torch.arange(30) % 3 == 0, share=0.4)  # of which these are a part
    given.selection = of_a_batch
    assert selection_of(name, given) is of_a_batch


def test_atkd_ranks_by_what_the_teacher_leaves_to_others():
    given = tokens(name="atkd")
    p = given.p.probabilities[torch.arange(30), given.labels]
    order = scores("atkd", given)[:, 0].argsort()
    assert torch.equal(order, (1 - p).argsort())
    torch.testing.assert_close(scores("atkd", given)[:, 0], ((1 - p) / p).log())


def test_atkd_tells_sure_tokens_apart_in_float32():
    teacher = torch.zeros(4, 9)
    teacher[:, 0] = torch.tensor([40.0, 30.0, 60.0, 50.0])
    given = Tokens(teacher, teacher, torch.zeros(4, dtype=torch.long), objective_settings("atkd"))
    assert given.p.probabilities[:, 0].eq(1).all()
    assert scores("atkd", given)[:, 0].argsort().tolist() == [2, 3, 0, 1]


def test_tips_score_is_between_0_and_1():
    found = soft_or(scores("tip", tokens(n=200)))
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.min() < 0.5 < found.max()


def test_tips_score_by_hand():
    scored = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 7.0], [1.5, 9.0]])
    # h = 0, ½, 1, ¼ and d = 0, 0, ½, 1
    torch.testing.assert_close(soft_or(scored), torch.tensor([0.0, 0.5, 1.0, 1.0]))
    alike = torch.tensor([[2.0, 1.0], [2.0, 3.0]])
    torch.testing.assert_close(soft_or(alike), torch.tensor([0.0, 1.0]))
    assert soft_or(scored[:0]).shape == (0,)


# TokenHistory


def cut(values, sizes):
    return values.split([*sizes, len(values) - sum(sizes)])


@pytest.mark.parametrize("size", [1, 7, 40, 100])
@pytest.mark.parametrize("sizes", [[], [1, 1, 1], [0, 39], [13, 2, 20]])
def test_the_queue_holds_the_last_ones_however_they_were_cut(size, sizes):
    values = torch.randn(40, generator=torch.Generator().manual_seed(3))
    queue = TokenHistory(size)
    for part in cut(values, sizes):
        queue.push(part)
    assert len(queue) == min(size, 40)
    assert torch.equal(queue.values(), values[-size:])


def test_quantile_mean_and_deviation_are_numpys():
    values = torch.randn(37, generator=torch.Generator().manual_seed(3))
    queue = TokenHistory(30)
    queue.push(values)
    kept = values[-30:].double().numpy()
    for share in (0.0, 0.1, 0.33, 0.5, 0.9, 1.0):
        assert queue.quantile(share) == pytest.approx(numpy.quantile(kept, share))
    assert queue.mean() == pytest.approx(kept.mean())
    assert queue.std() == pytest.approx(kept.std())


def test_a_quantile_at_one_of_the_numbers_is_that_number():
    queue = TokenHistory(20_001)
    queue.push(torch.rand(20_001, generator=torch.Generator().manual_seed(3)))
    ordered = queue.values().sort().values
    for percent in range(101):
        assert queue.quantile(1 - percent / 100) == ordered[20_000 - 200 * percent].item()


def test_a_queue_goes_on_from_its_state():
    values = torch.randn(50, generator=torch.Generator().manual_seed(3))
    whole, first, second = (TokenHistory(16) for _ in range(3))
    whole.push(values)
    first.push(values[:23])
    state = first.state_dict()
    first.push(values[:9])  # the state is a copy
    second.push(values[40:])  # and replaces what there was
    second.load_state_dict(state)
    second.push(values[23:])
    assert torch.equal(second.values(), whole.values())
    empty = TokenHistory(16)
    second.load_state_dict(empty.state_dict())
    assert len(second) == 0


def test_an_empty_queue_has_no_quantile_and_none_is_of_size_0():
    with pytest.raises(ValueError, match="empty"):
        TokenHistory(5).quantile(0.5)
    with pytest.raises(ValueError, match="a history of 0 tokens"):
        TokenHistory(0)


# selective_kd's memory


def selected(nll, memory, percent=25.0, learns=True):
    settings = objective_settings("selective_kd", queue=memory.size, top_percent=percent)
    return select("selective_kd", nll[:, None], settings, memory, learns).hard


def test_the_gate_is_a_quantile_of_what_is_remembered_and_of_the_batch():
    memory = TokenHistory(8)
    assert selected(torch.tensor([1.0, 2.0, 3.0, 4.0]), memory).tolist() == [False] * 3 + [True]
    # 1 2 3 4 5 6 7 8: the upper quarter starts at 6.25
    found = selected(torch.tensor([5.0, 6.0, 7.0, 8.0]), memory)
    assert found.tolist() == [False, False, True, True]
    # 5 6 7 8 0 0 0 9: it starts at 7.25
    found = selected(torch.tensor([0.0, 0.0, 0.0, 9.0]), memory)
    assert found.tolist() == [False, False, False, True]
    assert not selected(torch.tensor([0.0, 1.0]), memory).any()


def test_an_evaluation_leaves_the_memory_as_it_is():
    memory = TokenHistory(8)
    assert selected(torch.tensor([1.0, 2.0, 3.0, 4.0]), memory, 50.0, False).sum() == 2
    assert len(memory) == 0
    memory.push(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert selected(torch.tensor([9.0, 8.0]), memory, learns=False).all()
    assert len(memory) == 4


@pytest.mark.parametrize("percent", [0.0, 10.0, 50.0, 100.0])
def test_a_queue_that_holds_one_batch_selects_as_the_batch_does(percent):
    nll = torch.randn(40, generator=torch.Generator().manual_seed(3)).double()
    memory = TokenHistory(40)
    for _ in range(2):  # the second push forgets the first
        assert torch.equal(selected(nll, memory, percent), most_difficult(nll, percent))


def test_token_loss_remembers_from_call_to_call():
    memory = TokenHistory(100)
    made = [tokens(name="selective_kd", seed=seed) for seed in (1, 2)]
    losses = [
        token_loss("selective_kd", t.log_q, t.p.log, t.labels, queue=100, history=memory)
        for t in made
    ]
    nll = torch.cat([t.nll for t in made])
    assert torch.equal(memory.values(), nll.float())
    gate = numpy.quantile(nll.numpy(), 0.5)
    plain = token_loss(
        "selective_kd", made[1].log_q, made[1].p.log, made[1].labels, top_percent=0.0
    )
    assert torch.equal(losses[1] > plain + 1e-9, made[1].nll >= gate)
