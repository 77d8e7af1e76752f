"""`evokd run --processes 2` ends where one process does, however students are spread, killed or
not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from evokd import processes
from evokd.cli.launch import launch
from evokd.errors import InputError
from evokd.recipe.file import check_recipe
from evokd.study.spreading import sharding
from small_study import evokd as evokd_here
from small_study import recipe, write_recipe

METHODS = [
    "sft",
    {"name": "seq_kd", "objective": "sft", "text": "teacher"},
    "self_evolution",
    {"name": "following", "objective": "self_evolution", "beta": "network"},
    {"name": "own", "objective": "jsd", "on_policy": {"share": 1.0, "every": 2}},
]
MADE_ONCE = ("corpus", "tokenizer", "teacher", "start")
"""Stages that all runs start from: two models are equal to rounding, which a beam may feel."""


def evokd(*args, timeout=240, **more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    command = [sys.executable, "-m", "evokd", *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    tree = recipe(
        corpus={
            "train": "phrasebook:train:40",
            "valid": "phrasebook:valid:4",
            "test": [{"name": "phrases", "path": "phrasebook:test:5"}],
        },
        teacher_text={"beam": 2, "max_length_ratio": 100},
        decoding={"extra_tokens": 4, "tokens_per_source_token": 1.0},
        methods=METHODS,
        pruning={"methods": ["sft"], "levels": [0.5], "training": {"max_steps": 2}},
        scoring={"bootstrap_samples": 10},
    )
    tree["teacher"]["training"] = {"max_steps": 60, "learning_rate": 0.02}
    tree["training"] |= {"max_steps": 4, "micro_batch_size": 4, "save_every": 1}
    write_recipe(folder / "recipe.yaml", tree)
    code, _, said = evokd_here("run", folder / "recipe.yaml", "-o", folder / "one")
    assert code == 0, said[-2000:]
    return folder


def begun_like(folder: Path, name: str) -> Path:
    """A run folder whose teacher and start are there."""
    for stage in MADE_ONCE:
        shutil.copytree(folder / "one" / stage, folder / name / stage)
    return folder / name


def assert_same_run(one: Path, other: Path, students: int = 6) -> None:
    models = sorted(other.glob("students/*/model/model.safetensors"))
    assert len(models) == students
    for path in models:
        mine, theirs = load_file(one / path.relative_to(other)), load_file(path)
        assert mine.keys() == theirs.keys()
        for name, tensor in mine.items():
            assert (tensor - theirs[name]).abs().max() < 1e-4, (path.parts[-3], name)
    text = "teacher_text/teacher/pairs.jsonl"
    assert (one / text).read_bytes() == (other / text).read_bytes()
    lines = [
        {path.name: path.read_text("utf-8") for path in (run / "translations").glob("*.txt")}
        for run in (one, other)
    ]
    assert len(lines[1]) == 2 * (students + 1)
    assert lines[0].keys() >= lines[1].keys()
    of_teacher = [name for name in lines[0] if name.endswith(".teacher.txt")]
    assert len(of_teacher) == 2
    assert all(lines[0][name] == lines[1][name] for name in of_teacher)
    results = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    systems = [[row["system"] for row in result["scores"]] for result in results]
    assert systems[1] == [name for name in systems[0] if name in systems[1]]


def test_two_processes_end_where_one_does(one):
    """Also with a cache, which is exact, and which both write."""
    folder = begun_like(one, "ddp")
    flags = ("--processes", "2", "training.sharding=ddp", "teacher.signal=hidden")
    done = evokd("run", one / "recipe.yaml", "-o", folder, *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert done.stdout.count("report: ") == 1
    assert_same_run(one / "one", folder)
    assert len(list((folder / "cache/hidden").glob("shard-*"))) == 2
    assert not list((folder / "cache/hidden").glob("part*"))


def test_deepspeed_ends_where_one_process_does(one):
    pytest.importorskip("deepspeed")
    asked = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
    folder = begun_like(one, "deepspeed")
    flags = ("--processes", "2", f"methods={json.dumps(METHODS[:-1])}")
    command = ("run", one / "recipe.yaml", "-o", folder, *flags)
    done = evokd(*command, **asked, DS_ACCELERATOR="cpu")
    assert done.returncode == 2
    assert "DeepSpeed ZeRO-3 doesn't go with pruning.methods;" in done.stderr
    done = evokd(*command, "pruning.methods=[]", **asked, DS_ACCELERATOR="cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "its teacher is live, sharded" in done.stderr
    assert_same_run(one / "one", folder, students=4)
    refused = evokd(*command, **asked | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"})
    assert (refused.returncode, "stage 3 is accepted" in refused.stderr) == (2, True)


def test_one_stage_by_two_processes(one):
    folder = begun_like(one, "only")
    flags = ("--only", "students/sft.seed1", "--processes", "2")
    done = evokd("run", one / "recipe.yaml", "-o", folder, *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(f"{folder}: students/sft.seed1 is there\n") == 1
    assert [path.name for path in (folder / "students").iterdir()] == ["sft.seed1"]


def test_a_killed_process_takes_the_others_along_and_costs_a_checkpoint_at_most(one):
    folder = begun_like(one, "killed")
    command = [sys.executable, "-m", "evokd", "run", one / "recipe.yaml", "-o", folder]
    command += ["--processes", "2", "training.sharding=fsdp2"]
    command += [f"methods={json.dumps(METHODS[:-1])}"]  # the last one: test_sharding's own_text
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    marks = folder / "students/self_evolution.seed1/checkpoints"
    deadline = time.monotonic() + 200
    while not list(marks.glob("*/complete")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "killed by signal 9" in said
    assert "goes on from here" in said
    done = evokd(*command[3:])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on from step" in done.stderr
    assert_same_run(one / "one", folder, students=5)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_who_stops_the_launcher_stops_all_as_if_it_were_one(one, number, status):
    """Ctrl-C reaches it alone: torchrun's processes have sessions of their own."""
    folder = begun_like(one, f"stopped by {number}")
    command = [sys.executable, "-m", "evokd", "run", one / "recipe.yaml", "-o", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen([*command, "--processes", "2"], env=environment, **pipes)
    deadline = time.monotonic() + 100
    while not (folder / "gate").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    run.send_signal(number)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == status, said
    assert said.count("evokd: stopped; the same command goes on") == (number == signal.SIGINT)
    assert "the run failed" not in said
    assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--processes", "0"), "1 or more are accepted"),
        (("--processes", "2", "training.batch_size=15"), "a multiple of 2, such as 16"),
    ],
)
def test_bad_input_is_told_once_with_exit_code_2(one, tmp_path, flags, said):
    folder = tmp_path / "run"
    for stage in ("corpus", "tokenizer"):
        shutil.copytree(one / "one" / stage, folder / stage)
    done = evokd("run", one / "recipe.yaml", "-o", folder, *flags)
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.count(said) == 1
    assert "Traceback" not in done.stderr


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for begin in (lambda: launch(3, [], "auto"), lambda: join_as_one_of(3, "cuda")):
        with pytest.raises(InputError, match=r"3 processes .* has 2 GPUs; .*--processes 2 is"):
            begin()
    assert processes.have_gpus(2, "auto")
    assert not processes.have_gpus(3, "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert not processes.have_gpus(3, "auto")


def test_a_training_that_is_not_to_be_spread_is_refused(monkeypatch):
    settings = check_recipe(recipe(training={"sharding": "none"}))
    assert sharding(settings, settings.training) == "none"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="none is for one process, and there are 2; take ddp or"):
        sharding(settings, settings.training)
    assert sharding(settings, check_recipe(recipe()).training) == "ddp"


def join_as_one_of(count, device):
    with mock.patch.dict(os.environ, WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count)):
        processes.join(device)


class Left(Exception):
    pass


def test_who_waits_for_the_first_ends_as_it_does(monkeypatch):
    """Where it fails not by SystemExit: torch's threads may crash a process that ends by itself."""

    def left(status):
        raise Left(status)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(processes, "_tell", lambda: ("failed", "of whatever"))
    monkeypatch.setattr(processes, "leave", left)
    with pytest.raises(Left, match="1"):
        processes.by_first(lambda: None)
    monkeypatch.setattr(processes, "_tell", lambda: ("refused", "nothing_there not found"))
    with pytest.raises(processes.AlreadyTold, match="nothing_there not found"):
        processes.by_first(lambda: None)


@pytest.mark.parametrize("error", [InputError("no such line"), torch.OutOfMemoryError("7 GiB")])
def test_what_a_share_of_the_work_raises_is_raised_as_it_is(monkeypatch, error):
    """So that bad input and a lack of memory are told as such."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes, "_tell", lambda *news: None)
    monkeypatch.setattr(processes, "_gather", lambda *work: [["made"], error])
    with pytest.raises(type(error)) as raised:
        processes.shared(print, None, [1, 2])
    assert raised.value is error


def test_what_was_shared_out_stands_in_order():
    for items in ([], [1], list(range(7))):
        parts = [items[place::3] for place in range(3)]
        assert processes.in_order(parts) == items
