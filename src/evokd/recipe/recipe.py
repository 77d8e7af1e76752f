"""The whole recipe, and what its sections ask of each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, ValidationError, field_validator, model_validator

from evokd.recipe.corpus import CorpusSettings
from evokd.recipe.judging import AnalysisSettings, DecodingSettings, ReportSettings, ScoringSettings
from evokd.recipe.methods import MethodSettings
from evokd.recipe.models import CutModel, StudentSettings, TeacherSettings, TokenizerSettings
from evokd.recipe.section import Section, as_list
from evokd.recipe.training import (
    PruningSettings,
    TeacherTextSettings,
    TrainingSettings,
    pruned_name,
)
from evokd.recipe.validation import explain, unknown

DIRECTION = re.compile(r"^[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?-[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?$")


class Recipe(Section):
    """A whole study."""

    name: str = Field(min_length=1)
    directions: tuple[str, ...] = Field(min_length=1)
    corpus: CorpusSettings
    prompt: str = "parrot"
    """A name in `data.prompts.PROMPTS`, or the path of a template file."""
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
    plugins: tuple[str, ...] = ()
    """Python modules that register objectives, formats or prompts of their own; imported first."""

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

    @field_validator("directions", "methods", "seeds", "plugins", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return as_list(value)

    @model_validator(mode="after")
    def _names_fit(self) -> Recipe:
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
        _distinct("seed", [str(s) for s in self.seeds])
        systems = ["teacher", *self.students()]
        if self.scoring.baseline is not None and self.scoring.baseline not in systems:
            raise ValueError(
                "scoring.baseline: " + unknown("system", self.scoring.baseline, systems)
            )
        beams = (self.decoding.beam, *self.analysis.beams)
        if len(set(beams)) < len(beams):
            raise ValueError(
                f"analysis.beams: {list(self.analysis.beams)} are to be different ones, beside "
                f"decoding.beam, which is {self.decoding.beam}"
            )
        return self

    @model_validator(mode="after")
    def _cut_fits(self) -> Recipe:
        if self.teacher.model == "cut":
            raise ValueError("teacher.model: cut is for students, which are cut from the teacher")
        if self.student.cut != CutModel() and self.student.model != "cut":
            raise ValueError(
                f"student.cut is of model: cut; student.model is {self.student.model!r}. Type "
                "student.model=cut, or leave student.cut out"
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
        return self

    @model_validator(mode="after")
    def _directions_are_known(self) -> Recipe:
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
        return self

    @model_validator(mode="after")
    def _overrides_are_training_keys(self) -> Recipe:
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
        used = {method.text for method in self.methods}
        kinds: tuple[Literal["teacher", "nearest"], ...] = ("teacher", "nearest")
        return [kind for kind in kinds if kind in used]

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
        candidates = (self.scoring.baseline, "forward_kd", "sft", names[0])
        return next(name for name in candidates if name in ("teacher", *names))

    def languages(self) -> list[str]:
        """Every language of the study, in order of appearance."""
        return list(dict.fromkeys(code for d in self.directions for code in d.split("-")))


def _distinct(what: str, names: Sequence[str]) -> Any:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} appears twice; give each a name of its own")
    return names
