"""Translations drawn from a model at a temperature, many at once.

Each token is the inverse of the cumulative distribution at a number of its own, which depends on
the seed of its prompt and on its place in the answer. So what is drawn for a prompt doesn't depend
on what is drawn beside it (to rounding of the logits), and the random state of torch isn't touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from evokd.models.encoding import pad_id_of
from evokd.models.loading import Translator
from evokd.translate.continuous_batching import (
    Budget,
    Request,
    decode_continuously,
    supports_continuous_batching,
)
from evokd.translate.stopping import Ends

DEFAULT_BUDGET = Budget(rows=256, tokens=16384)


@dataclass(frozen=True)
class TokenSampler:
    """Draws answers to prompts; what `evokd.distil.train.on_policy.Sampler` asks for.

    Attributes:
        end_ids: tokens that end an answer.
        pad_id: the token that padding is made of.
        vocabulary_size: only the first so many tokens are drawn; default: all.
        budget: what is decoded at once.
    """

    end_ids: tuple[int, ...]
    pad_id: int
    vocabulary_size: int | None = None
    budget: Budget = DEFAULT_BUDGET

    @classmethod
    def of(
        cls,
        translator: Translator,
        vocabulary_size: int | None = None,
        budget: Budget = DEFAULT_BUDGET,
    ) -> TokenSampler:
        """What ends an answer of this translator; a newline doesn't."""
        ends = Ends.of(translator).ids
        return cls(ends, pad_id_of(translator.tokenizer), vocabulary_size, budget)

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
            model: in evaluation mode.
            prompts: token ids.
            caps: most tokens of each answer; less where the model has no more positions.
            temperature: of the softmax, above 0.
            seeds: one for each prompt, 0 or more.

        Returns:
            Token ids up to the first end token, which is the last; an answer that was cut off at
            its cap has none. Empty where the prompt alone takes all positions.
        """
        requests = [
            Request(p, self._cap(model, p, cap)) for p, cap in zip(prompts, caps, strict=True)
        ]
        # Longest first, so that what stands together is of like length; equal ones by their place.
        order = sorted(
            (i for i, request in enumerate(requests) if request.cap > 0),
            key=lambda i: (-requests[i].size, i),
        )
        answers: list[list[int]] = [[] for _ in prompts]
        if not order:
            return answers
        chosen = [requests[i] for i in order]
        width = model.config.get_text_config(decoder=True).vocab_size
        draw = _Draw(
            [seeds[i] for i in order], chosen, temperature, self.vocabulary_size, model.device
        )
        groups = (
            decode_continuously(
                model,
                chosen,
                self._ends(width, model.device),
                self.pad_id,
                self.budget,
                choose=draw,
            )
            if supports_continuous_batching(model)
            else self._generated(model, chosen, draw)
        )
        for group in groups:
            for place, ids in group:
                answers[order[place]] = self._cut(ids, chosen[place].cap)
        return answers

    def _cap(self, model: Any, prompt: Sequence[int], cap: int) -> int:
        text = model.config.get_text_config(decoder=True)
        limit = getattr(text, "max_position_embeddings", None)
        return min(cap, limit - len(prompt)) if limit else cap

    def _ends(self, width: int, device: torch.device) -> Ends:
        nothing = torch.zeros(width, dtype=torch.bool, device=device)
        return Ends(self.end_ids, newline=nothing, text=nothing, text_first=nothing)

    def _cut(self, ids: Sequence[int], cap: int) -> list[int]:
        ids = ids[:cap]
        end = next((i for i, token in enumerate(ids) if token in self.end_ids), len(ids))
        return list(ids[: end + 1])

    def _generated(
        self, model: Any, requests: Sequence[Request], draw: _Draw
    ) -> Iterator[list[tuple[int, list[int]]]]:
        """Groups of (place of the request, its tokens), by transformers' generate."""
        own, model.generation_config = model.generation_config, GenerationConfig()
        try:
            begun = 0
            while begun < len(requests):
                count = self.budget.more(requests[begun : begun + self.budget.rows])
                yield self._generate_some(model, requests, range(begun, begun + count), draw)
                begun += count
        finally:
            model.generation_config = own

    def _generate_some(
        self, model: Any, requests: Sequence[Request], places: range, draw: _Draw
    ) -> list[tuple[int, list[int]]]:
        prompts = [list(requests[place].prompt_ids) for place in places]
        width = max(len(ids) for ids in prompts)
        rows = [[self.pad_id] * (width - len(ids)) + ids for ids in prompts]
        seen = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        made = model.generate(
            torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(seen, device=model.device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(requests[place].cap for place in places),
                eos_token_id=list(self.end_ids),
                pad_token_id=self.pad_id,
            ),
            logits_processor=LogitsProcessorList([_Drawn(draw, places, width)]),
        )
        return list(zip(places, made[:, width:].tolist(), strict=True))


class _Draw:
    """From logits to tokens, as `greedy.Choose` has it."""

    def __init__(
        self,
        seeds: Sequence[int],
        requests: Sequence[Request],
        temperature: float,
        size: int | None,
        device: torch.device,
    ):
        caps = [request.cap for request in requests]
        numbers = np.zeros((len(seeds), max(caps)), dtype=np.float64)
        for row, (seed, cap) in enumerate(zip(seeds, caps, strict=True)):
            numbers[row, :cap] = np.random.default_rng(seed).random(cap)
        self.numbers = torch.from_numpy(numbers).to(device)
        self.caps = torch.tensor(caps, device=device)
        self.temperature = temperature
        self.size = size

    def __call__(self, logits: Tensor, places: Tensor, left: Tensor) -> Tensor:
        said = (self.caps[places] - left).clamp(max=self.numbers.shape[1] - 1)
        shares = torch.softmax(logits[:, : self.size].float() / self.temperature, dim=-1)
        # In float64: a sum over a large vocabulary in float32 would move its rarest tokens.
        below = shares.cumsum(dim=-1, dtype=torch.float64)
        wanted = self.numbers[places, said] * below[:, -1]
        # The first entry above: one that has a probability of 0 is never it.
        return torch.searchsorted(below, wanted[:, None], right=True)[:, 0]


class _Drawn(LogitsProcessor):
    """Leaves generate no choice but what was drawn."""

    def __init__(self, draw: _Draw, places: range, prompt_width: int):
        self.draw = draw
        self.places = places
        self.prompt_width = prompt_width

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        places = torch.tensor(list(self.places), device=scores.device)
        left = self.draw.caps[places] - (input_ids.shape[1] - self.prompt_width)
        drawn = self.draw(scores, places, left)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)
