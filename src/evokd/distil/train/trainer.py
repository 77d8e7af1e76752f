"""DistillationTrainer: transformers.Trainer with a teacher and a token objective.

Everything that Trainer does (optimizer, schedule, precision, accumulation, checkpoints, several
devices) it goes on doing. What is added: the loss of an objective on response tokens, normalised by
their global number; batches of like length in an order that is a pure function of seed and epoch;
weights of pairs; text of the student's own; a Γ, β or memory that changes while it trains; and what
a distiller wants to watch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from evokd.distil.beta_network import BetaNetwork
from evokd.distil.buffers import Buffers
from evokd.distil.chunked_loss import TeacherLogits, objective_on_hidden
from evokd.distil.gamma_schedules import Gate
from evokd.distil.metrics import Statistics
from evokd.distil.objectives import (
    IGNORED,
    WITHOUT_TEACHER,
    ObjectiveSettings,
    Tokens,
    objective_settings,
)
from evokd.distil.schedules import BetaSchedule
from evokd.distil.teacher.signal import LiveTeacher, TeacherSignal, shared_width
from evokd.distil.token_selection import TokenQueue
from evokd.distil.train.collators import lengths_of, packing_after, padding_to, weighing_after
from evokd.distil.train.distributed import Devices
from evokd.distil.train.labels import amount, predicting, token_weights
from evokd.distil.train.method_state import Companions, CompanionsKeeper, Seen
from evokd.distil.train.on_policy import Ahead, OnPolicy, check_on_policy, check_whole_student
from evokd.distil.train.throughput import Speed
from evokd.models.encoding import LengthGroupedBatches
from evokd.models.lm_head import check_head, final_hidden, head_of
from evokd.models.packing import pairs_of, takes_packed, width_weight

log = logging.getLogger(__name__)


class DistillationTrainer(Trainer):
    """Train a student on a data set of `input_ids` and `labels` (−100 where there is no loss).

    With a `weight` in an example, the losses of its tokens are multiplied by it; what they are
    divided by stays the same, so weights should have a mean of 1.

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
        chunk_tokens: response positions whose logits stand in memory at once; default: what fits
            125 MiB, on a GPU 1 GiB.
        group_by_length: batches of like length; false leaves the order to Trainer.
        packing: several pairs in one row instead of padding, where student and live teacher keep
            them apart (tried out; else said and padded). Changes no loss, only where tokens stand.
        on_policy: puts the student's own translations in the place of given text, on some steps;
            for objectives that look at no reference token, with a teacher that is live.
        gate: sets Γ from step to step; default: that of `settings`.
        betas: a network that predicts β of each token, and learns as training goes on.
        memory: what selective_kd remembers of past tokens, where its queue is above 0.

    What changes while it trains (the last four) is in every checkpoint, so that a training that was
    interrupted ends as one that wasn't.

    Raises:
        ValueError: no teacher where one is needed, vocabularies of unequal size, on_policy with an
            objective that needs the reference.
        InputError: on_policy with a cached teacher, or with a student spread over devices.
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
        chunk_tokens: int | None = None,
        group_by_length: bool = True,
        packing: bool = False,
        on_policy: OnPolicy | None = None,
        gate: Gate | None = None,
        betas: BetaNetwork | None = None,
        memory: TokenQueue | None = None,
        callbacks: list[Any] | None = None,
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
        chosen = settings or objective_settings(
            objective if isinstance(objective, str) else "noevo"
        )
        if on_policy is not None:
            check_on_policy(on_policy, objective, chosen.lam, teacher, eval_dataset is not None)
        self.companions = Companions(gate, betas, memory, on_policy)
        # First among the callbacks: another may mark a checkpoint as complete.
        keeper = CompanionsKeeper(self.companions, lambda each: self.devices.gathered(each))
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=data_collator or padding_to(model),
            callbacks=[keeper, *(callbacks or [])],
            **kwargs,
        )
        known = isinstance(objective, str)
        self.devices = Devices(self.accelerator)
        if on_policy is not None:
            check_whole_student(self.devices.sharding)
        self.without_teacher = known and objective in WITHOUT_TEACHER
        if known and not self.without_teacher and teacher is None:
            raise ValueError(f"objective {objective!r} needs a teacher; only sft does without")
        # compute_loss returns a loss that is normalised already; Trainer must not divide it again.
        self.model_accepts_loss_kwargs = True
        self.student: nn.Module = model
        self.objective: str | Callable[[Tokens], Tensor] = objective
        self.settings = chosen
        self.beta_schedule = beta_schedule
        self.reduction = reduction
        self.chunk_tokens = chunk_tokens
        self._buffers = Buffers()
        self.group_by_length = group_by_length
        self.teacher = self._place(teacher)
        self.vocabulary_size = vocabulary_size or shared_width(model, teacher)
        check_head(model)
        self.packing = packing and self._packs()
        if self.packing:
            self.data_collator = packing_after(self.data_collator, width_weight(self._models()))
        self.data_collator = weighing_after(self.data_collator)
        self._ahead = None if on_policy is None else Ahead(on_policy)
        self._micro_batches_left = 0
        if betas is not None:
            betas.to(args.device)
        self.statistics = Statistics.empty()
        self._speed = Speed(self.args.device)

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As Trainer's; what goes beside the student is taken up from the checkpoint as well."""
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(str(self.args.output_dir))
        if checkpoint:
            self.companions.load(
                Path(str(checkpoint)), self.args.process_index, self.args.world_size
            )
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _place(self, teacher: nn.Module | TeacherSignal | None) -> TeacherSignal | None:
        if isinstance(teacher, nn.Module):
            return LiveTeacher(teacher.to(self.args.device))
        return teacher

    def _models(self) -> list[nn.Module]:
        """All that read a batch."""
        live = getattr(self.teacher, "model", None)
        return [self.student] if live is None else [self.student, live]

    def _packs(self) -> bool:
        mixing = [type(one).__name__ for one in self._models() if not takes_packed(one)]
        if mixing:
            log.warning("%s can't tell pairs of one row apart: padded instead", mixing[0])
        return not mixing

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
        return LengthGroupedBatches(lengths_of(data), group, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Any:
        if not self.group_by_length or eval_dataset is None:
            return super()._get_eval_sampler(eval_dataset)
        lengths = lengths_of(eval_dataset)
        return sorted(range(len(lengths)), key=lambda index: -lengths[index])

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor | None]:
        """The micro-batches of one optimizer step, and by what its loss is divided."""
        if self._ahead is None:
            batches = list(islice(epoch_iterator, num_batches))
        else:
            batches = self._ahead.batches(
                epoch_iterator,
                self.args.gradient_accumulation_steps,
                self.student,
                self.state.global_step,
                self.state.max_steps,
                self.data_collator,
            )
        self._micro_batches_left = len(batches)
        if not batches:
            return batches, None
        self._speed.begin()
        parts = sum(amount(batch, self.reduction) for batch in batches)
        total = torch.as_tensor(parts, device=device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total.reshape(1)).sum()
        return batches, total.clamp(min=1)  # a step without a target has loss 0, not 0/0

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
            num_items_in_batch = amount(inputs, self.reduction).clamp(min=1)
        watched = not self.without_teacher or self._is_logged_step()
        self._micro_batches_left -= 1
        loss = self._summed_loss(
            model, inputs, self.teacher if watched else None, self.statistics, learns=True
        )
        self._speed.count(inputs)
        # Devices average their gradients; the loss was divided by what all of them hold together.
        loss = loss * self.accelerator.num_processes / num_items_in_batch
        return (loss, None) if return_outputs else loss

    def _summed_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        teacher: TeacherSignal | None,
        statistics: Statistics,
        learns: bool = False,
    ) -> Tensor:
        labels = inputs["labels"]
        where = "attention_mask" if "attention_mask" in inputs else "position_ids"
        read = {name: inputs[name] for name in ("input_ids", where)}
        if self.args.torch_compile:
            for ids in read.values():  # one graph for batches of all shapes
                torch._dynamo.maybe_mark_dynamic(ids, (0, 1))
        predicts = predicting(labels)
        said: TeacherLogits | None = None if teacher is None else teacher.on(read, predicts)
        hidden = final_hidden(self.student, model, read)[predicts]
        seen = Seen(
            hidden,
            head_of(self.student),
            said,
            labels.roll(-1, dims=1)[predicts],
            self._settings_now(),
            self.vocabulary_size,
            self._progress(),
        )
        # Accelerate wraps the student's forward in autocast; the head's product belongs there too.
        with self.accelerator.autocast():
            loss = objective_on_hidden(
                self.objective,
                seen.settings,
                hidden,
                seen.head,
                said,
                seen.labels,
                weights=token_weights(inputs, predicts, self.reduction),
                vocabulary_size=self.vocabulary_size,
                chunk_tokens=self.chunk_tokens,
                statistics=statistics,
                buffers=self._buffers,
                **self.companions.asked(seen, learns),
            )
        if learns and self._micro_batches_left <= 0:  # once for each optimizer step
            seed = self.args.seed * 1_000_003 + self.state.global_step
            self.companions.taught(seen, seed, self.devices.mean if self.devices.several else None)
        return loss

    def _progress(self) -> float:
        """The share of optimizer steps done."""
        return self.state.global_step / max(1, self.state.max_steps)

    def _settings_now(self) -> ObjectiveSettings:
        settings = self.settings
        if self.beta_schedule is not None:
            settings = replace(settings, beta=self.beta_schedule(self._progress()))
        return self.companions.settings(settings, self._progress())

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
        with self._speed.paused():
            statistics = self.statistics_on(eval_dataset)
        means = statistics.means()
        metrics = {f"{metric_key_prefix}_loss": means["student_nll"]}
        for name in ("noevo_loss", "teacher_nll", "hard_share"):
            if name in means:
                metrics[f"{metric_key_prefix}_{name}"] = means[name]
        if self.companions.on_policy is not None and self.is_in_train:
            self.companions.on_policy.validated(metrics[f"{metric_key_prefix}_loss"])
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
        return self.devices.all_of(statistics)

    def _without_repeats(self, loader: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Unlabel the pairs that fill up the last batch where devices share a data set unevenly."""
        own = getattr(loader, "remainder", 0)  # pairs of the last batch that are no repeats
        if self.args.world_size == 1 or own <= 0 or not loader.end_of_dataloader:
            return inputs
        if not self.accelerator.even_batches:
            return inputs
        pairs = pairs_of(inputs)
        first_repeat = own - self.args.process_index * int(pairs.max() + 1)
        labels = inputs["labels"].masked_fill(pairs >= first_repeat, IGNORED)
        return {**inputs, "labels": labels}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Lay what was watched since the last log beside Trainer's loss."""
        if "loss" in logs and self._speed.running:
            statistics = self.devices.all_of(self.statistics)
            logs |= statistics.means()
            logs |= self._speed.watched(statistics, self.devices)
            if self.companions.on_policy is not None:
                exchange = self.devices.summed if self.devices.several else None
                logs |= self.companions.on_policy.watched(exchange)
            if self.companions.gate is not None:
                logs["gamma"] = self._settings_now().gamma
            self.statistics = Statistics.empty()
        super().log(logs, start_time)
