"""Chunks of a stream in other processes."""

import math
import os
import signal
import subprocess
import sys

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
