"""One training from settings to weights: resumable, watched, and the same after a kill."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from evokd.distil.companions import Masks
from evokd.distil.competence import WeightedPairs
from evokd.distil.gate_network import BetaNetwork
from evokd.distil.gates import gate_of, objective_of
from evokd.distil.objectives import ObjectiveSettings, objective_settings
from evokd.distil.on_policy import OnPolicy, Sampler
from evokd.distil.ranking import TokenQueue
from evokd.distil.schedules import BetaSchedule, linear
from evokd.distil.teachers import TeacherSignal
from evokd.distil.trainer import DistillationTrainer
from evokd.methods import BetaSchedule as BetaSettings
from evokd.methods import MethodSettings
from evokd.models.batches import EncodedPairs, collate
from evokd.recipe import TrainingSettings
from evokd.rundir import read_json, write_json, write_text

COMPLETE = "complete"
"""File that marks a checkpoint as written to its end; holds the sizes of its files."""
STATE = "trainer_state.json"
"""What Trainer writes into a checkpoint to go on from."""


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
            (`evokd.distil.competence`).
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
    callbacks = [MetricsFile(metrics), mark, Bar(work.label), _tensorboard(work.folder)]
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
        note(f"{work.label}: going on from step {_step(last)}")
    if last is not None and _step(last) >= trainer.args.max_steps:
        # Trainer would take one more step wherever the last one isn't the end of an epoch.
        state = TrainerState.load_from_json(str(last / STATE))
        _take_weights(student, last.with_name(f"checkpoint-{_kept_step(state, keeps_best)}"))
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
        **_ends(metrics),
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


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; half-written ones are removed."""
    found = None
    for path in sorted(folder.glob("checkpoint-*"), key=_step):
        if _is_whole(path):
            found = path
        else:
            shutil.rmtree(path)
    if found is not None:
        _point_to_best(found)
    return found


def _is_whole(checkpoint: Path) -> bool:
    """Neither cut off while it was written nor while it was removed."""
    try:
        files = read_json(checkpoint / COMPLETE)["files"]
        read_json(checkpoint / STATE)
        # At least: another process may still have been writing its own file.
        return all((checkpoint / name).stat().st_size >= size for name, size in files.items())
    except (OSError, ValueError):
        return False


def _point_to_best(checkpoint: Path) -> None:
    """Trainer notes the best checkpoint's path; the run folder may have moved since."""
    state = read_json(checkpoint / STATE)
    best = state.get("best_model_checkpoint")
    if best is not None:
        here = str(checkpoint.with_name(Path(best).name))
        write_json(checkpoint / STATE, {**state, "best_model_checkpoint": here})


class CheckpointMark(TrainerCallback):
    """Marks each checkpoint once all of it is on disk, and keeps the time that training took."""

    def __init__(self, seconds_before: float = 0.0):
        self.start = time.perf_counter() - seconds_before

    def seconds(self) -> float:
        """Since the training began, without the time between a kill and the next sitting."""
        return time.perf_counter() - self.start

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = {
            str(path.relative_to(folder)): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            # The state's size changes where _point_to_best writes it anew.
            if path.is_file() and path.name != STATE
        }
        write_json(folder / COMPLETE, {"seconds": round(self.seconds(), 2), "files": files})


class MetricsFile(TrainerCallback):
    """One JSON object a logged step; a resumed training takes back what it will log again."""

    def __init__(self, path: Path):
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line["step"] <= state.global_step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kw: Any
    ) -> None:
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        line = {"step": state.global_step, **{k: _plain(v) for k, v in logs.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").split("\n"):
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


class HardWarning(TrainerCallback):
    """Says so when nearly every token stays hard: their gradients are damped, learning is slow."""

    LIMIT = 0.8
    PATIENCE = 5

    def __init__(self, note: Callable[[str], None]):
        self.note = note
        self.seen = 0
        self.said = False

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kw: Any
    ) -> None:
        share = (logs or {}).get("hard_share")
        if share is None or not state.is_world_process_zero:
            return
        self.seen = self.seen + 1 if share > self.LIMIT else 0
        if self.seen >= self.PATIENCE and not self.said:
            self.said = True
            self.note(
                f"warning: {share:.0%} of the tokens are hard at step {state.global_step}; the "
                "loss of a hard token is bounded and its gradient damped, so a student this weak "
                "learns slowly: warm-start it (student.warm_start_steps) or raise gamma"
            )


class Bar(TrainerCallback):
    """A progress bar with the time left."""

    def __init__(self, label: str):
        self.label = label
        self.bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=f"{self.label:<24}",
                unit="step",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=True,
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kw: Any
    ) -> None:
        if self.bar is not None and logs and "student_nll" in logs:
            shown = {"nll": f"{logs['student_nll']:.3f}"}
            if "hard_share" in logs:
                shown["hard"] = f"{logs['hard_share']:.0%}"
            self.bar.set_postfix(shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.close()


def _keeps_best(settings: TrainingSettings, method: MethodSettings) -> bool:
    """The paper keeps SFT's best checkpoint on validation, and distillation's last (4.2)."""
    if settings.select == "auto":
        return method.kind() == "sft"
    return settings.select == "best"


def _kept_step(state: TrainerState, keeps_best: bool) -> int:
    best = state.best_model_checkpoint if keeps_best else None
    return _step(Path(best)) if best else state.global_step


def _take_weights(student: nn.Module, checkpoint: Path) -> None:
    model: Any = type(student)
    saved = model.from_pretrained(checkpoint, dtype=torch.float32)
    student.load_state_dict(saved.state_dict())


def _tensorboard(folder: Path) -> TensorBoardCallback:
    """Curves beside metrics.jsonl; Trainer's own place is thrown away with the checkpoints."""
    callback = TensorBoardCallback()
    callback.logging_dir = str(folder / "tensorboard")
    return callback


def _ends(path: Path) -> dict[str, float]:
    """Mean share of padding; first and last of what was logged of the teacher's side."""
    logged = read_metrics(path)
    shares = [line["padding_share"] for line in logged if "padding_share" in line]
    facts = {"padding_share": sum(shares) / len(shares)} if shares else {}
    facts |= _own_share(logged)
    lines = [line for line in logged if "hard_share" in line]
    if not lines:
        return facts
    last = lines[-max(1, len(lines) // 10) :]
    return facts | {
        "hard_share_start": lines[0]["hard_share"],
        "hard_share_end": sum(line["hard_share"] for line in last) / len(last),
        "noevo_loss_end": sum(line["noevo_loss"] for line in last) / len(last),
    }


def _own_share(logged: list[dict[str, Any]]) -> dict[str, float]:
    """Of the logged steps that weren't on given text; a line speaks of the steps since the last."""
    lines = [line for line in logged if "own_share" in line]
    if not lines:
        return {}
    begins = [0, *(line["step"] for line in lines[:-1])]
    steps = [line["step"] - begin for line, begin in zip(lines, begins, strict=True)]
    own = sum(line["own_share"] * count for line, count in zip(lines, steps, strict=True))
    return {"own_share": own / max(1, sum(steps))}


def _bf16(settings: TrainingSettings, device: torch.device) -> bool:
    if settings.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return settings.precision == "bfloat16"


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])


def _plain(value: Any) -> Any:
    """Six digits that count; JSON knows no infinity."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
