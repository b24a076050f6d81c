"""The nearest matrices of a structure, with their errors, measured on all entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_array, dia_array

from bitterfly.accuracy.energy import Energy
from bitterfly.accuracy.known import Known, rounded_up
from bitterfly.accuracy.measured import measure
from bitterfly.accuracy.sampled import sampled_error
from bitterfly.inputs import Array, UnmetError, as_count, as_floating, check_rtol, conversion_error
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import ButterflyProduct, Composite, Operator
from bitterfly.operators.kron import kron
from bitterfly.operators.sparse import SparseOperator
from bitterfly.powers import exponent_of, scaled
from bitterfly.sources.given import Entry, EntrySource
from bitterfly.structures.multilevel import ToeplitzOperator, integers_of, sizes_of
from bitterfly.structures.permutations import PermutationOperator

_PANEL = 1 << 20  # entries of rows that are looked at at once
_LEAST = float(np.finfo(np.float64).smallest_subnormal)
_PRODUCT = 1.2 * float(np.finfo(np.float64).eps)  # what a product of two complex numbers rounds, sqrt(5) units roundoff
_LARGEST = 1022  # exponent of numbers whose differences stay in the range of double precision
_LOOKED_AT = 64  # rows that a matrix known by its entries is compared with
_ROUNDS = 3  # of the power iteration for a Kronecker product: its first guess is a block


def toeplitz(a: Any) -> ToeplitzOperator:
    """Return the nearest Toeplitz matrix: each diagonal becomes its mean.

    Parameters
    ----------
    a : array_like, shape (m, n)

    Returns
    -------
    ToeplitzOperator
        Diagonals beyond the outermost ones that are not zero are not stored. ``relative_error`` is measured.

    Examples
    --------
    >>> import numpy as np, scipy.linalg, bitterfly
    >>> op = bitterfly.structures.toeplitz(scipy.linalg.toeplitz(np.arange(100.0), -np.arange(100.0)))
    >>> op.nbytes, op.relative_error
    (1592, 0.0)
    """
    x = matrix_of(a)
    m, n = x.shape
    if m > n:
        upright: ToeplitzOperator = toeplitz(x.T).T
        return converted(upright, a, x)
    exponent = exponent_of(x)
    one = _wide(np.concatenate([x[0, ::-1], x[1:, 0]]), exponent)  # of each diagonal: equal entries stay what they are
    sums = np.zeros(m + n - 1, one.dtype)
    for i in range(m):
        sums[i : i + n] += _wide(x[i], exponent)[::-1] - one[i : i + n]
    counts = np.minimum(np.minimum(np.arange(1, m + n), np.arange(m + n - 1, 0, -1)), min(m, n))
    t = scaled(one + sums / counts, exponent).astype(x.dtype)
    backwards = t[::-1]
    known = _known(x, lambda i: backwards[m - 1 - i : m - 1 - i + n])
    some = np.flatnonzero(t)
    low, high = (some[0], some[-1] + 1) if some.size else (n - 1, n)
    op = ToeplitzOperator(t[low:high], [m], [n], first=[int(low) + 1 - n], **known.facts)
    return converted(op, a, x)


def toeplitz_of_entries(
    entries: Entry,
    shape: tuple[int, int],
    *,
    rtol: float | None = None,
    rng: np.random.Generator | int | None = None,
) -> ToeplitzOperator:
    """Return a Toeplitz matrix, or a circulant one, from its first row and column, compared with random rows.

    Parameters
    ----------
    entries : callable
        ``entries(rows, cols) -> block``, as for `factorize`.
    shape : (m, n)
    rtol : float, optional
        Relative error from which on the matrix is refused as no Toeplitz matrix. Default: it never is.
    rng : numpy.random.Generator or int, optional
        Draws the rows, 64 or all of fewer.

    Returns
    -------
    ToeplitzOperator
        ``relative_error`` is estimated from these rows, three standard errors added; of fewer rows than 64, measured.

    Raises
    ------
    UnmetError
        Where the error is above `rtol`.
    ValueError, TypeError
        Where entries are not finite numbers, or the shape does not fit.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> op = bitterfly.structures.toeplitz_of_entries(lambda i, j: np.exp(-abs(i[:, None] - j)), (300, 200), rng=0)
    >>> op.shape, op.nbytes, op.relative_error < 1e-15
    ((300, 200), 3992, True)
    """
    check_rtol(rtol)
    if not callable(entries):
        raise TypeError(f"entries: expected a function of rows and columns, got {type(entries).__name__}")
    source = EntrySource(entries, shape)
    m, n = source.shape
    row = source.block(np.arange(1), np.arange(n))[0]
    column = source.block(np.arange(m), np.arange(1))[:, 0]
    if m == n and np.array_equal(column[1:], row[:0:-1]):
        op = ToeplitzOperator(column, [n], [n], periodic=True)
    else:
        op = ToeplitzOperator(np.concatenate([row[::-1], column[1:]]), [m], [n])
    if m > _LOOKED_AT:
        known = Known(sampled_error(source, op, _LOOKED_AT, np.random.default_rng(rng))[1], "estimated")
    else:
        known = Known(measure(source.block(np.arange(m), np.arange(n)), op), "measured")
    known = Known(source.rounding, "exact").then(known.error, kind=known.kind)
    if rtol is not None and not known.error <= rtol:
        raise UnmetError(f"rtol: {rtol:.3g} is not met: {min(m, _LOOKED_AT)} rows err by {known.error:.3g}")
    return op._viewed(_fact=known)


def circulant(a: Any) -> ToeplitzOperator:
    """Return the nearest circulant matrix: entries of equal ``(i - j) mod n`` become their mean.

    Parameters
    ----------
    a : array_like, shape (n, n)

    Returns
    -------
    ToeplitzOperator
        Periodic. ``relative_error`` is measured.
    """
    x = matrix_of(a)
    n = len(x)
    if x.shape != (n, n):
        raise ValueError(f"a: expected a square matrix, got shape {x.shape}")
    exponent = exponent_of(x)
    one = _wide(x[:, 0], exponent)  # of each mean: equal entries stay what they are
    sums = np.zeros(n, one.dtype)
    for i in range(n):
        row = _wide(x[i], exponent)[::-1]  # of i - j = i - n + 1, ..., i
        sums[: i + 1] += row[n - 1 - i :] - one[: i + 1]
        sums[i + 1 :] += row[: n - 1 - i] - one[i + 1 :]
    t = scaled(one + sums / n, exponent).astype(x.dtype)
    twice = np.concatenate([t[::-1], t[::-1]])
    known = _known(x, lambda i: twice[n - 1 - i : 2 * n - 1 - i])
    return converted(ToeplitzOperator(t, [n], [n], periodic=True, **known.facts), a, x)


def hankel(a: Any) -> ButterflyProduct:
    """Return the nearest Hankel matrix, of equal entries along anti-diagonals: a Toeplitz one of columns in reverse.

    Parameters
    ----------
    a : array_like, shape (m, n)
    """
    x = matrix_of(a)
    n = x.shape[1]
    inner = toeplitz(x[:, ::-1])
    whole = ButterflyProduct([inner, PermutationOperator(np.arange(n)[::-1], dtype=x.dtype)])
    return converted(whole._viewed(_fact=Known.of(inner)), a, x)


def convolution(
    kernel: Any,
    shape: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> ToeplitzOperator:
    """Return the matrix of a convolution as networks know it: ``y[p, i] = sum k[p, q, r] x[q, s i + r - padding]``.

    Parameters
    ----------
    kernel : array_like, shape (p, q, K_1, ..., K_d) or (K_1, ..., K_d)
        Output channels, input channels, and the window.
    shape : sequence of d integers
        Of the inputs, without channels.
    strides, padding : int or sequence of d integers
        Zeros are added on both sides.

    Returns
    -------
    ToeplitzOperator
        Of flattened arrays (q, N_1, ..) to flattened arrays (p, M_1, ..), ``M = (N + 2 padding - K) // strides + 1``.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> op = bitterfly.structures.convolution([[1.0, 0.0, -1.0]], [4, 5])
    >>> (op @ np.arange(20.0)).reshape(4, 3)[0]
    array([-2., -2., -2.])
    """
    k = as_floating(kernel, "kernel")
    sizes = sizes_of(shape, "shape")
    d = len(sizes)
    if k.ndim not in (d, d + 2):
        raise ValueError(f"kernel: expected {d} or {d + 2} dimensions for inputs of shape {sizes}, got {k.shape}")
    window = k.shape[-d:]
    s = sizes_of([strides] * d if np.ndim(strides) == 0 else strides, "strides", d)
    p = integers_of([padding] * d if np.ndim(padding) == 0 else padding, "padding", d)
    if min(p) < 0:
        raise ValueError(f"padding: expected numbers that are not negative, got {p}")
    rows = [(n + 2 * pad - w) // step + 1 for n, pad, w, step in zip(sizes, p, window, s, strict=True)]
    if min(rows) < 1:
        raise ValueError(f"shape: expected inputs that the window {window} fits, got {sizes} with padding {p}")
    first = [pad - w + 1 for pad, w in zip(p, window, strict=True)]
    return ToeplitzOperator(np.flip(k, tuple(range(-d, 0))), rows, sizes, first=first, strides=s)


def sparse(a: Any, count: int | None = None) -> SparseOperator:
    """Return the nearest matrix with so many entries that are not zero: the largest ones.

    Parameters
    ----------
    a : array_like, shape (m, n)
    count : int, optional
        Default: all that are not zero.

    Returns
    -------
    SparseOperator
        By rows, or by diagonals where these take fewer bytes.
    """
    x = matrix_of(a)
    moduli = np.abs(x)
    count = None if count is None else as_count(count, "count")
    if count is None or count >= np.count_nonzero(moduli):
        rows, columns = np.nonzero(moduli)
    else:
        flat = np.argsort(-moduli, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(np.sort(flat), x.shape)
    stored: Any = csr_array((x[rows, columns], (rows, columns)), shape=x.shape)
    diagonals = np.unique(columns - rows)
    along = len(diagonals) * x.shape[1] * x.itemsize + 4 * len(diagonals)
    if 0 < along < len(rows) * (x.itemsize + 4) + 4 * (len(x) + 1):
        data = np.zeros((len(diagonals), x.shape[1]), x.dtype)
        data[np.searchsorted(diagonals, columns - rows), columns] = x[rows, columns]
        stored = dia_array((data, diagonals), shape=x.shape)
    if len(rows) == np.count_nonzero(moduli):
        return converted(SparseOperator(stored), a, x)
    rest = x.copy()
    rest[rows, columns] = 0
    missed, total = Energy(), Energy()
    missed.add(_wide(rest, 0))
    total.add(_wide(x, 0))
    op = SparseOperator(stored, relative_error=missed.bound_over(total, []), error_kind="measured")
    return converted(op, a, x)


def permutation(a: Any) -> PermutationOperator:
    """Return a permutation matrix as one.

    Raises
    ------
    ValueError
        Where `a` is none.
    """
    x = matrix_of(a)
    order = np.argmax(np.abs(x), axis=1)
    is_one = x.shape[0] == x.shape[1] and np.count_nonzero(x) == len(x) and np.all(x[np.arange(len(x)), order] == 1)
    if not is_one or len(np.unique(order)) < len(x):
        raise ValueError("a: expected a permutation matrix, of zeros and one one in each row and column")
    return PermutationOperator(order, dtype=x.dtype)


def kronecker(a: Any, block: tuple[int, int]) -> Composite:
    """Return the nearest Kronecker product ``B x C``, C of the shape of a block.

    Parameters
    ----------
    a : array_like, shape (m, n)
    block : (p, q)
        Which divide m and n.

    Notes
    -----
    With the entries of each block in a row, that is the nearest matrix of rank one (Van Loan, Pitsianis, *Approximation
    with Kronecker products*, 1993), here by a power iteration that begins with the largest block: where there are
    several of nearly one singular value, another one of them may be found.
    """
    x = matrix_of(a)
    m, n = x.shape
    p, q = sizes_of(block, "block", 2)
    if m % p or n % q:
        raise ValueError(f"block: expected a shape that divides {(m, n)}, got {block}")
    if m > n:
        upright: Composite = kronecker(x.T, (q, p)).T
        return converted(upright, a, x)
    exponent = exponent_of(x)
    blocks = _wide(x, exponent).reshape(m // p, p, n // q, q)
    largest = np.unravel_index(np.argmax(np.abs(blocks)), blocks.shape)
    inner = blocks[largest[0], :, largest[2], :].copy()
    outer = np.zeros((m // p, n // q), blocks.dtype)
    for _ in range(_ROUNDS):
        outer = _over(np.einsum("ipjq,pq->ij", blocks, inner.conj()), inner)
        inner = _over(np.einsum("ipjq,ij->pq", blocks, outer.conj()), outer)
    e = exponent // 2
    left, right = (
        scaled(np.ascontiguousarray(part), power).astype(x.dtype) for part, power in ((outer, e), (inner, exponent - e))
    )
    wide = _wide(right, 0)

    def row(i: int) -> Array:
        with np.errstate(under="ignore"):
            return np.kron(_wide(left[i // p], 0), wide[i % p])

    leaves = [
        ButterflyOperator([part.reshape(1, *part.shape, 1)], relative_error=0.0, error_kind="exact")
        for part in (left, right)
    ]
    return kron(*leaves)._viewed(_fact=_known(x, row, 0.0 if x.dtype == np.float32 else _PRODUCT))


_Op = TypeVar("_Op", bound=Operator)


def converted(op: _Op, given: Any, kept: Array) -> _Op:
    """Return an operator whose error counts what a conversion of integers, or of wider floats, has rounded."""
    rounding = conversion_error(given, kept)
    if rounding == 0:
        return op
    return op._viewed(_fact=Known(rounding, "exact").then(op.relative_error, kind=op.error_kind))


def _over(x: Array, y: Array) -> Array:
    energy = float(np.linalg.norm(y)) ** 2
    return x / energy if energy > 0 else x


def matrix_of(a: Any) -> Array:
    """Return a matrix of finite numbers in its working precision."""
    x = as_floating(a, "a")
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"a: expected shape (m, n), neither of them zero, got {x.shape}")
    if not np.all(np.isfinite(x)):
        raise ValueError("a: expected finite entries, got infinities or NaNs")
    return x


def _wide(x: Array, exponent: int) -> Array:
    """Return numbers in double precision, times ``2**-exponent``."""
    out = np.ascontiguousarray(x, np.result_type(x.dtype, np.float64))
    return scaled(out, -exponent) if exponent else out


def _known(x: Array, row: Any, rounding: float = 0.0) -> Known:
    """Return the error of a matrix whose rows are given, exact where there is none; differences round by a unit.

    Entries that are given are off by at most `rounding` of their moduli, and then by subnormal numbers too.
    """
    missed, total = Energy(), Energy()
    height = max(_PANEL // x.shape[1], 1)
    shift = 2 if exponent_of(x) > _LARGEST else 0  # differences stay in range
    for first in range(0, len(x), height):
        part = _wide(x[first : first + height], shift)
        found = np.stack([_wide(row(i), shift) for i in range(first, first + len(part))])
        total.add(part)
        missed.add(part - found)
    error = missed.bound_over(total, [])
    if rounding and total.sum:
        with np.errstate(over="ignore"):
            least = float(np.exp2(np.log2(4 * _LEAST) + np.log2(x.size) / 2 - total.log2_norm))
        error = rounded_up((error + rounding + least) / (1 - rounding), 4)
    return Known(error, "measured" if error else "exact")
