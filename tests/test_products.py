"""Products on a CPU's matrix units and by torch, against float64."""

import itertools
import os
import subprocess
import sys

import pytest
import torch

from evokd.models import products
from evokd.models.products import multiply, multiply_on_units

SHAPES = [(37, 45, 700), (5, 3000, 80), (228, 1000, 64), (100, 64, 3000), (1, 1100, 1025)]
"""m, n, k: whole tiles and parts of some, and more than is packed at once."""
DTYPES = [torch.float32, torch.bfloat16]
ERRORS = {2: 1e-5, 3: 1e-6}
"""By parts."""


@pytest.fixture(autouse=True)
def _loaded_anew():
    products.load.cache_clear()
    yield
    products.load.cache_clear()


@pytest.fixture
def units():
    if products.load() is None:
        pytest.skip("this CPU has no matrix units, or there is no compiler")


@pytest.fixture
def no_units(monkeypatch):
    monkeypatch.setenv("EVOKD_PRODUCTS", "torch")


def matrix(rows, columns, dtype=torch.float32, turned=False):
    """Random, with the entries of a row or of a column side by side."""
    generator = torch.Generator().manual_seed(rows + 7 * columns)
    shape = (columns, rows) if turned else (rows, columns)
    made = torch.randn(shape, generator=generator).to(dtype)
    return made.t() if turned else made


def error(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_the_units_multiply_as_exactly_as_they_say(units, m, n, k, parts):
    choices = itertools.product(DTYPES, DTYPES, *[(False, True)] * 3)
    for of_a, of_b, a_turned, b_turned, add in choices:
        a, b = matrix(m, k, of_a, a_turned), matrix(k, n, of_b, b_turned)
        out = matrix(m, n + 7)[:, :n]
        before = out.double()
        assert multiply_on_units(a, b, out, add, parts)
        exact = a.double() @ b.double() + (before if add else 0)
        assert error(out, exact) < ERRORS[parts]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.float64])
@pytest.mark.parametrize(("m", "n", "k"), [(6, 9000, 40), (6, 40, 9000), (9000, 6, 40)])
def test_torch_multiplies_what_the_units_dont(no_units, dtype, m, n, k):
    for turned, add in itertools.product((False, True), repeat=2):
        a, b = matrix(m, k, dtype, turned), matrix(k, n)
        out = matrix(m, n, torch.float64 if dtype == torch.float64 else torch.float32)
        exact = a.double() @ b.double() + (out.double() if add else 0)
        multiply(a, b, out, add)
        assert error(out, exact) < 1e-6


def test_the_error_is_in_the_last_digits_of_each_rows_greatest_entry(units):
    """Rows have scales of their own, over 40 orders of magnitude; one entry is above the others."""
    a, b = matrix(64, 1500), matrix(1500, 500, turned=True)
    a *= 10.0 ** torch.linspace(-20, 20, 64)[:, None]
    a[:, 7] *= 1000
    b *= 10.0 ** torch.linspace(-3, 3, 500)
    a[5], b[:, 9] = 0, 0
    out, exact = torch.empty(64, 500), a.double() @ b.double()
    assert multiply_on_units(a, b, out)
    of_a, of_b = a.double().abs(), b.double().abs()
    bound = of_a.amax(1, keepdim=True) * of_b.sum(0) + of_a.sum(1, keepdim=True) * of_b.amax(0)
    assert ((out.double() - exact).abs() <= 2.0**-22 * bound).all()
    a *= 1e-15  # below 1e-30 they count as zeros
    assert multiply_on_units(a, b, out)
    assert not out[0].any()
    assert out[-1].any()


def test_what_stands_beside_the_result_stays(units):
    wide = torch.full((70, 1100), 7.0)
    assert multiply_on_units(matrix(70, 40), matrix(40, 1001), wide[:, :1001])
    assert (wide[:, 1001:] == 7).all()


def test_the_units_serve_large_products_of_some_kinds_only(units):
    a, b, out = matrix(64, 300), matrix(300, 400), torch.empty(64, 400)
    assert multiply_on_units(a, b, out)
    assert not multiply_on_units(a[:4], b, out[:4])  # small
    assert not multiply_on_units(a.double(), b, out)
    assert not multiply_on_units(a.half(), b, out)
    assert not multiply_on_units(a, b, out.bfloat16())
    assert not multiply_on_units(matrix(128, 600)[::2, ::2], b, out)  # entries apart
    assert not multiply_on_units(a, b, torch.empty(400, 64).t())


def test_threads_share_the_work(units):
    for m, n, k in SHAPES:
        a, b = matrix(m, k), matrix(k, n)
        found = []
        before = torch.get_num_threads()
        try:
            for threads in (1, 3):
                torch.set_num_threads(threads)
                found.append(torch.empty(m, n))
                assert multiply_on_units(a, b, found[-1])
        finally:
            torch.set_num_threads(before)
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("parts", [2, 3])
def test_what_is_no_number_stays_in_its_row(units, parts):
    for turned in (False, True):  # of three parts digits serve the second
        a, out = matrix(40, 100), torch.empty(40, 600)
        a[3, 5] = torch.nan
        assert multiply_on_units(a, matrix(100, 600, turned=turned), out, parts=parts)
        assert out[3].isnan().all()
        assert out.isfinite().sum() == 39 * 600


def test_far_scales_meet_in_the_middle(units):
    a, b = matrix(40, 100), matrix(100, 600, turned=True)
    exact = a.double() @ b.double()
    for by in (1e-18, 1e18, 1e25):
        out = torch.empty(40, 600)
        assert multiply_on_units(a * by, b / by, out)
        assert error(out, exact) < 1e-6


def test_gradients_are_torchs(units):
    a, b = matrix(64, 300).requires_grad_(), matrix(300, 400)
    with pytest.raises(RuntimeError, match="out="):
        multiply(a, b, torch.empty(64, 400))
    with torch.no_grad():
        assert multiply_on_units(a, b, torch.empty(64, 400))
    with pytest.raises(ValueError, match="parts is 4"):
        multiply(a, b, torch.empty(64, 400), parts=4)


GROWTH = """
import threading, torch
from evokd.models.products import multiply_on_units

def resident():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

def work():
    assert multiply_on_units(a, b, out)

a, b, out = torch.rand(256, 1024), torch.rand(1024, 4096), torch.empty(256, 4096)
sizes = []
for count in range(40):
    torch.set_num_threads(1 + count % 3)
    one = threading.Thread(target=work)
    one.start()
    one.join()
    sizes.append(resident())
print(max(sizes[20:]) - max(sizes[:20]))
"""


def test_memory_goes_with_its_thread(units):
    """In a process of its own, whose malloc hands back at once what is freed."""
    given = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", GROWTH],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 16


def test_shapes_that_dont_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) times \(4, 5\) isn't \(2, 5\)"):
        multiply(matrix(2, 3), matrix(4, 5), torch.empty(2, 5))
    with pytest.raises(ValueError, match="isn't"):
        multiply(matrix(2, 3), matrix(3, 5), torch.empty(5, 2))


def test_without_a_compiler_torch_does_its_work(monkeypatch, caplog):
    def refuse(source):
        raise OSError(f"no compiler takes {source.name}")

    monkeypatch.delenv("EVOKD_PRODUCTS", raising=False)
    monkeypatch.setattr(products, "load_c", refuse)
    caplog.set_level("INFO")
    a, b, out = matrix(64, 300), matrix(300, 400), torch.empty(64, 400)
    assert not multiply_on_units(a, b, out)
    assert "no compiler takes products.c" in caplog.text
    multiply(a, b, out)
    assert error(out, a.double() @ b.double()) < 1e-6
