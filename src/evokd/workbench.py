"""What the stages of a study work with: its text, its models, and how to train one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evokd.errors import InputError
from evokd.recipe import MethodSettings, Recipe, TrainingSettings
from evokd.rundir import Stage
from evokd.text.corpus import Corpus
from evokd.text.prompts import Prompt
from evokd.text.store import load_corpus

DIAGNOSED_PAIRS = 400
"""Validation pairs on which difficulty is looked at, token by token."""


@dataclass
class Study:
    """What the stages share; models and text are loaded when somebody first asks for them."""

    recipe: Recipe
    folder: Path
    prompt: Prompt
    note: Callable[[str], None]
    _encoded: dict[tuple[str, str, int], Any] = field(default_factory=dict)

    @cached_property
    def corpus(self) -> Corpus:
        return load_corpus(self.folder / "corpus")

    @cached_property
    def device(self) -> Any:
        from evokd.models.loading import pick_device

        device, reason = pick_device(self.recipe.device)
        self.note(f"device: {device} ({reason})")
        return device

    @cached_property
    def teacher(self) -> Any:
        """The finished teacher, frozen."""
        from evokd.models.loading import load_translator, pick_dtype

        dtype, reason = pick_dtype(self.recipe.teacher.dtype, self.device)
        self.note(f"teacher: {str(dtype).removeprefix('torch.')} ({reason})")
        return load_translator(self.folder / "teacher/model", self.device, dtype, self.prompt)

    def encoded(self, split: str, tokenizer: Any, max_length: int) -> Any:
        """Training or validation text as token ids; what is too long is left out and counted."""
        from evokd.models import vocabulary
        from evokd.models.batches import encode_corpus

        key = split, vocabulary.fingerprint(tokenizer), max_length
        if key in self._encoded:
            return self._encoded[key]
        pairs = self.corpus.train if split == "train" else self.corpus.valid
        data, too_long = encode_corpus(pairs, tokenizer, self.prompt, max_length)
        if too_long:
            self.note(
                f"{split}: {too_long} of {len(pairs)} pairs are longer than {max_length} tokens "
                "and left out (training.max_length)"
            )
        if pairs and not len(data):
            raise InputError(f"no pair of {split} fits into training.max_length={max_length}")
        self._encoded[key] = data
        return data


@dataclass(frozen=True)
class System(Stage):
    """A translator of the study and the stage that makes it."""

    system: str = "teacher"
    seed: int | None = None

    @property
    def label(self) -> str:
        return self.system if self.seed is None else f"{self.system}.seed{self.seed}"


def train_student(
    study: Study,
    stage: System,
    student: Any,
    training: TrainingSettings,
    method: MethodSettings,
    seed: int,
    teacher: Any,
) -> dict[str, Any]:
    from evokd.distil.training import Training, train

    size = None
    if teacher is not None:
        shared = shared_vocabulary_of(teacher, student)
        size = shared.size
        if shared.teacher_size != shared.student_size:
            study.note(f"{stage.name}: {shared.note}")
    words, longest = student.tokenizer, training.max_length
    valid = study.encoded("valid", words, longest) if study.corpus.valid else None
    return train(
        Training(stage.name, stage.folder, training, method, seed, study.device),
        student.model,
        None if teacher is None else teacher.model,
        study.encoded("train", words, longest),
        valid,
        vocabulary_size=size,
        note=study.note,
    )


def diagnose_student(study: Study, student: Any, method: MethodSettings) -> dict[str, Any]:
    from evokd.distil.diagnosis import diagnose

    pairs = study.corpus.valid
    every = max(1, len(pairs) // DIAGNOSED_PAIRS)
    size = shared_vocabulary_of(study.teacher, student).size
    return diagnose(student, study.teacher.model, pairs[::every], method, size)


def load_system(study: Study, system: System, serving: bool = False) -> Any:
    """A stage's model: float32 to train, or as it will be used to translate."""
    import torch

    from evokd.models.loading import load_translator, pick_dtype

    dtype = torch.float32
    if serving:
        dtype, _ = pick_dtype(study.recipe.student.dtype, study.device)
    return load_translator(system.folder / "model", study.device, dtype, study.prompt)


def shared_vocabulary_of(teacher: Any, student: Any) -> Any:
    from evokd.models.heads import head_of
    from evokd.models.vocabulary import shared_vocabulary

    sizes = [head_of(one.model).weight.shape[0] for one in (teacher, student)]
    return shared_vocabulary(teacher.tokenizer, sizes[0], student.tokenizer, sizes[1])


def progress_bar(label: str) -> Callable[[int, int], None]:
    """A progress bar with the time left, for a job that says how far it is."""
    import sys

    from tqdm import tqdm

    bar = tqdm(desc=f"{label:<32}", unit="line", file=sys.stderr, dynamic_ncols=True)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show
