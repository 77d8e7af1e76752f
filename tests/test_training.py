"""One training: its arguments, checkpoints, metrics and which weights it keeps."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl

from evokd.distil import training
from evokd.distil.training import (
    CheckpointMark,
    HardWarning,
    MetricsFile,
    Training,
    arguments,
    last_checkpoint,
    method_settings,
    micro_batches,
    read_metrics,
    train,
)
from evokd.methods import MethodSettings
from evokd.recipe import TrainingSettings
from tiny import copy_task, tiny_llama


def work(folder, objective="sft", **settings):
    known = {"batch_size": 8, "learning_rate": 1e-2, "max_steps": 8, "log_every": 1}
    return Training(
        "training",
        Path(folder),
        TrainingSettings(**(known | settings)),
        MethodSettings(name=objective, objective=objective),
        1,
        torch.device("cpu"),
    )


def trained(job, student=None, teacher=None, note=lambda text: None):
    """A tiny student after a job; validation is on sequences it never sees."""
    student = student or tiny_llama(1)
    facts = train(job, student, teacher, copy_task(64), copy_task(16, seed=9), note=note)
    return student, facts


def same(student, other):
    pairs = zip(student.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("batch", "micro", "world", "wanted"),
    [
        (128, None, 1, (64, 2)),
        (32, None, 1, (32, 1)),
        (128, 8, 1, (8, 16)),
        (128, 8, 4, (8, 4)),
        (96, None, 1, (48, 2)),
        (10, 4, 1, (2, 5)),
        (7, 4, 1, (1, 7)),
        (8, 16, 1, (8, 1)),
        (1, None, 1, (1, 1)),
    ],
)
def test_micro_batches_make_up_the_batch(batch, micro, world, wanted):
    settings = TrainingSettings(batch_size=batch, micro_batch_size=micro)
    size, steps = micro_batches(settings, world)
    assert (size, steps) == wanted
    assert size * steps * world == batch


def test_arguments_say_what_the_settings_say(tmp_path):
    job = work(tmp_path, max_steps=None, epochs=3, batch_size=10, warmup_ratio=0.1)
    args = arguments(job, pairs=64, keeps_best=False)
    assert args.max_steps == 21  # 3 × ⌈64 / 10⌉
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (10, 1)
    assert args.warmup_steps == math.ceil(0.1 * 21)
    assert (args.eval_steps, args.save_steps) == (7, 3)
    assert args.lr_scheduler_type == "cosine"
    assert args.seed == args.data_seed == 1
    assert not args.load_best_model_at_end

    assert arguments(job, pairs=64, keeps_best=False, validates=False).eval_strategy == "no"
    best = arguments(job, pairs=64, keeps_best=True)
    assert (best.load_best_model_at_end, best.save_steps) == (True, best.eval_steps)
    few = arguments(work(tmp_path, max_steps=2, schedule="constant"), pairs=64, keeps_best=False)
    assert (few.max_steps, few.eval_steps, few.save_steps) == (2, 2, 1)
    assert few.lr_scheduler_type == "constant_with_warmup"
    half = arguments(work(tmp_path, max_steps=None, epochs=0.5), pairs=64, keeps_best=False)
    assert half.max_steps == 4


def test_a_methods_settings_and_its_progressive_beta():
    made, schedule = method_settings(MethodSettings(name="a", objective="skew_teacher"))
    assert (made.beta, schedule) == (0.9, None)
    beta = {"start": 0.8, "end": 0.2, "of": "student"}
    _, schedule = method_settings(MethodSettings(name="a", objective="skew", beta=beta))
    assert [schedule(0.0), schedule(0.5), schedule(1.0)] == pytest.approx([0.8, 0.5, 0.2])


@pytest.fixture
def checkpoints(tmp_path):
    """Two whole checkpoints, at steps 9 and 10, as a training leaves them."""
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "trainer_state.json").write_text('{"best_model_checkpoint": null}')
        args, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace()
        state.is_world_process_zero, state.global_step = True, step
        CheckpointMark(100.0).on_save(args, state, TrainerControl())
    return tmp_path


def test_the_last_checkpoint_is_that_of_the_highest_step(checkpoints):
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-10"
    assert json.loads((checkpoints / "checkpoint-10/complete").read_text())["seconds"] >= 100
    assert last_checkpoint(checkpoints / "none") is None


@pytest.mark.parametrize("damage", ["unmarked", "cut off", "removed", "no state", "empty mark"])
def test_a_half_written_checkpoint_is_passed_over_and_removed(checkpoints, damage):
    half = checkpoints / "checkpoint-10"
    if damage == "unmarked":
        (half / "complete").unlink()
    elif damage == "cut off":
        (half / "model.safetensors").write_bytes(b"wei")
    elif damage == "removed":
        (half / "model.safetensors").unlink()
    elif damage == "no state":
        (half / "trainer_state.json").unlink()
    else:
        (half / "complete").write_text("")
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-9"
    assert not half.exists()


def log_to(path, begin_at, lines):
    """Write lines as a training would that begins at a step."""
    callback = MetricsFile(path)
    state = SimpleNamespace(is_world_process_zero=True, global_step=begin_at)
    callback.on_train_begin(None, state, None)
    for step, logs in lines:
        state.global_step = step
        callback.on_log(None, state, None, logs)


def test_a_resumed_training_takes_back_what_it_will_log_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log_to(path, 0, [(1, {"loss": 5.0}), (2, {"loss": 4.0}), (2, {"eval_loss": 3.0})])
    log_to(path, 2, [(3, {"loss": 3.0}), (4, {"loss": 2.0})])
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # cut off by a kill
    log_to(path, 3, [(4, {"loss": 2.5}), (4, {"train_runtime": 9.0})])
    lines = read_metrics(path)
    assert [(line["step"], line.get("loss")) for line in lines] == [
        (1, 5.0),
        (2, 4.0),
        (2, None),
        (3, 3.0),
        (4, 2.5),
    ]
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines


def test_a_fresh_training_starts_a_fresh_file(tmp_path):
    path = tmp_path / "deep/metrics.jsonl"
    log_to(path, 0, [(1, {"loss": 5.0})])
    log_to(path, 0, [(1, {"loss": 4.0})])
    assert [line["loss"] for line in read_metrics(path)] == [4.0]


def test_numbers_keep_six_digits_and_stay_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log_to(path, 0, [(1, {"learning_rate": 1.234567891e-8, "loss": float("nan"), "epoch": 12.5})])
    line = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert line == {"step": 1, "learning_rate": 1.23457e-8, "loss": None, "epoch": 12.5}


def said_of(shares):
    said = []
    callback = HardWarning(said.append)
    for step, share in enumerate(shares):
        state = SimpleNamespace(is_world_process_zero=True, global_step=step)
        callback.on_log(None, state, None, {} if share is None else {"hard_share": share})
    return said


def test_the_warning_of_hard_tokens_comes_once_and_only_after_long():
    patience = HardWarning.PATIENCE
    assert said_of([1.0] * (patience - 1)) == []
    assert said_of(([1.0] * (patience - 1) + [0.5]) * 4) == []
    assert said_of([0.7] * 50) == []
    said = said_of([0.95, None] * 30)
    assert len(said) == 1
    assert "95% of the tokens are hard at step" in said[0]
    assert "warm_start_steps" in said[0]


@pytest.mark.parametrize(("objective", "times"), [("self_evolution", 1), ("forward_kd", 0)])
def test_only_a_method_that_damps_hard_tokens_warns_of_them(tmp_path, objective, times):
    """Γ = −1 makes every token hard."""
    job = work(tmp_path, objective, max_steps=6)
    method = MethodSettings(name=objective, objective=objective, gamma=-1.0)
    job = Training(job.label, job.folder, job.settings, method, job.seed, job.device)
    said = []
    trained(job, teacher=tiny_llama(2, hidden_size=24), note=said.append)
    assert len([text for text in said if "hard at step" in text]) == times


SPOILT = {"learning_rate": 0.05, "schedule": "constant", "max_grad_norm": 100.0, "eval_every": 2}
SPOILS_LATER = SPOILT | {"learning_rate": 1.0, "warmup_ratio": 0.5}


def test_sft_keeps_the_weights_that_are_best_on_validation(tmp_path):
    """A learning rate that soon spoils the student: the last step isn't the best."""
    job = work(tmp_path, max_steps=12, **SPOILS_LATER)
    student, facts = trained(job)
    validations = {
        line["step"]: line["eval_loss"]
        for line in read_metrics(tmp_path / "metrics.jsonl")
        if "eval_loss" in line
    }
    best = min(validations, key=validations.__getitem__)
    assert facts["kept_step"] == best < facts["steps"] == 12
    kept = load_file(tmp_path / f"checkpoints/checkpoint-{best}/model.safetensors")
    for name, weights in kept.items():
        assert torch.equal(student.state_dict()[name], weights)


def test_distillation_keeps_the_last_weights(tmp_path):
    teacher = tiny_llama(2, hidden_size=24)
    job = work(tmp_path, "noevo", max_steps=6, **SPOILT)
    student, facts = trained(job, teacher=teacher)
    assert facts["kept_step"] == facts["steps"] == 6
    last = load_file(tmp_path / "checkpoints/checkpoint-6/model.safetensors")
    assert all(torch.equal(student.state_dict()[name], weights) for name, weights in last.items())
    assert facts["noevo_loss_end"] > 0
    assert 0 <= facts["hard_share_start"] <= 1


def test_select_overrules_the_methods_habit(tmp_path):
    job = work(tmp_path, select="last", max_steps=4, **SPOILT)
    assert trained(job)[1]["kept_step"] == 4


@pytest.mark.parametrize("objective", ["sft", "noevo"])
def test_a_training_killed_after_its_last_step_is_not_trained_further(tmp_path, objective):
    """64 examples in batches of 8 are 8 steps an epoch: the 12th is in the middle of one."""
    teacher = tiny_llama(2, hidden_size=24)
    job = work(tmp_path, objective, max_steps=12, **SPOILT)
    student, facts = trained(job, teacher=teacher)
    again, later = trained(job, teacher=teacher)
    assert same(student, again)
    assert (later["steps"], later["kept_step"]) == (facts["steps"], facts["kept_step"])
    assert later["train_seconds"] >= facts["train_seconds"]


def test_a_moved_run_folder_still_knows_its_best_checkpoint(tmp_path):
    """Best early, stopped, moved, and gone on with: the best weights come back."""
    job = work(tmp_path / "old", max_steps=12, **SPOILS_LATER)
    start = tiny_llama(1)
    student, facts = trained(job, copy.deepcopy(start))
    assert facts["kept_step"] < 12
    state = json.loads((tmp_path / "old/checkpoints/checkpoint-12/trainer_state.json").read_text())
    assert str(tmp_path / "old") in state["best_model_checkpoint"]

    shutil.move(tmp_path / "old", tmp_path / "new")
    again, later = trained(
        Training(job.label, tmp_path / "new", job.settings, job.method, job.seed, job.device), start
    )
    assert later["kept_step"] == facts["kept_step"]
    assert same(student, again)


def test_packing_trains_the_same_student_with_less_padding(tmp_path):
    settings = {"batch_size": 64, "micro_batch_size": 32, "max_steps": 2}
    found = [
        trained(work(tmp_path / str(packing), packing=packing, **settings))
        for packing in (False, True)
    ]
    for one, other in zip(found[0][0].parameters(), found[1][0].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)  # Adam amplifies rounding
    padded, packed = (facts["padding_share"] for _, facts in found)
    assert 0 <= packed < padded < 1
    shares = [line.get("padding_share") for line in read_metrics(tmp_path / "True/metrics.jsonl")]
    logged = [share for share in shares if share is not None]
    assert packed == pytest.approx(sum(logged) / 2)


def test_switches_reach_the_trainer_without_a_warning(tmp_path, recwarn):
    job = work(tmp_path, gradient_checkpointing=True, compile=True, precision="bfloat16")
    args = arguments(job, pairs=64, keeps_best=False)
    assert args.torch_compile
    assert args.bf16
    assert args.gradient_checkpointing
    plain = arguments(work(tmp_path), pairs=64, keeps_best=False)
    assert not any((plain.torch_compile, plain.bf16, plain.gradient_checkpointing))
    assert not [w for w in recwarn if "checkpointing" in str(w.message)]


def test_curves_go_to_tensorboard_and_stay(tmp_path):
    trained(work(tmp_path, max_steps=2))
    training.finish(tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_weights_that_are_no_numbers_end_the_training(tmp_path):
    with pytest.raises(FloatingPointError, match=r"training: weights.*learning_rate"):
        trained(work(tmp_path, learning_rate=1e30, max_steps=3))
