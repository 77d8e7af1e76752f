"""The row pass on a GPU: one Triton program per token, from logits to loss and gradient in place.

The closed forms are those of `closed_forms.py`, in float32 whatever the logits are. A program reads
its row two or three times:

    scan            maxima, sums of exponentials and both KL, rescaled whenever a maximum grows
    compare         KL(τ‖q̂) and Σ q r, only where the target is compared with the proxy
    differentiate   the gradient, written as soon as it is known, and its norm

A reading runs the other way than the one before, so that it starts with what is still in the cache.
Traffic for each logit of a pair of models in 16 bits: 6 bytes where the rows in flight fit the L2
cache (4 to read both once, 2 to write), as they do up to some 65 000 entries on an H100; at worst
10 bytes, 14 in compared rows; twice as much in 32 bits. Arithmetic is no less of a limit, as
compiled for an H100: some 40 instructions, 4 of them exponentials (a quarter cycle of a
multiprocessor), and in compared rows 100 with 8 exponentials and roots.

Each thread keeps maxima and sums of its own over the entries it reads, 16 bytes at a time; threads
meet once, after the last entry. So no barrier stands in a loop, and a sum over 150 000 entries is
some 40 additions deep.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from evokd.distil.row_loss.closed_forms import NLL, ClosedForm
from evokd.distil.statistics import TokenStats
from evokd.distil.token_batch import LogitChunk

if TYPE_CHECKING:
    import triton.language as tl


class Tile(NamedTuple):
    """What a program reads at a time: `lanes` × `group` neighbouring entries of a row."""

    lanes: int
    group: int
    """Entries a thread reads at once and reduces by itself."""
    warps: int


def available() -> bool:
    """Whether there is an NVIDIA GPU, and Triton to compile for it."""
    gpu = torch.version.cuda is not None and torch.cuda.is_available()
    return gpu and find_spec("triton") is not None


def row_pass(form: ClosedForm, chunk: LogitChunk, gradient: bool = True) -> TokenStats:
    """As `rows.row_pass`, for logits in float32, bfloat16 or float16.

    Entries of a row lie side by side; it is quickest where the distance of rows is a multiple of 16
    entries. The teacher's logits are left as they are, and may be log-probabilities; −inf is
    accepted. What is given back is float32.
    """
    student, teacher = chunk.student, chunk.teacher
    assert student.stride(1) == 1, "entries of a row lie side by side"
    assert teacher is None or teacher.stride(1) == 1, "entries of a row lie side by side"
    assert teacher is not None or form.loss == NLL, "this form needs a teacher"
    count, size = student.shape
    columns = torch.empty((5, count), dtype=torch.float32, device=student.device)
    hard = chunk.hard
    gate = torch.empty(count, dtype=torch.bool, device=student.device) if hard is None else hard
    if count > 0:
        tile = tile_for(size, student.element_size())
        numbers = (form.lam, form.share, form.beta, form.gamma, form.doubt, form.reference, form.kl)
        with torch.cuda.device_of(student):  # Triton launches on the current device
            _row_kernel()[(count,)](
                student,
                student if teacher is None else teacher,
                chunk.labels,
                student if chunk.weights is None else chunk.weights,
                gate.view(torch.uint8),
                columns,
                student.stride(0),
                student.stride(0) if teacher is None else teacher.stride(0),
                count,
                size,
                *map(float, (*numbers, chunk.scale, chunk.cap or 1.0)),
                FORM=form.form,
                LOSS=form.loss,
                TAKERS=form.takers,
                TEACHER=teacher is not None,
                TAUGHT=form.share > 0,
                WEIGHTED=chunk.weights is not None,
                PRESELECTED=hard is not None,
                CAPPED=chunk.cap is not None,
                GRADIENT=gradient,
                LANES=tile.lanes,
                GROUP=tile.group,
                num_warps=tile.warps,
                enable_fp_fusion=True,
            )
    loss, nll, difficulty, teacher_nll, norm = columns.unbind()
    gradient_norm = norm if gradient else None
    if teacher is None:
        return TokenStats(loss, nll, gradient_norm=gradient_norm)
    return TokenStats(loss, nll, difficulty, teacher_nll, gate, gradient_norm)


def tile_for(size: int, bytes_each: int) -> Tile:
    """The tile for rows of `size` logits of `bytes_each`.

    A thread's group is 16 bytes, the widest access there is. A multiprocessor holds about 1024
    threads of this kernel: the longer a row, the more of them share it, so that the rows in flight
    stay in the cache until they are read again (256 KiB for each multiprocessor, while 1024
    threads are enough for that).
    """
    group = max(4, 16 // bytes_each)
    warps = 4
    while warps < 32 and size * bytes_each > 4096 * warps:
        warps *= 2
    return Tile(32 * warps, group, warps)


@cache
def _row_kernel() -> Any:
    """`_rows`, for Triton to compile. Triton is imported here and not above: it isn't there on
    every system, and its interpreter is chosen by the environment when it is imported. Device
    code looks up its names in this module, which is why they are put there."""
    import triton
    import triton.language

    globals()["tl"] = triton.language
    for function in (_scan, _compare, _differentiate, _read, _ratio, _times):
        globals()[function.__name__] = triton.jit(function)
    # A last chunk of fewer rows is no reason to compile again.
    return triton.jit(_rows, do_not_specialize=["count"])


# Device code. Names in capitals are known when it is compiled. z are the student's logits and u
# the teacher's; a step of 1 in z, as it is read, is one of `z_bits` in log₂ q. Powers are of 2:
# one instruction, where e takes five. What a lane knows is (LANES,), what stands for entries
# (LANES, GROUP), all else is the row's. An entry is written by the thread that read it, after all
# threads have met at the end of the reading before.


def _rows(
    students, teachers, labels, weights, gates, columns, student_stride, teacher_stride, count,
    size, lam, share, beta, gamma, doubt, reference, kl_weight, scale, cap, FORM: tl.constexpr,
    LOSS: tl.constexpr, TAKERS: tl.constexpr, TEACHER: tl.constexpr, TAUGHT: tl.constexpr,
    WEIGHTED: tl.constexpr, PRESELECTED: tl.constexpr, CAPPED: tl.constexpr,
    GRADIENT: tl.constexpr, LANES: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One row: its numbers into `columns` (5, count), its gate, its gradient. FORM, LOSS and TAKERS
    are those of `closed_forms.py`, in its order."""
    LN2: tl.constexpr = 0.6931471805599453
    ENTROPY: tl.constexpr = LOSS == 4 or TAKERS == 3
    row = tl.program_id(0)
    student = students + row.to(tl.int64) * student_stride
    teacher = teachers + row.to(tl.int64) * teacher_stride
    label = tl.load(labels + row).to(tl.int32)
    z_bits = scale / LN2
    steepness = scale / cap
    if CAPPED:
        z_bits = cap / LN2
    # Read by all threads before they first meet, and so before one of them writes there.
    z_label, u_label = _read(
        student, teacher, label, size, True, steepness, TEACHER, CAPPED, "evict_last"
    )
    z_top, z_sum, u_top, u_sum, ahead, back = _scan(
        student, teacher, size, steepness, z_bits, FORM, ENTROPY, TEACHER, CAPPED, LANES, GROUP
    )

    # The lanes meet.
    z_max = tl.max(z_top, 0)
    z_share = tl.exp2((z_top - z_max) * z_bits)
    z_total = tl.sum(z_sum * z_share, 0)
    nll = tl.log(z_total) - (z_label - z_max) * (z_bits * LN2)
    loss = nll
    u_max = 0.0
    u_total = 1.0
    kl = 0.0
    hard = False
    doubted = False
    if TEACHER:
        u_max = tl.max(u_top, 0)
        u_share = tl.exp2((u_top - u_max) / LN2)
        u_total = tl.sum(u_sum * u_share, 0)
        moved = (u_top - u_max) / LN2 - (z_top - z_max) * z_bits
        teacher_nll = tl.log(u_total) - (u_label - u_max)
        kl = tl.sum(_times(u_share, ahead + u_sum * moved), 0) / u_total * LN2
        kl += tl.log(z_total) - tl.log(u_total)
        # d is that mixture and Σ τ ln τ − λ Σ p ln p, where τ is λ p everywhere but at the label.
        p_label = tl.exp(-teacher_nll)
        target_label = lam * p_label + (1 - lam)
        difficulty = (_times(1 - lam, nll) + _times(lam, kl)) + (
            _times(lam, tl.log(lam)) * (1 - p_label)
            + _times(target_label, tl.log(target_label))
            + _times(lam * p_label, teacher_nll)
        )
        if PRESELECTED:
            hard = tl.load(gates + row) != 0
        else:
            hard = difficulty > gamma
            tl.store(gates + row, hard.to(tl.uint8))
        entropy = 0.0
        if ENTROPY:
            own = tl.sum(_times(u_share, back + u_sum * ((u_top - u_max) / LN2)), 0)
            entropy = tl.log(u_total) - own / u_total * LN2
        doubted = teacher_nll > tl.maximum(doubt, entropy)
        tl.store(columns + 2 * count + row, difficulty)
        tl.store(columns + 3 * count + row, teacher_nll)
        if LOSS == 1:
            loss = difficulty
        elif LOSS == 2 or LOSS == 4:  # CE(p, q) = KL(p‖q) + H(p), of which LOSS 2 has no part
            loss = _times(1 - share, nll) + _times(share, kl + entropy)
        if FORM == 2:
            kl = tl.sum(_times(z_share, back - z_sum * moved), 0) / z_total * LN2
            kl += tl.log(u_total) - tl.log(z_total)
            loss = _times(reference, nll) + _times(kl_weight, kl)

    compared = FORM == 1
    if FORM == 1 and TAKERS == 1:
        compared = hard
    elif FORM == 1 and TAKERS == 2:
        compared = hard == 0
    elif FORM == 1 and TAKERS == 3:
        compared = hard & doubted
    z_scale = 1 / z_total
    u_scale = share / u_total  # of the target τ
    held = 0.0
    if compared:
        apart, held = _compare(
            student, teacher, size, label, steepness, z_bits, z_max, u_max, z_scale, u_scale,
            1 - share, beta, CAPPED, LANES, GROUP,
        )  # fmt: skip
        loss = apart
        if LOSS == 3:
            loss = _times(reference, nll) + _times(kl_weight, apart)
    tl.store(columns + row, loss)
    tl.store(columns + count + row, nll)
    if GRADIENT:
        weight = scale  # of z in the raw logit, where no cap flattens it
        if WEIGHTED:
            weight *= tl.load(weights + row)
        log_shift = kl + tl.log(z_total) - tl.log(u_total)
        norm = _differentiate(
            student, teacher, size, label, steepness, z_bits, z_max, u_max, z_scale, u_scale,
            share, beta, reference, kl_weight, compared, held, log_shift, weight,
            FORM, LOSS, TAUGHT, CAPPED, LANES, GROUP,
        )  # fmt: skip
        tl.store(columns + 4 * count + row, norm)


def _scan(
    student, teacher, size, steepness, z_bits, FORM: tl.constexpr, ENTROPY: tl.constexpr,
    TEACHER: tl.constexpr, CAPPED: tl.constexpr, LANES: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Of each lane, with a = (z − max z) z_bits and b likewise of u: the maxima, Σ 2ᵃ, Σ 2ᵇ,
    ahead = Σ 2ᵇ (b − a), of which KL(p‖q) is made, and back = Σ 2ᵃ (a − b), of which KL(q‖p) is,
    or Σ 2ᵇ b, of which H(p) is, where one of these is needed."""
    LN2: tl.constexpr = 0.6931471805599453
    # Finite to begin with: rows may start with −inf, and −inf − −inf is no number.
    z_top = tl.full((LANES,), -1e28, tl.float32)
    u_top = tl.full((LANES,), -1e28, tl.float32)
    z_sum = tl.zeros((LANES,), tl.float32)
    u_sum = tl.zeros((LANES,), tl.float32)
    ahead = tl.zeros((LANES,), tl.float32)
    back = tl.zeros((LANES,), tl.float32)
    tile = tl.arange(0, LANES)[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    for start in range(0, size, LANES * GROUP):
        whole = start + LANES * GROUP <= size
        z, u = _read(
            student, teacher, tile + start, size, whole, steepness, TEACHER, CAPPED, "evict_last"
        )
        top = tl.maximum(z_top, tl.max(z, 1))
        a = (z - top[:, None]) * z_bits
        a_moved = (z_top - top) * z_bits
        a_kept = tl.exp2(a_moved)
        z_top = top
        if TEACHER:
            top = tl.maximum(u_top, tl.max(u, 1))
            b = (u - top[:, None]) / LN2
            b_moved = (u_top - top) / LN2
            b_kept = tl.exp2(b_moved)
            u_top = top
            if FORM == 2:
                back = _times(a_kept, back - z_sum * (b_moved - a_moved))
                back += tl.sum(_times(tl.exp2(a), a - b), 1)
            b = tl.maximum(b, -1000.0)  # 2ᵇ is 0 either way, and 0 · −inf is no number
            if ENTROPY:
                back = b_kept * (back + u_sum * b_moved) + tl.sum(tl.exp2(b) * b, 1)
            ahead = b_kept * (ahead + u_sum * (b_moved - a_moved))
            ahead += tl.sum(tl.exp2(b) * (b - a), 1)
            u_sum = b_kept * u_sum + tl.sum(tl.exp2(b), 1)
        z_sum = a_kept * z_sum + tl.sum(tl.exp2(a), 1)
    return z_top, z_sum, u_top, u_sum, ahead, back


def _compare(
    student, teacher, size, label, steepness, z_bits, z_max, u_max, z_scale, u_scale, on_label,
    beta, CAPPED: tl.constexpr, LANES: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """KL(τ‖q̂) and β Σ q r, read from the row's end."""
    LN2: tl.constexpr = 0.6931471805599453
    lost = tl.zeros((LANES,), tl.float32)
    held = tl.zeros((LANES,), tl.float32)
    tile = tl.arange(0, LANES)[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    last = tl.cdiv(size, LANES * GROUP) - 1
    for index in range(0, last + 1):
        start = (last - index) * (LANES * GROUP)
        at = tile + start
        whole = start + LANES * GROUP <= size
        z, u = _read(student, teacher, at, size, whole, steepness, True, CAPPED, "evict_last")
        q = tl.exp2((z - z_max) * z_bits) * z_scale
        target = tl.exp2((u - u_max) / LN2) * u_scale + tl.where(at == label, on_label, 0.0)
        ratio = _ratio(q, target, beta)
        lost += tl.sum(target * tl.log2(tl.maximum(ratio, 1e-30)), 1)
        held += tl.sum(q * ratio, 1)
    return tl.sum(lost, 0) * LN2, tl.sum(held, 0) * beta


def _differentiate(
    student, teacher, size, label, steepness, z_bits, z_max, u_max, z_scale, u_scale, share, beta,
    reference, kl_weight, compared, held, log_shift, weight, FORM: tl.constexpr, LOSS: tl.constexpr,
    TAUGHT: tl.constexpr, CAPPED: tl.constexpr, LANES: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """The gradient in place of the student's row, and its norm. Read from the row's end, or from
    its start where `_compare` went before."""
    LN2: tl.constexpr = 0.6931471805599453
    squares = tl.zeros((LANES,), tl.float32)
    tile = tl.arange(0, LANES)[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    last = tl.cdiv(size, LANES * GROUP) - 1
    for index in range(0, last + 1):
        start = tl.where(compared, index, last - index) * (LANES * GROUP)
        at = tile + start
        whole = start + LANES * GROUP <= size
        z, u = _read(student, teacher, at, size, whole, steepness, TAUGHT, CAPPED, "evict_first")
        a = (z - z_max) * z_bits
        b = (u - u_max) / LN2
        q = tl.exp2(a) * z_scale
        if FORM == 2:
            slope = reference * q - tl.where(at == label, reference, 0.0)
            slope += _times(kl_weight * q, (a - b) * LN2 - log_shift)
        else:
            target = tl.where(at == label, 1 - share, 0.0)
            if TAUGHT:
                target += tl.exp2(b) * u_scale
            slope = q - target
            if compared:
                slope = q * (held - beta * _ratio(q, target, beta))
                if LOSS == 3:
                    on_reference = q - tl.where(at == label, 1.0, 0.0)
                    slope = reference * on_reference + kl_weight * slope
        slope *= weight
        if CAPPED:
            slope *= (1 - z) * (1 + z)
        if whole:
            tl.store(student + at, slope.to(student.dtype.element_ty))
        else:
            slope = tl.where(at < size, slope, 0.0)
            tl.store(student + at, slope.to(student.dtype.element_ty), mask=at < size)
        squares += tl.sum(slope * slope, 1)
    return tl.sqrt(tl.sum(squares, 0))


def _read(
    student, teacher, at, size, whole, steepness, TEACHER: tl.constexpr, CAPPED: tl.constexpr,
    EVICTION: tl.constexpr,
):  # fmt: skip
    """z and u, as good as −inf beyond the row. Only a tile that isn't whole, a row's last, has a
    mask: it would split the wide accesses of the others where rows are of an odd size."""
    if whole:
        z = tl.load(student + at, eviction_policy=EVICTION).to(tl.float32)
        if TEACHER:
            u = tl.load(teacher + at, eviction_policy=EVICTION).to(tl.float32)
    else:
        z = tl.load(student + at, mask=at < size, other=0.0).to(tl.float32)
        if TEACHER:
            u = tl.load(teacher + at, mask=at < size, other=0.0).to(tl.float32)
            u = tl.where(at < size, u, -1e30)
        if not CAPPED:
            z = tl.where(at < size, z, -1e30)
    if CAPPED:  # tanh
        z = 2 / (1 + tl.exp2(z * steepness * -2.8853900817779268)) - 1
        z = tl.where(at < size, z, -1e30)
    if not TEACHER:
        u = z
    return z, u


def _ratio(q, target, beta):
    """r = τ / q̂. What is smaller than 1e-30 counts for nothing. A reciprocal root squared is
    1 / q̂ at a fifth of the instructions."""
    root = tl.rsqrt(tl.maximum(beta * q + (1 - beta) * target, 1e-30))
    return target * root * root


def _times(weight, value):
    """weight · value, and 0 where weight is, however infinite the value."""
    return tl.where(weight > 0, weight * value, 0.0)
