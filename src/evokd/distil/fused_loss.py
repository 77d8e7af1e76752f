"""`evokd.fused_loss`: an objective on hidden states and heads of one's own, without a trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evokd.distil.chunked_loss import constant, objective_on_hidden
from evokd.distil.gradients import wide
from evokd.distil.objectives import WITHOUT_TEACHER, objective_settings
from evokd.distil.teacher.signal import HeadedHidden
from evokd.distil.token_selection import TokenQueue
from evokd.distil.tokens import IGNORED, Tokens
from evokd.models.lm_head import Head


def fused_loss(
    objective: str | Callable[[Tokens], Tensor],
    student_hidden: Tensor,
    student_head: Tensor | Head,
    teacher_hidden: Tensor | None,
    teacher_head: Tensor | Head | None,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    betas: Tensor | None = None,
    memory: TokenQueue | None = None,
    vocabulary_size: int | None = None,
    chunk_tokens: int | None = None,
    **settings: Any,
) -> Tensor:
    """Mean loss of an objective over the labels that aren't −100, from hidden states and heads.

    Example:
        loss = evokd.fused_loss("self_evolution", h, W, h_teacher, W_teacher, labels, gamma=0.4)
        loss.backward()  # h.grad and W.grad; no logits were stored

    Args:
        objective: a name of `OBJECTIVES`, or a function from `Tokens` to (N,).
        student_hidden: (N, Hs), the states that predict the labels; differentiable.
        student_head: (V, Hs), differentiable; a `Head` where there is bias, scale or soft cap.
        teacher_hidden: (N, Ht) or None for objectives without a teacher.
        teacher_head: (V, Ht), or a `Head`.
        labels: (N,), ids below V; −100 marks a position without a loss.
        weights: (N,), factors of the tokens' losses; the mean is still over their number.
        betas: (N,), 0 to 1, β of each token where the objective has a proxy; constants.
        memory: what selective_kd remembers from call to call, if its `queue` is above 0.
        vocabulary_size: entries that both vocabularies share, where they differ.
        chunk_tokens: rows of logits that stand in memory at once; default: what 125 MiB hold (on a
            GPU: 1 GiB).
        **settings: fields of `ObjectiveSettings`; the papers' defaults otherwise.

    Returns:
        Scalar in nats, float32 or wider. Its gradients are computed already: backward() hands them
        out, once.

    Raises:
        ValueError: an unknown objective or setting, shapes that don't fit, a missing teacher.
    """
    known = objective if isinstance(objective, str) else "noevo"
    chosen = objective_settings(known, **settings)
    head = _head(student_head)
    _check_shapes(student_hidden, head, labels, "student")
    teacher = None
    size = head.weight.shape[0]
    kept = labels != IGNORED
    whole = bool(kept.all())
    if teacher_hidden is not None and teacher_head is not None:
        other = _head(teacher_head)
        _check_shapes(teacher_hidden, other, labels, "teacher")
        if other.weight.shape[0] != size and vocabulary_size is None:
            raise ValueError(
                f"the student's head has {size} entries, the teacher's {other.weight.shape[0]}; "
                "pass vocabulary_size, the number that they share"
            )
        seen = teacher_hidden.detach()
        teacher = HeadedHidden(seen if whole else seen[kept], constant(other))
    elif isinstance(objective, str) and objective not in WITHOUT_TEACHER:
        raise ValueError(f"{objective} needs teacher_hidden and teacher_head")
    if not whole:
        student_hidden, labels = student_hidden[kept], labels[kept]
        weights = None if weights is None else weights[kept]
        betas = None if betas is None else betas[kept]
    # Weights rather than a division: so the gradients are final when they are computed.
    mean = torch.full_like(labels, 1 / max(1, len(labels)), dtype=wide(student_hidden))
    return objective_on_hidden(
        objective,
        chosen,
        student_hidden,
        head,
        teacher,
        labels,
        weights=mean if weights is None else mean * weights,
        betas=betas,
        memory=memory,
        vocabulary_size=vocabulary_size,
        chunk_tokens=chunk_tokens,
    )


def _head(given: Tensor | Head) -> Head:
    return given if isinstance(given, Head) else Head(given)


def _check_shapes(hidden: Tensor, head: Head, labels: Tensor, whose: str) -> None:
    if hidden.dim() != 2 or labels.shape != hidden.shape[:1]:
        raise ValueError(
            f"the {whose}'s hidden states {tuple(hidden.shape)} and labels {tuple(labels.shape)} "
            "don't fit; (N, H) and (N,) are accepted"
        )
    if head.weight.shape[1] != hidden.shape[1]:
        raise ValueError(
            f"the {whose}'s head {tuple(head.weight.shape)} and hidden states "
            f"{tuple(hidden.shape)} don't fit; (V, H) and (N, H) are accepted"
        )
