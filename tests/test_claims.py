"""Claims of many processes to one thing: exactly one holds it, and none is held by the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from evokd.rundir import claims
from evokd.rundir.claims import CLAIMS, claim, claimed

PLACE = "students/sft.seed1"
QUICK = "claims.POLL, claims.BEAT, claims.STALE = 0.01, 0.05, 2.0\n"
ELSEWHERE = "claims._machine = lambda: 'another'\n"
"""Then only the signs of life count, as between machines."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(claims, "POLL", 0.01)
    monkeypatch.setattr(claims, "BEAT", 0.05)
    monkeypatch.setattr(claims, "STALE", 2.0)


def process(folder: Path, script: str, *more: str) -> subprocess.Popen[str]:
    text = (
        "import os, random, sys, time\nfrom pathlib import Path\n"
        "from evokd.rundir import claims\nroot = Path(sys.argv[1])\n"
        f"{QUICK}{''.join(more)}{textwrap.dedent(script)}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", text, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't come"
        time.sleep(0.01)


RACE = """
for _ in range(40):
    held = claims.claim(root, "students/sft.seed1")
    try:
        os.close(os.open(root / "inside", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        if not (root / "killed").exists():
            print("two at once")
    (root / "killed").unlink(missing_ok=True)
    time.sleep(random.uniform(0, 0.002))
    with (root / "turns").open("a") as file:
        file.write("x")
    if random.random() < KILLED:
        (root / "killed").touch()
        os.kill(os.getpid(), 9)
    (root / "inside").unlink()
    held.release()
"""


@pytest.mark.parametrize("killed", [0.0, 0.05])
def test_of_many_exactly_one_makes_it_at_a_time(tmp_path, killed):
    """Each creates a file that must not be there, and takes it away; some are killed in between."""
    racing = [process(tmp_path, RACE, f"KILLED = {killed}\n") for _ in range(6)]
    said = [one.communicate(timeout=120) for one in racing]
    assert [out for out, _ in said] == [""] * 6, said
    codes = {one.returncode for one in racing}
    turns = len((tmp_path / "turns").read_text())
    if killed:
        assert codes <= {0, -signal.SIGKILL}
        assert turns > 6
    else:
        assert (codes, turns) == ({0}, 240)
        assert list((tmp_path / CLAIMS).iterdir()) == []


def test_what_a_dead_process_claimed_is_free_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "STALE", 1e6)
    one = process(tmp_path, "claims.claim(root, 'gate'); os.kill(os.getpid(), 9)")
    assert one.wait() == -signal.SIGKILL
    assert len(list((tmp_path / CLAIMS).iterdir())) == 1
    assert claimed(tmp_path) == []
    held = claim(tmp_path, "gate", pytest.fail)
    assert claimed(tmp_path) == ["gate"]
    held.release()
    assert list((tmp_path / CLAIMS).iterdir()) == []


def test_a_claim_of_another_machine_dies_without_a_sign_of_life(tmp_path):
    """By this machine's own clock: what time the other one's files are of says nothing."""
    file = tmp_path / CLAIMS / "students~sft.seed1.7"
    file.parent.mkdir()
    owner = {"host": "node7", "machine": "elsewhere", "pid": 42, "began": "1", "claim": 1}
    file.write_text(json.dumps(owner))
    alive = threading.Event()

    def beat():
        for number in range(60):  # 3 s, longer than a claim lives without
            os.utime(file, (number, number))  # long ago
            time.sleep(0.05)
        alive.set()

    told: list[str] = []
    threading.Thread(target=beat).start()
    held = claim(tmp_path, PLACE, told.append)
    assert alive.is_set()
    assert told == ["process 42 on node7"]
    assert [path.name for path in file.parent.iterdir()] == ["students~sft.seed1.8"]
    held.release()


def test_long_work_keeps_its_claim(tmp_path):
    work = """
    held = claims.claim(root, "gate")
    print("held", flush=True)
    end = time.monotonic() + 5  # STALE is 2
    while time.monotonic() < end:
        sum(range(10000))
    (root / "made").touch()
    held.release()
    """
    one = process(tmp_path, work, ELSEWHERE)
    assert one.stdout.readline() == "held\n"
    told: list[str] = []
    held = claim(tmp_path, "gate", told.append)
    assert (tmp_path / "made").exists()
    assert told == [f"process {one.pid} on {json.loads(held.text)['host']}"]
    held.release()
    assert one.wait() == 0


def test_who_was_stopped_for_long_and_followed_by_another_ends(tmp_path):
    work = "held = claims.claim(root, 'gate'); print('held', flush=True); time.sleep(600)"
    one = process(tmp_path, work, ELSEWHERE)
    assert one.stdout.readline() == "held\n"
    one.send_signal(signal.SIGSTOP)
    held = claim(tmp_path, "gate")
    one.send_signal(signal.SIGCONT)
    _, said = one.communicate(timeout=60)
    assert "gate.1 was taken over by another process" in said
    assert one.returncode == claims.INTERRUPTED
    assert claimed(tmp_path) == ["gate"], "and takes nothing away"
    held.release()


def test_of_two_who_are_slow_one_withdraws(tmp_path, monkeypatch):
    """Between looking and creating all may change: the claim that was looked at ends, and somebody
    else begins with number 1."""
    folder, create = tmp_path / CLAIMS, claims._create
    folder.mkdir()
    dead = {"host": "here", "machine": claims._machine(), "pid": 2**30, "began": "1", "claim": 1}
    (folder / "gate.4").write_text(json.dumps(dead))
    other = {"host": "node7", "machine": "elsewhere", "pid": 42, "began": "1", "claim": 2}
    numbers = []

    def slow(path, text):
        numbers.append(path.name)
        if len(numbers) == 1:
            (folder / "gate.4").unlink()
            (folder / "gate.1").write_text(json.dumps(other))
        return create(path, text)

    monkeypatch.setattr(claims, "_create", slow)
    began = time.monotonic()
    claim(tmp_path, "gate").release()
    assert numbers == ["gate.5", "gate.2"]
    assert time.monotonic() - began >= 2.0, "the other one's, until it was dead"


def test_a_number_that_was_a_dead_ones_may_be_a_living_ones(tmp_path, monkeypatch):
    """A looks, and finds 1 dead. B takes number 2, removes 1, works and lets go; C takes number 1
    and holds. Then A takes number 2: C holds, though its number is one that A knew."""
    folder, create = tmp_path / CLAIMS, claims._create
    folder.mkdir()
    dead = {"host": "here", "machine": claims._machine(), "pid": 2**30, "began": "1", "claim": 1}
    (folder / "gate.1").write_text(json.dumps(dead))
    of_c = json.dumps({"host": "node7", "machine": "elsewhere", "pid": 42, "claim": 2})
    taken, lasted = [], []

    def slow(path, text):
        if not taken:
            (folder / "gate.1").write_text(of_c)
            os.utime(folder / "gate.1", (7, 7))
        taken.append(path.name)
        return create(path, text)

    def waits(who):
        lasted.append((folder / "gate.1").read_text())
        (folder / "gate.1").unlink()

    monkeypatch.setattr(claims, "_create", slow)
    held = claim(tmp_path, "gate", waits)
    assert lasted == [of_c], "waited for, and still there"
    assert taken[0] == "gate.2"
    assert claimed(tmp_path) == ["gate"]
    held.release()


def test_a_claim_may_be_released_while_it_is_looked_at(tmp_path, monkeypatch):
    held, sign = claim(tmp_path, "gate"), claims._sign

    def then_released(path):
        told = sign(path)
        held.release()
        return told

    monkeypatch.setattr(claims, "_sign", then_released)
    assert claimed(tmp_path) == ["gate"]
    assert claimed(tmp_path) == []


def test_a_process_that_claims_again_what_it_holds_has_it(tmp_path):
    held = claim(tmp_path, "gate")
    assert claim(tmp_path, "gate", pytest.fail) is held
    held.release()
