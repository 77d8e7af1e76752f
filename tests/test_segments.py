"""Lines are read as translation tools count them, and both sides have as many."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.evaluate.comparison import check_counts


def test_unequal_counts_name_both_counts():
    with pytest.raises(InputError, match="out has 2 lines and reference 2 has 1"):
        check_counts(["a", "b"], [["a", "b"], ["a"]], "out")
    with pytest.raises(InputError, match="out holds no lines"):
        check_counts([], [], "out")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\n", ["a", ""]),
        (b"\n", [""]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\nb\n", ["a", "b"]),
        ("a\u2028b\x0bc\x85d\x1ce\rf\n".encode(), ["a\u2028b\x0bc\x85d\x1ce\rf"]),
    ],
)
def test_lines_end_at_newlines_only(tmp_path, data, lines):
    path = tmp_path / "text"
    path.write_bytes(data)
    assert read_lines(path) == lines


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff")),
        min_size=1,
    )
)
def test_what_is_written_is_read(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "text"
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    assert read_lines(path) == lines


def test_packed_files_are_unpacked(tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress("über\nunter\n".encode()))
    assert read_lines(path) == ["über", "unter"]


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"gut\nsch\xf6n\n")
    with pytest.raises(InputError, match=r"text:2 is no UTF-8: byte 0xf6"):
        read_lines(path)
    for nothing in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(nothing)
        with pytest.raises(InputError, match="text is empty"):
            read_lines(path)
    with pytest.raises(InputError, match="missing not found"):
        read_lines(tmp_path / "missing")
    with pytest.raises(InputError, match="can't be read"):
        read_lines(tmp_path)
