"""Formulas of memory against torch's trackers on real shapes, and against a measured step."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evokd.plan.activations import Tokens
from evokd.plan.devices import GIB
from evokd.plan.known import KNOWN
from evokd.plan.memory import Training, chunk_rows, moments, training_memory
from evokd.plan.placement import Formats, Placement
from evokd.plan.shapes import Shape
from plan_trace import DEVICES, traced

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
plan_check = importlib.import_module("plan_check")

TOKENS = Tokens(8, 512)
NEAR = 0.10
"""What is promised."""
TRACED = {"llama-2-7b": 4, "llama-2-13b": 3, "llama-2-70b": 3, "qwen2.5-7b": 3, "gemma-2-9b": 2}
"""Shape → so many of its layers, each as large as it is; the trackers take seconds, not minutes."""
SMALL = Shape("llama", 2, 32, 48, 4, 2, 8, 100, False)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize(
    ("placement", "half"),
    [("none", False), ("none", True), ("fsdp2", True)],
    ids=["float32", "autocast", "fsdp2"],
)
@pytest.mark.parametrize("name", TRACED)
def test_formulas_agree_with_the_trackers(name, placement, half, checkpointing):
    shape = replace(KNOWN[name], layers=TRACED[name])
    if placement == "none":  # fake tensors can't be added in place, as a tied head's gradient is
        shape = replace(shape, tied=False)
    where = Placement(placement, DEVICES if placement == "fsdp2" else 1)
    training = Training(
        *(shape, Formats(half=half), where, TOKENS, TOKENS.rows, False, checkpointing),
        device="cpu",
    )
    # The trackers see no optimizer, and the loss has no logits.
    seen = (replace(one, optimizer=0.0, loss=0.0).total for one in moments(training).values())
    expected = traced(shape, tuple(TOKENS), placement, half, checkpointing)["Total"]
    assert max(seen) == pytest.approx(expected, rel=NEAR)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts peaks")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_takes_what_is_planned(checkpointing, monkeypatch):
    """On a machine that counts for itself: a process of its own, some steps, its peak."""
    case = plan_check.Case(
        **{"hidden": 384, "layers": 6, "vocabulary": 8192, "rows": 12, "length": 96},
        responses=48,
        teacher=(256, 2),
        checkpointing=checkpointing,
    )
    monkeypatch.setitem(plan_check.EVERY, "small", case)
    (row,) = plan_check.compare(["small"])
    assert row["status"] == "ok"
    assert row["predicted"] > 200  # MiB, so that what libraries do beside it is little
    assert row["predicted"] == pytest.approx(row["measured"], rel=NEAR)


def small(**changes):
    settings = {"formats": Formats(), "placement": Placement(), "tokens": Tokens(4, 8)}
    settings |= {"responses": 16, "accumulates": True, "device": "cpu"}
    return Training(SMALL, **{**settings, **changes})


def test_weights_gradients_and_optimizer_by_hand():
    """16 bytes a weight; shared by N devices 16/N; under ddp 4 more for its buckets."""
    weights = SMALL.parameters
    one = training_memory(small())
    assert (one.weights, one.gradients, one.optimizer) == (4 * weights, 4 * weights, 8 * weights)
    each = training_memory(small(placement=Placement("ddp", 4)))
    assert (each.weights, each.gradients) == (4 * weights, 8 * weights)
    shared = moments(small(placement=Placement("fsdp2", 4)))["the loss"]
    assert (shared.weights, shared.gradients, shared.optimizer) == (weights, weights, 2 * weights)
    lean = training_memory(small(formats=Formats(weights=2.0, state=2.0)))
    assert (lean.weights, lean.gradients, lean.optimizer) == (*(2 * weights,) * 2, 2 * weights)
    adapters = training_memory(small(formats=Formats(rank=2)))
    inputs = 2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48)  # q and o, k and v, feed-forward
    trained = 2 * 2 * inputs  # layers × rank
    assert adapters.weights == 4 * (weights + trained)
    assert (adapters.gradients, adapters.optimizer) == (4 * trained, 8 * trained)


def test_a_teacher_takes_its_weights_its_head_or_nothing():
    teacher = replace(SMALL, layers=3)
    formats = Formats(teacher=2.0)
    live = training_memory(small(teacher=teacher, formats=formats)).teacher
    assert live == 2 * teacher.parameters + 4 * 16 * 32  # and the states of 16 response tokens
    given = {"teacher": teacher, "formats": formats}
    assert training_memory(small(signal="hidden", **given)).teacher == 2 * 100 * 32
    assert training_memory(small(signal="topk", **given)).teacher == 0
    spread = training_memory(small(placement=Placement("fsdp2", 4), **given)).teacher
    # A quarter, two layers that are gathered, and the head.
    shared = teacher.parameters / 4 + 2 * teacher.layer + teacher.head
    assert spread == 2 * shared + 4 * 16 * 32


def test_a_chunk_of_logits_is_as_large_as_the_loss_makes_it():
    import torch

    from evokd.distil.buffers import BUFFER_BYTES, rows_at_once
    from evokd.plan import memory

    assert {"cpu": BUFFER_BYTES["cpu"], "gpu": BUFFER_BYTES["cuda"]} == memory.BUFFER_BYTES
    for size in (100, 4096, 32_000, 152_000, 500_000):
        theirs = rows_at_once(size, [torch.float32, torch.float32], torch.zeros(1))
        assert chunk_rows(size, 8 * size, "cpu") == theirs


def test_nothing_that_saves_memory_takes_more():
    base = small(teacher=SMALL, tokens=Tokens(64, 128), responses=64 * 64)
    total = training_memory(base).total
    for change in (
        {"checkpointing": True},
        {"signal": "hidden"},
        {"tokens": Tokens(32, 128), "responses": 32 * 64},
        {"formats": Formats(rank=2)},
        {"accumulates": False},
    ):
        assert training_memory(replace(base, **change)).total < total
    parts = training_memory(base).in_gib()
    assert parts.pop("total") == pytest.approx(sum(parts.values()), abs=0.01)
    assert total / GIB == pytest.approx(training_memory(base).in_gib()["total"], abs=0.001)
