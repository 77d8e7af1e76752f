"""The examples as a reader runs them: each in a process of its own that sees no network."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from evokd.recipe.training import TrainingSettings

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, folder):
    """What an example prints: its steps as {quantity: value}, its results under their names."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env=environment,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    steps, results = [], {}
    for line in done.stdout.splitlines():
        if line.startswith("step "):
            words = line.split()
            steps.append(dict(zip(words[::2], map(float, words[1::2]), strict=True)))
        else:
            name, _, found = line.partition(" {")
            results[name] = ast.literal_eval("{" + found)
    return steps, results


def test_train_in_python(tmp_path):
    steps, results = run("train_in_python.py", tmp_path)
    distilled = steps[-4:]  # 80 steps, one line for 20
    assert distilled[-1]["loss"] < 0.5 * distilled[0]["loss"]
    assert distilled[-1]["hard_share"] < 0.5 * distilled[0]["hard_share"]
    warm, student = results["warm start"], results["student"]
    assert student["eval_noevo_loss"] < 0.5 * warm["eval_noevo_loss"]
    # No model can know which of two words comes: entropy 0.5 nats in 4 tokens of 5.
    assert 0.38 < results["teacher"]["eval_loss"] < student["eval_loss"] < warm["eval_loss"]


def test_add_an_objective(tmp_path):
    steps, results = run("add_an_objective.py", tmp_path)
    warm = steps[-7]["noevo_loss"]  # 60 steps each: the last line before two lots of three
    for name in ("self_evolution", "focal"):
        assert results[name]["eval_noevo_loss"] < 0.5 * warm
    assert results["self_evolution"] != results["focal"]


def test_the_method_page_shows_the_example_and_names_what_is_there():
    page = (EXAMPLES.parent / "docs" / "method.md").read_text(encoding="utf-8")
    source = (EXAMPLES / "add_an_objective.py").read_text(encoding="utf-8")
    (focal,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    assert f"```python\n{ast.get_source_segment(source, focal)}\n```" in page
    rooms = {
        **dict.fromkeys(("objectives", "tokens", "chunked_loss"), "distil"),
        **dict.fromkeys(("schedules", "batches"), "distil.train"),
        **dict.fromkeys(("closed_forms", "rows"), "distil.row_loss"),
        **{"trainer": "distil.train", "lm_head": "models"},
    }
    named = re.findall(rf"`({'|'.join(rooms)})\.([\w.]+)`", page)
    named = [(module, name) for module, name in named if name not in ("py", "c")]
    assert len(named) > 15
    for module, name in named:
        found = import_module(f"evokd.{rooms[module]}.{module}")
        for part in name.split("."):
            found = getattr(found, part)
    for key in re.findall(r"^\| — \| (.+?) \|", page, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", key):
            assert name in TrainingSettings.model_fields
