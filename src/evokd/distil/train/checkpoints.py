"""Checkpoints of a training: which are whole, the newest of them, and what it leaves behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from evokd import processes
from evokd.distil.memory import PeakMemory
from evokd.rundir.files import read_json, write_json

COMPLETE = "complete"
"""File that marks a checkpoint as written to its end; holds the sizes of its files."""
STATE = "trainer_state.json"
"""What Trainer writes into a checkpoint to go on from."""


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; half-written ones are removed."""
    newest = None
    for path in sorted(folder.glob("checkpoint-*"), key=step_of):
        if _is_whole(path):
            newest = path
        else:
            shutil.rmtree(path)
    if newest is not None:
        _point_to_best(newest)
    return newest


def _is_whole(checkpoint: Path) -> bool:
    """Neither cut off while it was written nor while it was removed."""
    try:
        files = read_json(checkpoint / COMPLETE)["files"]
        read_json(checkpoint / STATE)
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError):
        return False


def _point_to_best(checkpoint: Path) -> None:
    """Trainer notes the best checkpoint's path; the run folder may have moved since."""
    state = read_json(checkpoint / STATE)
    best = state.get("best_model_checkpoint")
    if best is not None:
        here = str(checkpoint.with_name(Path(best).name))
        write_json(checkpoint / STATE, {**state, "best_model_checkpoint": here})


class CheckpointMark(TrainerCallback):
    """Marks each checkpoint once all of it is on disk, and keeps what training took: time, memory.

    Args:
        before: what the mark of the checkpoint that is gone on from holds.
        memory: watches this sitting.
    """

    def __init__(self, before: Mapping[str, Any], memory: PeakMemory):
        self.start = time.perf_counter() - before.get("seconds", 0.0)
        self.peak_before, self.memory = before.get("peak_mib"), memory

    def seconds(self) -> float:
        """Since the training began, without the time between a kill and the next sitting."""
        return time.perf_counter() - self.start

    def peak_mib(self) -> float | None:
        """Most memory held at once, in this sitting or in those before it."""
        known = [mib for mib in (self.peak_before, self.memory.so_far()) if mib is not None]
        return round(max(known), 1) if known else None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        processes.all_done()  # with what each of them writes
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = {
            str(path.relative_to(folder)): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            # The state's size changes where _point_to_best writes it anew.
            if path.is_file() and path.name != STATE
        }
        took = {"seconds": round(self.seconds(), 2), "peak_mib": self.peak_mib()}
        write_json(folder / COMPLETE, took | {"files": files})


def step_of(path: Path) -> int:
    """The step that a checkpoint was written after, from its name."""
    return int(path.name.rsplit("-", 1)[1])
