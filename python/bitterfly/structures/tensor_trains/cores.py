"""The cores of tensor trains: arrays, or operators in codes that stand for their unfoldings."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from bitterfly.accuracy.rounding import NOTHING, log2_norm, log2_rounding
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, IndexArray, as_floating
from bitterfly.operators.contract import Operator
from bitterfly.operators.dense import DenseOperator, Precision
from bitterfly.powers import near_one
from bitterfly.precision import cast_dtype, in_double

Shape = tuple[int, int, int, int]


class CodedCore(NamedTuple):
    """A core of a tensor train that an operator stands for: ``G[a, i, j, b] = matrix[a m + i, j s + b]``.

    Attributes
    ----------
    matrix : operator
        Of shape (r m, n s), of any kind and mode: a `DenseOperator`, a `SparseOperator`, a product of these.
    shape : tuple (r, m, n, s)
        Of the core.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> from bitterfly import structures
    >>> u, v = np.random.default_rng(0).standard_normal((2, 500, 32)).astype(np.float32)
    >>> codes = [bitterfly.quantize_dense(each, bits=4, rng=0) for each in (u, v)]
    >>> cores = structures.CodedCore(codes[0], (1, 500, 1, 32)), structures.CodedCore(codes[1].T, (32, 1, 500, 1))
    >>> op = structures.TensorTrainOperator(cores)
    >>> op.shape, op.nbytes == codes[0].nbytes + codes[1].nbytes
    ((500, 500), True)
    """

    matrix: Operator
    shape: Shape


Core = Array | CodedCore


class Wide(NamedTuple):
    """A core in double precision: ``values * 2**exponent``, `off` times that power from what is stored, at most."""

    values: Array
    exponent: int
    off: float


def checked_cores(cores: Sequence[Any], dtype: Any) -> tuple[tuple[Core, ...], np.dtype[Any]]:
    """Return cores that fit each other, arrays read-only, and the widest of their precisions and `dtype`; or raise."""
    given = [_checked(core, f"cores[{at}]") for at, core in enumerate(cores)]
    if not given:
        raise ValueError("cores: expected at least one, got none")
    ranks = [1, *(core.shape[3] for core in given)]
    for at, (core, rank) in enumerate(zip(given, ranks, strict=False)):
        if core.shape[0] != rank:
            raise ValueError(f"cores[{at}]: expected shape ({rank}, m, n, s), got {core.shape}")
    if ranks[-1] != 1:
        raise ValueError(f"cores[{len(given) - 1}]: expected shape (r, m, n, 1), got {given[-1].shape}")
    dtypes = [core.matrix.dtype if isinstance(core, CodedCore) else core.dtype for core in given]
    widest = np.result_type(np.float32 if dtype is None else cast_dtype(dtype, np.dtype(np.float32)), *dtypes)
    return tuple(_stored(core, widest) for core in given), widest


def _checked(core: Any, name: str) -> Core:
    if isinstance(core, CodedCore):
        return _checked_code(core, name)
    is_half = isinstance(core, np.ndarray) and core.dtype == np.float16
    array = core if is_half else as_floating(core, name)
    _check_shape(array.shape, name)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name}: expected finite numbers, got infinities or NaNs")
    return array


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"{name}: expected shape (r, m, n, s), none of them zero, got {shape}")


def _checked_code(core: CodedCore, name: str) -> CodedCore:
    if not isinstance(core.matrix, Operator):
        raise TypeError(f"{name}: expected an operator of this package, got {type(core.matrix).__name__}")
    shape = tuple(int(size) for size in core.shape)
    _check_shape(shape, name)
    r, m, n, s = shape
    if core.matrix.shape != (r * m, n * s):
        raise ValueError(f"{name}: expected an operator of shape {(r * m, n * s)}, got {core.matrix.shape}")
    return CodedCore(core.matrix, (r, m, n, s))


def _stored(core: Core, dtype: np.dtype[Any]) -> Core:
    """Return a core in a precision; codes and short floats of real numbers stay real."""
    if isinstance(core, CodedCore):
        return CodedCore(_as(core.matrix, dtype), core.shape)
    own = core.dtype if core.dtype == np.float16 else dtype
    return frozen(np.array(core, own, order="C"))


def _as(op: Operator, dtype: np.dtype[Any]) -> Operator:
    target = dtype if op.dtype.kind == "c" else np.dtype(dtype.type(0).real.dtype)
    return op if op.dtype == target else op.astype(target)


def frozen(core: Array) -> Array:
    """Return an array that cannot be written."""
    core.flags.writeable = False
    return core


def cast(core: Core, dtype: np.dtype[Any]) -> Core:
    """Return a core in another precision, float16 as it is; what overflows is infinite."""
    if isinstance(core, CodedCore):
        return CodedCore(_as(core.matrix, dtype), core.shape)
    return core if core.dtype == np.float16 else frozen(core.astype(dtype))


def bytes_of(core: Core) -> int:
    """Return the bytes of what is stored."""
    return int(core.matrix.nbytes if isinstance(core, CodedCore) else core.nbytes)


def numbers_of(core: Core) -> tuple[Numbers, ...]:
    """Return the numbers that are stored, real and imaginary parts one by one, and their bits."""
    if isinstance(core, CodedCore):
        return core.matrix.numbers
    return (Numbers(core.size * (2 if core.dtype.kind == "c" else 1), 8 * core.nbytes),)


def decoded(core: Core, dtype: np.dtype[Any]) -> Array:
    """Return a core as an array of a precision, (r, m, n, s), codes decoded in double precision."""
    if isinstance(core, CodedCore):
        return frozen(_entries_of(core.matrix)[0].reshape(core.shape).astype(dtype))
    return core if core.dtype == dtype else frozen(core.astype(dtype))


def wide(core: Core) -> Wide:
    """Return a core in double precision, near one, and what decoding it may have rounded."""
    if not isinstance(core, CodedCore):
        return Wide(*near_one(core), 0.0)
    entries, rounding = _entries_of(core.matrix)
    values, exponent = near_one(entries.reshape(core.shape))
    return Wide(values, exponent, 0.0 if rounding == NOTHING else float(np.exp2(rounding - exponent)))


def _entries_of(op: Operator) -> tuple[Array, float]:
    """Return a matrix in double precision, from as few products as it takes, and what these may have rounded."""
    matrix = in_double(op)
    if matrix.shape[1] <= matrix.shape[0]:
        return matrix.todense(), log2_rounding(matrix)
    return matrix.T.todense().T, log2_rounding(matrix.T)


def log2_size(core: Core) -> float:
    """Return the logarithm to base 2 of a bound on the Frobenius norm."""
    if isinstance(core, CodedCore):
        return log2_norm(core.matrix)
    values, exponent = near_one(core)
    size = float(np.linalg.norm(values))
    return float(np.log2(size)) + exponent + 1e-9 if size else NOTHING


def slices(core: Core, digits: IndexArray, dtype: np.dtype[Any]) -> Array:
    """Return ``core[:, digits]``, (r, k, n, s), of codes only these rows where they are few."""
    if not isinstance(core, CodedCore):
        return core[:, digits].astype(dtype, copy=False)
    r, m, n, s = core.shape
    if 2 * len(digits) > m:
        return decoded(core, dtype)[:, digits]
    rows = core.matrix.rows((m * np.arange(r)[:, None] + digits).ravel())
    return rows.reshape(r, len(digits), n, s).astype(dtype, copy=False)


def precisions_of(core: Core) -> list[Precision]:
    """Return how finely products with each of the window codes round their vectors."""
    return [op.precision for op in _dense_parts(core.matrix)] if isinstance(core, CodedCore) else []


def coarsest(precisions: Sequence[Precision]) -> Precision:
    """Return the coarsest of some precisions, "float" of none."""
    return min(precisions, key=("int8", "half", "float").index, default="float")


def _dense_parts(op: Operator) -> list[DenseOperator]:
    if isinstance(op, DenseOperator):
        return [op]
    return [part for member in op.members for part in _dense_parts(member)]


def with_precision(core: Core, precision: Precision) -> Core:
    """Return a core whose window codes round vectors as finely as this; the codes are shared."""
    return CodedCore(_rounding(core.matrix, precision), core.shape) if isinstance(core, CodedCore) else core


def _rounding(op: Any, precision: Precision) -> Operator:
    if isinstance(op, DenseOperator):
        return op._viewed(_precision=precision)
    if not op.members:
        return op  # type: ignore[no-any-return]
    return op._viewed(_members=tuple(_rounding(member, precision) for member in op.members))  # type: ignore[no-any-return]


def step(core: Core, z: Array, transposed: bool, conjugated: bool, from_right: bool, workers: int | None) -> Array:
    """Contract a core with all vectors of its digit and its rank.

    Parameters
    ----------
    core : array or CodedCore, (r, m, n, s)
    z : ndarray
        In C order: from the right (digits to come, s, digits done and vectors), from the left (digits done, r, digits
        to come and vectors).
    transposed, conjugated : bool
        Rows take the part of columns, numbers are those of the conjugate.
    from_right : bool
        Codes are multiplied from the right as they are, and transposed from the left.

    Returns
    -------
    ndarray
        In C order: (digits to come, r, digits done and vectors), (digits done, s, digits to come and vectors).
    """
    r, m, n, s = core.shape
    p, q = (n, m) if transposed else (m, n)
    left, _, behind = z.shape
    if from_right:
        z, shape = z.reshape(left // q, q * s, behind), (left // q, r, p * behind)
    else:
        z, shape = z.reshape(left, r * q, behind // q), (left * p, s, behind // q)
    if isinstance(core, CodedCore):
        flat = np.ascontiguousarray(z.transpose(1, 0, 2)).reshape(z.shape[1], -1)
        y = core.matrix._product(flat, transposed, conjugated, workers).reshape(-1, len(z), z.shape[2])
        return np.ascontiguousarray(y.transpose(1, 0, 2)).reshape(shape)
    x = core.conj() if conjugated else core
    x = x.transpose(0, 2, 1, 3) if transposed else x
    x = x if from_right else x.transpose(1, 3, 0, 2)
    matrix = np.ascontiguousarray(x).reshape(-1, z.shape[1])
    return np.asarray(matrix.astype(np.result_type(matrix, z.real.dtype), copy=False) @ z).reshape(shape)


def operations(cores: Sequence[Core], transposed: bool, from_right: bool) -> int:
    """Return how many multiplications a product with one vector takes."""
    sizes = [(core.shape[0], *core.shape[1:3][:: -1 if transposed else 1], core.shape[3]) for core in cores]
    total, left = 0, prod(q for _, _, q, _ in sizes)
    done = 1
    for r, p, q, s in reversed(sizes) if from_right else sizes:
        left //= q
        total += left * done * r * p * q * s
        done *= p
    return total
