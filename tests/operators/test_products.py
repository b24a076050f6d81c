"""Products of operators of every kind, in every layout, on every tier, against the one oracle."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

import products
import strategies as own
from bitterfly import _core, reference

OPERATORS = 3 * settings.default.max_examples  # HYPOTHESIS_PROFILE=deep: 3000 on each tier
FIRST = int(os.environ.get("BITTERFLY_FIRST_SEED", "0"))
PARTS = 8


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
