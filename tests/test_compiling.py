"""Our own C: compiled once, and said plainly where it can't be."""

import time

import pytest

from evokd.distil.row_loss import compiling

SOURCE = "int answer(void) { return 42; }\n"


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "answer.c"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_what_is_compiled_is_kept(source, monkeypatch):
    assert compiling.load_c(source).answer() == 42
    (kept,) = (source.parent / "cache/evokd").iterdir()
    assert kept.parent.stat().st_mode & 0o077 == 0
    made = kept.stat().st_mtime_ns
    time.sleep(0.01)
    assert compiling.load_c(source).answer() == 42
    assert kept.stat().st_mtime_ns == made
    source.write_text(SOURCE.replace("42", "43"), encoding="utf-8")
    assert compiling.load_c(source).answer() == 43
    assert len(list((source.parent / "cache/evokd").iterdir())) == 2


def test_a_compiler_that_fails_is_quoted(source, monkeypatch):
    broken = source.parent / "cc"
    broken.write_text("#!/bin/sh\necho no such target >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(OSError, match="no such target"):
        compiling.load_c(source)


def test_where_there_is_no_compiler_that_is_said(source, monkeypatch):
    monkeypatch.setenv("PATH", str(source.parent))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(OSError, match="there is no C compiler"):
        compiling.load_c(source)


def test_another_folder_serves_where_the_first_cant_be_written(source, monkeypatch):
    (source.parent / "cache").write_text("a file, where a folder is wanted", encoding="utf-8")
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(source.parent / "other"))
    (source.parent / "other").mkdir()
    assert compiling.load_c(source).answer() == 42
    assert len(list((source.parent / "other").glob("evokd-*/answer-*.so"))) == 1


def test_a_folder_that_others_can_write_isnt_trusted(source, monkeypatch):
    (source.parent / "cache/evokd").mkdir(parents=True)
    (source.parent / "cache/evokd").chmod(0o777)
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(source.parent))
    assert compiling.load_c(source).answer() == 42
    assert not list((source.parent / "cache/evokd").iterdir())


def test_a_user_without_a_home_has_a_folder_too(source, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(compiling.Path, "home", homeless)
    monkeypatch.setattr(compiling.tempfile, "gettempdir", lambda: str(source.parent))
    assert compiling.load_c(source).answer() == 42


def test_another_compiler_compiles_anew(source, monkeypatch):
    assert compiling.load_c(source).answer() == 42
    found = compiling.shutil.which("cc") or compiling.shutil.which("gcc")
    other = source.parent / "other-cc"
    other.write_text(f'#!/bin/sh\nexec {found} "$@"\n', encoding="utf-8")
    other.chmod(0o755)
    monkeypatch.setenv("CC", str(other))
    assert compiling.load_c(source).answer() == 42
    assert len(list((source.parent / "cache/evokd").iterdir())) == 2
