"""The benchmarks' instruments against known quantities, and bench/objective.py at a tiny shape."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import evokd

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))
measuring = importlib.import_module("measuring")
objective = importlib.import_module("objective")
peers = importlib.import_module("peers")

TINY = "32x64x16x24"
MEASURED = {
    *("loss", "ratio", "seconds", "floor_seconds", "floor_dtype", "floor_gflops"),
    *("first_call_s", "peak_mib", "kept_mib", "gradient_error"),
}
OURS = [
    name
    for name, variant in peers.VARIANTS.items()
    if variant.package is None and not variant.environment and "compiled" not in name
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The command as it is typed, in processes of its own."""
    file = tmp_path_factory.mktemp("bench") / "deep" / "objective.json"
    command = ["--shapes", TINY, "--errors", TINY, "--repeats", "1", "--variants", "naive"]
    said = subprocess.run(
        [sys.executable, BENCH / "objective.py", *command, "--json", file],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout, json.loads(file.read_text(encoding="utf-8"))


def test_a_result_file_names_machine_shape_and_what_was_measured(results):
    said, content = results
    assert {"date", "cpu", "cores", "threads", "instructions", "ram_gib", "torch"} <= (
        content["machine"].keys()
    )
    (found,) = content["results"]
    assert found["shape"] == {
        "tokens": 32,
        "vocabulary": 64,
        "student_width": 16,
        "teacher_width": 24,
    }
    assert found["dtype"] == "float32"
    assert found["outputs_mib"] == (32 + 64) * 16 * 4 / 2**20
    assert 0 < found["hard_share"] < 1
    naive = found["variants"]["naive"]
    assert naive["status"] == "ok"
    assert naive.keys() >= MEASURED
    assert naive["ratio"]["low"] <= naive["ratio"]["median"] <= naive["ratio"]["high"]
    assert naive["gradient_error"] < 1e-5
    assert "| naive " in said


def test_a_result_file_gives_no_paths_and_no_host(results):
    text = json.dumps(results[1])
    assert str(Path.home()) not in text
    assert str(BENCH.parent) not in text


@pytest.mark.parametrize(
    "name", [name for name in peers.VARIANTS if peers.VARIANTS[name].package is not None]
)
def test_peers_that_are_missing_are_listed(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(measuring, "version", lambda package: None)
    monkeypatch.setattr(objective, "_alone", lambda *_: {"status": "ok", "hard_share": 0.5})
    file = tmp_path / "objective.json"
    objective.main(["--shapes", TINY, "--variants", name, "--json", str(file)])
    (found,) = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert found["variants"][name]["status"] == "not installed"
    assert f"- {name}: not installed" in capsys.readouterr().out


@pytest.mark.parametrize("name", OURS)
def test_our_paths_are_measured_and_right(name, tmp_path):
    shape, file = objective.shape_named(TINY), str(tmp_path / "gradients.pt")
    objective.reference(shape, torch.float32, "cpu", "self_evolution", file)
    found = objective.measure(
        peers.VARIANTS[name], shape, torch.float32, "cpu", "self_evolution", 1, file
    )
    assert found.keys() == MEASURED
    assert found["gradient_error"] < 1e-5


@pytest.mark.parametrize("name", ["noevo", "skew", "self_evolution"])
def test_what_is_compiled_for_peers_is_our_loss(name):
    problem = objective.make_problem(objective.shape_named(TINY), torch.float32, "cpu")
    logits = [problem.student_hidden @ problem.student_head.t()]
    logits += [problem.teacher_hidden @ problem.teacher_head.t()]
    theirs = peers.losses_of_all(name, compiled=True)(*logits, problem.labels)
    torch.testing.assert_close(theirs, evokd.token_loss(name, *logits, problem.labels))
    assert (
        torch._dynamo.explain(peers.losses_of_all(name, compiled=True))(
            *logits, problem.labels
        ).graph_break_count
        == 0
    )


def test_a_wrong_gradient_shows_as_error(tmp_path):
    shape, file = objective.shape_named(TINY), str(tmp_path / "gradients.pt")
    objective.reference(shape, torch.float32, "cpu", "self_evolution", file)
    other = peers.Variant(lambda _: peers.naive("noevo"))
    found = objective.measure(other, shape, torch.float32, "cpu", "self_evolution", 1, file)
    assert found["gradient_error"] > 0.05


def test_about_half_of_the_tokens_are_hard():
    shape = objective.Shape(512, 4096, 128, 256)
    share = objective.reference(shape, torch.float32, "cpu", "self_evolution", None)["hard_share"]
    assert 0.4 < share < 0.6


def test_the_floor_is_four_matrix_products():
    shape = objective.shape_named(TINY)
    problem = objective.make_problem(shape, torch.float32, "cpu")
    counter = FlopCounterMode(display=False)
    with counter:
        objective.floor_of(problem, torch.float32)()
    assert counter.get_total_flops() == shape.operations


def test_a_peak_counts_what_was_written_even_when_it_is_freed_at_once():
    with measuring.PeakMemory() as memory:
        torch.ones(16 * 2**20)  # 64 MiB
    assert memory.mib == pytest.approx(64, abs=4)
    with measuring.PeakMemory() as memory:
        torch.zeros(1024)
    assert memory.mib < 4  # the peak before isn't seen again


def test_median_and_spread_of_neighbouring_ratios():
    found = measuring.ratios([2.0, 8.0, 9.0], to=[1.0, 2.0, 3.0])  # 2, 4, 3
    assert found.median == 3
    assert found.low == pytest.approx(2.2)
    assert found.high == pytest.approx(3.8)
    assert str(found) == "3.00 (2.20–3.80)"


def test_calls_alternate():
    order = []
    calls = {"floor": lambda: order.append("f"), "variant": lambda: order.append("v")}
    seconds = measuring.alternate(calls, 2, warm_up=1)
    assert "".join(order) == "fvfvfv"
    assert {name: len(times) for name, times in seconds.items()} == {"floor": 2, "variant": 2}


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ('print(\'noise\'); print(\'{"a": {"median": 1, "low": 0, "high": 2}}\')', "ok"),
        ("import os; os.kill(os.getpid(), 9)", "out of memory"),
        ("raise MemoryError", "out of memory"),
        ("raise ValueError('no such kernel')", "failed: ValueError: no such kernel"),
        ("import time; time.sleep(60)", "stopped after 1 s"),
    ],
)
def test_what_happens_to_a_process_is_told(program, status):
    found = measuring.run_alone(["-c", program], seconds=1 if "sleep" in program else 60)
    assert found["status"] == status
    if status == "ok":
        assert found["a"] == measuring.Spread(1, 0, 2)


def test_a_table_shows_what_is_missing_as_a_dash():
    shown = measuring.table(
        ["variant", "× floor"], [["a", measuring.Spread(1, 0.5, 2)], ["b", None]]
    )
    assert "| a         | 1.00 (0.50–2.00) |" in shown
    assert "|                – |" in shown


def test_a_shape_that_isn_t_known_is_refused():
    with pytest.raises(SystemExit, match="unknown shape '3x4'; known: small, S, L"):
        objective.shape_named("3x4")
    assert objective.shape_named("S").operations == 2 * 2048 * 32000 * (3 * 512 + 1024)
    assert math.isclose(objective.SHAPES["gpu-S"].operations / 989e12, 5.4e-3, rel_tol=0.02)
