"""What `--check` refuses is what a run would refuse, in the same words, without any weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evokd.models.fresh import train_tokenizer
from evokd.study.identity import check_folder
from small_study import evokd, recipe, sentences, write_moses, write_recipe
from tiny import tiny_llama

LINES = 4500  # more than are looked at closely


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    write_moses(folder, "train", sentences(LINES))
    write_moses(folder, "test", sentences(8, start=LINES))
    for name, size in (("one", 300), ("other", 350)):
        texts = [text for pair in sentences(50) for text in pair]
        tokenizer = train_tokenizer(texts, size, ["<en>", "<de>"])
        tokenizer.save_pretrained(folder / name)
        tiny_llama(vocab_size=len(tokenizer)).save_pretrained(folder / name)
    return folder


def said(home: Path, tmp_path: Path, *overrides: str, flag: str = "--check") -> tuple[int, str]:
    corpus = {
        "root": str(home),
        "train": [{"path": "train"}],
        "test": [{"name": "t", "path": "test"}],
        "cleaning": {"drop_test_leaks": False},
    }
    models = {"teacher": {"model": str(home / "one"), "sft": False}, "prompt": "compact"}
    models["student"] = {"model": str(home / "one")}
    tree = recipe(corpus=corpus, methods=["sft"], **models)
    tree["training"]["max_steps"] = 1
    path = write_recipe(tmp_path / "r.yaml", tree)
    flags = [flag] if flag else []
    code, _, err = evokd("run", path, "-o", tmp_path / "run", *flags, *overrides)
    return code, err.strip().splitlines()[-1]


def broken(home: Path, name: str, change) -> str:
    """A copy of the training text whose German side is changed; the override that names it."""
    for side in ("en", "de"):
        data = (home / f"train.{side}").read_bytes()
        (home / f"{name}.{side}").write_bytes(change(data) if side == "de" else data)
    return f"corpus.train.0.path={name}"


def test_a_study_in_order_is_fine_and_leaves_nothing(home, tmp_path):
    path = tmp_path / "r.yaml"
    assert said(home, tmp_path)[0] == 0
    code, out, err = evokd("run", path, "--check")
    assert (code, out) == (0, f"{path}: fine\n")
    assert f"train: train (moses): {LINES} en-de, {LINES} de-en; the first: " in err
    assert '"The train comes to Ba at one." → "Der Zug kommt um eins nach Ba."' in err
    assert re.search(r"cleaning: of a sample of 9000 training pairs 3000 read, 0 dropped", err)
    assert f"teacher: {home / 'one'}: llama, 1 layers, 16 wide, " in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.yaml"]


@pytest.mark.parametrize("name", ["fresh", "cut"])
def test_a_folder_of_that_name_is_not_what_is_meant(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    check_folder(name)
    tree = recipe()
    if name == "cut":
        tree["student"] = {"model": "cut", "cut": {"layers": 1}}
    code, _, err = evokd("run", write_recipe(tmp_path / "r.yaml", tree), "--check")
    assert code == 0, err


@pytest.mark.parametrize(
    "fault",
    [
        "a line too many",
        "a byte that is no UTF-8 at the end",
        "no such text",
        "a direction without text",
        "no such model",
        "a folder that is no model",
        "another tokenizer",
        "more layers than there are",
        "no such prompt",
        "a chat without a template",
        "no room",
        "no such device",
        "a GPU that isn't there",
    ],
)
def test_the_check_and_the_run_refuse_the_same_in_the_same_words(home, tmp_path, fault):
    other = home / "other"
    override = {
        "a line too many": lambda: broken(home, "longer", lambda data: data + b"Ende.\n"),
        "a byte that is no UTF-8 at the end": lambda: broken(
            home, "latin", lambda data: data[:-2] + b"\xe4\n"
        ),
        "no such text": lambda: "corpus.train.0.path=nowhere",
        "a direction without text": lambda: "directions=[en-de, en-cs]",
        "no such model": lambda: f"teacher.model={home}/none",
        "a folder that is no model": lambda: f"student.model={home}",
        "another tokenizer": lambda: f"student.model={other}",
        "more layers than there are": lambda: "student={model: cut, cut: {layers: 3}}",
        "no such prompt": lambda: "prompt=nonsense",
        "a chat without a template": lambda: "prompt=chat",
        "no room": lambda: "training.max_length=8",
        "no such device": lambda: "device=abacus",
        "a GPU that isn't there": lambda: "device=cuda:99",
    }[fault]()
    checked = said(home, tmp_path, override)
    assert checked[0] == 2
    assert not (tmp_path / "run").exists()
    ran = said(home, tmp_path, override, flag="")
    assert re.sub("of (reference|models)", "", ran[1]) == re.sub("of reference", "", checked[1])
    assert ran[0] == 2
