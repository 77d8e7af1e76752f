"""Where an answer ends: at an end token, at the first newline after some text, at its cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import StoppingCriteria

from evokd.models.loading import Translator, end_ids

_KINDS: WeakKeyDictionary[Any, dict[Any, tuple[Tensor, Tensor, Tensor]]] = WeakKeyDictionary()
"""Of tokenizers in use: to decode a whole vocabulary takes longer than to translate a line."""


@dataclass(frozen=True)
class Ends:
    """Which tokens end an answer.

    Attributes:
        ids: the end tokens.
        newline: (vocabulary,) tokens whose text holds a newline.
        text: (vocabulary,) tokens whose text holds anything but spaces.
        text_first: (vocabulary,) tokens with such text in front of their first newline.
    """

    ids: tuple[int, ...]
    newline: Tensor
    text: Tensor
    text_first: Tensor

    @classmethod
    def of(cls, translator: Translator) -> Ends:
        model, tokenizer = translator.model, translator.tokenizer
        width = model.config.get_text_config().vocab_size
        key, known = (len(tokenizer), width, model.device), _KINDS.setdefault(tokenizer, {})
        if key not in known:
            known[key] = _kinds(tokenizer, width, model.device)
        return cls(tuple(end_ids(model, tokenizer, translator.prompt)), *known[key])

    @cached_property
    def final(self) -> Tensor:
        """(vocabulary,) bool: the end tokens."""
        table = torch.zeros_like(self.newline)
        table[list(self.ids)] = True
        return table

    @cached_property
    def newline_ids(self) -> frozenset[int]:
        """The tokens of `newline`, where Python reads them one by one."""
        return frozenset(self.newline.nonzero()[:, 0].tolist())

    def newline_at(self, last: Tensor, had_text: Tensor) -> Tensor:
        """Whether answers end at their last tokens (rows,), from whether text came before them
        (rows,) bool → (rows,) bool.

        A newline ends an answer only after some text: models like to begin with one.
        """
        return self.newline[last] & (had_text | self.text_first[last])

    def newlines(self, generated: Tensor) -> Tensor:
        """The same at each of the tokens (…, tokens) → (…, tokens) bool."""
        text = self.text[generated].long()
        return self.newline_at(generated, text.cumsum(dim=-1) > text)

    def end_of(self, ids: Sequence[int], cap: int) -> tuple[str, int]:
        """What ends an answer, "eos", "newline" or "cap", and how many of these tokens it has, its
        end token among them."""
        for place, token in enumerate(ids[:cap]):
            if token in self.ids:
                return "eos", place + 1
            if token in self.newline_ids and (
                self.text_first[token] or self.text[list(ids[:place])].any()
            ):
                return "newline", place + 1
        return "cap", min(len(ids), cap)


class EndOfAnswer(StoppingCriteria):
    """For transformers' generate: rows stop at a newline, or at a cap of their own."""

    def __init__(self, ends: Ends, prompt_width: int, caps: Tensor):
        self.ends = ends
        self.prompt_width = prompt_width
        self.caps = caps

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        generated = input_ids[:, self.prompt_width :]
        # Beam search asks about several candidates of each row at once.
        caps = self.caps.repeat_interleave(len(input_ids) // len(self.caps))
        return self.ends.newlines(generated)[:, -1] | (generated.shape[1] >= caps)


def _kinds(tokenizer: Any, width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """`newline`, `text` and `text_first` of `Ends`."""
    ids = [[token] for token in range(min(width, len(tokenizer)))]
    tokens = tokenizer.batch_decode(ids, skip_special_tokens=True)
    tokens += [""] * (width - len(tokens))
    heads = [token.partition("\n")[0].strip() for token in tokens]
    return (
        torch.tensor(["\n" in token for token in tokens], device=device),
        torch.tensor([bool(token.strip()) for token in tokens], device=device),
        torch.tensor([bool(head) for head in heads], device=device),
    )
