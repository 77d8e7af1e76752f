"""Studies made by many processes: what is made from what, and that the outcome is one process's."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from tiny_study import SMALLER, TREE, differing, outcome

from evokd.cli.studies import _executor
from evokd.errors import InputError
from evokd.recipe.file import load_recipe
from evokd.study import jobs, teacher_shards
from evokd.study.executors import LocalPool, RayCluster, Slurm, _options, visible_gpus
from evokd.study.jobs import Lost, make_stages
from evokd.study.run import dry_run
from small_study import evokd, snapshot, without_figures, write_recipe

ALL_KINDS: dict[str, Any] = {
    **TREE,
    "corpus": {**TREE["corpus"], "held_out": 20},
    "teacher": {**TREE["teacher"], "signal": "topk", "top_k": 16},
    "methods": [
        *("sft", "forward_kd", "auto"),
        {"name": "again", "objective": "sft"},
        {"name": "believed", "objective": "forward_kd", "text": "filtered"},
        *("seq_kd", "seq_inter"),
        {"name": "own_words", "objective": "jsd", "on_policy": {"share": 0.5, "every": 2}},
    ],
    "training": {**TREE["training"], "max_steps": 4},
    "teacher_text": {"beam": 2, "candidates": 3},
    "analysis": {"beams": [2], "likelihood": True, "acceptance": True},
}
"""Every kind of stage and record; `again` is `sft` under another name, seq_inter goes on from
seq_kd, and what auto is, the check before training says."""


class InThisProcess:
    """Tasks made at once, as a worker makes them, and what they were."""

    slots = 1

    def __init__(self, *losses: int) -> None:
        self.one_at_a_time = threading.Lock()
        self.made: list[jobs.Task] = []
        self.losses = set(losses)
        self.begun = 0
        self.stopped = False

    def make(self, task: jobs.Task) -> None:
        self.begun += 1
        if self.begun in self.losses:
            raise Lost("its worker was killed by signal 9")
        with self.one_at_a_time:
            task.make()
            self.made.append(task)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with without_figures():
        yield


@pytest.fixture(scope="module")
def smaller(tmp_path_factory):
    """A study of two students by one process: its recipe and its folder."""
    folder = tmp_path_factory.mktemp("one")
    path = write_recipe(folder / "r.yaml", SMALLER)
    assert evokd("run", path, "-o", folder / "run")[0] == 0
    return path, folder / "run"


LATE = ("gate", "cache", "teacher_text", "students", "translations")


def without(reference: Path, run: Path, *names: str) -> Path:
    """A copy of a run that has yet to make some of it."""
    shutil.copytree(reference, run)
    for name in names:
        shutil.rmtree(run / name)
    return run


def test_stages_of_every_kind_made_in_another_order_give_the_same(tmp_path, monkeypatch):
    """Whatever may come first does, from the last to the first: were one input of one stage not
    known, it would be refused, or become something else."""
    path = write_recipe(tmp_path / "r.yaml", ALL_KINDS)
    code, _, err = evokd("run", path, "-o", tmp_path / "one")
    assert code == 0, err
    forwards = jobs._Driver._plan
    monkeypatch.setattr(jobs._Driver, "_plan", lambda self: forwards(self)[::-1])
    monkeypatch.setattr(jobs, "SHARD_SENTENCES", 50)  # of 120
    monkeypatch.setattr(teacher_shards, "SHARD_SENTENCES", 50)
    here, said = InThisProcess(3, 4, 9), []
    here.slots = 3
    make_stages(load_recipe(path), tmp_path / "many", here, said.append)
    made = [place for task in here.made for place in task.only]
    students = [place for place in made if place.startswith("students/")]
    assert students[0] != "students/sft.seed1"
    assert len(made) == len(set(made))
    whole = made.index("teacher_text/teacher")
    assert {f"teacher_text/teacher/{number}of3" for number in (1, 2, 3)} < set(made[:whole])
    shards = tmp_path / "many/teacher_text/teacher/shards"
    assert sorted(path.name for path in shards.glob("*.jsonl")) == [
        *("1of3-00000.jsonl", "1of3-00001.jsonl", "2of3-00000.jsonl", "3of3-00000.jsonl")
    ]
    assert sum("begun again" in line for line in said) == 3
    left = [
        s.name for s in dry_run(load_recipe(path), tmp_path / "many").steps if s.action != "keep"
    ]
    assert left == ["results"]
    assert evokd("run", path, "-o", tmp_path / "many")[0] == 0
    assert differing(tmp_path / "many", outcome(tmp_path / "one")) == []
    assert evokd("verify", tmp_path / "many")[0] == 0
    again = InThisProcess()
    make_stages(load_recipe(path), tmp_path / "many", again, said.append)
    assert again.made == [], "all is there"


def test_one_stage_at_a_time_and_what_it_is_made_from(smaller, tmp_path):
    path, reference = smaller
    run = tmp_path / "run"

    def only(*stages: str) -> tuple[int, str]:
        code, _, err = evokd("run", path, "-o", run, "--only", *stages)
        return code, err

    code, err = only("students/sft.seed1")
    assert (code, "isn't there yet: corpus, teacher, start, cache hidden;" in err) == (2, True)
    assert "--only corpus teacher start cache/hidden" in err
    assert not (run / "corpus").exists()
    code, err = only("students/stf.seed1")
    assert (code, "did you mean students/sft.seed1?" in err) == (2, True)
    assert only("results")[0] == 2
    code, err = only("corpus", "teacher", "strat")
    assert (code, "--only strat: no such stage; did you mean start?" in err) == (2, True)
    assert not (run / "teacher").exists(), "told before it is made"
    assert only("corpus", "tokenizer", "teacher")[0] == 0
    assert (run / "teacher/manifest.json").exists()
    assert not (run / "start").exists()
    assert evokd("status", run)[0] == 0, "the recipe is there"
    before = snapshot(run)
    assert only("teacher", "corpus")[0] == 0
    assert snapshot(run) == before
    code, err = only("students/sft.seed1")
    assert (code, "first type the same command with --only start cache/hidden" in err) == (2, True)
    assert only("start", "cache hidden", "student sft, seed 1")[0] == 0
    assert only("translations/phrases.en-de.sft.seed1.json")[0] == 0
    assert not (run / "translations/phrases.de-en.sft.seed1.json").exists()
    assert not (run / "gate").exists()
    assert evokd("run", path, "-o", run)[0] == 0
    assert differing(run, outcome(reference)) == []


def test_parts_of_the_teacher_s_text(smaller, tmp_path, monkeypatch):
    """Each has its shards; who makes the stage translates what is left."""
    monkeypatch.setattr(teacher_shards, "SHARD_SENTENCES", 25)  # 60 in each direction: 3 and 3
    path, reference = smaller
    run = without(reference, tmp_path / "run", *LATE)
    shutil.rmtree(run / "teacher")

    def only(*stages: str) -> tuple[int, str]:
        code, _, err = evokd("run", path, "-o", run, "--only", *stages)
        return code, err

    code, err = only("teacher_text/teacher/2of4")
    assert (code, "teacher text (teacher) is made from what isn't there yet: teacher" in err) == (
        *(2, True),
    )
    shutil.copytree(reference / "teacher", run / "teacher")
    for name in ("teacher_text/teacher/5of4", "teacher_text/teacher/0of4", "teacher/1of2"):
        code, err = only(name)
        assert (code, f"--only {name}: no such stage" in err) == (2, True)
    assert [only("teacher_text/teacher/2of4")[0] for _ in range(2)] == [0, 0]
    shards = run / "teacher_text/teacher/shards"
    assert [path.name for path in sorted(shards.glob("*.jsonl"))] == [
        *("2of4-00000.jsonl", "2of4-00001.jsonl")  # the second of one direction, the last of both
    ]
    assert not (run / "teacher_text/teacher/manifest.json").exists()
    (shards / ".1of4-00000.jsonl.7.draft").write_text("{")  # of one that was killed
    code, err = only("teacher_text/teacher")
    assert (code, "gone on with" in err) == (0, True)
    assert len(list(shards.glob("*.jsonl"))) == 6
    assert not list(shards.glob(".*"))
    assert only("teacher_text/teacher/1of4")[0] == 0, "there is nothing left of it"
    assert evokd("run", path, "-o", run)[0] == 0
    assert differing(run, outcome(reference)) == []


def test_two_who_want_the_same_make_it_once(smaller, tmp_path):
    """The second one waits, and finds it."""
    path, reference = smaller
    run = without(reference, tmp_path / "run", "teacher", "start")
    command = [sys.executable, "-m", "evokd", "run", path, "-o", run, "--only", "teacher", "start"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    said = [one.communicate() for one in [subprocess.Popen(command, **pipes) for _ in range(2)]]
    for name in ("teacher", "start"):
        lines = [line for _, err in said for line in err.splitlines() if line.startswith(name)]
        assert sum("parameters, fresh" in line for line in lines) == 1, said
        assert sum("done before, kept" in line for line in lines) == 1, said
    whole = outcome(reference)
    names = [f"{name}/model/model.safetensors" for name in ("teacher", "start")]
    assert [(run / name).read_bytes() for name in names] == [whole[name] for name in names]


def workers() -> list[int]:
    """Of this process, by number; one that has ended has no command any more."""
    tasks = Path("/proc/self/task").glob("*/children")
    pids = sorted({int(pid) for task in tasks for pid in task.read_text().split()})
    return [pid for pid in pids if b"-m\0evokd\0run" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_jobs_of_one_machine_and_workers_that_are_killed(smaller, tmp_path):
    """At random moments."""
    path, reference = smaller
    run, chance = without(reference, tmp_path / "run", *LATE[1:2], *LATE[3:]), random.Random(5)
    over, killed = threading.Event(), []

    def kill() -> None:
        while not over.wait(chance.uniform(1, 4)) and len(killed) < 3:
            if at_work := workers():
                killed.append(chance.choice(at_work))
                os.kill(killed[-1], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    code, _, err = evokd("run", path, "-o", run, "--jobs", "2")
    over.set()
    assert code == 0, err
    assert len(killed) == 3
    assert err.count("killed by signal 9; begun again") == 3
    assert differing(run, outcome(reference)) == []
    assert "[1] " in err
    assert "[2] " in err


TOO_LONG = "methods.seq_kd.training={max_length: 8}"
"""For its text, as only the training itself finds out."""
REFUSAL = "no pair of teacher fits into training.max_length=8"


def test_a_worker_that_refuses_its_input_stops_the_study(smaller, tmp_path):
    run = without(smaller[1], tmp_path / "run")
    code, _, err = evokd("run", smaller[0], "-o", run, "--jobs", 2, TOO_LONG)
    assert code == 2, err
    assert err.splitlines()[-1] == f"evokd: {REFUSAL}"
    assert f"evokd: {REFUSAL}" in {line[4:] for line in err.splitlines() if line.startswith("[")}


def test_what_is_killed_again_and_again_is_given_up(smaller, tmp_path):
    """Either of two that are at work at once may be the first."""
    here = InThisProcess(*range(100))
    with pytest.raises(
        RuntimeError, match=r"(teacher|start): .* signal 9, 4 times; is there enough memory"
    ):
        make_stages(load_recipe(smaller[0], ["student.model=fresh"]), tmp_path, here, print)
    assert here.stopped
    assert here.made == []


def test_points_of_a_grid_share_what_is_the_same(tmp_path):
    tree = {**SMALLER, "methods": ["sft"], "grid": {"rate": {}}}
    tree["teacher"] = {**SMALLER["teacher"], "training": {"max_steps": 10}}  # nobody reads its text
    for name, rate in (("slow", 0.001), ("fast", 0.003)):
        tree["grid"]["rate"][name] = {"training.learning_rate": rate, "teacher.signal": "live"}
        tree["grid"]["rate"][name]["teacher.training.learning_rate"] = 0.02
        tree["grid"]["rate"][name]["student.warm_start_training.learning_rate"] = 0.003
    path = write_recipe(tmp_path / "r.yaml", tree)
    assert evokd("run", path, "-o", tmp_path / "one")[0] == 0
    here = InThisProcess()
    make_stages(load_recipe(path), tmp_path / "many", here, print)
    made = [place for task in here.made for place in task.only]
    assert sorted(p for p in made if "translations" not in p) == [
        *("fast/students/sft.seed1", "slow/gate", "slow/start", "slow/students/sft.seed1"),
        "slow/teacher",
    ]
    assert evokd("run", path, "-o", tmp_path / "many")[0] == 0
    for point in ("slow", "fast"):
        assert differing(tmp_path / "many" / point, outcome(tmp_path / "one" / point)) == []
    code, _, err = evokd("run", path, "-o", tmp_path / "many", "--only", "teacher")
    assert (code, "POINT/STAGE is accepted, POINT one of slow, fast" in err) == (2, True)


def test_slots_of_a_machine(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4,5,6,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    assert visible_gpus("cpu") == visible_gpus("cuda:1") == []

    def slots(count: int) -> list[tuple[str, str]]:
        pool = LocalPool(count, print, visible_gpus("auto"))
        settings = [pool._free.get() for _ in range(count)]
        assert {one["OMP_NUM_THREADS"] for _, one in settings} == {str(32 // count)}
        return [(name, one["CUDA_VISIBLE_DEVICES"]) for name, one in settings]

    assert slots(2) == [("1, GPU 3", "3,5,7"), ("2, GPU 4", "4,6")]
    assert [own for _, own in slots(8)] == ["3", "4", "5", "6", "7", "3", "4", "5"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--on", "mars"], "ray, ray://HOST:PORT and slurm are accepted"),
        (["--on", "ray", "--jobs", "2"], "--jobs is for this machine"),
        (["--gpus", "2"], "--gpus is for --on"),
        (["--slurm", "partition=x"], "--slurm is for --on slurm"),
        (["--on", "slurm", "--slurm", "partition"], "key=value is accepted"),
        (["--on", "slurm", "--gpus", "0.5"], "--gpus 0.5: Slurm gives whole GPUs"),
        (["--only", "corpus", "--dry-run"], "leave out --dry-run, or --only"),
        (["--only", "corpus", "--jobs", "2", "--gpus", "0"], "leave out --jobs, --gpus, or --only"),
    ],
)
def test_flags_that_do_not_go_together(smaller, tmp_path, flags, said):
    pytest.importorskip("submitit") if "slurm" in flags else None
    code, _, err = evokd("run", smaller[0], "-o", tmp_path / "run", *flags)
    assert (code, said in err) == (2, True), err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("timeout_min=30", 30),
        ("mem_gb=1.5", 1.5),
        ("exclusive=true", True),
        ("time=12:00:00", "12:00:00"),
        ("account=0123", "0123"),
        ("qos=on", "on"),
        ("comment=[x", "[x"),
        ("nodelist=n[1-3]", "n[1-3]"),
        ("constraint=", ""),
        ("partition=1e3", "1e3"),
    ],
)
def test_what_slurm_is_told_is_what_was_typed(typed, meant):
    assert list(_options([typed]).values()) == [meant]


def test_an_option_of_another_kind_is_refused(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(InputError, match=r'^--on slurm: Parameter "mem_gb" expected'):
        Slurm(tmp_path, ["cluster=local", "mem_gb=much"], 0)


@pytest.mark.parametrize(
    ("device", "gpus", "given"),
    [("auto", None, None), ("cpu", None, 0), ("cpu", 2.0, 2.0), ("auto", 0.0, 0.0)],
)
def test_stages_on_a_cluster_take_gpus_where_the_recipe_does(monkeypatch, device, gpus, given):
    asked = []
    monkeypatch.setattr("evokd.study.executors.Slurm", lambda *all_: asked.append(all_[-1]))
    args = argparse.Namespace(on="slurm", slurm=None, gpus=gpus, jobs=None)
    _executor(argparse.Namespace(device=device), Path(), args)
    assert asked == [given]


def test_a_worker_that_starts_while_all_are_stopped_is_ended(monkeypatch, tmp_path):
    pool, start = LocalPool(1, print), subprocess.Popen

    def stopped_meanwhile(command, **how):
        process = start([sys.executable, "-c", "import time; time.sleep(30)"], **how)
        pool.stop()
        return process

    monkeypatch.setattr(subprocess, "Popen", stopped_meanwhile)
    nothing = (frozenset(), frozenset())
    with pytest.raises(Lost, match="killed by signal 15"):
        pool.make(jobs.Task("it", (), tmp_path, None, tmp_path, *nothing))


def test_a_cluster_that_is_not_there_is_named_as_it_was_typed(monkeypatch):
    def none_there(**how):
        raise ConnectionError("nobody answers")

    ray = SimpleNamespace(is_initialized=lambda: False, init=none_there)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("evokd.study.executors.require", lambda *needed: None)
    with pytest.raises(InputError, match=r"^--on ray://node1:10001: nobody answers;"):
        RayCluster("ray://node1:10001", None)


@pytest.mark.parametrize(("module", "extra"), [("ray", "ray"), ("submitit", "slurm")])
def test_an_extra_that_is_not_installed_is_named(smaller, tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = evokd("run", smaller[0], "-o", tmp_path / "run", "--on", extra)
    assert (code, f"pip install 'evokd[{extra}]'" in err) == (2, True)


def killing(run: Path, place: str, killed: list[int]) -> None:
    """Kill, from another thread, who makes a stage, once there are checkpoints of it."""

    def kill() -> None:
        while not list((run / place).glob("checkpoints/*")):
            time.sleep(0.01)
        (claim,) = (run / ".claims").glob(f"{place.replace('/', '~')}.*")
        killed.append(json.loads(claim.read_text())["pid"])
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def test_ray_with_two_workers_one_of_which_is_killed(smaller, tmp_path):
    ray = pytest.importorskip("ray")
    path, reference = smaller
    run = without(reference, tmp_path / "run", "students")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    cluster, said, killed = RayCluster(None, None), [], []

    killing(run, "students/sft.seed1", killed)
    try:
        make_stages(load_recipe(path), run, cluster, said.append)
        assert evokd("run", path, "-o", run)[0] == 0
        assert differing(run, outcome(reference)) == []
        with pytest.raises(InputError, match=f"^{REFUSAL}$"):
            make_stages(load_recipe(path, [TOO_LONG]), run, cluster, print)
    finally:
        ray.shutdown()
    assert [line for line in said if "begun again" in line] == [
        "student sft, seed 1: its worker is gone (WorkerCrashedError); begun again from its last "
        "checkpoint"
    ]
    assert len(killed) == 1


def test_jobs_of_submitit_on_this_machine(smaller, tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 2)  # of one that is gone
    path, reference = smaller
    run, said = without(reference, tmp_path / "run", "students/seq_kd.seed1"), []
    options = ["cluster=local", "timeout_min=10", "partition=gpu"]
    killed: list[int] = []
    killing(run, "students/seq_kd.seed1", killed)
    make_stages(load_recipe(path), run, Slurm(run, options, 0), said.append)
    assert len(killed) == 1
    assert re.match(r"student seq_kd, seed 1: its job \d+ is gone; begun again", said[-2])
    assert evokd("run", path, "-o", run)[0] == 0
    assert differing(run, outcome(reference)) == []
    assert evokd("verify", run)[0] == 0
    with pytest.raises(InputError, match=f"^{REFUSAL}$"):
        make_stages(load_recipe(path, [TOO_LONG]), run, Slurm(run, options, 0), print)
