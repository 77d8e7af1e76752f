"""How much references surprise a teacher, and how many of them are wrong.

A teacher that is calibrated expects −ln p(y) to be its entropy H(p). What goes beyond that, the
excess −ln p(y) − H(p), is 0 on average where references are right and large where they are wrong.
How large depends on the teacher and the text; so nobody has to say: pairs whose targets were
shuffled are wrong for certain, and tell what wrong ones look like to this teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evokd.distil.teacher.signal import TeacherSignal
from evokd.distil.tokens import LEAST_LOG, Distribution, gather_labels
from evokd.models.batching import Budget, longest_first
from evokd.models.encoded import collate, target_mask

BATCH_TOKENS = 4096
TIED = 0.005
"""Of a threshold's errors; of all that have so few more than the best, the largest is taken: what
stays may still be gated, what is dropped is lost."""
LEAST_APART = 0.1
"""Of the shares of wrong and right ones above a threshold, below which nothing can be told."""
_CHUNK = 512
"""Response tokens whose logits stand in memory at once."""


@torch.no_grad()
def reference_surprisal(
    teacher: TeacherSignal,
    data: Any,
    size: int,
    device: torch.device | str,
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """Of each pair of a data set (n, 3): of its response tokens −ln p(y), what the teacher expects
    of that, H(p), and the variance that it expects, in nats and their square.

    Args:
        data: pairs of `input_ids` and `labels`.
        size: vocabulary entries that count, those which teacher and student share.
        progress: is told how many pairs are done, and how many there are.
    """
    lengths = [len(data[i]["input_ids"]) for i in range(len(data))]
    order = longest_first(lengths)
    found: dict[int, Tensor] = {}
    for places in Budget(BATCH_TOKENS, BATCH_TOKENS).batches([lengths[i] for i in order]):
        numbers = [order[place] for place in places]
        batch = {k: v.to(device) for k, v in collate([data[i] for i in numbers]).items()}
        predicts = target_mask(batch["labels"])
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        labels = batch["labels"].roll(-1, dims=1)[predicts]
        logits = teacher.forward(inputs, predicts)
        columns = []
        for start in range(0, len(labels), _CHUNK):
            rows = slice(start, start + _CHUNK)
            p = Distribution(logits.logits(rows, size).float().log_softmax(-1))
            squares = torch.linalg.vecdot(p.probabilities, p.log.clamp(min=LEAST_LOG).square())
            spread = (squares - p.entropy.square()).clamp(min=0.0)
            own = -gather_labels(p.log, labels[rows])
            columns.append(torch.stack([own, p.entropy, spread], dim=1))
        each = torch.cat(columns).cpu().split(predicts.sum(1).tolist())
        found |= dict(zip(numbers, each, strict=True))
        if progress is not None:
            progress(len(found), len(data))
    return [found[i] for i in range(len(data))]


@dataclass(frozen=True)
class WrongShare:
    """How many of some things are wrong, and which."""

    share: float | None
    """0 to 1; None where right and wrong ones look the same."""
    threshold: float
    """What is above it is likelier wrong than right."""


def wrong_share(values: Tensor, wrong: Tensor, right: Tensor | None = None) -> WrongShare:
    """The share of wrong ones among `values`, from what values wrong and right ones have.

    F, the distribution of values, is π W + (1 − π) R of wrong and right ones, so that at any m
    π = (F(m) − R(m)) / (W(m) − R(m)); here it is read off m from the second to the eighth tenth of
    W. Where nothing is known of right ones, they aren't expected there. The threshold t has the
    fewest errors, π W(t) + (1 − π) (1 − R(t)).

    Args:
        values: (n,), larger where it is likelier wrong.
        wrong: (m,), of some that are wrong for certain.
        right: (k,), of some that are right for certain, as far as is known.
    """
    values, wrong = values.double().sort().values, wrong.double().sort().values
    none = torch.zeros(0, dtype=torch.float64)
    right = none if right is None else right.double().sort().values

    def above(numbers: Tensor, at: Tensor) -> Tensor:
        rank = torch.searchsorted(numbers, at, right=True).double()
        return 1 - rank / len(numbers) if len(numbers) else torch.zeros_like(at)

    middle = wrong.quantile(torch.arange(2, 9, dtype=torch.float64) / 10)
    expected = above(right, middle)
    apart = float((above(wrong, middle) - expected).mean())
    if apart < LEAST_APART:
        return WrongShare(None, math.inf)
    share = float((above(values, middle) - expected).mean()) / apart
    share = min(1.0, max(0.0, share))
    at = torch.cat([values, wrong, right]).unique()
    falsely = above(values, at) - share * above(wrong, at)
    if len(right):
        falsely = (1 - share) * above(right, at)
    errors = share * (1 - above(wrong, at)) + falsely.clamp(min=0.0)
    return WrongShare(share, float(at[errors <= errors.min() + TIED][-1]))
