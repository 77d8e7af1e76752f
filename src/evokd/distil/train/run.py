"""One training from settings to weights: resumable, watched, and the same after a kill."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from evokd.distil.beta_network import BetaNetwork
from evokd.distil.gamma_schedules import gate_of, objective_of
from evokd.distil.objectives import ObjectiveSettings, objective_settings
from evokd.distil.schedules import BetaSchedule, linear
from evokd.distil.teacher.signal import TeacherSignal
from evokd.distil.token_selection import TokenQueue
from evokd.distil.train.callbacks import Bar, HardWarning, MetricsFile, summary, tensorboard
from evokd.distil.train.checkpoints import (
    COMPLETE,
    STATE,
    CheckpointMark,
    last_checkpoint,
    step_of,
    take_weights,
)
from evokd.distil.train.example_weights import WeightedPairs
from evokd.distil.train.method_state import Masks
from evokd.distil.train.on_policy import OnPolicy, Sampler
from evokd.distil.train.trainer import DistillationTrainer
from evokd.models.encoding import EncodedPairs, collate
from evokd.recipe.methods import BetaSchedule as BetaSettings
from evokd.recipe.methods import MethodSettings
from evokd.recipe.training import TrainingSettings
from evokd.rundir import read_json


@dataclass(frozen=True)
class Training:
    """What a training is called and what it needs."""

    label: str
    """Shown beside the progress bar."""
    folder: Path
    """Gets checkpoints/, metrics.jsonl and tensorboard/."""
    settings: TrainingSettings
    method: MethodSettings
    seed: int
    device: torch.device


def train(
    work: Training,
    student: nn.Module,
    teacher: nn.Module | TeacherSignal | None,
    train_set: EncodedPairs,
    valid_set: EncodedPairs | None,
    *,
    vocabulary_size: int | None = None,
    filler: int = 0,
    note: Callable[[str], None] = print,
    sampler: Sampler | None = None,
    pair_weights: Sequence[float] | None = None,
    masks: dict[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Train `student` in place, from its last complete checkpoint if there is one.

    Args:
        work: what is to be done, and where.
        student: is in float32.
        teacher: None for objectives that do without.
        train_set: pairs to train on.
        valid_set: pairs to validate on.
        vocabulary_size: entries that both vocabularies share.
        filler: an id to fill up batches with.
        note: is told what a user should know.
        sampler: draws translations, for a method that trains on the student's own text.
        pair_weights: what the losses of each training pair are multiplied by; mean 1
            (`evokd.distil.train.example_weights`).
        masks: by the name of a weight, 0 and 1: what is 0 stays 0, as pruned weights should.

    Returns:
        Facts: steps, seconds over all sittings, hard share at start and end, which step was kept,
        the share of positions that were padding, and of steps that were on the student's own text.

    Raises:
        ValueError: on_policy without a sampler or with a method that needs references, masks or
            weights that don't fit.
        InputError: on_policy with a cached teacher.
    """
    keeps_best = _keeps_best(work.settings, work.method) and valid_set is not None
    settings, schedule = method_settings(work.method)
    metrics = work.folder / "metrics.jsonl"
    last = last_checkpoint(work.folder / "checkpoints")
    mark = CheckpointMark(0.0 if last is None else read_json(last / COMPLETE)["seconds"])
    callbacks = [MetricsFile(metrics), mark, Bar(work.label), tensorboard(work.folder)]
    if work.method.objective == "self_evolution":
        callbacks.append(HardWarning(note))
    if masks is not None:
        callbacks.append(Masks(student, masks))
    trainer = DistillationTrainer(
        model=student,
        teacher=teacher,
        objective=objective_of(work.method)[0],
        args=arguments(work, len(train_set), keeps_best, validates=valid_set is not None),
        train_dataset=train_set if pair_weights is None else WeightedPairs(train_set, pair_weights),
        eval_dataset=valid_set,
        data_collator=lambda examples: collate(examples, filler),
        settings=settings,
        beta_schedule=schedule,
        reduction=work.settings.reduction,
        vocabulary_size=vocabulary_size,
        chunk_tokens=work.settings.chunk_tokens,
        packing=work.settings.packing,
        callbacks=callbacks,
        **_companions(work, sampler),
    )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if last is not None:
        note(f"{work.label}: going on from step {step_of(last)}")
    if last is not None and step_of(last) >= trainer.args.max_steps:
        # Trainer would take one more step wherever the last one isn't the end of an epoch.
        state = TrainerState.load_from_json(str(last / STATE))
        take_weights(student, last.with_name(f"checkpoint-{_kept_step(state, keeps_best)}"))
    else:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
        state = trainer.state
    if not all(torch.isfinite(p).all() for p in student.parameters()):
        raise FloatingPointError(
            f"{work.label}: weights are no longer finite; a smaller training.learning_rate may help"
        )
    return {
        "steps": state.global_step,
        "train_seconds": round(mark.seconds(), 1),
        "kept_step": _kept_step(state, keeps_best),
        **summary(metrics),
    }


def finish(folder: Path) -> None:
    """Remove the checkpoints of a training whose result is saved."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def method_settings(method: MethodSettings) -> tuple[ObjectiveSettings, BetaSchedule | None]:
    """A method's settings and, for progressive β, its schedule."""
    objective, top_percent = objective_of(method)
    settings = objective_settings(
        objective,
        lam=method.constant_lam(),
        beta=method.constant_beta(),
        gamma=method.constant_gamma(),
        top_percent=top_percent,
        gate=method.gate,
        tau=method.tau,
        measure=method.difficulty,
        beta_from="difficulty" if method.beta == "difficulty" else "",
        alpha=method.constant_alpha(),
        mu=method.mu,
        smoothing=method.smoothing,
        queue=method.queue,
        averaging=method.averaging,
    )
    if isinstance(method.beta, BetaSettings):
        return settings, linear(method.beta.start, method.beta.end, method.beta.of)
    return settings, None


def _companions(work: Training, sampler: Sampler | None) -> dict[str, Any]:
    """What a method trains or keeps beside the student, as keywords of the trainer."""
    method = work.method
    found: dict[str, Any] = {"gate": gate_of(method)}
    if method.beta == "network":
        found["betas"] = BetaNetwork(work.seed)
    if method.objective == "selective_kd" and method.queue:
        found["memory"] = TokenQueue(method.queue)
    if method.on_policy is not None:
        if sampler is None:
            raise ValueError(f"{work.label}: on_policy needs a sampler, which draws translations")
        longest = work.settings.max_length
        found["on_policy"] = OnPolicy(method.on_policy, sampler, work.seed, longest, _processes())
    return found


def _processes() -> int:
    """How many train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def arguments(
    work: Training, pairs: int, keeps_best: bool, validates: bool = True
) -> TrainingArguments:
    """What transformers' Trainer needs to know, from our settings."""
    settings = work.settings
    micro, accumulation = micro_batches(settings, _processes())
    per_epoch = max(1, math.ceil(pairs / settings.batch_size))
    steps = settings.max_steps or math.ceil(settings.epochs * per_epoch)
    eval_every = min(settings.eval_every or per_epoch, steps)
    save_every = settings.save_every or max(1, math.ceil(steps / 10))
    if keeps_best:  # the best step must be one that was saved
        save_every = eval_every
    cpu = work.device.type == "cpu"
    return TrainingArguments(
        output_dir=str(work.folder / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule
        if settings.schedule != "constant"
        else "constant_with_warmup",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        adam_beta2=settings.adam_beta2,
        seed=work.seed,
        data_seed=work.seed,
        bf16=_bf16(settings, work.device),
        torch_compile=settings.compile,
        **_checkpointing(settings.gradient_checkpointing),
        use_cpu=cpu,
        logging_steps=settings.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validates else "no",
        eval_steps=eval_every,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=2,
        load_best_model_at_end=keeps_best,
        metric_for_best_model="eval_loss" if keeps_best else None,
        greater_is_better=False if keeps_best else None,
        report_to="none",
        disable_tqdm=False,
    )


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """The switch under the name that this transformers knows: 5.23 renamed it."""
    known = {field.name for field in fields(TrainingArguments)}
    name = "activation_checkpointing"
    return {name if name in known else "gradient_checkpointing": wanted}


def micro_batches(settings: TrainingSettings, world: int) -> tuple[int, int]:
    """Pairs per forward pass and how many passes make an optimizer step."""
    per_device = max(1, settings.batch_size // world)
    largest = min(settings.micro_batch_size or 64, per_device)
    micro = next(size for size in range(largest, 0, -1) if per_device % size == 0)
    return micro, per_device // micro


def _keeps_best(settings: TrainingSettings, method: MethodSettings) -> bool:
    """The paper keeps SFT's best checkpoint on validation, and distillation's last (4.2)."""
    if settings.select == "auto":
        return method.kind() == "sft"
    return settings.select == "best"


def _kept_step(state: TrainerState, keeps_best: bool) -> int:
    best = state.best_model_checkpoint if keeps_best else None
    return step_of(Path(best)) if best else state.global_step


def _bf16(settings: TrainingSettings, device: torch.device) -> bool:
    if settings.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return settings.precision == "bfloat16"
