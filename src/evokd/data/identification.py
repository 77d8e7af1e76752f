"""Which language a text is in, by py3langid (naive Bayes on byte n-grams, Lui and Baldwin 2012)."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from evokd.data.languages import language

UNLIKELY = 0.01
"""Probability of the language that a text should be in, below which it isn't."""
SHORTEST = 12  # bytes of UTF-8; of what is shorter nobody can tell the language


def in_language(text: str, code: str) -> bool:
    """Whether a text may be in a language; it may be in every one that can't be told."""
    known = language(code).code
    # The likeliest one will do, and is found sooner than all probabilities are.
    if len(text.encode()) < SHORTEST or _likeliest(text) == known:
        return True
    return _probabilities(text).get(known, 1.0) >= UNLIKELY


def can_be_told(code: str) -> bool:
    """Whether py3langid knows a language."""
    return language(code).code in _probabilities("")


@lru_cache(maxsize=16)  # a text is judged in both directions
def _likeliest(text: str) -> str:
    return str(_identifier().classify(text)[0])


@lru_cache(maxsize=16)
def _probabilities(text: str) -> dict[str, float]:
    return dict(_identifier().rank(text))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
