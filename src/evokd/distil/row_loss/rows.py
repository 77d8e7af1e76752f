"""One pass over a chunk of logits: losses per token, and gradients in place of the logits.

There is one such pass for a CPU, `rows.c`, and one for a GPU, the Triton kernel of
`rows_in_triton.py`. Where there is neither (no compiler, float64, another device), and for
objectives without a closed form, the loss is what `objectives.py` says and the gradient autograd's.
"""

from __future__ import annotations

import torch

from evokd.distil.metrics import TokenStats
from evokd.distil.row_loss import rows_in_c
from evokd.distil.row_loss.closed_forms import ClosedForm
from evokd.distil.token_batch import LogitChunk


def has_row_pass(chunk: LogitChunk) -> bool:
    """Whether there is a pass for these logits."""
    device, dtypes = chunk.student.device, {chunk.student.dtype}
    if chunk.teacher is not None:
        dtypes.add(chunk.teacher.dtype)
    if device.type == "cpu":
        return dtypes == {torch.float32} and rows_in_c.load() is not None
    if device.type != "cuda" or torch.float64 in dtypes:
        return False
    from evokd.distil.row_loss import rows_in_triton

    return rows_in_triton.available()


def row_pass(form: ClosedForm, chunk: LogitChunk, gradient: bool = True) -> TokenStats:
    """Losses of n tokens; the student's logits become ∂(Σ_i w_i loss_i)/∂ raw if `gradient`.

    Without a gradient they may be overwritten as well, and the teacher's in any case. Where the
    chunk has a hard set that is taken, else d > Γ.
    """
    if chunk.student.device.type == "cuda":
        from evokd.distil.row_loss import rows_in_triton

        return rows_in_triton.row_pass(form, chunk, gradient)
    return rows_in_c.row_pass(form, chunk, gradient)
