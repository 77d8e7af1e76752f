"""DistillationTrainer: transformers.Trainer with a teacher and a token objective.

Everything that Trainer does (optimizer, schedule, precision, accumulation, checkpoints, several
devices) it goes on doing. What is added: the loss of an objective on response tokens, normalised by
their global number; batches of like length in an order that is a pure function of seed and epoch;
and what a distiller wants to watch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainingArguments

from evokd.distil.fused import SUMS, Statistics, TeacherLogits, objective_on_hidden
from evokd.distil.objectives import (
    IGNORED,
    WITHOUT_TEACHER,
    ObjectiveSettings,
    Tokens,
    objective_settings,
)
from evokd.distil.schedules import BetaSchedule
from evokd.distil.teachers import LiveTeacher, TeacherSignal
from evokd.models.batches import LengthGroupedBatches, collate
from evokd.models.heads import check_head, final_hidden, head_of

log = logging.getLogger(__name__)


class DistillationTrainer(Trainer):
    """Train a student on a data set of `input_ids` and `labels` (−100 where there is no loss).

    Example:
        trainer = DistillationTrainer(
            model=student, teacher=teacher, objective="self_evolution",
            args=TrainingArguments("out", num_train_epochs=3), train_dataset=pairs)
        trainer.train()

    Args:
        model: the student, a causal language model of transformers.
        teacher: a model with the same vocabulary, a `TeacherSignal`, or None for sft and for
            functions that don't ask for one. With a teacher, sft logs the common curve as well, on
            the steps that are logged.
        objective: a name of `evokd.distil.objectives.OBJECTIVES`, or a function Tokens → (N,).
        settings: λ, β, Γ and top percent; the paper's defaults if None.
        beta_schedule: share of training done → β, for progressive β.
        reduction: "token" divides by the response tokens of the whole optimizer step, on all
            devices; "sequence" takes the mean of each pair's mean (the paper's 1/N, Eq. 9).
        vocabulary_size: entries that both vocabularies share, where one of them is padded.
        chunk_tokens: response positions whose logits stand in memory at once.
        group_by_length: batches of like length; false leaves the order to Trainer.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | TeacherSignal | None = None,
        objective: str | Callable[[Tokens], Tensor] = "self_evolution",
        args: TrainingArguments | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        data_collator: Callable[[list[dict[str, Any]]], dict[str, Tensor]] | None = None,
        *,
        settings: ObjectiveSettings | None = None,
        beta_schedule: BetaSchedule | None = None,
        reduction: Literal["token", "sequence"] = "token",
        vocabulary_size: int | None = None,
        chunk_tokens: int = 512,
        group_by_length: bool = True,
        **kwargs: Any,
    ):
        args = args or TrainingArguments("trainer_output")
        # The columns are ours; Trainer would look for those of the model's signature.
        args.remove_unused_columns = False
        if args.device.type == "cpu":
            args.dataloader_pin_memory = False
        if args.n_gpu > 1:
            # DataParallel would cut the batch behind our backs; several devices take torchrun.
            log.warning("one of %d GPUs is used; start with torchrun for all of them", args.n_gpu)
            args._n_gpu = 1
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=data_collator or _collator(model),
            **kwargs,
        )
        known = isinstance(objective, str)
        self.without_teacher = known and objective in WITHOUT_TEACHER
        if known and not self.without_teacher and teacher is None:
            raise ValueError(f"objective {objective!r} needs a teacher; only sft does without")
        # compute_loss returns a loss that is normalised already; Trainer must not divide it again.
        self.model_accepts_loss_kwargs = True
        self.student: nn.Module = model
        self.objective: str | Callable[[Tokens], Tensor] = objective
        self.settings = settings or objective_settings(
            objective if isinstance(objective, str) else "noevo"
        )
        self.beta_schedule = beta_schedule
        self.reduction = reduction
        self.chunk_tokens = chunk_tokens
        self.group_by_length = group_by_length
        self.teacher = self._place(teacher)
        self.vocabulary_size = vocabulary_size or _equal_widths(model, teacher)
        check_head(model)
        self.statistics = Statistics.empty()
        self._tokens_seen = 0
        self._log_time = time.perf_counter()

    def _place(self, teacher: nn.Module | TeacherSignal | None) -> TeacherSignal | None:
        if isinstance(teacher, nn.Module):
            return LiveTeacher(teacher.to(self.args.device))
        return teacher

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        data = self.train_dataset if train_dataset is None else train_dataset
        if not self.group_by_length or data is None:
            return super()._get_train_sampler(train_dataset)
        # A group is what one optimizer step sees, however it is cut into micro-batches.
        group = (
            self.args.train_batch_size
            * self.args.gradient_accumulation_steps
            * self.args.world_size
        )
        return LengthGroupedBatches(_lengths(data), group, self.args.seed)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor | None]:
        """The micro-batches of one optimizer step, and by what its loss is divided."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        if not batches:
            return batches, None
        amount = sum(self._amount(batch["labels"]) for batch in batches)
        total = torch.as_tensor(amount, device=device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total.reshape(1)).sum()
        return batches, total.clamp(min=1)  # a step without a target has loss 0, not 0/0

    def _amount(self, labels: Tensor) -> Tensor:
        predicted = labels[:, 1:] != IGNORED
        return predicted.sum() if self.reduction == "token" else predicted.any(1).sum()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The batch's share of the loss of its optimizer step."""
        if not self.student.training:
            raise RuntimeError("validation goes through evaluate(), which counts tokens")
        if num_items_in_batch is None:
            num_items_in_batch = self._amount(inputs["labels"]).clamp(min=1)
        watched = not self.without_teacher or self._is_logged_step()
        loss = self._summed_loss(model, inputs, self.teacher if watched else None, self.statistics)
        self._tokens_seen += int(inputs["attention_mask"].sum())
        # Devices average their gradients; the loss was divided by what all of them hold together.
        loss = loss * self.accelerator.num_processes / num_items_in_batch
        return (loss, None) if return_outputs else loss

    def _summed_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        teacher: TeacherSignal | None,
        statistics: Statistics,
    ) -> Tensor:
        labels = inputs["labels"]
        read = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        # The state at position t predicts the token at t + 1.
        predicts = torch.zeros_like(labels, dtype=torch.bool)
        predicts[:, :-1] = labels[:, 1:] != IGNORED
        said: TeacherLogits | None = None if teacher is None else teacher.on(read, predicts)
        hidden = final_hidden(self.student, model, read)
        weights = None
        if self.reduction == "sequence":
            lengths = predicts.sum(1, keepdim=True)
            weights = (1.0 / lengths).expand_as(predicts)[predicts]
        # Accelerate wraps the student's forward in autocast; the head's product belongs there too.
        with self.accelerator.autocast():
            return objective_on_hidden(
                self.objective,
                self._settings_now(),
                hidden[predicts],
                head_of(self.student),
                said,
                labels.roll(-1, dims=1)[predicts],
                weights=weights,
                vocabulary_size=self.vocabulary_size,
                chunk_tokens=self.chunk_tokens,
                statistics=statistics,
            )

    def _settings_now(self) -> ObjectiveSettings:
        if self.beta_schedule is None:
            return self.settings
        done = self.state.global_step / max(1, self.state.max_steps)
        return replace(self.settings, beta=self.beta_schedule(done))

    def _is_logged_step(self) -> bool:
        step = self.state.global_step + 1
        return step == 1 or step % max(1, int(self.state.logging_steps or 1)) == 0

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Token means over a validation set: `eval_loss` is the NLL of the reference."""
        statistics = self.statistics_on(eval_dataset)
        means = statistics.means()
        metrics = {f"{metric_key_prefix}_loss": means["student_nll"]}
        for name in ("noevo_loss", "teacher_nll", "hard_share"):
            if name in means:
                metrics[f"{metric_key_prefix}_{name}"] = means[name]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @torch.no_grad()
    def statistics_on(self, dataset: Any = None) -> Statistics:
        """Sums over the response tokens of a data set, all devices together."""
        loader = self.get_eval_dataloader(dataset)
        training = self.student.training
        self.student.eval()
        statistics = Statistics.empty()
        for inputs in loader:
            inputs = self._without_repeats(loader, self._prepare_inputs(inputs))
            with self.compute_loss_context_manager():
                self._summed_loss(self.student, inputs, self.teacher, statistics)
        self.student.train(training)
        return self._over_devices(statistics)

    def _without_repeats(self, loader: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Unlabel the pairs that fill up the last batch where devices share a data set unevenly."""
        own = getattr(loader, "remainder", 0)  # pairs of the last batch that are no repeats
        if self.args.world_size == 1 or own <= 0 or not loader.end_of_dataloader:
            return inputs
        if not self.accelerator.even_batches:
            return inputs
        labels = inputs["labels"].clone()
        labels[max(0, own - self.args.process_index * len(labels)) :] = IGNORED
        return {**inputs, "labels": labels}

    def _over_devices(self, statistics: Statistics) -> Statistics:
        if self.args.world_size == 1:
            return statistics
        mine = torch.tensor([float(statistics.sums.get(name, 0.0)) for name in SUMS])
        total = self.accelerator.reduce(mine.to(self.args.device), "sum")
        return Statistics(dict(zip(SUMS, total, strict=True)))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Lay what was watched since the last log beside Trainer's loss."""
        if "loss" in logs:
            logs |= self._over_devices(self.statistics).means()
            seconds = time.perf_counter() - self._log_time
            logs["tokens_per_s"] = round(self._tokens_seen * self.args.world_size / seconds, 1)
            self.statistics = Statistics.empty()
            self._tokens_seen, self._log_time = 0, time.perf_counter()
        super().log(logs, start_time)


def _equal_widths(student: nn.Module, teacher: Any) -> int:
    size: int = head_of(student).weight.shape[0]
    if isinstance(teacher, nn.Module):
        other = head_of(teacher).weight.shape[0]
        if other != size:
            raise ValueError(
                f"the student's vocabulary has {size} entries, the teacher's {other}; "
                "compare the tokenizers and pass vocabulary_size, the number they share"
            )
    return size


def _lengths(data: Any) -> list[int]:
    if hasattr(data, "lengths"):
        return list(data.lengths)
    return [len(data[i]["input_ids"]) for i in range(len(data))]


def _collator(model: nn.Module) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    config: Any = model.config
    # Any id will do as filler: attention mask and labels say where it stands.
    filler = config.pad_token_id if config.pad_token_id is not None else 0

    def padded(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        return collate(examples, filler)

    return padded
