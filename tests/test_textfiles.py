"""Text files, packed or from Windows."""

import gzip
import lzma
import os

import pytest
import zstandard

from evokd.data.textfiles import count_lines, decode, split_lines, stream_lines
from evokd.errors import InputError
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


LINES = [b"one", "z\u00fcrich\r".encode(), b"", "\u2028 und \u0085".encode(), b"x" * 50, b"\r"]


@pytest.mark.parametrize("block", [4, 5, 7, 1000])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_a_file_in_blocks_is_what_it_is_in_one_piece(tmp_path, monkeypatch, block, end):
    data = b"\n".join(LINES) + end
    for pack, suffix in ((bytes, ""), (gzip.compress, ".gz"), (zstandard.compress, ".zst")):
        path = tmp_path / f"t{suffix}"
        for text in (data, b"\xef\xbb\xbf" + data, data.decode().encode("utf-16")):
            path.write_bytes(pack(text))
            monkeypatch.setattr("evokd.data.textfiles._BLOCK", block)
            whole = split_lines(decode(text, "t"))
            assert list(stream_lines(path)) == whole
            assert count_lines(path) == len(whole)


def test_a_wrong_byte_is_found_in_whichever_block_it_is(tmp_path, monkeypatch):
    path = tmp_path / "t"
    path.write_bytes(b"line\n" * 30 + b"sch\xf6n\n" + b"line\n" * 30)
    told = []
    for block in (4, 33, 1 << 20):
        monkeypatch.setattr("evokd.data.textfiles._BLOCK", block)
        with pytest.raises(
            InputError, match=r"t:31 is no UTF-8: byte 0xf6 at byte 4 .*byte 154 "
        ) as e:
            list(stream_lines(path))
        told.append(str(e.value))
    assert len(set(told)) == 1
