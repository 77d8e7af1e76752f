"""Text files, packed or from Windows."""

import gzip
import lzma

import pytest
import zstandard

from source_files import fails, read, texts, write


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_packed_files(tmp_path, suffix, pack):
    write(tmp_path / f"t.en{suffix}", pack(b"one\n") + pack(b"two\n"))
    write(tmp_path / "t.de", "eins\nzwei\n")
    assert texts(read(tmp_path, "t")) == [("one", "eins"), ("two", "zwei")]
    good = (tmp_path / f"t.en{suffix}").read_bytes()
    write(tmp_path / f"t.en{suffix}", good[:-4])
    fails(tmp_path, "t", f"t.en{suffix} can't be unpacked")
    write(tmp_path / f"t.en{suffix}", b"no archive")
    fails(tmp_path, "t", f"t.en{suffix} can't be unpacked")


def test_windows_files(tmp_path):
    write(tmp_path / "t.en", b"\xef\xbb\xbfone\r\ntwo\r\n")
    write(tmp_path / "t.de", b"eins\nzw\rei\r")
    assert texts(read(tmp_path, "t")) == [("one", "eins"), ("two", "zw\rei")]


def test_half_a_surrogate_pair_can_be_written(tmp_path):
    write(tmp_path / "t.json", r'{"en": "a\ud83d!", "de": "\ud83d\ude00"}')
    assert texts(read(tmp_path, "t.json")) == [("a\ufffd!", "😀")]
