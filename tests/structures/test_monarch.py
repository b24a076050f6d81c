"""Monarch matrices and block tensor trains: the least error of two cores, ranks, tolerances, sizes, refusals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import errors
import exact
import strategies as own
from bitterfly import Chain, reference, structures


def tails(a: np.ndarray, blocks: tuple[int, int], rank: int) -> float:
    """The root of the sum of squares of the singular values that all blocks leave, relative to the matrix."""
    (m, n), (p, q) = a.shape, blocks
    parts = a.reshape(m // p, p, q, n // q).transpose(1, 2, 0, 3)
    left = np.linalg.svd(parts, compute_uv=False)[..., rank:]
    return float(np.linalg.norm(left) / np.linalg.norm(a))


def relative(op: Any, a: np.ndarray) -> float:
    return float(np.linalg.norm(reference.dense(op) - a) / np.linalg.norm(a))


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(24, 30), (64, 64), (100, 36), (30, 24), (7, 12), (1, 60), (35, 35)])
def test_two_cores_err_as_little_as_any(shape: tuple[int, int], dtype: Any) -> None:
    """The error is what the singular values of all blocks leave, for every rank; one vector more would see less."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        a = own.gaussian(rng, shape, dtype)
        chain = Chain.monarch(shape)
        blocks = chain[0][3], chain[1][0]
        for rank in range(1, min(shape[0] // blocks[0], shape[1] // blocks[1]) + 1):
            op = structures.monarch(a, rank=rank)
            least = tails(a, blocks, rank)
            assert op.chain == Chain.monarch(shape, rank=rank)
            assert relative(op, a) == pytest.approx(least, rel=1e-10, abs=1e-13)
            assert op.relative_error <= least * (1 + 1e-6) + 1e-13
            rows, columns = (shape[0] // blocks[0], blocks[0]), (blocks[1], shape[1] // blocks[1])
            train = structures.block_tensor_train(a, rows, columns, ranks=rank)
            np.testing.assert_array_equal(train.todense(), op.todense())


@pytest.mark.parametrize("rtol", [0.9, 0.5, 1e-1, 1e-3, 1e-8])
def test_ranks_are_the_least_that_meet_a_tolerance(rtol: float) -> None:
    x = np.arange(60) / 60
    a = 1 / (1 + np.add.outer(x, x[:48] ** 2)) + 0.05 * np.sin(np.multiply.outer(40 * x, x[:48]))
    op = structures.monarch(a, (6, 8), rtol=rtol)
    rank = op.chain.ranks[0]
    assert tails(a, (6, 8), rank) <= op.relative_error <= rtol
    assert rank == 1 or tails(a, (6, 8), rank - 1) > rtol * (1 - 1e-6)
    three = structures.block_tensor_train(a, [3, 4, 5], [4, 4, 3], rtol=rtol)
    assert relative(three, a) <= three.relative_error <= rtol


def test_block_tensor_trains_have_their_form() -> None:
    """Core k depends on digits of columns before it and of rows after it; so does the sum of products of entries."""
    rng = np.random.default_rng(0)
    rows, columns, ranks = (2, 3, 2), (3, 2, 4), (2, 3)
    shapes = [(1, 2, 6, 6), (3, 6, 6, 2), (6, 6, 4, 1)]
    g1, g2, g3 = (rng.standard_normal(shape) for shape in shapes)
    a = np.einsum(
        "pjrqs,jrqkus,jkusl->pqsjkl",
        g1.reshape(2, 3, 2, 3, 2),  # i_1; j_1, rank; i_2, i_3
        g2.reshape(3, 2, 3, 2, 3, 2),  # j_1; rank, i_2; j_2, rank; i_3
        g3.reshape(3, 2, 3, 2, 4),  # j_1, j_2; rank, i_3; j_3
    ).reshape(12, 24)
    op = structures.block_tensor_train(a, rows, columns, ranks=ranks)
    assert [f.shape for f in op.store.factors()] == shapes
    assert relative(op, a) < 1e-13


@pytest.mark.parametrize("seed", range(60))
def test_errors_are_never_below_the_true_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = ([int(s) for s in rng.integers(1, 5, 3)] for _ in range(2))
    dtype = own.DTYPES[rng.integers(4)]
    kind = str(rng.choice([each for each in own.KINDS if each not in ("butterfly", "subnormal", "tiny", "huge")]))
    size = max(np.prod(rows), np.prod(columns), 2)
    with np.errstate(all="ignore"):
        a = own.matrix(kind, int(size), dtype, seed)[: np.prod(rows), : np.prod(columns)]
        if kind != "wide_range" and np.finfo(dtype).bits == 64:
            a = own.ldexp(a, int(rng.choice([-900, 0, 900]))).astype(dtype)
    a = (a[::-1].copy(), np.asfortranarray(a), np.repeat(a, 2, axis=1)[:, ::2], a)[seed % 4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ops = [structures.block_tensor_train(a, rows, columns, ranks=1), structures.monarch(a)]
    for op in ops:
        assert op.dtype == dtype
        assert exact.error(a, op) <= op.relative_error


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_errors_of_any_source_hold(first: int) -> None:
    """Integers, half precision, denormal and huge numbers, any divisors of any shape."""
    for seed in range(first, first + 20):
        rng = np.random.default_rng([11, seed])
        a = errors.matrix(rng)
        m, n = a.shape
        p, q = (int(rng.choice([k for k in range(1, size + 1) if size % k == 0])) for size in a.shape)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            ops = [structures.monarch(a, (p, q)), structures.monarch(a, (p, q), rtol=0.3)]
            ops.append(structures.block_tensor_train(a, [m // p, p, 1], [1, q, n // q], ranks=1))
            assert ops[1].relative_error <= 0.3
            for op in ops:
                assert exact.error(a, op) <= op.relative_error, (seed, a.dtype, a.shape, (p, q))


def test_given_ranks_are_lowered_where_blocks_are_smaller() -> None:
    a = np.random.default_rng(0).standard_normal((16, 16))
    op = structures.block_tensor_train(a, [2, 2, 2, 2], [2, 2, 2, 2], ranks=4)
    assert op.chain.ranks == (2, 4, 2)
    assert relative(op, a) < 1e-13


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda a: structures.monarch(a, (4, 2)), r"blocks: expected divisors of 6 and 8, got \(4, 2\)"),
        (lambda a: structures.monarch(a, (3, 2), rank=3), "rank: expected 1 to 2 at junction 0"),
        (lambda a: structures.monarch(a, rank=0), "rank: expected 1 to"),
        (lambda a: structures.monarch(a[0]), r"a: expected shape \(m, n\)"),
        (lambda a: structures.monarch(np.full((6, 8), np.nan)), "a: expected finite entries"),
        (lambda a: structures.monarch(a, rtol=-1.0), "rtol: expected a number that is not negative"),
        (lambda a: structures.monarch(a, rank=1, rtol=1e-3), "rtol: the relative error reached is"),
        (lambda a: structures.block_tensor_train(a, [2, 3], [2, 4]), "rtol, ranks: expected at least one"),
        (lambda a: structures.block_tensor_train(a, [2, 3], [2, 4], ranks=3), r"ranks: .* at most \[2\], got 3"),
        (lambda a: structures.block_tensor_train(a, [2, 3], [2, 4], ranks=[1, 1]), "ranks: expected one integer, or 1"),
        (lambda a: structures.block_tensor_train(a, [2, 3], [2, 4], ranks=[0]), "ranks: expected positive numbers"),
        (lambda a: structures.block_tensor_train(a, [2, 3], [2, 2, 2], ranks=1), "rows, columns: expected as many"),
        (lambda a: structures.block_tensor_train(a, [2, 2], [2, 4], ranks=1), r"whose products are \(6, 8\)"),
        (lambda a: structures.block_tensor_train(a, [6, -1], [2, 4], ranks=1), "rows: expected positive"),
    ],
)
def test_refusals(ask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(np.random.default_rng(0).standard_normal((6, 8)))
