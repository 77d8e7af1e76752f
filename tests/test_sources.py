"""Readers against files made by hand: every format, and every way in which one can be wrong."""

import gzip
import json
import lzma
import sys

import pytest
import sacrebleu
import zstandard

from evokd.data.readers.remote import HubAddress, hub_address
from evokd.data.sources import input_files, read_source, source_format
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource

BOTH = ["en-de", "de-en"]
LINES = [("A dog.", "Ein Hund."), ('Two, "cats"', "Zwei 'Katzen'"), ("", "")]


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


def read(root, path, directions=("en-de",), **keys):
    pairs, _ = read_source(CorpusSource(path=path, **keys), directions, root)
    return pairs


def texts(pairs):
    return [(pair.source, pair.target) for pair in pairs]


def facts(pairs):
    return [(pair.direction, pair.source, pair.target, pair.origin) for pair in pairs]


def fails(root, path, *fragments, directions=("en-de",), **keys):
    with pytest.raises(InputError) as error:
        read(root, path, directions, **keys)
    for fragment in fragments:
        assert fragment in str(error.value), str(error.value)


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


def test_other_spellings_of_a_language(tmp_path):
    write(tmp_path / "t.eng_Latn", "one\n")
    write(tmp_path / "t.de-DE.gz", gzip.compress(b"eins\n"))
    write(tmp_path / "t.de-en.de", "another prefix\n")
    assert texts(read(tmp_path, "t")) == [("one", "eins")]
    write(tmp_path / "t.de_AT", "eins, oida\n")
    fails(tmp_path, "t", "de-DE and de_AT both mean de")
    write(tmp_path / "t.de", "genau eins\n")  # an exact spelling wins
    assert texts(read(tmp_path, "t")) == [("one", "genau eins")]


def test_languages_and_directions_narrow_a_source(tmp_path):
    write(tmp_path / "t.en", "one\n")
    write(tmp_path / "t.de", "eins\n")
    study = ["en-de", "de-en", "en-cs"]
    fails(tmp_path, "t", "t.cs not found", "t.de", "languages: [", "directions:", directions=study)
    assert len(read(tmp_path, "t", study, languages=("deu", "eng"))) == 2
    one_way = CorpusSource(path="t", directions=("de-en",))
    assert facts(read_source(one_way, study, tmp_path)[0]) == [("de-en", "eins", "one", "t:1")]
    fails(tmp_path, "t", "don't serve", directions=study, languages=("en", "fr"))
    source = CorpusSource(path="t", languages=("en", "de"), directions=("en-de", "en-cs"))
    with pytest.raises(InputError, match="don't serve en-cs"):
        read_source(source, study, tmp_path)


def test_moses_errors(tmp_path):
    fails(tmp_path, "t", "t.en", "t.de", "not found", "nothing of that prefix")
    write(tmp_path / "t.en", "one\ntwo\n")
    fails(tmp_path, "t", "t.de not found", "found: ", "t.en")
    write(tmp_path / "t.de", "eins\n")
    fails(tmp_path, "t", "t.en has 2 lines", "t.de has 1", limit=1)
    write(tmp_path / "t.de", "eins\nzw\u00e4i\n".encode("latin-1"))
    fails(tmp_path, "t", "t.de:2 is no UTF-8", "0xe4 at byte 3 of the line", "byte 8 of the file")
    write(tmp_path / "t.de", "eins\nzwei\n".encode("utf-16"))
    fails(tmp_path, "t", "t.de:1", "UTF-16")
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
    found = read(tmp_path, "t.tsv.gz", columns=("quelle", "ziel"))
    assert texts(found) == [("dog", "Hund")]
    fails(tmp_path, "t.tsv.gz", "no column 'x'", "quelle, ziel", columns=("quelle", "x"))


def test_tsv_with_too_few_columns(tmp_path):
    write(tmp_path / "t.tsv", "one\teins\ntwo\n")
    fails(tmp_path, "t.tsv", "t.tsv:2 has 1 column(s); 2 are needed")
    write(tmp_path / "t.tsv", "en\tde\none\teins\ntwo\n")
    fails(tmp_path, "t.tsv", "t.tsv:3 has 1 column(s)", "en, de")


# JSON


RECORDS = [
    {"translation": {"de": "Hund", "en": "dog"}},
    {"translation": {"de": "K\n\tz", "en": ""}},
]


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


def test_half_a_surrogate_pair_can_be_written(tmp_path):
    write(tmp_path / "t.json", r'{"en": "a\ud83d!", "de": "\ud83d\ude00"}')
    assert texts(read(tmp_path, "t.json")) == [("a\ufffd!", "😀")]


# TMX


TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en-US"><seg>A &lt;dog&gt; &amp;
 more</seg></tuv><tuv xml:lang="de"><seg>Ein <bpt i="1">&lt;b&gt;</bpt>Hund<ept i="1"/><hi>!</hi>
</seg></tuv></tu>
<tu><tuv lang="EN-GB"><seg>cat</seg></tuv><tuv lang="EN-US"><seg>kitty</seg></tuv>
<tuv lang="DE-DE"><seg>Katze</seg></tuv></tu>
<tu><tuv xml:lang="fr"><seg>chat</seg></tuv><tuv xml:lang="en"><seg>cat</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_tmx(tmp_path, encoding):
    write(tmp_path / "t.tmx", TMX.replace("UTF-8", encoding).encode(encoding))
    pairs, notes = read_source(CorpusSource(path="t.tmx"), BOTH, tmp_path)
    assert facts(pairs)[::2] == [
        ("en-de", "A <dog> &  more", "Ein Hund!", "t.tmx:4"),
        ("en-de", "cat", "Katze", "t.tmx:7"),
    ]
    assert texts(pairs)[1] == ("Ein Hund!", "A <dog> &  more")
    assert notes == [
        "t.tmx: 1 unit(s) without two of en, de left out; the first, t.tmx:9, has fr, en"
    ]


def test_tmx_packed_and_longer_than_a_chunk(tmp_path):
    unit = (
        '<tu><tuv xml:lang="en"><seg>dog {0}</seg></tuv>'
        '<tuv xml:lang="de"><seg>Hund {0}</seg></tuv></tu>\n'
    )
    text = "<tmx><body>" + "".join(unit.format(i) for i in range(3000)) + "</body></tmx>"
    write(tmp_path / "t.tmx.gz", gzip.compress(text.encode()))
    pairs = read(tmp_path, "t.tmx.gz")
    assert texts(pairs) == [(f"dog {i}", f"Hund {i}") for i in range(3000)]
    assert pairs[-1].origin == "t.tmx.gz:3000"


def test_tmx_errors(tmp_path):
    write(tmp_path / "t.tmx", TMX.replace("</tu>", "</to>", 1))
    fails(tmp_path, "t.tmx", "t.tmx:6 is no valid XML")
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    write(tmp_path / "t.tmx", f'<!DOCTYPE t [<!ENTITY a0 "ha">{bomb}]><tmx>&a11;</tmx>')
    fails(tmp_path, "t.tmx", "t.tmx:1 declares the XML entity 'a0'")
    write(tmp_path / "t.tmx", TMX)
    fails(tmp_path, "t.tmx", "no sentence pair for cs-is", "3 unit(s)", directions=["cs-is"])


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


# Hugging Face hub


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("hub:wmt/wmt16/de-en:train", HubAddress("wmt/wmt16", "de-en", "train", None, None)),
        ("hub:a/b:test@abc", HubAddress("a/b", None, "test", None, "abc")),
        ("hub:a/b:test:s:t@v1", HubAddress("a/b", None, "test", ("s", "t"), "v1")),
        ("hub:opus:train[:100]", HubAddress("opus", None, "train[:100]", None, None)),
        ("hub:./x/y/z:train", HubAddress("./x/y/z", None, "train", None, None)),
    ],
)
def test_hub_address(path, address):
    assert hub_address(path) == address


@pytest.mark.parametrize("path", ["hub:a/b", "hub:", "hub:a/b:train:s", "hub:a/b:train@", "hub::x"])
def test_bad_hub_address(path):
    with pytest.raises(InputError, match="hub:REPO"):
        hub_address(path)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.mark.usefixtures("hub_cache")
def test_hub_folder(tmp_path):
    records = "\n".join(map(json.dumps, RECORDS))
    write(tmp_path / "translations" / "train.jsonl", records)
    pairs = read(tmp_path, "hub:./translations:train", BOTH)
    assert texts(pairs) == [("dog", "Hund"), ("Hund", "dog"), ("", "K z"), ("K z", "")]
    assert pairs[0].origin == "hub:./translations:train#1"
    write(tmp_path / "columns" / "test.jsonl", '{"a": "dog", "b": "Hund"}')
    assert texts(read(tmp_path, f"hub:{tmp_path}/columns:test:a:b")) == [("dog", "Hund")]
    fails(tmp_path, "hub:./columns:test", "has a, b", "columns:")
    fails(tmp_path, "hub:./columns:train:a:b", "tried datasets.load_dataset", "train")
    fails(tmp_path, "hub:./none:train", "doesn't exist")


@pytest.mark.usefixtures("hub_cache")
def test_hub_revision_is_pinned(tmp_path, monkeypatch):
    import datasets
    import huggingface_hub

    asked = []

    def load(repo, config, split, revision):
        asked.append((repo, config, split, revision))
        return [{"en": "dog", "de": "Hund"}]

    class Info:
        sha = "0123abc"

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: Info)
    (pair,) = read(tmp_path, "hub:own/set/conf:train@main")
    assert asked == [("own/set", "conf", "train", "0123abc")]
    assert pair.origin == "hub:own/set/conf:train@0123abc#1"


@pytest.mark.usefixtures("hub_cache")
def test_hub_offline_says_what_was_tried(tmp_path):
    fails(
        tmp_path,
        "hub:nobody/nothing:train",
        "tried datasets.load_dataset('nobody/nothing'",
        "HF_HUB_OFFLINE",
        "local files",
    )


def test_hub_without_datasets(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    fails(tmp_path, "hub:a/b:train", "pip install 'evokd[hub]'")


# sacreBLEU and the phrasebook


@pytest.fixture
def wmt17(tmp_path, monkeypatch):
    """sacreBLEU's cache of a test set, as if it had been fetched before."""
    data = sacrebleu.DATASETS["wmt17"]
    monkeypatch.setattr(data, "_outdir", str(tmp_path / "wmt17"))
    monkeypatch.setattr(data, "_rawdir", str(tmp_path / "wmt17" / "raw"))
    for pair, source, reference in [("en-de", "dog\n", "Hund\n"), ("de-en", "Maus\n", "mouse\n")]:
        for field in data.fieldnames(pair):
            text = {"src": source, "ref": reference}.get(field, "x\n")
            write(tmp_path / "wmt17" / f"wmt17.{pair}.{field}", text)
    return data


@pytest.mark.usefixtures("wmt17")
def test_sacrebleu_directions_have_their_own_texts(tmp_path):
    pairs = read(tmp_path, "sacrebleu:wmt17", ["en-de", "deu_Latn-eng_Latn", "en-is"])
    assert facts(pairs) == [
        ("en-de", "dog", "Hund", "sacrebleu:wmt17/en-de#1"),
        ("deu_Latn-eng_Latn", "Maus", "mouse", "sacrebleu:wmt17/de-en#1"),
    ]
    fails(
        tmp_path,
        "sacrebleu:wmt17",
        "has no en-is",
        "en-cs",
        languages=("en", "is"),
        directions=["en-is"],
    )
    fails(tmp_path, "sacrebleu:wmt1", "no test set 'wmt1'", "sacrebleu --list")


@pytest.mark.usefixtures("wmt17")
@pytest.mark.parametrize("failure", [OSError("no network"), SystemExit(1)])
def test_sacrebleu_without_network(tmp_path, monkeypatch, failure):
    def unreachable(*_, **__):
        raise failure

    monkeypatch.setattr("sacrebleu.dataset.base.download_file", unreachable)
    fails(tmp_path, "sacrebleu:wmt17", "can't be fetched", "local files", directions=["en-cs"])


def test_phrasebook(tmp_path):
    pairs = read(tmp_path, "phrasebook:train:5", ["en-de", "cs-en"])
    assert [pair.direction for pair in pairs] == ["en-de", "cs-en"] * 5
    assert pairs[0].source == pairs[1].target
    assert pairs[0].origin == "phrasebook:train#1"
    assert all(pair.source and pair.target for pair in pairs)
    assert len(read(tmp_path, "phrasebook:test:7")) == 7
    assert len(read(tmp_path, "phrasebook:train:5", ["en-de", "en-fr"])) == 5
    fails(tmp_path, "phrasebook:train:5", "not fr", directions=["en-fr"], languages=("en", "fr"))
    fails(tmp_path, "phrasebook:dev", "phrasebook:valid")
    fails(tmp_path, "phrasebook:test:1001", "1000 sentences")


# Formats and files


def test_format_by_name_and_by_content(tmp_path):
    write(tmp_path / "a", ' [{"en": "dog", "de": "Hund"}]')
    write(tmp_path / "b", TMX)
    write(tmp_path / "c", "dog\tHund\n")
    write(tmp_path / "d.JSONL", "{}")
    kinds = [
        source_format(CorpusSource(path=name), tmp_path) for name in ("a", "b", "c", "d.JSONL")
    ]
    assert kinds == ["json", "tmx", "tsv", "json"]
    assert source_format(CorpusSource(path="x", format="po"), tmp_path) == "po"
    assert texts(read(tmp_path, "c")) == [("dog", "Hund")]


def test_input_files(tmp_path):
    en = write(tmp_path / "t.en.gz", gzip.compress(b"one\n"))
    de = write(tmp_path / "t.de", "eins\n")
    table = write(tmp_path / "t.tsv", "one\teins\n")
    assert input_files(CorpusSource(path="t"), BOTH, tmp_path) == [en, de]
    assert input_files(CorpusSource(path="t.tsv"), BOTH, tmp_path) == [table]
    for name in ("phrasebook:train", "sacrebleu:wmt22", "hub:a/b:train"):
        assert input_files(CorpusSource(path=name), BOTH, tmp_path) == []
    with pytest.raises(InputError, match="not found"):
        input_files(CorpusSource(path="u.tsv"), BOTH, tmp_path)
