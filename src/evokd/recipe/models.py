"""The models of a recipe: teacher, student and the tokenizer that fresh ones share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evokd.recipe.section import Section
from evokd.recipe.training import TrainingOverrides, TrainingSettings
from evokd.recipe.validation import one_kind_of

Layers = Annotated[
    int | tuple[int, ...] | None, one_kind_of(lambda: "a number or a list such as [0, 3, 7]")
]


class FreshModel(Section):
    """A Llama built from numbers, with random weights."""

    hidden_size: int = Field(default=256, ge=8)
    intermediate_size: int | None = None
    """Width of the feed-forward layers; default: 8/3 of hidden_size, rounded up to 32."""
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    kv_heads: int | None = None
    tie_embeddings: bool = True
    max_positions: int = Field(default=1024, ge=16)

    @property
    def inner_width(self) -> int:
        """Of the feed-forward layers, told or not."""
        return self.intermediate_size or -(-self.hidden_size * 8 // 96) * 32

    @model_validator(mode="after")
    def _heads_divide(self) -> FreshModel:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} isn't divisible by 2 × heads ({self.heads}); "
                f"take hidden_size={-(-self.hidden_size // (2 * self.heads)) * 2 * self.heads}"
            )
        return self


class CutModel(Section):
    """A student cut out of its teacher; what isn't named stays as it is."""

    layers: Layers = None
    """So many, spread evenly, the last one among them; or a list of numbers from 0."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads of each layer, the best by `by`; whole groups where keys are shared."""
    intermediate_size: int | None = Field(default=None, ge=1)
    """Neurons of each feed-forward layer, the best by `by`."""
    by: Literal["activation", "weight"] = "activation"
    """What is best: what stirs most on training pairs, or has the largest weights."""
    calibration_pairs: int = Field(default=128, ge=1)
    vocabulary: Literal["all", "corpus"] = "all"
    """corpus: only the tokens that the study's text uses, and all single bytes."""


Bits = Literal["none", "8bit", "4bit"]
"""Of the weights of linear layers, the head apart: LLM.int8 (Dettmers et al. 2022), NF4 (2023)."""


class LoraSettings(Section):
    """Low-rank adapters that are trained in place of a model's own weights (Hu et al. 2021)."""

    rank: int = Field(default=0, ge=0)
    """Of each; 0: there are none, and all weights are trained."""
    alpha: float = Field(default=32.0, gt=0)
    """An adapter's product is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Annotated[
        Literal["all-linear"] | tuple[str, ...],
        one_kind_of(lambda: "all-linear, or a list of layers' names such as [q_proj, v_proj]"),
    ] = "all-linear"
    """Layers that get one; all-linear: each but the head."""
    quantize: Bits = "none"
    """What the frozen weights below are in while adapters are trained (QLoRA, Dettmers 2023)."""

    @model_validator(mode="after")
    def _rank_is_told(self) -> LoraSettings:
        if not self.rank and self != LoraSettings.model_construct():
            raise ValueError("settings of adapters without their rank; type lora.rank=16, say")
        return self

    @property
    def words(self) -> str:
        """As it is named in tables."""
        return f"{'Q' if self.quantize != 'none' else ''}LoRA r {self.rank}"


class ModelSettings(Section):
    model: str = "fresh"
    """A hub id, a folder, a .gguf file, `gguf:PACKAGE` (a file inside an installed Python package)
    or `fresh`; for a student also `cut`: a part of its teacher."""
    revision: str | None = None
    tokenizer: str | None = None
    """Where the tokenizer is, if not beside the model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """In which a finished model translates."""
    save_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights of finished models in their folders; training is in float32 anyway."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    trust_remote_code: bool = False
    fresh: FreshModel = FreshModel()
    lora: LoraSettings = LoraSettings()
    training: TrainingOverrides = TrainingSettings()

    @property
    def adapters(self) -> LoraSettings | None:
        """What is trained in place of its weights, if that is asked for."""
        return self.lora if self.lora.rank else None


class TeacherSettings(ModelSettings):
    sft: bool = True
    """Fine-tune the teacher on the training text first; false takes it as it is."""
    signal: Literal["live", "hidden", "topk"] = "live"
    """Where training takes the teacher's word from: the model beside the student, or a cache of its
    hidden states or of its top_k log-probabilities, written once for all methods and seeds."""
    top_k: int = Field(default=64, ge=1)
    """Log-probabilities kept of each token under signal: topk."""
    quantize: Bits = "none"
    """What the finished teacher's weights are in where it translates and students learn from it."""


class StudentSettings(ModelSettings):
    cut: CutModel = CutModel()
    """What is kept of the teacher, for model: cut."""
    warm_start_steps: int = Field(default=0, ge=0)
    """SFT steps before any method starts; all methods start from the same weights."""
    warm_start_training: TrainingOverrides = TrainingSettings()
    """Of those steps."""
    starts: Literal["shared", "per_seed"] = "shared"
    """One start for all seeds, or one for each, from other random weights and another order of
    data: what is then said of a method doesn't rest on one start."""

    @property
    def prunes_vocabulary(self) -> bool:
        """Whether it knows some of its teacher's tokens only."""
        return self.model == "cut" and self.cut.vocabulary != "all"


class TokenizerSettings(Section):
    """The byte-level BPE that fresh models share."""

    vocab_size: int = Field(default=4096, ge=300)
