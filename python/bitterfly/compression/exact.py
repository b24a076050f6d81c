"""Structures that a look at the entries finds: sparse and Toeplitz matrices, permutations, Kronecker products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.compression.request import Request
from bitterfly.compression.stages import Measured, Work
from bitterfly.dense.predicted import predicted
from bitterfly.inputs import Array, UnmetError
from bitterfly.operators.contract import Operator
from bitterfly.powers import exponent_of, near_one, scaled
from bitterfly.sources.given import ArraySource
from bitterfly.structures import projections

_SHARE = 0.25  # of the entries, above which matrices are not looked at as sparse
_SAMPLES, _ROWS = 400, 8  # entries that tests look at, and rows in which these are not zero
_LOOSER = 4.0  # times a tolerance: how far off they may be
_FEW, _LITTLE = 16, 0.03  # numbers for each row and column, or share of the bytes: with less, nothing else is tried
_MUCH = 0.25  # of the bytes, with more something else is in any case
_HALF = 0.5  # an error, above which there is no structure
_LARGEST = 64  # exponent of the entries of what may be a permutation


def found_by_entries(work: Work, request: Request) -> dict[str, Measured]:
    """Return operators of the structures allowed that meet what is asked for, by their names.

    Parameters
    ----------
    work : Work
        Of an array; what is no array has none.
    request : Request
        With `rtol`, or `nbytes`.
    """
    if not isinstance(work.source, ArraySource) or request.bits is not None or request.chain is not None:
        return {}
    a = work.source.array
    is_alone = not {"butterfly", "dense"} & set(request.structures)
    if not is_finite(a):  # others say where it is not
        return {}
    found: dict[str, Measured] = {}
    with work.stage("look"):
        for name, look in _LOOKS.items():
            if name not in request.structures:
                continue
            op = look(a, request.rtol, is_alone)
            if op is None:
                continue
            known = Known(work.source.rounding, "exact").then(op.relative_error, kind=op.error_kind)
            if _meets(request, op, known):
                found[name] = Measured(op, known)
    return found


def require_finite(work: Work) -> None:
    """Raise a ValueError for infinities and NaNs."""
    if isinstance(work.source, ArraySource) and not is_finite(work.source.array):
        raise ValueError("a: expected finite entries, got infinities or NaNs")


def is_finite(a: Array) -> bool:
    """Whether there are no infinities and NaNs."""
    planes = (a.real, a.imag) if a.dtype.kind == "c" else (a,)
    return all(np.isfinite(x.max()) and np.isfinite(x.min()) for x in planes)


def is_final(op: Operator, error: float, work: Work, request: Request) -> bool:
    """Whether an operator is so small, and as exact as is asked for, that nothing else has to be tried."""
    if not error <= (request.rtol or unit_of(work.source)):
        return False
    return request.nbytes is not None or is_small(op.nbytes, work, request)


def is_small(nbytes: float, work: Work, request: Request) -> bool:
    """Whether so many bytes are next to nothing for the shape of the matrix, and beside dense codes of it."""
    few = _FEW * sum(work.source.shape) * work.source.dtype.itemsize
    codes = predicted(work.real_shape, rtol=request.rtol)
    most = work.nbytes if codes is None else min(work.nbytes, codes.nbytes)
    return nbytes <= min(max(few, _LITTLE * work.nbytes), _MUCH * most)


def too_large(work: Work, request: Request, structure: str, op: Operator) -> UnmetError:
    """Return a refusal of what meets an error in no fewer bytes than the matrix."""
    takes = f"{structure}, in {op.nbytes:,} bytes, where the matrix has {work.nbytes:,}"
    return UnmetError(f"rtol: {request.rtol:.3g} is met by {takes}; keep the array")


def _meets(request: Request, op: Operator, known: Known) -> bool:
    if request.nbytes is not None and op.nbytes > request.nbytes:
        return False
    return known.error <= (_HALF if request.rtol is None else request.rtol)


def _sparse(a: Array, rtol: float | None, is_alone: bool) -> Operator | None:
    """Return the entries that are not zero, without the least of them as far as a tolerance allows."""
    count = int(np.count_nonzero(a))
    if count > _SHARE * a.size and rtol:  # what is together below a tenth of the tolerance counts as zero
        count = int(np.count_nonzero(np.abs(a) > 0.1 * rtol * _root_mean_square(a)))
    if count > _SHARE * a.size and not is_alone:
        return None
    if rtol:
        squares = np.sort(np.square(np.abs(near_one(a[a != 0])[0])))
        count = len(squares) - int(
            np.searchsorted(np.cumsum(squares), rtol**2 * (1 - 1e-6) * squares.sum(), side="right")
        )
    return projections.sparse(a, count)


def _root_mean_square(a: Array) -> float:
    x, exponent = near_one(a)
    return float(np.ldexp(np.linalg.norm(x) / np.sqrt(a.size), exponent))


def _permutation(a: Array, rtol: float | None, is_alone: bool) -> Operator | None:
    if a.shape[0] != a.shape[1] or exponent_of(a) > _LARGEST or np.count_nonzero(np.abs(a) > 0.5) != len(a):
        return None
    nearest = (np.abs(a) > 0.5).astype(a.dtype)
    try:
        op = projections.permutation(nearest)
    except ValueError:
        return None
    missed = float(np.linalg.norm((a - nearest).astype(np.result_type(a.dtype, np.float64))))
    if missed == 0:
        return op
    error = missed / float(np.linalg.norm(a.astype(np.result_type(a.dtype, np.float64))))
    slack = a.size * 4 * float(np.finfo(np.float64).eps) + float(np.finfo(a.dtype).eps)
    return op._viewed(_fact=Known(error * (1 + slack), "measured"))


def _toeplitz(a: Array, rtol: float | None, is_alone: bool) -> Operator | None:
    """Return the circulant matrix, where it does, else the Toeplitz one; none where two neighbours are far apart."""
    if min(a.shape) < 2 or not _repeats(a, rtol):
        return None
    if a.shape[0] == a.shape[1]:
        op = projections.circulant(a)
        if op.relative_error <= max(rtol or 0.0, unit_of(a)):
            whole = projections.toeplitz(a)
            return whole if whole.nbytes < op.nbytes else op
    return projections.toeplitz(a)


def _hankel(a: Array, rtol: float | None, is_alone: bool) -> Operator | None:
    return projections.hankel(a) if min(a.shape) > 1 and _repeats(a[:, ::-1], rtol) else None


def _repeats(a: Array, rtol: float | None) -> bool:
    """Whether sampled entries are about their neighbours down the diagonal."""
    rng = np.random.default_rng(0)
    i, j = (rng.integers(0, size - 1, _SAMPLES) for size in a.shape)
    x = near_one(np.stack([a[i, j], a[i + 1, j + 1]]))[0]
    apart, size = float(np.linalg.norm(x[0] - x[1])), float(np.linalg.norm(x[0]))
    return not apart > _LOOSER * max(rtol or 0.1, unit_of(a)) * size


def unit_of(a: Any) -> float:
    """Return the relative error of what is exact up to rounding, of an array or a source."""
    return 4 * float(np.finfo(a.dtype).eps)


def _kronecker(a: Array, rtol: float | None, is_alone: bool) -> Operator | None:
    """Return the smallest Kronecker product that passes a test on samples; of many small ones butterflies are made."""
    m, n = a.shape
    if not a.any():
        return None
    sizes = sorted((m // p * (n // q) + p * q, p, q) for p in divisors(m) for q in divisors(n) if 1 < p * q < m * n)
    for most in (unit_of(a), 0.1) if rtol is None else (max(rtol, unit_of(a)),):
        test = _KroneckerTest(a, most)
        if not is_alone and m == n > 2 and m & (m - 1) == 0 and test(2, 2) and test(m // 2, n // 2):
            return None
        for _, p, q in sizes:
            if test(p, q):
                return projections.kronecker(a, (p, q))
    return None


def divisors(n: int) -> list[int]:
    """Return the numbers that divide n, in ascending order."""
    return [d for d in range(1, n + 1) if n % d == 0]


class _KroneckerTest:
    """Whether ``a[b, r] a[B, R] = a[b, R] a[B, r]``, B the block of the largest entry, R its place in there."""

    def __init__(self, a: Array, rtol: float) -> None:
        rng = np.random.default_rng(0)
        self._a = a
        self._i0, self._j0 = np.unravel_index(np.argmax(np.abs(a)), a.shape)
        i, j = (rng.integers(0, size, _SAMPLES) for size in a.shape)
        rows = np.unique(np.append(rng.integers(0, len(a), _ROWS), self._i0))
        some = np.argwhere(a[rows])  # a random entry may well be zero
        some = some[rng.integers(0, len(some), _SAMPLES)]
        self._i, self._j = np.concatenate([i, rows[some[:, 0]]]), np.concatenate([j, some[:, 1]])
        self._whole = self._over(self._i, self._j)
        self._most = _LOOSER * rtol * float(np.linalg.norm(self._whole))

    def _over(self, i: Array, j: Array) -> Array:
        """Return entries over the largest one."""
        both = np.append(self._a[i, j], self._a[self._i0, self._j0]).astype(np.complex128)
        both = scaled(both, -exponent_of(both[-1:]))
        return np.asarray(both[:-1] / both[-1])

    def __call__(self, p: int, q: int) -> bool:
        i, j, i0, j0 = self._i, self._j, self._i0, self._j0
        outer = self._over(i - i % p + i0 % p, j - j % q + j0 % q)
        inner = self._over(i0 - i0 % p + i % p, j0 - j0 % q + j % q)
        return float(np.linalg.norm(self._whole - outer * inner)) <= self._most


_LOOKS: dict[str, Callable[[Array, float | None, bool], Operator | None]] = {
    "permutation": _permutation,
    "toeplitz": _toeplitz,
    "hankel": _hankel,
    "sparse": _sparse,
    "kronecker": _kronecker,
}
