"""Does an export say what the model said, how fast, and in how much memory?"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.evaluate.significance import paired_bootstrap
from evokd.export.exported import PARITY, Exported, export, load_export
from evokd.models.loading import Translator
from evokd.recipe.exports import ExportSettings
from evokd.recipe.judging import DecodingSettings
from evokd.rundir.files import write_json
from evokd.translate.decoding import Translations, translate
from evokd.translate.engines.engine import Engine, generate_by

ALONE = 20
"""Lines that are translated one at a time, to tell how long one takes."""


@dataclass(frozen=True)
class TestText:
    """Sentences and their references, in one direction."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    name: str
    direction: str
    sources: list[str]
    references: list[str]

    def sample(self, count: int) -> TestText:
        """Of so many lines with text in them, evenly spread."""
        kept = [place for place, line in enumerate(self.sources) if line.strip()]
        kept = kept[:: -(-len(kept) // count)]
        lines = ([side[place] for place in kept] for side in (self.sources, self.references))
        return TestText(self.name, self.direction, *lines)


def read_text(source: Path, reference: Path, direction: str) -> TestText:
    """Raises InputError: files of unequal length, one that can't be read, or nothing but blanks."""
    sources, references = read_lines(source), read_lines(reference)
    if len(sources) != len(references):
        raise InputError(
            f"{source} has {len(sources)} lines, {reference} {len(references)}; as many are needed"
        )
    if not any(line.strip() for line in sources):
        raise InputError(f"{source} has no line with text in it, and one is needed to compare")
    return TestText(source.stem, direction, sources, references)


def texts_of_run(model: Path, directions: Sequence[str]) -> list[TestText]:
    """The test sets of the run that a model stands in; none where it stands elsewhere."""
    for folder in model.absolute().parents:
        tests = folder / "corpus/test"
        if tests.is_dir():
            return [
                replace(
                    read_text(path, path.with_suffix(".ref"), direction),
                    name=path.name.split(".")[0],
                )
                for direction in directions
                for path in sorted(tests.glob(f"*.{direction}.src"))
            ]
    return []


def compared(
    translator: Translator,
    load: Callable[[], Exported],
    texts: Sequence[TestText],
    settings: DecodingSettings,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Translate texts by a model and by what was exported of it.

    Returns:
        Of all texts: agreement (share of lines that are the same), bleu_float, bleu_export,
        chrf_float, chrf_export (means over texts), differs (whether one of them is significantly
        worse, paired bootstrap, p < 0.05), words_per_s and words_per_s_float at full batches,
        seconds_alone (the median of one line at a time), load_seconds; `texts`, the same of each
        with its p values; translated_by, what read the export.
    """
    _translated(translator, texts[0].sample(ALONE), settings, None)  # the first costs more
    ours = [_translated(translator, text, settings, None) for text in texts]
    start = time.perf_counter()
    exported = load()
    seconds = time.perf_counter() - start
    with exported.at_work() as engine:
        _translated(exported.translator, texts[0].sample(ALONE), settings, engine)
        theirs = [_translated(exported.translator, text, settings, engine) for text in texts]
        alone = _alone(exported, texts, settings)
    rows = [_row(*each) for each in zip(texts, ours, theirs, strict=True)]
    for row in rows:
        log(_told(row))
    scores = [key for key in rows[0] if key.startswith(("bleu_", "chrf_"))]
    return {
        "translated_by": exported.by,
        "agreement": round(
            sum(row["same_lines"] for row in rows) / sum(r["lines"] for r in rows), 4
        ),
        **{key: round(statistics.fmean(row[key] for row in rows), 2) for key in scores},
        "differs": any(row["differs"] for row in rows),
        "words_per_s": round(_words_per_s(theirs), 1),
        "words_per_s_float": round(_words_per_s(ours), 1),
        "seconds_alone": round(alone, 4),
        "load_seconds": round(seconds, 2),
        "texts": rows,
    }


def export_compared(
    load: Callable[[], Translator],
    folder: Path,
    settings: ExportSettings,
    directions: Sequence[str],
    origin: str,
    texts: Sequence[TestText],
    decoding: DecodingSettings,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Export a translator, and compare the two, in as many lines of each text as `settings` says.

    Args:
        load: reads it; called anew to compare, since to quantize weights may spoil them.

    Returns:
        What `export` and `compared` tell, size_mib and peak_mib; also in the folder's parity.json.

    Raises:
        InputError: as `export`.
    """
    facts = export(load(), folder, settings.to, settings.quantize, directions, origin)
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / 2**20
    log(f"{folder}: {facts['format']}, {facts['quantization']}, {size:.1f} MiB")
    if not texts:
        return facts
    samples = [text.sample(settings.lines) for text in texts]
    device = torch.device("cpu")
    found = compared(load(), lambda: load_export(folder, device), samples, decoding, log)
    found |= {"size_mib": round(size, 2), "peak_mib": peak_mib(folder, samples[0])}
    log(
        f"{found['words_per_s']:.0f} source words/s, {found['words_per_s_float']:.0f} before; one "
        f"line by itself {1000 * found['seconds_alone']:.0f} ms; read in {found['load_seconds']} s"
    )
    write_json(folder / PARITY, facts | found)
    return facts | found


def peak_mib(folder: Path, text: TestText) -> float | None:
    """Of a process that translates a text by an export, all of Python included; None: it can't be
    told here."""
    if not hasattr(os, "wait4"):
        return None
    command = [sys.executable, "-m", "evokd", "translate", str(folder), "-l", text.direction]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # it ended early: its status tells
        process.stdin.write("\n".join(text.sources).encode())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    in_bytes = sys.platform == "darwin"
    return None if status else round(usage.ru_maxrss / (2**20 if in_bytes else 2**10), 1)


def _translated(
    translator: Translator, text: TestText, settings: DecodingSettings, engine: Engine | None
) -> Translations:
    source, target = text.direction.split("-")
    generate = generate_by(engine, settings)
    return translate(translator, text.sources, source, target, settings, None, generate)


def _alone(exported: Exported, texts: Sequence[TestText], settings: DecodingSettings) -> float:
    """Seconds that a line takes by itself, the median."""
    text = texts[0].sample(ALONE)
    one = [TestText(text.name, text.direction, [source], []) for source in text.sources]
    took = [_translated(exported.translator, each, settings, exported.engine) for each in one]
    return statistics.median(each.seconds for each in took)


def _words_per_s(made: Sequence[Translations]) -> float:
    return sum(each.source_words for each in made) / max(1e-9, sum(each.seconds for each in made))


def _row(text: TestText, ours: Translations, theirs: Translations) -> dict[str, Any]:
    systems, target = (ours.lines, theirs.lines), text.direction.split("-")[1]
    (tested,) = paired_bootstrap(systems, [text.references], target, ("bleu", "chrf"))
    scores: dict[str, Any] = {}
    for row in tested:
        name = row["metric"]
        scores[f"{name}_float"] = round(row["baseline_score"], 2)
        scores[f"{name}_export"] = round(row["score"], 2)
        scores[f"p_{name}"] = round(row["p_value"], 4)
    return {
        "text": text.name,
        "direction": text.direction,
        "lines": len(text.sources),
        "same_lines": sum(a == b for a, b in zip(*systems, strict=True)),
        **scores,
        "differs": any(row["significant"] and row["delta"] < 0 for row in tested),
    }


def _told(row: Mapping[str, Any]) -> str:
    change = row["bleu_export"] - row["bleu_float"]
    verdict = "; significantly worse" if row["differs"] else ""
    return (
        f"{row['text']} {row['direction']}: {row['same_lines']} of {row['lines']} lines the same, "
        f"BLEU {row['bleu_export']:.1f} ({change:+.1f}, p = {row['p_bleu']:.2f}){verdict}"
    )
