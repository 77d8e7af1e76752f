"""Code of a user's own that a recipe names as package.module:name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

import evokd
from evokd.data.prompts import Prompt, load_prompt
from evokd.errors import InputError
from evokd.recipe.code import code_hashes, is_address
from evokd.recipe.formats import FORMATS
from evokd.recipe.metrics import METRICS
from evokd.recipe.objectives import OBJECTIVES
from small_study import evokd as command
from small_study import recipe, sentences, without_figures, write_recipe
from test_recipe import refusal

CODE = '''
from evokd.data.prompts import Prompt
from evokd.data.source_request import Unit
from sacrebleu.metrics import CHRF

from evokd.evaluate.scores import chrf
from evokd.recipe.metrics import MetricSpec
from evokd.recipe.objectives import ObjectiveSpec


def focal(t):
    """(1 − e^−d)² d"""
    d = t.difficulty
    return (1 - (-d.detach()).exp()) ** 2 * d


def scaled(t):
    return POWER * t.nll


POWER = 1.0
scaled.spec = ObjectiveSpec("c · −ln q(y)", "own", needs_teacher=False)


def chrf1(language, references=None, tokenizer=None):
    return CHRF(beta=1, references=references)


chrf1.spec = MetricSpec("chrF1", chrf1)
words = chrf


def read_bars(request, notes):
    codes = request.column_languages("two columns")
    for number, line in enumerate(request.path.read_text().splitlines(), start=1):
        yield Unit(dict(zip(codes, line.split("|"))), f"{request.name}:{number}")


ARROW = Prompt("arrow", "{source_code} > {target_code}: {source} =")
PLAIN = "{source} ->"
NUMBER = 3
'''


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """my_code.py in a folder that Python finds; its rows are gone after a test."""
    before = [(table, set(table)) for table in (OBJECTIVES, METRICS, FORMATS)]
    (tmp_path / "my_code.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "my_code.py"
    forget(before)


def forget(before) -> None:
    sys.modules.pop("my_code", None)
    for table, names in before:
        for name in table.keys() - names:
            del table[name]


def study(folder: Path) -> Path:
    text = "".join(f"{english}|{german}\n" for english, german in sentences(60))
    (folder / "train.txt").write_text(text, encoding="utf-8")
    tree = recipe(
        methods=["my_code:focal", {"name": "half", "objective": "my_code:scaled"}],
        scoring={"metrics": ["bleu", "my_code:chrf1", "my_code:words"], "bootstrap_samples": 50},
        prompt="my_code:ARROW",
        directions=["en-de"],
    )
    tree["corpus"]["train"] = [{"path": str(folder / "train.txt"), "format": "my_code:read_bars"}]
    return write_recipe(folder / "recipe.yaml", tree)


def test_objectives_metrics_readers_and_prompts_of_ones_own(own_code, tmp_path):
    path, run = study(tmp_path), tmp_path / "run"
    before = [(table, set(table)) for table in (OBJECTIVES, METRICS, FORMATS)]
    with without_figures():
        code, out, err = command("run", path, "-o", run)
    assert code == 0, err
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert {row["system"] for row in results["scores"]} == {"teacher", "focal", "half"}
    scores = {(row["system"], row["metric"]): row["score"] for row in results["scores"]}
    assert {metric for _, metric in scores} >= {"bleu", "my_code:chrf1", "my_code:words"}
    assert results["cleaning"]["sources"][-1]["format"] == "my_code:read_bars"
    assert Prompt.load(run / "students/half.seed1/model").template.endswith("{source} =")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "chrF1" in page

    # Other code, other students: the metric is another one as well, the corpus as it was read.
    own_code.write_text(CODE.replace("POWER = 1.0", "POWER = 0.5"), encoding="utf-8")
    forget(before)
    code, out, err = command("run", path, "-o", run, "--dry-run", "--format", "json")
    assert code == 0, err
    steps = {step["name"]: step for step in json.loads(out)["stages"]}
    assert steps["teacher"]["action"] == "keep"
    assert steps["student half, seed 1"]["action"] == "remake"
    assert "code" in steps["student half, seed 1"]["because"]
    assert steps["results"]["action"] == "remake"


def test_a_built_in_method_does_not_depend_on_code_beside_it(own_code, tmp_path):
    assert code_hashes(["sft"], OBJECTIVES, ["my_code"]) == {}
    assert code_hashes(["my_code:focal"], OBJECTIVES, []).keys() == {"my_code"}
    assert code_hashes(["of_a_plugin"], OBJECTIVES, ["my_code"]).keys() == {"my_code"}
    assert code_hashes(["of_a_plugin"], OBJECTIVES, ["evokd_extras.disbelief"]) == {}


def test_an_objective_of_ones_own_in_python(own_code):
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(9, 11, generator=generator) for _ in range(2))
    labels = torch.randint(11, (9,), generator=generator)
    d = evokd.token_loss("noevo", student, teacher, labels)
    found = evokd.token_loss("my_code:focal", student, teacher, labels)
    torch.testing.assert_close(found, (1 - (-d).exp()) ** 2 * d)
    nll = evokd.token_loss("sft", student, None, labels)
    torch.testing.assert_close(evokd.token_loss("my_code:scaled", student, None, labels), nll)
    assert OBJECTIVES["my_code:focal"].formula == "(1 − e^−d)² d"


WRONG = """
def scalar(t):
    return t.nll.mean()

def misspelt(t):
    return t.nope

def no_gradient(t):
    return t.nll.detach()

def of_one(language):
    return 3

def number(language, references=None, tokenizer=None):
    return 3
"""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ["my_wrong:scalar"]}, "methods.scalar: my_wrong:scalar, tried on four tokens"),
        ({"methods": ["my_wrong:misspelt"]}, "gives AttributeError: 'Tokens' object has no"),
        ({"methods": ["my_wrong:no_gradient"]}, "gives RuntimeError: element 0 of tensors does"),
        ({"scoring": {"metrics": ["my_wrong:of_one"]}}, "tried on one line, gives TypeError"),
        ({"scoring": {"metrics": ["my_wrong:number"]}}, "has no attribute 'corpus_score'"),
    ],
)
@pytest.mark.parametrize("flag", ["--check", "--dry-run", "--yes"])
def test_code_that_cannot_work_is_found_before_anything_is_trained(
    own_code, tmp_path, changes, said, flag
):
    (tmp_path / "my_wrong.py").write_text(WRONG, encoding="utf-8")
    path = write_recipe(tmp_path / "recipe.yaml", recipe(**changes))
    try:
        code, _, err = command("run", path, "-o", tmp_path / "run", flag)
    finally:
        sys.modules.pop("my_wrong", None)
    assert (code, said in err, "Traceback" in err) == (2, True, False), err
    assert not list((tmp_path / "run").glob("*/manifest.json"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ["my_code:focl"]}, "my_code has no 'focl'; did you mean my_code:focal?"),
        (
            {"methods": ["my_cod:focal"]},
            "'my_cod' can't be imported: No module named 'my_cod'; the",
        ),
        ({"methods": ["my_code:NUMBER"]}, "my_code:NUMBER is int, no function"),
        ({"methods": ["my code:focal"]}, "unknown objective 'my code:focal'"),
        ({"scoring": {"metrics": ["my_code:none"]}}, "my_code:none: my_code has no 'none'"),
        ({"plugins": ["my_cod"]}, "plugins: 'my_cod' can't be imported"),
    ],
)
def test_what_is_not_there_is_named(own_code, changes, said):
    assert said in refusal(recipe(**changes))


def test_code_that_fails_when_it_is_imported_is_no_traceback(own_code):
    own_code.write_text("raise RuntimeError('no licence')", encoding="utf-8")
    said = refusal(recipe(methods=["my_code:focal"]))
    assert "'my_code' fails while it is imported (RuntimeError: no licence)" in said


def test_prompts_of_ones_own(own_code):
    assert load_prompt("my_code:ARROW").style == "arrow"
    assert load_prompt("my_code:PLAIN") == Prompt("file", "{source} ->")
    with pytest.raises(InputError, match="my_code:NUMBER is int; a template"):
        load_prompt("my_code:NUMBER")
    with pytest.raises(InputError, match="prompt my_code has no 'AROW'; did you mean"):
        load_prompt("my_code:AROW")


def test_a_module_where_the_command_is_typed_is_found(tmp_path, monkeypatch):
    (tmp_path / "lies_here.py").write_text("ARROW = '{source} =>'", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    assert load_prompt("lies_here:ARROW").template == "{source} =>"
    assert not is_address("phrasebook:train:100")
    assert not is_address("C:/x")
    assert not is_address(3)


def test_the_command_line_takes_them(own_code, tmp_path):
    for name in ("ref", "hyp"):
        (tmp_path / name).write_text("Ein Zug.\n", encoding="utf-8")
    files = ("--ref", tmp_path / "ref", tmp_path / "hyp")
    code, out, err = command("score", "-l", "en-de", *files, "--metrics", "my_code:chrf1")
    assert (code, "chrF1" in out) == (0, True), err
    code, _, err = command("score", "-l", "en-de", *files, "--metrics", "my_code:chrf9")
    assert (code, "has no 'chrf9'" in err) == (2, True)
    said = ("distil", "--teacher", "fresh", "--student", "fresh", "-l", "en-de", "--check")
    files = ("--train", "phrasebook:train:50", "--test", "phrasebook:test:9", "-o", tmp_path / "r")
    code, out, err = command(*said, *files, "--method", "my_code:focal", "prompt=compact")
    assert code == 0, err
    assert yaml.safe_load(out)["methods"][-1]["objective"] == "my_code:focal"
    err = command(*said, *files, "--method", "focl")[2]
    assert "methods.focl.objective: unknown objective 'focl'; accepted" in err
    assert all(name in err for name in ("sft", "forward_kd", "self_evolution"))
