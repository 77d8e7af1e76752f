"""What the stages of a study share: the run folder, and text and models, loaded when asked for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evokd import processes
from evokd.data.cleaning import pair_key
from evokd.data.corpus import MODELS, Corpus, load_corpus
from evokd.data.pairs import Pair, StoredPairs, take
from evokd.data.prompts import Prompt
from evokd.data.seen import Seen, chunks_of, digest, first_of_each, keys_of
from evokd.errors import InputError
from evokd.recipe.models import ModelSettings
from evokd.recipe.recipe import Recipe
from evokd.recipe.training import TrainingSettings
from evokd.rundir.claims import Claim, claim
from evokd.rundir.files import fingerprint
from evokd.rundir.records import find_record, take_up_record
from evokd.rundir.stage import Stage, manifest_in
from evokd.study.places import Paths, System, TeacherSource
from evokd.study.spreading import IN_PARTS, sharding
from evokd.study.steps import Step, inputs_of, step_of, step_of_record
from evokd.study.teacher_shards import Part, part_in

PAIRS = "pairs.jsonl"
DIAGNOSED_PAIRS = 400
"""Validation pairs on which difficulty is looked at, token by token."""


@dataclass
class Study:
    """A recipe at work in a run folder."""

    recipe: Recipe
    folder: Path
    prompt: Prompt
    log: Callable[[str], None]
    siblings: Sequence[Path] = ()
    """Folders of other studies, whose stages are taken over where they are the same."""
    store: Path | None = None
    """A folder of stages that studies share."""
    planned: list[Step] | None = None
    """Of a run that only says what it would do, but for what is in `only`: that."""
    only: Collection[str] = ()
    """Names or places of stages that are made all the same, if what they are made from is there."""
    takes_up: bool = False
    """Whether such a run puts what stands elsewhere into its place."""
    undecided: bool = False
    """Whether what is advised for the data isn't known yet, in a dry run."""
    decoder: tuple[str, Any] | None = None
    """What translated last, under its fingerprint (`systems.decoder`)."""
    encoded: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    _claims: list[Claim] = field(default_factory=list)

    @cached_property
    def paths(self) -> Paths:
        return Paths(self.folder)

    @cached_property
    def corpus(self) -> Corpus:
        return load_corpus(self.paths.corpus)

    @property
    def teacher_saw_all(self) -> bool:
        """Whether the teacher was trained on the very text that students are."""
        return self.recipe.teacher.sft and not self.corpus.models

    @cached_property
    def unseen(self) -> Sequence[Pair]:
        """Training pairs, each once, that the teacher wasn't trained on, whatever their origin."""
        train, text = self.corpus.train, self.recipe.corpus
        differ = text.cleaning.drop_duplicates and max(text.weights.values(), default=1) <= 1
        if differ and not self.recipe.teacher.sft:
            return train
        seen = Seen.of(map(pair_key, self.pairs("models") if self.recipe.teacher.sft else ()))
        once = first_of_each(train, lambda p: digest(p.origin, p.direction, p.source, p.target))
        places = [np.zeros(0, int)]
        for chunk in chunks_of(once):
            is_seen = seen.has(keys_of(pair_key(pair) for _, pair in chunk))
            places.append(np.array([place for place, _ in chunk], int)[~is_seen])
        return take(train, np.concatenate(places))

    def stage(self, name: str, folder: Path, made_of: Mapping[str, Any]) -> Stage:
        """A step of this study, which fills a folder of its run."""
        return Stage(
            name, self.folder, folder.relative_to(self.folder).as_posix(), made_of, self.store
        )

    def system(
        self,
        name: str,
        folder: Path,
        made_of: Mapping[str, Any],
        system: str,
        seed: int | None = None,
    ) -> System:
        """A stage that makes a translator."""
        place = folder.relative_to(self.folder).as_posix()
        return System(name, self.folder, place, made_of, self.store, system=system, seed=seed)

    def text_hashes(self) -> dict[str, str]:
        """Of the files of the corpus that students depend on; a new test set needs no new ones."""
        files = manifest_in(self.paths.corpus)["files"]
        return {name: files[name]["sha256"] for name in ("train.jsonl", "valid.jsonl")}

    def models_hashes(self) -> dict[str, str]:
        """Of the files of the corpus that teacher, start and tokenizer depend on."""
        own = manifest_in(self.paths.corpus)["files"].get(MODELS)
        return self.text_hashes() | ({} if own is None else {"train.jsonl": own["sha256"]})

    @cached_property
    def device(self) -> Any:
        from evokd.models.loading import pick_device

        device, reason = pick_device(self.recipe.device)
        if device.type == "cuda" and processes.count() > 1:
            import torch

            device = torch.device("cuda", torch.cuda.current_device())  # its own (`join`)
        self.log(f"device: {device} ({reason})")
        return device

    @cached_property
    def teacher(self) -> Any:
        """The finished teacher, frozen."""
        return self.load_teacher(self.recipe.teacher.quantize)

    def load_teacher(self, bits: str) -> Any:
        """The finished teacher, its linear layers quantized to these bits."""
        from evokd.models.loading import load_translator, pick_dtype

        dtype, reason = pick_dtype(self.recipe.teacher.dtype, self.device)
        quantized = "" if bits == "none" else f", quantized to {bits}"
        self.log(f"teacher: {str(dtype).removeprefix('torch.')} ({reason}){quantized}")
        return load_translator(self.paths.teacher_model, self.device, dtype, self.prompt, bits)

    @cached_property
    def sharded_teacher(self) -> Any:
        """The finished teacher, of which each process holds a part."""
        import torch

        from evokd.models import zero3
        from evokd.models.loading import load_translator, pick_dtype
        from evokd.models.sharding import load_sharded

        self.release_teacher()
        device, (dtype, _) = self.device, pick_dtype(self.recipe.teacher.dtype, self.device)
        folder = self.paths.teacher_model
        teacher = load_sharded(
            lambda: load_translator(folder, torch.device("cpu"), dtype, self.prompt).model, device
        )
        if zero3.is_partitioned(teacher):
            zero3.make_callable(teacher)
        return teacher

    def release_teacher(self) -> None:
        """Give its memory back; who asks for it again gets it loaded again."""
        for name in ("teacher", "sharded_teacher", "teacher_source"):
            self.__dict__.pop(name, None)

    @cached_property
    def teacher_tokenizer(self) -> Any:
        return tokenizer_in(self.paths.teacher_model)

    @cached_property
    def teacher_source(self) -> TeacherSource:
        """The teacher as students get it: live, or from the cache without its model.

        Raises:
            InputError: there is no such cache, or a stale or damaged one.
        """
        if self.recipe.teacher.signal == "live":
            return self.live_teacher_source()
        from evokd.distil.teacher.signal import CachedTeacher

        cached = CachedTeacher(self.cache_folder(), self.teacher_identity())
        return self._source(cached, f"cached, {cached.spec.words()}")

    def live_teacher_source(self, sharded: bool = False) -> TeacherSource:
        """The teacher beside the student, whatever the recipe's signal is.

        Args:
            sharded: each process holds a part of it.
        """
        from evokd.distil.teacher.signal import LiveTeacher

        bits = self.recipe.teacher.quantize
        how = ["live", *(["sharded"] if sharded else []), *([] if bits == "none" else [bits])]
        model = self.sharded_teacher if sharded else self.teacher.model
        return self._source(LiveTeacher(model), ", ".join(how))

    def source_for(self, training: TrainingSettings, live: bool = False) -> TeacherSource:
        """The teacher as a training gets it.

        Args:
            live: its model, whatever the recipe's signal is.
        """
        if live or self.recipe.teacher.signal == "live":
            return self.live_teacher_source(sharding(self.recipe, training) in IN_PARTS)
        return self.teacher_source

    def _source(self, signal: Any, description: str) -> TeacherSource:
        """In the vocabulary of students, which may have been pruned to a part of the teacher's."""
        from evokd.distil.teacher.sliced import SlicedTeacher

        tokenizer, kept_ids = self.pruned_vocabulary() or (self.teacher_tokenizer, None)
        if kept_ids is not None:
            signal = SlicedTeacher(signal, kept_ids)
        return TeacherSource(signal, tokenizer, description)

    def pruned_vocabulary(self) -> tuple[Any, list[int]] | None:
        """The students' tokenizer and the teacher's id of each of their tokens; None: with all."""
        if not self.recipe.student.prunes_vocabulary:
            return None
        from evokd.models.vocabulary_pruning import load_kept_ids

        folder = self.paths.init_model
        return tokenizer_in(folder), load_kept_ids(folder, self.teacher_tokenizer)

    @cached_property
    def student_tokenizer(self) -> Any:
        """What students read with, before there is a student."""
        student = self.recipe.student
        return self.teacher_tokenizer if student.model == "cut" else self.tokenizer_of(student)

    def tokenizer_of(self, settings: ModelSettings) -> Any:
        """What a model reads with that isn't cut from another."""
        from evokd.models.loading import load_tokenizer

        fresh = settings.model == "fresh"
        return tokenizer_in(self.paths.tokenizer) if fresh else load_tokenizer(settings)

    @property
    def diagnosed_pairs(self) -> Sequence[Pair]:
        """The validation pairs that are looked at token by token."""
        pairs = self.corpus.valid
        return pairs[:: max(1, len(pairs) // DIAGNOSED_PAIRS)]

    def pairs(self, split: str) -> Sequence[Pair]:
        """Validation text ("valid") or training text, of any kind; "models": of teacher and
        start."""
        if split == "filtered":
            return StoredPairs.of_file(self.paths.filtered / PAIRS)
        if split in ("teacher", "nearest"):
            return StoredPairs.of_file(self.paths.teacher_text / split / PAIRS)
        if split == "models":
            return self.corpus.models or self.corpus.train
        return self.corpus.valid if split == "valid" else self.corpus.train

    def is_done(self, stage: Stage, others: Sequence[Path] = ()) -> bool:
        """Whether a stage was finished before, in its own folder or in a sibling's or another one,
        from where it is taken over. If not, it is for this process to make it, and others wait."""
        return processes.by_first(lambda: self._is_done(stage, others))

    def _is_done(self, stage: Stage, others: Sequence[Path]) -> bool:
        self.release()
        found = self.found(stage, others)
        step = step_of(stage, found)
        if not self.plan(step):
            stage.folder = found or stage.folder
            return True
        if found is None or not stage.is_settled(found):
            part = self.part_of(stage)
            place = stage.place if part is None else f"{stage.place}/{part}"
            self._claims.append(self.claimed(stage.name, place))
            found = self.found(stage, others)  # another process may have made it meanwhile
            step = step_of(stage, found)
        if found is None:
            if step.action == "remake":
                self.log(f"{stage.name}: made anew, {step.because}")
            return False
        stage.take_up(found)
        if self.planned is None or step.place in self.only or step.name in self.only:
            self.log(f"{stage.name}: {step.because}, kept")
        return True

    def is_done_record(self, name: str, path: Path, made_of: Mapping[str, Any]) -> bool:
        """Whether a small result was found before; what was kept is put into its place."""
        step = step_of_record(name, self.folder, path, made_of)
        if not self.plan(step):
            return True
        if find_record(self.folder, path, step.key) != path:
            self._claims.append(self.claimed(name, step.place))
        return take_up_record(self.folder, path, made_of)

    def plan(self, step: Step) -> bool:
        """Whether something is to be done about a step; a run that only says so notes it.

        Raises:
            InputError: what it is made from isn't there.
        """
        if self.planned is None:
            return True
        asked = any(
            name in (step.name, step.place) or part_in(name, step.place) for name in self.only
        )
        if asked and step.action != "keep":
            missing = [one for one in inputs_of(step, self.planned) if one.action != "keep"]
            if missing:
                names = ", ".join(one.name for one in missing)
                typed = shlex.join(one.place for one in missing)
                raise InputError(
                    f"{step.name} is made from what isn't there yet: {names}; first type the same "
                    f"command with --only {typed}"
                )
            step = replace(step, action="keep")  # or nothing comes after it
        self.planned.append(step)
        return asked or (self.takes_up and step.action == "keep")

    def part_of(self, stage: Stage) -> Part | None:
        """Which part alone of the teacher's text is asked for, if that is so."""
        if stage.place in self.only or stage.name in self.only:
            return None
        return next(filter(None, (part_in(name, stage.place) for name in self.only)), None)

    def release(self) -> None:
        """Let other processes have what this one was making: it is done, or given up."""
        while self._claims:
            self._claims.pop().release()

    def claimed(self, name: str, place: str) -> Claim:
        """Wait until no other process makes it, and keep them from it."""

        def tell(whose: str) -> None:
            self.log(f"{name}: {whose} is making it; waiting")

        return claim(self.folder, place, tell)

    def found(self, stage: Stage, others: Sequence[Path] = ()) -> Path | None:
        """The folder in which a stage stands whole, if there is one."""
        return stage.find((*others, *(sibling / stage.place for sibling in self.siblings)))

    def facts(self, stage: Stage) -> dict[str, Any]:
        """What a stage noted down; nothing where a dry run only says that it would."""
        manifest = manifest_in(stage.folder)
        return dict(manifest["facts"]) if manifest.get("fingerprint") == stage.fingerprint else {}

    def seed_of(self, system: System) -> int:
        """Its own; models that exist once take the first of the recipe."""
        return self.recipe.seeds[0] if system.seed is None else system.seed

    def cache_folder(self) -> Path:
        """Of the recipe's kind of signal; each has a folder of its own, so that both may stay."""
        teacher = self.recipe.teacher
        return self.paths.cache / (f"top{teacher.top_k}" if teacher.signal == "topk" else "hidden")

    def teacher_identity(self) -> dict[str, str]:
        """What a cache of this study's teacher was made of, and must have been made of."""
        from evokd.models import vocabulary

        return {
            "the teacher's weights": fingerprint(self._weights(), *self._bits()),
            "the tokenizer": vocabulary.fingerprint(self.student_tokenizer),
            "the prompt": fingerprint(vars(self.prompt)),
        }

    def _bits(self) -> tuple[str, ...]:
        """What its weights are quantized to, if they are."""
        bits = self.recipe.teacher.quantize
        return () if bits == "none" else (bits,)

    def _weights(self) -> dict[str, str]:
        """Hashes of the teacher's files of weights, and of its configuration."""
        files = manifest_in(self.paths.teacher_model.parent)["files"]
        kinds = (".safetensors", "/config.json")
        return {name: one["sha256"] for name, one in files.items() if name.endswith(kinds)}


def tokenizer_in(folder: Path) -> Any:
    """The tokenizer that an earlier stage saved."""
    from evokd.models.loading import load_tokenizer

    return load_tokenizer(ModelSettings(model=str(folder)))
