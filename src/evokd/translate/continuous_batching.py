"""Decoding of many prompts, greedily or by another choice of each token: rows that have ended
leave, others take their place.

All rows end at the same column, padding stands in front of them. So a row can leave, a row can come
in and columns that are padding in all rows can go, at any time, by slicing the cache of keys and
values: no token is computed for the sake of a longer neighbour. What is computed for a row is what
it would be alone, to rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from evokd.translate.stopping import Ends

ROOM = 16
"""Columns allocated ahead of need."""
SHARE_TO_LEAVE = 3
"""Rows leave together, once one in so many has ended: each time, the cache is copied."""
Choose = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From logits (rows, V), places of the requests (rows,) and the tokens until each one's cap (rows,)
to the tokens that come next (rows,). A row that has ended may be asked for, with none left."""


@dataclass(frozen=True)
class Request:
    """A prompt, and the most tokens that may answer it."""

    prompt_ids: Sequence[int]
    cap: int

    @property
    def size(self) -> int:
        """Tokens that it may come to."""
        return len(self.prompt_ids) + self.cap


@dataclass(frozen=True)
class Budget:
    """What is decoded at once: so many rows, of so many tokens together when all are at their
    caps. A single row may exceed it."""

    rows: int
    tokens: int

    def more(self, waiting: Sequence[Request], present: Sequence[Request] = ()) -> int:
        """How many of those waiting, in their order, fit beside those present."""
        longest = max((request.size for request in present), default=0)
        rows = len(present)
        for request in waiting:
            longest = max(longest, request.size)
            if rows and (rows >= self.rows or (rows + 1) * longest > self.tokens):
                break
            rows += 1
        return rows - len(present)


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
    taken = inspect.signature(kind.forward).parameters
    config = model.config.get_text_config(decoder=True)
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return (
        {"position_ids", "logits_to_keep", "past_key_values"} <= taken.keys()
        and getattr(config, "attention_chunk_size", None) is None
        and not getattr(config, "num_kv_shared_layers", 0)
        and all(type(layer) in plain for layer in DynamicCache(config=model.config).layers)
    )


@torch.no_grad()
def decode_continuously(
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    pad_id: int,
    budget: Budget,
    sync_every: int | None = None,
    choose: Choose | None = None,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Answer requests, best ordered from long to short.

    Args:
        model: in evaluation mode, one for which `supports_continuous_batching`.
        pad_id: the token that padding is made of.
        sync_every: steps from one look at which rows have ended to the next; default: 1 on a CPU,
            4 on a GPU, which runs ahead of Python until it is asked for a number.
        choose: what comes next; default: the most likely token.

    Yields:
        Groups of (place of the request, its tokens), as they end. Tokens may go on behind the end
        of an answer and behind its cap.
    """
    final = ends.final()
    choose = choose or _best
    sync_every = sync_every or (1 if model.device.type == "cpu" else 4)
    begun = 0
    parts: list[tuple[_Rows, list[int]]] = []
    while begun < len(requests) or parts:
        present = [requests[rows.places[i]] for rows, keep in parts for i in keep]
        coming = budget.more(requests[begun : begun + budget.rows], present)
        if coming:
            rows, logits = _prefilled(model, requests, range(begun, begun + coming), pad_id)
            rows.take(choose(logits, rows.numbers, rows.left), ends, final)
            rows.flush()
            parts.append((rows, list(range(coming))))
            begun += coming
        rows = _joined(model, parts)
        enough = -(-len(rows.places) // SHARE_TO_LEAVE)
        while len(rows.chosen) % sync_every or int(rows.ended.sum()) < enough:
            rows.take(choose(_next_logits(model, rows), rows.numbers, rows.left), ends, final)
        rows.flush()
        ended = rows.ended.tolist()
        yield [(rows.places[i], rows.answers[i]) for i, done in enumerate(ended) if done]
        keep = [i for i, done in enumerate(ended) if not done]
        parts = [(rows, keep)] if keep else []


class PreallocatedLayer(DynamicLayer):
    """Keys and values of a layer, (rows, heads, columns, size of a head), with room for columns to
    come: a new one is written, not concatenated, so that the others needn't be copied."""

    keys: Tensor
    values: Tensor
    rooms: tuple[Tensor, Tensor] | None = None

    def hold(self, key_room: Tensor, value_room: Tensor, width: int) -> None:
        """Take states in so many columns of these tensors."""
        if not self.is_initialized:
            self.lazy_initialization(key_room, value_room)
        self.rooms = key_room, value_room
        self.keys, self.values = key_room[:, :, :width], value_room[:, :, :width]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        past = self.get_seq_length()
        width = past + key_states.shape[-2]
        if not past:  # prompts: they are copied when they join others
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        if self.rooms is None or width > self.rooms[0].shape[-2]:
            self.rooms = _roomy([self.keys], past), _roomy([self.values], past)
        for room, new in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, past:width] = new
        self.hold(*self.rooms, width)
        return self.keys, self.values


@dataclass
class _Rows:
    """Answers in the making, all at the same column.

    Attributes:
        places: of their requests.
        numbers: (rows,) the same, where the model is.
        answers: their tokens, those of `chosen` not yet among them.
        chosen: (rows,) tokens of each step since `answers` was last brought up to date.
        last: (rows,) the last token of each answer.
        padding: columns in front of each prompt.
        mask: what attention sees: (rows, 1, 1, columns) to be added to its scores, or (rows,
            columns) with 1 where a token is; at least as many columns as the cache has.
        positions: (rows,) of the last token.
        left: (rows,) tokens until the cap.
        had_text: (rows,) whether the answer has text in it, so that a newline ends it.
        ended: (rows,) whether the answer is complete.
    """

    places: list[int]
    numbers: Tensor
    answers: list[list[int]]
    chosen: list[Tensor]
    last: Tensor
    cache: Cache
    padding: list[int]
    mask: Tensor
    positions: Tensor
    left: Tensor
    had_text: Tensor
    ended: Tensor

    def take(self, best: Tensor, ends: Ends, final: Tensor) -> None:
        """Add a token to each answer: (rows,)."""
        self.chosen.append(best)
        self.last = best
        self.left -= 1
        self.ended |= final[best] | ends.newline_at(best, self.had_text) | (self.left <= 0)
        self.had_text |= ends.text[best]
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
    model: Any, requests: Sequence[Request], places: Sequence[int], pad_id: int
) -> tuple[_Rows, Tensor]:
    """Rows that have read their prompts, and the logits of each answer's first token, (rows, V)."""
    taken = [requests[place] for place in places]
    width = max(len(request.prompt_ids) for request in taken)
    padding = [width - len(request.prompt_ids) for request in taken]
    ids = [
        [pad_id] * pad + list(request.prompt_ids)
        for pad, request in zip(padding, taken, strict=True)
    ]
    input_ids = torch.tensor(ids, device=model.device)
    seen = _seen(padding, width, model.device).long()
    cache = Cache(layer_class_to_replicate=PreallocatedLayer)
    logits = model(
        input_ids=input_ids,
        attention_mask=seen,
        position_ids=(seen.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    none = torch.zeros(len(taken), dtype=torch.bool, device=model.device)
    rows = _Rows(
        places=list(places),
        numbers=torch.tensor(list(places), device=model.device),
        answers=[[] for _ in taken],
        chosen=[],
        last=input_ids[:, -1],
        cache=cache,
        padding=padding,
        mask=seen,
        positions=seen.sum(dim=1) - 1,
        left=torch.tensor([request.cap for request in taken], device=model.device),
        had_text=none,
        ended=none.clone(),
    )
    return rows, logits[:, -1]


def _next_logits(model: Any, rows: _Rows) -> Tensor:
    """Of one more token for each row, (rows, V)."""
    width = rows.cache.get_seq_length() + 1
    if width > rows.mask.shape[-1]:
        rows.mask = _mask(model, rows.padding, width + ROOM)
    logits: Tensor = model(
        input_ids=rows.last[:, None],
        attention_mask=rows.mask[..., :width],
        position_ids=rows.positions[:, None],
        past_key_values=rows.cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    return logits[:, -1]


def _best(logits: Tensor, *_: Tensor) -> Tensor:
    """The most likely tokens, (rows,); of equals the first, as argmax has it, which takes twice as
    long on a CPU."""
    best: Tensor = logits.max(dim=-1).indices
    return best


def _joined(model: Any, parts: Sequence[tuple[_Rows, list[int]]]) -> _Rows:
    """The rows to keep of each part, less the columns that are padding in all of them."""
    device = model.device
    widths = [rows.cache.get_seq_length() for rows, _ in parts]
    width = max(
        old - min(rows.padding[i] for i in keep)
        for old, (rows, keep) in zip(widths, parts, strict=True)
    )
    padding = [
        rows.padding[i] + width - old
        for old, (rows, keep) in zip(widths, parts, strict=True)
        for i in keep
    ]
    selected = [(rows, torch.tensor(keep, device=device)) for rows, keep in parts]

    def together(name: str) -> Tensor:
        return torch.cat([getattr(rows, name)[keep] for rows, keep in selected])

    cache = Cache(layer_class_to_replicate=PreallocatedLayer)
    for layers in zip(*(rows.cache.layers for rows, _ in selected), strict=True):
        old: list[tuple[Any, Tensor]] = list(zip(layers, (k for _, k in selected), strict=True))
        layer = PreallocatedLayer()
        layer.hold(
            _roomy([each.keys[:, :, -width:][keep] for each, keep in old], width),
            _roomy([each.values[:, :, -width:][keep] for each, keep in old], width),
            width,
        )
        cache.layers.append(layer)
    return _Rows(
        places=[rows.places[i] for rows, keep in parts for i in keep],
        numbers=together("numbers"),
        answers=[rows.answers[i] for rows, keep in parts for i in keep],
        chosen=[],
        last=together("last"),
        cache=cache,
        padding=padding,
        mask=_mask(model, padding, width + ROOM),
        positions=together("positions"),
        left=together("left"),
        had_text=together("had_text"),
        ended=together("ended"),
    )


def _roomy(states: Sequence[Tensor], width: int) -> Tensor:
    """States (rows, heads, columns, size) of all parts, one part below the other, in `width`
    columns and room for more; the last columns stay where they are, in front of them are zeros."""
    rows = sum(len(part) for part in states)
    _, heads, _, size = states[0].shape
    room = states[0].new_empty(rows, heads, width + ROOM, size)
    top = 0
    for part in states:
        below, taken = top + len(part), min(width, part.shape[2])
        room[top:below, :, : width - taken] = 0
        room[top:below, :, width - taken : width] = part[:, :, part.shape[2] - taken :]
        top = below
    return room


def _mask(model: Any, padding: Sequence[int], columns: int) -> Tensor:
    """A mask of what one more token sees, good for up to so many columns.

    A ready one saves transformers from making one at each step, where all layers see the same and
    the attention takes it.
    """
    seen = _seen(padding, columns, model.device)
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    ready = config._attn_implementation in ("sdpa", "eager")
    if not ready or (window is not None and columns > window):
        return seen.long()
    scores = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
    return scores.masked_fill_(~seen, torch.finfo(model.dtype).min)[:, None, None]


def _seen(padding: Sequence[int], columns: int, device: torch.device) -> Tensor:
    """(rows, columns) bool: all but the padding in front."""
    return torch.arange(columns, device=device) >= torch.tensor(padding, device=device)[:, None]
