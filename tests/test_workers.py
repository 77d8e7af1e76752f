"""Chunks of a stream in other processes."""

import math
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from evokd.data.workers import in_order
from evokd.errors import InputError


def test_results_come_in_order_and_chunks_are_not_read_ahead():
    read = []

    def chunks():
        for number in range(25):
            read.append(number)
            yield number

    for place, result in enumerate(in_order(math.sqrt, chunks(), processes=3, few=4)):
        assert result == math.sqrt(place)
        assert len(read) <= place + 1 + 4  # one for each process
    assert place == 24


@pytest.mark.parametrize("count", [0, 3, 5])
def test_few_chunks_need_no_process(count, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert list(in_order(abs, range(count), processes=2, few=5)) == list(range(count))


def test_an_error_there_is_one_here_and_no_process_stays():
    def children():
        return psutil.Process().children()

    before = len(children())
    with pytest.raises(ValueError, match="math domain error"):
        list(in_order(math.sqrt, [1, 2, -1, 4, 5, 6], processes=2, few=0))
    assert len(children()) == before
    stream = in_order(math.sqrt, range(100), processes=2, few=0)
    assert next(stream) == 0
    stream.close()
    assert len(children()) == before


def test_a_process_that_is_killed_is_told():
    with pytest.raises(
        InputError, match=r"was ended \(exit code -9\), most likely for lack of mem"
    ):
        list(in_order(kill_me, [1, 2], processes=2, few=0))


def kill_me(chunk):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_fails_by_itself_is_no_matter_of_memory():
    with pytest.raises(RuntimeError, match=r"failed \(exit code 3\)"):
        list(in_order(os._exit, [3], processes=2, few=0))


class Odd(Exception):
    """Can be pickled, and not be made of that again."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_what_cant_be_sent(chunk):
    if chunk == 0:
        raise Odd("this", "that")
    error = ValueError("with a lock")
    error.lock = threading.Lock()
    raise error


@pytest.mark.parametrize(("chunk", "said"), [(0, "this and that"), (1, "with a lock")])
def test_an_error_that_cant_be_pickled_is_told_in_its_words(chunk, said):
    with pytest.raises(RuntimeError, match=said):
        list(in_order(raise_what_cant_be_sent, [chunk], processes=2, few=0))


def test_the_users_folder_has_no_say_in_what_is_imported(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit(7)")
    (tmp_path / "pickle.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert list(in_order(math.sqrt, [4, 9], processes=2, few=0)) == [2, 3]


PARENT = """
import time
from evokd.data.workers import in_order
stream = in_order(time.sleep, iter([0] + [0.01] * 10**6), processes=2, few=0)
for _ in stream:
    print("at work", flush=True)
"""


def test_processes_end_with_their_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    parent.stdout.readline()
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, left = psutil.wait_procs(children, timeout=60)
    assert (len(gone), left) == (2, [])
