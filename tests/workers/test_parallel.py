"""Threads: results that do not depend on them, forks, many callers at once, the default."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import bitterfly
import strategies as own
from bitterfly import transforms

DYADIC = [
    (n, k, dtype, bits)
    for n, k in [(2**13, 1), (2**15, 1), (2**16, 1), (2**14, 2), (2**12, 13), (2**12, 17), (2**10, 70)]
    for dtype, bits in [(np.float32, 0), (np.float32, 4), (np.float64, 3), (np.complex64, 2)]
]


@lru_cache(maxsize=64)
def operator(n: int, dtype: Any, bits: float) -> Any:
    rng = np.random.default_rng(n)
    op = transforms.random(n, rng=rng, dtype=dtype)
    return bitterfly.quantize(op, bits=bits) if bits else op


def assert_same_for_all_workers(op: Any, k: int) -> None:
    for mode in (op, op.T):
        x = own.gaussian(np.random.default_rng(k), (mode.shape[1], k), op.dtype)
        x = x[:, 0] if k == 1 else x
        one = mode.apply(x, workers=1)
        for workers in (2, 3, 7):
            assert np.array_equal(one, mode.apply(x, workers=workers))


@pytest.mark.parametrize(("n", "k", "dtype", "bits"), DYADIC)
def test_results_do_not_depend_on_workers(n: int, k: int, dtype: Any, bits: float) -> None:
    assert_same_for_all_workers(operator(n, dtype, bits), k)


@pytest.mark.parametrize("k", [1, 5, 13, 16, 17, 64])
@pytest.mark.parametrize("bits", [0, 8])
def test_general_chains_do_not_depend_on_workers(k: int, bits: int) -> None:
    op = bitterfly.factorize(bitterfly.gallery.nonuniform_dft(512).todense(), rtol=1e-2)
    assert_same_for_all_workers(bitterfly.quantize(op, bits=bits) if bits else op, k)


def test_many_callers_at_once() -> None:
    """One of them has the pool, the others run alone."""
    op = operator(2**16, np.float32, 4)
    x = own.gaussian(np.random.default_rng(0), (2**16,), np.float32)
    one = op @ x
    with ThreadPoolExecutor(8) as callers:
        for y in callers.map(lambda _: op.apply(x, workers=3), range(64)):
            assert np.array_equal(one, y)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    op = operator(2**16, np.float32, 4)
    x = own.gaussian(np.random.default_rng(0), (2**16,), np.float32)
    one = op.apply(x, workers=2)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if np.array_equal(one, op.apply(x, workers=2)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(one, op.apply(x, workers=2))


def test_the_default_is_of_a_thread() -> None:
    assert bitterfly.get_workers() == 1
    with bitterfly.set_workers(3):
        assert bitterfly.get_workers() == 3
        with ThreadPoolExecutor(1) as other:
            assert other.submit(bitterfly.get_workers).result() == 1
    assert bitterfly.get_workers() == 1


@pytest.mark.parametrize(("workers", "error"), [(0, ValueError), (-(10**6), ValueError), (1.5, TypeError)])
def test_wrong_numbers(workers: Any, error: type[Exception]) -> None:
    op = transforms.hadamard(4)
    with pytest.raises(error, match="workers: expected"):
        op.apply(np.ones(4), workers=workers)
