"""A student cut out of its teacher: some of its layers, heads and neurons, weights and all.

The result is an ordinary model of the teacher's class with a config of its own, to be trained and
saved like any other. What is kept of a layer are its best heads and neurons (`importance`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from evokd.errors import InputError
from evokd.models.encoded import collate
from evokd.models.importance import scores_of
from evokd.models.layouts import KNOWN, LINEARS, Layout, layers_of, layout_in, layout_of
from evokd.models.lm_head import decoder_of
from evokd.models.loading import describe, rebuilt
from evokd.recipe.models import CutModel

_MAY_DIFFER = {
    *("layer_idx", "in_features", "out_features", "intermediate_size"),
    *("num_heads", "num_attention_heads", "num_key_value_heads", "num_key_value_groups"),
}
"""Attributes of a layer's modules in which a cut layer differs from the one it was."""


Kept = dict[str, Tensor]
"""Places of a layer's heads, groups (heads of keys and values) and neurons that are kept, in
ascending order; what isn't in it stays whole."""


def calibration_batches(data: Any, pairs: int, batch_size: int = 16) -> list[dict[str, Tensor]]:
    """Some pairs of a data set, spread evenly over it, as batches for `cut`.

    Args:
        data: input_ids and labels of each pair (`EncodedPairs`).
    """
    count = min(pairs, len(data))
    chosen = [data[i * len(data) // count] for i in range(count)]
    return [collate(chosen[i : i + batch_size]) for i in range(0, count, batch_size)]


def cut(
    model: PreTrainedModel,
    settings: CutModel,
    calibration: Sequence[dict[str, Tensor]] | None = None,
) -> PreTrainedModel:
    """A smaller model with part of another one's weights, copied; the other one stays as it is.

    Args:
        settings: what is kept; its vocabulary is `sliced.slice_vocabulary`'s matter.
        calibration: batches of input_ids and attention_mask, (B, T) each, that scores by activation
            are measured on.

    Returns:
        A model of the same class and number format in evaluation mode, all of it trainable.

    Raises:
        InputError: a number that doesn't fit the model, a kind of model that isn't known here, or
            scores by activation without calibration.
    """
    layers = layers_of(model)
    numbers = _layers_to_keep(settings.layers, len(layers))
    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    kept: dict[int, Kept] = {number: {} for number in numbers}
    if settings.heads is not None or settings.intermediate_size is not None:
        layout = layout_of(model)
        heads = _heads_to_keep(settings.heads, layout, text)
        width = _width_to_keep(settings.intermediate_size, layout)
        if (heads, width) != (layout.heads, layout.neurons):
            scores = scores_of(model, layout, settings.by, calibration)
            kept = {number: _best(layout, heads, width, *scores[number]) for number in numbers}
            _narrow(text, layout, heads, width)
    for name, value in list(vars(text).items()):  # lists of an entry per layer
        if "layer" in name and isinstance(value, (list, tuple)) and len(value) == len(layers):
            setattr(text, name, [value[number] for number in numbers])
    text.num_hidden_layers = len(numbers)
    weights, origins = _weights(model, kept)
    student = rebuilt(model, config, weights, origins)
    for old, new in zip(numbers, layers_of(student), strict=True):
        _check_alike(layers[old], new, old, text.model_type)
    return student


def check_cut(settings: CutModel, config: Any) -> None:
    """See from the shape of a teacher, before any hour is spent, whether it can be cut like this.

    Raises:
        InputError: a number that doesn't fit.
    """
    text = config.get_text_config()
    _layers_to_keep(settings.layers, text.num_hidden_layers)
    if text.model_type not in KNOWN:
        return  # `cut` looks at the model itself
    layout = layout_in(text)
    _heads_to_keep(settings.heads, layout, text)
    _width_to_keep(settings.intermediate_size, layout)


def describe_cut(before: PreTrainedModel, after: PreTrainedModel) -> str:
    """What a cut took away, and how much faster that should be, in a few lines.

    Every weight of a linear layer is one multiply-add per token, those of the head one where a
    token is predicted. Attention over earlier tokens, norms and memory aren't counted, so the
    ratios are estimates, of decoding as of training the student (the teacher's pass is apart).
    """
    old, new = _sizes(before), _sizes(after)
    lines = [
        f"layers {old['layers']} → {new['layers']}, "
        f"vocabulary {old['vocabulary']} → {new['vocabulary']}"
    ]
    for name, words in (
        ("parameters", "parameters with embeddings"),
        ("parameters_without_embeddings", "parameters without embeddings"),
        ("predicting", "multiply-adds per token predicted"),
        ("reading", "multiply-adds per token only read"),
    ):
        if name.startswith("parameters"):
            ratio = f"{new[name] / max(1, old[name]):.0%} kept"
        else:
            ratio = f"estimate: {old[name] / max(1, new[name]):.1f}× as fast"
        lines.append(f"{words}: {_short(old[name])} → {_short(new[name])} ({ratio})")
    return "\n".join(lines)


def _sizes(model: PreTrainedModel) -> dict[str, Any]:
    """`describe`, and multiply-adds per token whose successor is predicted or that is only read."""
    linears = [m for m in decoder_of(model).modules() if isinstance(m, nn.Linear)]
    reading = sum(linear.weight.numel() for linear in linears)
    head = model.get_output_embeddings().weight.numel()
    return describe(model) | {"predicting": reading + head, "reading": reading}


def _short(count: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.2f}{unit}"
    return str(count)


def _layers_to_keep(wanted: int | tuple[int, ...] | None, count: int) -> list[int]:
    if wanted is None:
        return list(range(count))
    if isinstance(wanted, int):
        if not 1 <= wanted <= count:
            raise InputError(
                f"student.cut.layers={wanted}, but the teacher has {count} layers; "
                f"1 to {count} is accepted, or a list such as [0, {count - 1}]"
            )
        if wanted == 1:
            return [count - 1]
        steps = wanted - 1  # in whole numbers: i · (count − 1) / steps, rounded
        return [(2 * i * (count - 1) + steps) // (2 * steps) for i in range(wanted)]
    numbers = list(wanted)
    fitting = sorted({n for n in numbers if 0 <= n < count})
    if not numbers or numbers != fitting:
        raise InputError(
            f"student.cut.layers={numbers}: distinct numbers from 0 to {count - 1} in ascending "
            f"order are accepted; type {fitting or [0, count - 1]}"
        )
    return numbers


def _heads_to_keep(wanted: int | None, layout: Layout, text: Any) -> int:
    if wanted is None or wanted == layout.heads:
        return layout.heads
    fitting = [
        heads
        for heads in range(layout.unit, layout.heads + 1, layout.unit)
        if _is_config(text, layout, heads)
    ]
    if wanted not in fitting:
        shared = f", {layout.unit} of which share their keys" if layout.unit > 1 else ""
        raise InputError(
            f"student.cut.heads={wanted}, but the teacher has {layout.heads} attention heads"
            f"{shared}, and a {text.model_type} model of width {text.hidden_size} may have "
            f"{', '.join(map(str, fitting))} of them; type one of these"
        )
    return wanted


def _is_config(text: Any, layout: Layout, heads: int) -> bool:
    """Whether transformers would load a model with so many heads: some kinds refuse some."""
    changed = copy.deepcopy(text)
    _narrow(changed, layout, heads, layout.neurons)
    try:
        type(text).from_dict(changed.to_dict())
    except Exception:  # the checks of configs raise what they like
        return False
    return True


def _width_to_keep(wanted: int | None, layout: Layout) -> int:
    if wanted is not None and wanted > layout.neurons:
        raise InputError(
            f"student.cut.intermediate_size={wanted}, but the teacher's feed-forward layers have "
            f"{layout.neurons} neurons; 1 to {layout.neurons} is accepted"
        )
    return wanted or layout.neurons


def _narrow(text: Any, layout: Layout, heads: int, width: int) -> None:
    """Write other sizes into a config."""
    if heads != layout.heads:
        text.head_dim = layout.head_dim  # else it would be derived from the number of heads
        text.num_attention_heads = heads
        text.num_key_value_heads = heads // layout.unit if layout.groups > 1 else 1
    text.intermediate_size = width


def _best(
    layout: Layout, heads: int, width: int, head_scores: Tensor, neuron_scores: Tensor
) -> Kept:
    """The best of one layer; heads that share their keys stay or go together."""
    kept = {}
    if width != layout.neurons:
        kept["neurons"] = _largest(neuron_scores, width)
    if heads != layout.heads:
        units = _largest(head_scores.unflatten(0, (-1, layout.unit)).sum(1), heads // layout.unit)
        kept["heads"] = (units[:, None] * layout.unit + torch.arange(layout.unit)).flatten()
        if layout.groups > 1:
            kept["groups"] = units
    return kept


def _largest(scores: Tensor, count: int) -> Tensor:
    """Places of the largest, in ascending order; of equal ones the first."""
    return scores.sort(descending=True, stable=True).indices[:count].sort().values


def _weights(
    model: PreTrainedModel, kept: dict[int, Kept]
) -> tuple[dict[str, Tensor], Callable[[str], str]]:
    """Copies of the weights that are kept under their new names, and new name → old name."""
    stack = layers_of(model)
    prefix = next(name for name, module in model.named_modules() if module is stack) + "."
    weights = {n: w.clone() for n, w in model.state_dict().items() if not n.startswith(prefix)}
    for new, (old, part) in enumerate(kept.items()):
        for name, weight in stack[old].state_dict().items():
            weights[f"{prefix}{new}.{name}"] = _part(weight, name, stack[old], part)
    numbers = list(kept)

    def origin(name: str) -> str:
        pattern = rf"^{re.escape(prefix)}(\d+)"
        return re.sub(pattern, lambda match: f"{prefix}{numbers[int(match[1])]}", name)

    return weights, origin


def _part(weight: Tensor, name: str, layer: Any, kept: Kept) -> Tensor:
    """What is kept of a layer's weight."""
    linear, _, kind = name.rpartition(".")
    parts, dim = LINEARS.get(linear, ("", 0))
    places = kept.get(parts)
    if places is None or (kind == "bias" and dim == 1):
        return weight.clone()
    if parts != "neurons":
        size = layer.self_attn.head_dim
        places = (places[:, None] * size + torch.arange(size)).flatten()
    return weight.index_select(dim, places.to(weight.device))


def _check_alike(before: nn.Module, after: nn.Module, number: int, model_type: str) -> None:
    """See that a layer does in the student what it did in the teacher.

    What a layer is may hang on its number, in ways that a config doesn't show (every second one
    looks at a window only).

    Raises:
        InputError: it would do something else.
    """
    simple = (bool, int, float, str, type(None))
    for (name, old), (_, new) in zip(before.named_modules(), after.named_modules(), strict=True):
        for key in vars(old).keys() | vars(new).keys():
            values = vars(old).get(key), vars(new).get(key)
            if key.startswith("_") or key in _MAY_DIFFER or key == "training":
                continue
            if all(isinstance(value, simple) for value in values) and values[0] != values[1]:
                raise InputError(
                    f"layer {number} of this {model_type} model would change with its number "
                    f"({name}.{key}: {values[0]} → {values[1]}), so its layers can't be taken "
                    "apart; choose others with student.cut.layers, or take model: fresh"
                )
