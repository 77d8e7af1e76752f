"""Optimizers of fewer bytes: what they do to weights, what they hold, and that a kill changes
nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from evokd.distil.train import run as training
from evokd.distil.train.optimizers import KahanAdamW, optimizer_of
from evokd.errors import InputError
from evokd.recipe.training import TrainingSettings
from evokd.study.identity import training_key
from test_train_run import copy_task, job_of, killed_at, same, trained, work
from tiny import tiny_llama

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
bench = importlib.import_module("optimizers")

FORMATS = {
    "adamw": torch.float32,
    "adamw_8bit": torch.float32,
    "adamw_kahan": torch.bfloat16,
    "adamw_8bit_kahan": torch.bfloat16,
}
HALF = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def made(name, weights, **settings):
    known = {"learning_rate": 2e-5, **settings}
    kind, how = optimizer_of(TrainingSettings(optimizer=name, **known))
    return kind(weights, **how)


def parameter(values, dtype):
    return torch.nn.Parameter(values.to(dtype))


def course(optimizer, weight, steps=300):
    """The same gradients in each number format: a slope, and noise about as large."""
    generator = torch.Generator().manual_seed(3)
    slope = torch.randn(weight.shape, generator=generator)
    for _ in range(steps):
        noise = torch.randn(weight.shape, generator=generator)
        weight.grad = (slope + noise).bfloat16().to(weight.dtype)
        optimizer.step()


def start(rows=64, columns=128):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)).bfloat16()


@pytest.mark.parametrize(("name", "near"), [("adamw_kahan", 0.05), ("adamw_8bit_kahan", 0.1)])
def test_weights_in_bfloat16_go_where_those_in_float32_go(name, near):
    """At the paper's rate, where bfloat16 alone hardly moves."""
    exact, plain, ours = (parameter(start(), one) for one in (torch.float32, *[torch.bfloat16] * 2))
    how = {"lr": 2e-5, "weight_decay": 0.0, "eps": 1e-8}
    course(torch.optim.AdamW([exact], **how), exact)
    course(torch.optim.AdamW([plain], **how), plain)
    optimizer = made(name, [ours])
    course(optimizer, ours)
    begin = start().float()
    moved = (exact - begin).norm()
    whole = ours.float() + optimizer.state[ours]["lost"].float()
    assert (whole - exact).norm() < near * moved
    assert (ours.float() - exact).abs().max() < start().abs().max() * 2**-8, "half a step"
    assert (plain.float() - exact).norm() > 0.5 * moved


def test_steps_are_those_of_adamw():
    """Decay, correction of the first steps and all; in float32 rounding takes next to nothing."""
    exact, ours = (parameter(start(), torch.float32) for _ in range(2))
    how = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    course(torch.optim.AdamW([exact], **how), exact, steps=20)
    course(KahanAdamW([ours], **how), ours, steps=20)
    torch.testing.assert_close(ours, exact, rtol=1e-2, atol=2e-3)


def test_the_second_moment_falls_again():
    """Rounded to nearest it couldn't: what it loses in a step is less than half of its last bit."""
    weight = parameter(torch.zeros(64, 64), torch.bfloat16)
    optimizer = made("adamw_kahan", [weight])
    generator = torch.Generator().manual_seed(1)
    levels = []
    for size in (1.0, 0.1):
        for _ in range(1500):
            weight.grad = (size * torch.randn(64, 64, generator=generator)).bfloat16()
            optimizer.step()
        levels.append(optimizer.state[weight]["exp_avg_sq"].float().mean().item())
    left = 0.999**1500  # of what was there before
    assert levels[0] == pytest.approx(1 - left, abs=0.02)
    assert levels[1] == pytest.approx(left * levels[0] + (1 - left) * 0.01, abs=0.02)


@pytest.mark.parametrize(
    ("name", "most"),
    [("adamw", 8.01), ("adamw_8bit", 2.1), ("adamw_kahan", 6.01), ("adamw_8bit_kahan", 4.1)],
)
def test_bytes_that_an_optimizer_holds_for_each_weight(name, most):
    weight = parameter(torch.randn(512, 512), FORMATS[name])
    optimizer = torch.optim.AdamW([weight]) if name == "adamw" else made(name, [weight])
    course(optimizer, weight, steps=1)
    held = [one for one in optimizer.state[weight].values() if isinstance(one, torch.Tensor)]
    held_bytes = sum(one.numel() * one.element_size() for one in held)
    assert most - 0.15 < held_bytes / weight.numel() < most


@pytest.mark.parametrize("name", FORMATS)
def test_killed_equals_uninterrupted(tmp_path, name, monkeypatch):
    """Width 64, so that some weights are large enough for moments in 8 bits."""
    weights = str(FORMATS[name]).removeprefix("torch.")

    def run(folder):
        student = tiny_llama(1, hidden_size=64, attention_dropout=0.1).to(FORMATS[name])
        job = job_of(folder, {"name": "noevo"}, optimizer=name, weights=weights, learning_rate=1e-3)
        return trained(job, student, tiny_llama(2, hidden_size=24))[0]

    whole = run(tmp_path / "whole")
    assert not same(whole, tiny_llama(1, hidden_size=64).to(FORMATS[name]))
    monkeypatch.setattr(training.Bar, "on_step_end", killed_at(8))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts")
    monkeypatch.undo()
    assert same(whole, run(tmp_path / "parts"))


def test_students_in_bfloat16_learn_as_those_in_float32(tmp_path):
    """The whole way, forward pass and gradients in bfloat16, too; more than one seed."""

    def losses(name, seed):
        student = tiny_llama(seed, hidden_size=32).to(FORMATS[name])
        settings = {"weights": str(FORMATS[name]).removeprefix("torch."), "select": "last"}
        job = work(tmp_path / f"{name}{seed}", optimizer=name, max_steps=30, **settings)
        trained(job, student)
        with torch.no_grad():
            batch = torch.tensor([copy_task(1, seed=seed)[0]["input_ids"]])
            return student.float()(batch, labels=batch).loss.item()

    for seed in (1, 2):
        exact = losses("adamw", seed)
        for name in ("adamw_8bit", "adamw_kahan", "adamw_8bit_kahan"):
            assert losses(name, seed) == pytest.approx(exact, rel=0.15), (name, seed)


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("adamw", "bfloat16", "next to nothing.*Take optimizer: adamw_kahan"),
        ("adamw_8bit", "bfloat16", "next to nothing.*Take optimizer: adamw_8bit_kahan"),
        ("adamw_kahan", "float32", "keeps what rounding to bfloat16 takes.*take optimizer: adamw"),
    ],
)
def test_an_optimizer_suits_the_weights(tmp_path, name, weights, said):
    student = tiny_llama(1).to(HALF[weights])
    with pytest.raises(InputError, match=said):
        trained(work(tmp_path, optimizer=name), student)


def test_the_package_of_an_optimizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs bitsandbytes; type pip install 'evokd\[quant"):
        optimizer_of(TrainingSettings(optimizer="adamw_8bit"))


def test_what_was_trained_before_there_was_a_choice_is_the_same():
    key = training_key(TrainingSettings())
    assert key == training_key(TrainingSettings(optimizer="adamw", weights="float32"))
    assert not key.keys() & {"optimizer", "weights"}
    other = training_key(TrainingSettings(optimizer="adamw_8bit"))
    assert other == {**key, "optimizer": "adamw_8bit"}


def test_the_bench_measures_every_optimizer_there_is():
    names = get_args(TrainingSettings.model_fields["optimizer"].annotation)
    assert set(names) == FORMATS.keys() <= bench.VARIANTS.keys()
    for name in names:
        assert getattr(torch, bench.VARIANTS[name].weights) == FORMATS[name]


def test_a_row_of_the_bench():
    held = {"weights": 4.0, "gradients": 4.0, "state": 8.0, "peak_mib": 30.0}
    exact = [{**held, "nll_before": 3.0, "nll": nll} for nll in (2.0, 1.0)]
    half = [{**held, "nll_before": 3.0, "nll": nll} for nll in (2.5, 2.0)]
    row = bench.row_of("half", half, exact)
    assert row == ["half", "4.00", "4.00", "8.00", "16.0", "30", "2.2500 (2.0000–2.5000)", "50%"]
