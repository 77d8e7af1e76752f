"""How students are trained, on which text of the teacher's, and pruned afterwards."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainSerializer

from evokd.errors import InputError
from evokd.recipe.section import Section


class TrainingSettings(Section):
    """One training; the defaults are the paper's (section 4.2)."""

    epochs: float = Field(default=3.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1)
    """Sentence pairs per optimizer step, over all devices and accumulation steps."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Sentence pairs per forward pass and device; default: as many as batch_size, up to 64."""
    learning_rate: float = Field(default=2e-5, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    optimizer: Literal["adamw", "adamw_8bit", "adamw_kahan", "adamw_8bit_kahan"] = "adamw"
    """AdamW, with moments in 8 bits (8bit), or for weights in bfloat16 (kahan)."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """What a model's weights are in while it is trained; bfloat16 takes an optimizer that keeps
    what rounding takes."""
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=512, ge=8)
    """Longest prompt + response, in tokens; longer pairs are left out and counted."""
    reduction: Literal["token", "sequence"] = "token"
    chunk_tokens: int | None = Field(default=None, ge=1)
    """Response positions whose logits stand in memory at once; default: what fits 125 MiB, on a GPU
    1 GiB."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast of the student's forward pass; auto: bfloat16 on a GPU that has it."""
    gradient_checkpointing: bool = False
    sharding: Literal["none", "ddp", "fsdp2"] | None = None
    """Where several processes train: ddp, a whole student in each; fsdp2, a part of student and
    live teacher in each. Default: ddp."""
    compile: bool = False
    """Let torch.compile fuse the student's forward and backward pass."""
    packing: bool = False
    """Several pairs in one row, walled off from each other, in place of padding."""
    eval_every: int | None = Field(default=None, ge=1)
    """Steps between validations; default: each epoch."""
    save_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints to resume from; default: each tenth of the training. Where the best
    checkpoint is kept, each validation writes one instead."""
    log_every: int = Field(default=10, ge=1)
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    """Where each training's curves go beside metrics.jsonl; tensorboard/ in its folder, or the
    service that the environment names (WANDB_PROJECT, MLFLOW_TRACKING_URI, …)."""
    select: Literal["auto", "best", "last"] = "auto"
    """Which checkpoint is kept; auto: the best on validation for sft, the last for distillation."""


def optimizer_problem(optimizer: str, trained: str) -> str | None:
    """Why an optimizer doesn't suit the number format of the weights that it moves: they lose what
    it does to them, or it keeps what isn't lost; None: it does."""
    compensates = optimizer.endswith("_kahan")
    if trained == "bfloat16" and not compensates:
        return (
            f"optimizer: {optimizer} would train weights in bfloat16 next to nothing: at a rate of "
            "2e-5 most updates are smaller than half a step of that format, and rounding takes "
            f"them whole. Take optimizer: {optimizer}_kahan, which keeps what is rounded off, or "
            "weights: float32"
        )
    if trained == "float32" and compensates:
        return (
            f"optimizer: {optimizer} keeps what rounding to bfloat16 takes, and what is trained "
            "here is in float32 (adapters of lora always are); take optimizer: "
            f"{optimizer.removesuffix('_kahan')}, or weights: bfloat16 for a whole model"
        )
    return None


def micro_batches(settings: TrainingSettings, world: int) -> tuple[int, int]:
    """Pairs per forward pass and how many passes make an optimizer step.

    Args:
        world: processes that share a step's pairs.

    Raises:
        InputError: a batch that can't be shared out evenly.
    """
    per_device, left = divmod(settings.batch_size, world)
    if left:
        raise InputError(
            f"training.batch_size {settings.batch_size} can't be shared out among {world} "
            f"processes; take a multiple of {world}, such as {(per_device + 1) * world}"
        )
    largest = min(settings.micro_batch_size or 64, per_device)
    micro = next(size for size in range(largest, 0, -1) if per_device % size == 0)
    return micro, per_device // micro


TrainingOverrides = Annotated[
    TrainingSettings, PlainSerializer(lambda overrides: overrides.model_dump(exclude_unset=True))
]
"""Keys of `training` that differ for a model, a method or a part of the study."""


class TeacherTextSettings(Section):
    """What the teacher writes for methods that train on its text (methods.text)."""

    beam: int = Field(default=5, ge=1)
    """Of text: teacher (Kim and Rush 2016: 5)."""
    candidates: int = Field(default=35, ge=1)
    """Of text: nearest, the K best (Kim and Rush: 35)."""
    max_length_ratio: float = Field(default=4.0, ge=1)
    """A translation so many times as long as its source, in characters, is left out."""


class PruningSettings(Section):
    """Class-blind magnitude pruning of finished students, and retraining (See et al. 2016)."""

    methods: tuple[str, ...] = ()
    """Whose students are pruned."""
    levels: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.8, 0.9)
    """Shares of the weights that are set to 0."""
    training: TrainingOverrides = TrainingSettings()
    """Of the retraining."""
