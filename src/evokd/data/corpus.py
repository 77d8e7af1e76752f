"""All text of a study: read, cleaned, checked for leaks, weighed, and kept in its run folder, where
the later stages read it instead of the user's files."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import log
from pathlib import Path
from typing import Any

from evokd.data.cleaning import CleaningReport, clean
from evokd.data.contamination import (
    HeldOut,
    held_out_sentences,
    leaks_of,
    without_leaks,
)
from evokd.data.division import hold_out, sample, set_aside, spread, weigh
from evokd.data.identification import can_be_told
from evokd.data.languages import language
from evokd.data.noise import WrongWords, add_noise, read_record, write_record
from evokd.data.pairs import Pair, read_pairs, write_pairs
from evokd.data.sources import input_files, read_source, read_unpaired, source_format
from evokd.data.textfiles import path_in
from evokd.errors import InputError
from evokd.recipe.corpus import (
    CleaningSettings,
    CorpusSettings,
    CorpusSource,
    TestSource,
    TrainSource,
    UnpairedSource,
)
from evokd.rundir.files import read_json, write_json, write_lines

# Lines that belong together have lengths that go together; r of real text is 0.7 and more.
_LEAST_CORRELATION = 0.2
_CORRELATION_NEEDS = 100  # sentence pairs

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

    train: list[Pair]
    """Cleaned and weighed: a pair of a direction of weight 2 stands in it twice."""
    valid: list[Pair]
    tests: Tests
    report: dict[str, Any]
    unpaired: list[Pair] = field(default_factory=list)
    """Sentences to be translated, cleaned and weighed: pairs whose target is empty."""
    noise: list[WrongWords] = field(default_factory=list)
    """What was made wrong on purpose in `train`, before it was cleaned."""
    models: list[Pair] = field(default_factory=list)
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
    """What `save_corpus` wrote."""
    tests = {
        (name, direction): read_pairs(folder / "test" / f"{name}.{direction}.jsonl")
        for name, direction in read_json(folder / "tests.json")
    }
    return Corpus(
        train=read_pairs(folder / "train.jsonl"),
        valid=read_pairs(folder / "valid.jsonl"),
        tests=tests,
        report=read_json(folder / "cleaning.json"),
        unpaired=read_pairs(folder / UNPAIRED) if (folder / UNPAIRED).exists() else [],
        models=read_pairs(folder / MODELS) if (folder / MODELS).exists() else [],
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
    settings: CorpusSettings, directions: Sequence[str], seed: int, most: int | None = None
) -> Corpus:
    """Read, clean and divide the text of a study.

    In this order: read; clean train; drop training pairs that share a sentence with a test or
    validation set; take a random `limit` of sentence pairs; set validation text aside if none is
    named, then what the teacher isn't to see; clean unpaired text and drop what is in train, valid
    or a test set; weigh directions. The same settings and seed give the same corpus.

    Args:
        most: of a look at large text, how many pairs of each training source and direction are
            gone on with, spread evenly over it. All of it is read.

    Raises:
        InputError: whatever is wrong with a source, or a direction without text to train on.
    """
    facts: dict[str, Any] = {"sources": [], "notes": _untold(settings.cleaning, directions)}
    root = path_in(Path(), settings.root)
    tests = _read_tests(settings.test, directions, root, facts)
    valid = _read_sources("valid", settings.valid, directions, root, facts)
    record: list[WrongWords] = []

    def read(
        use: str, facts: dict[str, Any], record: list[WrongWords]
    ) -> tuple[list[Pair], list[Pair], CleaningReport]:
        """Text for one use: cleaned, what is trained on of it, and what cleaning did."""
        sources = settings.train_for(use)
        pairs = _read_sources("train", sources, directions, root, facts, record, most)
        cleaned, cleaning = clean(pairs, settings.cleaning)
        held_out, drop = held_out_sentences(valid, tests), settings.cleaning.drop_test_leaks
        train, leaks = without_leaks(cleaned, held_out, cleaning, drop)
        facts["leaks"] = _leaks_report(leaks, valid, held_out, settings, facts["notes"])
        if settings.limit is not None:
            before = len(train)
            train = sample(train, settings.limit, random.Random(f"{seed}:limit"))
            facts["left_out_by_limit"] = before - len(train)
        return cleaned, train, cleaning

    cleaned, train, cleaning = read("students", facts, record)
    if not settings.valid:
        train, valid = set_aside(train, cleaning, random.Random(f"{seed}:valid"))
        facts["set_aside_for_valid"] = len(valid)
    models: list[Pair] = []
    if settings.train_for("models") != settings.train_for("students"):
        of_models: dict[str, Any] = {"sources": [], "notes": facts["notes"]}
        _, models, report_of_models = read("models", of_models, [])
        if not models:
            raise InputError(
                f"no training pairs for teacher and start: {report_of_models.read} pairs of "
                "corpus.train with use: models were read, none is left after cleaning"
            )
        facts["models"] = {**report_of_models.as_dict(), "sources": of_models["sources"]}
    if settings.held_out:
        chance = random.Random(f"{seed}:held out")
        models, facts["held_out"] = hold_out(train, models or train, settings.held_out, chance)
    models = weigh(models, settings.weights, random.Random(f"{seed}:models"))
    unpaired: list[Pair] = []
    if settings.unpaired:
        held_out = held_out_sentences(valid, tests)
        unpaired = _read_unpaired(settings, root, train, held_out, facts, most)
    weighted = weigh(train, settings.weights, random.Random(f"{seed}:weights"))
    parts = {"cleaned": cleaned, "train": train, "weighted": weighted, "valid": valid}
    if settings.unpaired:
        parts["unpaired"] = unpaired
    counts = {part: Counter(pair.direction for pair in pairs) for part, pairs in parts.items()}
    by_direction = {d: {part: count[d] for part, count in counts.items()} for d in directions}
    facts["notes"] += _gaps(by_direction, tests, cleaning)
    if cleaning.kept < MOST_LOST * cleaning.read:
        worst = max(cleaning.reasons, key=lambda reason: cleaning.reasons[reason].count)
        facts["notes"].append(
            f"{cleaning.read - cleaning.kept} of {cleaning.read} training pairs were dropped, most "
            f"as {worst.replace('_', ' ')}; is this the text that is meant?"
        )
    report = {**cleaning.as_dict(), "directions": by_direction, **facts}
    unpaired = weigh(unpaired, settings.weights, random.Random(f"{seed}:unpaired weights"))
    return Corpus(weighted, valid, tests, report, unpaired, record, models)


def _read_sources(
    part: str,
    sources: Iterable[CorpusSource],
    directions: Sequence[str],
    root: Path,
    facts: dict[str, Any],
    record: list[WrongWords] | None = None,
    most: int | None = None,
) -> list[Pair]:
    """`record` takes what is made wrong on purpose."""
    pairs = []
    for source in sources:
        own, notes = read_source(source, directions, root)
        correlation = _length_correlation(own)
        row = {
            "part": part,
            "path": source.path,
            "format": source_format(source, root),
            "pairs": len(own),
            "directions": dict(Counter(pair.direction for pair in own)),
            "length_correlation": correlation,
            "first": {"source": own[0].source, "target": own[0].target},
        }
        own = spread(own, most)
        if record is not None and isinstance(source, TrainSource) and source.noise:
            own, wrong = add_noise(own, source.noise)
            row["noise"] = dict(Counter(one.kind for one in wrong))
            record += wrong
        facts["sources"].append(row)
        facts["notes"] += notes
        if part != "train":  # cleaning drops those of train
            empty = sum(not (pair.source.strip() and pair.target.strip()) for pair in own)
            if empty:
                facts["notes"].append(f"{source.path}: {empty} pairs of {part} have an empty side")
        if correlation is not None and correlation < _LEAST_CORRELATION:
            facts["notes"].append(
                f"{source.path}: the lengths of its two sides hardly go together (r = "
                f"{correlation:.2f}); check that line n of one side translates line n of the other"
            )
        pairs += own
    return pairs


def _length_correlation(pairs: Sequence[Pair]) -> float | None:
    """Pearson's r of the two sides' lengths in characters, on a logarithmic scale, so that a few
    very long lines don't count for all: near zero where lines don't match."""
    lengths = [(log(len(p.source)), log(len(p.target))) for p in pairs if p.source and p.target]
    if len(lengths) < _CORRELATION_NEEDS:
        return None
    try:
        return round(statistics.correlation(*zip(*lengths, strict=True)), 3)
    except statistics.StatisticsError:  # all lengths equal
        return None


def _read_tests(
    sources: Sequence[TestSource], directions: Sequence[str], root: Path, facts: dict[str, Any]
) -> Tests:
    """Several sources may share a name: the WMT sets have a file for each direction."""
    tests: Tests = {}
    paths: dict[tuple[str, str], str] = {}
    for source in sources:
        pairs = _read_sources(f"test {source.name}", [source], directions, root, facts)
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


def _read_unpaired(
    settings: CorpusSettings,
    root: Path,
    train: Iterable[Pair],
    held_out: HeldOut,
    facts: dict[str, Any],
    most: int | None,
) -> list[Pair]:
    """Text without translations, less what is held out or is translated for train anyway."""
    texts = [read_unpaired(source, root) for source in settings.unpaired]
    drops = settings.cleaning
    looked_at = chain.from_iterable(spread(text, most) for text in texts)
    pairs, report = clean(looked_at, drops, translated=train)
    kept, leaks = without_leaks(pairs, held_out, report, drops.drop_test_leaks)
    facts["unpaired"] = {
        **report.as_dict(),
        "sources": [
            {"path": source.path, "direction": source.direction, "lines": len(text)}
            for source, text in zip(settings.unpaired, texts, strict=True)
        ],
        "leaks": leaks,
    }
    for name, n in leaks.items():
        if n and not drops.drop_test_leaks:
            facts["notes"].append(f"{n} unpaired sentences stand in {name} and were kept")
    return kept


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
