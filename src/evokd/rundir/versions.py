"""Versions of what a result depends on."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Versions of what a result depends on, as far as it is installed."""
    installed = {"python": platform.python_version(), "platform": platform.platform()}
    models = ("torch", "transformers", "accelerate", "tokenizers")
    for name in ("evokd", *models, "sacrebleu", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed
