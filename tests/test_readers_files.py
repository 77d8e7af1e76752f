"""Aligned files, TSV, JSON and gettext, and every way in which one can be wrong."""

import gzip
import json

import pytest

from evokd.data.sources import read_source
from evokd.recipe.corpus import CorpusSource
from source_files import BOTH, RECORDS, facts, fails, read, texts, write

# Moses pairs


def test_moses_both_directions_are_neighbours(tmp_path):
    write(tmp_path / "train.en", "A dog.\n\nB\u2028b\u0085\n")
    write(tmp_path / "train.de", "Ein Hund.\nleer\nB")  # no final newline
    assert facts(read(tmp_path, "train", BOTH)) == [
        ("en-de", "A dog.", "Ein Hund.", "train:1"),
        ("de-en", "Ein Hund.", "A dog.", "train:1"),
        ("en-de", "", "leer", "train:2"),
        ("de-en", "leer", "", "train:2"),
        ("en-de", "B\u2028b\u0085", "B", "train:3"),
        ("de-en", "B", "B\u2028b\u0085", "train:3"),
    ]


def test_moses_three_languages(tmp_path):
    for code in ("en", "de", "cs"):
        write(tmp_path / f"t.{code}", f"{code} 1\n{code} 2\n")
    pairs = read(tmp_path, "t", ["en-de", "en-cs", "de-en"])
    assert [(p.direction, p.source, p.target) for p in pairs[:3]] == [
        ("en-de", "en 1", "de 1"),
        ("de-en", "de 1", "en 1"),
        ("en-cs", "en 1", "cs 1"),
    ]
    assert len(pairs) == 6
    limited = read(tmp_path, "t", ["en-de", "en-cs", "de-en"], limit=1)
    assert limited == pairs[:3]


def test_other_spellings_of_a_language(tmp_path):
    write(tmp_path / "t.eng_Latn", "one\n")
    write(tmp_path / "t.de-DE.gz", gzip.compress(b"eins\n"))
    write(tmp_path / "t.de-en.de", "another prefix\n")
    assert texts(read(tmp_path, "t")) == [("one", "eins")]
    write(tmp_path / "t.de_AT", "eins, oida\n")
    fails(tmp_path, "t", "de-DE and de_AT both mean de")
    write(tmp_path / "t.de", "genau eins\n")  # an exact spelling wins
    assert texts(read(tmp_path, "t")) == [("one", "genau eins")]


def test_moses_errors(tmp_path):
    fails(tmp_path, "t", "t.en", "t.de", "not found", "nothing of that prefix")
    write(tmp_path / "t.en", "one\ntwo\n")
    fails(tmp_path, "t", "t.de not found", "found: ", "t.en")
    write(tmp_path / "t.de", "eins\n")
    fails(tmp_path, "t", "t.en has 2 lines", "t.de has 1", limit=1)
    write(tmp_path / "t.de", "eins\nzw\u00e4i\n".encode("latin-1"))
    fails(tmp_path, "t", "t.de:2 is no UTF-8", "0xe4 at byte 3 of the line", "byte 8 of the file")
    write(tmp_path / "t.de", "eins\nzwei\n".encode("utf-16"))
    assert texts(read(tmp_path, "t")) == [("one", "eins"), ("two", "zwei")]
    write(tmp_path / "t.de", "eins\nzwei\n".encode("utf-16")[:-1])
    fails(tmp_path, "t", "t.de begins as UTF-16", "byte 21 of the file")
    write(tmp_path / "t.de", b"")
    fails(tmp_path, "t", "t.de is empty")
    fails(tmp_path, "no/t", "not found")
    fails(tmp_path, "t.en", "common prefix", "/t)")


# TSV


def test_tsv_without_header(tmp_path):
    write(tmp_path / "t.tsv", 'A "dog\tEin Hund\t0.9\n\nB\tB\n')
    pairs = read(tmp_path, "t.tsv", BOTH, languages=("en", "de"))
    assert facts(pairs)[::2] == [
        ("en-de", 'A "dog', "Ein Hund", "t.tsv:1"),
        ("en-de", "", "", "t.tsv:2"),
        ("en-de", "B", "B", "t.tsv:3"),
    ]
    inverted = read(tmp_path, "t.tsv", BOTH, languages=("de", "en"))
    assert inverted[1].direction == "de-en"
    assert inverted[1].source == 'A "dog'
    assert texts(read(tmp_path, "t.tsv", columns=("3", "1"), limit=1)) == [("0.9", 'A "dog')]
    fails(tmp_path, "t.tsv", "languages: [en, de]", directions=BOTH)


@pytest.mark.parametrize("header", ["id\tde\ten", "id\tGerman\teng_Latn", "id\tref\tsrc"])
def test_tsv_with_header(tmp_path, header):
    write(tmp_path / "t.tsv", header + "\n7\tHund\tdog\n")
    assert facts(read(tmp_path, "t.tsv")) == [("en-de", "dog", "Hund", "t.tsv:2")]


def test_tsv_columns_by_name(tmp_path):
    write(tmp_path / "t.tsv.gz", gzip.compress(b"n\tquelle\tziel\r\n1\tdog\tHund\r\n"))
    pairs = read(tmp_path, "t.tsv.gz", columns=("quelle", "ziel"))
    assert texts(pairs) == [("dog", "Hund")]
    fails(tmp_path, "t.tsv.gz", "no column 'x'", "quelle, ziel", columns=("quelle", "x"))


def test_tsv_with_too_few_columns(tmp_path):
    write(tmp_path / "t.tsv", "one\teins\ntwo\n")
    fails(tmp_path, "t.tsv", "t.tsv:2 has 1 column(s); 2 are needed")
    write(tmp_path / "t.tsv", "en\tde\none\teins\ntwo\n")
    fails(tmp_path, "t.tsv", "t.tsv:3 has 1 column(s)", "en, de")


# JSON


def test_both_shapes_of_alma(tmp_path):
    """One release has JSON lines and a JSON array under the same extension."""
    write(tmp_path / "array.json", json.dumps(RECORDS))
    write(tmp_path / "lines.json", "\n".join(map(json.dumps, RECORDS)) + "\n")
    for name in ("array.json", "lines.json"):
        pairs = read(tmp_path, name, BOTH)
        assert texts(pairs)[::2] == [("dog", "Hund"), ("", "K z")]
        assert texts(pairs)[1::2] == [("Hund", "dog"), ("K z", "")]
    assert pairs[2].origin == "lines.json:2"
    assert read(tmp_path, "array.json")[1].origin == "array.json#2"


@pytest.mark.parametrize(
    "record",
    [
        {"src": "dog", "ref": "Hund"},
        {"source": "dog", "reference": "Hund", "hypothesis": "x"},
        {"source": "dog", "target": "Hund"},
        {"src": "dog", "mt": "Katze", "ref": "Hund"},
        {"src": "dog", "tgt": "Hund"},
        {"en": "dog", "de": "Hund"},
        {"id": 7, "eng_Latn": "dog", "deu_Latn": "Hund"},
        {"x": "Hund", "translation": {"de_DE": "Hund", "en_US": "dog", "fr": "chien"}},
    ],
)
def test_known_keys(tmp_path, record):
    write(tmp_path / "t.jsonl", json.dumps(record))
    assert texts(read(tmp_path, "t.jsonl")) == [("dog", "Hund")]
    if "src" in record or "source" in record:
        fails(tmp_path, "t.jsonl", "languages: [en, de]", directions=BOTH)
        assert texts(read(tmp_path, "t.jsonl", BOTH, languages=("en", "de"))) == [
            ("dog", "Hund"),
            ("Hund", "dog"),
        ]


def test_json_columns(tmp_path):
    write(tmp_path / "t.json", '{"a": "dog", "b": null}\n')
    assert texts(read(tmp_path, "t.json", columns=("a", "b"))) == [("dog", "")]
    fails(tmp_path, "t.json", "t.json:1 has no 'c'", "a, b", columns=("a", "c"))
    fails(tmp_path, "t.json", "t.json:1 has a, b", "columns:")


def test_json_in_several_languages(tmp_path):
    records = [{"translation": {"en": "dog", code: code}} for code in ("de", "cs", "fr")]
    write(tmp_path / "t.json", json.dumps(records))
    source = CorpusSource(path="t.json")
    pairs, notes = read_source(source, ["en-de", "en-cs"], tmp_path)
    assert [pair.direction for pair in pairs] == ["en-de", "en-cs"]
    assert notes == [
        "t.json: 1 unit(s) without two of en, de, cs left out; the first, t.json#3, has en, fr"
    ]
    fails(tmp_path, "t.json", "no sentence pair for en-is", "has en, de", directions=["en-is"])
    assert len(read(tmp_path, "t.json", ["en-de", "en-is"])) == 1
    fails(
        tmp_path,
        "t.json",
        "no sentence pair for en-is",
        directions=["en-de", "en-is"],
        languages=("en", "is"),
    )


def test_json_errors(tmp_path):
    write(tmp_path / "t.json", '{"en": "a", "de": "b"}\n{"en": "a", \n')
    fails(tmp_path, "t.json", "t.json:2 is no JSON")
    write(tmp_path / "t.json", '[{"en": "a",\n "de": "b"},\n oops]')
    fails(tmp_path, "t.json", "t.json:3 is no JSON")
    write(tmp_path / "t.json", '{"en": "a", "de": 3}')
    fails(tmp_path, "t.json", "t.json:1: 'de' is a int")
    write(tmp_path / "t.json", '["a"]')
    fails(tmp_path, "t.json", "element 1, is a str")
    write(tmp_path / "t.json", "[" * 100_000)
    fails(tmp_path, "t.json", "t.json")
    write(tmp_path / "t.json", "[]")
    fails(tmp_path, "t.json", "no sentence pair for en-de")
    fails(tmp_path, "u.json", "u.json not found")


# gettext


PO = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\nLanguage: de_DE\\n"

#: a.c:1
msgid "Open\\n file"
msgstr "Datei "
"öffnen"

#, fuzzy
msgid "Save"
msgstr "Speichern"

msgid "Quit"
msgstr ""

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Datei"
msgstr[1] "%d Dateien"

#~ msgid "Old"
#~ msgstr "Alt"
"""


def test_po(tmp_path):
    write(tmp_path / "t.po", PO)
    source = CorpusSource(path="t.po", languages=("en", "de"))
    pairs, notes = read_source(source, BOTH, tmp_path)
    assert texts(pairs) == [("Open  file", "Datei öffnen"), ("Datei öffnen", "Open  file")]
    assert pairs[0].origin == "t.po:5"
    assert notes == ["t.po: 4 fuzzy, obsolete, plural or untranslated messages skipped"]
    fails(tmp_path, "t.po", "languages: [en, de]", directions=BOTH)
    fails(tmp_path, "t.po", "translates into de_DE, not cs", directions=["en-cs"])
    write(tmp_path / "t.po", PO + "\nnonsense\n")
    fails(tmp_path, "t.po", "t.po is no gettext catalogue", "line 25")
