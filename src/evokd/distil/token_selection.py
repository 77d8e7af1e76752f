"""Objectives that rank the tokens of a batch: by what, and which are selected.

    self_evolution_topk   d, the difficulty                       Song et al. 2024, section 5.2.1
    atkd                  UNC = 1 − p(y), the teacher's uncertainty    Zhong et al. 2024
    selective_kd          the student's NLL                       Wang et al. 2021
    tip                   s = 1 − (1 − h)(1 − d′)                 Xu et al. 2026

A batch passes in chunks, so scores come first, a chunk at a time, and the selection is made over
all of them. What is selected has no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from evokd.distil.tokens import Selection, Tokens
from evokd.recipe.objectives import OBJECTIVES, ObjectiveSettings


def scores(objective: str, tokens: Tokens) -> Tensor:
    """(N, columns), what an objective ranks tokens by, in the order of its spec."""
    columns = [getattr(tokens, name).detach() for name in OBJECTIVES[objective].ranked_by]
    return torch.stack(columns, dim=1)


@torch.no_grad()
def select(
    objective: str,
    scored: Tensor,
    settings: ObjectiveSettings,
    history: TokenHistory | None = None,
    learns: bool = True,
) -> Selection:
    """Select among all response tokens of a batch.

    Args:
        objective: one that ranks tokens.
        scored: (N, columns), the `scores` of the whole batch; of two columns the soft or counts.
        settings: top_percent, and queue: tokens that these are ranked against; 0: one another.
        history: where `queue` is above 0, what was seen of earlier batches; None: nothing.
        learns: False leaves the history as it is, as an evaluation should.
    """
    score = soft_or(scored) if scored.shape[1] == 2 else scored[:, 0]
    if settings.queue > 0 and "queue" in OBJECTIVES[objective].settings:
        hard = _above_the_remembered(score, settings, history, learns)
    else:
        hard = most_difficult(score, settings.top_percent)
    return Selection(hard, int(hard.sum()) / max(1, len(hard)))


def selection_of(objective: str, tokens: Tokens) -> Selection:
    """What was selected before; without that, tokens are a batch of their own."""
    return tokens.selection or select(objective, scores(objective, tokens), tokens.settings)


def most_difficult(difficulty: Tensor, percent: float) -> Tensor:
    """(N,) bool, the ⌈percent % · N⌉ largest of (N,); of equal ones the first."""
    count = math.ceil(percent / 100 * len(difficulty))
    order = torch.sort(difficulty.detach(), descending=True, stable=True).indices
    hard = torch.zeros_like(difficulty, dtype=torch.bool)
    hard[order[:count]] = True
    return hard


def soft_or(scored: Tensor) -> Tensor:
    """(N,), s = 1 − (1 − h)(1 − d) in [0, 1], of (N, 2): H(q) and KL(q‖p).

    Both are scaled to [0, 1] over the batch, the smallest to 0 and the largest to 1; that takes
    along the ln |V| by which TIP divides the entropy. A column of equal numbers is 0.
    """
    if not len(scored):
        return scored.new_zeros(0)
    least, most = scored.amin(0), scored.amax(0)
    h, d = ((scored - least) / (most - least).clamp(min=torch.finfo(scored.dtype).tiny)).unbind(1)
    return 1 - (1 - h) * (1 - d)


def _above_the_remembered(
    score: Tensor, settings: ObjectiveSettings, history: TokenHistory | None, learns: bool
) -> Tensor:
    if history is None:
        history, learns = TokenHistory(settings.queue), True
    if learns:
        history.push(score)
    if settings.top_percent == 0 or not len(score):
        return torch.zeros_like(score, dtype=torch.bool)
    if not len(history):  # an evaluation before the first step
        return most_difficult(score, settings.top_percent)
    # In float32, as it is remembered: the gate may be one of these numbers.
    return score.float() >= history.quantile(1 - settings.top_percent / 100)


class TokenHistory:
    """A number for each of the last `size` tokens, first in, first out.

    What it holds depends on the order of the tokens alone, not on how they were cut into pushes.
    """

    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f"a history of {size} tokens remembers nothing; 1 or more is accepted")
        self.size = size
        self._kept = torch.zeros(size)
        self._next = 0
        """Where the next one is put; the oldest stands there once all are there."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @torch.no_grad()
    def push(self, values: Tensor) -> None:
        """Add (n,) numbers, the oldest first; as many of the oldest are forgotten as don't fit."""
        values = values.detach().flatten()[-self.size :]
        self._kept = self._kept.to(values.device)
        places = torch.arange(self._next, self._next + len(values), device=values.device)
        self._kept[places % self.size] = values.float()
        self._next = (self._next + len(values)) % self.size
        self._count = min(self.size, self._count + len(values))

    def values(self) -> Tensor:
        """(len,) float32, the oldest first."""
        if self._count < self.size:
            return self._kept[: self._count]
        return self._kept.roll(-self._next)

    def quantile(self, share: float) -> float:
        """The number below which `share` (0 to 1) of the others lie, interpolated linearly."""
        ordered = self._known().sort().values
        place = share * (len(ordered) - 1)
        place = round(place) if abs(place - round(place)) < 1e-6 else place
        below = math.floor(place)
        start, end = ordered[[below, math.ceil(place)]].tolist()
        return start + (place - below) * (end - start) if end > start else start

    def mean(self) -> float:
        return float(self._known().cpu().double().mean())

    def std(self) -> float:
        """Of these numbers, not an estimate for others: divided by their count."""
        return float(self._known().cpu().double().std(correction=0))

    def state_dict(self) -> dict[str, Tensor]:
        """What `load_state_dict` takes to go on from here."""
        return {"values": self.values().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Forget all, and take what a history, perhaps of another length, held last."""
        self._next, self._count = 0, 0
        self.push(state["values"])

    def _known(self) -> Tensor:
        if not self._count:
            raise ValueError("the history is empty; push() comes first")
        return self.values()
