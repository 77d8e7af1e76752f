"""The whole study, from a recipe to a report: what it leaves, what it redoes, what it survives."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import sacrebleu
import torch
import yaml
from safetensors.torch import load_file

from evokd.data.corpus import load_corpus
from evokd.evaluate.sentences import SENTENCES, read_sentences
from small_study import (
    DIRECTIONS,
    changed,
    evokd,
    recipe,
    sentences,
    snapshot,
    without_figures,
    write_moses,
    write_recipe,
)

METHODS = ("sft", "forward_kd", "self_evolution")
SEEDS = (1, 2)
VIEWS = {"recipe.yaml", "table.md", "table.tex", "report.html", "pages.json", "sentences.jsonl"}
"""Written anew by each run, whatever it finds done."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study: its folder, its recipe and what it printed."""
    folder = tmp_path_factory.mktemp("study")
    path = write_recipe(folder / "tiny.yaml", recipe(seeds=list(SEEDS)))
    start = time.perf_counter()
    code, out, err = evokd("run", path, "-o", folder / "run")
    assert code == 0, err
    assert time.perf_counter() - start < 120  # under a minute where nothing else is running
    return folder / "run", path, out


@pytest.fixture(autouse=True)
def _no_figures():
    """But for the finished study, which is made before this."""
    with without_figures():
        yield


@pytest.fixture
def copied(finished, tmp_path):
    """A copy that a test may change; also a run folder that has moved."""
    shutil.copytree(finished[0], tmp_path / "moved")
    return tmp_path / "moved"


def again(finished, folder, *overrides):
    """Run the recipe again with overrides; returns the files that were written. What was in their
    places is kept, to the last file."""
    before = snapshot(folder)
    code, _, err = evokd("run", finished[1], "-o", folder, *overrides)
    assert code == 0, err
    after = snapshot(folder)
    there = {re.sub(r"kept/(.*?)/[0-9a-f]{16}(?:.damaged)?/", r"\1/", name) for name in after}
    assert {name for name in before if name.endswith("model.safetensors")} <= there | {*after}
    return {name for name in changed(before, after) if not name.startswith("kept/")}


def without_cards(written):
    """Scores stand in them, of other students as well."""
    return {name for name in written if not name.endswith("/model/README.md")}


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def lines_of(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text.split("\n")[:-1]


def test_results_keep_the_contract(finished):
    found = results_of(finished[0])
    systems = {("teacher", None), *((m, s) for m in METHODS for s in SEEDS)}
    cells = {(s, d) for s in systems for d in DIRECTIONS}

    for row in found["scores"]:
        assert {"system", "seed", "test_set", "direction", "metric", "score", "signature"} <= set(
            row
        )
    for metric in ("bleu", "chrf"):
        of_metric = [row for row in found["scores"] if row["metric"] == metric]
        assert {((r["system"], r["seed"]), r["direction"]) for r in of_metric} == cells
    likeness = [row for row in found["scores"] if row["metric"] == "bleu_vs_teacher"]
    assert {r["system"] for r in likeness} == set(METHODS)

    keys = {"system", "baseline", "test_set", "direction", "metric", "delta", "p_value"}
    assert found["comparisons"]
    for row in found["comparisons"]:
        assert keys <= set(row)
        assert row["baseline"] == "forward_kd"
        assert 0 <= row["p_value"] <= 1
    assert found["baseline"] == "forward_kd"
    assert {row["system"] for row in found["comparisons"]} == {"teacher", "sft", "self_evolution"}
    more = {"summary", "gap_closed", "behaviour", "speed", "examples", "cleaning", "versions"}
    assert more <= set(found)


def test_two_seeds_give_mean_and_spread(finished):
    found = results_of(finished[0])
    for row in found["summary"]:
        of_system = [
            r["score"]
            for r in found["scores"]
            if all(r[k] == row[k] for k in ("system", "test_set", "direction", "metric"))
        ]
        if row["direction"] == "average":
            continue
        if row["system"] == "teacher":
            assert (row["seeds"], row["std"]) == (1, None)
        else:
            assert row["seeds"] == 2
            assert row["mean"] == pytest.approx(sum(of_system) / 2)
            assert row["std"] == pytest.approx(abs(of_system[0] - of_system[1]) / 2**0.5)


def test_translations_have_one_line_per_segment(finished):
    folder = finished[0]
    wanted = {
        *(f"phrases.{d}.teacher.txt" for d in DIRECTIONS),
        *(f"phrases.{d}.{m}.seed{s}.txt" for d in DIRECTIONS for m in METHODS for s in SEEDS),
    }
    assert {path.name for path in (folder / "translations").glob("*.txt")} == wanted
    for name in wanted:
        assert len(lines_of(folder / "translations" / name)) == 10
        facts = json.loads((folder / "translations" / name).with_suffix(".json").read_text())
        assert facts["words_per_s"] > 0
        assert {"batch_size", "dtype", "device", "beam", "cut_off", "stopped_by"} <= set(facts)


def test_scores_are_those_of_sacrebleu(finished):
    folder = finished[0]
    metrics = {"bleu": sacrebleu.BLEU(), "chrf": sacrebleu.CHRF()}
    for row in results_of(folder)["scores"]:
        seed = "" if row["seed"] is None else f".seed{row['seed']}"
        stem = f"phrases.{row['direction']}"
        hypotheses = lines_of(folder / "translations" / f"{stem}.{row['system']}{seed}.txt")
        if row["metric"] == "bleu_vs_teacher":
            references = lines_of(folder / "translations" / f"{stem}.teacher.txt")
        else:
            references = lines_of(folder / "corpus/test" / f"{stem}.ref")
        scorer = metrics[row["metric"].split("_")[0]]
        assert row["score"] == scorer.corpus_score(hypotheses, [references]).score
    assert any(row["score"] > 0 for row in results_of(folder)["scores"])


def test_manifests_say_what_a_stage_stood_on(finished):
    folder = finished[0]
    students = [folder / "students" / f"{m}.seed{s}" for m in METHODS for s in SEEDS]
    for stage in (folder / "corpus", folder / "tokenizer", folder / "teacher", *students):
        manifest = json.loads((stage / "manifest.json").read_text())
        assert {"stage", "fingerprint", "finished", "wall_s", "facts"} <= set(manifest)
        assert {"evokd", "python", "torch", "transformers", "sacrebleu"} <= set(
            manifest["versions"]
        )
    for stage in (folder / "teacher", *students):
        manifest = json.loads((stage / "manifest.json").read_text())
        assert manifest["seed"] == (2 if stage.name.endswith("seed2") else 1)
        assert (manifest["device"], manifest["dtype"]) == ("cpu", "float32")
        assert manifest["wall_s"] > 0
        facts = manifest["facts"]
        assert facts["peak_mib"] > 100 or not Path("/proc/self/clear_refs").exists()
        # A forward and a backward pass: 6 FLOP a token and weight, but for the embeddings.
        assert facts["flops_per_s"] > 6 * facts["parameters_without_embeddings"]
        assert facts["tokens_per_s"] > facts["response_tokens_per_s"] > 0
        assert facts["mfu"] is None, "a CPU's peak isn't known"
        assert not (stage / "checkpoints").exists()
        assert list((stage / "tensorboard").glob("events*"))


def test_hashes_of_input_files_stand_in_the_corpus_manifest(tmp_path):
    import hashlib

    from evokd.data.prompts import load_prompt
    from evokd.recipe.file import check_recipe
    from evokd.study.context import Study
    from evokd.study.preparation import make_corpus

    train = write_moses(tmp_path, "train", sentences(20))
    test = write_moses(tmp_path, "test", sentences(3, start=500))
    tree = recipe(
        corpus={"train": str(train), "test": [{"name": "own", "path": str(test)}]},
    )
    study = Study(check_recipe(tree), tmp_path / "run", load_prompt("compact"), lambda text: None)
    stage = make_corpus(study)
    inputs = json.loads((stage.folder / "manifest.json").read_text())["inputs"]
    english = tmp_path / "train.en"
    assert inputs[str(english)] == hashlib.sha256(english.read_bytes()).hexdigest()
    assert len(inputs) == 4

    english.write_text(english.read_text().replace("The", "Our"))
    assert make_corpus(study).fingerprint != stage.fingerprint


def test_metrics_hold_the_common_curve_of_every_method(finished):
    for method in METHODS:
        path = finished[0] / "students" / f"{method}.seed1" / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        logged = [line for line in lines if "loss" in line]
        assert [line["step"] for line in logged] == [1, 2, 4, 6]
        for line in logged:
            assert line["noevo_loss"] > 0
            assert line["learning_rate"] >= 0
            assert {"student_nll", "teacher_nll", "hard_share", "mean_difficulty"} <= set(line)
        assert [line["step"] for line in lines if "eval_loss" in line]


def test_every_method_starts_from_the_same_weights_and_ends_elsewhere(finished):
    """Step 1's statistics come before any update: the same batch, the same student."""
    first = {}
    for method in METHODS:
        path = finished[0] / "students" / f"{method}.seed1" / "metrics.jsonl"
        first[method] = json.loads(path.read_text().splitlines()[0])["student_nll"]
    assert len(set(first.values())) == 1
    weights = {
        (finished[0] / "students" / f"{m}.seed{s}/model/model.safetensors").read_bytes()
        for m in METHODS
        for s in SEEDS
    }
    assert len(weights) == len(METHODS) * len(SEEDS)


def test_the_saved_recipe_is_the_resolved_one(finished):
    folder, path, _ = finished
    saved = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    assert saved["training"]["warmup_ratio"] == 0.03
    assert [m["name"] for m in saved["methods"]] == list(METHODS)
    from evokd.recipe.file import load_recipe

    assert load_recipe(folder / "recipe.yaml") == load_recipe(path)


def test_tables_and_report_are_there_and_said(finished):
    folder, _, out = finished
    for name in ("table.md", "table.tex", "report.html"):
        assert "self" in (folder / name).read_text(encoding="utf-8").lower()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'src="http' not in page
    assert "<link" not in page
    assert str((folder / "report.html").resolve()) in out
    assert "teacher" in out
    assert "reference" in out  # the example sentences


def test_a_second_run_redoes_nothing(finished, copied):
    assert again(finished, copied) <= VIEWS - {"sentences.jsonl"}


def test_every_sentence_is_kept_with_its_scores(finished, copied):
    """The lines of the translations' files, and those of other results never beside these."""
    rows = list(read_sentences(copied / SENTENCES))
    assert [(row["test_set"], row["direction"]) for row in rows] == [
        ("phrases", direction) for direction in DIRECTIONS
    ]
    for row in rows:
        assert len(row["outputs"]) == 1 + len(METHODS) * len(SEEDS)
        for one in row["outputs"]:
            label = one["system"] if one["seed"] is None else f"{one['system']}.seed{one['seed']}"
            path = copied / f"translations/phrases.{row['direction']}.{label}.txt"
            assert one["lines"] == path.read_text(encoding="utf-8").splitlines()
            assert {len(scores) for scores in one["scores"].values()} == {len(row["sources"])}
    before = (copied / SENTENCES).read_bytes()
    again(finished, copied, "methods=[sft, forward_kd]", "scoring.baseline=sft")
    assert (copied / SENTENCES).read_bytes() != before
    again(finished, copied)
    assert (copied / SENTENCES).read_bytes() == before


def test_another_gamma_redoes_its_own_student_only(finished, copied):
    written = again(finished, copied, "methods.self_evolution.gamma=2.5")
    models = {name for name in written if name.endswith(".safetensors")}
    assert models == {f"students/self_evolution.seed{s}/model/model.safetensors" for s in SEEDS}
    texts = {name for name in written if name.startswith("translations/")}
    assert texts == {
        f"translations/phrases.{d}.self_evolution.seed{s}.{kind}"
        for d in DIRECTIONS
        for s in SEEDS
        for kind in ("txt", "json")
    }
    rest = without_cards(written) - models - texts
    assert {name for name in rest if not name.startswith("students/self_evolution")} <= {
        "results.json",
        *VIEWS,
    }
    systems = {s["system"]: s for s in results_of(copied)["systems"]}
    assert systems["self_evolution"]["settings"]["gamma"] == 2.5


def test_students_are_saved_in_the_number_format_that_is_asked_for(finished, copied):
    """Rounded at the end: trained as ever, from the same start, of the same teacher."""
    written = again(finished, copied, "student.save_dtype=bfloat16", "methods=[self_evolution]")
    models = {name for name in written if name.endswith(".safetensors")}
    assert models == {f"students/self_evolution.seed{s}/model/model.safetensors" for s in SEEDS}
    place = "students/self_evolution.seed1/model"
    before, after = (load_file(run / place / "model.safetensors") for run in (finished[0], copied))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key].bfloat16(), one) for key, one in after.items())
    config = json.loads((copied / place / "config.json").read_text())
    assert (config["dtype"], config["torch_dtype"]) == ("bfloat16", "bfloat16")
    start = load_file(copied / "start/model/model.safetensors")
    assert {one.dtype for one in start.values()} == {torch.float32}


def test_another_decoding_redoes_all_translations_and_no_model(finished, copied):
    written = again(finished, copied, "decoding.extra_tokens=2")
    assert "results.json" in written
    written = without_cards(written)
    assert {name.split("/")[0] for name in written} <= {"results.json", "translations", *VIEWS}
    assert len({n for n in written if n.endswith(".txt")}) == 2 * (1 + len(METHODS) * len(SEEDS))


def test_another_scoring_redoes_scores_only(finished, copied):
    written = without_cards(again(finished, copied, "scoring.baseline=sft", "name=other"))
    assert written <= {"results.json", *VIEWS}
    found = results_of(copied)
    assert found["name"] == "other"
    assert {row["baseline"] for row in found["comparisons"]} == {"sft"}


def test_another_test_set_needs_no_other_models(finished, copied, tmp_path):
    more = write_moses(tmp_path, "more", sentences(5))
    tests = f"[{{name: phrases, path: 'phrasebook:test:10'}}, {{name: more, path: {more}}}]"
    written = again(finished, copied, f"corpus.test={tests}")
    assert not [name for name in written if name.endswith(".safetensors")]
    assert "translations/more.en-de.teacher.txt" in written
    assert "translations/phrases.en-de.teacher.txt" not in written
    assert {row["test_set"] for row in results_of(copied)["scores"]} == {"phrases", "more"}


def test_a_method_taken_out_and_renamed_leaves_no_stale_results(finished, copied):
    again(finished, copied, "methods=[sft, forward_kd]", "seeds=1")
    found = results_of(copied)
    assert {row["system"] for row in found["scores"]} == {"teacher", "sft", "forward_kd"}
    assert {row["seed"] for row in found["scores"]} == {None, 1}


def test_a_translation_cut_off_by_a_kill_is_made_again_alone(finished, copied):
    name = "phrases.en-de.forward_kd.seed2"
    path = copied / "translations" / f"{name}.txt"
    whole = path.read_text(encoding="utf-8")
    path.write_text("half a li", encoding="utf-8")
    path.with_suffix(".json").unlink()
    written = again(finished, copied)
    assert written - VIEWS <= {f"translations/{name}.txt", f"translations/{name}.json"}
    assert path.read_text(encoding="utf-8") == whole


HIDDEN, TOP = "teacher.signal=hidden", ("teacher.signal=topk", "teacher.top_k=16")
OTHER_GAMMA = "methods.self_evolution.gamma=2.5"


def weights_in(names):
    return {name for name in names if name.endswith("model.safetensors")}


def test_hidden_states_from_a_cache_change_no_student(finished, copied):
    """Where all students are there, no teacher is run for them either."""
    assert again(finished, copied, HIDDEN) <= VIEWS


def test_top_k_from_a_cache_redoes_what_learns_from_it(finished, copied):
    written = again(finished, copied, *TOP)
    assert weights_in(written) == {
        f"students/{m}.seed{s}/model/model.safetensors"
        for m in ("forward_kd", "self_evolution")
        for s in SEEDS
    }
    error = json.loads((copied / "cache/top16.error/manifest.json").read_text())["facts"]
    assert 0 < error["error_mean"] < error["bound_mean"]
    assert 0 < error["tail_mass"] <= error["tail_mass_max"] < 1
    shutil.rmtree(copied / "cache")  # it may go when all students are there
    assert again(finished, copied, *TOP) <= VIEWS


def test_going_back_to_other_settings_trains_nothing_and_takes_up_the_same_files(finished, copied):
    """README's own example deleted what it was to be compared with."""
    weights = copied / "students/self_evolution.seed1/model/model.safetensors"
    inode, scores = weights.stat().st_ino, results_of(copied)["scores"]
    again(finished, copied, OTHER_GAMMA)
    assert weights.stat().st_ino != inode
    before = snapshot(copied)
    code, _, err = evokd("run", finished[1], "-o", copied)
    assert code == 0, err
    assert weights.stat().st_ino == inode
    assert "steps" not in err
    assert results_of(copied)["scores"] == scores
    written = {n for n in changed(before, snapshot(copied)) if Path(n).name not in VIEWS}
    assert {before.get(name, snapshot(copied).get(name)) for name in written} <= {*before.values()}


def test_students_learn_from_the_cache_without_the_teacher(finished, copied, tmp_path, monkeypatch):
    """One teacher's word for all seeds: its model isn't in memory, the students are the same."""
    from safetensors.torch import load_file

    from evokd.study import models, students

    live = tmp_path / "live"
    shutil.copytree(copied, live)
    again(finished, live, OTHER_GAMMA)
    held: list[bool] = []

    def watched(study, *args):
        held.append("teacher" in vars(study))
        return models.train_student(study, *args)

    monkeypatch.setattr(students, "train_student", watched)
    code, _, err = evokd("run", finished[1], "-o", copied, HIDDEN, OTHER_GAMMA)
    assert code == 0, err
    assert held == [False] * len(SEEDS)
    assert (copied / "cache/hidden/manifest.json").exists()
    for seed in SEEDS:
        assert f"student self_evolution, seed {seed}: its teacher is cached, hidden" in err
        name = f"students/self_evolution.seed{seed}/model/model.safetensors"
        one, other = load_file(live / name), load_file(copied / name)
        assert all(abs(one[key] - other[key]).max() < 1e-4 for key in one)
    pair = [json.loads((f / "students/self_evolution.seed1/diagnostics.json").read_text())
            for f in (live, copied)]  # fmt: skip
    assert pair[0]["tokens"] == pair[1]["tokens"]
    assert pair[0]["mean_difficulty"] == pytest.approx(pair[1]["mean_difficulty"], rel=1e-3)


def test_a_damaged_cache_is_mended_and_a_damaged_teacher_made_again(finished, copied):
    """On one machine it comes out the same, so that its cache serves on."""
    assert evokd("cache", finished[1], "-o", copied)[0] == 0
    shard = next((copied / "cache/hidden").glob("shard*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    code, _, err = evokd("run", finished[1], "-o", copied, HIDDEN, OTHER_GAMMA)
    assert code == 0, err
    assert f"cache: {shard} has {len(whole) - 100} bytes instead of {len(whole)}" in err
    assert "what it held is computed again" in err

    teacher = copied / "teacher/model/model.safetensors"
    content = bytearray(teacher.read_bytes())
    content[-1] ^= 1
    teacher.write_bytes(content)
    written = again(finished, copied, HIDDEN, OTHER_GAMMA)
    assert weights_in(written) == {"teacher/model/model.safetensors"}
    content[-1] ^= 1
    assert teacher.read_bytes() == content
    assert not [name for name in written if name.startswith("cache/")]


def test_another_teacher_gets_another_cache(finished, copied):
    assert evokd("cache", finished[1], "-o", copied)[0] == 0
    index = copied / "cache/hidden/cache.json"
    before, inode = json.loads(index.read_text())["identity"], index.stat().st_ino
    argv = ("run", finished[1], "-o", copied, HIDDEN, "methods=[sft]", "seeds=1")
    code, _, err = evokd(*argv, "teacher.training.max_steps=3")
    assert code == 0, err
    assert "cache hidden: made anew, teacher changed" in err
    after = json.loads(index.read_text())["identity"]
    assert {name for name in before if before[name] != after[name]} == {"the teacher's weights"}
    assert evokd("cache", finished[1], "-o", copied)[0] == 0
    assert index.stat().st_ino == inode, "the first one was kept"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("corpus.train=/nowhere/train", "/nowhere/train"),
        ("prompt=/nowhere/prompt.txt", "/nowhere/prompt.txt"),
        ("scoring.metrics=[blue]", "blue"),
    ],
)
def test_bad_input_leaves_what_was_made(finished, copied, override, said):
    before = snapshot(copied)
    code, _, err = evokd("run", finished[1], "-o", copied, override)
    assert code == 2
    assert said in err
    assert changed(before, snapshot(copied)) == set()


def test_bad_text_leaves_what_was_made(finished, copied, tmp_path):
    write_moses(tmp_path, "bad", sentences(30))
    (tmp_path / "bad.de").write_bytes(b"gut\n\xff\xfe schlecht\n" + b"gut\n" * 28)
    before = snapshot(copied)
    code, _, err = evokd("run", finished[1], "-o", copied, f"corpus.train={tmp_path / 'bad'}")
    assert code == 2
    assert "bad.de" in err
    assert changed(before, snapshot(copied)) == set()


CHILD = """
import os, signal, sys
from evokd.evaluate.sentences import SENTENCES, read_sentences
from evokd.cli import main
from evokd.distil.train.checkpoints import CheckpointMark

mark = CheckpointMark.on_save

def on_save(self, args, state, control, **more):
    mark(self, args, state, control, **more)
    if "students" in args.output_dir and state.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)

CheckpointMark.on_save = on_save
main(sys.argv[1:])
"""


def test_a_killed_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    """Stopped while the teacher writes a checkpoint, SIGKILL in the student; then to the end.

    120 pairs in batches of 16 are 8 steps an epoch: both are killed, and end, within an epoch.
    """
    train = write_moses(tmp_path, "train", sentences(60))
    valid = write_moses(tmp_path, "valid", sentences(8, start=300))
    test = write_moses(tmp_path, "test", sentences(4, start=500))
    tree = recipe(
        corpus={
            "train": str(train),
            "valid": str(valid),
            "test": [{"name": "own", "path": str(test)}],
        },
        methods=["self_evolution"],
    )
    tree["training"] |= {"max_steps": 13, "save_every": 3, "eval_every": 5, "log_every": 1}
    tree["teacher"]["training"] = {"max_steps": 11}
    path = write_recipe(tmp_path / "study.yaml", tree)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert evokd("run", path, "-o", whole)[0] == 0

    from evokd.distil.train.checkpoints import CheckpointMark

    mark = CheckpointMark.on_save

    def stop_before_the_mark(self, args, state, control, **more):
        if state.global_step == 10:
            raise KeyboardInterrupt
        mark(self, args, state, control, **more)

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointMark, "on_save", stop_before_the_mark)
        code, _, err = evokd("run", path, "-o", killed)
    assert (code, "goes on from here" in err) == (130, True)
    half = killed / "teacher/checkpoints/checkpoint-10"
    (half / "optimizer.pt").write_bytes(b"half")
    (half / "trainer_state.json").unlink()

    command = [sys.executable, "-c", CHILD, "run", path, "-o", killed]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert "teacher: going on from step 5" in child.stderr
    assert (killed / "teacher/manifest.json").exists()
    student = killed / "students/self_evolution.seed1"
    assert (student / "checkpoints/checkpoint-6/complete").exists()
    assert not (student / "manifest.json").exists()

    code, _, err = evokd("run", path, "-o", killed)
    assert code == 0
    assert "student self_evolution, seed 1: going on from step 6" in err

    for model in sorted(whole.rglob("model.safetensors")):
        twin = killed / model.relative_to(whole)
        assert model.read_bytes() == twin.read_bytes(), twin
    for log in sorted(whole.rglob("metrics.jsonl")):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        twin = killed / log.relative_to(whole)
        twins = [json.loads(line) for line in twin.read_text().splitlines()]
        assert [(t["step"], sorted(t)) for t in twins] == [(t["step"], sorted(t)) for t in lines]
        for kind in ("loss", "eval_loss"):
            assert [t[kind] for t in twins if kind in t] == [t[kind] for t in lines if kind in t]
    for text in sorted((whole / "translations").glob("*.txt")):
        assert text.read_bytes() == (killed / "translations" / text.name).read_bytes()
    assert not list(killed.rglob("*.draft"))
    assert results_of(whole)["scores"] == results_of(killed)["scores"]


def test_a_failed_run_says_so_without_a_traceback(finished, copied, monkeypatch):
    broken = mock.Mock(side_effect=FloatingPointError("nothing adds up"))
    monkeypatch.setattr("evokd.study.analysis.analyse", broken)
    code, _, err = evokd("run", finished[1], "-o", copied)
    assert code == 1
    assert "the run failed: FloatingPointError: nothing adds up" in err
    assert "Traceback" not in err
    monkeypatch.setenv("EVOKD_TRACEBACK", "1")
    with pytest.raises(FloatingPointError):
        evokd("run", finished[1], "-o", copied)


def test_a_training_that_diverges_names_the_setting(finished, copied):
    code, _, err = evokd("run", finished[1], "-o", copied, "teacher.training.learning_rate=1e30")
    assert (code, "the run failed" in err) == (2, False)
    assert "weights are no longer finite; a smaller training.learning_rate" in err


def test_reports_are_made_anew_from_files(finished, copied):
    for name in ("table.md", "table.tex", "report.html"):
        (copied / name).unlink()
    code, out, _ = evokd("report", copied)
    assert code == 0
    assert Path(out.strip()) == copied / "report.html"
    assert (copied / "table.md").read_text() == (finished[0] / "table.md").read_text()


def test_a_study_of_noise_filters_gates_and_advises(tmp_path):
    """Text for models and students apart, some of it wrong; what is advised is what is trained."""
    noise = {"kind": "misaligned", "share": 0.4}
    train = [
        {"path": "phrasebook:train:100", "use": "models"},
        {"path": "phrasebook:train:160", "use": "students", "skip": 100, "noise": noise},
    ]
    tree = recipe(methods=["sft", "vouched", {"name": "filtered", "objective": "noevo"}, "auto"])
    tree["methods"][2]["text"] = "filtered"
    tree["corpus"]["train"] = train
    tree["corpus"]["cleaning"] = {"by_teacher": {"threshold": 5.0}}
    path = write_recipe(tmp_path / "noise.yaml", tree)
    code, out, err = evokd("run", path, "-o", tmp_path / "run", "teacher_text.beam=1")
    assert code == 0, err
    results = json.loads((tmp_path / "run/results.json").read_text())
    advice, systems = results["start"]["advice"], {one["system"]: one for one in results["systems"]}
    assert results["start"]["wrong_share"] is None, "to so poor a teacher all pairs look the same"
    assert f"docs/regimes.md, {advice['row']}" in err + out
    gates = results["start"]["gates"]
    assert [(row["gamma"], row["doubt"]) for row in gates][:2] == [(0.4, None), (1.5, None)]
    assert all(0 <= row["recall"] <= 1 for row in gates)
    auto = systems["auto"]["settings"]
    assert auto["open"]
    assert auto["text"] == advice["method"].get("text", "reference")
    assert systems["vouched"]["settings"]["gate"] == "vouched"
    kept = results["teacher_text"]["filtered"]["pairs"]
    lines = (tmp_path / "run/filtered/pairs.jsonl").read_text().splitlines()
    assert (
        len(lines) == kept == 120 - results["teacher_text"]["filtered"]["left_out"]["disbelieved"]
    )
    assert len((tmp_path / "run/corpus/models.jsonl").read_text().splitlines()) == 200
    record = (tmp_path / "run/corpus/noise.jsonl").read_text().splitlines()
    assert len(record) == 48
    before = {k: v for k, v in snapshot(tmp_path / "run").items() if k not in VIEWS}
    assert evokd("run", path, "-o", tmp_path / "run", "teacher_text.beam=1")[0] == 0
    after = snapshot(tmp_path / "run")
    assert {k: v for k, v in after.items() if k not in VIEWS} == before


def test_pairs_that_are_held_back_are_judged_and_students_learn_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr("evokd.data.division.HELD_OUT_LEAST", 5)
    monkeypatch.setattr("evokd.study.filtering.FEW", 5)
    filtered = {"name": "filtered", "objective": "noevo", "text": "filtered"}
    tree = recipe(methods=["sft", filtered, "auto"], seeds=1)
    tree["corpus"]["held_out"] = 50
    tree["teacher"]["signal"] = "hidden"
    tree["teacher"]["training"] = {"max_steps": 120, "learning_rate": 1e-2}
    path = write_recipe(tmp_path / "held.yaml", tree)
    code, _, err = evokd("run", path, "-o", tmp_path / "run", "teacher_text.beam=1")
    assert code == 0, err
    assert "for teacher and start" in err
    corpus = load_corpus(tmp_path / "run/corpus")
    assert len(corpus.train) - 40 < len(corpus.models) <= len(corpus.train) - 20
    assert json.loads((tmp_path / "run/corpus/cleaning.json").read_text())["held_out"] == 10
    judged = json.loads(next((tmp_path / "run/surprisal").glob("*/00000.json")).read_text())[
        "pairs"
    ]
    assert len(judged) >= len(corpus.train) - len(corpus.models)
    lines = len((tmp_path / "run/filtered/pairs.jsonl").read_text().splitlines())
    assert 0 < lines <= len(corpus.train)


def test_a_grid_shares_what_is_the_same_and_draws_a_map(tmp_path):
    """Teacher and starts are the same with clean and noisy references, and so is a student of the
    teacher's own text; one of another name that is made the same way isn't trained again."""
    from safetensors.torch import load_file

    noise = {"kind": "misaligned", "share": 0.4}
    tree = recipe(
        directions="en-de",
        seeds=list(SEEDS),
        methods=["sft", "forward_kd", {"name": "again", "objective": "forward_kd"}, "seq_kd"],
        teacher_text={"beam": 1},
        grid={"noise": {"clean": {}, "pairs40": {"corpus.train.1.noise": noise}}},
    )
    tree["corpus"]["train"] = [
        {"path": "phrasebook:train:60", "use": "models"},
        {"path": "phrasebook:train:100", "use": "students", "skip": 60},
    ]
    still = {"objective": "sft", "name": "still", "training": {"learning_rate": 1e-12}}
    tree["methods"].append(still)
    tree["student"]["starts"] = "per_seed"
    tree["teacher"]["training"] = {"max_steps": 80, "learning_rate": 1e-2}  # or it writes nothing
    path, run = write_recipe(tmp_path / "grid.yaml", tree), tmp_path / "run"
    code, out, err = evokd("run", path, "-o", run)
    assert code == 0, err
    assert f"map: {run / 'report.html'}" in out

    def weights(point, place):
        return run / point / place / "model/model.safetensors"

    for place in ("teacher", "start", "start.seed2", "students/seq_kd.seed2"):
        assert weights("clean", place).samefile(weights("pairs40", place))
    for point in ("clean", "pairs40"):
        first, second = (weights(point, f"students/{m}.seed1") for m in ("forward_kd", "again"))
        assert first.samefile(second)
        for seed, start in ((1, "start"), (2, "start.seed2")):
            moved = load_file(weights(point, f"students/still.seed{seed}"))
            for key, tensor in load_file(weights(point, start)).items():
                assert tensor.allclose(moved[key], atol=1e-8), "each seed goes on from its own"
    clean, noisy = (weights(p, "students/sft.seed1").read_bytes() for p in ("clean", "pairs40"))
    assert clean != noisy
    starts = [weights("clean", place).read_bytes() for place in ("start", "start.seed2")]
    assert starts[0] != starts[1]

    shown = json.loads((run / "map.json").read_text())
    assert (shown["axes"], shown["baseline"]) == ({"noise": ["clean", "pairs40"]}, "forward_kd")
    for point in ("clean", "pairs40"):
        bleu = {
            row["system"]: row["mean"]
            for row in results_of(run / point)["summary"]
            if row["metric"] == "bleu" and row["direction"] == "en-de"
        }
        gains = {g["system"]: g["gain"] for g in shown["gains"] if g["point"] == [point]}
        assert gains.keys() == bleu.keys() - {"teacher"}
        for name, gain in gains.items():
            assert gain == pytest.approx(bleu[name] - bleu["forward_kd"])
        assert f'href="{point}/report.html"' in (run / "report.html").read_text()

    before, views = snapshot(run), {*VIEWS, "map.md", "map.json"}
    for verb in ("run", "cache"):
        code, _, err = evokd(verb, path, "-o", run, "grid={}")
        assert code == 2
        assert f"{run} holds the studies of a grid" in err
    lost = 'grid={noise: {clean: {}, lost: {corpus.train.0.path: "nowhere"}}}'
    code, _, err = evokd("run", path, "-o", run, lost)
    assert code == 2
    assert "grid point lost: nowhere.en, nowhere.de not found" in err
    code, _, err = evokd("run", path, "-o", run / "clean", "grid={noise: {clean: {}}}")
    assert code == 2
    assert "holds a study without a grid" in err
    assert not changed(before, snapshot(run))
    assert evokd("run", path, "-o", run)[0] == 0
    anew = {Path(name) for name in changed(before, snapshot(run))}
    assert {file.name for file in anew if file.parent.name != "figures"} <= views

    table = (run / "map.md").read_text()
    (run / "map.md").unlink()
    (run / "report.html").unlink()
    assert evokd("report", run)[:2] == (0, f"{run / 'report.html'}\n")
    assert (run / "map.md").read_text() == table
    assert (run / "report.html").exists()
