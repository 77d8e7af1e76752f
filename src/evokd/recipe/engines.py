"""The engines that write translations, one row each: recipes, command line and decoding read it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from evokd.errors import InputError

OWN = "evokd"


@dataclass(frozen=True)
class EngineSpec:
    """One engine, as far as it is known before it is started.

    module: its `start(translator, settings)` gives an `evokd.translate.engines.engine.Engine`; None
    for evokd's own decoder. beams: whether it has beam search. precisions: what its weights may be
    computed in. quantized: whether it takes models whose weights are in 8 or 4 bits. package:
    needed here, by the extra of that name. variable: of the environment, the Python of another
    environment that it lives in.
    """

    module: str | None
    beams: bool = True
    precisions: tuple[str, ...] = ("auto",)
    quantized: bool = True
    package: str | None = None
    variable: str | None = None


ENGINES = {
    OWN: EngineSpec(None),
    "ctranslate2": EngineSpec(
        "evokd.translate.engines.ctranslate2_engine",
        precisions=("auto", "int8"),
        quantized=False,
        package="ctranslate2",
    ),
    "vllm": EngineSpec(
        "evokd.translate.engines.vllm_engine", beams=False, variable="EVOKD_VLLM_PYTHON"
    ),
}


def check_engine(engine: str, precision: str, beams: Mapping[str, int]) -> None:
    """Raises ValueError: an engine can't do what is asked of it.

    Args:
        beams: hypotheses side by side, by the place in the recipe that asks for so many.
    """
    spec = ENGINES[engine]
    able = [name for name, one in ENGINES.items() if one.beams]
    for place, beam in beams.items():
        if beam > 1 and not spec.beams:
            raise ValueError(
                f"{place}: found {beam}; engine {engine} translates greedily, so 1 is accepted, or "
                f"decoding.engine={' or '.join(able)}"
            )
    if precision not in spec.precisions:
        able = [name for name, one in ENGINES.items() if precision in one.precisions]
        raise ValueError(
            f"decoding.precision: found {precision}; engine {engine} has "
            f"{', '.join(spec.precisions)}; take that, or decoding.engine={' or '.join(able)}"
        )


def check_installed(engine: str) -> None:
    """Raises InputError: an engine isn't on this machine."""
    spec = ENGINES[engine]
    if spec.package and find_spec(spec.package) is None:
        raise InputError(
            f"decoding.engine: {engine} isn't installed; type pip install 'evokd[{spec.package}]', "
            f"or decoding.engine={OWN}"
        )
    if spec.variable:
        python = os.environ.get(spec.variable, "")
        if not os.access(python, os.X_OK) or os.path.isdir(python):
            raise InputError(
                f"decoding.engine: {engine} lives in an environment of its own, and "
                f"{spec.variable} is {python or 'not set'}; the path of that environment's Python "
                f"is accepted (docs/engines.md), or decoding.engine={OWN}"
            )
