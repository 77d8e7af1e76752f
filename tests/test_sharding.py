"""A student and a teacher of which each of two processes holds a part train as whole ones do."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evokd.errors import InputError
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


ZERO3 = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
"""What `accelerate launch --use_deepspeed --zero_stage 3` tells its processes."""
NOT_BY_ZERO3 = {name for name in JOBS if JOBS[name].get("on_policy")}


def in_two(folder, *resume, **more):
    folder.mkdir(exist_ok=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    meeting = ["--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    command = [*launcher, *meeting, str(WORK), str(folder), *resume]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


def by_zero3(folder, *resume, jobs=()):
    pytest.importorskip("deepspeed")
    in_two(folder, *resume, **ZERO3, DS_ACCELERATOR="cpu", ONLY=" ".join(jobs))


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


@pytest.fixture(scope="module")
def finished_by_zero3(finished):
    by_zero3(finished / "zero3", jobs=JOBS.keys() - NOT_BY_ZERO3)
    return finished


def assert_same_training(one, two):
    for what in ("gradients", "weights", "saved"):
        assert_same(one[what], two[what])
    for name, tensor in two["loaded"].items():
        assert (tensor == two["weights"][name]).all()
    for line, other in zip(one["history"], two["history"], strict=True):
        assert line.keys() == other.keys()
        for key in line.keys() - LAYOUT:
            assert line[key] == pytest.approx(other[key], rel=1e-4, abs=1e-6), key
    for key in (key for key in one["looks"] if key.startswith("eval_")):
        assert one["looks"][key] == pytest.approx(two["looks"][key], rel=1e-4), key


@pytest.mark.parametrize("name", JOBS)
def test_parts_train_as_the_whole(finished, name):
    one, two = (results(finished / processes, name) for processes in ("one", "two"))
    assert one["gradients"]
    assert_same_training(one, two)


@pytest.mark.parametrize("name", sorted(JOBS.keys() - NOT_BY_ZERO3))
def test_parts_of_deepspeed_train_as_the_whole(finished_by_zero3, name):
    one, two = (results(finished_by_zero3 / how, name) for how in ("one", "zero3"))
    assert not two["gradients"]  # its engine takes its step with them
    assert_same_training(one | {"gradients": {}}, two)


@pytest.mark.parametrize(("source", "again"), [("two", in_one), ("one", in_two), ("two", in_two)])
def test_goes_on_in_another_number_of_processes(finished, tmp_path, source, again):
    """From the checkpoint in the middle."""
    names = [name for name in JOBS if name.startswith("resumed")]
    for name in names:
        shutil.copytree(finished / source / name, tmp_path / name)
    again(tmp_path, "resume")
    for name in names:
        assert_same(results(finished / "one", name)["weights"], results(tmp_path, name)["weights"])


def test_deepspeed_goes_on_from_its_own_checkpoints_alone(finished_by_zero3, tmp_path):
    names = [name for name in JOBS if name.startswith("resumed")]
    for name in names:
        shutil.copytree(finished_by_zero3 / "zero3" / name, tmp_path / name)
        shutil.copytree(finished_by_zero3 / "one" / name, tmp_path / "other" / name)
    with pytest.raises(InputError, match="made with 2 processes of DeepSpeed, and a training with"):
        in_one(tmp_path, "resume")
    by_zero3(tmp_path, "resume")
    for name in names:
        ours, theirs = (results(where, name) for where in (finished_by_zero3 / "one", tmp_path))
        assert_same(ours["weights"], theirs["weights"])
    with pytest.raises(AssertionError, match="made with no DeepSpeed"):
        by_zero3(tmp_path / "other", "resume")


def test_deepspeed_refuses_text_of_the_student_s_own(tmp_path):
    with pytest.raises(AssertionError, match=r"take training\.sharding: fsdp2"):
        by_zero3(tmp_path / "own", jobs=NOT_BY_ZERO3)
