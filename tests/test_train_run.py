"""One training: its arguments, checkpoints, metrics and which weights it keeps."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback, TrainerControl
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

import evokd_extras  # noqa: F401 (rows of the tables: beta: network)
from evokd.distil.memory import PeakMemory
from evokd.distil.train import run as training
from evokd.distil.train.callbacks import HardWarning, MetricsFile
from evokd.distil.train.checkpoints import CheckpointMark, last_checkpoint
from evokd.distil.train.on_policy import OnPolicy
from evokd.distil.train.run import TrainingJob, arguments, parts_of, train
from evokd.errors import InputError
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import ObjectiveSettings
from evokd.recipe.training import TrainingSettings, micro_batches
from evokd.rundir.files import read_json_lines
from evokd.translate.sampling import TokenSampler
from small_study import evokd, recipe, write_recipe
from tiny import copy_task, tiny_llama


def work(folder, objective="sft", **settings):
    known = {"batch_size": 8, "learning_rate": 1e-2, "max_steps": 8, "log_every": 1}
    return TrainingJob(
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
    facts = train(job, student, teacher, copy_task(64), copy_task(16, seed=9), log=note)
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
    made = MethodSettings(name="a", objective="skew_teacher")
    assert (made.in_force()[1].beta, parts_of(made, 1)) == (0.9, {})
    beta = {"start": 0.8, "end": 0.2, "of": "student"}
    part = parts_of(MethodSettings(name="a", objective="skew", beta=beta), 1)["beta"]
    moved = [part.settings(ObjectiveSettings(), t).beta for t in (0.0, 0.5, 1.0)]
    assert moved == pytest.approx([0.8, 0.5, 0.2])


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
        CheckpointMark({"seconds": 100.0}, PeakMemory()).on_save(args, state, TrainerControl())
    return tmp_path


def test_the_last_checkpoint_is_that_of_the_highest_step(checkpoints):
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-10"
    assert json.loads((checkpoints / "checkpoint-10/complete").read_text())["seconds"] >= 100
    assert last_checkpoint(checkpoints / "none") is None


def test_the_peak_of_memory_is_that_of_all_sittings():
    memory = PeakMemory()
    assert CheckpointMark({}, memory).peak_mib() is None, "nothing was watched yet"
    assert CheckpointMark({"peak_mib": 77.0}, memory).peak_mib() == 77.0
    with memory:
        held = torch.ones(50 << 18)  # 50 MiB
        del held
    found = CheckpointMark({"peak_mib": 77.0}, memory).peak_mib()
    if memory.mib is not None:
        assert memory.mib > 45
        assert found == pytest.approx(memory.held_mib + memory.mib, rel=0.05)
    assert CheckpointMark({"peak_mib": 1e9}, memory).peak_mib() == 1e9


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
        callback.on_log(None, state, None, logs=logs)


def test_a_resumed_training_takes_back_what_it_will_log_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log_to(path, 0, [(1, {"loss": 5.0}), (2, {"loss": 4.0}), (2, {"eval_loss": 3.0})])
    log_to(path, 2, [(3, {"loss": 3.0}), (4, {"loss": 2.0})])
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # cut off by a kill
    log_to(path, 3, [(4, {"loss": 2.5}), (4, {"train_runtime": 9.0})])
    lines = read_json_lines(path)
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
    assert [line["loss"] for line in read_json_lines(path)] == [4.0]


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
        logs = {} if share is None else {"hard_share": share}
        callback.on_log(None, state, None, logs=logs)
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
    job = replace(job, method=method)
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
        for line in read_json_lines(tmp_path / "metrics.jsonl")
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
    again, later = trained(replace(job, folder=tmp_path / "new"), start)
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
    shares = [
        line.get("padding_share") for line in read_json_lines(tmp_path / "True/metrics.jsonl")
    ]
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
    with pytest.raises(InputError, match=r"training: weights.*learning_rate"):
        trained(work(tmp_path, learning_rate=1e30, max_steps=3))


def job_of(folder, method, **settings):
    """12 steps, 8 of them an epoch, checkpoints after 5 and 10."""
    known = {"batch_size": 8, "learning_rate": 0.05, "schedule": "constant", "max_grad_norm": 100.0}
    known |= {"max_steps": 12, "save_every": 5, "eval_every": 1, "log_every": 1}
    method = MethodSettings.model_validate(method)
    return TrainingJob(
        "training",
        Path(folder),
        TrainingSettings(**(known | settings)),
        method,
        5,
        torch.device("cpu"),
    )


def sampler():
    return TokenSampler(end_ids=(1,))


GAMMA = {"rule": "running_quantile", "memory": 50}
OWN = {"share": 0.9, "every": 2, "replay": 12, "adaptive": True}
WITH_STATE = {
    "running gate": {"name": "self_evolution", "gamma": GAMMA},
    "network": {"name": "self_evolution", "gamma": 0.1, "beta": "network"},
    "memory": {"name": "selective_kd", "queue": 100},
    "own text": {"name": "srkl", "on_policy": OWN},
    "own text, used once": {"name": "jsd", "on_policy": {"share": 0.5, "every": 3}},
}


@pytest.mark.parametrize("what", WITH_STATE)
def test_killed_equals_uninterrupted(tmp_path, what, monkeypatch):
    """Killed at step 8, gone on from step 5, in the middle of a window of own text: with this seed
    the sixth step's text is made before the checkpoint and trained on after it."""

    def run(folder):
        student = tiny_llama(1, attention_dropout=0.2)
        teacher = tiny_llama(2, hidden_size=24)
        with torch.no_grad():  # who follows it gets worse on validation
            teacher.get_input_embeddings().weight.mul_(20)
        job = replace(
            job_of(folder, WITH_STATE[what]),
            sampler=sampler(),
            pair_weights=[1 + 0.5 * (-1) ** i for i in range(64)],
        )
        facts = train(
            job, student, teacher, copy_task(64), copy_task(16, seed=9), lambda text: None
        )
        return student, facts, read_json_lines(folder / "metrics.jsonl")

    replayed = watch_replays(monkeypatch)
    whole, facts, lines = run(tmp_path / "whole")
    assert any(step > 5 for step in replayed) == (what == "own text")
    monkeypatch.setattr(training.Bar, "on_step_end", killed_at(8))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts")
    monkeypatch.undo()
    assert last_checkpoint(tmp_path / "parts/checkpoints").name == "checkpoint-5"
    again, later, other = run(tmp_path / "parts")
    assert same(whole, again)
    times = {"tokens_per_s", "response_tokens_per_s"}
    for a, b in zip(lines, other, strict=True):
        assert {k: v for k, v in a.items() if k not in times} == {
            k: v for k, v in b.items() if k not in times
        }
    if "own text" in what:
        assert 0 < facts["own_share"] < 1
        assert later["own_share"] == facts["own_share"]
    if what == "running gate":
        assert len({line["gamma"] for line in lines if "gamma" in line}) == 12


def watch_replays(monkeypatch):
    """Steps that take their pairs from the buffer."""
    steps, taken = [], OnPolicy._replayed

    def replayed(self, step, count):
        steps.append(step)
        return taken(self, step, count)

    monkeypatch.setattr(OnPolicy, "_replayed", replayed)
    return steps


def killed_at(step):
    def on_step_end(self, args, state, control, **rest):
        if state.global_step == step:
            raise KeyboardInterrupt

    return on_step_end


def test_without_its_state_a_training_with_a_gate_would_go_another_way(tmp_path, monkeypatch):
    """The test above can fail; and a checkpoint of another method is refused."""
    job = job_of(tmp_path, WITH_STATE["running gate"])
    monkeypatch.setattr(training.Bar, "on_step_end", killed_at(8))
    with pytest.raises(KeyboardInterrupt):
        trained(job, teacher=tiny_llama(2, hidden_size=24))
    monkeypatch.undo()
    checkpoint = last_checkpoint(tmp_path / "checkpoints")
    mark = json.loads((checkpoint / "complete").read_text())
    assert "evokd_state.pt" in mark["files"]
    shutil.copytree(tmp_path, tmp_path.with_name("forgets"))
    whole, _ = trained(job, teacher=tiny_llama(2, hidden_size=24))

    forgets = replace(job, folder=tmp_path.with_name("forgets"))
    monkeypatch.setattr(training.DistillationTrainer, "train", Trainer.train)
    other, _ = trained(forgets, teacher=tiny_llama(2, hidden_size=24))
    assert not same(whole, other)
    monkeypatch.undo()

    shutil.rmtree(tmp_path / "checkpoints/checkpoint-12")
    (tmp_path / "checkpoints/checkpoint-10/evokd_state.pt").unlink()
    mark["files"].pop("evokd_state.pt")
    (tmp_path / "checkpoints/checkpoint-10/complete").write_text(json.dumps(mark))
    with pytest.raises(InputError, match="holds no state of gate"):
        trained(job, teacher=tiny_llama(2, hidden_size=24))


def test_every_setting_of_a_method_reaches_its_objective():
    method = MethodSettings(
        name="self_evolution",
        objective="self_evolution",
        lam=0.3,
        beta="difficulty",
        gamma=0.7,
        gate="smooth",
        tau=0.4,
        difficulty="js",
    )
    made = method.in_force()[1]
    assert (made.lam, made.beta, made.gamma) == (0.3, "difficulty", 0.7)
    assert (made.gate, made.tau, made.difficulty) == ("smooth", 0.4, "js")

    def of(**method):
        return MethodSettings.model_validate(method).in_force()[1]

    assert of(name="akl", mu=0.6).mu == 0.6
    assert of(name="word_kd").alpha == 0.5
    made = of(name="selective_kd", smoothing=0.2, queue=9, top_percent=30)
    assert (made.smoothing, made.queue, made.top_percent) == (0.2, 9, 30)
    made = of(name="atkd", averaging="all")
    assert (made.averaging, made.lam, made.target_lam) == ("all", 0.2, 0.5)


def test_a_quantile_as_gamma_ranks_the_tokens_of_a_batch(tmp_path):
    teacher = tiny_llama(2, hidden_size=24)
    gamma = {"rule": "quantile", "hard_share": 0.25}
    asked = job_of(tmp_path / "a", {"name": "self_evolution", "gamma": gamma}, max_steps=4)
    named = {"name": "self_evolution_topk", "top_percent": 25}
    one, facts = trained(asked, teacher=teacher)
    other, _ = trained(job_of(tmp_path / "b", named, max_steps=4), teacher=teacher)
    assert same(one, other)
    assert facts["hard_share_end"] == pytest.approx(0.25, abs=0.02)


def test_own_text_needs_somebody_who_draws_it(tmp_path):
    job = job_of(tmp_path, WITH_STATE["own text"])
    with pytest.raises(ValueError, match="on_policy needs a sampler"):
        trained(job, teacher=tiny_llama(2, hidden_size=24))


def test_pruned_weights_stay_0(tmp_path):
    student = tiny_llama(1)
    before = copy.deepcopy(student)
    names = [name for name, weight in student.named_parameters() if weight.dim() == 2]
    masks = {name: torch.rand_like(student.get_parameter(name)) > 0.5 for name in names}
    job = replace(work(tmp_path, max_steps=4, weight_decay=0.1), masks=masks)
    train(job, student, None, copy_task(64), None, lambda text: None)
    for name, weight in student.named_parameters():
        mask = masks.get(name, torch.ones_like(weight, dtype=torch.bool))
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != before.get_parameter(name)[mask]).float().mean() > 0.5
    saved = load_file(tmp_path / "checkpoints/checkpoint-3/model.safetensors")
    assert (saved["model.embed_tokens.weight"][~masks["model.embed_tokens.weight"]] == 0).all()


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"lm_tail.weight": torch.ones(2)}, "mask of lm_tail.weight.*no such weight"),
        ({"model.norm.weight": torch.ones(2)}, r"has torch.Size\(\[2\]\); it has torch.Size"),
    ],
)
def test_masks_that_fit_nothing_are_refused(tmp_path, masks, said):
    with pytest.raises(ValueError, match=said):
        train(replace(work(tmp_path), masks=masks), tiny_llama(1), None, copy_task(8), None)


class Service(TrainerCallback):
    """In the place of wandb's or mlflow's."""

    made: ClassVar[list] = []

    def __init__(self):
        self.logged, self.name = [], None
        Service.made.append(self)

    def on_train_begin(self, args, state, control, **kwargs):
        self.name = args.run_name

    def on_log(self, args, state, control, logs, **kwargs):
        self.logged.append(logs)


def test_curves_go_where_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "mlflow", Service)
    monkeypatch.setattr(Service, "made", [])
    plain, _ = trained(work(tmp_path / "plain"))
    assert list((tmp_path / "plain/tensorboard").iterdir())
    assert Service.made == []
    asked, _ = trained(work(tmp_path / "asked", report_to=["mlflow"]))
    assert not (tmp_path / "asked/tensorboard").exists()
    assert same(plain, asked)
    (service,) = Service.made
    assert service.name == "training"
    kept = [line for line in read_json_lines(tmp_path / "asked/metrics.jsonl") if "loss" in line]
    steps = [logs for logs in service.logged if "loss" in logs]
    given = [logs["student_nll"] for logs in steps]
    assert given == pytest.approx([line["student_nll"] for line in kept], abs=1e-4)
    assert len(kept) == 8


def test_a_service_that_is_not_installed_stops_a_study_before_it_begins(tmp_path, monkeypatch):
    there = importlib.util.find_spec
    without = lambda name, *more: None if name == "wandb" else there(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    path = write_recipe(tmp_path / "tiny.yaml", recipe())
    code, _, err = evokd("run", path, "-o", tmp_path / "run", "training.report_to=[wandb]")
    assert code == 2
    assert "report_to: wandb needs wandb; type pip install 'evokd[wandb]'" in err
    assert not (tmp_path / "run/teacher").exists()
