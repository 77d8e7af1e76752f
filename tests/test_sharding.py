"""A student and a teacher of which each of two processes holds a part train as whole ones do."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sharded_work import JOBS

HERE = Path(__file__).parent
WORK = HERE / "sharded_work.py"
LAYOUT = {"tokens_per_s", "response_tokens_per_s", "padding_share", "learning_rate"}


def in_one(folder, *resume):
    folder.mkdir(exist_ok=True)
    before, sys.argv = sys.argv, [str(WORK), str(folder), *resume]
    try:
        runpy.run_path(str(WORK), run_name="__main__")
    finally:
        sys.argv = before


def in_two(folder, *resume):
    folder.mkdir(exist_ok=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    meeting = ["--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [*launcher, *meeting, str(WORK), str(folder), *resume]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharding")
    in_one(folder / "one")
    in_two(folder / "two")
    return folder


def results(folder, name):
    return torch.load(folder / f"{name}.pt", weights_only=False)


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            tensor, two[name], rtol=1e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("name", JOBS)
def test_parts_train_as_the_whole(finished, name):
    one, two = (results(finished / processes, name) for processes in ("one", "two"))
    for what in ("gradients", "weights", "saved"):
        assert_same(one[what], two[what])
    if "adapted" not in name:
        assert two["saved"].keys() <= two["weights"].keys()
    for line, other in zip(one["history"], two["history"], strict=True):
        assert line.keys() == other.keys()
        for key in line.keys() - LAYOUT:
            assert line[key] == pytest.approx(other[key], rel=1e-4, abs=1e-6), key
    for key in (key for key in one["looks"] if key.startswith("eval_")):
        assert one["looks"][key] == pytest.approx(two["looks"][key], rel=1e-4), key


@pytest.mark.parametrize(("source", "again"), [("two", in_one), ("one", in_two), ("two", in_two)])
def test_goes_on_in_another_number_of_processes(finished, tmp_path, source, again):
    """From the checkpoint in the middle."""
    names = [name for name in JOBS if name.startswith("resumed")]
    for name in names:
        shutil.copytree(finished / source / name, tmp_path / name)
    again(tmp_path, "resume")
    for name in names:
        assert_same(results(finished / "one", name)["weights"], results(tmp_path, name)["weights"])
