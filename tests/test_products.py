"""Products of matrices, a part of the longest dimension at a time, against float64."""

import itertools

import pytest
import torch

from evokd.models.products import multiply


def matrix(rows, columns, dtype=torch.float32, turned=False):
    """Random, with the entries of a row or of a column side by side."""
    generator = torch.Generator().manual_seed(rows + 7 * columns)
    shape = (columns, rows) if turned else (rows, columns)
    made = torch.randn(shape, generator=generator).to(dtype)
    return made.t() if turned else made


def error(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("m", "n", "k"), [(6, 9000, 40), (6, 40, 9000), (9000, 6, 40)])
def test_products_are_as_exact_as_their_precision(dtype, m, n, k):
    for turned, add in itertools.product((False, True), repeat=2):
        a, b = matrix(m, k, dtype, turned), matrix(k, n)
        out = matrix(m, n, torch.float64 if dtype == torch.float64 else torch.float32)
        exact = a.double() @ b.double() + (out.double() if add else 0)
        multiply(a, b, out, add)
        assert error(out, exact) < 1e-6


def test_shapes_that_dont_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) times \(4, 5\) isn't \(2, 5\)"):
        multiply(matrix(2, 3), matrix(4, 5), torch.empty(2, 5))
    with pytest.raises(ValueError, match="isn't"):
        multiply(matrix(2, 3), matrix(3, 5), torch.empty(5, 2))
