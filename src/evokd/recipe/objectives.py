"""What exists, each a row of a table: objectives, rules for Γ and β, weights of pairs. No torch.

Recipe, command line, report, documentation and trainer read these tables. An objective is a row
here and a function of the same name in `evokd.distil.objectives`; a rule for Γ is a row here and
one in `evokd.distil.train.schedules`. Rows may come from outside (`docs/method.md`, "An objective
of one's own"); those of `evokd_extras` do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from evokd.recipe.code import is_address, load_function
from evokd.recipe.section import Section
from evokd.recipe.validation import check_known, explain, one_kind_of

IGNORED = -100
"""Label of a position that has no loss (prompt, padding)."""
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[
    Share | Literal["difficulty"], one_kind_of(lambda: "a number from 0 to 1 or difficulty")
]


class ObjectiveSettings(Section):
    """The papers' symbols, which are the titles. Defaults are those of Song et al. 2024; where an
    objective has its own, they are in its `ObjectiveSpec`."""

    lam: Share = Field(default=0.5, title="λ")
    """λ: weight of the teacher in the target (Eq. 4) and of the KL term (Eq. 3); of easy tokens in
    atkd."""
    target_lam: Share | None = None
    """λ of Eq. 4, so that of d, in atkd, where `lam` is something else."""
    beta: Beta = Field(default=0.5, title="β")
    """β: weight of the student in the proxy (Eq. 6 and 10), of the teacher in jsd; difficulty:
    Γ / (Γ + d) of each token."""
    gamma: float = Field(default=0.4, title="Γ", allow_inf_nan=True)
    """Γ: difficulty in nats above which a token is hard."""
    top_percent: float = Field(default=50.0, ge=0, le=100, title="top %")
    """Share of tokens that objectives which rank them choose, in percent."""
    gate: Literal["hard", "smooth", "inverted", "vouched"] = "hard"
    """hard: the proxy where d > Γ; vouched: the proxy where d > Γ and the teacher disbelieves the
    reference; smooth: σ((d − Γ)/τ) of the proxy's loss and the rest of the student's; inverted:
    the proxy where d ≤ Γ, a control."""
    doubt: float = Field(default=2.0, ge=0, allow_inf_nan=True)
    """δ: surprisal −ln p(y), in nats, above which the teacher disbelieves the reference, if it is
    also above what the teacher expects, its entropy H(p)."""
    tau: float = Field(default=0.2, gt=0)
    """τ: how many nats the smooth gate is wide."""
    difficulty: Literal["kl", "js", "reverse_kl", "nll"] = "kl"
    """What is compared with Γ: kl, d = KL(ỹ‖q) itself; js, their Jensen–Shannon divergence;
    reverse_kl, KL(q‖ỹ); nll, −ln q(y)."""
    alpha: Share = Field(default=0.1, title="α")
    """α: what skl and srkl mix in; weight of the teacher in word_kd."""
    mu: Share = Field(default=0.5, title="μ")
    """μ: mass of akl's head."""
    smoothing: float = Field(default=0.1, ge=0, lt=1, title="ε")
    """Label smoothing of selective_kd's NLL."""
    queue: int = Field(default=0, ge=0, title="queue")
    """Tokens that selective_kd ranks against; 0: those of the batch."""
    averaging: Literal["groups", "all"] = Field(default="groups", title="averaging")
    """atkd: means of easy and hard tokens apart (groups), or one over all of them."""

    @field_validator("gamma")
    @classmethod
    def _is_a_number(cls, gamma: Any) -> Any:
        if gamma != gamma:  # above which no d is, nor below: no gate at all
            raise ValueError("found nan; a number is accepted")
        return gamma


@dataclass(frozen=True)
class ObjectiveSpec:
    """What is known of an objective besides its equation."""

    formula: str
    """Loss of a response token, in nats."""
    source: str
    settings: tuple[str, ...] = ()
    """Fields of `ObjectiveSettings` that it reads; the others would only mislead."""
    defaults: Mapping[str, float] = field(default_factory=dict)
    """Where they differ from those of `ObjectiveSettings`."""
    needs_teacher: bool = True
    reads_reference: Literal["always", "below lam 1", "never"] = "always"
    """Whether its loss depends on the reference token; what doesn't takes text of any origin."""
    ranked_by: tuple[str, ...] = ()
    """Attributes of `evokd.distil.tokens.Tokens` by which it ranks all tokens of a batch."""

    def needs_reference(self, lam: float | None) -> bool:
        """Whether the reference counts at this λ; None: the default one."""
        lam = self.defaults.get("lam", ObjectiveSettings().lam) if lam is None else lam
        return self.reads_reference == "always" or (self.reads_reference != "never" and lam != 1)


OBJECTIVES: dict[str, ObjectiveSpec] = {
    "sft": ObjectiveSpec("−ln q(y)", "Eq. 2", needs_teacher=False),
    "forward_kd": ObjectiveSpec(
        "(1 − λ)(−ln q(y)) + λ KL(p‖q)", "Eq. 3", ("lam",), reads_reference="below lam 1"
    ),
    "reverse_kd": ObjectiveSpec(
        "(1 − λ)(−ln q(y)) + λ KL(q‖p)", "section 4.3", ("lam",), reads_reference="below lam 1"
    ),
    "noevo": ObjectiveSpec("KL(ỹ‖q) = d, ỹ = (1 − λ) y + λ p", "Eq. 4, 5, 8", ("lam",)),
    "skew": ObjectiveSpec("KL(ỹ‖q̂), q̂ = β q + (1 − β) ỹ", "Eq. 6, 7", ("lam", "beta")),
    "skew_teacher": ObjectiveSpec(
        "(1 − λ)(−ln q(y)) + λ KL(p‖β q + (1 − β) p)",
        "Eq. 10",
        ("lam", "beta"),
        {"beta": 0.9},
        reads_reference="below lam 1",
    ),
    "self_evolution": ObjectiveSpec(
        "KL(ỹ‖q̂) where d > Γ, KL(ỹ‖q) elsewhere",
        "Eq. 9",
        ("lam", "beta", "gamma", "gate", "doubt", "tau", "difficulty"),
    ),
    "self_evolution_topk": ObjectiveSpec(
        "the same, the K % largest d being hard",
        "section 5.2.1",
        ("lam", "beta", "top_percent"),
        ranked_by=("difficulty",),
    ),
    "word_kd": ObjectiveSpec(
        "(1 − α)(−ln q(y)) + α CE(p, q)", "Kim and Rush 2016", ("alpha",), {"alpha": 0.5}
    ),
    "atkd": ObjectiveSpec(
        "easy: λ DKD; hard: (1 − λ)(TKD + DKD), each a mean of its group",
        "Zhong et al. 2024",
        ("lam", "target_lam", "top_percent", "averaging"),
        {"lam": 0.2, "target_lam": 0.5},
        # ranks as 1 − p(y) does, and tells apart what float32 rounds to 0 or 1
        ranked_by=("uncertainty",),
    ),
    "skl": ObjectiveSpec(
        "KL(p‖α p + (1 − α) q)", "DistiLLM, Ko et al. 2024", ("alpha",), reads_reference="never"
    ),
    "srkl": ObjectiveSpec(
        "KL(q‖(1 − α) p + α q)", "DistiLLM, Ko et al. 2024", ("alpha",), reads_reference="never"
    ),
    "jsd": ObjectiveSpec(
        "β KL(p‖m) + (1 − β) KL(q‖m), m = β p + (1 − β) q",
        "GKD, Agarwal et al. 2024",
        ("beta",),
        reads_reference="never",
    ),
    "akl": ObjectiveSpec(
        "w KL(p‖q) + (1 − w) KL(q‖p), w: share of Σ|p − q| in the head of p, of mass μ",
        "Wu et al. 2025",
        ("mu",),
        reads_reference="never",
    ),
    "selective_kd": ObjectiveSpec(
        "label-smoothed −ln q(y), and KL(p‖q) where −ln q(y) is largest",
        "Wang et al. 2021",
        ("top_percent", "smoothing", "queue"),
        ranked_by=("nll",),
    ),
    "tip": ObjectiveSpec(
        "KL(q‖p) where 1 − (1 − h)(1 − d) is largest, its mean",
        "TIP, Xu et al. 2026",
        ("top_percent",),
        reads_reference="never",
        ranked_by=("entropy", "reverse_kl"),
    ),
}
BUILT_IN = frozenset(OBJECTIVES)
PRESETS: dict[str, dict[str, Any]] = {
    "seq_kd": {"objective": "sft", "text": "teacher"},
    "seq_inter": {"objective": "sft", "text": "nearest", "start": "seq_kd"},
    "vouched": {"objective": "self_evolution", "gate": "vouched"},
    "auto": {"objective": "self_evolution", "gate": "vouched", "open": True},
}
"""Methods that are an objective on another text (Kim and Rush 2016) or with other settings; auto is
what the check before training advises."""
GATE_OF = {"doubt": "vouched", "tau": "smooth"}
"""The gate that alone reads a setting."""
PRESET_SOURCES = {
    "seq_kd": "Kim and Rush 2016",
    "seq_inter": "Kim and Rush 2016",
    "vouched": "docs/method.md",
    "auto": "docs/regimes.md",
}
TEXT_PRESETS = {name for name, preset in PRESETS.items() if "text" in preset}


@dataclass(frozen=True)
class GammaRuleSpec:
    """What is known of a rule that sets Γ from step to step."""

    summary: str
    settings: tuple[str, ...]
    """Fields of `GammaRule` that it reads."""
    first: str = ""
    """The one of them that is Γ of the first step; without one that is the paper's."""


GAMMA_RULES: dict[str, GammaRuleSpec] = {
    "quantile": GammaRuleSpec(
        "so that hard_share of a micro-batch's tokens are hard", ("hard_share",)
    ),
    "running_quantile": GammaRuleSpec(
        "so that hard_share of the last tokens, as many as memory, were hard",
        ("hard_share", "memory"),
    ),
    "running_mean": GammaRuleSpec(
        "mean + k standard deviations of the last tokens' difficulties", ("k", "memory")
    ),
    "linear": GammaRuleSpec(
        "from start to end over the optimizer steps", ("start", "end"), "start"
    ),
    "cosine": GammaRuleSpec("the same, along half a cosine", ("start", "end"), "start"),
}


@dataclass(frozen=True)
class Extra:
    """A part of a method that lives outside the main path; its module is imported where a recipe
    asks for it."""

    module: str
    section: type[Section] = Section
    """Its settings in a recipe."""


BETA_RULES: dict[str, Extra] = {}
"""Words that may stand for β in self_evolution, beside "difficulty". The module has
`method_part(method, seed)`, a `evokd.distil.train.method_state.MethodPart` that gives each token a
β."""
PAIR_WEIGHTS: dict[str, Extra] = {}
"""Keys of a method that weigh its training pairs. The module has `pair_weights(PairsToWeigh,
settings)`, a weight for each pair, their mean 1."""


def add_objective(address: str) -> None:
    """A row for the function at `package.module:name`, from `evokd.distil.tokens.Tokens` to a loss
    per token; it may carry one, as its `spec`.

    Raises:
        ValueError: there is no such function.
    """
    function = load_function(address)
    formula = (function.__doc__ or address).strip().splitlines()[0]
    usual = ObjectiveSpec(formula, address, ("lam", "beta", "alpha", "mu"))
    OBJECTIVES[address] = getattr(function, "spec", usual)


def spec_of(objective: str) -> ObjectiveSpec:
    """Raises ValueError: an objective that isn't known, or a method of recipes."""
    if is_address(objective) and objective not in OBJECTIVES:
        add_objective(objective)
    if objective in PRESETS and objective not in OBJECTIVES:
        keys = PRESETS[objective]
        own = [f", {k}={v!r}" for k, v in keys.items() if k in ObjectiveSettings.model_fields]
        raise ValueError(
            f"{objective!r} is of recipes, where it stands for {{{stands_for(objective)}}}; here "
            f"type {keys['objective']!r}{''.join(own)}"
        )
    return OBJECTIVES[check_known("objective", objective, OBJECTIVES)]


def objective_settings(objective: str | Callable[..., Any], **settings: Any) -> ObjectiveSettings:
    """An objective's defaults, with `settings` laid over them; a function may read any of them.

    Raises:
        ValueError: an objective or a setting that isn't known, or one out of its range, or a gate
            that the objective hasn't.
    """
    spec = spec_of(objective) if isinstance(objective, str) else OBJECTIVES["self_evolution"]
    if settings.get("target_lam") is not None and "target_lam" not in spec.settings:
        raise ValueError(f"target_lam is of atkd; the target of {objective} has lam")
    try:
        made = ObjectiveSettings.model_validate({**spec.defaults, **settings})
    except ValidationError as error:
        raise ValueError("\n".join(explain(error, ObjectiveSettings))) from None
    if isinstance(objective, str):
        check_gate(objective, made)
    return made


def check_gate(objective: str, settings: ObjectiveSettings) -> None:
    """Raises ValueError: a setting of a gate that the objective hasn't, or of another gate."""
    spec, usual = OBJECTIVES[objective], ObjectiveSettings()
    for key in ("gate", "difficulty", *GATE_OF):
        found, default, gate = getattr(settings, key), getattr(usual, key), GATE_OF.get(key)
        if found == default:
            continue
        if key not in spec.settings:
            raise ValueError(
                f"{key} is a setting of self_evolution; the objective is {objective}. Leave {key} "
                f"out, or set it to {default}"
            )
        if gate and "gate" in spec.settings and gate != settings.gate:
            raise ValueError(
                f"{key}: found {found}, which is of gate: {gate}; the gate is {settings.gate}. "
                f"Type gate: {gate}, or leave {key} out"
            )


def stands_for(preset: str) -> str:
    """The keys of a method that a name in `PRESETS` is short for, as a recipe has them."""
    return ", ".join(f"{key}: {str(value).lower()}" for key, value in PRESETS[preset].items())


def method_names() -> tuple[str, ...]:
    """What a bare name in a recipe's methods may be."""
    return (*OBJECTIVES, *PRESETS)


def free_of_references() -> str:
    """The objectives that take text without references, in words."""
    never = [name for name, spec in OBJECTIVES.items() if spec.reads_reference == "never"]
    at_one = [name for name, spec in OBJECTIVES.items() if spec.reads_reference == "below lam 1"]
    return f"{', '.join(sorted(never))}, and at lam 1 {', '.join(sorted(at_one))}"


def objectives_table() -> list[dict[str, str]]:
    """A row for each objective and short form, as documentation and `evokd methods` show them."""
    rows = []
    for name, spec in OBJECTIVES.items():
        settings = objective_settings(name)
        used = [f"{key}={value}" for key in spec.settings if (value := getattr(settings, key))]
        rows.append(
            {
                "objective": name,
                "loss of a response token": spec.formula,
                "settings": " ".join(used) or "–",
                "reference": {"never": "no", "below lam 1": "not at lam=1"}.get(
                    spec.reads_reference, "yes"
                ),
                "source": spec.source,
            }
        )
    for name, keys in PRESETS.items():
        row = {"objective": name, "loss of a response token": f"short for {{{stands_for(name)}}}"}
        row |= {"settings": f"those of {keys['objective']}", "reference": "–"}
        rows.append(row | {"source": PRESET_SOURCES.get(name, "–")})
    return rows
