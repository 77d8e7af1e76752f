"""Memory held at once: the process's on a CPU, what torch's allocator has given out on a GPU."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

MIB = 2**20


class PeakMemory:
    """Most memory held at once inside a `with`, beyond what was held on entry.

    On CPU that is resident memory as the kernel accounts for it (VmHWM, reset on entry through
    /proc/self/clear_refs), so a buffer counts for the pages that were written, and a short peak
    isn't missed as it would be by sampling. Freed heap goes back to the system first: what a call
    reuses of it wouldn't count. On a GPU it is what torch's allocator has given out.

    Keep the result alive inside the `with` where outputs are to count. Linux only on CPU;
    `mib` is None elsewhere.
    """

    def __init__(self, device: str | torch.device = "cpu"):
        self.on_gpu = torch.device(device).type == "cuda"
        self.mib: float | None = None
        self.held_mib: float | None = None
        """On entry."""

    def __enter__(self) -> PeakMemory:
        self.held_mib = held_mib("cuda" if self.on_gpu else "cpu")
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        elif self.held_mib is not None:
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:  # some containers don't let it
                self.held_mib = None
        return self

    def __exit__(self, *_problem: object) -> None:
        peak = self.so_far()
        if peak is not None and self.held_mib is not None:
            self.mib = peak - self.held_mib

    def so_far(self) -> float | None:
        """Most that was held since entry, all of it, in MiB."""
        if self.held_mib is None:
            return None
        if self.on_gpu:
            synchronize()
            return torch.cuda.max_memory_allocated() / MIB
        return _status_mib("VmHWM")


def held_mib(device: str | torch.device = "cpu") -> float | None:
    """Memory held now, after all that is free was given back; None where it can't be told."""
    gc.collect()
    if torch.device(device).type == "cuda":
        synchronize()
        return torch.cuda.memory_allocated() / MIB
    if not Path("/proc/self/clear_refs").exists():
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl has none
    if trim is not None:
        trim(0)
    return _status_mib("VmRSS")


def synchronize() -> None:
    """Wait for the GPU, if there is one in use: its calls return before they are done."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _status_mib(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024  # kB
    raise OSError(f"/proc/self/status has no {key}")
