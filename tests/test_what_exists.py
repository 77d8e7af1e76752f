"""The tables of what exists: what reads them, and rows that are added from outside."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tabulate import tabulate

import evokd
import evokd_extras  # noqa: F401 (its rows stay when those of a test go)
from evokd.data.corpus import build_corpus, corpus_files
from evokd.data.pairs import Pair
from evokd.data.prompts import PROMPTS, Prompt, load_prompt
from evokd.distil.objectives import LOSSES
from evokd.distil.train.method_state import MethodPart
from evokd.distil.train.run import parts_of
from evokd.distil.train.schedules import GAMMA_PARTS, ScheduledGamma
from evokd.models.fresh import train_tokenizer
from evokd.recipe.file import check_recipe
from evokd.recipe.formats import FORMATS
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import (
    BETA_RULES,
    GAMMA_RULES,
    OBJECTIVES,
    PAIR_WEIGHTS,
    PRESET_SOURCES,
    PRESETS,
    Extra,
    GammaRuleSpec,
    ObjectiveSettings,
    method_names,
    objective_settings,
    objectives_table,
)
from evokd.recipe.section import Section
from small_study import evokd as command
from small_study import recipe, write_recipe
from test_recipe import refusal
from tiny import encode_pair, encode_prompt

DOCS = Path(__file__).parents[1] / "docs"
PLUGIN = """
from evokd.distil.objectives import LOSSES
from evokd.recipe.objectives import OBJECTIVES, ObjectiveSpec

def focal(t):
    d = t.difficulty
    return (1 - (-d.detach()).exp()) ** 2 * d

OBJECTIVES["focal"] = ObjectiveSpec("(1 − e^−d)² d", "after Lin et al. 2017", ("lam",))
LOSSES["focal"] = focal
"""


@pytest.fixture
def tables():
    """What a test adds is gone after it."""
    every = (
        *(OBJECTIVES, LOSSES, GAMMA_RULES, GAMMA_PARTS, BETA_RULES, PAIR_WEIGHTS),
        *(FORMATS, PROMPTS),
    )
    before = [(table, set(table)) for table in every]
    sys.modules.pop("evokd_extras.disbelief", None)  # so that its rows are added anew
    yield
    sys.modules.pop("evokd_extras.disbelief", None)
    for table, names in before:
        for name in table.keys() - names:
            del table[name]


def test_the_page_shows_the_table_of_objectives():
    """What `evokd methods` prints, word for word."""
    table = tabulate(objectives_table(), headers="keys", tablefmt="github")
    assert table in (DOCS / "method.md").read_text(encoding="utf-8")
    assert {row["objective"] for row in objectives_table()} == set(method_names())
    assert PRESET_SOURCES.keys() == PRESETS.keys()


def test_the_page_shows_the_table_of_formats_and_names_every_prompt():
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    rows = []
    for name, spec in FORMATS.items():
        path = {
            "file": f"a file ({', '.join(spec.suffixes)})" if spec.suffixes else "a file",
            "prefix": "the files' common prefix",
            "address": f"`{name}:…`",
        }[spec.path_is]
        rows.append({"format": f"`{name}`", "what it is": spec.summary, "path": path})
    assert tabulate(rows, headers="keys", tablefmt="github") in page
    for name in PROMPTS:
        assert f"`{name}`" in page


def test_the_page_shows_every_rule_for_gamma():
    page = (DOCS / "method.md").read_text(encoding="utf-8")
    for name in GAMMA_RULES:
        assert f"rule: {name}" in page or f"`{name}`" in page


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_says_what_its_function_reads(name):
    """An objective's loss moves with each setting of its row, and with no other that it takes."""
    generator = torch.Generator().manual_seed(1)
    student, teacher = (2 * torch.randn(40, 11, generator=generator).double() for _ in range(2))
    labels = torch.randint(11, (40,), generator=generator)
    other = {
        **{"lam": 0.8, "target_lam": 0.9, "beta": 0.3, "gamma": 3.0, "top_percent": 20.0},
        **{
            "gate": "inverted",
            "doubt": 1.0,
            "tau": 0.7,
            "difficulty": "nll",
            "alpha": 0.7,
            "mu": 0.9,
        },
        **{"smoothing": 0.4, "queue": 8, "averaging": "all"},
    }
    assert other.keys() == ObjectiveSettings.model_fields.keys()
    given = (student, teacher, labels)
    usual = {"gamma": 2.0, "top_percent": 40.0}
    if name == "self_evolution":
        usual["gate"] = "smooth"  # so that τ counts as well
    for key, value in other.items():
        refused = ("target_lam", "queue", "gate", "difficulty", "doubt", "tau")
        if key in refused and key not in OBJECTIVES[name].settings:
            continue
        here = {k: v for k, v in usual.items() if k != key}
        if key == "doubt" and "gate" in here:
            here["gate"] = "vouched"
        moved = not torch.equal(
            evokd.token_loss(name, *given, **here),
            evokd.token_loss(name, *given, **here, **{key: value}),
        )
        assert moved == (key in OBJECTIVES[name].settings and key != "target_lam"), key


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_says_whether_teacher_and_reference_count(name):
    spec = OBJECTIVES[name]
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(6, 11, generator=generator).double() for _ in range(2))
    labels = torch.randint(11, (6,), generator=generator)

    def sees_reference(lam: float) -> bool:
        one, other = (
            evokd.token_loss(name, student, teacher, y, lam=lam, top_percent=100.0)
            for y in (labels, (labels + 1) % 11)
        )
        return not torch.allclose(one, other)

    assert sees_reference(0.5) == spec.needs_reference(0.5)
    # At λ = 1 the target of noevo and others is the teacher alone, but d may be another's measure.
    assert spec.needs_reference(1.0) or not sees_reference(1.0)
    if spec.needs_teacher:
        with pytest.raises(ValueError, match="needs the teacher"):
            evokd.token_loss(name, student, None, labels)
    else:
        evokd.token_loss(name, student, None, labels)


def test_other_measures_of_disbelief_are_a_plugin(tables):
    disbelief = importlib.import_module("evokd_extras.disbelief")
    generator = torch.Generator().manual_seed(1)
    student, teacher = (2 * torch.randn(60, 11, generator=generator).double() for _ in range(2))
    labels = torch.randint(11, (60,), generator=generator)
    p = teacher.softmax(1)
    own = p[range(60), labels]
    entropy = -(p * p.log()).sum(1)
    measured = {
        "excess_1": -own.log() - entropy > 1,
        "excess_2": -own.log() - entropy > 2,
        "surprisal_2": own < math.exp(-2),
        "half_excess_15": -own.log() - entropy / 2 > 1.5,
        "below_mode_3": p.amax(1) > own * math.exp(3),
        "tail_3": (p * (p <= own[:, None])).sum(1) < math.exp(-3),
        "span_2": torch.stack([-own[max(n - 1, 0) : n + 2].log().mean() for n in range(60)]) > 2,
        "left_out_2": own < math.exp(-2),
        "teacher_alone_2": own < math.exp(-2),
    }
    assert measured.keys() == disbelief.GATES.keys()
    easy = evokd.token_loss("noevo", student, teacher, labels)
    damped = evokd.token_loss("skew", student, teacher, labels)
    instead = {
        "left_out_2": torch.zeros_like(damped),
        "teacher_alone_2": evokd.token_loss("forward_kd", student, teacher, labels, lam=1.0),
    }
    for name, doubted in measured.items():
        taken = doubted & (easy > 1.5)
        assert 3 < taken.sum() < 57, name
        expected = torch.where(taken, instead.get(name, damped), easy)
        found = evokd.token_loss(name, student, teacher, labels, gamma=1.5)
        torch.testing.assert_close(found, expected, msg=name)
    found = evokd.token_loss("truncated", student, teacher, labels, gamma=2.0, difficulty="nll")
    small = -student.log_softmax(1)[range(60), labels] <= 2
    assert 3 < small.sum() < 57
    torch.testing.assert_close(found, torch.where(small, easy, 0.0))


def test_an_objective_from_outside(tmp_path, monkeypatch, tables):
    """One function and one row, in a module that the recipe names: trained, scored and shown."""
    (tmp_path / "my_objectives.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    tree = recipe(methods=["sft", "focal"], plugins="my_objectives", seeds=[1])
    path = write_recipe(tmp_path / "recipe.yaml", tree)
    code, out, err = command("run", path, "-o", tmp_path / "run")
    assert code == 0, err
    assert "focal" in out
    scores = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert {row["system"] for row in scores["scores"]} == {"teacher", "sft", "focal"}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "focal" in page
    assert objective_settings("focal").lam == 0.5


def test_a_plugin_that_is_not_there_is_named():
    said = refusal(recipe(plugins=["my_objektives"]))
    assert "plugins: 'my_objektives' can't be imported" in said


def test_a_rule_for_gamma_from_outside(tables):
    GAMMA_RULES["halving"] = GammaRuleSpec("halves once", ("start",), "start")
    GAMMA_PARTS["halving"] = lambda rule: ScheduledGamma(
        lambda progress: rule.start / (2 if progress >= 0.5 else 1)
    )
    tree = recipe(methods=[{"name": "self_evolution", "gamma": {"rule": "halving", "start": 5}}])
    (method,) = check_recipe(tree).methods
    assert method.first_gamma() == 5.0
    part = parts_of(method, seed=1)["gate"]
    assert [part.settings(ObjectiveSettings(), t).gamma for t in (0.0, 0.9)] == [5.0, 2.5]


def plugin_of_the_page(heading: str, module: Path) -> None:
    """The Python that docs/data.md shows under a heading, as a module."""
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    section = page[page.index(heading) :]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    module.write_text(code, encoding="utf-8")


def csv_recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    tree = recipe(directions=["en-de"], **changes)
    train = ["train.csv", {"path": "more.txt", "format": "csv"}]
    return {**tree, "corpus": {**tree["corpus"], "root": str(folder), "train": train}}


def test_a_corpus_format_from_outside(tmp_path, monkeypatch, tables):
    """The page's reader and row: recipes take the format, by suffix and by name."""
    plugin_of_the_page("### A format of one's own", tmp_path / "my_formats.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "train.csv").write_text('"A dog, asleep.",Ein Hund schläft.\n', encoding="utf-8")
    (tmp_path / "more.txt").write_text("A cat.,Eine Katze.\n", encoding="utf-8")
    assert "format: unknown format 'csv'" in refusal(csv_recipe(tmp_path))
    made = check_recipe(csv_recipe(tmp_path, plugins="my_formats"))
    corpus = build_corpus(made.corpus, made.directions, seed=1)
    assert [(pair.source, pair.target, pair.origin) for pair in corpus.train] == [
        ("A dog, asleep.", "Ein Hund schläft.", "train.csv:1"),
        ("A cat.", "Eine Katze.", "more.txt:1"),
    ]
    assert [source["format"] for source in corpus.report["sources"][-2:]] == ["csv", "csv"]
    files = [tmp_path / "train.csv", tmp_path / "more.txt"]
    assert corpus_files(made.corpus, made.directions) == files


def test_a_prompt_from_outside(tmp_path, monkeypatch, tables):
    """The page's row: recipes take the prompt, and pairs are encoded with it."""
    plugin_of_the_page("## Prompts", tmp_path / "my_prompts.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    prompt = load_prompt(check_recipe(recipe(prompt="arrow", plugins="my_prompts")).prompt)
    tokenizer = train_tokenizer(["en > de: dog = Hund"] * 20, 300, [])
    ids = encode_prompt(tokenizer, prompt, "dog", "en", "de")
    assert tokenizer.decode(ids).endswith("en > de: dog =")
    pair = Pair("dog", "Hund", "en", "de", "made:1")
    assert list(encode_pair(tokenizer, prompt, pair)["input_ids"][: len(ids)]) == ids
    prompt.save(tmp_path)
    del PROMPTS["arrow"]  # a saved model needs no plugin
    assert Prompt.load(tmp_path) == prompt


def test_extras_from_outside(tmp_path, monkeypatch, tables):
    """A word that stands for β, and a key that weighs pairs: a row and a module each."""
    (tmp_path / "my_part.py").write_text(
        "from evokd.distil.train.method_state import MethodPart\n"
        "def method_part(method, seed):\n    return MethodPart()\n"
        "def pair_weights(pairs, settings):\n    return [1.0] * len(pairs.data)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    class Easy(Section):
        level: float = 1.0

    BETA_RULES["oracle"] = Extra("my_part")
    PAIR_WEIGHTS["easy_first"] = Extra("my_part", Easy)
    method = MethodSettings.model_validate(
        {"name": "self_evolution", "beta": "oracle", "easy_first": {"level": 2}}
    )
    assert type(parts_of(method, 1)["betas"]) is MethodPart
    assert method.pair_weights == {"easy_first": Easy(level=2)}
    assert "easy_first" in refusal(recipe(methods=[{"name": "sft", "easy_last": {}}]))


def test_the_main_path_passes_no_extra():
    """Their modules are imported where a recipe asks for them, and nowhere else."""
    package = Path(evokd.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        known = ("file.py", "objectives.py", "code.py")
        assert "evokd_extras" not in text or path.name in known, path
