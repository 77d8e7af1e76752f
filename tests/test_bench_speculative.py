"""bench/speculative.py on a line or two: what its file holds, and that drafts change no line."""

import importlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
speculative = importlib.import_module("speculative")


def test_a_copy_of_the_teacher_is_a_perfect_draft(tmp_path, monkeypatch, capsys):
    file = tmp_path / "speculative.json"
    asked = f"speculative.py --limit 2 --repeats 1 --draft-tokens 2 --json {file}"
    monkeypatch.setattr(sys, "argv", asked.split())
    speculative.main()
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["fresh"]
    assert found["lines"] == 2
    assert "a copy of the teacher" in capsys.readouterr().out
    rows = {row["variant"].split(",")[0]: row for row in found["variants"]}
    assert set(rows) == {"batches", "alone", "a copy of the teacher", "fresh student"}
    assert all(row["identical_lines"] == 2 for row in rows.values())
    assert rows["a copy of the teacher"]["acceptance"] == pytest.approx(1.0)
    assert rows["fresh student"]["acceptance"] < 1
