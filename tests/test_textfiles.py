"""Text files, packed or from Windows."""

import gzip
import lzma
import os

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


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_file_without_text_is_empty_whatever_mark_it_begins_with(tmp_path, mark):
    write(tmp_path / "t.tsv", mark)
    fails(tmp_path, "t.tsv", "t.tsv is empty")


def test_what_no_file_can_be_called_is_said(tmp_path):
    fails(tmp_path, "~nobody-of-that-name/t.tsv", "can't be a path", "home directory")
    fails(tmp_path, "a\0.tsv", "can't be a path: it has a null character")
    fails(tmp_path, "a" * 5000, "can't be a path: File name too long")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.jsonl")
    fails(tmp_path, "t.jsonl", "t.jsonl is a pipe or a device", "a file is accepted")
