"""The metrics that exist, one row each: recipes, the command line, scoring and the report read it.

A metric is added by a row here and by the function of `evaluate.scores` that the row names. Those
that are models of their own are run by `evaluate.neural`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from evokd.recipe.code import load_function, name_in

BLEU_VS_TEACHER = "bleu_vs_teacher"
"""BLEU with the teacher's outputs as references: scored wherever there is a teacher."""
AVERAGE = "average"
"""The direction of means over all directions."""
WORTH = "What a difference is worth to people: docs/evaluation.md (after Kocmi et al. 2024)."


@dataclass(frozen=True)
class MetricSpec:
    """One metric, as far as it is known before anything is scored.

    label: its name in tables and figures. sacrebleu_label: its name in front of a signature, as
    sacreBLEU writes it, if that differs. scorer: makes the metric from (target language,
    references, BLEU's tokenizer), see `evaluate.scores`; a function, or "module:function", which
    is imported when something is scored. needs: what a segment is judged by, beside the
    translation. model: on the hub, of a metric that is one; runner: what runs it, see
    `evaluate.neural_runner`; marian: its name for pymarian. scale: points that the model's 1 is.
    """

    label: str
    scorer: str | Callable[..., Any]
    sacrebleu_label: str | None = None
    lower_is_better: bool = False
    needs: tuple[str, ...] = ("reference",)
    model: str | None = None
    runner: str = "comet"
    marian: str | None = None
    scale: float = 100.0

    def load_scorer(self) -> Callable[..., Any]:
        """The function that makes the metric."""
        return self.scorer if callable(self.scorer) else resolve_name(self.scorer)


NEURAL = "evokd.evaluate.neural:SegmentMean"
METRICS = {
    "bleu": MetricSpec("BLEU", "evokd.evaluate.scores:bleu"),
    "chrf": MetricSpec("chrF", "evokd.evaluate.scores:chrf", "chrF2"),
    "chrf++": MetricSpec("chrF++", "evokd.evaluate.scores:chrf_plus_plus", "chrF2++"),
    "ter": MetricSpec("TER", "evokd.evaluate.scores:ter", lower_is_better=True),
    "comet": MetricSpec(
        "COMET",
        NEURAL,
        needs=("source", "reference"),
        model="Unbabel/wmt22-comet-da",
        marian="wmt22-comet-da",
    ),
    "cometkiwi": MetricSpec(
        "CometKiwi",
        NEURAL,
        needs=("source",),
        model="Unbabel/wmt22-cometkiwi-da",
        marian="wmt22-cometkiwi-da",
    ),
    "xcomet": MetricSpec(
        "xCOMET", NEURAL, needs=("source", "reference"), model="Unbabel/XCOMET-XL"
    ),
    "metricx": MetricSpec(
        "MetricX",
        NEURAL,
        lower_is_better=True,
        needs=("source", "reference"),
        model="google/metricx-24-hybrid-xl-v2p6",
        runner="metricx",
        scale=1.0,
    ),
}
BUILT_IN = frozenset(METRICS)
DEFAULT_METRICS = ("bleu", "chrf")


def counted(metrics: Iterable[str]) -> list[str]:
    """Those that need no model; where there is none of these, the default ones."""
    return [name for name in metrics if not describe(name).model] or list(DEFAULT_METRICS)


def add_metric(address: str) -> None:
    """A row for the function at `package.module:name`; it may carry one, as its `spec`.

    Raises:
        ValueError: there is no such function.
    """
    scorer = load_function(address)
    METRICS[address] = getattr(scorer, "spec", None) or MetricSpec(name_in(address), scorer)


def describe(metric: str) -> MetricSpec:
    """A metric's row. Results may hold metrics that have none here: these go by their own names."""
    if metric == BLEU_VS_TEACHER:
        return MetricSpec("BLEU vs teacher", METRICS["bleu"].scorer)
    return METRICS.get(metric) or MetricSpec(name_in(metric), scorer="")
