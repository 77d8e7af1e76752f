"""DistillationTrainer: transformers.Trainer with a teacher and a token objective.

Everything that Trainer does (optimizer, schedule, precision, accumulation, checkpoints, several
devices) it goes on doing. What is added: the loss of an objective on response tokens, normalised by
their global number; batches of like length in an order that is a pure function of seed and epoch;
weights of pairs; text of the student's own; a Γ, β or memory that changes while it trains; and what
a distiller wants to watch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from evokd import processes
from evokd.distil.chunked_loss import Objective, chunked_loss
from evokd.distil.statistics import Statistics
from evokd.distil.teacher.signal import LiveTeacher, TeacherSignal, shared_width
from evokd.distil.token_batch import LossOptions, TokenBatch
from evokd.distil.train.batches import (
    Batch,
    Reduction,
    collating,
    lengths_of,
    num_items,
    response_tokens,
)
from evokd.distil.train.distributed import Devices
from evokd.distil.train.method_state import LossInputs, MethodPart, PartsCallback
from evokd.distil.train.on_policy import OnPolicy, check_on_policy
from evokd.distil.train.sharded_checkpoints import ShardedCheckpoints, check_goes_on
from evokd.distil.train.throughput import Throughput
from evokd.errors import InputError
from evokd.models import zero3
from evokd.models.encoded import LengthGroupedBatches, collate
from evokd.models.lm_head import check_head, evaluating, final_hidden, head_of
from evokd.models.loading import without_cudnn_attention
from evokd.models.packing import pairs_of, takes_packed
from evokd.models.sharding import call_with_head, is_sharded, release
from evokd.recipe.objectives import IGNORED, ObjectiveSettings, objective_settings, spec_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistillationOptions:
    """What a distillation has beyond the arguments of a training."""

    settings: ObjectiveSettings | None = None
    """λ, β, Γ and others; the objective's defaults if None."""
    parts: Mapping[str, MethodPart] = field(default_factory=dict)
    """By name, what changes settings from step to step or learns beside the student."""
    on_policy: OnPolicy | None = None
    """Puts the student's own translations in the place of given text, on some steps; for objectives
    that look at no reference token, with a teacher that is live."""
    reduction: Reduction = "token"
    """token divides by the response tokens of the whole optimizer step, on all devices; sequence
    takes the mean of each pair's mean (the paper's 1/N, Eq. 9)."""
    vocabulary_size: int | None = None
    """Entries that both vocabularies share, where one of them is padded."""
    chunk_tokens: int | None = None
    """Response positions whose logits stand in memory at once; default: what fits 125 MiB, on a GPU
    1 GiB."""
    group_by_length: bool = True
    """Batches of like length; false leaves the order to Trainer."""
    packing: bool = False
    """Several pairs in one row instead of padding, where student and live teacher keep them apart
    (tried out; else logged and padded). Changes no loss, only where tokens stand."""


class DistillationTrainer(ShardedCheckpoints, Trainer):
    """Train a student on a data set of `input_ids` and `labels` (−100 where there is no loss).

    With a `weight` in an example, the losses of its tokens are multiplied by it; what they are
    divided by stays the same, so weights should have a mean of 1.

        trainer = DistillationTrainer(
            model=student, teacher=teacher, objective="self_evolution",
            args=TrainingArguments("out", num_train_epochs=3), train_dataset=pairs)
        trainer.train()

    Args:
        model: the student, a causal language model of transformers.
        teacher: a model with the same vocabulary, a `TeacherSignal`, or None for sft and for
            functions that don't ask for one. With a teacher, sft logs the common curve as well, on
            the steps that are logged.
        objective: a name that `evokd methods` lists, or a function Tokens → (N,).
        options: of `DistillationOptions`; its fields are accepted as keywords, too.
        **kwargs: settings of the objective as `evokd.token_loss` takes them, such as gamma=0.4; and
            what `transformers.Trainer` takes: eval_dataset, data_collator, callbacks, …

    Parts, and the student's own text, are in every checkpoint, so that a training that was
    interrupted ends as one that wasn't.

    Raises:
        ValueError: a setting that the objective hasn't, no teacher where one is needed,
            vocabularies of unequal size, on_policy with an objective that needs the reference.
        InputError: on_policy with a cached teacher, or with a student spread over devices.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | TeacherSignal | None = None,
        objective: Objective = "self_evolution",
        args: TrainingArguments | None = None,
        train_dataset: Dataset | None = None,
        *,
        options: DistillationOptions | None = None,
        **kwargs: Any,
    ):
        own = {f.name: kwargs.pop(f.name) for f in fields(DistillationOptions) if f.name in kwargs}
        options = replace(options or DistillationOptions(), **own)
        args = args or TrainingArguments("trainer_output")
        # The columns are ours; Trainer would look for those of the model's signature.
        args.remove_unused_columns = False
        if args.device.type == "cpu":
            args.dataloader_pin_memory = False
        elif args.device.type == "cuda":
            without_cudnn_attention()
        if args.n_gpu > 1:
            # DataParallel would cut the batch behind our backs; several devices take torchrun.
            log.warning("one of %d GPUs is used; start with torchrun for all of them", args.n_gpu)
            args._n_gpu = 1
        given = {key: kwargs.pop(key) for key in ObjectiveSettings.model_fields if key in kwargs}
        if given and options.settings:
            raise ValueError(f"found settings and {', '.join(given)}; one of them is accepted")
        self.settings = options.settings or objective_settings(objective, **given)
        self.parts = dict(options.parts)
        self.on_policy = options.on_policy
        if self.on_policy is not None:
            self.parts["on_policy"] = self.on_policy
        # First among the callbacks: another may mark a checkpoint as complete.
        self._keeper = PartsCallback(self.parts, lambda each: self.devices.gathered(each))
        if is_sharded(model):
            if args.torch_compile:
                raise InputError(
                    "torch.compile doesn't know of sharded students; take compile: false"
                )
            if not zero3.is_partitioned(model):
                vars(model)["_is_accelerate_prepared"] = True  # its gradients are summed already
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            data_collator=kwargs.pop("data_collator", None) or collate,
            callbacks=[self._keeper, *(kwargs.pop("callbacks", None) or [])],
            **kwargs,
        )
        self.devices = Devices(self.accelerator)
        if self.on_policy is not None:
            validates, sharding = self.eval_dataset is not None, self.devices.sharding
            check_on_policy(self.on_policy, objective, self.settings, teacher, validates, sharding)
        self.without_teacher = isinstance(objective, str) and not spec_of(objective).needs_teacher
        if isinstance(objective, str) and not self.without_teacher and teacher is None:
            raise ValueError(f"objective {objective!r} needs a teacher; only sft does without")
        # compute_loss returns a loss that is normalised already; Trainer must not divide it again.
        self.model_accepts_loss_kwargs = True
        self.student: nn.Module = model
        self.objective: Objective = objective
        self.reduction = options.reduction
        self.group_by_length = options.group_by_length
        self.teacher: TeacherSignal | None = (
            LiveTeacher(teacher if is_sharded(teacher) else teacher.to(self.args.device))
            if isinstance(teacher, nn.Module)
            else teacher
        )
        self.vocabulary_size = options.vocabulary_size or shared_width(model, teacher)
        self._loss_options = LossOptions(self.settings, chunk_tokens=options.chunk_tokens)
        if zero3.is_callable(model):
            check_head(model)
        live = None if self.teacher is None else self.teacher.model
        readers = [model] if live is None else [model, live]
        mixing = [one for one in readers if options.packing and not takes_packed(one)]
        if mixing:
            mixes = type(mixing[0]).__name__
            log.warning("%s can't tell pairs of one row apart: padded instead", mixes)
        self.packing = options.packing and not mixing
        release(model)  # the optimizer is to see its parts
        self.data_collator = collating(self.data_collator, readers if self.packing else ())
        self._micro_batches_left = 0
        self.statistics = Statistics()
        self._throughput = Throughput(self.args.device)

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As Trainer's; what goes beside the student is taken up from the checkpoint as well."""
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(str(self.args.output_dir))
        if checkpoint:
            processes.by_first(partial(check_goes_on, self.student, Path(str(checkpoint))))
            self._keeper.load(Path(str(checkpoint)), self.args)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        data = self.train_dataset if train_dataset is None else train_dataset
        if not self.group_by_length:
            return super()._get_train_sampler(train_dataset)
        # A group is what one optimizer step sees, however it is cut into micro-batches.
        args = self.args
        group = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return LengthGroupedBatches(lengths_of(data), group, args.seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Any:
        if not self.group_by_length:
            return super()._get_eval_sampler(eval_dataset)
        lengths = lengths_of(eval_dataset)
        return sorted(range(len(lengths)), key=lambda index: -lengths[index])

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | None]:
        """The micro-batches of one optimizer step, and by what its loss is divided."""
        if self.on_policy is None:
            state = self.accelerator.gradient_state
            some = islice(epoch_iterator, num_batches)
            batches = [self._without_repeats(state, batch) for batch in some]
        else:
            size = self.args.gradient_accumulation_steps
            steps = (self.state.global_step, self.state.max_steps)
            batches = self.on_policy.batches(
                epoch_iterator, size, self.student, *steps, self.data_collator
            )
        self._micro_batches_left = len(batches)
        if not batches:
            return batches, None
        self._throughput.begin()
        mine = torch.stack([num_items(batch, self.reduction) for batch in batches]).sum()
        # A step without a target has loss 0, not 0/0.
        return batches, self.devices.all_reduce(mine).clamp(min=1)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """A micro-batch's share of the loss of its optimizer step. Its gradients are computed with
        it (`chunked_loss`); backward() hands them out."""
        if not self.student.training:
            raise RuntimeError("validation goes through evaluate(), which counts tokens")
        if num_items_in_batch is None:
            num_items_in_batch = num_items(inputs, self.reduction).clamp(min=1)
        step = self.state.global_step + 1
        is_logged = step == 1 or step % max(1, self.state.logging_steps) == 0
        teacher = self.teacher if is_logged or not self.without_teacher else None
        self._micro_batches_left -= 1
        loss = self._summed_loss(model, inputs, teacher, self.statistics, learns=True)
        self._throughput.count(inputs)
        # Devices average their gradients; the loss was divided by what all of them hold together.
        return loss * self.accelerator.num_processes / num_items_in_batch

    def _summed_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        teacher: TeacherSignal | None,
        statistics: Statistics,
        learns: bool = False,
    ) -> Tensor:
        where = "attention_mask" if "attention_mask" in inputs else "position_ids"
        read = {name: inputs[name] for name in ("input_ids", where)}
        if self.args.torch_compile:
            for ids in read.values():  # one graph for batches of all shapes
                torch._dynamo.maybe_mark_dynamic(ids, (0, 1))
        predicts, labels, weights = response_tokens(inputs, self.reduction)
        # The teacher first: it keeps nothing that the student's activations would stand beside.
        teacher_logits = None if teacher is None else teacher.forward(read, predicts)

        done: list[LossInputs] = []

        def distil(student: Any) -> Tensor:
            hidden = final_hidden(self.student, student, read)[predicts]
            batch = TokenBatch(hidden, head_of(self.student), labels, self.vocabulary_size, weights)
            options = replace(
                self._loss_options, settings=self.settings_now(), observers=(statistics.count,)
            )
            step = LossInputs(batch, teacher_logits, options, self._progress(), learns)
            for part in self.parts.values():  # these may add β of each token, a history, observers
                step = part.prepare(step)
            # Accelerate wraps the student's forward in autocast; the head's product belongs there.
            with self.accelerator.autocast():
                done.append(step)
                return chunked_loss(self.objective, step.batch, step.teacher, step.options)

        sharded = is_sharded(self.student)
        loss = call_with_head(self.student, model, distil) if sharded else distil(model)
        if learns and self._micro_batches_left <= 0:  # once for each optimizer step
            seed = self.args.seed * 1_000_003 + self.state.global_step
            average = self.devices.mean if self.devices.is_distributed else None
            for part in self.parts.values():
                part.learn(done[0], seed, average)
        return loss

    def _progress(self) -> float:
        """The share of optimizer steps done."""
        return self.state.global_step / max(1, self.state.max_steps)

    def settings_now(self) -> ObjectiveSettings:
        """Those of the next step."""
        settings = self.settings
        for part in self.parts.values():
            settings = part.settings(settings, self._progress())
        return settings

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Token means over a validation set: `eval_loss` is the NLL of the reference."""
        with self._throughput.paused():
            statistics = self.statistics_on(eval_dataset)
        means = statistics.means()
        metrics = {f"{metric_key_prefix}_loss": means["student_nll"]}
        for name in ("noevo_loss", "teacher_nll", "hard_share"):
            if name in means:
                metrics[f"{metric_key_prefix}_{name}"] = means[name]
        for part in self.parts.values() if self.is_in_train else ():
            part.validated(means["student_nll"])
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @torch.no_grad()
    def statistics_on(self, dataset: Any = None) -> Statistics:
        """Sums over the response tokens of a data set, all devices together."""
        loader = self.get_eval_dataloader(dataset)
        statistics = Statistics()
        with evaluating(self.student):
            for inputs in loader:
                inputs = self._without_repeats(loader, self._prepare_inputs(inputs))
                with self.compute_loss_context_manager():
                    self._summed_loss(self.student, inputs, self.teacher, statistics)
        release(self.student)
        return self.devices.all_of(statistics)

    def _without_repeats(self, loader: Any, inputs: Batch) -> Batch:
        """Unlabel the pairs that fill up the last batch where devices share a data set unevenly."""
        repeats = self.args.world_size > 1 and self.accelerator.even_batches
        own = loader.remainder if repeats else 0  # pairs of the last batch that are no repeats
        if own <= 0 or not loader.end_of_dataloader:
            return inputs
        pairs = pairs_of(inputs)
        first_repeat = own - self.args.process_index * int(pairs.max() + 1)
        labels = inputs["labels"].masked_fill(pairs >= first_repeat, IGNORED)
        return {**inputs, "labels": labels}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Lay the metrics of the steps since the last log beside Trainer's loss."""
        if "loss" in logs and self._throughput.running:
            statistics = self.devices.all_of(self.statistics)
            logs |= statistics.means()
            logs |= self._throughput.metrics(statistics, self.devices)
            all_reduce = self.devices.all_reduce if self.devices.is_distributed else None
            for part in self.parts.values():
                logs |= part.metrics(self.settings_now(), all_reduce)
            self.statistics = Statistics()
        super().log(logs, start_time)
