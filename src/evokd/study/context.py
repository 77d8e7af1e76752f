"""What the stages of a study work with: its text, its models, and how to train one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from evokd.data.corpus import Corpus
from evokd.data.pairs import Pair
from evokd.data.prompts import Prompt
from evokd.data.store import load_corpus
from evokd.errors import InputError
from evokd.recipe.methods import MethodSettings
from evokd.recipe.models import ModelSettings
from evokd.recipe.objectives import PAIR_WEIGHTS
from evokd.recipe.recipe import Recipe
from evokd.recipe.training import TrainingSettings
from evokd.rundir import MANIFEST, Stage, fingerprint, hash_file, read_json, write_json

DIAGNOSED_PAIRS = 400
"""Validation pairs on which difficulty is looked at, token by token."""

NEUTRAL = {
    *("log_every", "save_every", "micro_batch_size", "chunk_tokens"),
    *("compile", "packing"),
}
"""Training settings that don't change what is learned."""


@dataclass(frozen=True)
class Teaching:
    """What students are taught by: a `TeacherSignal`, and what its token ids mean."""

    signal: Any
    tokenizer: Any
    words: str


@dataclass
class Study:
    """What the stages share; models and text are loaded when somebody first asks for them."""

    recipe: Recipe
    folder: Path
    prompt: Prompt
    note: Callable[[str], None]
    written: dict[str, Callable[[], Sequence[Pair]]] = field(default_factory=dict)
    """Training text whose translations are the teacher's, by kind."""
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

    @cached_property
    def teaching(self) -> Teaching:
        """The teacher as students get it: live, or from the cache without its model.

        Raises:
            InputError: there is no such cache, or a stale or damaged one.
        """
        if self.recipe.teacher.signal == "live":
            return self.live_teaching()
        from evokd.distil.teacher.signal import CachedTeacher
        from evokd.models.loading import load_tokenizer

        cached = CachedTeacher(cache_folder(self), identity_of_teacher(self))
        tokenizer = load_tokenizer(ModelSettings(model=str(self.folder / "teacher/model")))
        words = f"cached, {cached.spec.words()}"
        return self._in_students_words(Teaching(cached, tokenizer, words))

    def live_teaching(self) -> Teaching:
        """The teacher beside the student, whatever the recipe's signal is."""
        from evokd.distil.teacher.signal import LiveTeacher

        signal = LiveTeacher(self.teacher.model)
        return self._in_students_words(Teaching(signal, self.teacher.tokenizer, "live"))

    def _in_students_words(self, teaching: Teaching) -> Teaching:
        """The same for a student that was cut down to some of the teacher's tokens."""
        smaller = self.smaller_vocabulary(teaching.tokenizer)
        if smaller is None:
            return teaching
        from evokd.distil.teacher.sliced import SlicedTeacher

        own, kept = smaller
        return Teaching(SlicedTeacher(teaching.signal, kept), own, teaching.words)

    def has_smaller_vocabulary(self) -> bool:
        """Whether students know some of the teacher's tokens only."""
        student = self.recipe.student
        return student.model == "cut" and student.cut.vocabulary != "all"

    def smaller_vocabulary(self, teachers: Any) -> tuple[Any, list[int]] | None:
        """What students read with, and the teacher's id of each of their tokens; None: with all.

        Args:
            teachers: the teacher's tokenizer.
        """
        if not self.has_smaller_vocabulary():
            return None
        from evokd.models.loading import load_tokenizer
        from evokd.models.vocabulary_pruning import load_kept_ids

        folder = self.folder / "start/model"
        own = load_tokenizer(ModelSettings(model=str(folder)))
        return own, load_kept_ids(folder, teachers)

    def release_teacher(self) -> None:
        """Give its memory back; who asks for it again gets it loaded again."""
        self.__dict__.pop("teacher", None)

    @cached_property
    def student_tokenizer(self) -> Any:
        """What students read with, before there is a student."""
        from evokd.models.loading import load_tokenizer

        settings: ModelSettings = self.recipe.student
        made = {"fresh": "tokenizer", "cut": "teacher/model"}
        if settings.model in made:
            settings = ModelSettings(model=str(self.folder / made[settings.model]))
        return load_tokenizer(settings)

    def pairs(self, split: str) -> Sequence[Pair]:
        """Validation text ("valid"), training text ("reference") or what the teacher made of that
        (a kind of `written`)."""
        if split in self.written:
            return self.written[split]()
        return self.corpus.valid if split == "valid" else self.corpus.train

    def encoded(self, split: str, tokenizer: Any, max_length: int) -> Any:
        """Text as token ids; what is too long is left out and counted."""
        from evokd.models import vocabulary
        from evokd.models.encoding import encode_corpus

        key = split, vocabulary.fingerprint(tokenizer), max_length
        if key in self._encoded:
            return self._encoded[key]
        pairs = self.pairs(split)
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
    teaching: Teaching | None,
    masks: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a student by one method; facts of the training.

    Args:
        masks: of weights, by name; what is 0 there stays 0.
    """
    from evokd.distil.train.run import Training, train
    from evokd.distil.train.weighted_pairs import PairsToWeigh
    from evokd.translate.decoding import text_of as text_of_ids
    from evokd.translate.sampling import TokenSampler

    size = None
    if teaching is not None:
        shared = shared_vocabulary_of(teaching, student)
        size = shared.size
        if shared.teacher_size != shared.student_size:
            study.note(f"{stage.name}: {shared.note}")
        study.note(f"{stage.name}: its teacher is {teaching.words}")
    words, longest = student.tokenizer, training.max_length
    train_set = study.encoded(method.text, words, longest)
    valid_set = study.encoded("valid", words, longest) if study.corpus.valid else None
    for data in (train_set, valid_set):
        if teaching is not None and data is not None:
            teaching.signal.check_holds(data)
    sampler = None
    if method.on_policy is not None or method.pair_weights:
        sampler = TokenSampler.of(student, size)
    weights = None
    for key, settings in method.pair_weights.items():
        assert sampler is not None
        pairs = PairsToWeigh(
            student.model,
            sampler,
            train_set,
            lambda ids: text_of_ids(words, ids),
            stage.folder,
            seed,
            study.note,
            progress_bar(f"{key} {stage.label}"),
        )
        weights = import_module(PAIR_WEIGHTS[key].module).pair_weights(pairs, settings)
    work = Training(
        label=stage.name,
        folder=stage.folder,
        settings=training,
        method=method,
        seed=seed,
        device=study.device,
        vocabulary_size=size,
        sampler=sampler,
        pair_weights=weights,
        masks=masks,
    )
    signal = None if teaching is None else teaching.signal
    return train(work, student.model, signal, train_set, valid_set, study.note)


def diagnosed_pairs(study: Study) -> Any:
    """The validation pairs that are looked at token by token."""
    pairs = study.corpus.valid
    return pairs[:: max(1, len(pairs) // DIAGNOSED_PAIRS)]


def diagnose_student(
    study: Study, student: Any, method: MethodSettings, teaching: Teaching
) -> dict[str, Any]:
    from evokd.distil.diagnosis import diagnose

    size = shared_vocabulary_of(teaching, student).size
    return diagnose(student, teaching.signal, diagnosed_pairs(study), method, size)


def load_system(study: Study, system: System, serving: bool = False) -> Any:
    """A stage's model: float32 to train, or as it will be used to translate."""
    import torch

    from evokd.models.loading import load_translator, pick_dtype

    dtype = torch.float32
    if serving:
        dtype, _ = pick_dtype(study.recipe.student.dtype, study.device)
    return load_translator(system.folder / "model", study.device, dtype, study.prompt)


def shared_vocabulary_of(teaching: Teaching, student: Any) -> Any:
    from evokd.models.lm_head import head_of
    from evokd.models.vocabulary import shared_vocabulary

    width = head_of(student.model).weight.shape[0]
    return shared_vocabulary(teaching.tokenizer, teaching.signal.width, student.tokenizer, width)


def cache_folder(study: Study) -> Path:
    """Where the teacher's words are; each kind has a folder of its own, so that both may stay."""
    settings = study.recipe.teacher
    name = f"top{settings.top_k}" if settings.signal == "topk" else "hidden"
    return study.folder / "cache" / name


def identity_of_teacher(study: Study) -> dict[str, str]:
    """What a cache of this study's teacher was made of, and must have been made of."""
    from evokd.models import vocabulary

    return {
        "the teacher's weights": _weights_hash(study),
        "the tokenizer": vocabulary.fingerprint(study.student_tokenizer),
        "the prompt": fingerprint(vars(study.prompt)),
    }


def _weights_hash(study: Study) -> str:
    """Of the teacher's files, by content; read again only where size or time changed."""
    folder, known = study.folder / "teacher/model", study.folder / "cache/teacher.json"
    files = sorted([*folder.glob("*.safetensors"), folder / "config.json"])
    seen = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    if known.exists() and read_json(known)["files"] == seen:
        return str(read_json(known)["hash"])
    found = fingerprint([(f.name, hash_file(f)) for f in files])
    write_json(known, {"files": seen, "hash": found})
    return found


def is_done(study: Study, stage: Stage) -> bool:
    if stage.is_done():
        study.note(f"{stage.name}: done before, kept")
        return True
    return False


def close(study: Study, stage: Stage, began: float, facts: dict[str, Any], seed: int) -> None:
    """Write the manifest of a stage that made a model."""
    stage.finish(
        time.perf_counter() - began, facts, seed=seed, device=str(study.device), dtype="float32"
    )


def learned(training: TrainingSettings) -> dict[str, Any]:
    """What of a training's settings changes its result."""
    return training.model_dump(exclude=NEUTRAL)


def text_of(corpus: Stage) -> Any:
    """Hashes of the text that training depends on."""
    return read_json(corpus.folder / MANIFEST)["outputs"]


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
