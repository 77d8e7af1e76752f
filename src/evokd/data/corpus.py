"""All text of a study: read, cleaned, checked for leaks, weighed, and kept in its run folder, where
the later stages read it instead of the user's files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from evokd.data.cleaning import CleaningReport
from evokd.data.contamination import HeldOut, held_out_sentences, leaks_of
from evokd.data.division import hold_out, sample, set_aside, spread, weigh
from evokd.data.identification import can_be_told
from evokd.data.languages import language
from evokd.data.noise import WrongWords, add_noise, read_record, write_record
from evokd.data.pairs import Pair, StoredPairs, read_pairs, write_pairs
from evokd.data.sifting import SiftedPairs, sift_all
from evokd.data.source_look import SourceLook, consume
from evokd.data.sources import expected_pairs, input_files, stream_source, stream_unpaired
from evokd.data.textfiles import path_in
from evokd.errors import InputError
from evokd.progress import passing_by
from evokd.recipe.corpus import (
    CleaningSettings,
    CorpusSettings,
    CorpusSource,
    TestSource,
    TrainSource,
    UnpairedSource,
)
from evokd.rundir.files import read_json, write_json, write_lines

MOST_LOST = 0.5
"""Share of the training pairs from which fewer that are kept are worth a note."""
UNPAIRED = "unpaired.jsonl"
MODELS = "models.jsonl"
NOISE = "noise.jsonl"
Tests = dict[tuple[str, str], list[Pair]]
"""{(test set, direction): pairs}"""


@dataclass(frozen=True)
class Corpus:
    """The text of a study. `report` is what corpus/cleaning.json holds."""

    train: Sequence[Pair]
    """Cleaned and weighed: a pair of a direction of weight 2 stands in it twice."""
    valid: list[Pair]
    tests: Tests
    report: dict[str, Any]
    unpaired: Sequence[Pair] = field(default_factory=list)
    """Sentences to be translated, cleaned and weighed: pairs whose target is empty."""
    noise: list[WrongWords] = field(default_factory=list)
    """What was made wrong on purpose in `train`, before it was cleaned."""
    models: Sequence[Pair] = field(default_factory=list)
    """What teacher and start are trained on, where that is other text than `train`."""


def save_corpus(corpus: Corpus, folder: Path) -> None:
    """train.jsonl, valid.jsonl, test/*.jsonl with plain .src and .ref beside, cleaning.json; and
    unpaired.jsonl, models.jsonl and noise.jsonl, if there is such text."""
    write_pairs(folder / "train.jsonl", corpus.train)
    write_pairs(folder / "valid.jsonl", corpus.valid)
    if corpus.unpaired:
        write_pairs(folder / UNPAIRED, corpus.unpaired)
    if corpus.models:
        write_pairs(folder / MODELS, corpus.models)
    if corpus.noise:
        write_record(folder / NOISE, corpus.noise)
    for (name, direction), pairs in corpus.tests.items():
        stem = f"test/{name}.{direction}"
        write_pairs(folder / f"{stem}.jsonl", pairs)
        write_lines(folder / f"{stem}.src", (pair.source for pair in pairs))
        write_lines(folder / f"{stem}.ref", (pair.target for pair in pairs))
    write_json(folder / "tests.json", [list(key) for key in corpus.tests])
    write_json(folder / "cleaning.json", corpus.report)


def load_corpus(folder: Path) -> Corpus:
    """What `save_corpus` wrote; training text stays in its files (`StoredPairs`)."""

    def stored(name: str) -> Sequence[Pair]:
        path = folder / name
        return StoredPairs.of_file(path) if path.exists() else []

    tests = {
        (name, direction): read_pairs(folder / "test" / f"{name}.{direction}.jsonl")
        for name, direction in read_json(folder / "tests.json")
    }
    return Corpus(
        train=StoredPairs.of_file(folder / "train.jsonl"),
        valid=read_pairs(folder / "valid.jsonl"),
        tests=tests,
        report=read_json(folder / "cleaning.json"),
        unpaired=stored(UNPAIRED),
        models=stored(MODELS),
        noise=read_record(folder / NOISE) if (folder / NOISE).exists() else [],
    )


def corpus_files(settings: CorpusSettings, directions: Sequence[str]) -> list[Path]:
    """Every file that a corpus is read from, each once.

    Raises:
        InputError: a missing file.
    """
    root = path_in(Path(), settings.root)
    sources: Iterable[CorpusSource | UnpairedSource] = chain(
        settings.train, settings.valid, settings.test, settings.unpaired
    )
    files = [path for source in sources for path in input_files(source, directions, root)]
    return list(dict.fromkeys(files))


def build_corpus(
    settings: CorpusSettings,
    directions: Sequence[str],
    seed: int,
    most: int | None = None,
    scratch: Path | None = None,
    processes: int | None = None,
) -> Corpus:
    """Read, clean and divide the text of a study.

    In this order: read; clean train; drop training pairs that share a sentence with a test or
    validation set; take a random `limit` of sentence pairs; set validation text aside if none is
    named, then what the teacher isn't to see; clean unpaired text and drop what is in train, valid
    or a test set; weigh directions. The same settings and seed give the same corpus.

    Args:
        most: of a look at large text, how many pairs of each training source and direction are
            gone on with, spread evenly over it. All of it is read.
        scratch: the folder of files without names that training text lies in; default: where the
            system keeps temporary files.
        processes: that clean; default: one for each core.

    Raises:
        InputError: whatever is wrong with a source, or a direction without text to train on.
    """
    facts: dict[str, Any] = {"sources": [], "notes": _untold(settings.cleaning, directions)}
    root = path_in(Path(), settings.root)
    tests = _read_tests(settings.test, directions, root, facts)
    valid = _read_held_out("valid", settings.valid, directions, root, facts)
    record: list[WrongWords] = []

    def read(
        use: str, facts: dict[str, Any], record: list[WrongWords]
    ) -> tuple[Counter[str], SiftedPairs, CleaningReport]:
        """Text for one use: pairs by direction after cleaning, what is trained on of it, and what
        cleaning did."""
        sources = settings.train_for(use)
        held_out = held_out_sentences(valid, tests)
        known = [expected_pairs(source, directions, root) for source in sources]
        total = None if None in known or most else sum(filter(None, known))
        pairs = _stream_train(sources, directions, root, facts, record, most)
        pairs = passing_by(pairs, f"text of {use}", total)
        sifted = sift_all(pairs, settings.cleaning, held_out, scratch, processes=processes)
        train = sifted.pairs
        facts["leaks"] = _leaks_report(sifted.leaks, valid, held_out, settings, facts["notes"])
        if settings.limit is not None:
            before = len(train)
            train = sample(train, settings.limit, random.Random(f"{seed}:limit"))
            facts["left_out_by_limit"] = before - len(train)
        return sifted.cleaned, train, sifted.report

    cleaned, train, cleaning = read("students", facts, record)
    if not settings.valid:
        train, valid = set_aside(train, cleaning, random.Random(f"{seed}:valid"))
        facts["set_aside_for_valid"] = len(valid)
    models = train.take(np.arange(0))
    if settings.train_for("models") != settings.train_for("students"):
        for_models: dict[str, Any] = {"sources": [], "notes": facts["notes"]}
        _, models, report_of_models = read("models", for_models, [])
        if not models:
            raise InputError(
                f"no training pairs for teacher and start: {report_of_models.read} pairs of "
                "corpus.train with use: models were read, none is left after cleaning"
            )
        facts["models"] = {**report_of_models.as_dict(), "sources": for_models["sources"]}
    if settings.held_out:
        chance = random.Random(f"{seed}:held out")
        of_models = models if len(models) else train
        models, facts["held_out"] = hold_out(train, of_models, settings.held_out, chance)
    models = weigh(models, settings.weights, random.Random(f"{seed}:models"))
    weighted = weigh(train, settings.weights, random.Random(f"{seed}:weights"))
    counts = {
        "cleaned": cleaned,
        "train": train.counts(),
        "weighted": weighted.counts(),
        "valid": Counter(pair.direction for pair in valid),
    }
    unpaired: Sequence[Pair] = []
    if settings.unpaired:
        held_out = held_out_sentences(valid, tests)
        sifted = _sift_unpaired(settings, root, train, held_out, facts, most, scratch, processes)
        counts["unpaired"] = sifted.counts()
        unpaired = weigh(sifted, settings.weights, random.Random(f"{seed}:unpaired weights"))
    by_direction = {d: {part: count[d] for part, count in counts.items()} for d in directions}
    facts["notes"] += _gaps(by_direction, tests, cleaning)
    if cleaning.kept < MOST_LOST * cleaning.read:
        worst = max(cleaning.reasons, key=lambda reason: cleaning.reasons[reason].count)
        facts["notes"].append(
            f"{cleaning.read - cleaning.kept} of {cleaning.read} training pairs were dropped, most "
            f"as {worst.replace('_', ' ')}; is this the text that is meant?"
        )
    report = {**cleaning.as_dict(), "directions": by_direction, **facts}
    return Corpus(weighted, valid, tests, report, unpaired, record, models)


def _read_held_out(
    part: str,
    sources: Iterable[CorpusSource],
    directions: Sequence[str],
    root: Path,
    facts: dict[str, Any],
) -> list[Pair]:
    """Text for tests or validation: nothing of it is cleaned."""
    pairs = []
    for source in sources:
        look, notes = SourceLook(), list[str]()
        own = list(look.at(stream_source(source, directions, root, notes)))
        facts["sources"].append(look.row(part, source, root))
        facts["notes"] += notes
        if empty := sum(not (pair.source.strip() and pair.target.strip()) for pair in own):
            facts["notes"].append(f"{source.path}: {empty} pairs of {part} have an empty side")
        facts["notes"] += look.notes(source)
        pairs += own
    return pairs


def _stream_train(
    sources: Iterable[TrainSource],
    directions: Sequence[str],
    root: Path,
    facts: dict[str, Any],
    record: list[WrongWords],
    most: int | None,
) -> Iterator[Pair]:
    """Training text, and facts of each source when all of it was read. Text that is made wrong on
    purpose is kept in memory meanwhile.

    Args:
        record: takes what is made wrong on purpose.
    """
    for source in sources:
        look, notes = SourceLook(), list[str]()
        stream = look.at(stream_source(source, directions, root, notes))
        made_wrong = {}
        if most is not None:
            consume(stream)  # counts them first
            again = chain.from_iterable(stream_source(source, directions, root, []))
            stream = spread(again, look.directions, most)
        if source.noise:
            own, wrong = add_noise(list(stream), source.noise)
            made_wrong = {"noise": dict(Counter(one.kind for one in wrong))}
            record += wrong
            stream = iter(own)
        yield from stream
        facts["sources"].append(look.row("train", source, root) | made_wrong)
        facts["notes"] += notes + look.notes(source)


def _read_tests(
    sources: Sequence[TestSource], directions: Sequence[str], root: Path, facts: dict[str, Any]
) -> Tests:
    """Several sources may share a name: the WMT sets have a file for each direction."""
    tests: Tests = {}
    paths: dict[tuple[str, str], str] = {}
    for source in sources:
        pairs = _read_held_out(f"test {source.name}", [source], directions, root, facts)
        for direction in dict.fromkeys(pair.direction for pair in pairs):
            key = (source.name, direction)
            if key in tests:
                raise InputError(
                    f"test set {source.name} has {direction} twice: from {paths[key]} and from "
                    f"{source.path}; give one of them another name, or say directions: [..] in each"
                )
            paths[key] = source.path
            tests[key] = [pair for pair in pairs if pair.direction == direction]
    return tests


def _leaks_report(
    leaks: dict[str, int],
    valid: Sequence[Pair],
    held_out: HeldOut,
    settings: CorpusSettings,
    notes: list[str],
) -> dict[str, Any]:
    """What leaks of train and of validation text into test sets, with notes on what stays."""
    in_tests = Counter(name for pair in valid for name in leaks_of(pair, held_out))
    of_valid = {name: in_tests[name] for name in held_out if name != "valid" and valid}
    dropped = settings.cleaning.drop_test_leaks
    for name, n in leaks.items():
        if n and not dropped:
            notes.append(f"{n} training pairs share a sentence with {name} and were kept")
    for name, n in of_valid.items():
        if n:
            notes.append(f"{n} of {len(valid)} validation pairs share a sentence with {name}")
    return {"dropped": dropped, "train_pairs": leaks, "valid_pairs": of_valid}


def _sift_unpaired(
    settings: CorpusSettings,
    root: Path,
    train: Iterable[Pair],
    held_out: HeldOut,
    facts: dict[str, Any],
    most: int | None,
    scratch: Path | None,
    processes: int | None,
) -> SiftedPairs:
    """Text without translations, less what is held out or is translated for train anyway."""
    lines: Counter[int] = Counter()

    def stream(number: int, source: UnpairedSource) -> Iterator[Pair]:
        for pair in stream_unpaired(source, root):
            lines[number] += 1
            yield pair

    def looked_at() -> Iterator[Pair]:
        for number, source in enumerate(settings.unpaired):
            own = stream(number, source)
            if most is not None:
                consume(own)
                counts = {source.direction: lines[number]}
                own = spread(stream_unpaired(source, root), counts, most)
            yield from own

    drops = settings.cleaning
    passing = passing_by(looked_at(), "text without translations", unit="line")
    sifted = sift_all(passing, drops, held_out, scratch, train, processes)
    facts["unpaired"] = {
        **sifted.report.as_dict(),
        "sources": [
            {"path": source.path, "direction": source.direction, "lines": lines[number]}
            for number, source in enumerate(settings.unpaired)
        ],
        "leaks": sifted.leaks,
    }
    for name, n in sifted.leaks.items():
        if n and not drops.drop_test_leaks:
            facts["notes"].append(f"{n} unpaired sentences stand in {name} and were kept")
    return sifted.pairs


def _untold(cleaning: CleaningSettings, directions: Iterable[str]) -> list[str]:
    """Notes on languages that nobody can tell."""
    codes = dict.fromkeys(code for direction in directions for code in direction.split("-"))
    return [
        f"py3langid doesn't know {language(code).name}: whether text is in it isn't checked"
        for code in codes
        if cleaning.drop_wrong_language and not can_be_told(code)
    ]


def _gaps(
    counts: Mapping[str, Mapping[str, int]], tests: Tests, cleaning: CleaningReport
) -> list[str]:
    """Notes on directions without training, test or validation pairs, by the pairs of each part.

    Raises:
        InputError: directions without any text to train on.
    """
    missing = [d for d, parts in counts.items() if not parts["train"] + parts.get("unpaired", 0)]
    if missing:
        reasons = ", ".join(f"{reason} {t.count}" for reason, t in cleaning.reasons.items())
        raise InputError(
            f"no training pairs for {', '.join(missing)}: {cleaning.read} pairs were read, "
            f"{cleaning.kept} left after cleaning"
            + (f" (dropped: {reasons})" if reasons else "")
            + "; add a source to corpus.train, or take the direction out of directions"
        )
    tested = {direction for _, direction in tests}
    notes = []
    for direction, parts in counts.items():
        if not parts["train"]:
            notes.append(
                f"{direction} has no training pairs, only text that the teacher translates; "
                "methods that train on references never see it"
            )
        if direction not in tested:
            notes.append(f"{direction} has no test set; it will have no scores")
        if not parts["valid"]:
            notes.append(f"{direction} has no validation text")
    return notes
