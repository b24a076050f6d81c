"""Skeleton form of float factors: the same operator, a bound on what is rounded, the bytes of both routes."""

from __future__ import annotations

import numpy as np
import pytest

import bitterfly
import exact
import strategies as own
from bitterfly import Chain, gallery
from bitterfly.factorization import interpolative
from bitterfly.factorization.interpolative import in_skeletons
from bitterfly.sources import given
from bitterfly.stores.floats import TiledFloats
from bitterfly.stores.tiles import Skeleton


def _relative(change: np.ndarray, whole: np.ndarray) -> float:
    norms = [np.sqrt(np.sum(np.abs(x.astype(np.clongdouble)) ** 2)) for x in (change, whole)]
    return float(norms[0] / norms[1]) if norms[1] else float(norms[0] > 0)


@pytest.mark.parametrize("seed", range(40))
def test_the_same_operator(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources of all kinds and scales; the change is below what the error grows by, and near rounding."""
    monkeypatch.setattr(interpolative, "lean_ranks", lambda chain, dtype: [*chain.ranks, 0])
    rng = np.random.default_rng([11, seed])
    dtype, kind = own.DTYPES[seed % 4], str(rng.choice(own.KINDS))
    n = 1 << int(rng.integers(3, 7))
    a = own.matrix(kind, n, dtype, seed)
    shape = (n, int(rng.integers(n // 2, n + 1)))
    a = np.ascontiguousarray(a[:, : shape[1]])
    if rng.random() < 0.3 and kind != "huge":
        a = own.ldexp(a, int(rng.integers(-60, 60) * (14 if np.finfo(dtype).bits == 64 else 1))).astype(dtype)
    if not np.all(np.isfinite(a)):
        a = np.zeros_like(a)
    chain = Chain.butterfly((n, n), rank=int(rng.integers(1, 5)), leaf=4, groups=2)
    op = bitterfly.factorize(a, chain, permute=None)
    lean = in_skeletons(op)
    assert lean.store.ranks == (*chain.ranks, 0) and lean.chain == op.chain
    before, after = exact.dense(op), exact.dense(lean)
    change = _relative(after - before, before)
    assert op.relative_error + change <= lean.relative_error
    # 8 units for each of 2 r + 2 operations a factor, on moduli of up to four times the numbers.
    rounded = 64 * max(chain.ranks) * len(chain) * float(np.finfo(dtype).eps)
    assert lean.relative_error - op.relative_error <= rounded * (1 + op.relative_error)
    assert exact.error(a, lean) <= lean.relative_error and lean.error_kind == op.error_kind


def test_forms_of_the_factors() -> None:
    """All but the last are skeletons; a chain that would hardly be smaller stays dense, and so does what is given."""
    a = gallery.nonuniform_dft(256).todense()
    op = bitterfly.factorize(a, rtol=1e-3)
    assert isinstance(op.store, TiledFloats)
    *others, last = op.store.stored()
    assert all(isinstance(f, Skeleton) for f in others) and not isinstance(last, Skeleton)
    assert all(np.max(np.abs(f.t)) <= 1.26 for f in others if isinstance(f, Skeleton))
    given = bitterfly.factorize(a, op.chain, rtol=1e-3)
    assert not any(given.store.ranks)
    assert given.nbytes > 1.5 * op.nbytes
    dft = bitterfly.factorize(np.fft.fft(np.eye(100)), rtol=1e-10)
    assert not any(dft.store.ranks) and in_skeletons(dft) is dft


@pytest.mark.parametrize("name", ["nonuniform_dft", "fourier_integral", "bessel_j0"])
def test_arrays_take_the_bytes_of_entries(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = gallery.KERNELS[name](1024)
    op = bitterfly.factorize(kernel.todense(), rtol=1e-4)
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 1 << 18)
    entries = bitterfly.factorize(kernel, rtol=1e-4)
    assert op.nbytes <= 1.1 * entries.nbytes


def test_rounding_beyond_the_tolerance_is_left_out() -> None:
    """A factorization that meets the tolerance just so is kept as it is."""
    a = gallery.nonuniform_dft(256).todense().astype(np.complex64)
    op = bitterfly.factorize(a, rtol=1e-3)
    dense = bitterfly.factorize(a, op.chain)
    assert in_skeletons(dense).relative_error > dense.relative_error
    found = bitterfly.factorize(a, rtol=dense.relative_error * (1 + 1e-9))
    assert found.relative_error <= dense.relative_error * (1 + 1e-9)
