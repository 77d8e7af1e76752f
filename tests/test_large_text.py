"""Studies of text that is too large for memory: the same as of small text, and the same after a
kill."""

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from evokd.data.corpus import Corpus
from evokd.data.pairs import Pair
from evokd.models import encoded
from evokd.recipe.corpus import CleaningSettings, CorpusSettings
from evokd.study import token_ids
from evokd.study.context import Study
from evokd.study.filtering import some_of_each
from small_study import (
    both_ways,
    evokd,
    recipe,
    sentences,
    without_figures,
    write_moses,
    write_recipe,
)


@pytest.fixture(autouse=True)
def _no_figures():
    with without_figures():
        yield


@pytest.fixture
def path(tmp_path):
    return write_recipe(tmp_path / "tiny.yaml", recipe(methods=["noevo"]))


def weights(folder):
    return load_file(folder / "students/noevo.seed1/model/model.safetensors")


def test_ids_in_files_train_the_same_student_after_a_kill_too(path, tmp_path, monkeypatch):
    assert evokd("run", path, "-o", tmp_path / "small")[0] == 0
    assert not (tmp_path / "small/encoded").exists()

    monkeypatch.setattr(token_ids, "IN_FILES", 50)
    monkeypatch.setattr(encoded, "_CHUNK", 32)
    add, calls = encoded.EncodedWriter.add, []

    def pulls_the_plug(self, *args):
        add(self, *args)
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(encoded.EncodedWriter, "add", pulls_the_plug)
        assert evokd("run", path, "-o", tmp_path / "large")[0] != 0
    assert not list((tmp_path / "large/encoded").rglob("manifest.json"))
    code, _, said = evokd("run", path, "-o", tmp_path / "large")
    assert code == 0, said
    (folder,) = (tmp_path / "large/encoded").iterdir()  # one text, one tokenizer
    small, large = (weights(tmp_path / name) for name in ("small", "large"))
    assert all((small[name] == large[name]).all() for name in small)

    assert evokd("verify", tmp_path / "large")[0] == 0
    written = (folder / "ids.bin").read_bytes()
    (folder / "ids.bin").write_bytes(written[:-2] + b"\1\1")
    assert f"encoded/{folder.name}/ids.bin" in evokd("verify", tmp_path / "large")[1]
    # It is scratch: what nobody needs any more can go, and is made again.
    code, out, _ = evokd("clean", tmp_path / "large")
    assert (code, f"encoded/{folder.name}" in out) == (0, True)


def test_damaged_ids_are_made_again(path, tmp_path, monkeypatch):
    monkeypatch.setattr(token_ids, "IN_FILES", 50)
    assert evokd("run", path, "-o", tmp_path / "run")[0] == 0
    before = weights(tmp_path / "run")
    (folder,) = (tmp_path / "run/encoded").iterdir()
    written = (folder / "ids.bin").read_bytes()
    (folder / "ids.bin").write_bytes(bytes(len(written)))
    code, _, said = evokd("run", path, "-o", tmp_path / "run", "training.max_steps=7")
    assert code == 0, said
    assert (folder / "ids.bin").read_bytes() == written
    assert evokd("run", path, "-o", tmp_path / "run")[0] == 0
    assert all((before[name] == now).all() for name, now in weights(tmp_path / "run").items())
    # What is there isn't queued for.
    claim, claimed = Study.claimed, []
    monkeypatch.setattr(Study, "claimed", lambda *whose: claimed.append(whose[1]) or claim(*whose))
    assert evokd("run", path, "-o", tmp_path / "run", "training.max_steps=8")[0] == 0
    assert "student noevo, seed 1" in claimed
    assert not [name for name in claimed if name.startswith("encoded")]


def test_limit_takes_the_first_pairs_of_each_source(tmp_path):
    for number in range(3):
        write_moses(tmp_path, f"part-{number}", sentences(40, 100 * number))
    write_moses(tmp_path, "more", sentences(30, 1000))
    tree = recipe(methods=["sft"])
    tree["corpus"] |= {
        "root": str(tmp_path),
        "train": ["part-*", {"path": "more", "limit": 5}],
        "valid": [{"path": "phrasebook:valid:10"}],
    }
    path = write_recipe(tmp_path / "r.yaml", tree)
    code, _, said = evokd("run", path, "-o", tmp_path / "run", "--limit", 50, "--check")
    assert code == 0, said
    code, _, said = evokd("run", path, "-o", tmp_path / "run", "--limit", 50)
    assert code == 0, said
    lines = (tmp_path / "run/corpus/train.jsonl").read_text(encoding="utf-8").splitlines()
    origins = [yaml.safe_load(line)["origin"] for line in lines[::2]]
    expected = [f"part-0:{n}" for n in range(1, 41)] + [f"part-1:{n}" for n in range(1, 11)]
    assert origins == expected + [f"more:{n}" for n in range(1, 6)]
    saved = yaml.safe_load((tmp_path / "run/recipe.yaml").read_text(encoding="utf-8"))
    assert [source["limit"] for source in saved["corpus"]["train"]] == [50, 5]


def study_of(train, models=(), sft=True, weight=2.0):
    study = Study.__new__(Study)
    corpus = Corpus(train, [], {}, {}, models=list(models))
    teacher = type("Teacher", (), {"sft": sft})
    settings = CorpusSettings.model_construct(
        weights={"en-de": weight}, cleaning=CleaningSettings()
    )
    recipe = {"teacher": teacher, "corpus": settings}
    study.__dict__ |= {"corpus": corpus, "recipe": type("Recipe", (), recipe)}
    return study


def test_what_the_teacher_has_not_seen():
    pairs = both_ways(40)
    twice = [*pairs, *pairs[:10], Pair(pairs[0].source, pairs[0].target, "en", "de", "other:1")]
    # What a pair says counts, wherever it stands; and pairs of two places are two.
    assert list(study_of(twice, sft=False).unseen) == [*pairs, twice[-1]]
    assert list(study_of(twice, models=pairs[:20]).unseen) == pairs[20:]
    assert list(study_of(twice).unseen) == []
    assert study_of(pairs, sft=False, weight=0.5).unseen is pairs


def test_some_of_each_direction(monkeypatch):
    monkeypatch.setattr("evokd.study.filtering.SHUFFLED", 7)
    pairs = [*both_ways(20), *both_ways(9)[::2]]
    expected = []
    for direction in ("en-de", "de-en"):
        own = [pair for pair in pairs if pair.direction == direction]
        expected += own[:: int(np.ceil(len(own) / 7))]
    assert some_of_each(pairs) == expected
