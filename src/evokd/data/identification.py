"""Which language a text is in, by py3langid (naive Bayes on byte n-grams, Lui and Baldwin 2012)."""

from __future__ import annotations

from functools import cache
from typing import Any

from evokd.data.languages import language
from evokd.errors import InputError

UNLIKELY = 0.01
"""Probability of the language that a text should be in, below which it isn't."""


def in_language(text: str, code: str) -> bool:
    """Whether a text may be in a language.

    Raises:
        InputError: py3langid isn't installed or doesn't know the language.
    """
    probabilities = dict(_identifier().rank(text))
    known = language(code)
    if known.code not in probabilities:
        raise InputError(
            f"py3langid doesn't know {known.name} ({known.code}); type "
            "corpus.cleaning.drop_wrong_language=false"
        )
    return bool(probabilities[known.code] >= UNLIKELY)


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise InputError(
            "corpus.cleaning.drop_wrong_language needs the package py3langid, which isn't "
            "installed; type pip install 'evokd[langid]'"
        ) from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
