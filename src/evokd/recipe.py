"""The recipe: one YAML file that describes a whole study, as typed settings.

Nothing heavy is imported here, so a recipe is checked in a blink, before torch is even loaded.
Every section is frozen; a function of another room takes the section that it needs, never the
recipe. `recipes/reference.yaml` holds every key with a comment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from evokd.complaints import explain, unknown
from evokd.methods import MethodSettings
from evokd.section import Section

PROMPT_STYLES = ("parrot", "alma", "chat", "compact")
DIRECTION = re.compile(r"^[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?-[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?$")


class CorpusSource(Section):
    """One place that parallel text comes from."""

    path: str
    """A Moses prefix, a file, `hub:REPO[/CONFIG]:SPLIT[:SRC:TGT][@REVISION]`, `sacrebleu:NAME` or
    `phrasebook:train|valid|test`."""
    format: Literal[
        "auto", "moses", "tsv", "json", "tmx", "po", "hub", "sacrebleu", "phrasebook"
    ] = "auto"
    languages: tuple[str, str] | None = None
    """The two languages it holds, in the order of its columns; default: those of `directions`."""
    directions: tuple[str, ...] | None = None
    """Which of the study's directions it serves; default: every one that its languages allow."""
    columns: tuple[str, str] | None = None
    """Names (JSON keys, TSV header) or 1-based numbers of the two text columns."""
    limit: int | None = Field(default=None, ge=1)
    """Take the first so many pairs."""

    @field_validator("columns", mode="before")
    @classmethod
    def _numbers_are_columns(cls, value: Any) -> Any:
        return [str(column) for column in value] if isinstance(value, list) else value


class TestSource(CorpusSource):
    """Parallel text that students are judged on, under a name of its own."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    name: str

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ValueError(
                f"{name!r} is no test set name; letters, digits, '_' and '-' are accepted"
            )
        return name


class UnpairedSource(Section):
    """Lines of one language, to be translated by the teacher."""

    path: str
    """A text file, a sentence a line."""
    direction: str
    limit: int | None = Field(default=None, ge=1)


class CleaningSettings(Section):
    """What is dropped from the training text. Validation and test sets are never touched."""

    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(default=250, ge=1)
    max_word_chars: int = Field(default=100, ge=1)
    max_length_ratio: float = Field(default=4.0, ge=1)
    """Longest accepted ratio of the two sides' lengths in characters (for sides over 20 chars)."""
    min_letter_share: float = Field(default=0.4, ge=0, le=1)
    """Least accepted share of letters among the characters that aren't spaces."""
    drop_copies: bool = True
    drop_duplicates: bool = True
    drop_test_leaks: bool = True


class CorpusSettings(Section):
    root: str = "."
    """Folder that relative paths start from."""
    train: tuple[CorpusSource, ...]
    """Empty only where all training text is the teacher's, of `unpaired`."""
    valid: tuple[CorpusSource, ...] = ()
    """Held-out text for checkpoints and the sanity gate; without it, 2 % of train (at most 500
    pairs) is set aside."""
    test: tuple[TestSource, ...] = Field(min_length=1)
    cleaning: CleaningSettings = CleaningSettings()
    unpaired: tuple[UnpairedSource, ...] = ()
    """Text without translations: its teacher's translations are trained on (methods.text)."""
    weights: dict[str, float] = Field(default_factory=dict)
    """How often a direction's pairs are seen per epoch: 2 twice, 0.5 every second one."""
    limit: int | None = Field(default=None, ge=1)
    """Use so many sentence pairs for training (a seeded random subset, before directions)."""

    @field_validator("train", "valid", mode="before")
    @classmethod
    def _paths_are_sources(cls, value: Any) -> Any:
        return [{"path": v} if isinstance(v, str) else v for v in as_list(value)]

    @field_validator("test", mode="before")
    @classmethod
    def _tests_are_listed(cls, value: Any) -> Any:
        return as_list(value)

    @field_validator("weights")
    @classmethod
    def _weights_are_positive(cls, value: dict[str, float]) -> dict[str, float]:
        for direction, weight in value.items():
            if not 0 <= weight <= 100:
                raise ValueError(f"weight of {direction} is {weight}; 0 to 100 is accepted")
        return value


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

    layers: int | tuple[int, ...] | None = None
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


class ModelSettings(Section):
    model: str = "fresh"
    """A hub id, a folder, a .gguf file, `gguf:PACKAGE` (a file inside an installed Python package)
    or `fresh`; for a student also `cut`: a part of its teacher."""
    revision: str | None = None
    tokenizer: str | None = None
    """Where the tokenizer is, if not beside the model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    trust_remote_code: bool = False
    fresh: FreshModel = FreshModel()
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `training` that differ for this model."""


class TeacherSettings(ModelSettings):
    sft: bool = True
    """Fine-tune the teacher on the training text first; false takes it as it is."""
    signal: Literal["live", "hidden", "topk"] = "live"
    """Where training takes the teacher's word from: the model beside the student, or a cache of its
    hidden states or of its top_k log-probabilities, written once for all methods and seeds."""
    top_k: int = Field(default=64, ge=1)
    """Log-probabilities kept of each token under signal: topk."""


class StudentSettings(ModelSettings):
    cut: CutModel = CutModel()
    """What is kept of the teacher, for model: cut."""
    warm_start_steps: int = Field(default=0, ge=0)
    """SFT steps before any method starts; all methods start from the same weights."""
    warm_start_training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `training` that differ in those steps."""


class TokenizerSettings(Section):
    """The byte-level BPE that fresh models share."""

    vocab_size: int = Field(default=4096, ge=300)


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
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=512, ge=8)
    """Longest prompt + response, in tokens; longer pairs are left out and counted."""
    reduction: Literal["token", "sequence"] = "token"
    chunk_tokens: int | None = Field(default=None, ge=1)
    """Response positions whose logits stand in memory at once; default: what fits 60 MiB, on a GPU
    1 GiB."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast of the student's forward pass; auto: bfloat16 on a GPU that has it."""
    gradient_checkpointing: bool = False
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
    select: Literal["auto", "best", "last"] = "auto"
    """Which checkpoint is kept; auto: the best on validation for sft, the last for distillation."""


class TeacherTextSettings(Section):
    """What the teacher writes for methods that train on its text (methods.text)."""

    beam: int = Field(default=5, ge=1)
    """Of text: teacher (Kim and Rush 2016: 5)."""
    candidates: int = Field(default=35, ge=1)
    """Of text: nearest, the K best (Kim and Rush: 35)."""
    max_length_ratio: float = Field(default=4.0, ge=1)
    """A translation so many times as long as its source, in characters, is left out."""


class DecodingSettings(Section):
    beam: int = Field(default=1, ge=1)
    batch_size: int = Field(default=64, ge=1)
    """Most lines at once."""
    batch_tokens: int = Field(default=8192, ge=1)
    """Most tokens at once, prompts and answers at their caps together."""
    extra_tokens: int = Field(default=16, ge=1)
    tokens_per_source_token: float = Field(default=2.0, gt=0)
    """An output is cut at extra_tokens + tokens_per_source_token × source tokens."""
    length_penalty: float = 1.0


class ScoringSettings(Section):
    metrics: tuple[Literal["bleu", "chrf", "chrf++", "ter"], ...] = Field(
        default=("bleu", "chrf"), min_length=1
    )
    baseline: str | None = None
    """System that all others are compared with; default: forward_kd, else sft, else the first."""
    bootstrap_samples: int = Field(default=1000, ge=10)


class AnalysisSettings(Section):
    """What is measured of each system beside its scores; each takes time."""

    beams: tuple[PositiveInt, ...] = ()
    """Further beam sizes that the test sets are translated with."""
    likelihood: bool = False
    """Perplexity of the references, and the probability of each system's own best translation."""
    acceptance: bool = False
    """Each student as a draft of the teacher's: the share of its tokens that the teacher takes."""


class PruningSettings(Section):
    """Class-blind magnitude pruning of finished students, and retraining (See et al. 2016)."""

    methods: tuple[str, ...] = ()
    """Whose students are pruned."""
    levels: tuple[float, ...] = (0.5, 0.8, 0.9)
    """Shares of the weights that are set to 0."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `training` that differ in the retraining."""

    @field_validator("levels")
    @classmethod
    def _levels_are_shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for level in value:
            if not 0 < level < 1:
                raise ValueError(f"level {level}; above 0 and below 1 is accepted")
        return value


class ReportSettings(Section):
    title: str | None = None
    examples: int = Field(default=20, ge=0)
    """Test sentences that the page shows side by side."""


class Recipe(Section):
    """A whole study."""

    name: str = Field(min_length=1)
    directions: tuple[str, ...] = Field(min_length=1)
    corpus: CorpusSettings
    prompt: str = "parrot"
    """parrot, alma, chat, compact, or the path of a template file."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    teacher: TeacherSettings
    student: StudentSettings
    methods: tuple[MethodSettings, ...] = Field(min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field(default=(1,), min_length=1)
    training: TrainingSettings = TrainingSettings()
    teacher_text: TeacherTextSettings = TeacherTextSettings()
    decoding: DecodingSettings = DecodingSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    pruning: PruningSettings = PruningSettings()
    scoring: ScoringSettings = ScoringSettings()
    report: ReportSettings = ReportSettings()
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    @field_validator("directions")
    @classmethod
    def _directions_are_pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for direction in value:
            source, _, target = direction.partition("-")
            if not DIRECTION.match(direction) or source == target:
                raise ValueError(
                    f"{direction!r} is no direction; SOURCE-TARGET such as en-de is accepted"
                )
        return _distinct("direction", value)

    @field_validator("directions", "methods", "seeds", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return as_list(value)

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        names = [m.name for m in self.methods]
        _distinct("method", names)
        for i, method in enumerate(self.methods):
            if method.start is not None and method.start not in names[:i]:
                known = ", ".join(names[:i]) or "none"
                raise ValueError(
                    f"methods.{method.name}.start: {method.start!r} is no method that stands "
                    f"before it; those are: {known}. Put {method.start} into the list above it, or "
                    "give it another start"
                )
        for name in self.pruning.methods:
            if name not in names:
                raise ValueError("pruning.methods: " + unknown("method", name, names))
        if self.teacher.model == "cut":
            raise ValueError("teacher.model: cut is for students, which are cut from the teacher")
        if self.student.cut != CutModel() and self.student.model != "cut":
            raise ValueError(
                f"student.cut is of model: cut; student.model is {self.student.model!r}. Type "
                "student.model=cut, or leave student.cut out"
            )
        beams = (self.decoding.beam, *self.analysis.beams)
        if len(set(beams)) < len(beams):
            raise ValueError(
                f"analysis.beams: {list(self.analysis.beams)} are to be different ones, beside "
                f"decoding.beam, which is {self.decoding.beam}"
            )
        sliced = self.student.model == "cut" and self.student.cut.vocabulary == "corpus"
        if sliced and self.teacher.signal == "topk":
            raise ValueError(
                "teacher.signal: topk holds probabilities over the teacher's whole vocabulary, and "
                "student.cut.vocabulary: corpus is a part of it; take signal: hidden or live"
            )
        if sliced and self.analysis.acceptance:
            raise ValueError(
                "analysis.acceptance: a draft speaks in its teacher's tokens, and students with "
                "student.cut.vocabulary: corpus have numbers of their own; take vocabulary: all"
            )
        _distinct("seed", [str(s) for s in self.seeds])
        for i, source in enumerate((*self.corpus.train, *self.corpus.valid, *self.corpus.test)):
            for direction in source.directions or ():
                if direction not in self.directions:
                    raise ValueError(
                        f"corpus source {i + 1} ({source.path}) "
                        + unknown("direction", direction, self.directions)
                    )
        for i, text in enumerate(self.corpus.unpaired):
            if text.direction not in self.directions:
                raise ValueError(
                    f"corpus.unpaired {i + 1} ({text.path}) "
                    + unknown("direction", text.direction, self.directions)
                )
        for direction in self.corpus.weights:
            if direction not in self.directions:
                raise ValueError(
                    "corpus.weights: " + unknown("direction", direction, self.directions)
                )
        systems = ["teacher", *self.students()]
        if self.scoring.baseline is not None and self.scoring.baseline not in systems:
            raise ValueError(
                "scoring.baseline: " + unknown("system", self.scoring.baseline, systems)
            )
        for where, overrides in [
            ("teacher.training", self.teacher.training),
            ("student.training", self.student.training),
            ("student.warm_start_training", self.student.warm_start_training),
            ("pruning.training", self.pruning.training),
            *((f"methods.{m.name}.training", m.training) for m in self.methods),
        ]:
            try:
                self.training_of(overrides)
            except ValidationError as error:
                raise ValueError(explain(error, TrainingSettings, f"{where}.")) from None
        return self

    @model_validator(mode="after")
    def _there_is_text(self) -> Recipe:
        if self.corpus.train:
            return self
        if not self.corpus.unpaired:
            raise ValueError(
                "corpus.train: found nothing; name parallel text there, or text without "
                "translations in corpus.unpaired"
            )
        needs = {
            "methods: each with text: teacher": all(m.text == "teacher" for m in self.methods),
            "teacher.sft: false": not self.teacher.sft,
            "student.warm_start_steps: 0": not self.student.warm_start_steps,
            "a teacher or student that isn't fresh": (
                self.teacher.model != "fresh" or self.student.model not in ("fresh", "cut")
            ),
        }
        missing = [need for need, holds in needs.items() if not holds]
        if missing:
            raise ValueError(
                "corpus.train is empty, so nothing can be trained on references; that takes "
                + "; ".join(missing)
            )
        return self

    def training_of(self, *overrides: dict[str, Any]) -> TrainingSettings:
        """The training section with a model's and a method's own keys laid over it."""
        merged = self.training.model_dump()
        for override in overrides:
            merged |= override
        return TrainingSettings.model_validate(merged)

    def method(self, name: str) -> MethodSettings:
        """The settings of one method."""
        return next(m for m in self.methods if m.name == name)

    def texts(self) -> list[Literal["teacher", "nearest"]]:
        """Kinds of teacher text that methods are trained on."""
        wanted = {method.text for method in self.methods}
        kinds: tuple[Literal["teacher", "nearest"], ...] = ("teacher", "nearest")
        return [kind for kind in kinds if kind in wanted]

    def students(self) -> dict[str, MethodSettings]:
        """Every kind of student by its system's name, pruned ones last, with its method."""
        pruned = {
            pruned_name(name, level): self.method(name)
            for name in self.pruning.methods
            for level in self.pruning.levels
        }
        return {m.name: m for m in self.methods} | pruned

    def baseline(self) -> str:
        """The system that the others are compared with."""
        names = list(self.students())
        wanted = (self.scoring.baseline, "forward_kd", "sft", names[0])
        return next(name for name in wanted if name in ("teacher", *names))

    def languages(self) -> list[str]:
        """Every language of the study, in order of appearance."""
        return list(dict.fromkeys(code for d in self.directions for code in d.split("-")))


def pruned_name(method: str, level: float) -> str:
    """Of a student of which a share of the weights, 0 to 1, is 0."""
    return f"{method}_pruned{f'{100 * level:g}'.replace('.', '_')}"


def _distinct(what: str, names: Sequence[str]) -> Any:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} appears twice; give each a name of its own")
    return names


def as_list(value: Any) -> Any:
    """A single value stands for a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]
