"""Scores equal sacreBLEU's and hand arithmetic; lines are read as translation tools count them."""

import gzip
import math

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from evokd.errors import InputError
from evokd.evaluate.scores import check_metrics, read_lines, score_system

HYPOTHESES = ["the cat sat on the mat", "Hello, world!", "", "a man rides a red bicycle"]
REFERENCES = ["the cat sat on a mat", "Hello world!", "nothing", "A man is riding a red bike"]
SECOND = ["a cat sat on the mat", "Hi, world!", "no thing", "a man rides his red bicycle"]


def test_bleu_by_hand():
    # n-gram precisions 5/6, 3/5, 2/4, 1/3; equal lengths, so no brevity penalty
    (score,) = score_system(HYPOTHESES[:1], REFERENCES[:1], "en", ["bleu"])
    assert score.score == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, abs=1e-9)


def test_scores_equal_sacrebleu_to_the_last_digit():
    for documents in ([REFERENCES], [REFERENCES, SECOND]):
        found = {
            score.metric: score.score
            for score in score_system(
                HYPOTHESES, documents, "de", ["bleu", "chrf", "chrf++", "ter"]
            )
        }
        assert found == {
            "bleu": sacrebleu.corpus_bleu(HYPOTHESES, documents).score,
            "chrf": sacrebleu.corpus_chrf(HYPOTHESES, documents).score,
            "chrf++": sacrebleu.corpus_chrf(HYPOTHESES, documents, word_order=2).score,
            "ter": sacrebleu.corpus_ter(HYPOTHESES, documents).score,
        }


def test_one_reference_may_be_given_bare():
    assert score_system(HYPOTHESES, REFERENCES, "en") == score_system(
        HYPOTHESES, [REFERENCES], "en"
    )


def test_signatures_tell_the_settings():
    bleu, chrf = score_system(HYPOTHESES, [REFERENCES, SECOND], "de")
    version = sacrebleu.__version__
    assert bleu.signature == f"nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert chrf.signature == f"nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"


def test_chinese_is_scored_by_characters():
    # 13a sees one wrong word; zh sees 4 of 5 characters right (precisions 4/5, 3/4, 2/3, 1/2)
    (zh,) = score_system(["我喜欢小猫"], ["我喜欢小狗"], "zh", ["bleu"])
    assert "tok:zh" in zh.signature
    assert zh.score == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, abs=1e-9)
    (other,) = score_system(["我喜欢小猫"], ["我喜欢小狗"], "zh", ["bleu"], tokenizer="13a")
    assert other.score == 0


def test_empty_outputs_score_zero():
    assert [score.score for score in score_system(["", ""], ["a b", "c"], "en")] == [0, 0]


def test_missing_tokenizer_is_told_before_the_work(monkeypatch):
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    with pytest.raises(InputError, match=r"ja-mecab.*pip install sacrebleu\[ja\]"):
        check_metrics(["bleu"], "ja")
    check_metrics(["chrf"], "ja")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["blue"], r"unknown metric 'blue'; accepted: bleu, chrf, chrf\+\+, ter"),
        (["bleu", "bleu"], "given twice"),
        ([], "no metric given"),
    ],
)
def test_wrong_metrics_are_refused(metrics, message):
    with pytest.raises(InputError, match=message):
        score_system(["a"], ["a"], "en", metrics)


def test_unknown_tokenizer_is_refused_with_the_list():
    with pytest.raises(InputError, match=r"unknown BLEU tokenizer 'moses'; accepted:.*13a"):
        score_system(["a"], ["a"], "en", tokenizer="moses")


def test_unequal_counts_name_both_counts():
    with pytest.raises(InputError, match="has 2 lines and reference 2 has 1"):
        score_system(["a", "b"], [["a", "b"], ["a"]], "en")
    with pytest.raises(InputError, match="holds no lines"):
        score_system([], [], "en")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\n", ["a", ""]),
        (b"\n", [""]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\nb\n", ["a\r", "b"]),
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


def test_scores_are_plain_floats():
    for score in score_system(HYPOTHESES, REFERENCES, "en", ["bleu", "chrf", "ter"]):
        assert type(score.score) is float
        assert math.isfinite(score.score)
