"""BLEU, chrF and TER by sacreBLEU, each with the signature that makes it reproducible.

No number is rounded here: a score equals sacreBLEU's own to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from evokd.data.languages import language
from evokd.data.textfiles import read_text
from evokd.errors import InputError

METRIC_NAMES = {"bleu": "BLEU", "chrf": "chrF2", "chrf++": "chrF2++", "ter": "TER"}
"""The accepted metrics, and what sacreBLEU calls them."""
DEFAULT_METRICS = ("bleu", "chrf")
LOWER_IS_BETTER = frozenset({"ter"})

References = Sequence[str] | Sequence[Sequence[str]]
"""One reference document, or several; a document is one line per segment."""


@dataclass(frozen=True)
class Score:
    """A corpus score: `score` is in points (0–100; TER may exceed 100), unrounded."""

    metric: str
    score: float
    signature: str


def score_system(
    hypotheses: Sequence[str],
    references: References,
    target_language: str,
    metrics: Sequence[str] = DEFAULT_METRICS,
    tokenizer: str | None = None,
) -> list[Score]:
    """Score one system's outputs, one line per segment.

    BLEU's tokenizer follows the target language as sacreBLEU's does (zh, ja-mecab, ko-mecab, else
    13a); `tokenizer` overrides it. All other settings are sacreBLEU's defaults.

    Raises:
        InputError: unknown metric or tokenizer, no segments, or unequal numbers of segments.
    """
    documents = reference_documents(references)
    check_counts(hypotheses, documents)
    scorers = metric_scorers(metrics, target_language, documents, tokenizer)
    return [score_with(name, scorer, hypotheses) for name, scorer in scorers.items()]


def score_with(name: str, scorer: Metric, hypotheses: Sequence[str]) -> Score:
    """Score outputs with a scorer of `metric_scorers`, which holds the references already."""
    value = scorer.corpus_score(hypotheses, None).score
    return Score(name, float(value), str(scorer.get_signature()))


def metric_scorers(
    metrics: Sequence[str],
    target_language: str,
    references: Sequence[Sequence[str]],
    tokenizer: str | None = None,
) -> dict[str, Metric]:
    """sacreBLEU's scorers by metric name; the references' n-grams are counted once, here."""
    check_metrics(metrics, target_language, tokenizer)
    return {name: _scorer(name, target_language, references, tokenizer) for name in metrics}


def _scorer(
    name: str, target_language: str, references: Sequence[Sequence[str]], tokenizer: str | None
) -> Metric:
    if name == "bleu":
        return BLEU(tokenize=tokenizer or bleu_tokenizer(target_language), references=references)
    if name == "ter":
        return TER(references=references)
    return CHRF(word_order=2 if name == "chrf++" else 0, references=references)


def check_metrics(
    metrics: Sequence[str], target_language: str, tokenizer: str | None = None
) -> None:
    """See to it that these metrics can be computed, before hours are spent on a study.

    Raises:
        InputError: unknown or repeated metric, unknown tokenizer, or one that isn't installed.
    """
    accepted = ", ".join(METRIC_NAMES)
    if not metrics:
        raise InputError(f"no metric given; accepted: {accepted}")
    for position, name in enumerate(metrics):
        if name not in METRIC_NAMES:
            raise InputError(f"unknown metric {name!r}; accepted: {accepted}")
        if name in metrics[:position]:
            raise InputError(f"metric {name!r} is given twice; name each metric once")
    if "bleu" not in metrics:
        return
    chosen = tokenizer or bleu_tokenizer(target_language)
    if chosen not in BLEU.TOKENIZERS:
        raise InputError(
            f"unknown BLEU tokenizer {chosen!r}; accepted: {', '.join(BLEU.TOKENIZERS)}"
        )
    try:
        BLEU(tokenize=chosen)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"BLEU for {target_language!r} needs sacreBLEU's tokenizer {chosen!r}, which can't be "
            f"loaded: {reason} Or score with chrf alone."
        ) from None


def bleu_tokenizer(target_language: str) -> str:
    """The tokenizer that sacreBLEU takes for a language: zh, ja-mecab, ko-mecab, else 13a."""
    return language(target_language).sacrebleu_tokenizer


def reference_documents(references: References) -> list[list[str]]:
    """References as a list of documents, whether one or several were given."""
    documents: list[list[str]] = []
    single: list[str] = []
    for item in references:
        if isinstance(item, str):
            single.append(item)
        else:
            documents.append(list(item))
    assert not (single and documents), "references mix lines and documents"
    return [single] if single else documents


def check_counts(
    hypotheses: Sequence[str],
    documents: Sequence[Sequence[str]],
    name: str = "the system's output",
    reference_names: Sequence[str] = (),
) -> None:
    """Outputs and references must hold the same number of segments, at least one.

    Raises:
        InputError: naming both sides and both counts.
    """
    if not hypotheses:
        raise InputError(f"{name} holds no lines; one translation per line is accepted")
    if not documents:
        raise InputError("no reference given; at least one is needed")
    for number, document in enumerate(documents):
        if len(document) != len(hypotheses):
            reference = reference_names[number] if reference_names else f"reference {number + 1}"
            raise InputError(
                f"{name} has {len(hypotheses)} lines and {reference} has {len(document)}; "
                "line n of both must belong to the same segment"
            )


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, as translation tools count them.

    Lines end at "\\n" only: other separators that Python's `splitlines` knows occur inside real
    sentences. A newline at the end of the file opens no further line, a byte order mark is
    dropped, and "\\r" before the newline is dropped if every line has it. A name that ends in .gz,
    .xz or .zst is unpacked.

    Raises:
        InputError: the file is missing, empty or not UTF-8 (naming the line).
    """
    text = read_text(Path(path))
    if not text:
        raise InputError(f"{path} is empty; one segment per line is accepted")
    lines = text.removesuffix("\n").split("\n")
    if all(line.endswith("\r") for line in lines):
        lines = [line[:-1] for line in lines]
    return lines
