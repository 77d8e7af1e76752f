"""A study of seconds with a stage of every kind, and what two runs of it must have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

TREE: dict[str, Any] = {
    "name": "tiny",
    "directions": ["en-de", "de-en"],
    "corpus": {
        "train": [{"path": "phrasebook:train:60"}],
        "valid": [{"path": "phrasebook:valid:6"}],
        "test": [{"name": "phrases", "path": "phrasebook:test:6"}],
    },
    "prompt": "compact",
    "tokenizer": {"vocab_size": 400},
    "teacher": {
        "model": "fresh",
        "fresh": {"hidden_size": 48, "layers": 1, "heads": 2},
        "training": {"max_steps": 90, "learning_rate": 0.02, "eval_every": 30, "save_every": 20},
        "signal": "hidden",
    },
    "student": {
        "model": "fresh",
        "fresh": {"hidden_size": 32, "layers": 1, "heads": 2},
        "warm_start_steps": 3,
    },
    "methods": [
        "sft",
        "self_evolution",
        "seq_kd",
        {"name": "own_words", "objective": "jsd", "on_policy": {"share": 0.5, "every": 2}},
    ],
    "training": {
        "max_steps": 12,
        "batch_size": 16,
        "learning_rate": 0.003,
        "max_length": 128,
        "eval_every": 4,
        "save_every": 3,
        "log_every": 2,
    },
    "teacher_text": {"beam": 2},
    "decoding": {"extra_tokens": 4, "tokens_per_source_token": 1.2},
    "pruning": {"methods": ["sft"], "levels": [0.5]},
    "scoring": {"bootstrap_samples": 50},
}
"""Checkpoints every few steps, so that most kills fall between two of them."""

SMALLER: dict[str, Any] = {**TREE, "methods": ["sft", "seq_kd"], "pruning": {}}
"""With two students."""

SUFFIXES = (".safetensors", ".txt", ".src", ".ref", ".npy", ".bin")
PLACES = (
    *("corpus", "tokenizer", "teacher", "start", "gate", "teacher_text/teacher", "cache/hidden"),
    *(f"students/{name}.seed1" for name in ("sft", "self_evolution", "seq_kd", "own_words")),
    "students/sft_pruned50.seed1",
)
"""Stages in the order in which they are made."""


def write_recipe(path: Path, tree: dict[str, Any] = TREE) -> Path:
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def at_work(folder: Path) -> str:
    """What of the study is being made, or would be made next."""
    for place in PLACES:
        if not (folder / place / "manifest.json").exists():
            return place.split("/")[0] if place.startswith("teacher_text") else place
    if not (folder / "results.json").exists():
        return "translations, scores"
    return "report"


def outcome(folder: Path) -> dict[str, bytes]:
    """What a run leaves behind, less what tells the time: weights, text, translations, scores."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if "kept" in path.parts or not path.is_file():
            continue
        if path.suffix == ".safetensors" and name.startswith("cache/"):
            found[name] = _tensors(path)
        elif path.suffix in SUFFIXES or path.name in ("pairs.jsonl", "tokenizer.json"):
            found[name] = path.read_bytes()
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for key in ("scores", "comparisons", "summary", "gap_closed", "behaviour", "examples"):
        found[f"results.json: {key}"] = json.dumps(results[key], sort_keys=True).encode()
    return found


def differing(folder: Path, reference: dict[str, bytes]) -> list[str]:
    """Names of what isn't as in the reference, or is in one of them only."""
    found = outcome(folder)
    names = sorted({*found, *reference})
    return [name for name in names if found.get(name) != reference.get(name)]


def _tensors(path: Path) -> bytes:
    """A file of tensors without its header, whose notes stand in any order."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]
