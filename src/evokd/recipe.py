"""The recipe: one YAML file that describes a whole study, as typed settings.

Nothing heavy is imported here, so a recipe is checked in a blink, before torch is even loaded.
Every section is frozen; a function of another room takes the section that it needs, never the
recipe. `recipes/reference.yaml` holds every key with a comment.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    field_validator,
    model_validator,
)

from evokd.errors import InputError

ObjectiveName = Literal[
    "sft",
    "forward_kd",
    "reverse_kd",
    "noevo",
    "skew",
    "skew_teacher",
    "self_evolution",
    "self_evolution_topk",
]
OBJECTIVE_NAMES: tuple[str, ...] = get_args(ObjectiveName)
PROMPT_STYLES = ("parrot", "alma", "chat", "compact")
CORPUS_FORMATS = ("auto", "moses", "tsv", "json", "tmx", "po", "hub", "sacrebleu", "phrasebook")

UNION_PARTS = ("float", "BetaSchedule")
"""What pydantic calls the two kinds of `beta` in the place of an error."""
SHAPES = {
    "model_type": "a mapping of keys is accepted",
    "dict_type": "a mapping of keys is accepted",
    "tuple_type": "a list is accepted",
}
"""What is accepted, by pydantic's kind of error."""
DIRECTION = re.compile(r"^[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?-[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?$")
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_+]*$")


class Section(BaseModel):
    """A frozen part of the recipe that refuses keys it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    train: tuple[CorpusSource, ...] = Field(min_length=1)
    valid: tuple[CorpusSource, ...] = ()
    """Held-out text for checkpoints and the sanity gate; without it, 2 % of train (at most 500
    pairs) is set aside."""
    test: tuple[TestSource, ...] = Field(min_length=1)
    cleaning: CleaningSettings = CleaningSettings()
    weights: dict[str, float] = Field(default_factory=dict)
    """How often a direction's pairs are seen per epoch: 2 twice, 0.5 every second one."""
    limit: int | None = Field(default=None, ge=1)
    """Use so many sentence pairs for training (a seeded random subset, before directions)."""

    @field_validator("train", "valid", mode="before")
    @classmethod
    def _paths_are_sources(cls, value: Any) -> Any:
        return [{"path": v} if isinstance(v, str) else v for v in _as_list(value)]

    @field_validator("test", mode="before")
    @classmethod
    def _tests_are_listed(cls, value: Any) -> Any:
        return _as_list(value)

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


class ModelSettings(Section):
    model: str = "fresh"
    """A hub id, a folder, a .gguf file, `gguf:PACKAGE` (a file inside an installed Python package)
    or `fresh`."""
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


class StudentSettings(ModelSettings):
    warm_start_steps: int = Field(default=0, ge=0)
    """SFT steps before any method starts; all methods start from the same weights."""


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
    chunk_tokens: int = Field(default=512, ge=1)
    """Response positions whose logits stand in memory at once."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast of the student's forward pass; auto: bfloat16 on a GPU that has it."""
    gradient_checkpointing: bool = False
    eval_every: int | None = Field(default=None, ge=1)
    """Steps between validations; default: each epoch."""
    save_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints to resume from; default: each tenth of the training."""
    log_every: int = Field(default=10, ge=1)
    select: Literal["auto", "best", "last"] = "auto"
    """Which checkpoint is kept; auto: the best on validation for sft, the last for distillation."""


class BetaSchedule(Section):
    """Progressive β (paper 5.2.2): linear in optimizer steps."""

    start: float = Field(default=0.5, ge=0, le=1)
    end: float = Field(default=0.0, ge=0, le=1)
    of: Literal["student", "target"] = "student"
    """What the two numbers weigh in Eq. 6: the student (β itself) or the target (1 − β)."""


class MethodSettings(Section):
    name: str
    objective: ObjectiveName
    lam: float = Field(default=0.5, ge=0, le=1)
    beta: float | BetaSchedule | None = None
    """Default: 0.5, and 0.9 in skew_teacher."""
    gamma: float = 0.4
    top_percent: float = Field(default=50.0, ge=0, le=100)
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `training` that differ for this method."""

    @model_validator(mode="before")
    @classmethod
    def _a_bare_name_is_an_objective(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"objective": value}
        if isinstance(value, dict):
            name = value.get("name", value.get("objective"))
            value = {"name": name, "objective": value.get("objective", name), **value}
        return value

    @field_validator("objective", mode="before")
    @classmethod
    def _objective_is_known(cls, value: Any) -> Any:
        if value not in OBJECTIVE_NAMES:
            raise ValueError(_unknown("objective", value, OBJECTIVE_NAMES))
        return value

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not NAME.match(name) or name == "teacher":
            raise ValueError(
                f"{name!r} can't name a system; letters, digits, '_' and '+' are accepted, "
                "and 'teacher' is taken"
            )
        return name

    @field_validator("beta")
    @classmethod
    def _beta_is_a_share(cls, value: Any) -> Any:
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError(f"beta is {value}; 0 to 1 is accepted")
        return value

    def constant_beta(self) -> float:
        """β where no schedule changes it."""
        if isinstance(self.beta, float):
            return self.beta
        return 0.9 if self.objective == "skew_teacher" else 0.5


class DecodingSettings(Section):
    beam: int = Field(default=1, ge=1)
    batch_size: int = Field(default=64, ge=1)
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
    decoding: DecodingSettings = DecodingSettings()
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
        return _as_list(value)

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        _distinct("method", [m.name for m in self.methods])
        _distinct("seed", [str(s) for s in self.seeds])
        for i, source in enumerate((*self.corpus.train, *self.corpus.valid, *self.corpus.test)):
            for direction in source.directions or ():
                if direction not in self.directions:
                    raise ValueError(
                        f"corpus source {i + 1} ({source.path}) "
                        + _unknown("direction", direction, self.directions)
                    )
        for direction in self.corpus.weights:
            if direction not in self.directions:
                raise ValueError(
                    "corpus.weights: " + _unknown("direction", direction, self.directions)
                )
        systems = ["teacher", *(m.name for m in self.methods)]
        if self.scoring.baseline is not None and self.scoring.baseline not in systems:
            raise ValueError(
                "scoring.baseline: " + _unknown("system", self.scoring.baseline, systems)
            )
        for where, overrides in [
            ("teacher", self.teacher.training),
            ("student", self.student.training),
            *((f"methods.{m.name}", m.training) for m in self.methods),
        ]:
            try:
                self.training_of(overrides)
            except ValidationError as error:
                raise ValueError(_explain(error, TrainingSettings, f"{where}.training.")) from None
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

    def baseline(self) -> str:
        """The system that the others are compared with."""
        names = [m.name for m in self.methods]
        wanted = (self.scoring.baseline, "forward_kd", "sft", names[0])
        return next(name for name in wanted if name in ("teacher", *names))

    def languages(self) -> list[str]:
        """Every language of the study, in order of appearance."""
        return list(dict.fromkeys(code for d in self.directions for code in d.split("-")))


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, lay `key=value` overrides over it and check all of it.

    Raises:
        InputError: naming each key that is wrong, what was found and what is accepted.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"recipe {path} not found; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} can't be read: {error}") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"recipe {path} is no valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"recipe {path} holds {_kind(tree)}; a mapping of keys is accepted")
    return check_recipe(tree, overrides, origin=str(path))


def check_recipe(
    tree: dict[str, Any], overrides: Sequence[str] = (), origin: str = "recipe"
) -> Recipe:
    """A recipe from plain dicts and lists; see `load_recipe`."""
    tree = _spelled_out(tree)
    for override in overrides:
        _apply_override(tree, override)
    tree.setdefault("name", Path(origin).stem)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{origin} has errors:\n{_explain(error, Recipe)}") from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe, every default written out, as YAML that `load_recipe` takes."""
    return yaml.safe_dump(
        recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )


def _spelled_out(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy in which every short form is a mapping, so that overrides find its keys."""
    tree = copy.deepcopy(tree)
    if "methods" in tree:
        tree["methods"] = [
            {"objective": m} if isinstance(m, str) else m for m in _as_list(tree["methods"])
        ]
    corpus = tree.get("corpus")
    for part in ("train", "valid", "test"):
        if isinstance(corpus, dict) and part in corpus:
            sources = _as_list(corpus[part])
            corpus[part] = [{"path": s} if isinstance(s, str) else s for s in sources]
    return tree


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"{override!r} is no override; type key=value, e.g. training.epochs=1")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    node: Any = tree
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        if isinstance(node, list):
            node = node[_index(node, part, override)]
        else:
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        if not isinstance(node, (dict, list)):
            where = ".".join(parents[: depth + 1])
            raise InputError(f"override {override!r}: {where} is {_kind(node)}, it has no keys")
    if isinstance(node, list):
        node[_index(node, last, override)] = value
    else:
        node[last] = value


def _index(items: list[Any], part: str, override: str) -> int:
    """Position of a list's element, by number or by the element's name."""
    names = [
        item.get("name", item.get("objective")) if isinstance(item, dict) else item
        for item in items
    ]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    accepted = ", ".join(str(n) for n in names if n) or f"0 to {len(items) - 1}"
    raise InputError(f"override {override!r}: no element {part!r}; accepted: {accepted}")


def _explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Pydantic's complaints as one line each: where, what was found, what is accepted."""
    lines = []
    problems = error.errors()
    # A list whose only element is wrong counts as empty as well: that says nothing new.
    parents = {p["loc"][:depth] for p in problems for depth in range(len(p["loc"]))}
    for problem in problems:
        where = prefix + ".".join(str(part) for part in problem["loc"] if part not in UNION_PARTS)
        kind = "BetaSchedule" if isinstance(problem["input"], dict) else "float"
        if problem["loc"] and problem["loc"][-1] in UNION_PARTS and problem["loc"][-1] != kind:
            continue  # the other kind was meant
        if problem["type"] == "extra_forbidden":
            known = _keys_at(model, problem["loc"][:-1])
            lines.append(f"  {where}: " + _unknown("key", str(problem["loc"][-1]), known))
        elif problem["type"] == "missing":
            lines.append(f"  {where}: this key is needed and isn't there")
        elif problem["type"] == "too_short":
            if problem["loc"] not in parents:
                lines.append(f"  {where}: found nothing; at least one is needed")
        elif problem["type"] in SHAPES:
            lines.append(f"  {where}: found {problem['input']!r}; {SHAPES[problem['type']]}")
        elif problem["type"] == "value_error":
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(
                text if text.startswith("  ") else f"  {where}: {text}".replace(" : ", " ")
            )
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            if isinstance(problem["input"], bool):
                message += "; put it in quotes: YAML takes a bare no, yes, on or off for a truth"
            lines.append(f"  {where}: found {problem['input']!r}; {message}")
    return "\n".join(dict.fromkeys(lines))


def _keys_at(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """The keys accepted at a place of the recipe."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            inner = _section_in(model.model_fields[part].annotation)
            if inner is not None:
                model = inner
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_in(argument) for argument in get_args(annotation))
    return next((section for section in inner if section is not None), None)


def _unknown(what: str, found: Any, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(str(found), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {found!r}; {hint}accepted: {', '.join(known)}"


def _distinct(what: str, names: Sequence[str]) -> Any:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} appears twice; give each a name of its own")
    return names


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
