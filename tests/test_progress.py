"""Progress of long work: lines for a log, a bar for a terminal."""

import io
import sys

import pytest

from evokd import progress
from evokd.progress import Lines, bar_of, duration, progress_bar


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then_and_no_ticks(clock, capsys):
    bar = bar_of("student sft, seed 1", 200, "step", initial=100)
    assert isinstance(bar, Lines)
    for second in range(1, 71):
        clock[0] = float(second)
        bar.set_postfix({"nll": "1.234"})
        bar.update(1)
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        "student sft, seed 1: 130 of 200 steps, 1 steps/s, about 70 s left, nll 1.234"
    )
    assert lines[-1].startswith("student sft, seed 1: 170 of 200 steps")


def test_what_is_soon_done_or_passing_says_nothing(clock, capsys):
    show = progress_bar("lines")
    show(3, 10)
    show(10, 10)
    show = progress_bar("lines", passing=True)
    clock[0] = 1000.0
    show(3, 10)
    show(10, 10)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = bar_of("teacher", 3, "step")
    bar.update(3)
    bar.close()
    assert "teacher" in sys.stderr.getvalue()
    assert "3/3" in sys.stderr.getvalue()


def test_durations():
    assert [duration(s) for s in (48, 1620, 18720)] == ["48 s", "27 min", "5 h 12 min"]
