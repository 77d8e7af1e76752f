"""Γ that follows the student: rules against numpy, and nothing but the tokens decides."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from evokd.distil.chunked_loss import chunked_loss
from evokd.distil.objectives import token_loss
from evokd.distil.statistics import TokenStats
from evokd.distil.teacher.signal import LazyLogits
from evokd.distil.token_batch import LossOptions, TokenBatch
from evokd.distil.tokens import Tokens
from evokd.distil.train.method_state import LossInputs
from evokd.distil.train.run import parts_of
from evokd.distil.train.schedules import (
    RunningGamma,
    cosine,
    linear,
    running_mean,
    running_quantile,
)
from evokd.models.lm_head import Head
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import ObjectiveSettings

SETTINGS = ObjectiveSettings(gamma=9.0, lam=0.3)


def difficulties(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)) ** 3 * 8


def rows(values):
    return TokenStats(loss=values, nll=values, difficulty=values)


def gamma(gate, progress=0.0):
    return gate.settings(SETTINGS, progress).gamma


def see(gate, *chunks, gather=None):
    """An optimizer step that finds these difficulties."""
    for values in chunks if isinstance(gate, RunningGamma) else ():
        gate.observe(rows(values))
    gate.step_done(gather)


def of_rule(**rule):
    return MethodSettings(name="self_evolution", gamma=rule)


def gate_of(method):
    return parts_of(method, seed=1).get("gate")


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_running_quantile_is_that_of_numpy(share):
    gate = running_quantile(share, memory=1000)
    seen = [difficulties(300, seed) for seed in range(3)]
    for step, values in enumerate(seen):
        see(gate, values)
        known = torch.cat(seen[: step + 1])
        assert gamma(gate) == pytest.approx(np.quantile(known.numpy(), 1 - share), rel=1e-6)
        assert float((known > gamma(gate)).double().mean()) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("k", [-0.3, 0.0, 1.0])
def test_the_running_mean_is_that_of_numpy(k):
    gate = running_mean(k, memory=1000)
    values = difficulties(700)
    see(gate, values[:300])
    see(gate, values[300:])
    known = values.double().numpy()
    assert gamma(gate) == pytest.approx(known.mean() + k * known.std(), rel=1e-6)


def test_gamma_is_never_below_zero():
    gate = running_mean(-50.0, memory=100)
    see(gate, difficulties(50))
    assert gamma(gate) == 0.0


def test_only_gamma_is_set_and_it_is_the_papers_until_something_was_seen():
    gate = running_quantile(0.5, memory=100)
    assert gate.settings(SETTINGS, 0.0) == ObjectiveSettings(gamma=0.4, lam=0.3)
    see(gate)
    assert gamma(gate) == 0.4
    gate.observe(rows(torch.full((5,), 3.0)))
    assert gamma(gate) == 0.4  # a step is gated by the ones before it
    gate.step_done()
    assert gamma(gate) == 3.0
    see(gate, torch.tensor([torch.nan, torch.inf]))
    gate.observe(TokenStats(loss=torch.ones(3), nll=torch.ones(3)))  # no teacher
    gate.step_done()
    assert gamma(gate) == 3.0


def test_what_is_older_than_the_memory_is_forgotten():
    gate = running_mean(0.0, memory=200)
    see(gate, torch.full((500,), 100.0))
    see(gate, torch.full((150,), 1.0))
    assert gamma(gate) == pytest.approx((50 * 100 + 150) / 200)
    see(gate, torch.full((200,), 2.0))
    assert gamma(gate) == 2.0


@pytest.mark.parametrize(
    "gate_of_memory", [lambda n: running_quantile(0.3, n), lambda n: running_mean(1.0, n)]
)
@pytest.mark.parametrize("memory", [60, 250, 10_000])
def test_gamma_is_the_same_however_a_step_is_cut(gate_of_memory, memory):
    """Chunks, the order of micro-batches, and two devices that hold unequal parts."""
    whole, cut, shuffled = (gate_of_memory(memory) for _ in range(3))
    devices = [gate_of_memory(memory) for _ in range(2)]
    for step in range(5):
        values = difficulties(100, step)
        see(whole, values)
        see(cut, *values.split(7))
        see(shuffled, *reversed(values.split(13)))
        see_on_devices(devices, [values[:70], values[70:]])
        assert gamma(cut) == gamma(whole)
        assert gamma(shuffled) == gamma(whole)
        assert [gamma(gate) for gate in devices] == [gamma(whole)] * 2


def see_on_devices(gates, parts):
    """A step of two devices, whose collectives take equal lengths only."""
    for gate, values in zip(gates, parts, strict=True):
        gate.observe(rows(values))
    lengths = torch.tensor([len(values) for values in parts])
    padded = torch.full((2, int(lengths.max())), torch.nan)
    for row, values in zip(padded, parts, strict=True):
        row[: len(values)] = values
    for device, gate in enumerate(gates):

        def gather(mine, device=device):
            if mine.dtype == torch.long:
                assert mine.tolist() == [lengths[device]]
                return lengths
            torch.testing.assert_close(mine, padded[device], equal_nan=True)
            return padded.flatten()

        gate.step_done(gather)


def test_a_device_without_tokens_takes_part():
    gates = [running_mean(0.0, 100) for _ in range(2)]
    see_on_devices(gates, [torch.tensor([1.0, 3.0]), torch.zeros(0)])
    assert [gamma(gate) for gate in gates] == [2.0, 2.0]


def test_what_was_observed_may_be_written_over():
    gate = running_mean(0.0, 100)
    values = torch.full((10,), 2.0)
    gate.observe(rows(values))
    values.zero_()
    gate.step_done()
    assert gamma(gate) == 2.0


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "running_quantile", "hard_share": 0.3, "memory": 150},
        {"rule": "running_mean", "k": 0.7, "memory": 150},
        {"rule": "linear"},
        {"rule": "cosine"},
    ],
)
def test_a_resumed_gate_goes_on_bit_for_bit(rule, tmp_path):
    whole, halted, again = (gate_of(of_rule(**rule)) for _ in range(3))
    for step in range(6):
        if step == 3:
            torch.save(halted.state_dict(), tmp_path / "gate.pt")
            again.load_state_dict(torch.load(tmp_path / "gate.pt", weights_only=True))
            halted = again
        assert gamma(halted, step / 6) == gamma(whole, step / 6)
        for gate in (whole, halted):
            see(gate, difficulties(80, step))
    assert gamma(halted, 1.0) == gamma(whole, 1.0)


def test_schedules_have_their_ends_and_a_middle():
    for schedule in (linear(5.0, 0.4), cosine(5.0, 0.4)):
        assert schedule(0.0) == pytest.approx(5.0)
        assert schedule(1.0) == pytest.approx(0.4)
        assert schedule(0.5) == pytest.approx(2.7)
        assert schedule(-1.0) == schedule(0.0)
        assert schedule(1.5) == schedule(1.0)
    assert cosine(5.0, 0.4)(0.25) == pytest.approx(2.7 + 2.3 * math.sqrt(0.5))
    assert linear(5.0, 0.4)(0.25) == pytest.approx(3.85)


def test_a_recipe_names_them():
    falling = gate_of(of_rule(rule="linear", start=5.0, end=0.4))
    assert gamma(falling, 0.25) == pytest.approx(3.85)
    see(falling, difficulties(9))
    assert gamma(falling, 0.25) == pytest.approx(3.85)
    assert gamma(gate_of(of_rule(rule="cosine", start=2.0, end=1.0)), 0.5) == pytest.approx(1.5)
    values = difficulties(300)
    for rule, expected in [
        ({"rule": "running_quantile", "hard_share": 0.25}, np.quantile(values.numpy(), 0.75)),
        ({"rule": "running_mean", "k": 2.0}, values.numpy().mean() + 2 * values.numpy().std()),
        ({"rule": "running_quantile", "memory": 1}, None),
    ]:
        gate = gate_of(of_rule(**rule))
        see(gate, values)
        if expected is None:
            assert gamma(gate) in values.tolist()
        else:
            assert gamma(gate) == pytest.approx(expected, rel=1e-5)
    assert gate_of(MethodSettings(name="self_evolution")) is None


def test_the_quantile_of_a_batch_is_a_ranking():
    method = of_rule(rule="quantile", hard_share=0.25)
    assert gate_of(method) is None
    objective, settings = method.in_force()
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 40, 7, generator=draw)
    labels = torch.randint(7, (40,), generator=draw)
    d = token_loss("noevo", student, teacher, labels)
    at_quantile = float(d.sort().values[29])  # ten are above
    torch.testing.assert_close(
        token_loss(objective, student, teacher, labels, top_percent=settings.top_percent),
        token_loss("self_evolution", student, teacher, labels, gamma=at_quantile),
    )
    plain = MethodSettings(name="top", objective="self_evolution_topk", top_percent=30)
    objective, settings = plain.in_force()
    assert (objective, settings.top_percent) == ("self_evolution_topk", 30.0)
    assert of_rule(rule="running_quantile").in_force()[0] == "self_evolution"


@pytest.mark.parametrize("measure", ["kl", "js", "nll"])
def test_it_watches_what_is_compared_with_gamma(measure):
    draw = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(50, 5, generator=draw), torch.randn(9, 5, generator=draw)
    teacher, labels = torch.randn(50, 9, generator=draw), torch.randint(9, (50,), generator=draw)
    settings = ObjectiveSettings(difficulty=measure)
    gate = running_quantile(0.5, memory=100)
    signal = LazyLogits(teacher, Head(torch.eye(9)))
    batch = TokenBatch(hidden, Head(weight), labels, 9)
    inputs = LossInputs(batch, signal, LossOptions(settings, chunk_tokens=7), 0.0, learns=True)
    chunked_loss("self_evolution", batch, signal, gate.prepare(inputs).options)
    assert gate.prepare(replace(inputs, learns=False)).options.observers == ()
    gate.step_done()
    tokens = Tokens(hidden @ weight.T, teacher, labels, gate.settings(settings, 0.0))
    assert tokens.hard().sum() == 25
    assert gamma(gate) == pytest.approx(float(tokens.measured.quantile(0.5)), rel=1e-5)
