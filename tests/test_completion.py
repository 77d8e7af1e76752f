"""Completion by the shell, as a bash would do it, and help for whatever can be typed."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from itertools import chain

import pytest

from evokd.cli.parser import PARSER, VERBS, arguments
from small_study import evokd

PRESS_TAB = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_evokd
printf '%s\\n' "${COMPREPLY[@]}"
"""
ACTIONS = [
    pytest.param(action, id=f"{name} {action.dest}")
    for name, parser in [("evokd", PARSER), *VERBS.choices.items()]
    for action in parser._actions
    if action is not VERBS
]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "evokd"
    code, out, _ = evokd("--print-completion", "bash")
    assert code == 0
    path.write_text(out, encoding="utf-8")
    return path


@pytest.mark.parametrize("shell", ["zsh", "tcsh", "fish"])
def test_other_shells_have_their_script(shell):
    code, out, err = evokd("--print-completion", shell)
    assert (code, err) == (0, "")
    assert all(verb in out for verb in VERBS.choices)
    assert "paper/table1" in out


def test_the_script_is_bash(script):
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tr", {"translate"}),
        ("re", {"recipes", "report"}),
        ("run mine.yaml --dry", {"--dry-run"}),
        ("distil --teacher ORG/BIG --te", {"--teacher", "--test", "--teacher-as-is"}),
        ("distil --method vou", {"vouched"}),
        ("score --format ", {"json", "table"}),
        ("translate model -i in", {"in.txt", "in_folder"}),
        ("run m", {"multi30k", "mine.yaml"}),
        ("run mine.yaml -o in", {"in_folder"}),
        ("recipes paper/table", {"paper/table1", "paper/table2"}),
        ("report in", {"in_folder"}),
    ],
)
def test_tab_completes(script, tmp_path, line, offered):
    for name in ("in.txt", "mine.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "in_folder").mkdir()
    words = ["evokd", *shlex.split(line), *([""] if line.endswith(" ") else [])]
    done = subprocess.run(
        ["bash", "--norc", "-c", PRESS_TAB, "bash", script, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("action", ACTIONS)
def test_help_says_what_each_flag_is(action):
    assert action.help
    assert not action.help.endswith(".")
    default = action.default
    if default not in (None, False, [], argparse.SUPPRESS):
        shown = default if isinstance(default, tuple) else [default]
        assert f"default: {', '.join(map(str, shown))}" in action.help


@pytest.mark.parametrize("verb", VERBS.choices)
def test_help_is_printed(verb):
    """A per cent sign, for one, would stop it."""
    parser = VERBS.choices[verb]
    assert all(word in parser.format_help() for word in parser._option_string_actions)


FLAGS = [["-o", "DIR"], ["--teacher", "A"], ["--student", "B"], ["--train", "a", "b"], ["--only"]]
FLAGS += [["--test", "c"], ["-l", "en-de"], ["--method", "sft", "noevo"], ["--format", "json"]]
OVERRIDES = [["training.epochs=1"], ["seeds=[2]"]]


@pytest.mark.parametrize("place", range(len(FLAGS) + 1))
@pytest.mark.parametrize("order", [FLAGS, FLAGS[::-1]], ids=["forward", "backward"])
def test_flags_and_overrides_stand_in_any_order(order, place):
    usual = arguments(["distil", *chain(*FLAGS, *OVERRIDES)])
    words = [*order[:place], OVERRIDES[0], *order[place:], OVERRIDES[1]]
    found = arguments(["distil", *chain(*words)])
    assert vars(found) == vars(usual)
    assert (found.train, found.override) == (["a", "b"], ["training.epochs=1", "seeds=[2]"])


@pytest.mark.parametrize(
    "words",
    [
        ["r.yaml", "-o", "DIR", "--check", "seeds=[2]"],
        ["--check", "seeds=[2]", "-o", "DIR", "r.yaml"],
        ["seeds=[2]", "r.yaml", "--check", "-o", "DIR"],
        ["-o", "DIR", "r.yaml", "seeds=[2]", "--check"],
    ],
)
def test_a_recipe_stands_before_or_behind_flags(words):
    found = arguments(["run", *words])
    assert (found.recipe, str(found.output), found.check) == ("r.yaml", "DIR", True)
    assert found.override == ["seeds=[2]"]
