"""The walls between rooms: who may import whom, and what works where torch isn't installed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

import evokd
from evokd.errors import InputError
from fake_run import make_run
from small_study import recipe, write_recipe

PACKAGE = Path(evokd.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS_BELOW: dict[str, set[str]] = {"errors": set()}
for room, below in {
    "processes": ["errors"],
    "progress": ["processes"],
    "recipe": ["errors"],
    "rundir": ["errors"],
    "data": ["recipe", "rundir", "progress"],
    "models": ["data"],
    **{one: ["models"] for one in ("distil", "translate", "evaluate", "plan")},
    "report": ["evaluate"],
    "export": ["translate", "evaluate"],
    "serve": ["translate"],
    "study": ["distil", "export", "report", "plan"],
    "cli": ["study", "serve"],
    "__main__": ["cli"],
}.items():
    ROOMS_BELOW[room] = {*below}.union(*(ROOMS_BELOW[one] for one in below))
WITHOUT_TORCH = (
    "errors",
    "progress",
    "recipe",
    "rundir",
    "data",
    "evaluate",
    "plan",
    "report",
    "study.results",
)
TORCH = {"torch", "transformers", "accelerate", "tokenizers", "safetensors"}


def name_of(path: Path) -> str:
    """evokd/data/corpus.py → data.corpus; evokd/data/__init__.py → data"""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Full names of all modules that a file imports, inside functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute in this house"
            assert node.module is not None
            found.add(node.module)
            if node.module == "evokd":  # from evokd import rundir
                found |= {f"evokd.{alias.name}" for alias in node.names}
    return frozenset(found)


def rooms_used(path: Path) -> set[str]:
    names = (name.split(".") for name in imports_of(path))
    return {parts[1] for parts in names if parts[0] == "evokd" and len(parts) > 1}


def test_every_module_has_a_room():
    rooms = {name_of(path).split(".")[0] for path in MODULES} - {""}
    assert rooms <= set(ROOMS_BELOW)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward_only(path):
    room = name_of(path).split(".")[0]
    if not room:
        return  # evokd/__init__.py hands out names of every room, when asked
    assert rooms_used(path) - {room} <= ROOMS_BELOW[room]


def test_the_paper_imports_torch_and_the_table_of_what_exists():
    """The objectives, and what they stand on: three files that import nothing else of ours."""
    own = [f"distil/{name}.py" for name in ("tokens", "objectives", "token_selection")]
    own.append("recipe/objectives.py")
    modules = {f"evokd.{name_of(PACKAGE / path)}" for path in own}
    used = set().union(*(imports_of(PACKAGE / path) for path in own)) - modules
    roots = {name.split(".")[0] for name in used if not name.startswith("evokd.recipe")}
    assert "torch" in roots
    assert roots - {"torch", "pydantic"} <= set(sys.stdlib_module_names)


def test_the_trainer_knows_no_language_and_the_report_no_model():
    assert "data" not in rooms_used(PACKAGE / "distil/train/trainer.py")
    for path in (PACKAGE / "report").glob("*.py"):
        assert not rooms_used(path) & {"models", "distil", "translate"}


ELSEWHERE = "evaluate.neural_runner"
"""Started in another environment, imported nowhere."""


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if name_of(p).startswith(WITHOUT_TORCH) and name_of(p) != ELSEWHERE],
    ids=name_of,
)
def test_rooms_without_torch_name_it_nowhere(path):
    assert not {name.split(".")[0] for name in imports_of(path)} & TORCH


def test_nothing_has_a_name_that_says_nothing():
    words = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    for path in MODULES:
        assert not words & set(path.stem.lower().split("_")), path
        assert not words & {part.lower() for part in path.relative_to(PACKAGE).parent.parts}, path


def test_the_root_fits_on_a_screen():
    """At most 19 files and folders directly in the package, in at most 10 layers of imports."""
    entries = [p for p in PACKAGE.iterdir() if p.name != "__pycache__"]
    assert len(entries) <= 19

    @cache
    def layer(room: str) -> int:
        return 1 + max((layer(below) for below in ROOMS_BELOW[room]), default=0)

    assert max(map(layer, ROOMS_BELOW)) <= 10


def test_a_file_is_read_in_one_go():
    sources = [p for kind in ("py", "c", "jinja", "css") for p in PACKAGE.rglob(f"*.{kind}")]
    long = {p.name: n for p in sources if (n := len(p.read_text("utf-8").splitlines())) > 400}
    assert not long


def test_no_import_runs_in_a_circle():
    """Module by module, imports inside functions included."""
    graph = {f"evokd.{name_of(p)}": imports_of(p) for p in MODULES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above, name))
        if name not in done:
            for other in sorted(graph[name] & graph.keys()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_nothing_of_distil_takes_more_than_seven_arguments():
    """But for device code, which takes no bundles."""
    for path in (PACKAGE / "distil").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [each.arg for each in every if each.arg not in ("self", "cls")]
                on_device = any("constexpr" in ast.unparse(e.annotation or node) for e in every)
                on_device = path.stem == "rows_in_triton" and on_device
                assert len(names) <= 7 or on_device, f"{path.name}: {node.name}"


def test_nobody_probes_a_teacher():
    """`TeacherSignal` is a whole protocol."""
    for room in ("distil", "study"):
        for path in (PACKAGE / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            probe = re.search(r"(?:has|get)attr\([\w.]*(?:teacher|signal)\b.*", text)
            assert probe is None, f"{path}: {probe}"


BLOCKER = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} isn't installed here")

sys.meta_path.insert(0, Wall())
"""


def run_without_torch(script: str, *argv: object) -> str:
    code = BLOCKER.format(blocked=TORCH) + script
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)],
        capture_output=True,
        text=True,
        env={**os.environ, "EVOKD_TRACEBACK": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_half_the_house_imports_where_torch_isnt_installed():
    rooms = (*WITHOUT_TORCH, "study.models", "study.teacher_cache", "study.run", "cli")
    light = ["evokd." + name_of(path) for path in MODULES if name_of(path).startswith(rooms)]
    said = run_without_torch(
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n    importlib.import_module(name)\n"
        "try:\n    import torch\nexcept ImportError:\n    print('all', len(sys.argv) - 1)\n",
        *light,
    )
    assert said == f"all {len(light)}\n"
    assert len(light) > 30


def test_score_report_and_check_work_where_torch_isnt_installed(tmp_path):
    for name, text in (("ref", "Ein Zug.\nEin Bus.\n"), ("hyp", "Ein Zug.\nEin Auto.\n")):
        (tmp_path / name).write_text(text)
    make_run(tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink(missing_ok=True)
    path = write_recipe(tmp_path / "recipe.yaml", recipe())
    said = run_without_torch(
        "import sys\nfrom evokd.cli import main\n"
        "folder = sys.argv[1]\n"
        "codes = [\n"
        "    main(['score', '-l', 'en-de', '--ref', f'{folder}/ref', f'{folder}/hyp',\n"
        "          '--format', 'json']),\n"
        "    main(['report', f'{folder}/run']),\n"
        "    main(['run', f'{folder}/recipe.yaml', '--check']),\n"
        "]\n"
        "assert codes == [0, 0, 0], codes\n",
        tmp_path,
    )
    scores, _ = json.JSONDecoder().raw_decode(said)
    assert {row["metric"] for row in scores["scores"]} == {"bleu", "chrf"}
    assert f"{path}: fine" in said
    assert (tmp_path / "run" / "report.html").exists()


def test_the_public_names_are_loaded_when_asked_for():
    script = (
        "import sys, evokd\nassert 'torch' not in sys.modules\n"
        "print(evokd.__all__)\n"
        "try:\n    evokd.token_loss\nexcept ImportError as error:\n    print(error)\n"
    )
    assert "torch isn't installed here" in run_without_torch(script)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = evokd.nonsense
    assert {*evokd.__all__, "__version__"} == {*dir(evokd)}
    assert evokd.__version__ == metadata.version("evokd")


def test_pairs_are_loaded_without_a_recipe(tmp_path):
    for code, line in (("en", "A train."), ("de", "Ein Zug.")):
        (tmp_path / f"t.{code}").write_text(f"{line}\n{line}\n")
    one, other, *more = evokd.load_pairs(tmp_path / "t", "en-de", "de-en", limit=1)
    assert (one.source, one.target, other.target, more) == ("A train.", "Ein Zug.", "A train.", [])
    for wrong in (
        lambda: evokd.load_pairs(tmp_path / "none", "en-de"),
        lambda: evokd.load_pairs(tmp_path / "t", "en-de", limt=1),
        lambda: evokd.load_pairs(tmp_path / "t"),
    ):
        with pytest.raises(InputError, match=r"not found|did you mean 'limit'|a direction"):
            wrong()
