"""Translations drawn from a model at a temperature, many at once.

Each token is the inverse of the cumulative distribution at a number of its own, which depends on
the seed of its prompt and on its place in the answer. So what is drawn for a prompt doesn't depend
on what is drawn beside it (to rounding of the logits), and the random state of torch isn't touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evokd.models.batching import Budget, Request, longest_first, max_positions
from evokd.models.loading import Translator
from evokd.translate.continuous_batching import Choose
from evokd.translate.generation import decode, plain_settings
from evokd.translate.stopping import Ends

DEFAULT_BUDGET = Budget(rows=256, tokens=16384)


@dataclass(frozen=True)
class TokenSampler:
    """Draws answers to prompts; what `evokd.distil.train.on_policy.Sampler` asks for.

    Attributes:
        end_ids: tokens that end an answer.
        vocabulary_size: only the first so many tokens are drawn; default: all.
        budget: what is decoded at once.
    """

    end_ids: tuple[int, ...]
    vocabulary_size: int | None = None
    budget: Budget = DEFAULT_BUDGET

    @classmethod
    def of(cls, translator: Translator, vocabulary_size: int | None = None) -> TokenSampler:
        """What ends an answer of this translator; a newline doesn't."""
        return cls(Ends.of(translator).ids, vocabulary_size)

    @torch.no_grad()
    def __call__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        caps: Sequence[int],
        temperature: float,
        seeds: Sequence[int],
    ) -> list[list[int]]:
        """An answer to each prompt.

        Args:
            prompts: token ids.
            caps: most tokens of each answer; less where the model has no more positions.
            temperature: of the softmax, above 0.
            seeds: one for each prompt, 0 or more.

        Returns:
            Token ids up to the first end token, which is the last; an answer that was cut off at
            its cap has none. Empty where the prompt alone takes all positions.
        """
        limit = max_positions(model)
        requests = [
            Request(ids, min(cap, limit - len(ids))) for ids, cap in zip(prompts, caps, strict=True)
        ]
        # Longest first, so that what stands together is of like length.
        order = [i for i in longest_first([r.size for r in requests]) if requests[i].cap > 0]
        ordered = [requests[i] for i in order]
        answers: list[list[int]] = [[] for _ in prompts]
        size = model.config.get_text_config(decoder=True).vocab_size
        nothing = torch.zeros(size, dtype=torch.bool, device=model.device)
        ends = Ends(self.end_ids, newline=nothing, text=nothing, text_first=nothing)
        draw = _drawing(
            [seeds[i] for i in order],
            [request.cap for request in ordered],
            temperature,
            self.vocabulary_size,
            model.device,
        )
        with plain_settings(model):
            for group in decode(model, ordered, ends, self.budget, draw):
                for place, ids in group:
                    answers[order[place]] = ids[: ends.end_of(ids, ordered[place].cap)[1]]
        return answers


def _drawing(
    seeds: Sequence[int],
    caps: Sequence[int],
    temperature: float,
    size: int | None,
    device: torch.device,
) -> Choose:
    """From the first `size` logits to tokens; seeds and caps by the places of the requests."""
    numbers = torch.zeros(len(seeds), max(caps, default=0), dtype=torch.float64)
    for row, seed, cap in zip(numbers, seeds, caps, strict=True):
        row[:cap] = torch.from_numpy(np.random.default_rng(seed).random(cap))
    numbers, all_caps = numbers.to(device), torch.tensor(caps, device=device)

    def draw(logits: Tensor, places: Tensor, remaining: Tensor) -> Tensor:
        drawn = (all_caps[places] - remaining).clamp(max=numbers.shape[1] - 1)
        shares = torch.softmax(logits[:, :size].float() / temperature, dim=-1)
        # In float64: a sum over a large vocabulary in float32 would move its rarest tokens.
        below = shares.cumsum(dim=-1, dtype=torch.float64)
        targets = numbers[places, drawn] * below[:, -1]
        # The first entry above: one that has a probability of 0 is never it.
        return torch.searchsorted(below, targets[:, None], right=True)[:, 0]

    return draw
