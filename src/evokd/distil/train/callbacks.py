"""What goes on around a training: metrics on disk, curves, a progress bar, a warning, masks of
pruned weights, and a summary."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from evokd.models.sharding import laid_out_like
from evokd.progress import bar_of
from evokd.rundir.files import read_json_lines, write_lines


class MetricsFile(TrainerCallback):
    """One JSON object a logged step; a resumed training takes back what it will log again."""

    def __init__(self, path: Path):
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        logged = read_json_lines(self.path)
        kept = [json.dumps(line) for line in logged if line["step"] <= state.global_step]
        write_lines(self.path, kept)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if not state.is_world_process_zero or "train_runtime" in logs:
            return
        line = {"step": state.global_step, **{k: _plain(v) for k, v in logs.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class HardWarning(TrainerCallback):
    """Says so when nearly every token stays hard: their gradients are damped, learning is slow."""

    LIMIT = 0.8
    PATIENCE = 5

    def __init__(self, log: Callable[[str], None]):
        self.log = log
        self.in_a_row = 0
        self.warned = False

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        share = kwargs["logs"].get("hard_share")
        if share is None or not state.is_world_process_zero:
            return
        self.in_a_row = self.in_a_row + 1 if share > self.LIMIT else 0
        if self.in_a_row >= self.PATIENCE and not self.warned:
            self.warned = True
            self.log(
                f"warning: {share:.0%} of the tokens are hard at step {state.global_step}; the "
                "loss of a hard token is bounded and its gradient damped, so a student this weak "
                "learns slowly: take gate: vouched, warm-start it (student.warm_start_steps) or "
                "raise gamma"
            )


class Bar(TrainerCallback):
    """A progress bar with the time left."""

    def __init__(self, label: str):
        self.label = label

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        silent = not state.is_world_process_zero
        self.bar = bar_of(self.label, state.max_steps, "step", state.global_step, silent=silent)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "student_nll" in logs:
            shown = {"nll": f"{logs['student_nll']:.3f}"}
            if "hard_share" in logs:
                shown["hard"] = f"{logs['hard_share']:.0%}"
            self.bar.set_postfix(shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()


class Masks(TrainerCallback):
    """Keeps pruned weights at 0: after each optimizer step they are multiplied by their masks.

    Args:
        masks: by the name of a parameter, 0 and 1 in its shape.

    Raises:
        ValueError: no such parameter, or another shape.
    """

    def __init__(self, model: nn.Module, masks: dict[str, Tensor]):
        known = dict(model.named_parameters())
        self.masked: list[tuple[nn.Parameter, Tensor]] = []
        for name, mask in masks.items():
            if name not in known or known[name].shape != mask.shape:
                there = "no such weight" if name not in known else f"it has {known[name].shape}"
                raise ValueError(f"the mask of {name} has {mask.shape}; {there}")
            self.masked.append((known[name], mask))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.masked = [
            (weight, laid_out_like(weight, mask.to(weight.dtype))) for weight, mask in self.masked
        ]
        self.on_optimizer_step(args, state, control)

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for weight, mask in self.masked:
            weight.mul_(mask)


def tensorboard(folder: Path) -> TensorBoardCallback:
    """Curves beside metrics.jsonl; Trainer's own place is thrown away with the checkpoints."""
    callback = TensorBoardCallback()
    callback.logging_dir = str(folder / "tensorboard")
    return callback


def summary(path: Path) -> dict[str, float]:
    """Mean share of padding, tokens a second; first and last of what was logged of the teacher's
    side."""
    logged = read_json_lines(path)
    shares = [line["padding_share"] for line in logged if "padding_share" in line]
    facts = {"padding_share": sum(shares) / len(shares)} if shares else {}
    facts |= _own_share(logged) | _speed(logged)
    lines = [line for line in logged if "hard_share" in line]
    if not lines:
        return facts
    last = lines[-max(1, len(lines) // 10) :]
    return facts | {
        "hard_share_start": lines[0]["hard_share"],
        "hard_share_end": sum(line["hard_share"] for line in last) / len(last),
        "noevo_loss_end": sum(line["noevo_loss"] for line in last) / len(last),
    }


def _speed(logged: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over what was logged after the first step, which warms up."""
    names = ("tokens_per_s", "response_tokens_per_s")
    lines = [line for line in logged if all(line.get(name) for name in names)]
    lines = lines[1:] or lines
    return {name: median(line[name] for line in lines) for name in names} if lines else {}


def _own_share(logged: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of the logged steps that weren't on given text; a line speaks of the steps since the last."""
    lines = [line for line in logged if "own_share" in line]
    if not lines:
        return {}
    begins = [0, *(line["step"] for line in lines[:-1])]
    steps = [line["step"] - begin for line, begin in zip(lines, begins, strict=True)]
    own = sum(line["own_share"] * count for line, count in zip(lines, steps, strict=True))
    return {"own_share": own / max(1, sum(steps))}


def _plain(value: Any) -> Any:
    """Six digits that count; JSON knows no infinity."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
