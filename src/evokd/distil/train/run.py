"""One training from settings to weights: resumable, watched, and the same after a kill."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from evokd import processes
from evokd.distil.memory import PeakMemory
from evokd.distil.teacher.signal import TeacherSignal
from evokd.distil.train.batches import WeightedPairs
from evokd.distil.train.callbacks import Bar, HardWarning, Masks, MetricsFile, summary, tensorboard
from evokd.distil.train.checkpoints import (
    COMPLETE,
    STATE,
    CheckpointMark,
    last_checkpoint,
    step_of,
)
from evokd.distil.train.method_state import MethodPart, RankingHistory
from evokd.distil.train.on_policy import OnPolicy, Sampler
from evokd.distil.train.optimizers import check_trained, optimizer_of
from evokd.distil.train.schedules import GAMMA_PARTS, ProgressiveBeta, linear
from evokd.distil.train.sharded_checkpoints import load_weights
from evokd.distil.train.trainer import DistillationOptions, DistillationTrainer
from evokd.errors import InputError
from evokd.models.encoded import EncodedPairs, collate
from evokd.models.sharding import all_finite
from evokd.models.zero3 import is_partitioned
from evokd.recipe.methods import BetaSchedule, GammaRule, MethodSettings
from evokd.recipe.objectives import BETA_RULES
from evokd.recipe.training import TrainingSettings, micro_batches
from evokd.rundir.files import read_json


@dataclass(frozen=True)
class TrainingJob:
    """One training: where it happens, and by which settings."""

    label: str
    """Shown beside the progress bar."""
    folder: Path
    """Gets checkpoints/, metrics.jsonl and tensorboard/."""
    settings: TrainingSettings
    method: MethodSettings
    seed: int
    device: torch.device
    vocabulary_size: int | None = None
    """Entries that both vocabularies share."""
    sampler: Sampler | None = None
    """Draws translations, for a method that trains on the student's own text."""
    pair_weights: Sequence[float] | None = None
    """What the losses of each training pair are multiplied by; mean 1."""
    masks: dict[str, Tensor] | None = None
    """By the name of a weight, 0 and 1: what is 0 stays 0, as pruned weights should."""


def train(
    job: TrainingJob,
    student: nn.Module,
    teacher: nn.Module | TeacherSignal | None,
    train_set: EncodedPairs,
    valid_set: EncodedPairs | None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train `student` in place, from its last complete checkpoint if there is one.

    Args:
        student: is in float32, or in bfloat16 with an optimizer that keeps what rounding takes;
            or a model with adapters (`models.adapters`), of which these alone are trained.
        teacher: None for objectives that do without.
        log: gets what a user should know.

    Returns:
        Facts: steps, seconds over all sittings, most memory held at once (MiB; the process's on a
        CPU, the allocator's on a GPU, None where it can't be told), hard share at start and end,
        which step was kept, tokens a second, the share of positions that were padding, and of steps
        that were on the student's own text.

    Raises:
        ValueError: on_policy without a sampler or with a method that needs references, masks or
            weights that don't fit.
        InputError: on_policy with a cached teacher; weights that are no longer finite; an
            optimizer that doesn't suit the weights' number format, or isn't there.
    """
    if not is_partitioned(student):  # DeepSpeed trains float32 copies of what it has in bfloat16
        check_trained(student, job.settings)
    # The paper keeps SFT's best checkpoint on validation, and distillation's last (4.2).
    usual = "best" if job.method.kind() == "sft" else "last"
    select = usual if job.settings.select == "auto" else job.settings.select
    keeps_best = select == "best" and valid_set is not None
    objective, settings = job.method.in_force()
    metrics = job.folder / "metrics.jsonl"
    last = processes.by_first(lambda: last_checkpoint(job.folder / "checkpoints"))
    memory = PeakMemory(job.device)
    mark = CheckpointMark({} if last is None else read_json(last / COMPLETE), memory)
    callbacks = [MetricsFile(metrics), mark, Bar(job.label)]
    if "tensorboard" in job.settings.report_to:
        callbacks.append(tensorboard(job.folder))
    if job.method.damps_all_hard:
        callbacks.append(HardWarning(log))
    if job.masks is not None:
        callbacks.append(Masks(student, job.masks))
    weights = job.pair_weights
    trainer = DistillationTrainer(
        model=student,
        teacher=teacher,
        objective=objective,
        args=arguments(job, len(train_set), keeps_best, validates=valid_set is not None),
        train_dataset=train_set if weights is None else WeightedPairs(train_set, weights),
        eval_dataset=valid_set,
        data_collator=collate,
        options=DistillationOptions(
            settings=settings,
            parts=parts_of(job.method, job.seed),
            on_policy=_on_policy(job),
            reduction=job.settings.reduction,
            vocabulary_size=job.vocabulary_size,
            chunk_tokens=job.settings.chunk_tokens,
            packing=job.settings.packing,
        ),
        callbacks=callbacks,
        optimizer_cls_and_kwargs=optimizer_of(job.settings),
    )
    trainer.remove_callback(PrinterCallback)
    if last is not None:
        log(f"{job.label}: going on from step {step_of(last)}")
    if last is not None and step_of(last) >= trainer.args.max_steps:
        # Trainer would take one more step wherever the last one isn't the end of an epoch.
        state = TrainerState.load_from_json(str(last / STATE))
        load_weights(student, last.with_name(f"checkpoint-{_kept_step(state, keeps_best)}"))
    else:
        try:
            with memory:
                trainer.train(resume_from_checkpoint=None if last is None else str(last))
        finally:
            _end_reports(job.settings)
        state = trainer.state
    if not all_finite(student):
        raise InputError(
            f"{job.label}: weights are no longer finite; a smaller training.learning_rate may help"
        )
    facts = {
        "steps": state.global_step,
        "train_seconds": round(mark.seconds(), 1),
        "peak_mib": mark.peak_mib(),
        "kept_step": _kept_step(state, keeps_best),
    }
    return processes.by_first(lambda: facts | summary(metrics))


def _end_reports(settings: TrainingSettings) -> None:
    """So that the next training of this process has a run of its own; mlflow's callback ends its
    own."""
    if "wandb" in settings.report_to:
        import wandb

        wandb.finish()


def finish(folder: Path) -> None:
    """Remove the checkpoints of a training whose result is saved."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def parts_of(method: MethodSettings, seed: int) -> dict[str, MethodPart]:
    """What of a method changes from step to step or learns beside the student, by name."""
    parts: dict[str, MethodPart] = {}
    if isinstance(method.beta, BetaSchedule):
        schedule = linear(method.beta.start, method.beta.end, method.beta.of)
        parts["beta"] = ProgressiveBeta(schedule)
    elif isinstance(method.beta, str) and method.beta in BETA_RULES:
        parts["betas"] = import_module(BETA_RULES[method.beta].module).method_part(method, seed)
    if isinstance(method.gamma, GammaRule) and method.gamma.rule in GAMMA_PARTS:
        parts["gate"] = GAMMA_PARTS[method.gamma.rule](method.gamma)
    if "queue" in method.spec.settings and method.queue:
        parts["memory"] = RankingHistory(method.queue)
    return parts


def _on_policy(job: TrainingJob) -> OnPolicy | None:
    if job.method.on_policy is None:
        return None
    if job.sampler is None:
        raise ValueError(f"{job.label}: on_policy needs a sampler, which draws translations")
    longest = job.settings.max_length
    return OnPolicy(job.method.on_policy, job.sampler, job.seed, longest, processes.count())


def arguments(
    job: TrainingJob, pairs: int, keeps_best: bool, validates: bool = True
) -> TrainingArguments:
    """What transformers' Trainer needs to know, from our settings."""
    settings = job.settings
    cut = processes.by_first(lambda: micro_batches(settings, processes.count()))
    per_epoch = max(1, math.ceil(pairs / settings.batch_size))
    steps = settings.max_steps or math.ceil(settings.epochs * per_epoch)
    eval_every = min(settings.eval_every or per_epoch, steps)
    save_every = settings.save_every or max(1, math.ceil(steps / 10))
    if keeps_best:  # the best step must be one that was saved
        save_every = eval_every
    schedules = {"constant": "constant_with_warmup"}
    switch = "activation_checkpointing"  # since transformers 5.23
    if switch not in {field.name for field in fields(TrainingArguments)}:
        switch = "gradient_checkpointing"
    checkpointing: dict[str, Any] = {switch: settings.gradient_checkpointing}
    return TrainingArguments(
        output_dir=str(job.folder / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=cut[0],
        per_device_eval_batch_size=cut[0],
        gradient_accumulation_steps=cut[1],
        learning_rate=settings.learning_rate,
        lr_scheduler_type=schedules.get(settings.schedule, settings.schedule),
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        adam_beta2=settings.adam_beta2,
        seed=job.seed,
        data_seed=job.seed,
        bf16=in_bfloat16(settings, job.device),
        torch_compile=settings.compile,
        **checkpointing,
        use_cpu=job.device.type == "cpu",
        logging_steps=settings.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validates else "no",
        eval_steps=eval_every,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=2,
        load_best_model_at_end=keeps_best,  # by eval_loss
        ddp_find_unused_parameters=False,
        log_level_replica="passive",
        report_to=services(settings),
        run_name=job.label,
        disable_tqdm=True,
    )


def services(settings: TrainingSettings) -> list[str]:
    """Of `report_to`, what isn't a file of ours: transformers' own callbacks serve it, a run for
    each training."""
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.setdefault(name, "evokd")
    return [name for name in settings.report_to if name != "tensorboard"]


def in_bfloat16(settings: TrainingSettings, device: torch.device) -> bool:
    """Whether a student's products are, and its weights aren't."""
    if settings.weights != "float32":
        return False  # multiplied in what they are in
    if settings.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return settings.precision == "bfloat16"


def _kept_step(state: TrainerState, keeps_best: bool) -> int:
    best = state.best_model_checkpoint if keeps_best else None
    return step_of(Path(best)) if best else state.global_step
