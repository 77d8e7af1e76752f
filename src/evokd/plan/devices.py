"""Cards that many have, and this machine: memory, peak arithmetic, bandwidth."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evokd.errors import InputError

GIB = 2.0**30
CORE_FLOPS = 20e9
"""A core's float32 arithmetic in large products, where none was measured."""
UTILISATION = 0.40
"""Of a card's peak that a training reaches, where none was measured."""


@dataclass(frozen=True)
class Device:
    """One card, or a whole machine without one."""

    name: str
    kind: Literal["cpu", "gpu"]
    memory: float
    """Bytes."""
    peak: float | None
    """FLOP/s in bfloat16, dense; of a CPU what it is taken to reach."""
    bandwidth: float
    """Bytes/s."""

    @property
    def expected(self) -> float | None:
        """FLOP/s that a training is taken to reach."""
        if self.peak is None:
            return None
        return self.peak if self.kind == "cpu" else UTILISATION * self.peak

    def expected_words(self) -> str:
        if self.peak is None:
            return "unknown"
        if self.kind == "cpu":
            return f"{CORE_FLOPS / 1e9:.0f} GFLOP/s a core"
        return f"{UTILISATION:.0%} of {self.peak / 1e12:.0f} TFLOP/s"


_CARDS = {
    # name: GiB, TFLOP/s in bfloat16 without sparsity, TB/s; the makers' sheets
    "b200": (180, 2250, 8.0),
    "h200": (140, 989, 4.8),
    "h100 pcie": (80, 756, 2.0),
    "h100": (80, 989, 3.35),
    "a100 40gb": (40, 312, 1.55),
    "a100": (80, 312, 2.0),
    "l40s": (48, 362, 0.86),
    "l4": (24, 121, 0.3),
    "a10": (24, 125, 0.6),
    "a6000": (48, 155, 0.77),
    "5090": (32, 210, 1.79),
    "4090": (24, 165, 1.0),
    "3090": (24, 71, 0.94),
    "mi300x": (192, 1307, 5.3),
}


def card(name: str) -> Device | None:
    """A card by a name that has one of ours in it: `h100`, `NVIDIA H100 80GB HBM3`."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for known, (gib, teraflops, terabytes) in _CARDS.items():
        if set(known.split()) <= {*words}:
            return Device(known.upper(), "gpu", gib * GIB, teraflops * 1e12, terabytes * 1e12)
    return None


def chosen_device(gpu: str | None, memory: str | None) -> Device:
    """What the flags name; this machine where they name nothing.

    Raises:
        InputError: an unknown card without its memory, or no size.
    """
    if gpu is None and memory is None:
        return this_machine()
    found = card(gpu) if gpu else None
    if found is None and memory is None:
        raise InputError(
            f"--gpu {gpu} is unknown; {', '.join(_CARDS)} are accepted, or its memory: "
            "--gpu-memory 80GiB"
        )
    if found is None:
        found = Device(gpu or "GPU", "gpu", 0.0, None, 1.5e12)
    return found if memory is None else replace(found, memory=size_of(memory))


def size_of(text: str) -> float:
    """Bytes of `80GiB`, `80GB` or `80` (GiB).

    Raises:
        InputError: none of these.
    """
    match = re.fullmatch(r"\s*([\d.]+)\s*(GiB|G|GB|MiB|MB|TiB)?\s*", text, re.IGNORECASE)
    units = {"gb": 1e9, "mib": 2.0**20, "mb": 1e6, "tib": 2.0**40}
    try:
        assert match is not None
        return float(match[1]) * units.get((match[2] or "").lower(), GIB)
    except (AssertionError, ValueError):
        raise InputError(f"{text!r} is no size; 80GiB or 24GB are accepted") from None


def this_machine() -> Device:
    """Its first GPU, as nvidia-smi tells, or the whole of it."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
        name, _, mib = said.partition("\n")[0].rpartition(",")
        if name and mib.strip().isdigit():
            found = card(name) or Device(name, "gpu", 0.0, None, 1.5e12)
            return replace(found, name=name, memory=float(mib) * 2**20)
    return cpu()


def cpu() -> Device:
    """This machine without its cards."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    cores = os.cpu_count() or 1
    return Device(f"{_processor()}, {cores} cores", "cpu", memory, cores * CORE_FLOPS, 2e10)


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
