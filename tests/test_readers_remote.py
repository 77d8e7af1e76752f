"""Hub data sets and sacreBLEU's test sets, from caches made by hand."""

import json
import sys

import pytest
import sacrebleu

from evokd.data.readers.remote import HubAddress, hub_address
from evokd.errors import InputError
from source_files import BOTH, RECORDS, facts, fails, read, texts, write

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

    calls = []

    def load(repo, config, split, revision):
        calls.append((repo, config, split, revision))
        return [{"en": "dog", "de": "Hund"}]

    class Info:
        sha = "0123abc"

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: Info)
    (pair,) = read(tmp_path, "hub:own/set/conf:train@main")
    assert calls == [("own/set", "conf", "train", "0123abc")]
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


# sacreBLEU


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
