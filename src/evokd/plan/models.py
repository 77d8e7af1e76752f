"""The shapes of a recipe's models: fresh, cut, known, from a config, a .gguf file or the hub."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from evokd.data.textfiles import path_in
from evokd.errors import InputError
from evokd.plan.known import known_shape
from evokd.plan.shapes import Shape, cut_shape, fresh_shape, shape_of_config
from evokd.recipe.models import ModelSettings
from evokd.recipe.recipe import Recipe

USED_TOKENS = 20_000
"""What a vocabulary that is pruned to the corpus is taken to keep."""


class Shapes(NamedTuple):
    """Of the two models."""

    teacher: Shape
    student: Shape


def shapes_of(recipe: Recipe, configs: Mapping[str, Path] | None = None) -> Shapes:
    """The shapes that a recipe names.

    Args:
        configs: "teacher" or "student" → a config.json that is read in the place of its model.

    Raises:
        InputError: a model whose shape can't be found.
    """
    configs, found = configs or {}, {}
    models: dict[str, ModelSettings] = {"teacher": recipe.teacher, "student": recipe.student}
    ready_made = None
    for name, settings in models.items():
        if name in configs:
            found[name] = _from_config(configs[name])
        elif settings.model not in ("fresh", "cut"):
            found[name] = _shape_of(settings, name)
        ready_made = ready_made or found.get(name)
    vocabulary = ready_made.vocabulary if ready_made else recipe.tokenizer.vocab_size
    for name, settings in models.items():
        if name not in found and settings.model == "fresh":
            found[name] = fresh_shape(settings.fresh, vocabulary)
    if "student" not in found:
        found["student"] = cut_shape(found["teacher"], recipe.student.cut, USED_TOKENS)
    return Shapes(found["teacher"], found["student"])


def _shape_of(settings: ModelSettings, name: str) -> Shape:
    where = settings.model
    if where.startswith("gguf:") or where.lower().endswith(".gguf"):
        from evokd.models.loading import file_in_package

        place = file_in_package(where[5:]) if where.startswith("gguf:") else path_in(Path(), where)
        return shape_of_gguf(place)
    folder = path_in(Path(), where)
    if folder.is_dir():
        return _from_config(folder / "config.json")
    shape = known_shape(where)
    if shape is not None:
        return shape
    try:
        from evokd.models.loading import load_config

        return shape_of_config(load_config(settings).to_dict(), where)
    except (InputError, ImportError) as error:
        raise InputError(
            f"{name}.model: the shape of {where} isn't known here and couldn't be asked for "
            f"({str(error).splitlines()[0][:160]}); give its config: --config {name}=config.json"
        ) from None


def _from_config(path: Path) -> Shape:
    try:
        return shape_of_config(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; the config.json of a model is accepted") from None


_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


def shape_of_gguf(path: Path) -> Shape:
    """From a .gguf file's header: its keys, and the names of its tensors for a tied head.

    Raises:
        InputError: no such file, or no header.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ValueError("it doesn't begin with GGUF")
            _, tensors, count = struct.unpack("<IQQ", file.read(20))
            found = {key: value for key, value in (_entry(file) for _ in range(count))}
            names = [_tensor(file) for _ in range(tensors)]
        kind = str(found["general.architecture"])
    except (OSError, ValueError, struct.error, KeyError) as error:
        raise InputError(f"{path}: its header can't be read ({error})") from None
    keys = {
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "vocab_size": "vocab_size",
    }
    config = {name: found.get(f"{kind}.{key}") for name, key in keys.items()}
    config["vocab_size"] = config["vocab_size"] or found.get("tokenizer.ggml.tokens")
    config |= {"model_type": kind.replace("gemma3", "gemma3_text")}
    return shape_of_config(
        config | {"tie_word_embeddings": "output.weight" not in names}, str(path)
    )


def _entry(file: BinaryIO) -> tuple[str, object]:
    key = _text(file)
    return key, _value(file, struct.unpack("<I", file.read(4))[0])


def _value(file: BinaryIO, kind: int) -> object:
    """A number or a text; of an array only its length."""
    if kind == _TEXT:
        return _text(file)
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner in _PLAIN:
            file.seek(struct.calcsize("<" + _PLAIN[inner]) * count, 1)
        else:
            for _ in range(count):
                _value(file, inner)
        return count
    format = "<" + _PLAIN[kind]
    return struct.unpack(format, file.read(struct.calcsize(format)))[0]


def _text(file: BinaryIO) -> str:
    return file.read(struct.unpack("<Q", file.read(8))[0]).decode("utf-8", "replace")


def _tensor(file: BinaryIO) -> str:
    """The name of a tensor, behind which its sizes, type and place stand."""
    name = _text(file)
    file.seek(8 * struct.unpack("<I", file.read(4))[0] + 12, 1)
    return name
