"""The run folder: atomic writes, stages that are done or not, and one run at a time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from evokd import rundir
from evokd.errors import InputError
from evokd.rundir import Stage, fingerprint, hash_file, locked, write_json, write_text


def test_a_text_is_written_byte_for_byte(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    write_text(path, "ä\r\nb\u2028\n")
    assert path.read_bytes() == "ä\r\nb\u2028\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("text", ["\ud800 is no character", None])
def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path, text):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises((UnicodeEncodeError, TypeError)):
        write_text(path, text)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_that_cant_be_put_in_place_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_that_others_couldnt_read_isnt_written(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_fingerprints_depend_on_content_and_not_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}, [3]) == fingerprint({"b": 2, "a": 1}, [3])
    marks = {fingerprint(*parts) for parts in [(1, 2), (2, 1), ([1, 2],), ("1", 2), (1,), ()]}
    assert len(marks) == 6


def test_files_are_hashed_whole(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"a" * (1 << 20) + b"b")
    assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_stage_is_done_when_its_manifest_says_so(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(rundir.time, "perf_counter", lambda: now[0])
    stage = Stage("teacher", tmp_path / "teacher", "abc")
    now[0] = 200.0
    assert not stage.is_done()
    stage.begin()
    assert not stage.is_done()
    now[0] = 201.234
    stage.finish({"steps": 3}, seed=1)
    assert stage.is_done()
    assert stage.facts() == {"steps": 3}
    manifest = json.loads((stage.folder / "manifest.json").read_text())
    assert (manifest["seed"], manifest["wall_s"], manifest["stage"]) == (1, 1.23, "teacher")
    assert {"python", "platform", "torch"} <= set(manifest["versions"])
    assert not Stage("teacher", tmp_path / "teacher", "other").is_done()


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", "{}"])
def test_a_damaged_manifest_counts_as_not_done(tmp_path, damaged):
    stage = Stage("teacher", tmp_path, "abc")
    (tmp_path / "manifest.json").write_text(damaged)
    assert not stage.is_done()


def test_an_unfinished_attempt_is_kept_under_the_same_settings(tmp_path):
    stage = Stage("teacher", tmp_path / "teacher", "abc")
    stage.begin()
    (stage.folder / "checkpoints").mkdir()
    (stage.folder / ".model.77.draft").mkdir()
    (stage.folder / ".a.json.77.draft").write_text("half")
    stage.begin()
    assert {p.name for p in stage.folder.iterdir()} == {"started.json", "checkpoints"}


def test_an_attempt_under_other_settings_is_wiped(tmp_path):
    Stage("teacher", tmp_path / "teacher", "abc").begin()
    (tmp_path / "teacher" / "checkpoints").mkdir()
    (tmp_path / "teacher" / "metrics.jsonl").write_text("{}\n")
    Stage("teacher", tmp_path / "teacher", "other").begin()
    assert [p.name for p in (tmp_path / "teacher").iterdir()] == ["started.json"]


def test_a_kill_while_a_folder_is_wiped_leaves_no_manifest(tmp_path, monkeypatch):
    """Or going back to the old settings would find a stage that is done and has no model."""
    old = Stage("teacher", tmp_path / "teacher", "old")
    old.begin()
    (old.folder / "model").mkdir()
    old.finish({})

    def killed(path, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(rundir.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        Stage("teacher", tmp_path / "teacher", "new").begin()
    assert not old.is_done()
    monkeypatch.undo()
    old.begin()
    assert not (old.folder / "model").exists()


def test_a_stage_takes_over_what_another_run_made(tmp_path, monkeypatch):
    """Also in place of a half of its own, and after a kill in the middle."""
    one = Stage("teacher", tmp_path / "a/teacher", "abc")
    other = Stage("teacher", tmp_path / "b/teacher", "abc")
    assert not other.adopt(one.folder)
    one.begin()
    (one.folder / "model").mkdir()
    (one.folder / "model/weights").write_text("made")
    assert not other.adopt(one.folder), "it isn't finished"
    one.finish({"steps": 3})
    other.begin()
    (other.folder / "model").mkdir()
    (other.folder / "model/weights").write_text("half")
    (other.folder / "checkpoints").mkdir()

    def killed(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rundir.os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            other.adopt(one.folder)
    assert not other.is_done()
    assert other.adopt(one.folder)
    assert (other.is_done(), other.facts()) == (True, {"steps": 3})
    assert (other.folder / "model/weights").samefile(one.folder / "model/weights")
    assert {p.name for p in other.folder.iterdir()} == {"model", "manifest.json"}
    assert [p.name for p in other.folder.parent.iterdir()] == ["teacher"]

    Stage("teacher", other.folder, "new").begin()
    assert (one.folder / "model/weights").read_text() == "made", "links, but not one folder"
    assert not Stage("teacher", tmp_path / "c", "new").adopt(one.folder)


def test_without_links_a_stage_is_copied(tmp_path, monkeypatch):
    one = Stage("teacher", tmp_path / "a", "abc")
    one.begin()
    one.finish({})

    def refused(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(rundir.os, "link", refused)
    other = Stage("teacher", tmp_path / "b", "abc")
    assert other.adopt(one.folder)
    assert other.is_done()


def test_a_second_process_is_kept_out_of_a_run_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from evokd.rundir import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('in')\n"
    )

    def other():
        return subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
        )

    with locked(tmp_path):
        refused = other()
        with pytest.raises(InputError, match=r"another run is at work.*-o"), locked(tmp_path):
            pass
    assert refused.returncode == 1
    assert "InputError: another run is at work" in refused.stderr
    assert other().stdout == "in\n"


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"file can't be used as a run folder.*-o"),
        locked(tmp_path / "file"),
    ):
        pass
