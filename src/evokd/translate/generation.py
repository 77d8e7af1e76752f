"""Answers of a model to requests: by continuous batching where the model fits and there is no beam,
else by transformers' generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from evokd.models.batching import Budget, Groups, Request, left_padded
from evokd.models.lm_head import evaluating
from evokd.models.loading import generating_by
from evokd.recipe.judging import DecodingSettings
from evokd.translate.continuous_batching import (
    Choose,
    decode_continuously,
    supports_continuous_batching,
)
from evokd.translate.stopping import EndOfAnswer, Ends


def search(
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    settings: DecodingSettings,
    best: int = 1,
) -> Groups:
    """Greedy or beam search by a model, within `plain_settings`.

    Args:
        best: answers to a request, at most the beam; they follow each other, the best first.
    """
    assert best <= settings.beam, f"{best} answers of a beam of {settings.beam}"
    budget = Budget(settings.batch_size, settings.batch_tokens // settings.beam)
    if settings.beam == 1:
        return decode(model, requests, ends, budget)
    beams: dict[str, Any] = {"num_beams": settings.beam, "length_penalty": settings.length_penalty}
    return _generated(model, requests, ends, budget, num_return_sequences=best, **beams)


def decode(
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    budget: Budget,
    choose: Choose | None = None,
) -> Groups:
    """One token after the other, by default the most likely one; the model within
    `plain_settings`."""
    loop = decode_continuously if supports_continuous_batching(model) else _generated
    return loop(model, requests, ends, budget, choose)


def _generated(
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    budget: Budget,
    choose: Choose | None = None,
    **beams: Any,
) -> Groups:
    """The same, and beam search, by transformers' generate."""
    for places in budget.batches([request.size for request in requests]):
        batch = [requests[place] for place in places]
        input_ids, mask = left_padded([each.prompt_ids for each in batch], model.device)
        width = input_ids.shape[1]
        caps = torch.tensor([request.cap for request in batch], device=model.device)
        processors = [] if choose is None else [_Chosen(choose, places, caps, width)]
        generated = model.generate(
            input_ids,
            attention_mask=mask,
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(request.cap for request in batch),
                eos_token_id=list(ends.ids),
                pad_token_id=0,
                **beams,
            ),
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([EndOfAnswer(ends, width, caps)]),
            synced_gpus=False,  # what is asked of a sharded model here is asked of it gathered
        )[:, width:].tolist()
        best = len(generated) // len(batch)
        yield [(places[row // best], ids) for row, ids in enumerate(generated)]


@contextmanager
def plain_settings(model: Any) -> Iterator[None]:
    """Evaluation mode, and the model's own generation settings (sampling, penalties) set aside,
    which generate() would lay under ours."""
    with evaluating(model), generating_by(model, GenerationConfig()):
        yield


class _Chosen(LogitsProcessor):
    """Leaves generate no choice but what was chosen."""

    def __init__(self, choose: Choose, places: range, caps: Tensor, prompt_width: int):
        self.choose = choose
        self.places = torch.tensor(list(places), device=caps.device)
        self.caps = caps
        self.prompt_width = prompt_width

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        remaining = self.caps - (input_ids.shape[1] - self.prompt_width)
        tokens = self.choose(scores, self.places, remaining)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)
