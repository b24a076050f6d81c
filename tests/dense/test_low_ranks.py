"""Factors of low rank in window codes: bytes, errors that are never below the true ones, files, what is predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitterfly
import exact
from bitterfly import SecondMoments
from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.low_ranks.coded import in_codes
from bitterfly.dense.low_ranks.plans import Plans, least_bytes
from bitterfly.inputs import UnmetError

KINDS = ("normal", "graded", "low_rank", "alike", "one", "sparse", "denormal", "huge", "tiny")


def matrix(rng: np.random.Generator, kind: str, dtype: str) -> np.ndarray:
    """A matrix, long, wide or thin, contiguous or not."""
    m, n = int(2 ** rng.uniform(0, 8)), int(2 ** rng.uniform(0, 8))
    a = rng.standard_normal((m, n))
    if kind == "graded":
        a = a @ (np.geomspace(1, 1e-4, n)[:, None] * rng.standard_normal((n, n)))
    elif kind == "low_rank":
        a = a[:, :2] @ rng.standard_normal((2, n)) if n > 2 else a
    elif kind == "alike":
        a = a[:1] + 0.01 * a
    elif kind in ("one", "sparse"):
        a = a * (rng.random((m, n)) < 0.03)
        a[-1, 0] = 1
    elif kind == "denormal":
        a = a * float(np.finfo(dtype).smallest_subnormal) * 20
        a[0, 0] = float(np.finfo(dtype).smallest_subnormal)
    elif kind in ("huge", "tiny"):
        a = a * 2.0 ** ({"f8": 900, "f4": 110, "f2": 9}[dtype] * (1 if kind == "huge" else -1))
        a[0, 0] = a[0, 0] or 1
    x = a.astype(dtype)
    layouts = [x, np.asfortranarray(x), np.ascontiguousarray(x[::-1])[::-1], np.repeat(x, 2, axis=1)[:, ::2]]
    return layouts[rng.integers(4)]


def metric_of(rng: np.random.Generator, n: int) -> Any:
    """Moments of many inputs or few, alike or not; a diagonal; none."""
    x = rng.standard_normal((int(rng.integers(1, 300)), n)) * np.geomspace(1, rng.choice([1, 1e-3]), n)
    return [None, SecondMoments(n).update(x), x.T @ x * 2.0 ** rng.integers(-300, 300), np.sum(x * x, axis=0)][
        rng.integers(4)
    ]


def true_metric_error(a: np.ndarray, op: Any, metric: np.ndarray) -> np.longdouble:
    wide, matrix = metric.astype(np.longdouble), a.astype(np.longdouble)
    missed = exact.dense(op) - matrix
    above, below = (np.sum((x @ wide if wide.ndim == 2 else x * wide) * x) for x in (missed, matrix))
    return np.sqrt(above / below) if below else np.longdouble(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_any_matrix(kind: str, dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng([KINDS.index(kind), ord(dtype[1])])
    made = 0
    for _ in range(8):
        a = matrix(rng, kind, dtype)
        metric = metric_of(rng, a.shape[1])
        nbytes = int(least_bytes(a.shape) * 2 ** rng.uniform(0, 3))
        try:
            op = in_codes(a, nbytes=nbytes, metric=metric, rng=rng)
        except UnmetError:
            continue
        made += 1
        assert op.nbytes <= nbytes and op.shape == a.shape
        assert exact.error(a, op) <= op.relative_error
        if metric is not None and op.metric_error == op.metric_error:
            weights = as_metric(metric, a.shape[1])
            assert weights is not None and true_metric_error(a, op, weights) <= op.metric_error
        bitterfly.save(tmp_path / "op", op)
        back = bitterfly.load(tmp_path / "op")
        assert np.array_equal(back.todense(), op.todense()) and back.relative_error == op.relative_error
    assert made > 2


def test_too_few_bytes() -> None:
    a = np.random.default_rng(0).standard_normal((100, 90))
    with pytest.raises(UnmetError, match=f"nbytes: expected about {least_bytes(a.shape)} for a few triples"):
        in_codes(a, nbytes=least_bytes(a.shape) // 2, rng=np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(8))
def test_errors_are_those_of_the_plan(seed: int) -> None:
    """At most a fifth above: the left factor is fitted to the right one, which is not counted."""
    rng = np.random.default_rng(seed)
    m, n = (int(rng.integers(100, 300)) for _ in range(2))
    a = rng.standard_normal((m, n)) @ (np.geomspace(1, 0.01, n)[:, None] * rng.standard_normal((n, n)))
    metric = None if seed % 2 else SecondMoments(n).update(rng.standard_normal((600, n)) * np.geomspace(1, 0.1, n))
    plans = Plans(a, metric)
    for bits in (1, 2, 3):
        nbytes = bits * a.size // 8
        op = in_codes(a, nbytes=nbytes, metric=metric, rng=rng)
        error = op.relative_error if metric is None else op.metric_error
        assert error <= 1.2 * np.sqrt(plans.square(nbytes))


def test_below_codes_of_all_entries() -> None:
    """What few triples hold is kept in half a bit a number, and better than one bit for each keeps it."""
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((512, 24)) @ rng.standard_normal((24, 512)) + rng.standard_normal((512, 512))).astype("f4")
    half = in_codes(a, nbytes=a.size // 16, rng=np.random.default_rng(0))
    dense = bitterfly.quantize_dense(a, bits=1, head=None, rng=0)
    assert half.nbytes < 0.5 * dense.nbytes and half.relative_error < 0.6 * dense.relative_error


def test_curves_fall() -> None:
    a = np.random.default_rng(0).standard_normal((100, 80)) * np.geomspace(1, 0.01, 80)
    plans = Plans(a, None)
    squares = [plans.square(size) for size in plans.sizes]
    assert squares == sorted(squares, reverse=True) and squares[0] <= 1 and squares[-1] < 1e-3


def test_the_same_for_any_threads() -> None:
    a = np.random.default_rng(0).standard_normal((300, 200)).astype("f4")
    one, two = (in_codes(a, nbytes=6000, rng=np.random.default_rng(1), workers=k) for k in (1, 2))
    assert np.array_equal(one.todense(), two.todense())
