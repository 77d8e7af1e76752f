"""`evokd.fused_loss`: an objective on hidden states and heads of one's own, without a trainer."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from evokd.distil.buffers import wide
from evokd.distil.chunked_loss import Objective, chunked_loss
from evokd.distil.teacher.signal import LazyLogits
from evokd.distil.token_batch import LossOptions, TokenBatch, constant_head
from evokd.distil.tokens import check_labels
from evokd.models.lm_head import Head
from evokd.recipe.objectives import objective_settings

_OPTIONS = {field.name for field in fields(LossOptions)} - {"settings"}


def fused_loss(
    objective: Objective,
    student_hidden: Tensor,
    student_head: Tensor | Head,
    teacher_hidden: Tensor | None,
    teacher_head: Tensor | Head | None,
    labels: Tensor,
    **options: Any,
) -> Tensor:
    """Mean loss of an objective over the labels that aren't −100, from hidden states and heads.

        loss = evokd.fused_loss("self_evolution", h, W, h_teacher, W_teacher, labels, gamma=0.4)
        loss.backward()  # h.grad and W.grad; no logits were stored

    Args:
        objective: a name that `evokd methods` lists, or a function from `Tokens` to (N,).
        student_hidden: (N, Hs), the states that predict the labels; differentiable.
        student_head: (V, Hs), differentiable; a `Head` where there is bias, scale or soft cap.
        teacher_hidden: (N, Ht) or None for objectives without a teacher.
        teacher_head: (V, Ht), or a `Head`.
        labels: (N,), ids below V; −100 marks a position without a loss.
        **options: settings as `evokd.token_loss` takes them; of `TokenBatch` weights, betas, and
            vocabulary_size where the vocabularies differ; all of `LossOptions`.

    Returns:
        Scalar in nats, float32 or wider. Its gradients are computed already: backward() hands them
        out, once.

    Raises:
        ValueError: an unknown objective or setting, a gate that the objective hasn't, shapes that
            don't fit, labels that are no ids, a missing teacher.
    """
    weights, betas = options.pop("weights", None), options.pop("betas", None)
    size: int | None = options.pop("vocabulary_size", None)
    kept_between_calls = {name: options.pop(name) for name in _OPTIONS & options.keys()}
    settings = objective_settings(objective, **options)
    head = _head(student_head)
    _check_shapes(student_hidden, head, labels, "student")
    kept = check_labels(labels, size or head.weight.shape[0])
    counted = slice(None) if kept.all() else kept  # a view where all of them count
    teacher = None
    if teacher_hidden is not None and teacher_head is not None:
        other = _head(teacher_head)
        _check_shapes(teacher_hidden, other, labels, "teacher")
        ours, theirs = head.weight.shape[0], other.weight.shape[0]
        if ours != theirs and size is None:
            raise ValueError(
                f"the student's head has {ours} entries, the teacher's {theirs}; "
                "pass vocabulary_size, the number that they share"
            )
        teacher = LazyLogits(teacher_hidden.detach()[counted], constant_head(other))
    labels = labels[counted]
    # Weights rather than a division: so the gradients are final when they are computed.
    mean = torch.full_like(labels, 1 / max(1, len(labels)), dtype=wide(student_hidden))
    batch = TokenBatch(
        hidden=student_hidden[counted],
        head=head,
        labels=labels,
        vocabulary_size=size or head.weight.shape[0],
        weights=mean if weights is None else mean * weights[counted],
        betas=None if betas is None else betas[counted],
    )
    return chunked_loss(objective, batch, teacher, LossOptions(settings, **kept_between_calls))


def _head(head: Tensor | Head) -> Head:
    return head if isinstance(head, Head) else Head(head)


def _check_shapes(hidden: Tensor, head: Head, labels: Tensor, whose: str) -> None:
    fits = hidden.dim() == 2 and labels.shape == hidden.shape[:1]
    if not fits or head.weight.shape[1] != hidden.shape[1]:
        raise ValueError(
            f"the {whose}'s hidden states {tuple(hidden.shape)}, head {tuple(head.weight.shape)} "
            f"and labels {tuple(labels.shape)} don't fit; (N, H), (V, H) and (N,) are accepted"
        )
