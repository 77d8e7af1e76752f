"""The run folder: atomic writes, stages that are done or not, and one run at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from evokd.errors import InputError
from evokd.rundir.files import fingerprint, hash_file, write_json, write_text
from evokd.rundir.lock import locked
from evokd.rundir.records import take_up_record, write_record
from evokd.rundir.stage import Stage


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

    monkeypatch.setattr("evokd.rundir.files.os.fsync", full)
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


def stage_of(root, mark="it", place="teacher", **more):
    return Stage("teacher", root, place, {"mark": mark}, **more)


def done(stage):
    return stage.find() == stage.folder


def finished(root, mark="it", place="teacher", text="made", **more):
    """A stage that wrote a file."""
    stage = stage_of(root, mark, place, **more)
    stage.begin()
    write_text(stage.folder / "model/weights", text)
    stage.finish({"mark": mark})
    return stage


def test_a_stage_is_done_when_its_manifest_says_so(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("evokd.rundir.stage.time.perf_counter", lambda: now[0])
    stage = stage_of(tmp_path)
    now[0] = 200.0  # other stages are made first
    assert not done(stage)
    stage.begin()
    assert not done(stage)
    now[0] = 201.234
    stage.finish({"steps": 3}, seed=1)
    assert done(stage)
    assert stage.facts() == {"steps": 3}
    manifest = json.loads((stage.folder / "manifest.json").read_text())
    assert (manifest["seed"], manifest["wall_s"], manifest["stage"]) == (1, 1.23, "teacher")
    assert manifest["made_of"] == {"mark": "it"}
    assert {"python", "platform", "torch"} <= set(manifest["versions"])
    assert not done(stage_of(tmp_path, "other"))


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", "{}", None])
def test_a_damaged_manifest_counts_as_not_done(tmp_path, damaged):
    stage = finished(tmp_path)
    path = stage.folder / "manifest.json"
    path.write_text(path.read_text().replace("it", "at") if damaged is None else damaged)
    assert not done(stage)


def test_an_unfinished_attempt_is_kept_under_the_same_settings(tmp_path):
    stage = stage_of(tmp_path)
    stage.begin()
    (stage.folder / "checkpoints").mkdir()
    (stage.folder / ".model.77.draft").mkdir()
    (stage.folder / ".a.json.77.draft").write_text("half")
    stage.begin()
    assert {p.name for p in stage.folder.iterdir()} == {"started.json", "checkpoints"}
    stage_of(tmp_path, "other").begin()
    assert [p.name for p in stage.folder.iterdir()] == ["started.json"]
    stage.begin()
    assert {p.name for p in stage.folder.iterdir()} == {"started.json", "checkpoints"}
    stage.finish({})
    assert [p.name for p in stage.folder.iterdir()] == ["manifest.json"]


def test_going_back_takes_up_the_very_files_that_were_made_before(tmp_path):
    first = finished(tmp_path, "0.4")
    inode = (first.folder / "model/weights").stat().st_ino
    second = stage_of(tmp_path, "1.0")
    assert second.find() is None
    second.begin()
    write_text(second.folder / "model/weights", "others")
    assert first.find() == tmp_path / "kept/teacher" / first.fingerprint
    first.take_up(first.find())
    assert done(first)
    assert (first.folder / "model/weights").stat().st_ino == inode
    second.begin()
    assert (second.folder / "model/weights").read_text() == "others", "half of it was kept, too"
    second.finish({})
    assert first.find() == tmp_path / "kept/teacher" / first.fingerprint
    first.take_up(first.find())
    second.take_up(second.find())
    assert done(second)
    assert [p.name for p in (tmp_path / "kept/teacher").iterdir()] == [first.fingerprint]


def test_a_folder_of_nobody_is_kept_as_well(tmp_path):
    write_text(tmp_path / "teacher/notes.txt", "mine")
    stage_of(tmp_path).begin()
    write_text(tmp_path / "kept/teacher/unknown/notes.txt", "mine")
    assert [p.name for p in stage_of(tmp_path).folder.iterdir()] == ["started.json"]


def test_what_other_settings_made_may_be_gone_on_with(tmp_path):
    finished(tmp_path, "few", text="shard")
    more = stage_of(tmp_path, "many")
    more.begin(goes_on=lambda folder: (folder / "model/weights").read_text() == "shard")
    assert not (tmp_path / "kept").exists()
    assert {p.name for p in more.folder.iterdir()} == {"started.json", "model"}


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_what_is_damaged_is_made_again_and_not_taken_for_whole(tmp_path, damage, monkeypatch):
    stage = finished(tmp_path)
    monkeypatch.setattr("evokd.rundir.integrity._seen", set())
    path = stage.folder / "model/weights"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text({"flipped": "mede", "cut": "mad"}[damage])
    assert stage.find() is None
    said = {"flipped": "isn't what", "cut": "has 3 bytes, 4 were", "gone": "is missing"}[damage]
    assert said in stage.wrong()["model/weights"]
    stage.begin()
    assert [p.name for p in stage.folder.iterdir()] == ["started.json"]
    assert [p.suffix for p in (tmp_path / "kept/teacher").iterdir()] == [".damaged"]


def test_large_files_are_hashed_once_for_each_state(tmp_path, monkeypatch):
    monkeypatch.setattr("evokd.rundir.integrity.LARGE", 4)
    monkeypatch.setattr("evokd.rundir.stage.LARGE", 4)
    stage = finished(tmp_path)
    hashed = []
    monkeypatch.setattr(
        "evokd.rundir.integrity.hash_file", lambda path: hashed.append(path) or hash_file(path)
    )
    for expected in (0, 0):
        monkeypatch.setattr("evokd.rundir.integrity._seen", set())  # another process
        assert done(stage)
        assert len(hashed) == expected
    (stage.folder / "model/weights").write_text("mede")
    monkeypatch.setattr("evokd.rundir.integrity._seen", set())
    assert not done(stage)
    assert len(hashed) == 1


def test_a_kill_while_a_stage_is_begun_leaves_the_old_one_whole_or_kept(tmp_path, monkeypatch):
    old = finished(tmp_path, "old")
    for name in ("rename", "unlink", "mkdir"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, killed)
            with pytest.raises(KeyboardInterrupt):
                stage_of(tmp_path, "new").begin()
        assert old.find() is not None, name
    old.take_up(old.find())
    assert (old.folder / "model/weights").read_text() == "made"


def test_a_kill_right_after_the_manifest_leaves_nothing_behind(tmp_path, monkeypatch):
    stage = stage_of(tmp_path)
    stage.begin()
    write_text(stage.folder / "model/weights", "made")
    write_text(stage.folder / "checkpoints/checkpoint-9/weights", "half")
    with monkeypatch.context() as patched:
        patched.setattr("evokd.rundir.stage._remove", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.finish({})
    stage.take_up(stage.find())
    names = sorted(path.name for path in stage.folder.iterdir())
    assert names == ["manifest.json", "model"]


def killed(*given, **more):
    raise KeyboardInterrupt


def test_a_stage_takes_over_what_another_run_made(tmp_path, monkeypatch):
    """Also in place of a half of its own, and after a kill in the middle."""
    one = finished(tmp_path / "a")
    other = stage_of(tmp_path / "b")
    other.begin()
    write_text(other.folder / "model/weights", "half")
    with monkeypatch.context() as patched:
        patched.setattr("evokd.rundir.stage.os.link", killed)
        with pytest.raises(KeyboardInterrupt):
            other.take_up(other.find([one.folder]))
    assert not done(other)
    other.take_up(other.find([one.folder]))
    assert (done(other), other.facts()) == (True, {"mark": "it"})
    assert (other.folder / "model/weights").samefile(one.folder / "model/weights")
    assert {p.name for p in other.folder.iterdir()} == {"model", "manifest.json"}

    stage_of(tmp_path / "b", "new").begin()
    assert done(one), "links, but not one folder"
    assert stage_of(tmp_path / "c", "new").find([one.folder]) is None


def test_a_store_shares_stages_among_runs_and_students_of_any_name(tmp_path):
    store = tmp_path / "store"
    one = finished(tmp_path / "a", place="students/noevo.seed1", store=store)
    assert one.in_store == store / "students" / one.fingerprint
    other = stage_of(tmp_path / "b", place="students/mine.seed1", store=store)
    assert other.find() == one.in_store
    other.take_up(other.find())
    assert (other.folder / "model/weights").samefile(one.folder / "model/weights")
    finished(tmp_path / "c", place="students/noevo.seed1", store=store)  # as fast as the first
    assert [p.name for p in (store / "students").iterdir()] == [one.fingerprint]


@pytest.mark.parametrize("whole", [True, False])
def test_what_another_run_puts_into_the_store_meanwhile_stays(tmp_path, monkeypatch, whole):
    store = tmp_path / "store"
    one = finished(tmp_path / "a", place="students/noevo.seed1")

    def after_another(source, target, **more):
        monkeypatch.undo()
        stored = store / "students" / one.fingerprint
        shutil.copytree(one.folder, stored)
        if not whole:
            (stored / "model/weights").unlink()
        return shutil.copytree(source, target, **more)

    monkeypatch.setattr(shutil, "copytree", after_another)
    with nullcontext() if whole else pytest.raises(OSError, match="not empty"):
        finished(tmp_path / "b", place="students/noevo.seed1", store=store)
    assert [path.name for path in (store / "students").iterdir()] == [one.fingerprint]


def test_a_store_is_mended_by_who_makes_a_damaged_stage_again(tmp_path, monkeypatch):
    store = tmp_path / "store"
    one = finished(tmp_path / "a", place="students/noevo.seed1", store=store)
    (one.in_store / "model/weights").write_text("torn")
    monkeypatch.setattr("evokd.rundir.integrity._seen", set())
    assert stage_of(tmp_path / "b", place="students/noevo.seed1", store=store).find() is None
    other = finished(tmp_path / "b", place="students/noevo.seed1", store=store)
    assert (one.in_store / "model/weights").samefile(other.folder / "model/weights")
    third = stage_of(tmp_path / "c", place="students/mine.seed1", store=store)
    assert third.find() == one.in_store


def test_without_links_a_stage_is_copied(tmp_path, monkeypatch):
    one = finished(tmp_path / "a")

    def refused(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("evokd.rundir.stage.os.link", refused)
    other = stage_of(tmp_path / "b")
    other.take_up(other.find([one.folder]))
    assert done(other)


def test_a_record_that_was_made_of_something_else_is_kept(tmp_path):
    path = tmp_path / "translations/t.en-de.sft.json"
    write_record(tmp_path, path, {"gamma": 0.4}, {"beam": 1}, ["eins", "zwei"])
    write_record(tmp_path, path, {"gamma": 1.0}, {"beam": 1}, ["drei"])
    assert path.with_suffix(".txt").read_text() == "drei\n"
    assert not take_up_record(tmp_path, path, {"gamma": 3.0})
    assert take_up_record(tmp_path, path, {"gamma": 0.4})
    assert path.with_suffix(".txt").read_text() == "eins\nzwei\n"
    assert take_up_record(tmp_path, path, {"gamma": 1.0})
    assert path.with_suffix(".txt").read_text() == "drei\n"
    path.with_suffix(".txt").write_text("dreI\n")
    assert not take_up_record(tmp_path, path, {"gamma": 1.0})


def test_a_second_process_is_kept_out_of_a_run_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from evokd.rundir.lock import locked\n"
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
