"""What neural metrics run on: one environment for all of them, and the model of each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evokd.errors import InputError
from evokd.evaluate.neural import FIELDS, RUNNER, data_folder, runner
from evokd.recipe.metrics import METRICS
from evokd.rundir.files import fingerprint, hash_file, write_json

TORCH = "torch==2.13.0"
"""Not among the requirements, which have hashes: which build of it fits is the machine's."""
REQUIREMENTS = RUNNER.with_name("neural_requirements.txt")
PYTHONS = ((3, 12), (3, 11), (3, 10))
"""For which there is numpy 1, which unbabel-comet needs."""
WEIGHTS = {"comet": "checkpoints/model.ckpt", "metricx": "*.safetensors", "marian": "model.*"}
MARIAN = (".bin", ".npz")


def install(metric: str, model: str | None, say: Callable[[str], None]) -> str:
    """Make what a metric needs, try it on a segment and note down that it is there.

    Args:
        model: on disk, instead of the one on the hub: a folder as the library saves it, or a file
            of Marian's with its vocab.spm beside it.

    Returns:
        Its signature.

    Raises:
        InputError: no such metric or model, or something can't be installed or fetched.
    """
    spec = METRICS.get(metric)
    if spec is None or spec.model is None:
        neural = ", ".join(name for name, row in METRICS.items() if row.model)
        raise InputError(f"metric {metric!r} has nothing to install; accepted: {neural}")
    if model is not None and not Path(model).exists():
        raise InputError(f"{model} not found; give the folder of a model, or a file of Marian's")
    kind = spec.runner
    by_marian = spec.marian if model is None else model.endswith(MARIAN)
    if by_marian and find_spec("pymarian"):
        kind = "marian"
    elif model is not None and by_marian:
        raise InputError(f"{model} needs pymarian; pip install 'evokd[marian]'")
    python = sys.executable if kind == "marian" else str(environment(say))
    place = _model(metric, kind, python, model, say)
    weights = sorted(place.glob(WEIGHTS[kind]))
    if not weights:
        raise InputError(f"{place} holds no {WEIGHTS[kind]}; a model of {spec.model}'s kind does")
    of_hub = weights[0].readlink() if kind == "marian" else place / "any"
    revision = next((p.name for p in of_hub.parents if p.parent.name == "snapshots"), None)
    revision = revision or fingerprint(*(hash_file(path) for path in weights))
    say(f"{metric}: one segment, to try it …")
    facts = _facts(metric, python, kind, place)
    name = spec.model if model is None else Path(model).name
    signature = f"{facts}|{name}|{revision[:12]}"
    note = {"kind": kind, "python": python, "model": str(place), "facts": facts}
    write_json(data_folder(metric) / "installed.json", note | {"signature": signature})
    return signature


def environment(say: Callable[[str], None]) -> Path:
    """Its Python; made by uv, or venv and pip, where it isn't there as it should be."""
    folder = data_folder() / "environment"
    python, made = folder / "bin" / "python", folder / "made_of"
    made_of = fingerprint(TORCH, hash_file(REQUIREMENTS))
    if made.is_file() and made.read_text(encoding="utf-8") == made_of:
        return python
    say(f"an environment for neural metrics, in {folder} …")
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--clear", "--python", "{}.{}".format(*PYTHONS[0]), str(folder)])
        pip = [uv, "pip", "install", "--python", str(python)]
    else:
        _run([_interpreter(), "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    _run([*pip, TORCH])
    _run([*pip, "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)])
    made.write_text(made_of, encoding="utf-8")
    return python


def _interpreter() -> str:
    """A Python that the requirements have wheels for."""
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    names = ["python{}.{}".format(*version) for version in PYTHONS]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise InputError(f"neural metrics need {', '.join(names)}, or uv, which fetches one")
    return found


def _model(
    metric: str, kind: str, python: str, model: str | None, say: Callable[[str], None]
) -> Path:
    """The folder that the runner takes."""
    spec = METRICS[metric]
    files: dict[str, Any] = {"model": model}
    if model is None:
        name = spec.marian if kind == "marian" else spec.model
        say(f"{metric}: {name} …")
        done = _output(runner(python, "fetch", kind, str(name)))
        if done.returncode:
            raise InputError(
                f"{metric}: {name} can't be fetched: {_last(done.stderr)}; models that ask for it "
                f"need their terms accepted at https://huggingface.co/{spec.model} and `hf auth "
                "login`; --model takes one from disk"
            )
        files = json.loads(done.stdout)
    path = Path(files["model"]).absolute()
    if kind != "marian":
        return path
    folder = data_folder(metric) / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / f"model{path.suffix}").symlink_to(path)
    (folder / "vocab.spm").symlink_to(
        Path(files.get("vocab") or path.with_name("vocab.spm")).absolute()
    )
    return folder


def _facts(metric: str, python: str, kind: str, place: Path) -> str:
    """What judges, if it does."""
    fields = ["mt", *(FIELDS[need] for need in METRICS[metric].needs)]
    segment = json.dumps(dict.fromkeys(fields, "2 + 2 = 4"))
    done = _output(runner(python, kind, str(place)), segment + "\n")
    rows = [json.loads(line) for line in done.stdout.split("\n") if line]
    if len(rows) != 2:
        raise InputError(f"{metric} doesn't work with {place}: {_last(done.stderr)}")
    return str(rows[0]["facts"])


def _run(command: list[str]) -> None:
    if status := subprocess.run(command, stdout=sys.stderr).returncode:
        raise InputError(f"{' '.join(command)} ended with {status}; why stands above")


def _output(command: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, encoding="utf-8")


def _last(text: str) -> str:
    return text.strip().split("\n")[-1][:300]
