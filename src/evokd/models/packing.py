"""Several pairs in one row, each blind to the others, in place of padding.

A packed batch is `input_ids` and `position_ids` without an attention mask. Positions start anew at
0 with every pair; transformers reads off them where a pair begins and lets no token attend beyond
its own (`masking_utils.find_packed_sequence_indices`; flash attention does so with one long row).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import Any

import torch
from torch import Tensor, nn

from evokd.models import zero3
from evokd.models.lm_head import evaluating, final_hidden
from evokd.recipe.objectives import IGNORED


def pack(batch: dict[str, Tensor], width_weight: float | None = 0.0) -> dict[str, Tensor]:
    """A padded batch laid out anew, without most of its padding.

    Args:
        batch: input_ids, attention_mask and labels, each (pairs, longest).
        width_weight: see `lay_out`.

    Returns:
        input_ids, position_ids, labels and pairs, each (rows, width) int64. `pairs` says which pair
        of the batch a token is of, −1 for padding. The first token of a pair has no label: the
        position before it belongs to another pair. Padding is at position 0: it sees only itself.
    """
    real = batch["attention_mask"].bool()
    lengths: list[int] = real.sum(1).tolist()
    rows, width = lay_out(lengths, width_weight)
    starts = [0] * len(lengths)
    for number, row in enumerate(rows):
        start = number * width
        for pair in row:
            starts[pair] = start
            start += lengths[pair]
    within = real.cumsum(1) - 1
    places = (torch.tensor(starts, device=real.device)[:, None] + within)[real]
    numbers = torch.arange(len(lengths), device=real.device)[:, None].expand_as(real)
    labels = batch["labels"].masked_fill(within == 0, IGNORED)

    def laid(values: Tensor, padding: int) -> Tensor:
        flat = values.new_full((len(rows) * width,), padding)
        flat[places] = values[real]
        return flat.view(len(rows), width)

    return {
        "input_ids": laid(batch["input_ids"], 0),
        "position_ids": laid(within, 0),
        "labels": laid(labels, IGNORED),
        "pairs": laid(numbers, -1),
    }


def lay_out(
    lengths: Sequence[int], width_weight: float | None = 0.0
) -> tuple[list[list[int]], int]:
    """Which pairs share a row, and how wide the rows are.

    For a given number of rows, the longest pair goes first and each into the row that is emptiest
    (Graham 1969), so that rows fill up evenly; the number of rows is the one that costs least.

    Args:
        lengths: tokens of each pair.
        width_weight: what a row's width adds to the cost of each of its positions, as a share of
            the cost without attention: attention under a dense mask looks at the whole row. None:
            attention knows where pairs end (varlen), so all go into one row without any padding.
    """
    order = sorted(range(len(lengths)), key=lambda pair: -lengths[pair])
    if width_weight is None:
        return [order], sum(lengths)

    def cost(packed: tuple[list[list[int]], int]) -> float:
        rows, width = packed
        return len(rows) * width * (1.0 + width_weight * width)

    # One to eight pairs a row, and the fewest rows that are no wider than the longest pair.
    few = -(-sum(lengths) // max(1, *lengths))
    counts = {-(-len(lengths) // pairs) for pairs in range(1, 9)} | {few, few + 1, few + few // 16}
    fitting = sorted((c for c in counts if 0 < c <= len(lengths)), reverse=True)
    return min((_spread(lengths, order, count) for count in fitting), key=cost)


def _spread(lengths: Sequence[int], order: list[int], count: int) -> tuple[list[list[int]], int]:
    rows = [[pair] for pair in order[:count]]
    filled = [(lengths[pair], row) for row, pair in enumerate(order[:count])]
    heapify(filled)
    for pair in order[count:]:
        tokens, row = filled[0]
        rows[row].append(pair)
        heapreplace(filled, (tokens + lengths[pair], row))
    return rows, max(tokens for tokens, _ in filled)


def pairs_of(batch: dict[str, Tensor]) -> Tensor:
    """(B, T), the number of the pair that each token is of, −1 for padding; packed or padded."""
    if "pairs" in batch:
        return batch["pairs"]
    mask = batch["attention_mask"]
    return torch.arange(len(mask), device=mask.device)[:, None].where(mask.bool(), -1)


def width_weight(models: Sequence[Any]) -> float | None:
    """`lay_out`'s weight for models that read a batch together.

    From their operations for a token and layer: 4·width·H for attention, 24·H² besides. None where
    one of them has flash attention: that keeps pairs apart in a batch of one row only.
    """
    configs = [model.config.get_text_config() for model in models]
    if any("flash" in (getattr(one, "_attn_implementation", None) or "") for one in configs):
        return None
    return 1.0 / (6.0 * min(one.hidden_size for one in configs))


@torch.no_grad()
def takes_packed(model: nn.Module) -> bool:
    """Has a pair in a packed row the same hidden states as alone?

    Tried out, for a backend without such a mask, or a state carried along the row, would mix pairs
    without an error. What another pair says must not change a single bit, whatever the precision.
    Where it can't be tried, the answer is no.
    """
    if not zero3.is_callable(model):
        return False
    length, size = 5, model.config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    device = next(model.parameters()).device
    first, other, second = (torch.arange(length, device=device) + i * length for i in range(3))
    positions = torch.arange(length, device=device).repeat(2)[None]

    def read(*pairs: Tensor, **where: Tensor) -> Tensor:
        ids = torch.cat(pairs)[None] % size
        return final_hidden(model, model, {"input_ids": ids, **where})[0, -length:].float()

    try:
        with evaluating(model):
            alone = read(second, attention_mask=torch.ones_like(second)[None])
            behind = [read(pair, second, position_ids=positions) for pair in (first, other)]
    except (TypeError, ValueError, NotImplementedError):
        return False  # the model takes no positions
    tolerance = 0.05 * alone.abs().max()  # of half precision: wrong positions show far beyond it
    return torch.equal(*behind) and bool((behind[0] - alone).abs().max() <= tolerance)
