"""Decoding of many prompts, greedily or by another choice of each token: rows that have ended
leave, others take their place.

All rows end at the same column, padding stands in front of them. So a row can leave, a row can come
in and columns that are padding in all rows can go, at any time, by slicing the cache of keys and
values: no token is computed for the sake of a longer neighbour. What is computed for a row is what
it would be alone, to rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from evokd.models.batching import Budget, Groups, Request, behind_padding, left_padded
from evokd.translate.stopping import Ends

SPARE_COLUMNS = 16
"""Columns allocated ahead of need."""
SHARE_TO_LEAVE = 3
"""Rows leave together, once one in so many has ended: each time, the cache is copied."""
Choose = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From logits (rows, V), places of the requests (rows,) and the tokens until each one's cap (rows,)
to the tokens that come next (rows,). A row that has ended may be among them, with 0 left."""


def supports_continuous_batching(model: Any) -> bool:
    """Whether this loop fits a model: one of transformers' own, whose memory is keys and values of
    all tokens, which takes positions and a mask as the plain decoders do.

    State-space and linear-attention layers, chunked attention, caches shared between layers and
    models that prepare their own inputs are left to transformers' generate.
    """
    kind = type(model)
    if not (
        isinstance(model, PreTrainedModel)
        and isinstance(model, GenerationMixin)
        and kind.__module__.startswith("transformers.")
        and kind.prepare_inputs_for_generation is GenerationMixin.prepare_inputs_for_generation
    ):
        return False
    parameters = inspect.signature(kind.forward).parameters
    config = model.config.get_text_config(decoder=True)
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return (
        {"position_ids", "logits_to_keep", "past_key_values"} <= parameters.keys()
        and getattr(config, "attention_chunk_size", None) is None
        and not getattr(config, "num_kv_shared_layers", 0)
        and all(type(layer) in plain for layer in DynamicCache(config=model.config).layers)
    )


@torch.no_grad()
def decode_continuously(
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    budget: Budget,
    choose: Choose | None = None,
    sync_every: int | None = None,
) -> Groups:
    """Answer requests, best ordered from long to short.

    Args:
        model: in evaluation mode, one for which `supports_continuous_batching`.
        choose: what comes next; default: the most likely token.
        sync_every: steps from one look at which rows have ended to the next; default: 1 on a CPU,
            4 on a GPU, which runs ahead of Python until it is asked for a number.
    """
    choose = choose or _most_likely
    sync_every = sync_every or (1 if model.device.type == "cpu" else 4)
    sizes = [request.size for request in requests]
    start = 0
    parts: list[tuple[_Rows, list[int]]] = []
    while start < len(requests) or parts:
        present = [sizes[rows.places[i]] for rows, staying in parts for i in staying]
        coming = budget.more(sizes[start : start + budget.rows], present)
        if coming:
            rows, logits = _prefilled(model, requests, range(start, start + coming))
            rows.append(choose(logits, rows.place_ids, rows.remaining), ends)
            rows.flush()
            parts.append((rows, list(range(coming))))
            start += coming
        rows = _joined(model, parts)
        enough = -(-len(rows.places) // SHARE_TO_LEAVE)
        while len(rows.chosen) % sync_every or int(rows.ended.sum()) < enough:
            rows.append(choose(_next_logits(model, rows), rows.place_ids, rows.remaining), ends)
        rows.flush()
        ended = rows.ended.tolist()
        yield [(rows.places[i], rows.answers[i]) for i, done in enumerate(ended) if done]
        staying = [i for i, done in enumerate(ended) if not done]
        parts = [(rows, staying)] if staying else []


class PreallocatedLayer(DynamicLayer):
    """Keys and values of a layer, (rows, heads, columns, size of a head), at the start of buffers
    with columns to spare: a new one is written, not concatenated, so that the others needn't be
    copied."""

    keys: Tensor
    values: Tensor
    buffers: tuple[Tensor, Tensor] | None = None

    def hold(self, keys: Tensor, values: Tensor, width: int) -> None:
        """Take states in so many columns of these buffers."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.buffers = keys, values
        self.keys, self.values = keys[:, :, :width], values[:, :, :width]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        past = self.get_seq_length()
        width = past + key_states.shape[-2]
        if not past:  # prompts: they are copied when they join others
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        if self.buffers is None or width > self.buffers[0].shape[-2]:
            self.buffers = _preallocated([self.keys], past), _preallocated([self.values], past)
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, past:width] = states
        self.hold(*self.buffers, width)
        return self.keys, self.values


@dataclass
class _Rows:
    """Answers in the making, all at the same column.

    Attributes:
        places: of their requests.
        place_ids: (rows,) the same, where the model is.
        answers: their tokens, those of `chosen` not yet among them.
        chosen: (rows,) tokens of each step since `answers` was last brought up to date.
        last: (rows,) the last token of each answer.
        padding: columns in front of each prompt.
        mask: what attention sees: (rows, 1, 1, columns) to be added to its scores, or (rows,
            columns) with 1 where a token is; at least as many columns as the cache has.
        positions: (rows,) of the last token.
        remaining: (rows,) tokens until the cap.
        had_text: (rows,) whether the answer has text in it, so that a newline ends it.
        ended: (rows,) whether the answer is complete.
    """

    places: list[int]
    place_ids: Tensor
    answers: list[list[int]]
    last: Tensor
    cache: Cache
    padding: list[int]
    mask: Tensor
    positions: Tensor
    remaining: Tensor
    had_text: Tensor
    ended: Tensor
    chosen: list[Tensor] = field(default_factory=list)

    def append(self, tokens: Tensor, ends: Ends) -> None:
        """Add a token to each answer: (rows,)."""
        self.chosen.append(tokens)
        self.last = tokens
        self.remaining -= 1
        self.ended |= (
            ends.final[tokens] | ends.newline_at(tokens, self.had_text) | (self.remaining <= 0)
        )
        self.had_text |= ends.text[tokens]
        # What has ended stays where it is until it leaves: some models know few positions.
        self.positions += ~self.ended

    def flush(self) -> None:
        """Bring `answers` up to date."""
        if self.chosen:
            tokens = torch.stack(self.chosen, dim=1).tolist()
            for answer, more in zip(self.answers, tokens, strict=True):
                answer += more
        self.chosen = []


def _prefilled(
    model: Any, requests: Sequence[Request], places: Sequence[int]
) -> tuple[_Rows, Tensor]:
    """Rows that have read their prompts, and the logits of each answer's first token, (rows, V)."""
    device = model.device
    prompts = [requests[place].prompt_ids for place in places]
    input_ids, mask = left_padded(prompts, device)
    cache = Cache(layer_class_to_replicate=PreallocatedLayer)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits = _last_logits(model, input_ids, mask, positions, cache)
    none = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    rows = _Rows(
        places=list(places),
        place_ids=torch.tensor(list(places), device=device),
        answers=[[] for _ in prompts],
        last=input_ids[:, -1],
        cache=cache,
        padding=[input_ids.shape[1] - len(ids) for ids in prompts],
        mask=mask,
        positions=positions[:, -1],
        remaining=torch.tensor([requests[place].cap for place in places], device=device),
        had_text=none,
        ended=none.clone(),
    )
    return rows, logits


def _next_logits(model: Any, rows: _Rows) -> Tensor:
    """Of one more token for each row, (rows, V)."""
    width = rows.cache.get_seq_length() + 1
    if width > rows.mask.shape[-1]:
        rows.mask = _mask(model, rows.padding, width + SPARE_COLUMNS)
    last, positions = rows.last[:, None], rows.positions[:, None]
    return _last_logits(model, last, rows.mask[..., :width], positions, rows.cache)


def _last_logits(
    model: Any, input_ids: Tensor, mask: Tensor, position_ids: Tensor, cache: Cache
) -> Tensor:
    logits: Tensor = model(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=position_ids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    return logits[:, -1]


def _most_likely(logits: Tensor, *_: Tensor) -> Tensor:
    """(rows,) tokens; of equals the first, as argmax has it, which takes twice as long on a CPU."""
    tokens: Tensor = logits.max(dim=-1).indices
    return tokens


def _joined(model: Any, parts: Sequence[tuple[_Rows, list[int]]]) -> _Rows:
    """The rows of each part that stay, less the columns that are padding in all of them."""
    widths = [rows.cache.get_seq_length() for rows, _ in parts]
    width = max(
        old - min(rows.padding[i] for i in staying)
        for old, (rows, staying) in zip(widths, parts, strict=True)
    )
    padding = [
        rows.padding[i] + width - old
        for old, (rows, staying) in zip(widths, parts, strict=True)
        for i in staying
    ]
    selected = [(rows, torch.tensor(staying, device=model.device)) for rows, staying in parts]
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(rows, name)[index] for rows, index in selected])
        for name in ("place_ids", "last", "positions", "remaining", "had_text", "ended")
    }
    cache = Cache(layer_class_to_replicate=PreallocatedLayer)
    for number in range(len(parts[0][0].cache.layers)):
        layer, olds = PreallocatedLayer(), [(rows.cache.layers[number], i) for rows, i in selected]
        keys, values = (
            _preallocated([getattr(old, kind)[:, :, -width:][i] for old, i in olds], width)
            for kind in ("keys", "values")
        )
        layer.hold(keys, values, width)
        cache.layers.append(layer)
    return _Rows(
        places=[rows.places[i] for rows, staying in parts for i in staying],
        answers=[rows.answers[i] for rows, staying in parts for i in staying],
        cache=cache,
        padding=padding,
        mask=_mask(model, padding, width + SPARE_COLUMNS),
        **tensors,
    )


def _preallocated(states: Sequence[Tensor], width: int) -> Tensor:
    """States (rows, heads, columns, size) of all parts, one part below the other, in `width`
    columns and some to spare; the last columns stay where they are, in front of them are zeros."""
    _, heads, _, size = states[0].shape
    buffer = states[0].new_empty(sum(map(len, states)), heads, width + SPARE_COLUMNS, size)
    top = 0
    for part in states:
        below, columns = top + len(part), min(width, part.shape[2])
        buffer[top:below, :, : width - columns] = 0
        buffer[top:below, :, width - columns : width] = part[:, :, part.shape[2] - columns :]
        top = below
    return buffer


def _mask(model: Any, padding: Sequence[int], columns: int) -> Tensor:
    """A mask of what one more token sees, good for up to so many columns.

    A ready one saves transformers from making one at each step, where all layers see the same and
    the attention takes it.
    """
    seen = behind_padding(padding, columns, model.device)
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    ready = config._attn_implementation in ("sdpa", "eager")
    if not ready or (window is not None and columns > window):
        return seen.long()
    scores = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
    return scores.masked_fill_(~seen, torch.finfo(model.dtype).min)[:, None, None]
