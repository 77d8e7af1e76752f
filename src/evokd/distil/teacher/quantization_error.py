"""What a teacher loses where its weights are quantized: KL from the teacher in full, on text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from evokd.distil.teacher.signal import LazyLogits, LiveTeacher
from evokd.models.encoded import target_mask

_CHUNK = 256
"""Tokens whose logits stand in memory at once."""


@torch.no_grad()
def word_of(teacher: nn.Module, batches: Iterable[dict[str, Tensor]]) -> LazyLogits:
    """What a teacher says of every response token of some batches; its model isn't needed for it
    any more.

    Args:
        batches: input_ids, attention_mask and labels, (B, T) each, on the teacher's device.
    """
    signal, each = LiveTeacher(teacher), []
    for batch in batches:
        read = {name: batch[name] for name in ("input_ids", "attention_mask")}
        each.append(signal.forward(read, target_mask(batch["labels"])))
    head = each[0].head.map(lambda weight: weight.detach().clone())
    return LazyLogits(torch.cat([one.hidden for one in each]), head)


@torch.no_grad()
def divergence(exact: LazyLogits, other: LazyLogits) -> dict[str, Any]:
    """How far another word on the same N tokens is off, over the whole vocabulary.

    Returns:
        tokens: N. kl: mean of KL(exact ‖ other), nats. kl_max: the largest. same_best: share of
        tokens of which both hold the same one for the likeliest.
    """
    size, divergences, agrees = len(exact.head.weight), [], []
    for start in range(0, len(exact.hidden), _CHUNK):
        rows = slice(start, start + _CHUNK)
        p, q = (one.logits(rows, size).double().log_softmax(-1) for one in (exact, other))
        divergences.append((p.exp() * (p - q)).sum(-1))
        agrees.append(p.argmax(-1) == q.argmax(-1))
    kl, same = torch.cat(divergences), torch.cat(agrees)
    return {
        "tokens": len(kl),
        "kl": float(kl.mean()),
        "kl_max": float(kl.max()),
        "same_best": float(same.double().mean()),
    }
