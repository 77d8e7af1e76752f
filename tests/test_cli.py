"""The command line: help, exit codes, one-line messages, and each verb on small input."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sacrebleu

from evokd import cli
from evokd.recipe.file import load_recipe, points
from evokd.recipe.objectives import method_names
from small_study import evokd, recipe, sentences, without_figures, write_moses, write_recipe
from test_walls import run_without_torch

ROOT = Path(__file__).parent.parent
VERBS = (
    *("demo", "run", "distil", "cache", "translate", "score", "methods", "report"),
    *("recipes", "status", "verify", "clean"),
)
REFERENCES = ["Der Zug kommt um acht.", "Sie trinkt einen Tee.", "Das Wetter ist heute schön."]
FIRST = ["Der Zug kommt um acht Uhr.", "Sie trinkt Tee.", "Das Wetter ist heute schön."]
SECOND = ["Ein Zug kommt.", "Er trinkt einen Kaffee.", "Heute ist das Wetter schön."]


@pytest.fixture(scope="module", autouse=True)
def _no_figures():
    with without_figures():
        yield


@pytest.fixture
def texts(tmp_path):
    """src, ref, first and second as files of three lines."""
    for name, lines in {
        "src": ["The train comes at eight.", "She drinks tea.", "The weather is fine today."],
        "ref": REFERENCES,
        "first": FIRST,
        "second": SECOND,
    }.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """`evokd distil` on two small files: where, and what it printed."""
    folder = tmp_path_factory.mktemp("distil")
    train = write_moses(folder, "train", sentences(80))
    test = write_moses(folder, "newstest", sentences(5, start=500))
    small = "{hidden_size: 16, layers: 1, heads: 2}"
    code, out, err = evokd(
        *("distil", "--teacher", "fresh", "--student", "fresh", "--train", train, "-l", "en-de"),
        *("--test", test, "--prompt", "compact", "--method", "noevo", "-o", folder / "run"),
        *(f"teacher.fresh={small}", f"student.fresh={small}", "tokenizer.vocab_size=300"),
        *("training.max_steps=4", "training.batch_size=8", "training.learning_rate=2e-3"),
        *("scoring.bootstrap_samples=20", "student.warm_start_steps=2"),
    )
    assert code == 0, err
    return folder / "run", out


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb):
    code, out, _ = evokd(verb, "--help")
    assert code == 0
    assert f"example:\n  evokd {verb} " in out


def test_help_names_all_verbs():
    code, out, _ = evokd("--help")
    assert code == 0
    for verb in VERBS:
        assert f"\n    {verb}" in out


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "evokd", "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "usage: evokd" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "VERB"),
        (["dance"], "dance"),
        (["report", "DIR", "--loudly"], "unrecognized arguments: --loudly"),
        (["report", "DIR", "a=1"], "unrecognized arguments: a=1"),
        (["run", "r.yaml", "-o", "DIR", "--loudly"], "unrecognized arguments: --loudly"),
        (["translate", "DIR", "-l", "en-de", "--beam", "0"], "1 or more"),
        (["score", "-l", "en-de", "hyp"], "--ref"),
    ],
)
def test_bad_flags_are_refused(argv, said):
    code, out, err = evokd(*argv)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "argv",
    [
        ["-o", "DIR", "training.epochs=1", "seeds=[2]"],
        ["training.epochs=1", "-o", "DIR", "seeds=[2]"],
        ["training.epochs=1", "seeds=[2]", "-o", "DIR"],
    ],
)
def test_overrides_may_stand_before_and_behind_flags(argv, tmp_path, monkeypatch):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    got = []
    monkeypatch.setattr(
        cli.studies, "_study", lambda made, folder, _: got.append((made, str(folder))) or 0
    )
    assert evokd("run", path, *argv)[0] == 0
    made, folder = got[0]
    assert (made.training.epochs, made.seeds, folder) == (1, (2,), "DIR")


def test_cache_makes_the_teacher_and_writes_what_it_says(tmp_path):
    path, folder = write_recipe(tmp_path / "r.yaml", recipe()), tmp_path / "run"
    code, out, err = evokd("cache", path, "-o", folder, "teacher.training.max_steps=2")
    assert code == 0, err
    assert "hidden states are written, which are exact" in err
    assert "128 bytes a token (DistillKit publishes 114–300" in err
    assert out.startswith(f"{folder / 'cache/hidden'}: 220 pairs, ")
    assert list((folder / "cache/hidden").glob("*.safetensors"))
    assert not (folder / "start").exists()

    shard = next((folder / "cache/hidden").glob("shard*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, again, err = evokd("cache", path, "-o", folder, "teacher.training.max_steps=2")
    assert (code, again) == (0, out)
    assert f"{shard} isn't what was written" in err
    assert shard.read_bytes() == whole


def refused(*argv, stdin: bytes = b""):
    """The message of a command that has bad input: one line, no traceback."""
    code, out, err = evokd(*argv, stdin=stdin)
    assert code == 2, err
    assert out == ""
    assert err.startswith("evokd: ")
    assert "Traceback" not in err
    return err


def test_a_folder_of_other_things_is_no_run_folder(tmp_path):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    for flags in ((), ("--dry-run",)):
        said = refused("run", path, "-o", tmp_path, *flags)
        assert "holds other things than a run (r.yaml, …); name a new folder" in said
    assert [one.name for one in tmp_path.iterdir()] == ["r.yaml"]


def test_a_bad_recipe_is_refused(tmp_path):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    assert "none.yaml not found" in refused("run", tmp_path / "none.yaml")
    said = refused("run", path, "--check", "training.epoch=1")
    assert "r.yaml" in said
    assert "did you mean 'epochs'?" in said
    assert "no override" in refused("run", path, "--check", "training.epochs")
    assert "no override" in refused("run", path, "training.epochs", "--check")


def test_check_looks_at_text_and_models_and_stops(tmp_path):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    code, out, err = evokd("run", path, "--check", "-o", tmp_path / "run")
    assert (code, out) == (0, f"{path}: fine\n")
    assert not (tmp_path / "run").exists()
    assert re.search(
        r"train: phrasebook:train:100 \(phrasebook\): 100 en-de, 100 de-en; .* → ", err
    )
    assert "cleaning: of training text 200 read, 0 dropped, 0 repaired\n" in err
    assert "teacher: fresh, 1 layers, 32 wide\n" in err


WEAK = "grid.start={weak: {student.warm_start_steps: 2, corpus.train.0.noise: []}}"


def test_a_grid_is_checked_at_each_point(tmp_path):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    code, out, err = evokd("run", path, "--check", WEAK)
    assert (code, out) == (0, f"{path}: fine\n")
    assert "grid point weak:\n" in err
    for verb in (("run", path, "--check"), ("run", path), ("cache", path), ("demo",)):
        said = refused(*verb, "-o", tmp_path / "run", "grid.start={weak: {training.epoch: 1}}")
        assert "grid point weak has errors" in said
        assert "did you mean 'epochs'?" in said
    assert not (tmp_path / "run").exists()


def test_verbs_that_run_a_study_run_a_grid(tmp_path, monkeypatch):
    path, got = write_recipe(tmp_path / "r.yaml", recipe()), []

    def planned(made, folder, store):
        got.append(list(made.grid))
        return {}

    monkeypatch.setattr("evokd.study.grid.dry_run_grid", planned)
    assert evokd("run", path, "-o", "DIR", WEAK, "--dry-run")[0] == 0
    assert evokd("demo", "-o", "DIR", WEAK, "--dry-run")[0] == 0
    assert got == [["start"], ["start"]]


def test_cache_of_a_grid_says_how_to_name_a_point(tmp_path):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    said = refused("cache", path, "-o", tmp_path / "run", WEAK, "grid.noise={none: {}}")
    assert "a cache is of one study" in said
    argv = ["cache", str(path), *shlex.split(said.partition("e.g. ")[2])]
    args = cli.arguments(argv)
    made = load_recipe(path, args.override)
    assert args.output == tmp_path / "run/weak.none"
    assert (made.grid, made.student.warm_start_steps) == ({}, 2)
    assert made == points(load_recipe(path, [WEAK]))["weak"]


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        ("missing", ["train", "not found"]),
        ("unequal", ["train.en", "train.de", "20", "19"]),
        ("bytes", ["train.de:3", "UTF-8"]),
        ("empty", ["train.", "empty"]),
    ],
)
def test_bad_corpora_are_refused_by_name(tmp_path, damage, parts):
    prefix = write_moses(tmp_path, "train", sentences(20))
    german = tmp_path / "train.de"
    lines = german.read_bytes().splitlines(keepends=True)
    if damage == "missing":
        german.unlink()
    elif damage == "unequal":
        german.write_bytes(b"".join(lines[:-1]))
    elif damage == "bytes":
        german.write_bytes(b"".join([*lines[:2], b"Gr\xfc\xdfe\n", *lines[3:]]))
    else:
        german.write_bytes(b"")
        (tmp_path / "train.en").write_bytes(b"")
    test = write_moses(tmp_path, "test", sentences(3, start=500))
    corpus = {"train": str(prefix), "test": [{"name": "t", "path": str(test)}]}
    path = write_recipe(tmp_path / "r.yaml", recipe(corpus=corpus))
    said = refused("run", path, "-o", tmp_path / "run")
    for part in parts:
        assert part in said


def test_a_run_folder_that_is_a_file_is_refused(tmp_path):
    path = write_recipe(tmp_path / "r.yaml", recipe())
    assert "can't be used as a run folder" in refused("run", path, "-o", path)


def test_score_is_sacrebleu_to_the_last_digit(texts):
    code, out, _ = evokd(
        *("score", "-l", "en-de", "--src", texts / "src", "--ref", texts / "ref"),
        *(texts / "first", texts / "second", "--format", "json"),
    )
    assert code == 0
    found = {(r["system"], r["metric"]): r for r in json.loads(out)["scores"]}
    for system, lines in (("first", FIRST), ("second", SECOND)):
        for metric, scorer in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
            row = found[system, metric]
            assert row["score"] == scorer.corpus_score(lines, [REFERENCES]).score
            assert row["signature"].split("|version")[0] in str(scorer.get_signature())


def test_score_prints_a_table(texts):
    code, out, _ = evokd("score", "-l", "en-de", "--ref", texts / "ref", texts / "first")
    assert code == 0
    assert f"{sacrebleu.corpus_bleu(FIRST, [REFERENCES]).score:.2f}" in out
    assert "nrefs:1" in out


def test_score_refuses_what_doesnt_fit(texts):
    (texts / "short").write_text("Nur eine Zeile.\n")
    (texts / "latin").write_bytes("Grüße\n".encode("latin-1") * 3)
    ref = ("--ref", texts / "ref")
    said = refused("score", "-l", "en-de", *ref, texts / "short")
    assert all(part in said for part in ("short", "1", "ref", "3"))
    assert "src" in refused(
        "score", "-l", "en-de", *ref, texts / "first", "--src", texts / "src-none"
    )
    assert "none" in refused("score", "-l", "en-de", *ref, texts / "none")
    assert "latin" in refused("score", "-l", "en-de", *ref, texts / "latin")
    assert "xx" in refused("score", "-l", "en-xx", *ref, texts / "first")
    assert "blue" in refused("score", "-l", "en-de", *ref, texts / "first", "--metrics", "blue")
    assert "third" in refused("score", "-l", "en-de", *ref, texts / "first", "--baseline", "third")


def test_methods_prints_the_table_of_the_documentation():
    code, out, err = evokd("methods")
    assert (code, err) == (0, "")
    first, _, *rows = out.splitlines()
    assert first.startswith("| objective ")
    assert [row.split("|")[1].strip() for row in rows] == list(method_names())
    assert out in (ROOT / "docs/method.md").read_text(encoding="utf-8")


def test_methods_needs_no_torch():
    said = run_without_torch("from evokd.cli import main\nassert main(['methods']) == 0\n")
    assert "| self_evolution " in said


def test_report_refuses_a_folder_without_results(tmp_path):
    assert "results.json not found" in refused("report", tmp_path)
    assert "results.json not found" in refused("report", tmp_path / "none")


def test_a_closed_pipe_is_quiet(texts):
    """As `evokd score … | true`: no traceback, whenever the reader goes away."""
    command = [sys.executable, "-m", "evokd", "score", "-l", "en-de", "--ref", str(texts / "ref")]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*command, str(texts / "first")], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


def test_distil_prints_and_saves_the_recipe_it_stands_for(distilled):
    folder, out = distilled
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert text in out
    assert "recipe that this command stands for" in out
    found = json.loads((folder / "results.json").read_text())
    assert {row["system"] for row in found["scores"]} == {"teacher", "sft", "forward_kd", "noevo"}
    assert {row["test_set"] for row in found["scores"]} == {"newstest"}


def test_the_recipe_that_distil_saved_gives_the_same_scores(distilled, tmp_path):
    folder, _ = distilled
    code, _, err = evokd("run", folder / "recipe.yaml", "-o", tmp_path / "twin")
    assert code == 0, err
    first, second = (
        json.loads((run / "results.json").read_text())["scores"]
        for run in (folder, tmp_path / "twin")
    )
    assert first == second
    for path in (folder / "translations").glob("*.txt"):
        assert path.read_bytes() == (tmp_path / "twin/translations" / path.name).read_bytes()


def test_overrides_may_follow_flags_of_several_values(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(cli.studies, "_study", lambda recipe, *_: seen.append(recipe) or 0)
    code, _, err = evokd(
        *("distil", "--teacher", "a/b", "--student", "a/c", "-o", tmp_path / "run", "-l", "en-de"),
        *("--train", "data/train", "training.epochs=2", "--method", "noevo", "seeds=[4]"),
        *("--test", "data/test", "corpus.root=elsewhere"),
    )
    assert code == 0, err
    (made,) = seen
    assert (made.training.epochs, made.seeds, made.corpus.root) == (2, (4,), "elsewhere")
    assert [source.path for source in made.corpus.train] == ["data/train"]
    assert [method.name for method in made.methods] == ["sft", "forward_kd", "noevo"]


def test_two_tokenizers_are_refused_before_anything_is_trained(distilled, tmp_path):
    train = write_moses(tmp_path, "train", sentences(60, start=200))
    test = write_moses(tmp_path, "newstest", sentences(5, start=500))
    common = ("--train", train, "-l", "en-de", "--test", test, "--prompt", "compact")
    small = "{hidden_size: 16, layers: 1, heads: 2}"
    code, _, err = evokd(
        *("distil", "--teacher", "fresh", "--student", "fresh", *common, "-o", tmp_path / "other"),
        *(f"teacher.fresh={small}", f"student.fresh={small}", "tokenizer.vocab_size=320"),
        *("training.max_steps=1", "student.warm_start_steps=1", "training.batch_size=8"),
        "scoring.bootstrap_samples=20",
    )
    assert code == 0, err
    (tmp_path / "both/gate").mkdir(parents=True)
    (tmp_path / "both/.lock").touch()  # a run was here
    (tmp_path / "both/gate/manifest.json").write_text("{}")  # earlier models fitted each other
    code, _, err = evokd(
        *("distil", "--teacher", tmp_path / "other/teacher/model", *common),
        *("--student", distilled[0] / "start/model", "-o", tmp_path / "both"),
    )
    assert code == 2
    assert "teacher and student have different tokenizers" in err
    assert not (tmp_path / "both/teacher").exists()


def test_a_changed_recipe_is_said(distilled):
    folder, _ = distilled
    code, _, err = evokd("run", folder / "recipe.yaml", "-o", folder, "report.examples=3")
    assert code == 0, err
    assert "results  remake  report.examples: 20 → 3" in err
    code, _, err = evokd("run", folder / "recipe.yaml", "-o", folder)
    assert code == 0, err
    assert "remake" not in err, "the scores with 20 examples were kept"


def test_the_version_is_told():
    code, out, _ = evokd("--version")
    assert code == 0
    assert out.split(".")[0].isdigit()


def test_a_flag_that_is_repeated_adds_to_what_was_said():
    said = "distil --teacher a --student b -l en-de -o out --train x --train y z --test t --test u"
    args = cli.arguments([*said.split(), *["--method", "seq_inter", "--method", "skl"]])
    tree = cli.studies.recipe_of(args)
    assert [source["path"] for source in tree["corpus"]["train"]] == ["x", "y", "z"]
    assert [source["path"] for source in tree["corpus"]["test"]] == ["t", "u"]
    assert tree["methods"] == ["sft", "forward_kd", "seq_kd", "seq_inter", "skl"]  # from seq_kd


def test_distil_can_check_its_flags_and_stop(tmp_path):
    said = ("distil", "--teacher", "fresh", "--student", "fresh", "-l", "en-de", "--check")
    files = (
        "--train",
        "phrasebook:train:50",
        "--test",
        "phrasebook:test:9",
        "-o",
        tmp_path / "run",
    )
    code, out, err = evokd(*said, *files, "training.epochs=2")
    assert code == 0
    assert "train: phrasebook:train:50 (phrasebook): 50 en-de" in err
    (tmp_path / "printed.yaml").write_text(out, encoding="utf-8")
    recipe = load_recipe(tmp_path / "printed.yaml")
    assert (recipe.training.epochs, recipe.corpus.held_out) == (2, 500)
    code, out, _ = evokd(*said, *files, "--teacher-as-is")
    assert "held_out: 0" in out, "a teacher that isn't trained has seen none of it"
    assert not (tmp_path / "run").exists()
    assert "unknown key 'epoch'" in refused(*said, *files, "training.epoch=2")


def test_distil_wants_a_test_set(tmp_path):
    common = ("distil", "--teacher", "fresh", "--student", "fresh", "-l", "en-de")
    said = refused(*common, "--train", tmp_path / "train", "-o", tmp_path / "run")
    assert "--test" in said


def test_distil_refuses_a_model_that_isnt_there(tmp_path):
    train = write_moses(tmp_path, "train", sentences(20))
    code, _, err = evokd(
        *("distil", "--teacher", tmp_path / "none", "--student", "fresh", "--train", train),
        *("-l", "en-de", "--test", train, "-o", tmp_path / "run", "tokenizer.vocab_size=300"),
        "corpus.cleaning.drop_test_leaks=false",
    )
    assert code == 2
    assert "none" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "lines",
    [
        ["The train comes at one."],
        ["One.", "", "Three, after an empty one.", ""],
        ["a\u2028b", "c\x0bd\x85e", "\ufeffbom", "\U0001f600 ", "e\u0301", "\t", "x\x00y"],
    ],
)
def test_translate_gives_a_line_for_a_line(distilled, lines):
    model = distilled[0] / "students/noevo.seed1/model"
    typed = "".join(f"{line}\n" for line in lines).encode()
    code, out, err = evokd("translate", model, "-l", "en-de", stdin=typed)
    assert code == 0, err
    assert out.count("\n") == len(lines)
    assert out.endswith("\n")
    assert len(out.splitlines()) == len(lines)
    for line, made in zip(lines, out.split("\n"), strict=False):
        assert line.strip() or made == line
    assert f"{len(lines)} lines" in err


def test_translate_gives_what_the_study_wrote(distilled):
    folder, _ = distilled
    source = (folder / "corpus/test/newstest.en-de.src").read_bytes()
    model = folder / "students/sft.seed1/model"
    code, out, _ = evokd("translate", model, "-l", "en-de", stdin=source)
    assert code == 0
    assert out == (folder / "translations/newstest.en-de.sft.seed1.txt").read_text()
    unended = source.removesuffix(b"\n")
    assert evokd("translate", model, "-l", "en-de", stdin=unended)[1] == out
    assert evokd("translate", model, "-l", "en-de", stdin=b"")[:2] == (0, "")


def test_a_draft_changes_nothing_but_the_speed(distilled):
    folder, _ = distilled
    source = (folder / "corpus/test/newstest.en-de.src").read_bytes()
    teacher, student = folder / "teacher/model", folder / "students/noevo.seed1/model"
    expected = evokd("translate", teacher, "-l", "en-de", stdin=source)[1]
    command = ("translate", teacher, "-l", "en-de", "--draft", student)
    code, out, err = evokd(*command, "--draft-tokens", "2", stdin=source)
    assert (code, out) == (0, expected), err
    assert re.search(
        r"5 lines, \d+ source words/s \(float32 on cpu, beam 1, one line at a time; draft: "
        r"[123]\.\d\d tokens per pass of the teacher, \d+% of \d+ drafted tokens accepted, "
        r"\d\.\d\d × the speed of the teacher alone\)",
        err,
    )
    assert evokd(*command, stdin=b"")[:2] == (0, "")
    assert "--beam 2" in refused(*command, "--beam", "2", stdin=source)
    assert "none" in refused(*command[:-1], folder / "none", stdin=source)


def test_translate_refuses_what_doesnt_fit(distilled, tmp_path):
    model = distilled[0] / "students/noevo.seed1/model"
    assert "none" in refused("translate", tmp_path / "none", "-l", "en-de", stdin=b"a\n")
    assert "prompt.json" in refused("translate", tmp_path, "-l", "en-de", stdin=b"a\n")
    assert str(tmp_path) in refused(
        "translate", tmp_path, "-l", "en-de", "--prompt", "alma", stdin=b"a\n"
    )
    assert "standard input" in refused("translate", model, "-l", "en-de", stdin=b"a\nGr\xfc\n")
    assert "xx" in refused("translate", model, "-l", "en-xx", stdin=b"a\n")
    assert "sing" in refused("translate", model, "-l", "en-de", "--prompt", "sing", stdin=b"a\n")
    assert "tpu9" in refused("translate", model, "-l", "en-de", "--device", "tpu9", stdin=b"a\n")


def test_a_failure_is_told_in_short_or_in_full(tmp_path, monkeypatch):
    def fail(args):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(cli.studies, "load_recipe", lambda *args: fail(args))
    code, out, err = evokd("run", "r.yaml")
    assert (code, out) == (1, "")
    assert "the run failed: RuntimeError: the disk is on fire" in err
    assert "EVOKD_TRACEBACK=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv("EVOKD_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="on fire"):
        evokd("run", "r.yaml")


def test_distil_takes_controls_beside_it_unless_told_otherwise():
    said = "distil --teacher a --student b -l en-de -o out --train x --test t"
    default = cli.studies.recipe_of(cli.arguments(said.split()))
    assert default["methods"] == ["sft", "forward_kd", "auto"]
    assert cli.studies.recipe_of(cli.arguments([*said.split(), "--only"]))["methods"] == ["auto"]


def test_translate_writes_a_file_as_it_goes_and_goes_on_after_a_kill(
    distilled, tmp_path, monkeypatch
):
    from evokd.cli import text
    from evokd.translate import decoding

    model = distilled[0] / "students/noevo.seed1/model"
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    lines = [english for english, _ in sentences(30, start=200)] + ["", "last"]
    source.write_text("\n".join(lines), encoding="utf-16")  # as Windows has it
    command = ("translate", model, "-l", "en-de", "-i", source, "--batch-size", 2)
    whole = evokd(*command)[1]
    assert whole.count("\n") == 32
    monkeypatch.setattr(text, "BLOCK", 5)
    real, sizes = decoding.translate, []

    def counted(translator, block, *given):
        sizes.append(len(block))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return real(translator, block, *given)

    monkeypatch.setattr(decoding, "translate", counted)
    assert evokd(*command, "-o", out)[0] == 130
    part = tmp_path / "out.txt.part"
    assert (part.read_text(), out.exists()) == ("".join(whole.splitlines(True)[:20]), False)
    part.write_text(part.read_text() + "half a li")
    code, said, err = evokd(*command, "-o", out)
    assert (code, said, out.read_text(encoding="utf-8")) == (0, "", whole)
    assert "20 of 32 lines are there" in err
    assert sizes == [10, 10, 10, 10, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.txt", "out.txt"]
    part.write_text("of another model\n")
    assert evokd(*command, "-o", out)[0] == 0
    assert out.read_text(encoding="utf-8") == whole
    code, _, err = evokd(*command, "-o", tmp_path / "none" / "out.txt")
    assert (code, "can't be written" in err) == (2, True)


def test_translate_goes_on_with_a_page(distilled, tmp_path, monkeypatch):
    from evokd.cli import text
    from evokd.translate import decoding

    model = distilled[0] / "students/noevo.seed1/model"
    page, out = tmp_path / "in.html", tmp_path / "out.html"
    sources = [english for english, _ in sentences(12, start=200)]
    body = "".join(f"<p class=x>{line[:-1]} <b>12</b>.</p>\n" for line in sources)
    page.write_text(f"<!DOCTYPE html>\n<body>\n{body}<script>1 < 2</script>", encoding="utf-8")
    command = ("translate", model, "-l", "en-de", "--batch-size", 2)
    code, whole, err = evokd(*command, "-i", page)
    assert code == 0
    assert re.sub(r"(?<=<p class=x>).*(?=</p>)", "", whole) == re.sub(
        r"(?<=<p class=x>).*(?=</p>)", "", page.read_text("utf-8")
    )
    assert whole.count("<b>") == whole.count("</b>") == 12
    assert "24 segments" in err
    found = re.search(r"lost: (\d+) of 24 tags, (\d+) of 12 numbers(; tags and .* places)?\n", err)
    named = re.findall(r"^  line (\d+): (?:tag <|number 12)", err, re.M)
    assert len(named) == min(5, int(found[1]) + int(found[2]))
    assert evokd(*command, "--format", "html", stdin=page.read_bytes())[1] == whole

    monkeypatch.setattr(text, "BLOCK", 5)
    real, sizes = decoding.translate, []

    def counted(translator, block, *given):
        sizes.append(len(block))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return real(translator, block, *given)

    monkeypatch.setattr(decoding, "translate", counted)
    out.write_text("from before")
    assert evokd(*command, "-i", page, "-o", out)[0] == 130
    assert out.read_text() == "from before"
    code, said, err = evokd(*command, "-i", page, "-o", out)
    assert (code, said, out.read_text("utf-8")) == (0, "", whole)
    assert "10 of 24 segments are there" in err
    assert sizes == [10, 10, 10, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.html", "out.html"]


def test_translate_cuts_long_lines_where_sentences_end(distilled):
    model = distilled[0] / "students/noevo.seed1/model"
    lines = [english for english, _ in sentences(4, start=300)]
    command = ("translate", model, "-l", "en-de")
    alone = evokd(*command, stdin="".join(f"{line}\n" for line in lines).encode())[1]
    typed = f"  {lines[0]} {lines[1]}\n\n{lines[2]}  {lines[3]}\r\n".encode()
    code, out, err = evokd(*command, "--longest", 30, stdin=typed)
    one, other, third, fourth = alone.splitlines()
    assert (code, out) == (0, f"  {one} {other}\n\n{third}  {fourth}\r\n")
    assert "5 segments" in err
    assert evokd(*command, stdin=typed)[1].count("\n") == 3


def test_translate_names_the_line_that_is_broken(distilled, tmp_path):
    model = distilled[0] / "students/noevo.seed1/model"
    command = ("translate", model, "-l", "en-de")
    table = tmp_path / "in.tsv"
    table.write_text("1\tOne.\n2\n")
    out = tmp_path / "out.tsv"
    out.write_text("before")
    said = refused(*command, "-i", table, "--column", 2, "-o", out)
    assert f"{table}:2 has 1 column" in said
    assert out.read_text() == "before"
    given = ("-i", table, "--column", 1, "-o")
    assert "is the input, which would be lost" in refused(*command, *given, table)
    assert "is a folder" in refused(*command, *given, tmp_path)
    assert table.read_text() == "1\tOne.\n2\n"
    assert "--key together with format tsv" in refused(*command, "-i", table, "--key", "a")
    broken = b'{"text": "a"}\n{"txt": "b"}\n'
    assert "standard input:2 has no text" in refused(*command, "--format", "jsonl", stdin=broken)
    assert "standard input:1 is no UTF-8" in refused(*command, "--format", "po", stdin=b"\xfc")


def test_translate_warns_of_a_direction_that_was_never_trained(distilled):
    model = distilled[0] / "students/noevo.seed1/model"
    code, out, err = evokd("translate", model, "-l", "de-en", stdin=b"Hallo.\n")
    assert (code, out.count("\n")) == (0, 1)
    assert "never trained on de-en; it was on en-de" in err
    assert "never trained" not in evokd("translate", model, "-l", "en-de", stdin=b"Hi.\n")[2]


def test_shipped_recipes_are_listed_printed_and_run_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = evokd("recipes")
    assert code == 0
    assert re.search(r"^paper/table1 +The paper's main table", out, re.M)
    text = (ROOT / "recipes/multi30k.yaml").read_text(encoding="utf-8")
    assert evokd("recipes", "multi30k")[:2] == (0, text)
    assert "data/multi30k/train.en" in refused("run", "multi30k", "--check")
    assert evokd("run", "demo", "--check")[:2] == (0, "demo: fine\n")
    (tmp_path / "multi30k").write_text("name: mine")
    assert evokd("run", "multi30k", "--check")[0] == 2, "a file of that name goes first"
    assert "no recipe 'none' comes with evokd; accepted: all_methods" in evokd("recipes", "none")[2]
    code, _, err = evokd("run", "multi3k")
    assert (code, "multi30k" in err) == (2, True)
