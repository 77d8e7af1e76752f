"""How systems translate, and how they are judged and shown."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from evokd.recipe.engines import ENGINES, OWN, check_engine
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS, add_metric
from evokd.recipe.section import Section
from evokd.recipe.validation import one_of

Metric = Annotated[str, one_of("metric", lambda: METRICS, add_metric)]


class DecodingSettings(Section):
    engine: Annotated[str, one_of("engine", lambda: ENGINES)] = OWN
    """What translates the test sets and writes the teacher's text."""
    precision: Literal["auto", "int8"] = "auto"
    """Of the engine's weights; auto: the model's own number format."""
    beam: int = Field(default=1, ge=1)
    batch_size: int = Field(default=64, ge=1)
    """Most lines at once."""
    batch_tokens: int = Field(default=8192, ge=1)
    """Most tokens at once, prompts and answers at their caps together."""
    extra_tokens: int = Field(default=16, ge=1)
    tokens_per_source_token: float = Field(default=2.0, gt=0)
    """An output is cut at extra_tokens + tokens_per_source_token × source tokens."""
    length_penalty: float = 1.0

    @model_validator(mode="after")
    def _engine_can(self) -> DecodingSettings:
        check_engine(self.engine, self.precision, {"decoding.beam": self.beam})
        return self

    def identity(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """What of it makes other translations. Engine and precision are named where they aren't the
        default, so that what was made before there were any stays what it is."""
        later = [key for key in ("engine", "precision") if getattr(self, key) == _DEFAULTS[key]]
        return self.model_dump(mode="json", exclude={*exclude, *later})


_DEFAULTS = {key: field.default for key, field in DecodingSettings.model_fields.items()}


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
    """Of the paired bootstrap; the randomization has ten times as many trials."""
    test: Literal["bootstrap", "randomization"] = "bootstrap"
    """What decides † and ‡: the bootstrap of each seed, or the randomization of all pooled."""
    correction: Literal["none", "holm"] = "none"
    """Of the p-values of all systems in a column of the table."""

    def identity(self) -> dict[str, Any]:
        """What of it makes other results: without later keys, where they have their defaults."""
        fields = type(self).model_fields
        later = [k for k in ("test", "correction") if getattr(self, k) == fields[k].default]
        return self.model_dump(mode="json", exclude=set(later))


class ReportSettings(Section):
    title: str | None = None
    examples: int = Field(default=20, ge=0)
    """Test sentences that the page shows side by side."""
    license: str | None = None
    """Of the students, for their cards, by the hub's name: apache-2.0. Mind the teacher's and the
    text's."""

    def identity(self) -> dict[str, Any]:
        """What of it makes other results. A license is named where there is one, so that what was
        made before it could be stays what it is."""
        return self.model_dump(mode="json", exclude={"license"} if self.license is None else None)
