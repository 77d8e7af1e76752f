"""The whole recipe, and what its sections ask of each other."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    field_validator,
    model_validator,
)

from evokd.recipe.corpus import CorpusSettings
from evokd.recipe.engines import ENGINES, OWN, check_engine
from evokd.recipe.exports import ExportSettings
from evokd.recipe.judging import AnalysisSettings, DecodingSettings, ReportSettings, ScoringSettings
from evokd.recipe.methods import NAME, MethodSettings, TeacherText
from evokd.recipe.models import CutModel, StudentSettings, TeacherSettings, TokenizerSettings
from evokd.recipe.objectives import PRESETS
from evokd.recipe.section import Section, as_list
from evokd.recipe.sweep import SweepSettings
from evokd.recipe.training import (
    PruningSettings,
    TeacherTextSettings,
    TrainingSettings,
    optimizer_problem,
)
from evokd.recipe.validation import check_known

DIRECTION = re.compile(r"^[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?-[A-Za-z]{2,3}([_@.][A-Za-z0-9]+)?$")


def _checked_direction(direction: str) -> str:
    source, _, target = direction.partition("-")
    if not DIRECTION.match(direction) or source == target:
        raise ValueError(f"{direction!r} is no direction; SOURCE-TARGET such as en-de is accepted")
    return direction


def _checked_places(places: Any) -> Any:
    """Those on an axis of the grid, by names that folders may have."""
    if not isinstance(places, dict):
        return places
    if not places:
        raise ValueError("found nothing; name a place and what differs there, {} if nothing does")
    names = list(map(str, places))
    for place, name in zip(places, names, strict=True):
        if isinstance(place, bool):
            raise ValueError(
                f"found a place {place}; put its name in quotes: YAML takes a bare no, yes, on or "
                "off for a truth"
            )
        if not NAME.match(name):
            raise ValueError(f"{name!r} can't name a folder; letters, digits and _ are accepted")
        if names.count(name) > 1:
            raise ValueError(f"{name!r} appears twice; give each place a name of its own")
    return dict(zip(names, places.values(), strict=True))


Places = Annotated[dict[str, dict[str, Any]], BeforeValidator(_checked_places)]
"""Place on an axis of the grid → settings that differ there."""


class StudentKind(NamedTuple):
    """What students of one name have in common, whatever their seed."""

    method: MethodSettings
    training: TrainingSettings
    level: float | None = None
    """Share of the finished student's weights that are pruned before this training."""


class Recipe(Section):
    """A whole study."""

    name: str = Field(min_length=1)
    directions: tuple[Annotated[str, AfterValidator(_checked_direction)], ...] = Field(min_length=1)
    corpus: CorpusSettings
    prompt: str = "parrot"
    """A name in `data.prompts.PROMPTS`, or the path of a template file."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    teacher: TeacherSettings
    student: StudentSettings
    methods: tuple[MethodSettings, ...] = Field(min_length=1)
    sweep: tuple[SweepSettings, ...] = ()
    """Methods at many settings; `methods` holds what they stand for, too."""
    seeds: tuple[NonNegativeInt, ...] = Field(default=(1,), min_length=1)
    training: TrainingSettings = TrainingSettings()
    teacher_text: TeacherTextSettings = TeacherTextSettings()
    decoding: DecodingSettings = DecodingSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    pruning: PruningSettings = PruningSettings()
    scoring: ScoringSettings = ScoringSettings()
    report: ReportSettings = ReportSettings()
    exports: tuple[ExportSettings, ...] = ()
    """What each student is exported to."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    plugins: tuple[str, ...] = ()
    """Python modules that register objectives, formats or prompts of their own; imported first."""
    grid: dict[str, Places] = Field(default={})
    """Axis → place on it → settings that differ there. The recipe then stands for a study at each
    point, one place on each axis (`recipe.file.points`)."""

    @field_validator("directions", "methods", "sweep", "seeds", "exports", "plugins", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return as_list(value)

    @model_validator(mode="after")
    def _names_fit(self) -> Recipe:
        names = tuple(m.name for m in self.methods)
        once: dict[str, tuple[Any, ...]] = {
            "directions": self.directions,
            "methods": names,
            "seeds": self.seeds,
            "scoring.metrics": self.scoring.metrics,
            "exports": tuple(one.label for one in self.exports),
        }
        for place, values in once.items():
            for i, value in enumerate(values):
                if value in values[:i]:
                    advice = "; give each a name of its own" if place == "methods" else ""
                    raise ValueError(f"{place}: {value!r} appears twice{advice}")
        for i, method in enumerate(self.methods):
            if method.start is not None and method.start not in names[:i]:
                known = ", ".join(names[:i]) or "none"
                raise ValueError(
                    f"methods.{method.name}.start: {method.start!r} is no method that stands "
                    f"before it; those are: {known}. Put {method.start} into the list above it, or "
                    "give it another start"
                )
        for name in self.pruning.methods:
            check_known("method", name, names, "pruning.methods: ")
        if self.scoring.baseline is not None:
            systems = ("teacher", *self.students())
            check_known("system", self.scoring.baseline, systems, "scoring.baseline: ")
        if self.grid and "bleu" not in self.scoring.metrics:
            raise ValueError("grid: its map is of BLEU; add bleu to scoring.metrics")
        beams = (self.decoding.beam, *self.analysis.beams)
        if len(set(beams)) < len(beams):
            raise ValueError(
                f"analysis.beams: {list(self.analysis.beams)} are to be different ones, beside "
                f"decoding.beam, which is {self.decoding.beam}"
            )
        return self

    @model_validator(mode="after")
    def _engine_can(self) -> Recipe:
        asked = {"analysis.beams": max(self.analysis.beams, default=1)}
        if "teacher" in self.texts():
            asked["teacher_text.beam"] = self.teacher_text.beam
        if "nearest" in self.texts():
            asked["teacher_text.candidates"] = self.teacher_text.candidates
        engine, bits = self.decoding.engine, self.teacher.quantize
        check_engine(engine, self.decoding.precision, asked)
        if bits != "none" and not ENGINES[engine].quantized:
            raise ValueError(
                f"teacher.quantize: found {bits}; engine {engine} takes whole weights only, so "
                f"none is accepted, or decoding.engine={OWN}"
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
        if self.student.prunes_vocabulary and self.teacher.signal == "topk":
            raise ValueError(
                "teacher.signal: topk holds probabilities over the teacher's whole vocabulary, and "
                "student.cut.vocabulary: corpus is a part of it; take signal: hidden or live"
            )
        if self.student.prunes_vocabulary and self.analysis.acceptance:
            raise ValueError(
                "analysis.acceptance: a draft speaks in its teacher's tokens, and students with "
                "student.cut.vocabulary: corpus have numbers of their own; take vocabulary: all"
            )
        return self

    @model_validator(mode="after")
    def _adapters_fit(self) -> Recipe:
        fresh = {
            "teacher": self.teacher.model == "fresh",
            "student": self.student.model == "fresh" and not self.student.warm_start_steps,
        }
        for place, begins_at_random in fresh.items():
            if getattr(self, place).adapters is not None and begins_at_random:
                raise ValueError(
                    f"{place}.lora: adapters change a model that is there, and {place}.model: "
                    "fresh is random weights; leave lora out"
                    + (", or warm it up (student.warm_start_steps)" * (place == "student"))
                )
        if self.student.adapters is not None and self.pruning.methods:
            raise ValueError(
                "pruning.methods: what is set to 0 would come back with the adapters of "
                "student.lora; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _optimizers_fit(self) -> Recipe:
        for place, (training, is_adapter) in self.trainings().items():
            format_ = "float32" if is_adapter else training.weights
            if problem := optimizer_problem(training.optimizer, format_):
                raise ValueError(f"training of {place}: {problem}")
            if (training.weights, training.precision) == ("bfloat16", "float32"):
                raise ValueError(
                    f"training of {place}: precision: float32 is of weights in float32, and these "
                    "are in bfloat16, as is what they are multiplied with; take precision: auto"
                )
        return self

    @model_validator(mode="after")
    def _directions_are_known(self) -> Recipe:
        corpus, named = self.corpus, [("corpus.weights: ", tuple(self.corpus.weights))]
        for part in ("train", "valid", "test"):
            for i, source in enumerate(getattr(corpus, part)):
                named.append((f"corpus.{part}.{i}.directions: ", source.directions or ()))
        for i, text in enumerate(corpus.unpaired):
            named.append((f"corpus.unpaired.{i}.direction: ", (text.direction,)))
        for where, directions in named:
            for direction in directions:
                check_known("direction", direction, self.directions, where)
        backwards = ["-".join(reversed(direction.split("-"))) for direction in self.directions]
        lacking = [direction for direction in backwards if direction not in self.directions]
        if corpus.cleaning.by_teacher.by == "dual" and lacking:
            raise ValueError(
                f"corpus.cleaning.by_teacher.by: dual judges a pair both ways, and directions lack "
                f"{', '.join(lacking)}; add what is missing there, or take by: excess or nll"
            )
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

    @model_validator(mode="after")
    def _methods_know_their_text(self) -> Recipe:
        corpus = self.corpus
        told = corpus.held_out or any(source.use == "students" for source in corpus.train)
        told = told or not self.teacher.sft or corpus.cleaning.by_teacher.threshold is not None
        for method in self.methods:
            if method.text == "filtered" and not told:
                raise ValueError(
                    f"methods.{method.name}.text: filtered leaves out what the teacher disbelieves,"
                    " and it believes what it was trained on, which is all of corpus.train; hold "
                    "some of it back (corpus.held_out=500), train the teacher on other text (use: "
                    "models and use: students in corpus.train), take it as it is "
                    "(teacher.sft=false) or name a threshold (corpus.cleaning.by_teacher)"
                )
            found = {"objective": method.objective, "gate": method.gate, "text": method.text}
            if method.open and {**found, "open": True} != {**PRESETS["auto"], "text": "reference"}:
                raise ValueError(
                    f"methods.{method.name}: objective, gate and text are what the check before "
                    f"training advises; found {found}. Take objective: auto without these"
                )
            if method.name == "auto" and not method.open:
                raise ValueError(
                    f"methods.auto: found objective {method.objective}; auto is the method that "
                    "takes what is advised. Give this one another name"
                )
        return self

    def training_of(self, *overrides: TrainingSettings) -> TrainingSettings:
        """The training section with a model's and a method's own keys laid over it."""
        merged = self.training
        for override in overrides:
            merged = merged.model_copy(update=override.model_dump(exclude_unset=True))
        return merged

    def trainings(self) -> dict[str, tuple[TrainingSettings, bool]]:
        """What is trained → by which settings, and whether adapters alone are."""
        teacher, student = self.teacher, self.student
        found = {}
        if teacher.sft:
            found["teacher"] = self.training_of(teacher.training), teacher.adapters is not None
        if student.warm_start_steps:
            warm_up = self.training_of(student.training, student.warm_start_training)
            found["student.warm_start_training"] = warm_up, self.warms_adapters_up
        for name, kind in self.students().items():
            found[f"methods.{name}"] = kind.training, student.adapters is not None
        return found

    @property
    def warms_adapters_up(self) -> bool:
        """Whether the students' start trains adapters as they do; random weights are trained in
        full."""
        return self.student.adapters is not None and self.student.model != "fresh"

    def sharding_problem(
        self, training: TrainingSettings, by_deepspeed: bool = False
    ) -> str | None:
        """Why fsdp2, or DeepSpeed's ZeRO-3, can't lay the models of a training out in parts; None:
        it can."""
        loras, optimizer = (self.student.adapters, self.teacher.adapters), training.optimizer
        refused = {
            "lora.quantize": any(one is not None and one.quantize != "none" for one in loras),
            "teacher.quantize": self.teacher.quantize != "none",
            f"training.optimizer: {optimizer}": "8bit" in optimizer,
            "training.compile": training.compile,
        }
        if by_deepspeed:
            refused |= {
                f"training.optimizer: {optimizer}": optimizer != "adamw",
                f"training.weights: {training.weights}": training.weights != "float32",
                "pruning.methods": bool(self.pruning.methods),
                "on_policy": any(method.on_policy for method in self.methods),
            }
        found = [what for what, holds in refused.items() if holds]
        if not found:
            return None
        name = "DeepSpeed ZeRO-3" if by_deepspeed else "training.sharding: fsdp2"
        return f"{name} doesn't go with {' and '.join(found)}; take ddp, or leave that out"

    def method(self, name: str) -> MethodSettings:
        """The settings of one method."""
        return next(m for m in self.methods if m.name == name)

    def texts(self) -> list[TeacherText]:
        """Kinds of teacher text that methods are trained on."""
        used = {method.text for method in self.methods}
        return [kind for kind in get_args(TeacherText) if kind in used]

    def students(self) -> dict[str, StudentKind]:
        """Every kind of student by its system's name, pruned ones last."""
        common = self.student.training
        kinds = {m.name: StudentKind(m, self.training_of(common, m.training)) for m in self.methods}
        for method in map(self.method, self.pruning.methods):
            training = self.training_of(common, method.training, self.pruning.training)
            for level in self.pruning.levels:
                name = f"{method.name}_pruned{f'{100 * level:g}'.replace('.', '_')}"
                kinds[name] = StudentKind(method, training, level)
        return kinds

    def baseline(self) -> str:
        """The system that the others are compared with."""
        names = list(self.students())
        candidates = (self.scoring.baseline, "forward_kd", "sft", names[0])
        return next(name for name in candidates if name in ("teacher", *names))

    def compared(self) -> list[str]:
        """Methods of sweeps, and those that are swept: the best is chosen on validation."""
        names = {sweep.of for sweep in self.sweep if isinstance(sweep.of, str)}
        return [m.name for m in self.methods if m.swept or m.name in names]

    def languages(self) -> list[str]:
        """Every language of the study, in order of appearance."""
        return list(dict.fromkeys(code for d in self.directions for code in d.split("-")))
