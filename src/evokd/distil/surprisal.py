"""How much references surprise a teacher, and how many of them are wrong.

A teacher that is calibrated expects −ln p(y) to be its entropy H(p). What goes beyond that, the
excess −ln p(y) − H(p), is 0 on average where references are right and large where they are wrong.
How large depends on the teacher and the text; so nobody has to say: pairs whose targets were
shuffled are wrong for certain, and tell what wrong ones look like to this teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evokd.distil.teacher.signal import TeacherSignal
from evokd.distil.tokens import Distribution, gather_labels
from evokd.models.batching import Budget, longest_first
from evokd.models.encoding import collate, target_mask

BATCH_TOKENS = 4096
TIED = 0.005
"""Of a threshold's errors; of all that have so few more than the best, the middle is taken."""
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
    """Of each pair of a data set (n, 2): −ln p(y) and H(p) of its response tokens, in nats.

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
            columns.append(torch.stack([-gather_labels(p.log, labels[rows]), p.entropy], dim=1))
        each = torch.cat(columns).cpu().split(predicts.sum(1).tolist())
        found |= dict(zip(numbers, each, strict=True))
        if progress is not None:
            progress(len(found), len(data))
    return [found[i] for i in range(len(data))]


@dataclass(frozen=True)
class WrongShare:
    """How many of some things are wrong, and which."""

    share: float
    """0 to 1"""
    threshold: float
    """What is above it is likelier wrong than right."""


def wrong_share(values: Tensor, wrong: Tensor) -> WrongShare:
    """The share of wrong ones among `values`, from what values `wrong` ones have.

    With F the distribution of values and W that of wrong ones, F = (1 − π) R + π W for the right
    ones' R. Right ones hardly exceed the median m of wrong ones, so π = (1 − F(m)) / (1 − W(m)).
    The threshold t has the fewest errors, π W(t) + (1 − F(t)) − π (1 − W(t)).

    Args:
        values: (n,), larger where it is likelier wrong.
        wrong: (m,), of some that are wrong for certain.
    """
    values, wrong = values.double().sort().values, wrong.double().sort().values

    def above(numbers: Tensor, at: Tensor) -> Tensor:
        return 1 - torch.searchsorted(numbers, at, right=True).double() / len(numbers)

    middle = wrong.median()[None]
    share = float((above(values, middle) / above(wrong, middle).clamp(min=1e-9)).clamp(max=1.0))
    at = torch.cat([values, wrong]).unique()
    missed = share * (1 - above(wrong, at))
    falsely = (above(values, at) - share * above(wrong, at)).clamp(min=0.0)
    errors = missed + falsely
    best = at[errors <= errors.min() + TIED]
    return WrongShare(share, float(best[0] + best[-1]) / 2)
