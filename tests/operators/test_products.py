"""Products of operators of every kind, in every layout, on every tier, against the one oracle; many columns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import bitterfly
import products
import strategies as own
from bitterfly import _core, reference, transforms

OPERATORS = 3 * settings.default.max_examples  # HYPOTHESIS_PROFILE=deep: 3000 on each tier
FIRST = int(os.environ.get("BITTERFLY_FIRST_SEED", "0"))
PARTS = 8
LAYOUTS = {
    "rows": lambda a: a[:, : a.shape[1] // 3],
    "columns": lambda a: np.asfortranarray(a)[:, : a.shape[1] // 3],
    "every other row": lambda a: np.repeat(np.asfortranarray(a), 2, axis=0)[::2, : a.shape[1] // 3],
    "every third column": lambda a: a[:, ::3],
    "backwards": lambda a: a[::-1, : a.shape[1] // 3],
}


@pytest.fixture
def shared_by_workers() -> Iterator[None]:
    """Small products are shared by the workers too."""
    before = _core.set_least_parallel_work(0)
    yield
    _core.set_least_parallel_work(before)


@pytest.mark.parametrize("part", range(PARTS))
def test_operators_multiply_as_their_factors_do(isa: str, part: int, shared_by_workers: None) -> None:
    done = sum(products.check(seed) for seed in range(FIRST + part, FIRST + OPERATORS, PARTS))
    assert done >= 40 * (OPERATORS // PARTS)


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_stored_is_what_was_made(part: int) -> None:
    """The factors that users see, and the matrix by the oracle, which decodes what is stored bit by bit."""
    for seed in range(FIRST + part, FIRST + OPERATORS, PARTS):
        drawn = own.operator(seed)
        found = reference.dense(drawn.op)
        moduli = products.tolerances.products(drawn.op)[1]
        # Sums of the same terms in another order, in double precision.
        assert np.all(np.abs(found - drawn.dense) <= products.tolerances.gamma(10_000, np.float64) * moduli), drawn.how


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 11, 15, 16, 21])
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_layouts_of_many_columns(isa: str, dtype: type, columns: int, layout: str) -> None:
    """Each column as if it came alone, and nothing beside the result is written."""
    n = 512
    base = transforms.random(n, rng=0, dtype=dtype)
    a = own.gaussian(np.random.default_rng(columns), (n, 3 * columns), dtype)
    x = LAYOUTS[layout](a)
    for op in (base, bitterfly.quantize(base, bits=1), bitterfly.quantize(base, bits=3.5)):
        for mode in ("forward", "adjoint"):
            memory = LAYOUTS[layout](np.full_like(a, 7))
            whole = memory if memory.base is None else memory.base
            view = op if mode == "forward" else op.H
            out = view.apply(x, memory)
            assert np.count_nonzero(whole == 7) == whole.size - out.size
            for j in range(columns):
                np.testing.assert_array_equal(out[:, j], view.apply(x[:, j].copy()))


@pytest.mark.parametrize("n", [128, 256, 2**12])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_transforms_without_weights(isa: str, n: int, order: Any, dtype: type) -> None:
    x = np.random.default_rng(0).integers(-4, 5, (n, 37)).astype(dtype, order=order)
    out = np.empty_like(x)
    for transposed in (False, True):
        _core.hadamard(n, np.dtype(dtype)).apply(x, out, transposed, False)
        np.testing.assert_array_equal(out, np.rint(transforms.hadamard(n) @ x.astype(np.float64)))
