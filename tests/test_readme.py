"""README's commands and code: run on small files, or parsed where they need hours or the network;
and that README and CONTRIBUTING name what is there.

Every line of a ```sh block is a command of a kind that this file knows. The `evokd` ones are parsed
by the real argument parser and run one after the other in one folder, small; those that can't be
run here are in `ONLY_PARSED` with the reason. The ```python block is run with tiny models.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from evokd import cli
from evokd.data.prompts import prompt_tags
from evokd.models.fresh import train_tokenizer
from evokd.recipe.file import check_recipe, load_recipe
from small_study import evokd, sentences, without_figures, write_moses
from test_what_exists import tables  # noqa: F401, a fixture
from tiny import tiny_llama

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

LINES = 6
"""Of every test file here."""
ONLY_PARSED = [
    (r"^run recipes/", "takes long; the recipe with its overrides is checked"),
    (r"^translate (?!runs/)", "needs a model from the hub or of the reader's own"),
    (r"^serve ", "answers until it is stopped; tests/test_serve.py runs it"),
    (r"\b(hub|sacrebleu):", "needs text from the network"),
]
OTHER_COMMANDS = [
    r"git clone https?://\S+",
    r"cd \S+",
    r"(\.|source) \.venv/bin/activate",
    r"python3? -m venv \.venv",
    r"pip install \S.*",
    r"(xdg-)?open runs/\S+",
    r"cp \S+ \S+",
    r"curl \S+ .*",
]
"""What a README may show beside `evokd` and `make`; of these only cp is run."""
SMALL_MODELS = "{hidden_size: 16, layers: 1, heads: 2}"
SMALL = {
    "demo": [
        *("corpus.train=phrasebook:train:120", "corpus.valid=phrasebook:valid:10"),
        f"corpus.test=[{{name: phrases, path: 'phrasebook:test:{LINES}'}}]",
        *("methods=[sft, noevo, self_evolution]", "teacher.training={max_steps: 4}"),
        *("student.warm_start_steps=2", "training.max_steps=2"),
        *("tokenizer.vocab_size=400", "scoring.bootstrap_samples=20"),
    ],
    "distil": [
        *(f"teacher.fresh={SMALL_MODELS}", f"student.fresh={SMALL_MODELS}"),
        *("tokenizer.vocab_size=300", "student.warm_start_steps=1", "scoring.bootstrap_samples=20"),
        *("training.max_steps=2", "training.batch_size=8", "training.max_length=1024"),
    ],
}
SMALL["run"] = SMALL["cache"] = SMALL["distil"]


class Command(NamedTuple):
    """One `evokd` command of the README."""

    argv: list[str]
    stdin: str | None
    stdout: str | None

    def __str__(self) -> str:
        return " ".join(self.argv)


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def shell_lines(text: str = README) -> list[str]:
    """Commands of the ```sh blocks: continued lines joined, comments and prompts taken off."""
    joined = "".join(blocks("sh", text)).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).removeprefix("$ ") for line in joined.split("\n"))
    return [part.strip() for line in lines for part in line.split("&&") if part.strip()]


def command_of(line: str) -> Command | None:
    """The `evokd` command of a line; `make demo` is one too. None where there is none."""
    if line == "make demo":
        line = "evokd demo -o runs/demo"
    words = shlex.split(line.split("|")[-1] if "| evokd" in line else line.split("|")[0])
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if not words or words[0].removeprefix(".venv/bin/") != "evokd":
        return None
    argv, streams = [], {}
    rest = iter(words[1:])
    for word in rest:
        if word in ("<", ">"):
            streams[word] = next(rest)
        else:
            argv.append(word)
    return Command(argv, streams.get("<"), streams.get(">"))


def commands(text: str = README) -> list[Command]:
    return [made for line in shell_lines(text) if (made := command_of(line))]


def why_only_parsed(command: Command) -> str | None:
    return next((why for what, why in ONLY_PARSED if re.search(what, str(command))), None)


@pytest.mark.parametrize(
    ("line", "argv", "stdin", "stdout"),
    [
        ("evokd demo -o x", ["demo", "-o", "x"], None, None),
        ("make demo", ["demo", "-o", "runs/demo"], None, None),
        ("HF_HUB_OFFLINE=1 .venv/bin/evokd report x", ["report", "x"], None, None),
        ("evokd translate m -l en-de < a > b", ["translate", "m", "-l", "en-de"], "a", "b"),
        ("cat a | evokd translate m -l en-de", ["translate", "m", "-l", "en-de"], None, None),
        ("evokd run r.yaml 'seeds=[1, 2]'", ["run", "r.yaml", "seeds=[1, 2]"], None, None),
        ("make test", None, None, None),
    ],
)
def test_how_commands_are_read(line, argv, stdin, stdout):
    assert command_of(line) == (None if argv is None else Command(argv, stdin, stdout))


def test_how_blocks_are_read():
    text = (
        "```sh\n$ evokd demo \\\n    -o x   # why\n# what\ncd a && make test\n```\n```\nno\n```\n"
    )
    assert shell_lines(text) == ["evokd demo      -o x", "cd a", "make test"]


def test_the_readme_shows_every_verb():
    shown = {command.argv[0] for command in commands()}
    assert shown == set(cli.parser.VERBS.choices)


def test_every_line_is_a_command_of_a_known_kind():
    for line in shell_lines(README + CONTRIBUTING):
        target = re.fullmatch(r"make (?:[A-Z]+=\S+ )?([\w-]+)", line)
        if target:
            assert re.search(rf"^{target[1]}:", MAKEFILE, flags=re.MULTILINE), line
        elif command_of(line) is None:
            assert any(re.fullmatch(kind, line) for kind in OTHER_COMMANDS), line


def test_every_command_has_flags_that_exist():
    for command in commands():
        try:
            args = cli.arguments(command.argv)
        except SystemExit:
            pytest.fail(f"evokd {command}: no such flags")
        if command.argv[0] == "run" and (ROOT / args.recipe).exists():
            load_recipe(ROOT / args.recipe, args.override)
        elif command.argv[0] == "distil":
            check_recipe(cli.studies.recipe_of(args), args.override)


def recipes_in_blocks() -> dict[str, str]:
    """```yaml blocks that begin with a comment that names a file: `# mine.yaml`."""
    named = (re.match(r"# (\S+\.ya?ml)\b", block) for block in blocks("yaml"))
    return {name[1]: block for name, block in zip(named, blocks("yaml"), strict=True) if name}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data/train, valid and test in English and German, and recipes of the README."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").mkdir()
    for name, count, start in [("train", 80, 0), ("valid", 8, 300), ("test", LINES, 500)]:
        write_moses(folder / "data", name, sentences(count, start))
    for name, text in recipes_in_blocks().items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def as_the_shell_would(word: str) -> list[str]:
    """The files that a pattern stands for; no other word of a README has a star."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


def offline(argv: list[str]) -> list[str]:
    """`distil` with tiny fresh models in the place of the reader's."""
    if argv[0] != "distil":
        return argv
    models = {i + 1 for i, word in enumerate(argv) if word in ("--teacher", "--student")}
    return ["fresh" if i in models else word for i, word in enumerate(argv)]


def make_missing(folder: Path, name: str, language: str) -> None:
    """A text file that a command reads; files of runs have to be there."""
    if not (folder / name).exists():
        assert not name.startswith("runs/"), f"{name} isn't what an earlier command writes"
        side = 0 if language == "en" else 1
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = "".join(pair[side] + "\n" for pair in sentences(LINES, start=500))
        (folder / name).write_text(text, encoding="utf-8")


def test_the_commands_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    ran = set()
    for line in shell_lines():
        if line.startswith("cp "):
            shutil.copy(*line.split()[1:])
        command = command_of(line)
        if command is None or why_only_parsed(command):
            continue
        argv = offline([name for word in command.argv for name in as_the_shell_would(word)])
        args = cli.arguments(argv)
        verb = argv[0]
        small = SMALL.get(verb, [])
        stdin = b""
        if verb == "translate":
            make_missing(folder, command.stdin or "in.txt", args.direction.split("-")[0])
            stdin = (folder / (command.stdin or "in.txt")).read_bytes()
        if verb == "score":
            source, target = args.direction[0].split("-")
            for name, language in [
                *([(args.src, source)] if args.src else []),
                *((name, target) for name in (*args.ref, *args.hyp)),
            ]:
                make_missing(folder, name, language)
        if verb == "compare":  # with another run on the same test set, and another system's output
            mine, *others, output = args.runs
            for other in others:
                shutil.copytree(mine, other)
            make_missing(folder, output, "de")
        with without_figures():
            code, out, err = evokd(*argv, *small, stdin=stdin)
        assert code == 0, f"evokd {command}\n{err}"
        if command.stdout:
            (folder / command.stdout).parent.mkdir(parents=True, exist_ok=True)
            (folder / command.stdout).write_text(out, encoding="utf-8")
        if verb == "translate":
            written = args.output.read_text(encoding="utf-8") if args.output else out
            assert written.count("\n") == stdin.count(b"\n")
        if verb in ("demo", "distil"):
            assert (args.output / "report.html").exists()
        ran.add(verb)
    assert ran >= set(cli.parser.VERBS.choices) - {"run", "serve"}


def file_tree() -> list[str]:
    """The paths that README's tree of files names, folders with a slash behind them."""
    (tree,) = (block for block in blocks("text") if block.startswith("src/"))
    folders: list[str] = []  # of each depth, the last one
    paths = []
    for line in tree.splitlines():
        names = re.split(r" {2,}", line.strip())[0]
        depth = (len(line) - len(line.lstrip())) // 2
        del folders[depth:]
        paths += ["".join(folders) + name for name in names.split(" · ")]
        folders.append(names)
    return paths


def test_the_tree_of_files_is_the_one_that_is_there():
    named = file_tree()
    assert len(named) == len(set(named))
    for path in named:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    package = "src/evokd/"
    there = {
        f"{package}{path.name}{'/' * path.is_dir()}"
        for path in (ROOT / package).iterdir()
        if path.name != "__pycache__"
    }
    assert there == {path for path in named if path.rstrip("/").rpartition("/")[0] == "src/evokd"}


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_links_lead_somewhere(text):
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_contributing_names_files_that_are_there():
    paths = [
        word
        for quoted in re.findall(r"`([^`\n]+)`", CONTRIBUTING)
        for word in quoted.split()
        if re.fullmatch(r"[\w./-]*(/[\w./-]*|\.(md|py|toml|txt|yaml))", word)
    ]
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / path).exists() or path == ".venv/bin/python", path


def test_contributing_names_what_its_files_hold():
    places = re.findall(r"`(\w+)`\s+in\s+`([^`]+\.py)`", CONTRIBUTING)
    assert len(places) > 6
    for name, path in places:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), (name, path)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for key in ("version", "license"):
        assert f'{key} = "{citation[key]}"' in project
    assert "arXiv:2412.15303" in str(citation["references"])
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("tables")
def test_commands_of_the_documentation_are_accepted():
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(
            r"^ *evokd (?:run|demo|cache) (?:'[^']*'|[^'\n])*$", text, re.MULTILINE
        ):
            verb, *argv = shlex.split(line, comments=True)[1:]
            args = cli.arguments([verb, *argv])
            load_recipe(ROOT / getattr(args, "recipe", "recipes/demo.yaml"), args.override)


def test_the_recipes_are_valid():
    for block in blocks("yaml"):
        tree = yaml.safe_load(block)
        assert isinstance(tree, dict)
        if "methods" in tree and "corpus" in tree:
            check_recipe(tree)


def test_the_python_runs_as_it_stands(folder, monkeypatch):
    """From two text files to a student that `evokd translate` takes; only the models are tiny."""
    (code,) = blocks("python")
    monkeypatch.chdir(folder)
    text = [side for pair in sentences(40) for side in pair]
    tokenizer = train_tokenizer(text, 300, prompt_tags(["en", "de"]))
    shape = {"vocab_size": len(tokenizer), "max_position_embeddings": 512}
    start = tiny_llama(hidden_size=16, **shape)
    start.save_pretrained("models/small")
    tiny_llama(hidden_size=32, **shape).save_pretrained("models/big")
    tokenizer.save_pretrained("models/big")
    given: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), given)
    assert len([line for line in code.splitlines() if line]) == 10
    trainer = given["trainer"]
    assert (len(given["data"]), trainer.state.global_step) == (80, 30)  # by 8, 3 epochs
    trained = trainer.evaluate(given["data"])["eval_loss"]
    given["student"].load_state_dict(start.state_dict())
    assert trained < trainer.evaluate(given["data"])["eval_loss"]
    code, out, err = evokd("translate", "out/model", "-l", "en-de", stdin=b"A train.\nA bus.\n")
    assert (code, out.count("\n")) == (0, 2), err


def test_what_the_readme_measures_is_in_the_results():
    for command in commands():
        args = cli.arguments(command.argv)
        if command.argv[0] == "demo":
            assert "evokd demo" in RESULTS
        elif command.argv[0] == "run" and not args.check and (ROOT / args.recipe).exists():
            assert f"evokd run {args.recipe}" in RESULTS, f"docs/results.md lacks {args.recipe}"
