"""What a translator can be exported to, a row each, and the recipe's key that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from evokd.errors import InputError, require
from evokd.recipe.section import Section
from evokd.recipe.validation import one_of

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


class ExportSettings(Section):
    """A format that each student is exported to, and compared with itself."""

    to: Annotated[str, one_of("format", lambda: FORMATS)]
    quantize: str = "none"
    """Number format of the weights; none: the student's own."""
    lines: int = Field(default=300, ge=1)
    """Of each test set and direction that are compared, evenly spread."""

    @model_validator(mode="after")
    def _format_has_it(self) -> ExportSettings:
        if problem := _quantization_problem(self.to, self.quantize):
            raise ValueError(f"quantize: {problem}")
        return self

    @property
    def label(self) -> str:
        """ctranslate2-int8"""
        return self.to if self.quantize == "none" else f"{self.to}-{self.quantize}"


def check_format(to: str, quantization: str, reading: bool = False) -> None:
    """See that it can be written here, or at least read.

    Raises:
        InputError: an unknown format or quantization, or a package that isn't here and that writing
            it, or only reading it, needs.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: unknown; accepted are {', '.join(FORMATS)}")
    if problem := _quantization_problem(to, quantization):
        raise InputError(f"--quantize {problem}")
    form = FORMATS[to]
    for package in form.reads if reading else (*form.reads, *form.writes):
        require(package, form.extra, f"--to {to}")
    quantizer = form.quantizers.get(quantization)
    if quantizer and not reading:
        require(quantizer, quantizer, f"--quantize {quantization}")


def _quantization_problem(to: str, quantization: str) -> str | None:
    accepted = FORMATS[to].quantizations
    if quantization in accepted:
        return None
    return f"{quantization}: {to} is written here in {', '.join(accepted)}"


def is_export(folder: str | Path) -> bool:
    """Whether a folder was exported to."""
    return (Path(folder) / EXPORT).is_file()
