"""Single rows of operators are those of the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest

import bitterfly
from bitterfly import Chain, algebra, gallery
from bitterfly.sources import given

CHAINS = [
    Chain.butterfly((64, 64), rank=(3, 4, 3, 2), leaf=4, groups=2),
    Chain.monarch((24, 40), rank=2),
    Chain.for_shape((31, 43)),
    Chain([(2, 4, 6, 6), (6, 4, 5, 3)]),
    Chain([(1, 9, 7, 1)]),
    Chain.square_dyadic(16),
]


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_rows_of_factors(chain: Chain, dtype: str) -> None:
    rng = np.random.default_rng(0)
    m, n = chain.shape
    a = rng.standard_normal((m - 1, n) if m == 32 else (m, n)).astype(dtype)
    a = a + 1j * a[::-1] if dtype[0] == "c" else a
    op = bitterfly.factorize(a, chain, permute=(rng.permutation(m), rng.permutation(n)) if m == len(a) else "auto")
    for view in (op, op.T, op.H):
        index = rng.integers(view.shape[0], size=5)
        np.testing.assert_allclose(view.rows(index), view.todense()[index], atol=30 * np.finfo(dtype).eps)


def test_rows_of_skeletons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 0)  # not as an array
    op = bitterfly.factorize(gallery.fourier_integral(1024), rtol=1e-4)
    index = np.array([0, 1023, 511, 512, 3])
    assert any(op.store.ranks)
    np.testing.assert_allclose(op.rows(index), op.todense()[index], atol=1e-13)


@pytest.mark.parametrize("index", [3, -1, slice(2, 9, 3), [5, 5, 0], [], np.array([7, -16])], ids=str)
def test_rows_as_numpy_takes_them(index: object) -> None:
    """Of factors, codes, sums, products, stacks and views of them."""
    op = bitterfly.factorize(gallery.hankel(16).todense().astype("c8"), Chain.monarch((16, 16), rank=2))
    packed = bitterfly.quantize(op, bits=6)
    made = (algebra.vstack([op, packed]), op - 2j * packed, (op - 2j * packed).H, packed @ op.T @ op)
    for one in (op, op.T, packed, packed.H, *made):
        expected = np.atleast_2d(one.todense()[np.asarray(index, int) if isinstance(index, list) else index])
        assert one.rows(index).shape == expected.shape
        np.testing.assert_allclose(one.rows(index), expected, atol=1e-5)
        with pytest.raises(IndexError):
            one.rows(one.shape[0])
