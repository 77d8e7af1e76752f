"""What a translator can be exported to, a row each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXPORT = "export.json"
"""In each folder that was exported to."""


@dataclass(frozen=True)
class Format:
    """One format.

    module: its `write(translator, folder, quantization)` puts files into a folder and tells with
    what; its `opened(folder, device)` gives a model, or the engine that has its weights.
    quantizations: accepted ones, the first by default, "none" the model's own number format.
    package: needed, by the extra of that name.
    """

    module: str
    quantizations: tuple[str, ...]
    package: str | None = None


FORMATS = {
    "ctranslate2": Format(
        "evokd.export.ctranslate2_format",
        (
            *("none", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16"),
            *("float16", "bfloat16", "float32"),
        ),
        "ctranslate2",
    ),
    "gguf": Format(
        "evokd.export.gguf_format",
        ("none", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "f16", "bf16", "f32"),
        "gguf",
    ),
    "safetensors": Format(
        "evokd.export.safetensors_format", ("none", "float16", "bfloat16", "float32")
    ),
}


def is_export(folder: str | Path) -> bool:
    """Whether a folder was exported to."""
    return (Path(folder) / EXPORT).is_file()
