"""How the benchmarks measure: machine, paired times, peak memory, one process per variant.

Seconds of a shared machine swing by a factor of two within the hour. So no variant is judged by its
seconds: it alternates with its floor in one process (A B A B …), and the median of the ratios of
neighbours is what a table shows, beside the 10th and the 90th percentile of these ratios.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from tabulate import tabulate

from evokd.distil.memory import MIB, PeakMemory, held_mib, synchronize  # noqa: F401

NOT_INSTALLED = "not installed"
OUT_OF_MEMORY = "out of memory"
_INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
_PACKAGES = ("torch", "transformers", "triton", "trl", "liger_kernel")


def machine() -> dict[str, Any]:
    """What the figures depend on; no host name, no path."""
    processor, flags = _processor()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cpu": processor,
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "logical_cores": psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def version(package: str) -> str | None:
    """The version of an installed package, None where it isn't."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe(found: Mapping[str, Any]) -> str:
    """One or two lines of what `machine` found."""
    versions = ", ".join(
        f"{name} {found[name]}" for name in ("python", *_PACKAGES) if found.get(name)
    )
    instructions = ", ".join(found["instructions"]) or "no vector instructions known"
    return (
        f"{found['date']}: {found['gpu'] or 'no GPU'}; {found['cpu']}, {found['cores']} cores, "
        f"{found['threads']} threads, {instructions}, {found['ram_gib']} GiB\n{versions}"
    )


@dataclass(frozen=True)
class Spread:
    """Of repeated measurements."""

    median: float
    low: float
    """10th percentile"""
    high: float
    """90th percentile"""

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Median, 10th and 90th percentile."""
    points = torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    quantiles = torch.quantile(torch.tensor(values, dtype=torch.float64), points)
    return Spread(*quantiles.tolist())


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Spread of the ratios of neighbours in two series that were taken alternately."""
    return spread([a / b for a, b in zip(of, to, strict=True)])


def alternate(
    calls: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call, taken in turns: A B A B … A call's result is freed before the next.

    Args:
        calls: what to time, each without arguments.
        repeats: rounds that count.
        warm_up: rounds before them that don't.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            synchronize()
            start = time.perf_counter()
            result = call()
            synchronize()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
            del result
    return seconds


def run_alone(
    arguments: Sequence[str],
    *,
    seconds: float | None = None,
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run a Python script in a fresh process; what it printed last, as JSON, is the result.

    Memory is measured on a heap that nobody used before, and a variant that is killed takes nothing
    else with it: the kernel is asked to choose this process first when memory runs out.

    Args:
        arguments: the script and its arguments.
        seconds: time limit.
        environment: variables laid over this process's own.

    Returns:
        The script's dict with `status` "ok" added; or only a `status` that says what went wrong.
    """
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"status": f"stopped after {seconds:g} s"}
    if done.returncode == 0:
        said = json.loads(done.stdout.strip().splitlines()[-1], object_hook=_spread_again)
        return {"status": "ok", **said}
    return {"status": _problem(done.returncode, done.stderr)}


def report(result: Mapping[str, Any]) -> None:
    """What a process of `run_alone` ends with: its result, as the last line it prints."""
    print(json.dumps(result, default=_plain), flush=True)


def give_way() -> None:
    """Called by a process of `run_alone`: be the first to go when memory runs out."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; None is shown as –, a Spread as its median and range."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    align = ("left", *("right" for _ in headers[1:]))
    return tabulate(
        cells, headers=headers, tablefmt="github", disable_numparse=True, colalign=align
    )


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a result file; each Spread becomes {"median": …, "low": …, "high": …}."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {path}")


def _plain(value: object) -> object:
    if isinstance(value, Spread):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no place in a result file")


def _spread_again(found: dict[str, Any]) -> Any:
    return Spread(**found) if found.keys() == {"median", "low", "high"} else found


def _problem(code: int, stderr: str) -> str:
    if code == -signal.SIGKILL or any(
        sign in stderr for sign in ("OutOfMemoryError", "MemoryError", "can't allocate memory")
    ):
        return OUT_OF_MEMORY
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    return f"failed: {lines[-1][:200] if lines else f'exit status {code}'}"


def _processor() -> tuple[str, set[str]]:
    """Name and instruction flags of the CPU; no flags where the system doesn't list them."""
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return platform.processor() or platform.machine(), set()
    pairs = [line.partition(":") for line in listing.read_text().splitlines()]
    found = {key.strip(): value.strip() for key, _, value in reversed(pairs)}
    name = found.get("model name", platform.machine())
    if {"cpu family", "model"} <= found.keys():  # clouds hide the name, never these
        name += f" (family {found['cpu family']}, model {found['model']})"
    return name, set(found.get("flags", "").split())
