"""How a recipe's trainings lie on devices, and in which number formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evokd.plan.shapes import Shape
from evokd.recipe.models import ModelSettings
from evokd.recipe.recipe import Recipe
from evokd.recipe.training import TrainingSettings

Kind = Literal["none", "ddp", "fsdp2"]
STATE_BYTES = {"adamw": 8.0, "adamw_8bit": 2.1, "adamw_kahan": 6.0, "adamw_8bit_kahan": 4.1}
"""training.optimizer → bytes of state a weight, what rounding took from it among them; measured by
bench/optimizers.py."""
QUANTIZED_BYTES = {"8bit": 1.05, "4bit": 0.55}
"""Bytes a weight, scales and what isn't quantised among them."""


@dataclass(frozen=True)
class Placement:
    """What a training does with several devices."""

    kind: Kind = "none"
    devices: int = 1

    @property
    def shards(self) -> int:
        """Devices that share one copy of the weights."""
        return self.devices if self.kind == "fsdp2" else 1

    @property
    def gradient_copies(self) -> int:
        """torch's DDP fills buckets of its own beside the gradients."""
        return 2 if self.kind == "ddp" else 1

    @property
    def workers(self) -> int:
        """Devices that share a step's pairs."""
        return 1 if self.kind == "none" else self.devices

    def words(self) -> str:
        return {"none": "one device", "ddp": f"ddp on {self.devices}"}.get(
            self.kind, f"fsdp2 over {self.devices}"
        )


@dataclass(frozen=True)
class Formats:
    """Bytes of a weight in each of its roles, and what is trained at all."""

    weights: float = 4.0
    """Of the student's."""
    state: float = 8.0
    """Of the optimizer's, a trained weight."""
    teacher: float = 4.0
    half: bool = False
    """Whether the forward pass computes in bfloat16."""
    rank: int | None = None
    """Of a LoRA's adapters; None: all weights are trained."""

    @property
    def trains_all(self) -> bool:
        return self.rank is None

    def weights_of(self, shape: Shape) -> float:
        adapters = 0 if self.rank is None else 4.0 * adapter_weights(shape, self.rank)
        return self.weights * shape.parameters + adapters

    def gradients_of(self, shape: Shape) -> float:
        return (self.weights if self.trains_all else 4.0) * self._trained(shape)

    def optimizer_of(self, shape: Shape) -> float:
        return self.state * self._trained(shape)

    def _trained(self, shape: Shape) -> int:
        return shape.parameters if self.rank is None else adapter_weights(shape, self.rank)


def adapter_weights(shape: Shape, rank: int) -> int:
    """Of a LoRA on all linear layers but the head: rank × (inputs + outputs) of each."""
    attention = 2 * (shape.hidden + shape.queries) + 2 * (shape.hidden + shape.keys)
    return shape.layers * rank * (attention + 3 * (shape.hidden + shape.intermediate))


def formats_of(
    recipe: Recipe, model: ModelSettings, training: TrainingSettings, on_gpu: bool
) -> Formats:
    """Of a model's training in a recipe."""
    half = training.precision == "bfloat16" or (training.precision == "auto" and on_gpu)
    weights = 2.0 if training.weights == "bfloat16" else 4.0
    lora = model.adapters
    if lora is not None:
        weights = QUANTIZED_BYTES.get(lora.quantize, weights)
    state = STATE_BYTES[training.optimizer]
    rank = None if lora is None else lora.rank
    return Formats(weights, state, teacher_bytes(recipe, on_gpu), half, rank)


def teacher_bytes(recipe: Recipe, on_gpu: bool) -> float:
    """Of a weight of the finished teacher, as it is read and translated with."""
    usual = weight_bytes(recipe.teacher, on_gpu)
    return QUANTIZED_BYTES.get(recipe.teacher.quantize, usual)


def weight_bytes(model: ModelSettings, on_gpu: bool) -> float:
    """Of a weight of a finished model."""
    usual = "bfloat16" if on_gpu else "float32"
    return 4.0 if (usual if model.dtype == "auto" else model.dtype) == "float32" else 2.0
