"""How systems translate, and how they are judged and shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from evokd.recipe.metrics import DEFAULT_METRICS, METRICS, add_metric
from evokd.recipe.section import Section
from evokd.recipe.validation import one_of

Metric = Annotated[str, one_of("metric", lambda: METRICS, add_metric)]


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


class AnalysisSettings(Section):
    """What is measured of each system beside its scores; each takes time."""

    beams: tuple[PositiveInt, ...] = ()
    """Further beam sizes that the test sets are translated with."""
    likelihood: bool = False
    """Perplexity of the references, and the probability of each system's own best translation."""
    acceptance: bool = False
    """Each student as a draft of the teacher's: the share of its tokens that the teacher takes."""


class ScoringSettings(Section):
    metrics: tuple[Metric, ...] = Field(default=DEFAULT_METRICS, min_length=1)
    baseline: str | None = None
    """System that all others are compared with; default: forward_kd, else sft, else the first."""
    bootstrap_samples: int = Field(default=1000, ge=10)


class ReportSettings(Section):
    title: str | None = None
    examples: int = Field(default=20, ge=0)
    """Test sentences that the page shows side by side."""
