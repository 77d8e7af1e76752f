from pathlib import Path

import pytest
import sacrebleu
from sacrebleu.metrics.bleu import _TOKENIZERS

from evokd.data.languages import (
    SPELLINGS,
    language,
    same_language,
    split_direction,
)
from evokd.errors import InputError


@pytest.mark.parametrize(
    "spelling", ["en", "eng", "eng_Latn", "en-US", "en_US", "EN", "en_US.UTF-8", "English", " en "]
)
def test_all_spellings_of_english_mean_it(spelling):
    assert language(spelling).code == "en"
    assert language(spelling).name == "English"


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        ("deu_Latn", "de"),
        ("ger", "de"),
        ("ces_Latn", "cs"),
        ("cze", "cs"),
        ("zho_Hans", "zh"),
        ("zh-TW", "zh"),
        ("nob_Latn", "no"),
        ("pes_Arab", "fa"),
        ("hsb", "hsb"),
    ],
)
def test_codes_of_other_lists(spelling, code):
    assert language(spelling).code == code


def test_every_wmt_language_is_known():
    """The language pairs of sacreBLEU's WMT sets are the independent list."""
    codes = {
        code
        for name, data in sacrebleu.DATASETS.items()
        if name.startswith("wmt2")
        for pair in data.langpairs
        for code in pair.split("-")
    }
    assert len(codes) > 15
    assert all(language(code).code for code in codes)


def test_table_is_sound():
    table = set(SPELLINGS.values())
    assert len(table) >= 60
    assert len({entry.code for entry in table}) == len(table)
    assert len({entry.name for entry in table}) == len(table)
    for entry in table:
        assert language(entry.code) is entry
        assert language(entry.name) is entry
        assert entry.sacrebleu_tokenizer in _TOKENIZERS
        assert len(entry.script) == 4


def test_tokenizers_are_the_ones_of_sacrebleu():
    table = {code: language(code).sacrebleu_tokenizer for code in ("zh", "ja", "ko", "de", "cs")}
    assert table == {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab", "de": "13a", "cs": "13a"}


def test_unknown_language_names_near_ones():
    with pytest.raises(InputError, match=r"unknown language 'germn'.*de \(German\)"):
        language("germn")
    for code in ("xx", ""):
        with pytest.raises(InputError, match="unknown language"):
            language(code)


def test_same_language():
    assert same_language("en", "eng_Latn")
    assert same_language("zh_Hans", "zh-TW")
    assert not same_language("en", "de")
    assert same_language("xx", "XX")
    assert not same_language("xx", "en")


def test_split_direction_keeps_the_spelling():
    assert split_direction("en-de") == ("en", "de")
    assert split_direction("eng_Latn-deu_Latn") == ("eng_Latn", "deu_Latn")


@pytest.mark.parametrize("direction", ["en", "en-", "-de", "en-de-cs", "en-eng", "en-xx", ""])
def test_bad_directions(direction):
    with pytest.raises(InputError):
        split_direction(direction)


def test_the_documentation_lists_every_language():
    text = " ".join((Path(__file__).parents[1] / "docs" / "data.md").read_text("utf-8").split())
    for entry in set(SPELLINGS.values()):
        assert f"{entry.name} (`{entry.code}`)" in text
