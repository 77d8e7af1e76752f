"""Neural metrics: models that judge segments, run in an environment of their own, by file.

A score is the mean over segments, so that all that works on statistics of segments works on these
too. What a model said of a segment is kept in a file of lines (`Kept`) and never asked again.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sacrebleu.metrics.base import Metric, Score, Signature

from evokd.errors import InputError
from evokd.progress import bar_of
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS, describe
from evokd.rundir.files import fingerprint, read_json, read_json_lines, write_lines

RUNNER = Path(__file__).with_name("neural_runner.py")
FIELDS = {"source": "src", "reference": "ref"}
"""What a metric needs → what runners call it."""


class Unavailable(InputError):
    """A metric that can't be computed here; the message says what to type."""


class Segment(NamedTuple):
    """What a model judges; empty where the metric doesn't look at it."""

    src: str
    mt: str
    ref: str

    @property
    def key(self) -> str:
        return fingerprint(*self)


@dataclass
class Judged:
    """What one model said, in this process."""

    signature: str
    scores: dict[Segment, float] = field(default_factory=dict)


_judged: dict[str, Judged] = {}
"""By metric. A model says the same of a segment each time, so that it is asked once."""


def data_folder(metric: str = "") -> Path:
    """Where metrics are installed, and what they said is kept: EVOKD_METRICS, or evokd/metrics in
    the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("EVOKD_METRICS") or Path(data) / "evokd" / "metrics") / metric


def installed(metric: str) -> dict[str, str] | None:
    """What `evokd metrics install` noted: {kind, python, model, signature, facts}; None where it
    isn't there, or no longer."""
    try:
        note: dict[str, str] = read_json(data_folder(metric) / "installed.json")
    except (OSError, ValueError):
        return None
    there = Path(note["python"]).exists() and Path(note["model"]).exists()
    return note if there else None


def signature_of(metric: str) -> str | None:
    """Of a neural metric that can be computed here."""
    note = installed(metric)
    return None if note is None else note["signature"]


def runner(python: str, kind: str, *arguments: str) -> list[str]:
    """The command that runs a model; what PYTHONPATH has isn't for an environment of its own."""
    isolated = [] if python == sys.executable else ["-I"]
    return [python, *isolated, str(RUNNER), kind, *arguments]


def missing_metrics(metrics: Iterable[str]) -> list[str]:
    """A line for each that isn't installed, with what to type."""
    names = (one for one in metrics if describe(one).model and not installed(one))
    return [f"{name} isn't installed; `evokd metrics install {name}` does it" for name in names]


def remember(metric: str, signature: str, scores: Iterable[tuple[Segment, float]]) -> None:
    """Take over what a model said before."""
    if metric not in _judged or _judged[metric].signature != signature:
        _judged[metric] = Judged(signature)
    _judged[metric].scores.update(scores)


def segments_of(
    metric: str,
    sources: Sequence[str] | None,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
) -> Iterator[list[Segment]]:
    """What is judged of each line: once for each reference, if the metric looks at them.

    Raises:
        Unavailable: it needs the sources.
    """
    needs = METRICS[metric].needs
    if "source" in needs and sources is None:
        raise Unavailable(f"{metric} judges a translation by its source; --src FILE gives that")
    nothing = [""] * len(hypotheses)
    documents = references if "reference" in needs else [nothing]
    for source, hypothesis, *own in zip(sources or nothing, hypotheses, *documents, strict=True):
        yield [Segment(source, hypothesis, reference) for reference in own]


def judge(
    metrics: Sequence[str], outputs: Sequence[Any], test_sets: Sequence[Any]
) -> tuple[list[str], list[str]]:
    """Have neural metrics judge all segments of all `SystemOutput`s at once, so that each model is
    loaded once.

    Returns:
        The metrics that can be computed, the default ones if none can; a line for each other one,
        which says what to type.
    """
    cells, can, lines = {test_set.cell: test_set for test_set in test_sets}, [], []
    for name in metrics:
        try:
            if describe(name).model:
                given = [(cells[one.cell], one.hypotheses) for one in outputs]
                rows = (segments_of(name, of.sources, own, of.references) for of, own in given)
                judged(name, [segment for of in rows for row in of for segment in row])
            can.append(name)
        except Unavailable as why:
            lines.append(str(why))
    if not can:
        lines.append(f"Scored by {' and '.join(DEFAULT_METRICS)} in their place.")
    return can or list(DEFAULT_METRICS), lines


def judged(metric: str, segments: Sequence[Segment]) -> list[float]:
    """What a metric's model says of segments, on its own scale; it is asked of those that it
    hasn't judged before.

    Raises:
        Unavailable: it isn't installed, or fails.
    """
    note, known = installed(metric), _judged.get(metric)
    if note is not None and (known is None or known.signature != note["signature"]):
        known = _judged[metric] = Judged(note["signature"])
    if known is None or not known.scores.keys() >= set(segments):
        if note is None or known is None:
            raise Unavailable(missing_metrics([metric])[0])
        kept = Kept(metric, known.signature)
        before = kept.read()
        known.scores.update((one, before[one.key]) for one in segments if one.key in before)
        missing = [one for one in dict.fromkeys(segments) if one not in known.scores]
        try:
            for segment, score in _ask(metric, note, missing):
                kept.add(segment, score)
                known.scores[segment] = score
        except OSError as error:
            raise Unavailable(f"{metric} failed: {error}") from None
    return [known.scores[one] for one in segments]


class Kept:
    """A file of what a model said: its signature, and a line for each segment, by its hash."""

    def __init__(self, metric: str, signature: str):
        self.path = data_folder(metric) / f"segments.{fingerprint(signature)}.jsonl"
        self.signature = signature

    def read(self) -> dict[str, float]:
        return {row["of"]: row["score"] for row in read_json_lines(self.path) if len(row) == 2}

    def add(self, segment: Segment, score: float) -> None:
        """Each line begins with its newline: one that was torn by a kill ends before the next."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8") as file:
            if new:
                file.write(json.dumps({"signature": self.signature}))
            file.write("\n" + json.dumps({"of": segment.key, "score": score}))


def _ask(
    metric: str, note: dict[str, str], segments: Sequence[Segment]
) -> Iterator[tuple[Segment, float]]:
    """The model's answers as they come, the longest segments first: batches are of one length, and
    what is too much for the memory is too much at once.

    Raises:
        Unavailable: it fails, or isn't what was installed.
    """
    if not segments:
        return
    ordered = sorted(segments, key=lambda one: -sum(map(len, one)))
    fields = ["mt", *(FIELDS[need] for need in METRICS[metric].needs)]
    rows = (json.dumps({name: getattr(one, name) for name in fields}) for one in ordered)
    log = data_folder(metric) / "log.txt"
    command = runner(note["python"], note["kind"], note["model"])
    with TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as said:
        asked = Path(folder) / "segments.jsonl"
        write_lines(asked, rows)
        with (
            asked.open("rb") as stdin,
            subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=said,
                encoding="utf-8",
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
            ) as process,
        ):
            answered, facts = 0, None
            try:
                answers = iter(process.stdout or ())
                facts = json.loads(next(answers, "{}")).get("facts")
                if facts not in (None, note["facts"]):
                    raise Unavailable(
                        f"{metric} was installed as {note['facts']} and is {facts} now; `evokd "
                        f"metrics install {metric}` takes it over"
                    )
                with closing(bar_of(metric, len(ordered), "segment")) as bar:  # it is loaded
                    for segment, answer in zip(ordered, answers, strict=False):
                        score = float(json.loads(answer)["score"])
                        if not math.isfinite(score):
                            raise Unavailable(f"{metric} gives {score} for {segment.mt!r}")
                        yield segment, score
                        bar.update(1)
                        answered += 1
            except ValueError as error:
                raise Unavailable(f"{metric} gives what isn't a score: {error}") from None
            finally:
                process.kill()
    if facts is None or answered < len(ordered):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
        raise Unavailable(f"{metric} failed: {lines[-1][:200]} (all of it is in {log})")


class NeuralSignature(Signature):
    """As sacreCOMET writes it: Python, package, precision, model; and the model's hash."""

    def __init__(self, args: dict[str, Any]):
        super().__init__(args)
        self.model = _judged[args["metric"]].signature
        several = self.info["nrefs"] if self.info["nrefs"] > 1 else None
        self.info |= {"version": None, "nrefs": several}

    def format(self, short: bool = False) -> str:
        return "|".join(filter(None, (self.model, super().format(short))))


class SegmentMean(Metric):
    """The mean of what a model says of segments; of several references, their mean."""

    _SIGNATURE_TYPE = NeuralSignature

    def __init__(
        self,
        metric: str,
        sources: Sequence[str] | None,
        references: Sequence[Sequence[str]] | None = None,
    ):
        super().__init__()
        self.metric, self.sources, self.references = metric, sources, references
        self.num_refs = (
            len(references) if references and "reference" in METRICS[metric].needs else 0
        )

    def _extract_corpus_statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]] | None
    ) -> list[list[float]]:
        """[points, 1] for each segment."""
        documents = references or self.references or ()
        rows = list(segments_of(self.metric, self.sources, hypotheses, documents))
        scores = iter(judged(self.metric, [segment for row in rows for segment in row]))
        scale = METRICS[self.metric].scale
        return [[scale * sum(next(scores) for _ in row) / len(row), 1.0] for row in rows]

    def _aggregate_and_compute(self, stats: Sequence[Sequence[float]]) -> Score:
        return self._compute_score_from_stats(
            [math.fsum(column) for column in zip(*stats, strict=True)]
        )

    def _compute_score_from_stats(self, stats: Sequence[float]) -> Score:
        return Score(METRICS[self.metric].label, stats[0] / stats[1])

    def _preprocess_segment(self, sent: str) -> str:
        return sent

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        raise NotImplementedError("references are looked at by the model")

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[Any]:
        raise NotImplementedError("segments are judged together")
