"""Where things are in a run folder, and what stands there: translators, and a teacher's signal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evokd.rundir.stage import Stage


class Paths:
    """Names of files and folders in a run folder, and what they hold."""

    def __init__(self, folder: Path) -> None:
        self.recipe = folder / "recipe.yaml"  # with all defaults
        self.corpus = folder / "corpus"  # clean text: training, validation, tests
        self.tokenizer = folder / "tokenizer"  # of fresh models
        self.teacher_model = folder / "teacher/model"
        self.init_model = folder / "start/model"  # what all students start from
        self.sanity_check = folder / "gate"  # is the teacher better than the students' start?
        self.teacher_text = folder / "teacher_text"  # KIND/: what the teacher translated
        self.filtered = folder / "filtered"  # training text that the teacher believes
        self.quantized = folder / "quantized"  # how far the quantized teacher is from itself
        self.encoded = folder / "encoded"  # token ids of large text
        self.surprisal = folder / "surprisal"  # how much pairs surprise the teacher
        self.cache = folder / "cache"  # hidden/, topK/: the teacher's signal for each token
        self.students = folder / "students"  # NAME.seedN/
        self.translations = folder / "translations"  # TEST.DIRECTION.SYSTEM.txt and .json
        self.analysis = folder / "analysis"  # SYSTEM.json
        self.exports = folder / "exports"  # NAME.seedN/FORMAT/
        self.results = folder / "results.json"


@dataclass
class System(Stage):
    """A translator of the study and the stage that makes it."""

    system: str = "teacher"
    seed: int | None = None

    @property
    def label(self) -> str:
        return self.system if self.seed is None else f"{self.system}.seed{self.seed}"


@dataclass(frozen=True)
class TeacherSource:
    """What students learn from: a `TeacherSignal`, the tokenizer of its ids, and where it is."""

    signal: Any
    tokenizer: Any
    description: str

    def shared_vocabulary(self, student: Any) -> Any:
        """What it has in common with a student (`models.vocabulary.shared_vocabulary`)."""
        from evokd.models.lm_head import head_of
        from evokd.models.vocabulary import shared_vocabulary

        width = head_of(student.model).weight.shape[0]
        return shared_vocabulary(self.tokenizer, self.signal.width, student.tokenizer, width)
