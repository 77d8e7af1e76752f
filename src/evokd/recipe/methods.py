"""The methods section of a recipe: an objective, its settings, and the text it is trained on."""

from __future__ import annotations

import logging
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from evokd.recipe.code import name_in
from evokd.recipe.objectives import (
    BETA_RULES,
    GAMMA_RULES,
    OBJECTIVES,
    PAIR_WEIGHTS,
    PRESETS,
    ObjectiveSettings,
    ObjectiveSpec,
    Share,
    add_objective,
    check_gate,
    free_of_references,
    method_names,
    objective_settings,
)
from evokd.recipe.section import Section
from evokd.recipe.training import TrainingOverrides, TrainingSettings
from evokd.recipe.validation import one_kind_of, one_of

log = logging.getLogger(__name__)

PAPERS_GAMMA: float = ObjectiveSettings.model_fields["gamma"].default
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_+]*$")
TeacherText = Literal["teacher", "nearest"]
"""Training text whose translations are the teacher's: its best ones; of its n best the one nearest
to the reference."""
TrainingText = Literal["reference", "filtered", "teacher", "nearest"]
"""What students are trained on; filtered: the references that the teacher believes."""
RENAMED = {("gate", "swapped"): "inverted"}
"""Values of keys that have a better name by now; the old one goes on working."""


class BetaSchedule(Section):
    """Progressive β (paper 5.2.2): linear in optimizer steps."""

    start: float = Field(default=0.5, ge=0, le=1)
    end: float = Field(default=0.0, ge=0, le=1)
    of: Literal["student", "target"] = "student"
    """What the two numbers weigh in Eq. 6: the student (β itself) or the target (1 − β)."""


class GammaRule(Section):
    """A Γ that follows the student (beyond the paper, which calls a fixed one a limitation)."""

    rule: Annotated[str, one_of("rule", lambda: GAMMA_RULES)]
    """One of `GAMMA_RULES`, which says what each reads of these."""
    hard_share: float = Field(default=0.5, ge=0, le=1)
    k: float = 1.0
    memory: int = Field(default=20_000, ge=1)
    start: float = 3.0
    end: float = 0.4


class OnPolicySettings(Section):
    """Training on the student's own translations (GKD, Agarwal et al. 2024)."""

    share: float = Field(default=0.5, ge=0, le=1)
    """GKD's λ: the probability that a step's targets are the student's own."""
    temperature: float = Field(default=1.0, gt=0)
    every: int = Field(default=8, ge=1)
    """Optimizer steps whose translations are made at once, by the student as it is then."""
    replay: int = Field(default=0, ge=0)
    """Pairs that a buffer holds (DistiLLM takes 1000); 0: every translation is used once."""
    adaptive: bool = False
    """DistiLLM's schedule: `share` starts at 0 and rises by 0.1 each time that validation loss has
    grown by 0.1, up to the given one; fresh translations give way to replayed ones."""


def _beta_words() -> tuple[str, ...]:
    return ("difficulty", *BETA_RULES)


Beta = Annotated[
    Share | BetaSchedule | Annotated[str, one_of("word", _beta_words)] | None,
    one_kind_of(
        lambda: f"a number from 0 to 1, {', '.join(_beta_words())} or {{start: 0.5, end: 0}}",
        BetaSchedule,
    ),
]
Gamma = Annotated[
    float | GammaRule,
    one_kind_of(lambda: "a finite number or {rule: running_quantile}", GammaRule),
]


class MethodSettings(ObjectiveSettings):
    """A method: its objective's settings, and what it is trained on.

    None in lam, beta and alpha stands for the objective's own default (`OBJECTIVES`).
    """

    name: str
    objective: Annotated[str, one_of("objective", method_names, add_objective)]
    """A name in `OBJECTIVES`, or package.module:function."""
    lam: Share | None = None  # type: ignore[assignment]
    beta: Beta = None  # type: ignore[assignment]
    """A number, a schedule, difficulty, or a rule of `BETA_RULES`."""
    gamma: Gamma = PAPERS_GAMMA  # type: ignore[assignment]
    doubt: float = Field(default=ObjectiveSettings().doubt, ge=0)
    alpha: Share | None = None  # type: ignore[assignment]
    text: TrainingText = "reference"
    start: str | None = None
    """The method whose student of the same seed it goes on from; default: the common start."""
    open: bool = False
    """What the check before training advises is laid over it (method auto)."""
    on_policy: OnPolicySettings | None = None
    pair_weights: dict[str, SerializeAsAny[Section]] = Field(default_factory=dict)
    """What weighs its training pairs: keys of `PAIR_WEIGHTS`, which stand among those of the method
    in a recipe, with their settings."""
    training: TrainingOverrides = TrainingSettings()
    swept: dict[str, Any] = Field(default_factory=dict)
    """Of a method that a sweep made: which one is swept ("of"), and its settings here ("at")."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms_are_spelled_out(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            return value
        named = value.get("objective", value.get("name"))
        preset = PRESETS.get(named, {}) if isinstance(named, str) else {}
        name = name_in(named) if isinstance(named, str) else named
        value = {"name": name, **preset, **value, "objective": preset.get("objective", named)}
        for (key, old), new in RENAMED.items():
            if value.get(key) == old:
                log.warning(
                    "%s: %s is called %s by now; the old name goes on working", key, old, new
                )
                value[key] = new
        weights = {key: value.pop(key) for key in PAIR_WEIGHTS if key in value}
        chosen = {key: given for key, given in weights.items() if given is not None}
        return {**value, "pair_weights": chosen} if chosen else value

    @model_serializer(mode="wrap")
    def _pair_weights_stand_among_the_keys(self, dump: SerializerFunctionWrapHandler) -> Any:
        tree = dump(self)
        first = {key: tree.pop(key) for key in ("name", "objective") if key in tree}
        weights = tree.pop("pair_weights", {})
        return {**first, **tree, **weights}

    @field_validator("pair_weights", mode="before")
    @classmethod
    def _pair_weights_are_checked(cls, value: Any) -> Any:
        sections: dict[str, Any] = {key: (PAIR_WEIGHTS[key].section, ...) for key in value}
        return dict(create_model("PairWeights", **sections).model_validate(value))

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not NAME.match(name) or name in ("teacher", "start"):
            raise ValueError(
                f"{name!r} can't name a system; letters, digits, '_' and '+' are accepted, "
                "and 'teacher' and 'start' are taken"
            )
        return name

    @model_validator(mode="after")
    def _parts_fit(self) -> MethodSettings:
        spec = self.spec
        if isinstance(self.gamma, GammaRule) and "gamma" not in spec.settings:
            raise ValueError(
                f"gamma: a rule is a setting of self_evolution; the objective is {self.objective}"
            )
        check_gate(self.objective, self)
        if self.beta == "difficulty" and self.first_gamma() <= 0:
            raise ValueError(
                f"beta: difficulty is Γ/(Γ + d), and gamma is {self.gamma}; take one above 0"
            )
        if isinstance(self.beta, str) and "gamma" not in spec.settings:
            raise ValueError(
                f"beta: {self.beta} is for self_evolution; the objective is {self.objective}"
            )
        if self.ranks_each_batch() and (self.gate, self.difficulty) != ("hard", "kl"):
            raise ValueError(
                f"gamma: {{rule: quantile}} ranks d and takes gate: hard and difficulty: kl; found "
                f"{self.gate} and {self.difficulty}. rule: running_quantile takes all of them"
            )
        if self.on_policy is not None and spec.needs_reference(self.lam):
            raise ValueError(
                f"on_policy: {self.objective} compares the student with the reference, and the "
                f"student's own translations have none; without one do {free_of_references()}"
            )
        return self

    @classmethod
    def known_keys(cls) -> dict[str, Any]:
        keys = super().known_keys() | {key: row.section for key, row in PAIR_WEIGHTS.items()}
        del keys["pair_weights"], keys["swept"]
        return keys

    @property
    def spec(self) -> ObjectiveSpec:
        return OBJECTIVES[self.objective]

    @property
    def damps_all_hard(self) -> bool:
        """Whether every token with d > Γ is damped, so that a weak student learns from few."""
        return "gamma" in self.spec.settings and self.gate != "vouched"

    def kind(self) -> str:
        """Its objective; seq_kd or seq_inter where that is NLL of the teacher's text."""
        if self.objective == "sft" and self.text in get_args(TeacherText):
            return "seq_kd" if self.text == "teacher" else "seq_inter"
        return self.objective

    def ranks_each_batch(self) -> bool:
        """Whether its Γ makes a share of each micro-batch hard, which is a ranking of tokens by d
        and so another objective."""
        return isinstance(self.gamma, GammaRule) and self.gamma.rule == "quantile"

    @property
    def learns_by_micro_batch(self) -> bool:
        """Whether the size of micro-batches changes a student: some objectives choose among the
        tokens of each, the network that predicts β learns from one."""
        learnt = isinstance(self.beta, str) and self.beta in BETA_RULES
        return learnt or self.ranks_each_batch() or bool(self.spec.ranked_by)

    def first_gamma(self) -> float:
        """Γ of the first step."""
        if not isinstance(self.gamma, GammaRule):
            return self.gamma
        first = GAMMA_RULES[self.gamma.rule].first
        return getattr(self.gamma, first) if first else PAPERS_GAMMA

    def in_force(self) -> tuple[str, ObjectiveSettings]:
        """Objective and settings of the first step; what changes later starts from these."""
        settings = {name: getattr(self, name) for name in ObjectiveSettings.model_fields}
        settings["gamma"] = self.first_gamma()
        if not isinstance(self.beta, float) and self.beta != "difficulty":
            settings["beta"] = None
        objective = self.objective
        if self.ranks_each_batch():
            assert isinstance(self.gamma, GammaRule)
            objective = "self_evolution_topk"
            settings["top_percent"] = 100.0 * self.gamma.hard_share
        settings = {name: value for name, value in settings.items() if value is not None}
        return objective, objective_settings(objective, **settings)
