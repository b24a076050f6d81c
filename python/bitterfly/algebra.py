"""What can be made of operators: inverse, real part, diagonals, blocks, stacks, Kronecker products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.inputs import Array, IndexArray, as_floating
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import ButterflyProduct, ButterflySum, operators_of
from bitterfly.operators.kron import ButterflyKron, kron
from bitterfly.operators.stacks import ButterflyStack, hstack, vstack

__all__ = [
    "ButterflyKron",
    "ButterflyProduct",
    "ButterflyStack",
    "ButterflySum",
    "block_diag",
    "diagonal_product",
    "hstack",
    "imag",
    "inverse",
    "kron",
    "real",
    "solve",
    "vstack",
]


def inverse(op: ButterflyOperator | PackedButterfly) -> ButterflyOperator:
    """Return the inverse of a butterfly whose factors have square blocks.

    Parameters
    ----------
    op : ButterflyOperator or PackedButterfly
        Square, without padding; packed codes are decoded first.

    Returns
    -------
    ButterflyOperator
        The product of the inverted factors in reverse order. Its ``relative_error`` is NaN: what an error of `op` does
        to the inverse depends on its condition.

    Raises
    ------
    ValueError
        Where a factor has no square blocks, or a singular one (says which).
    OverflowError
        Where inverted blocks do not fit the precision.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> op = bitterfly.transforms.dft(8)
    >>> np.allclose(bitterfly.algebra.inverse(op) @ (op @ np.arange(8.0)), np.arange(8.0))
    True
    """
    op = _as_float(op)
    inverted = [_inverted(f, at) for at, f in enumerate(_unpadded(op).store.factors())]
    known: dict[str, Any] = {"relative_error": float("nan"), "error_kind": "estimated"}
    return _viewed(ButterflyOperator(_finite(inverted), permutations=op.base_permutations, **known).T, op)


def solve(op: ButterflyOperator | PackedButterfly, y: Any) -> Array:
    """Return x with ``op @ x = y``, y of shape (n,) or (n, k); see `inverse`."""
    return inverse(op).apply(y)


def real(op: ButterflyOperator) -> ButterflyOperator:
    """Return the real part of a butterfly, itself a butterfly of twice the junction ranks.

    Each complex number between two factors becomes a pair of real ones.

    Raises
    ------
    TypeError
        Where `op` is no `ButterflyOperator`.
    """
    return _part(op, 1.0)


def imag(op: ButterflyOperator) -> ButterflyOperator:
    """Return the imaginary part of a butterfly, see `real`."""
    return _part(op, -1j)


def diagonal_product(op: ButterflyOperator, *, left: Any = None, right: Any = None) -> ButterflyOperator:
    """Return ``diag(left) @ op @ diag(right)``, the diagonals taken into the first and the last factor.

    Parameters
    ----------
    op : ButterflyOperator
        Of shape (m, n).
    left, right : array_like, shape (m,) and (n,), optional
        Finite numbers.

    Returns
    -------
    ButterflyOperator
        Its ``relative_error`` is NaN unless the diagonals have constant modulus, which keeps it.

    Raises
    ------
    ValueError
        Where a diagonal has another length.
    OverflowError
        Where the products do not fit the precision.
    """
    op = _require_float(op)
    m, n = op.shape
    ones = op.dtype.type(0).real.dtype
    diagonals = [_diagonal(x, size, name, ones) for x, size, name in ((left, m, "left"), (right, n, "right"))]
    if op.mode in ("adjoint", "conjugate"):
        diagonals = [d.conj() for d in diagonals]
    if op.mode in ("transpose", "adjoint"):
        diagonals.reverse()
    factors = [f.astype(np.result_type(f, *diagonals)) for f in op.store.factors()]
    rows, columns = (
        _padded(d, p, size) for d, p, size in zip(diagonals, op.base_permutations, op.stored_chain.shape, strict=True)
    )
    (a, b, _, d), (last_a, _, c, last_d) = factors[0].shape, factors[-1].shape
    with np.errstate(over="ignore", invalid="ignore"):
        factors[0] = factors[0] * rows.reshape(a, b, 1, d)
        factors[-1] = factors[-1] * columns.reshape(last_a, 1, c, last_d)
    flat = all(np.ptp(np.abs(x)) <= 4 * np.finfo(x.dtype).eps * np.max(np.abs(x)) for x in diagonals)
    error = op.relative_error + 4 * float(np.finfo(op.dtype).eps) if flat else float("nan")
    return _rebuilt(op, factors, error)


def block_diag(ops: Iterable[Any]) -> ButterflyOperator | ButterflyStack:
    """Return the block-diagonal operator of operators.

    Parameters
    ----------
    ops : iterable of operators
        Of any kinds, shapes and dtypes.

    Returns
    -------
    ButterflyOperator or ButterflyStack
        One butterfly, of factors with more blocks, where all are float butterflies of one chain, without padding and
        in forward mode; else a stack along the diagonal, which keeps them as they are.

    Raises
    ------
    TypeError, ValueError
        Where some are no operators, or there are none.
    """
    members = operators_of(ops, "ops")
    if not members or not all(map(_is_plain, members)) or len({op.stored_chain for op in members}) > 1:
        return ButterflyStack(members, "diagonal")
    return _merged(members)


def _is_plain(op: Any) -> bool:
    return isinstance(op, ButterflyOperator) and op.mode == "forward" and op.stored_shape == op.stored_chain.shape


def _merged(ops: Sequence[Any]) -> ButterflyOperator:
    """Return one butterfly along whose diagonal those of one chain lie."""
    parts = [op.store.factors() for op in ops]
    factors = [np.concatenate(column) for column in zip(*parts, strict=True)]
    sides = zip(*(_orders(op) for op in ops), strict=True)
    rows, columns = (np.concatenate([at * len(o) + o for at, o in enumerate(side)]) for side in sides)
    return ButterflyOperator(factors, permutations=(rows, columns), **Known.of_parts(ops).facts)


def _require_float(op: Any) -> ButterflyOperator:
    if not isinstance(op, ButterflyOperator):
        hint = "; op.dequantize() has float factors" if isinstance(op, PackedButterfly) else ""
        raise TypeError(f"op: expected a ButterflyOperator, got {type(op).__name__}{hint}")
    return op


def _as_float(op: Any) -> ButterflyOperator:
    return _require_float(op.dequantize() if isinstance(op, PackedButterfly) else op)


def _unpadded(op: ButterflyOperator) -> ButterflyOperator:
    if op.stored_shape != op.stored_chain.shape:
        raise ValueError(f"op: expected no padding, got shape {op.stored_shape} in {op.stored_chain}")
    return op


def _inverted(factor: Array, at: int) -> Array:
    """Return the transposed inverses of all blocks."""
    _, b, c, _ = factor.shape
    if b != c:
        raise ValueError(f"op: expected square blocks, got pattern {factor.shape} of factor {at + 1}")
    blocks = factor.transpose(0, 3, 1, 2).astype(np.result_type(factor, np.float64))
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            inverses = np.linalg.inv(blocks)
    except np.linalg.LinAlgError:
        raise ValueError(f"op: factor {at + 1} has a singular block, the operator has no inverse") from None
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(inverses.transpose(0, 3, 2, 1)).astype(factor.dtype)


def _viewed(out: ButterflyOperator, op: ButterflyOperator) -> ButterflyOperator:
    """Return the inverse of the view that `op` is, given that of its stored operator."""
    transposed, conjugated = op.mode in ("transpose", "adjoint"), op.mode in ("adjoint", "conjugate")
    out = out.T if transposed else out
    return out.conj() if conjugated else out


def _part(op: ButterflyOperator, weight: complex) -> ButterflyOperator:
    op = _require_float(op)
    conjugated = op.mode in ("adjoint", "conjugate")
    stored = [f.conj() if conjugated else f for f in op.store.factors()]
    if np.dtype(op.dtype).kind != "c":
        return op if weight == 1 else _rebuilt(op, [0 * f for f in stored], 0.0)
    stored[0] = stored[0] * np.asarray(weight, stored[0].dtype)
    if len(stored) == 1:
        return _rebuilt(op, [stored[0].real], float("nan"))
    ranks = op.stored_chain.ranks
    factors = []
    for f, left, right in zip(stored, (1, *ranks), (*ranks, 1), strict=True):
        a, b, c, d = f.shape
        blocks = f.reshape(a, left, b // left, c // right, right, d)
        out = np.empty((a, 2, left, b // left, c // right, 2, right, d), f.real.dtype)
        out[:, 0, :, :, :, 0], out[:, 0, :, :, :, 1] = blocks.real, -blocks.imag
        out[:, 1, :, :, :, 0], out[:, 1, :, :, :, 1] = blocks.imag, blocks.real
        factors.append(out)
    shapes = [f.shape for f in stored]
    factors[0], factors[-1] = factors[0][:, :1], factors[-1][:, :, :, :, :, :1]
    sides = [(1 if at == 0 else 2, 1 if at == len(stored) - 1 else 2) for at in range(len(stored))]
    real_factors = [
        np.ascontiguousarray(f).reshape(a, p * b, q * c, d)
        for f, (a, b, c, d), (p, q) in zip(factors, shapes, sides, strict=True)
    ]
    return _rebuilt(op, real_factors, float("nan"))


def _rebuilt(op: ButterflyOperator, factors: list[Array], error: float) -> ButterflyOperator:
    mode = {"adjoint": "transpose", "conjugate": "forward"}.get(op.mode, op.mode)
    mode = op.mode if factors[0].dtype.kind == "c" else mode
    kind = op.error_kind if error == error else "estimated"
    known: dict[str, Any] = {"shape": op.stored_shape, "permutations": op.base_permutations, "mode": mode}
    return ButterflyOperator(_finite(factors), relative_error=error, error_kind=kind, **known)


def _finite(factors: list[Array]) -> list[Array]:
    for at, factor in enumerate(factors):
        if not np.all(np.isfinite(factor)):
            raise OverflowError(
                f"op: the new factor {at + 1} does not fit {factor.dtype}; use op.astype of a wider one"
            )
    return factors


def _diagonal(x: Any, size: int, name: str, dtype: Any) -> Array:
    if x is None:
        return np.ones(size, dtype)
    vector = as_floating(x, name)
    if vector.shape != (size,) or not np.all(np.isfinite(vector)):
        raise ValueError(f"{name}: expected {size} finite numbers, got shape {vector.shape} or NaN, infinity")
    return vector


def _padded(diagonal: Array, order: IndexArray | None, size: int) -> Array:
    full = np.concatenate([diagonal, np.ones(size - len(diagonal), diagonal.dtype)])
    return full if order is None else full[order]


def _orders(op: ButterflyOperator) -> list[IndexArray]:
    return [
        np.arange(size) if p is None else p for p, size in zip(op.base_permutations, op.stored_chain.shape, strict=True)
    ]
