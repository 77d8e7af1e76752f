"""Products of matrices on a CPU: on its matrix units where it has them, else by torch.

Intel's server CPUs since 2023 (Sapphire Rapids) have units (AMX) that multiply bfloat16 and 8-bit
integers an order of magnitude faster than float32. `products.c` takes each float32 apart into some
of those, multiplies them and adds up. Of three the result is as exact as float32 (4e-7 of its
size; what counts is the greatest entry of each row, so that outliers cost the others digits), of
two it is off by 5e-6, where rounding to bfloat16 is off by 2e-3. What is below 1e-30 counts as 0,
and a row or column with an infinity comes out as no numbers at all, where torch would keep some.
A chunk of logits also has too few rows for a BLAS, which rearranges the whole other matrix for
them.
"""

from __future__ import annotations

import ctypes
import logging
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from evokd.compiling import load_c

log = logging.getLogger(__name__)

LEAST_WORK = 1 << 20
"""Multiplications from which the units are worth their call."""


class _Operand(ctypes.Structure):
    """`operand` of products.c."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("half", ctypes.c_int32),
        ("along", ctypes.c_int32),
    )


class _Task(ctypes.Structure):
    """`task` of products.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("m", "n", "k")),
        ("a", _Operand),
        ("b", _Operand),
        ("c", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("add", "parts", "threads")),
    )


def multiply(a: Tensor, b: Tensor, out: Tensor, add: bool = False, parts: int = 3) -> None:
    """out = a b, or out + a b, on a CPU and in out's precision.

    Args:
        a, b: (m, k) and (k, n) of any dtypes; one of m, k and n is a vocabulary's size.
        out: (m, n)
        parts: short numbers that a float32 is taken for on the matrix units, 2 or 3.

    Raises:
        ValueError: shapes that don't fit.
    """
    if a.shape[1] != b.shape[0] or out.shape != (a.shape[0], b.shape[1]):
        raise ValueError(f"{tuple(a.shape)} times {tuple(b.shape)} isn't {tuple(out.shape)}")
    if not multiply_on_units(a, b, out, add, parts):
        _multiply_by_blocks(a, b, out, add)


def multiply_on_units(a: Tensor, b: Tensor, out: Tensor, add: bool = False, parts: int = 3) -> bool:
    """The same on the CPU's matrix units, where they serve; else nothing is done.

    They serve float32 and bfloat16, each with entries side by side in one dimension, into float32.

    Returns:
        Whether it was done.
    """
    if parts not in (2, 3):
        raise ValueError(f"parts is {parts}; 2 or 3 are accepted")
    (m, k), n = a.shape, b.shape[1]
    followed = torch.is_grad_enabled() and any(x.requires_grad for x in (a, b, out))
    if m * n * k < LEAST_WORK or followed:  # torch will say that it can't follow either
        return False
    if not (_readable(a) and _readable(b) and _writable(out)):
        return False
    compiled = load()
    if compiled is None:
        return False
    task = _Task(
        *(m, n, k),
        _operand(a),
        _operand(b.t()),
        out.data_ptr(),
        out.stride(0),
        *(add, parts, torch.get_num_threads()),
    )
    return int(compiled.evokd_product(ctypes.byref(task))) == 0


def _multiply_by_blocks(a: Tensor, b: Tensor, out: Tensor, add: bool) -> None:
    """By torch, a part of the longest dimension at a time.

    What is read of a matrix, and what the BLAS packs of it, then stays nearer: with chunks of some
    hundred rows the products are bound by memory, and parts make them 10–15 % faster (up to 50 % on
    AMD's Zen 3). A matrix in half precision is widened part by part.
    """
    (m, k), n = a.shape, b.shape[1]
    long = max(m, k, n)
    each = 8192 if a.dtype == b.dtype == out.dtype else 4096
    a, b = (x if long in x.shape else x.to(out.dtype) for x in (a, b))
    for start in range(0, long, each):
        part = slice(start, start + each)
        if k == long:
            some, others, into = a[:, part], b[part], out
        elif n == long:
            some, others, into = a, b[:, part], out[:, part]
        else:
            some, others, into = a[part], b, out[part]
        some, others = some.to(out.dtype), others.to(out.dtype)
        if add or (k == long and start):
            into.addmm_(some, others)
        else:
            torch.mm(some, others, out=into)


@cache
def load() -> ctypes.CDLL | None:
    """products.c, compiled when a machine first asks for it; None: this CPU or system lacks the
    units, or there is no compiler.

    EVOKD_PRODUCTS=torch in the environment does without it.
    """
    if os.environ.get("EVOKD_PRODUCTS", "c") != "c":
        return None
    try:
        compiled = load_c(Path(__file__).with_name("products.c"))
    except OSError as error:
        log.info("products.c isn't compiled (%s); torch does its work", error)
        return None
    if not compiled.evokd_products_ready():
        log.info(
            "this CPU has no matrix units, or the system doesn't lend them; torch does its work"
        )
        return None
    return compiled


def _readable(x: Tensor) -> bool:
    kinds = (torch.float32, torch.bfloat16)
    return x.device.type == "cpu" and x.dtype in kinds and 1 in x.stride()


def _writable(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.stride(1) == 1


def _operand(x: Tensor) -> _Operand:
    """Of (rows, k)."""
    along = x.stride(1) == 1
    return _Operand(x.data_ptr(), x.stride(0 if along else 1), x.dtype == torch.bfloat16, along)
