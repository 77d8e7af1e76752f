"""One pass over a chunk of logits: losses per token, and gradients in place of the logits.

There is one such pass for a CPU, `rows.c`, compiled when a machine first asks for it, and one for a
GPU, the Triton kernel of `rows_in_triton.py`. Where there is neither (no compiler, float64, another
device), and for objectives without a closed form, the loss is what `objectives.py` says and the
gradient autograd's.
"""

from __future__ import annotations

import ctypes
import logging
import os
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from evokd.distil.row_loss.closed_forms import ClosedForm
from evokd.distil.row_loss.compiling import load_c
from evokd.distil.statistics import TokenStats
from evokd.distil.token_batch import LogitChunk
from evokd.models.lm_head import apply_softcap

log = logging.getLogger(__name__)


def has_row_pass(chunk: LogitChunk) -> bool:
    """Whether there is a pass for these logits."""
    device, dtypes = chunk.student.device, {chunk.student.dtype}
    if chunk.teacher is not None:
        dtypes.add(chunk.teacher.dtype)
    if device.type == "cpu":
        return dtypes == {torch.float32} and load_rows() is not None
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
    return _in_c(form, chunk, gradient)


class _Plan(ctypes.Structure):
    """`plan` of rows.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("form", "takers", "teacher", "gradient", "loss")),
        ("threads", ctypes.c_int32),
        *((name, ctypes.c_double) for name in ("lam", "share", "beta", "gamma", "doubt")),
        *((name, ctypes.c_double) for name in ("reference", "kl", "scale", "cap")),
    )


def _in_c(form: ClosedForm, chunk: LogitChunk, gradient: bool) -> TokenStats:
    """For float32 logits whose entries stand side by side."""
    compiled = load_rows()
    assert compiled is not None, "ask has_row_pass first"
    student, teacher = chunk.student, chunk.teacher
    n, size = student.shape
    plan = _Plan(
        **asdict(form),
        teacher=teacher is not None,
        gradient=gradient,
        threads=max(1, min(torch.get_num_threads(), n)),
        scale=chunk.scale,
        cap=chunk.cap or 0.0,
    )
    apply_softcap(student, chunk.scale, chunk.cap)
    floats = torch.empty(5, n)
    is_hard = torch.empty(n, dtype=torch.bool)
    labels = chunk.labels.contiguous()
    weights = None if chunk.weights is None else chunk.weights.float().contiguous()
    hard = None if chunk.hard is None else chunk.hard.contiguous()
    tensors = (labels, weights, hard, *floats[:4], is_hard, floats[4])
    compiled.evokd_row_pass(
        *(ctypes.byref(plan), n, size, student.data_ptr(), student.stride(0)),
        *((0, 0) if teacher is None else (teacher.data_ptr(), teacher.stride(0))),
        *(0 if tensor is None else tensor.data_ptr() for tensor in tensors),
    )
    loss, nll, difficulty, teacher_nll, norm = floats.unbind()
    if teacher is None:
        return TokenStats(loss, nll, gradient_norm=norm if gradient else None)
    return TokenStats(loss, nll, difficulty, teacher_nll, is_hard, norm if gradient else None)


@cache
def load_rows() -> ctypes.CDLL | None:
    """rows.c, compiled when a machine first asks for it; None: there is no compiler.

    EVOKD_ROWS=torch in the environment does without it.
    """
    if os.environ.get("EVOKD_ROWS", "c") != "c":
        return None
    try:
        compiled = load_c(Path(__file__).with_name("rows.c"))
    except OSError as error:
        log.info("rows.c isn't compiled (%s); autograd does its work, more slowly", error)
        return None
    pointers, number = ctypes.c_void_p, ctypes.c_int64
    compiled.evokd_row_pass.restype = None
    compiled.evokd_row_pass.argtypes = (
        *(pointers, number, number, pointers, number, pointers, number),
        *(pointers,) * 9,
    )
    return compiled
