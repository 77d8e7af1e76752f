"""The metrics that exist, one row each: recipes, the command line, scoring and the report read it.

A metric is added by a row here and by the function of `evaluate.scores` that the row names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from evokd.recipe.code import load_function, name_in

BLEU_VS_TEACHER = "bleu_vs_teacher"
"""BLEU with the teacher's outputs as references: scored wherever there is a teacher."""
AVERAGE = "average"
"""The direction of means over all directions."""


@dataclass(frozen=True)
class MetricSpec:
    """One metric, as far as it is known before anything is scored.

    label: its name in tables and figures. sacrebleu_label: its name in front of a signature, as
    sacreBLEU writes it, if that differs. scorer: makes the metric from (target language,
    references, BLEU's tokenizer), see `evaluate.scores`; a function, or "module:function", which
    is imported when something is scored.
    """

    label: str
    scorer: str | Callable[..., Any]
    sacrebleu_label: str | None = None
    lower_is_better: bool = False

    def load_scorer(self) -> Callable[..., Any]:
        """The function that makes the metric."""
        return self.scorer if callable(self.scorer) else resolve_name(self.scorer)


METRICS = {
    "bleu": MetricSpec("BLEU", "evokd.evaluate.scores:bleu"),
    "chrf": MetricSpec("chrF", "evokd.evaluate.scores:chrf", "chrF2"),
    "chrf++": MetricSpec("chrF++", "evokd.evaluate.scores:chrf_plus_plus", "chrF2++"),
    "ter": MetricSpec("TER", "evokd.evaluate.scores:ter", lower_is_better=True),
}
BUILT_IN = frozenset(METRICS)
DEFAULT_METRICS = ("bleu", "chrf")


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
