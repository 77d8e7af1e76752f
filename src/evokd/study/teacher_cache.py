"""The stage that runs the teacher once for all students, and looks at what that costs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Literal

from evokd.recipe.methods import MethodSettings
from evokd.recipe.recipe import Recipe
from evokd.rundir import MANIFEST, Stage, fingerprint, hash_file
from evokd.study.context import (
    Study,
    System,
    cache_folder,
    diagnosed_pairs,
    identity_of_teacher,
    is_done,
    load_system,
    shared_vocabulary_of,
    text_of,
)

Text = Literal["reference", "teacher", "nearest"]
LARGE_ERROR = 0.05
"""Mean error of d, as a share of the mean d, above which a top-k cache isn't called a good one."""


def make_cache(study: Study, corpus: Stage, teacher: System, check: bool = False) -> Stage:
    """What the teacher says of all training and validation pairs, in files.

    A cache that was cut off, or that lacks pairs, is gone on with. One of another teacher,
    tokenizer or prompt is made anew.

    Args:
        check: read all of a finished cache, and make what is damaged again.
    """
    settings, longest = study.recipe.teacher, _longest(study)
    stage = Stage(
        f"cache {cache_folder(study).name}",
        cache_folder(study),
        fingerprint(
            text_of(corpus),
            teacher.fingerprint,
            vars(study.prompt),
            longest,
            *_beside_references(study),
        ),
    )
    from evokd.distil.teacher.cache_reader import INDEX
    from evokd.distil.teacher.precompute import cache_spec, write_cache

    done = is_done(study, stage)
    if done and not (check and _mend(study, stage.folder, thorough=True)):
        return stage
    began = time.perf_counter()
    model = study.teacher.model
    spec = cache_spec(model, "topk" if settings.signal == "topk" else "hidden", settings.top_k)
    identity = identity_of_teacher(study)
    if (stage.folder / INDEX).exists():
        _remove_stale(study, stage.folder, spec, identity)
    if not done and (stage.folder / INDEX).exists():
        _mend(study, stage.folder, thorough=False)
    (stage.folder / MANIFEST).unlink(missing_ok=True)
    facts = write_cache(
        stage.folder, model, _pairs_to_read(study, longest), spec, identity, log=study.note
    )
    stage.finish(time.perf_counter() - began, facts)
    study.note(f"{stage.name}: {size_in_words(facts)}")
    return stage


def check_cache(study: Study, cache: Stage, start: System) -> Stage | None:
    """How far a top-k cache is off, measured with the student at its start on validation pairs."""
    if study.recipe.teacher.signal != "topk" or not study.corpus.valid:
        return None
    stage = Stage(
        "error of the cache",
        cache.folder.with_name(f"{cache.folder.name}.error"),
        fingerprint(cache.fingerprint, start.fingerprint),
    )
    if is_done(study, stage):
        return stage
    from evokd.distil.teacher.topk_error import measure_error
    from evokd.models.encoding import collate, pad_id_of

    began = time.perf_counter()
    stage.begin()
    student, teaching = load_system(study, start), study.teaching
    examples = _examples(study, study.student_tokenizer)
    filler = pad_id_of(student.tokenizer)
    padded = (collate(examples[i : i + 32], filler) for i in range(0, len(examples), 32))
    batches = ({k: v.to(study.device) for k, v in batch.items()} for batch in padded)
    found = measure_error(
        teaching.signal,
        study.teacher.model,
        student.model,
        batches,
        shared_vocabulary_of(teaching, student).size,
        _looked_at(study).in_force()[1],
    )
    facts = {**found, **{k: v for k, v in cache.facts().items() if k.startswith("tail")}}
    study.note(f"{cache.name}: {error_in_words(facts)}")
    if found["error_mean"] > LARGE_ERROR * found["mean_difficulty"]:
        study.note(
            f"warning: that is {found['error_mean'] / found['mean_difficulty']:.0%} of the mean "
            "difficulty; teacher.signal=hidden is exact, a larger teacher.top_k is closer"
        )
    stage.finish(time.perf_counter() - began, facts)
    return stage


def size_in_words(facts: dict[str, Any]) -> str:
    """One line about what a cache holds."""
    from evokd.distil.teacher.precompute import PUBLISHED

    return (
        f"{facts['pairs']} pairs, {facts['tokens']} response tokens, {facts['mib']} MiB, "
        f"{facts['bytes_per_token']} bytes a response token ({PUBLISHED})"
    )


def error_in_words(facts: dict[str, Any]) -> str:
    """One line about how far a top-k cache is off."""
    bound = facts["bound_mean"]
    return (
        f"{facts['tail_mass']:.2%} of the teacher's mass is beyond the top k (at most "
        f"{facts['tail_mass_max']:.0%} of a token's); difficulty is off by "
        f"{facts['error_mean']:.5f} nats on average (at most {facts['error_max']:.3f}"
        + ("" if bound is None else f"; bound {bound:.5f} on average")
        + f"), mean difficulty {facts['mean_difficulty']:.3f}; {facts['flipped_share']:.2%} of the "
        f"tokens change sides at {facts['gamma']}"
    )


def taught_texts(recipe: Recipe) -> list[Text]:
    """Kinds of training text on which methods ask for the teacher's word; NLL of its own text
    doesn't."""
    asking = {m.text for m in recipe.methods if m.kind() not in ("seq_kd", "seq_inter")}
    return sorted(asking)


def _beside_references(study: Study) -> list[Any]:
    """What it depends on where not just the references are read, or not in the teacher's tokens."""
    found: list[Any] = []
    taught = taught_texts(study.recipe)
    if taught != ["reference"]:
        made = [kind for kind in taught if kind != "reference"]
        found += [taught, [[vars(pair) for pair in study.pairs(kind)] for kind in made]]
    if study.has_smaller_vocabulary():
        found.append(hash_file(study.folder / "start/model" / "kept_ids.json"))
    return found


def _pairs_to_read(study: Study, longest: int) -> list[Any]:
    """Under the teacher's ids, cut into tokens as students cut them: one that knows fewer tokens
    spells what the teacher writes beyond them in smaller ones."""
    words = study.student_tokenizer
    smaller = study.smaller_vocabulary(words)
    if smaller is not None:
        words, _ = smaller
    data = [study.encoded(text, words, longest) for text in taught_texts(study.recipe)]
    if study.corpus.valid:
        data += [study.encoded("valid", words, longest), _examples(study, words)]
    if smaller is None:
        return data
    from evokd.distil.teacher.sliced import RemappedDataset

    return [RemappedDataset(one, smaller[1]) for one in data]


def _examples(study: Study, words: Any) -> list[dict[str, Any]]:
    """The pairs that are diagnosed, however long they are."""
    from evokd.models.encoding import encode_pair

    made = [encode_pair(words, study.prompt, pair) for pair in diagnosed_pairs(study)]
    return [example._asdict() for example in made]


def _longest(study: Study) -> int:
    recipe, own = study.recipe, study.recipe.student.training
    trainings = [(own, method.training) for method in recipe.methods]
    pruned = [recipe.method(name).training for name in recipe.pruning.methods]
    retrainings = [(own, training, recipe.pruning.training) for training in pruned]
    return max(recipe.training_of(*each).max_length for each in (*trainings, *retrainings))


def _looked_at(study: Study) -> MethodSettings:
    """A method whose Γ matters, or the paper's settings."""
    gated = [m for m in study.recipe.methods if m.objective == "self_evolution"]
    return gated[0] if gated else MethodSettings(name="noevo", objective="noevo")


def _remove_stale(study: Study, folder: Path, spec: Any, identity: dict[str, str]) -> None:
    from evokd.distil.teacher.cache_reader import read_index, what_changed

    changed = what_changed(read_index(folder), spec, identity)
    if changed:
        study.note(f"cache: stale, {' and '.join(changed)} changed since it was written; made anew")
        shutil.rmtree(folder)


def _mend(study: Study, folder: Path, thorough: bool) -> list[str]:
    """Take damaged files out of a cache; returns their names."""
    from evokd.distil.teacher.cache_reader import damaged_shards
    from evokd.distil.teacher.cache_writer import drop_files

    damaged = damaged_shards(folder, thorough)
    for what in damaged.values():
        study.note(f"cache: {what}; what it held is computed again")
    if damaged:
        (folder / MANIFEST).unlink(missing_ok=True)  # first, or a kill leaves gaps that are "done"
        drop_files(folder, list(damaged))
    return list(damaged)
