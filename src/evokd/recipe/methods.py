"""The methods section of a recipe: an objective, its settings, and the text it is trained on."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from evokd.recipe.section import Section
from evokd.recipe.validation import unknown

ObjectiveName = Literal[
    "sft",
    "forward_kd",
    "reverse_kd",
    "noevo",
    "skew",
    "skew_teacher",
    "self_evolution",
    "self_evolution_topk",
    "word_kd",
    "atkd",
    "skl",
    "srkl",
    "jsd",
    "akl",
    "selective_kd",
    "tip",
]
OBJECTIVE_NAMES: tuple[str, ...] = get_args(ObjectiveName)
PRESETS: dict[str, dict[str, Any]] = {
    "seq_kd": {"objective": "sft", "text": "teacher"},
    "seq_inter": {"objective": "sft", "text": "nearest", "start": "seq_kd"},
}
"""Methods that are an objective on another text (Kim and Rush 2016)."""
METHOD_NAMES = (*OBJECTIVE_NAMES, *PRESETS)
REFERENCE_FREE = {
    *("skl", "srkl", "jsd", "akl", "tip"),
    *("forward_kd", "reverse_kd", "skew_teacher"),  # at λ = 1
}
"""Objectives that look at no reference token, so that any text may stand in its place."""
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_+]*$")


class BetaSchedule(Section):
    """Progressive β (paper 5.2.2): linear in optimizer steps."""

    start: float = Field(default=0.5, ge=0, le=1)
    end: float = Field(default=0.0, ge=0, le=1)
    of: Literal["student", "target"] = "student"
    """What the two numbers weigh in Eq. 6: the student (β itself) or the target (1 − β)."""


class GammaRule(Section):
    """A Γ that follows the student (beyond the paper, which calls a fixed one a limitation)."""

    rule: Literal["quantile", "running_quantile", "running_mean", "linear", "cosine"]
    """quantile: so that `hard_share` of a micro-batch's tokens are hard; running_quantile: of the
    last `memory` tokens' before it; running_mean: their mean + k standard deviations; linear,
    cosine: from start to end over the optimizer steps."""
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


class CompetenceSettings(Section):
    """Weights of pairs from how well the student translates them: our analogue of PACED (Xu et al.
    2026), which takes pass rates of verified answers. A sampled translation passes where its chrF
    against the reference is at least `threshold`; with the pass rate r a pair weighs r^a (1 − r)^b,
    scaled to a mean of 1."""

    threshold: float = Field(default=50.0, ge=0, le=100)
    samples: int = Field(default=4, ge=1)
    a: float = Field(default=1.0, ge=0)
    b: float = Field(default=1.0, ge=0)


class MethodSettings(Section):
    name: str
    objective: ObjectiveName
    lam: float | None = Field(default=None, ge=0, le=1)
    """Default: 0.5, and 0.2 in atkd."""
    beta: float | BetaSchedule | Literal["difficulty", "network"] | None = None
    """Default: 0.5, and 0.9 in skew_teacher. difficulty: Γ / (Γ + d) of each token; network: what a
    small network predicts for it."""
    gamma: float | GammaRule = 0.4
    gate: Literal["hard", "smooth", "swapped"] = "hard"
    """hard: the proxy where d > Γ; smooth: σ((d − Γ)/τ) of the proxy's loss and the rest of the
    student's; swapped: the proxy where d ≤ Γ, a control."""
    tau: float = Field(default=0.2, gt=0)
    difficulty: Literal["kl", "js", "reverse_kl", "nll"] = "kl"
    """What is compared with Γ: KL(ỹ‖q), the paper's; their Jensen–Shannon divergence; KL(q‖ỹ); the
    student's NLL of the reference."""
    top_percent: float = Field(default=50.0, ge=0, le=100)
    alpha: float | None = Field(default=None, ge=0, le=1)
    """Default: 0.1 (skl, srkl), 0.5 (word_kd)."""
    mu: float = Field(default=0.5, ge=0, le=1)
    averaging: Literal["groups", "all"] = "groups"
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    queue: int = Field(default=0, ge=0)
    text: Literal["reference", "teacher", "nearest"] = "reference"
    """What it is trained on: references; the teacher's best translations; of its n best the one
    nearest to the reference."""
    start: str | None = None
    """The method whose student of the same seed it goes on from; default: the common start."""
    on_policy: OnPolicySettings | None = None
    competence: CompetenceSettings | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `training` that differ for this method."""

    @model_validator(mode="before")
    @classmethod
    def _a_bare_name_is_a_method(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, dict):
            named = value.get("objective", value.get("name"))
            preset = PRESETS.get(named, {"objective": named}) if isinstance(named, str) else {}
            objective = {"objective": preset.get("objective", named)}
            value = {**preset, "name": value.get("name", named), **value, **objective}
        return value

    @field_validator("objective", mode="before")
    @classmethod
    def _objective_is_known(cls, value: Any) -> Any:
        if value not in OBJECTIVE_NAMES:
            raise ValueError(unknown("objective", value, METHOD_NAMES))
        return value

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, name: str) -> str:
        if not NAME.match(name) or name in ("teacher", "start"):
            raise ValueError(
                f"{name!r} can't name a system; letters, digits, '_' and '+' are accepted, "
                "and 'teacher' and 'start' are taken"
            )
        return name

    @field_validator("beta")
    @classmethod
    def _beta_is_a_share(cls, value: Any) -> Any:
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError(f"beta is {value}; 0 to 1 is accepted")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> MethodSettings:
        gated = self.objective == "self_evolution"
        for key, plain in [("gamma", float), ("gate", "hard"), ("difficulty", "kl")]:
            given = getattr(self, key)
            if not gated and not (isinstance(given, float) if plain is float else given == plain):
                raise ValueError(
                    f"{key} is a setting of self_evolution; the objective is {self.objective}"
                )
        if self.beta == "difficulty" and self.constant_gamma() <= 0:
            raise ValueError(
                f"beta: difficulty is Γ/(Γ + d), and gamma is {self.gamma}; take one above 0"
            )
        if isinstance(self.beta, str) and not gated:
            raise ValueError(
                f"beta: {self.beta} is for self_evolution; the objective is {self.objective}"
            )
        ranked = isinstance(self.gamma, GammaRule) and self.gamma.rule == "quantile"
        if ranked and (self.gate, self.difficulty) != ("hard", "kl"):
            raise ValueError(
                f"gamma: {{rule: quantile}} ranks d and takes gate: hard and difficulty: kl; found "
                f"{self.gate} and {self.difficulty}. rule: running_quantile takes all of them"
            )
        if self.on_policy is not None and not self.needs_no_reference():
            raise ValueError(
                f"on_policy: {self.objective} compares the student with the reference, and the "
                "student's own translations have none; without one do "
                f"{', '.join(sorted(REFERENCE_FREE))} "
                "(forward_kd, reverse_kd and skew_teacher with lam: 1)"
            )
        return self

    def needs_no_reference(self) -> bool:
        """Whether the loss of a token is the same whatever the target's next token is."""
        weighs_reference = self.objective in ("forward_kd", "reverse_kd", "skew_teacher")
        return self.objective in REFERENCE_FREE and not (weighs_reference and self.lam != 1)

    def kind(self) -> str:
        """Its objective; seq_kd or seq_inter where that is NLL of the teacher's text."""
        if self.objective == "sft" and self.text != "reference":
            return "seq_kd" if self.text == "teacher" else "seq_inter"
        return self.objective

    def constant_lam(self) -> float:
        """λ, or its default."""
        if self.lam is not None:
            return self.lam
        return 0.2 if self.objective == "atkd" else 0.5

    def constant_beta(self) -> float:
        """β where no schedule changes it."""
        if isinstance(self.beta, float):
            return self.beta
        return 0.9 if self.objective == "skew_teacher" else 0.5

    def constant_gamma(self) -> float:
        """Γ where no rule changes it; of a rule, where it begins."""
        if isinstance(self.gamma, float):
            return self.gamma
        return self.gamma.start if self.gamma.rule in ("linear", "cosine") else 0.4

    def constant_alpha(self) -> float:
        """α, or its default."""
        if self.alpha is not None:
            return self.alpha
        return 0.5 if self.objective == "word_kd" else 0.1
