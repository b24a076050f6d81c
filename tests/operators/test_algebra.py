"""Inverse, real part, diagonals, blocks and sums: against dense matrices, in every view."""

from __future__ import annotations

import numpy as np
import pytest

import bitterfly
from bitterfly import ButterflyOperator, Chain, algebra, transforms

VIEWS = {
    "forward": lambda op: op,
    "transpose": lambda op: op.T,
    "adjoint": lambda op: op.H,
    "conjugate": lambda op: op.conj(),
}


def general(dtype: str = "c16", **known: object) -> ButterflyOperator:
    rng = np.random.default_rng(1)
    shapes = [(1, 4, 6, 6), (2, 9, 6, 2), (4, 6, 5, 1)]
    factors = [rng.standard_normal(s) for s in shapes]
    if dtype[0] == "c":
        factors = [f + 1j * rng.standard_normal(f.shape) for f in factors]
    return ButterflyOperator([f.astype(dtype) for f in factors], permutations=("bit_reversal", None), **known)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["random", "dft", "packed", "general"])
def test_inverse(kind: str, view: str) -> None:
    square = [
        np.random.default_rng(s).standard_normal(p) + 4 * np.eye(p[1]).reshape(1, p[1], p[2], 1)
        for s, p in enumerate([(1, 3, 3, 4), (3, 2, 2, 2), (6, 2, 2, 1)])
    ]
    op = {
        "random": lambda: transforms.random(32, rng=2, dtype=complex),
        "dft": lambda: transforms.dft(32),
        "packed": lambda: bitterfly.quantize(transforms.random(32, rng=2, orthogonal=True), bits=4),
        "general": lambda: ButterflyOperator(square, permutations=("bit_reversal", np.arange(12)[::-1])),
    }[kind]()
    op = VIEWS[view](op)
    n, found = op.shape[0], algebra.inverse(op)
    dense = op.todense()
    tolerance = 1e-12 * np.linalg.cond(dense)
    np.testing.assert_allclose(found.todense() @ dense, np.eye(n), atol=tolerance)
    y = np.arange(1.0, n + 1)
    np.testing.assert_allclose(dense @ algebra.solve(op, y), y, atol=tolerance * n)
    assert np.isnan(found.relative_error)


def test_inverse_refuses() -> None:
    factors = [f.copy() for f in transforms.hadamard(8).factors]
    factors[1][0, :, :, 1] = 1
    with pytest.raises(ValueError, match="factor 2 has a singular block"):
        algebra.inverse(ButterflyOperator(factors))
    with pytest.raises(ValueError, match="expected square blocks"):
        algebra.inverse(general())
    with pytest.raises(ValueError, match="no padding"):
        algebra.inverse(ButterflyOperator(factors, shape=(7, 7)))
    with pytest.raises(TypeError, match="expected a ButterflyOperator"):
        algebra.inverse(np.eye(4))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "op", [transforms.dft(32), general(), general("f8"), ButterflyOperator([np.ones((1, 3, 4, 1)) * 1j])]
)
def test_real_and_imaginary_parts(op: ButterflyOperator, view: str) -> None:
    op = VIEWS[view](op)
    dense = op.todense()
    scale = np.max(np.abs(dense))
    for part, expected in ((algebra.real(op), dense.real), (algebra.imag(op), dense.imag)):
        assert part.dtype.kind == "f" and part.shape == op.shape
        np.testing.assert_allclose(part.todense(), expected, atol=1e-13 * scale)


@pytest.mark.parametrize("view", VIEWS)
def test_diagonals(view: str) -> None:
    op = VIEWS[view](general(shape=(22, 20)))
    rng = np.random.default_rng(3)
    left, right = (rng.standard_normal(n) + 1j * rng.standard_normal(n) for n in op.shape)
    found = algebra.diagonal_product(op, left=left, right=right)
    np.testing.assert_allclose(
        found.todense(), left[:, None] * op.todense() * right, atol=1e-12 * np.max(np.abs(op.todense()))
    )
    signs = algebra.diagonal_product(op, left=np.sign(left.real))
    assert signs.relative_error < 1e-14
    with pytest.raises(ValueError, match="left: expected"):
        algebra.diagonal_product(op, left=right[:5])


def test_block_diagonal() -> None:
    ops = [transforms.dft(16), transforms.idft(16), transforms.random(16, rng=1, dtype=complex)]
    ops.append(general())
    both = algebra.block_diag(ops)
    assert type(both) is algebra.ButterflyStack and both.shape == (48 + ops[3].shape[0], 48 + ops[3].shape[1])
    found = algebra.block_diag(ops[:3])
    expected = np.zeros((48, 48), complex)
    for at, op in enumerate(ops[:3]):
        expected[16 * at : 16 * (at + 1), 16 * at : 16 * (at + 1)] = op.todense()
    np.testing.assert_allclose(found.todense(), expected, atol=1e-13)
    assert found.chain[0][0] == 3


def test_diagonals_keep_the_precision_and_refuse_overflow() -> None:
    op = general("f4")
    left = np.arange(1, op.shape[0] + 1, dtype="f4")
    assert algebra.diagonal_product(op, left=left).dtype == "f4"
    assert algebra.diagonal_product(op, left=left.astype("f8")).dtype == "f8"
    with pytest.raises(OverflowError, match="factor 1 does not fit float32"):
        algebra.diagonal_product(op, left=np.full(op.shape[0], np.float32(3e38)))
    tiny = ButterflyOperator([np.full((1, 1, 1, 4), 1e-320)])
    with pytest.raises(OverflowError, match="does not fit float64"):
        algebra.inverse(tiny)


@pytest.mark.parametrize("kind", ["measured", "estimated"])
def test_block_diagonal_has_the_largest_error(kind: str) -> None:
    """However large its blocks: if one block is all of the matrix, its error is that of the whole."""
    ops = [
        ButterflyOperator([scale * np.ones((1, 4, 4, 1))], relative_error=error, error_kind=kind)
        for scale, error in ((1e250, 0.3), (1e-250, 0.1))
    ]
    both = algebra.block_diag(ops)
    assert type(both) is ButterflyOperator and (both.relative_error, both.error_kind) == (0.3, kind)


def test_terms() -> None:
    rng = np.random.default_rng(4)
    a = transforms.random(64, rng=rng).todense() + transforms.dft(64).todense().real / 8
    chain = Chain.square_dyadic(64)
    errors = []
    for terms in (1, 2, 3):
        op = bitterfly.factorize(a, chain, terms=terms)
        true = np.linalg.norm(op.todense() - a) / np.linalg.norm(a)
        assert true <= op.relative_error <= 1.01 * true + 1e-12
        errors.append(true)
        x = rng.standard_normal(64)
        np.testing.assert_allclose(op @ x, op.todense() @ x, atol=1e-12)
        np.testing.assert_allclose(op.H @ x, op.todense().T @ x, atol=1e-12)
        np.testing.assert_allclose(op.T @ np.eye(64), op.todense().T, atol=1e-12)
    assert errors[2] < errors[1] < errors[0]
    with pytest.raises(ValueError, match="terms"):
        bitterfly.factorize(a, chain, terms=0)


def test_stacks() -> None:
    rng = np.random.default_rng(6)
    ops = [transforms.dft(16), transforms.random(16, rng=rng), transforms.idft(16)]
    rows, columns = algebra.vstack(ops), algebra.hstack(ops)
    tall = np.concatenate([op.todense() for op in ops])
    wide = np.concatenate([op.todense() for op in ops], axis=1)
    np.testing.assert_array_equal(rows.todense(), tall)
    assert rows.shape == (48, 16) and columns.shape == (16, 48) and rows.nbytes == sum(op.nbytes for op in ops)
    for many in ((), (3,)):
        x, y = rng.standard_normal((16, *many)), rng.standard_normal((48, *many)) + 1j
        np.testing.assert_allclose(rows @ x, tall @ x, atol=1e-12)
        np.testing.assert_allclose(rows.H @ y, tall.conj().T @ y, atol=1e-12)
        np.testing.assert_allclose(columns @ y, wide @ y, atol=1e-12)
        np.testing.assert_allclose(columns.H @ x, wide.conj().T @ x, atol=1e-12)
        np.testing.assert_allclose(rows.T @ y, tall.T @ y, atol=1e-12)
    for make in (algebra.vstack, algebra.hstack):
        with pytest.raises(ValueError, match="ops: expected"):
            make([])
        with pytest.raises(ValueError, match="ops: expected"):
            make([transforms.dft(16), transforms.dft(8)])


def test_balanced_order() -> None:
    """Its ledger is the true error, and it finds exact products; on two factors both orders are the same."""
    rng = np.random.default_rng(7)
    for chain in (
        Chain([(1, 4, 6, 6), (2, 9, 6, 2), (4, 6, 5, 1)]),
        Chain.butterfly((128, 128), rank=3, leaf=8, groups=4),
        Chain.monarch((48, 20)),
    ):
        a = rng.standard_normal(chain.shape) + 1j * rng.standard_normal(chain.shape)
        left, middle = (
            bitterfly.factorize(a, chain, order=order, permute=None) for order in ("left_to_right", "balanced")
        )
        true = np.linalg.norm(middle.todense() - a) / np.linalg.norm(a)
        assert middle.chain == chain and middle.relative_error == pytest.approx(true, rel=1e-10)
        assert middle.relative_error < 1.1 * left.relative_error
        exact = bitterfly.ButterflyOperator([rng.standard_normal(p) for p in chain]).todense()
        for scale in (1.0, 1e-150, 1e150):
            found = bitterfly.factorize(scale * exact, chain, order="balanced", permute=None)
            assert np.linalg.norm(found.todense() / scale - exact) <= 1e-12 * np.linalg.norm(exact)
            assert found.relative_error < 1e-12
    zero = bitterfly.factorize(np.zeros((48, 20)), Chain.monarch((48, 20)), order="balanced")
    assert not zero.todense().any() and zero.relative_error < 1e-12
    with pytest.raises(ValueError, match="order: expected"):
        bitterfly.factorize(np.eye(4), order="middle")
    with pytest.raises(ValueError, match="chain: expected a Chain beside terms"):
        bitterfly.factorize(np.eye(4), rtol=1e-3, order="balanced")
