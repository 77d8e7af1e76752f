"""bench/gpu.py: parts in calls with a limit, gone on with, and one table in the end."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))
gpu = importlib.import_module("gpu")


def part(program, seconds=20.0, **more):
    """A part that is a program of a line, given --json FILE as its arguments."""
    return gpu.Part(("-c", f"import json, sys, time\n{program}"), seconds, **more)


WRITES = "json.dump({'n': 7}, open(sys.argv[-1], 'w'))"


def test_a_part_that_is_there_is_not_run_again(tmp_path):
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); {WRITES}"
    wanted = {"one, and more": part(count), "two": part(WRITES)}
    for _ in range(2):
        assert gpu.run_parts(wanted, tmp_path, 120, "cpu") == []
    assert (tmp_path / "count").read_text() == "x"
    assert gpu.read(tmp_path, "one, and more")["found"] == {"n": 7}
    assert {p.name for p in tmp_path.glob("*.json")} == {"one-and_more.json", "two.json"}


def test_what_does_not_fit_into_a_call_is_left_to_the_next(tmp_path):
    ticks = iter(range(0, 10_000, 30))  # half a minute between two looks at the clock
    wanted = {name: part(WRITES, seconds=50) for name in "abc"}
    left = [gpu.run_parts(wanted, tmp_path, 150, "cpu", lambda: next(ticks)) for _ in range(3)]
    assert left == [["c"], [], []]  # 100 s are left at a, 70 at b, 40 at c


def test_a_part_that_takes_too_long_is_stopped_with_all_that_it_began(tmp_path):
    child = "import subprocess; subprocess.Popen(['sleep', '54321']); time.sleep(60)"
    wanted = {"slow": part(child, seconds=2), "quick": part(WRITES)}
    assert gpu.run_parts(wanted, tmp_path, 120, "cpu") == []
    assert gpu.read(tmp_path, "slow")["status"] == "stopped after 2 s"
    assert gpu.read(tmp_path, "quick")["status"] == "ok"
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "sleep 54321" not in running.stdout


def test_a_call_that_is_shorter_than_a_part_tries_it_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "RESERVE", 1)
    wanted = {"slow": part("time.sleep(60)", seconds=100)}
    assert gpu.run_parts(wanted, tmp_path, 3, "cpu") == ["slow"]
    assert gpu.read(tmp_path, "slow")["status"] == "interrupted"
    assert gpu.run_parts(wanted, tmp_path, 3, "cpu") == []
    assert gpu.read(tmp_path, "slow")["status"] == "stopped after 2 s"


def test_a_part_that_fails_says_why_and_stops_nothing(tmp_path):
    wanted = {
        "bad": part("raise SystemExit('no such kernel')"),
        "tests": part("print('3 passed in 1 s')", writes_json=False),
        "failing": part("print('1 failed'); sys.exit(1)", writes_json=False),
    }
    assert gpu.run_parts(wanted, tmp_path, 120, "cpu") == []
    assert gpu.read(tmp_path, "bad")["status"] == "failed: no such kernel"
    assert gpu.read(tmp_path, "failing")["status"] == "failed: 1 failed"
    rows = {
        row.what: row.measured for row in gpu.rows_of({**wanted, "decode": wanted["bad"]}, tmp_path)
    }
    assert rows["tests"] == "3 passed in 1 s"
    assert rows["bad"] == "failed: no such kernel"
    assert rows["decode"] == "not run yet"


def spread(median):
    return {"median": median, "low": median, "high": median}


def written(folder, name, found):
    path = gpu._path(folder, name)
    path.write_text(json.dumps({"status": "ok", "found": found}))


def step(**variants):
    """Of each variant the time over fine-tuning's, and the peak."""
    given = {"sft": (1.0, 2048.0), **variants}
    return {
        "variants": {
            name: {"response_tokens_per_s": 5, "ratio_to_sft": spread(ratio), "peak_mib": peak}
            for name, (ratio, peak) in given.items()
        }
    }


def test_the_table_says_which_aims_were_met(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: True)
    loss = {"status": "ok", "ratio": spread(1.31), "peak_mib": 900.0}
    peer = {"status": "not installed"}
    written(tmp_path, "loss, 32k", {"results": [{"variants": {"evokd": loss, "Liger": peer}}]})
    size = "step, 7B to 1B, 32k"
    races = ("live", "cached_topk and trl_gkd")
    written(tmp_path, f"{size}, {races[0]}", step(live=(1.5, 1024.0)))
    both = step(cached_topk=(1.04, None), trl_gkd=(3.3, 4096.0))
    written(tmp_path, f"{size}, {races[1]}", both)
    planned = [("live", 980, 1000), ("hidden", 500, 1000)]
    of_plan = [dict(zip(("case", "predicted", "measured"), one, strict=True)) for one in planned]
    written(tmp_path, "plan, both", {"rows": of_plan})
    names = ["loss, 32k", *(f"{size}, {race}" for race in races)]
    wanted = dict.fromkeys([*names, "plan, both"])
    rows = {row.what: (row.measured, row.met) for row in gpu.rows_of(wanted, tmp_path)}
    assert rows["loss, 32k: evokd, × four GEMMs"] == ("1.31 (1.31–1.31), 900 MiB", False)
    assert rows["loss, 32k: Liger, × four GEMMs"] == ("not installed", None)
    speed = "5 response tokens/s"
    cached = (f"1.04 (1.04–1.04), {speed}, peak not measured", True)
    assert rows[f"{size}: sft"] == (f"{speed}, 2.0 GiB", None)
    assert rows[f"{size}: cached_topk, time ÷ sft"] == cached
    assert rows[f"{size}: live, time ÷ sft"] == (f"1.50 (1.50–1.50), {speed}, 1.0 GiB", None)
    assert rows[f"{size}: live, speed ÷ TRL"] == ("2.20", True)
    assert rows[f"{size}: live, memory ÷ TRL"] == ("0.25", True)
    assert rows["planner ÷ measured memory, live"] == ("0.98 of 1000 MiB", True)
    assert rows["planner ÷ measured memory, hidden"] == ("0.50 of 1000 MiB", False)
    assert "| **missed** |" in gpu.table(gpu.rows_of(wanted, tmp_path))


@pytest.mark.parametrize("smaller", [True, False])
def test_every_part_is_a_command_that_its_script_takes(smaller, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: True)
    readers = {
        "objective.py": lambda argv: importlib.import_module("objective").options_from(argv),
        "step.py": lambda argv: importlib.import_module("step").arguments_of(argv),
        "decode.py": lambda argv: importlib.import_module("decode").read_arguments(argv),
        "plan_check.py": lambda argv: importlib.import_module("plan_check").read_arguments(argv),
    }
    wanted = gpu.parts("cpu", smaller)
    assert len(wanted) == (6 if smaller else 19)
    for name, one in wanted.items():
        assert gpu._kind(name) in gpu.KINDS
        assert one.seconds <= 540 - gpu.RESERVE
        if one.writes_json:
            script, *argv = one.command
            readers[script]([*argv, "--json", "x"])
        else:
            assert name == "tests"


def test_the_script_itself_with_one_part_of_each_call(tmp_path, monkeypatch, capsys):
    every = gpu.parts("cpu", True)
    monkeypatch.setattr(gpu, "parts", lambda *_: {"loss, tiny": every["loss, tiny"]})
    asked = ["--device", "cpu", "--smaller", "--results", str(tmp_path / "deep/gpu")]
    assert gpu.main([*asked, "--limit", "10"]) == gpu.UNFINISHED
    assert gpu.main([*asked, "--limit", "300"]) == 0
    assert "loss, tiny: evokd, × four GEMMs" in capsys.readouterr().out
    assert gpu.main([*asked, "--again", "nothing"]) == 2
    assert gpu.main([*asked, "--only", "tests", "--again", "loss, tiny"]) == 2
    monkeypatch.setattr(gpu, "NEEDED", ("torch", "no_such_module"))
    assert gpu.main(asked) == 2
    assert "not installed here: no_such_module; bring them as wheels" in capsys.readouterr().err
