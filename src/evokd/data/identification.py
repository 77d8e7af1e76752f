"""Which language a text is in, by py3langid (naive Bayes on byte n-grams, Lui and Baldwin 2012).

`in_language` asks it about one text. `Languages` asks about many at once: it walks its automaton
over all of them together, and leaves to `in_language` what is near the limit, where the order of a
sum in float32 could decide. So both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from evokd.data.languages import language

UNLIKELY = 0.01
"""Probability of the language that a text should be in, below which it isn't."""
SHORTEST = 12  # bytes of UTF-8; of what is shorter nobody can tell the language
SURE = 2.0
"""How many times above or below UNLIKELY a probability must be to be taken as it is. The likeliest
of py3langid's 140 languages has 1/140, which is within."""
LONGEST = 4000  # bytes; of longer texts sums in float32 are less exact
_TOGETHER = 1024
"""Texts that are walked over at once: few enough for a processor's cache."""


def in_language(text: str, code: str) -> bool:
    """Whether a text may be in a language; it may be in every one that can't be told."""
    known = language(code).code
    # The likeliest one will do, and is found sooner than all probabilities are.
    if _is_short(text) or _likeliest(text) == known:
        return True
    return probabilities(text).get(known, 1.0) >= UNLIKELY


def can_be_told(code: str) -> bool:
    """Whether py3langid knows a language."""
    return language(code).code in probabilities("")


class Languages:
    """The same of many texts."""

    def __init__(self, texts: Iterable[str]):
        self._rows: dict[str, np.ndarray] = {}
        told = [text for text in dict.fromkeys(texts) if not _is_short(text)]
        told = [text for text in told if len(text) < LONGEST // 4]
        for start in range(0, len(told), _TOGETHER):
            some = told[start : start + _TOGETHER]
            self._rows |= zip(some, _together(some), strict=True)

    def may_be(self, text: str, code: str) -> bool:
        """Whether a text may be in a language; see `in_language`."""
        column, row = _columns().get(language(code).code), self._rows.get(text)
        if row is None or column is None:
            return in_language(text, code)
        probability = row[column]
        if UNLIKELY / SURE < probability < UNLIKELY * SURE:
            return in_language(text, code)
        return bool(probability >= UNLIKELY)

    def share(self, text: str, code: str, others: Iterable[str]) -> float | None:
        """How likely a text is in a language, if it is in that one or in the likeliest of some
        others: 0 to 1; None where it can't be told."""
        if _is_short(text) or not can_be_told(code):
            return None
        row, columns = self._rows.get(text), _columns()
        found = probabilities(text) if row is None else {}
        own, *rest = (
            found.get(one, 0.0) if row is None else float(row[columns[one]])
            for one in (language(spelled).code for spelled in (code, *others))
            if one in columns
        )
        total = own + max(rest, default=0.0)
        return own / total if total else None


def _is_short(text: str) -> bool:
    return len(text) < SHORTEST and len(text.encode()) < SHORTEST


@lru_cache(maxsize=16)  # a text is judged in both directions
def _likeliest(text: str) -> str:
    return str(_identifier().classify(text)[0])


@lru_cache(maxsize=16)
def probabilities(text: str) -> dict[str, float]:
    """How likely a text is in each language that py3langid knows; they sum to 1."""
    return dict(_identifier().rank(text))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _columns() -> dict[str, int]:
    """Language → its first column in py3langid's tables."""
    codes = list(_identifier().nb_classes)
    return {code: codes.index(code) for code in codes}


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the automaton the next states, where each state's row of these begins and the feature
    that it stands for (−1: none); and ln p of each feature in each language."""
    known = _identifier()
    next_states = np.frombuffer(known.tk_nextmove, known.tk_nextmove.typecode)
    rows = np.frombuffer(known.tk_row, known.tk_row.typecode).astype(np.int64) << 8
    features = np.asarray(known.tk_output, np.int32)
    return next_states, rows, features, known.nb_ptc.astype(np.float32)


def _together(texts: Sequence[str]) -> np.ndarray:
    """(texts, columns), probabilities as `LanguageIdentifier.rank` computes them."""
    known = _identifier()
    next_states, row_starts, features, table = _tables()
    encoded = [known._encode(text) for text in texts]
    lengths = np.array([len(one) for one in encoded])
    order = np.argsort(-lengths, kind="stable")  # the longest first: who is at its end drops out
    data = np.frombuffer(b"".join(encoded), np.uint8)
    starts = (np.cumsum(lengths) - lengths)[order]
    at_work = np.searchsorted(-lengths[order], -np.arange(lengths.max()))
    state, found = np.zeros(len(texts), np.int64), []
    for place, count in enumerate(at_work.tolist()):
        state = next_states[row_starts[state[:count]] + data[starts[:count] + place]]
        feature = features[state]
        (hits,) = np.nonzero(feature >= 0)
        found.append(order[hits] * len(table) + feature[hits])
    pairs, counts = np.unique(np.concatenate(found), return_counts=True)
    weights = np.log1p(counts, dtype=np.float32)
    owners, feature = np.divmod(pairs, len(table))
    bounds = np.searchsorted(owners, np.arange(len(texts) + 1)).tolist()
    scores = np.zeros((len(texts), table.shape[1]), np.float32)
    for row, (start, end) in enumerate(pairwise(bounds)):
        if end > start:
            scores[row] = weights[start:end] @ table[feature[start:end]] + known.nb_pc
    scores /= np.sqrt(lengths, dtype=np.float32)[:, None]
    probabilities = np.exp(scores - scores.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    for column, twin in known._alias_pairs:
        probabilities[:, column] += probabilities[:, twin]
    return probabilities
