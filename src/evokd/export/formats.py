"""What a translator can be exported to, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

EXPORT = "export.json"
"""In each folder that was exported to."""


@dataclass(frozen=True)
class Format:
    """One format.

    module: its `write(translator, folder, quantization)` puts files into a folder and tells with
    what; its `opened(folder, device)` gives a model, or the engine that has its weights.
    quantizations: accepted ones, the first by default, "none" the model's own number format.
    extra: what installs its packages: `reads` to read its files, `writes` to write them, too.
    quantizers: packages that some quantizations are written by, each in an extra of its name.
    """

    module: str
    quantizations: tuple[str, ...]
    extra: str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    quantizers: Mapping[str, str] = field(default_factory=dict)


K_QUANTS = ("q6_k", "q5_k_m", "q4_k_m", "q3_k_m")
FORMATS = {
    "ctranslate2": Format(
        "evokd.export.ctranslate2_format",
        (
            *("none", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16"),
            *("float16", "bfloat16", "float32"),
        ),
        "ctranslate2",
        ("ctranslate2",),
    ),
    "gguf": Format(
        "evokd.export.gguf_format",
        ("none", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "f16", "bf16", "f32", *K_QUANTS),
        "gguf",
        ("gguf",),
        quantizers=dict.fromkeys(K_QUANTS, "llama_cpp"),
    ),
    "onnx": Format(
        "evokd.export.onnx_format",
        ("none", "int8", "float16", "float32"),
        "onnx",
        ("onnxruntime",),
        ("onnx", "onnxscript"),
    ),
    "safetensors": Format(
        "evokd.export.safetensors_format", ("none", "float16", "bfloat16", "float32")
    ),
}


def is_export(folder: str | Path) -> bool:
    """Whether a folder was exported to."""
    return (Path(folder) / EXPORT).is_file()
