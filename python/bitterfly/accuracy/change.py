"""How far an operator is from another that was made of it: measured in full, or estimated on random vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bitterfly.accuracy.energy import Energy
from bitterfly.accuracy.known import Known
from bitterfly.inputs import Array
from bitterfly.panels import identity_panel
from bitterfly.powers import exponent_of, scaled
from bitterfly.precision import in_double

MEASURED = 1 << 21  # entries of a matrix up to which changes and norms are measured in full
_PROBES = 64
LEAST_PROBES = 16
_PANEL = 1 << 22  # numbers in a panel of vectors


def after_cast(op: Any, cast: Any) -> Known:
    """Return what is known of the error of `cast`, which is `op` in a lower precision.

    The larger one of the change of the factors, and of that of products with unit vectors in the precision of `cast`.
    """
    change, full = change_of(op, cast)
    if full:
        missed, total = _energies_of(*upright(op, cast))
        change = max(change, missed.over(total))
    return Known.of(op).then(change, kind="exact" if full else "estimated")


def after_change(op: Any, other: Any, kind: str, rng: np.random.Generator | None = None) -> Known:
    """Return what is known of the error of `other`, made of `op`: of this kind where the change is measured in full."""
    change, full = change_of(op, other, rng)
    return Known.of(op).then(change, kind=kind if full else "estimated")


def change_of(op: Any, other: Any, rng: np.random.Generator | None = None) -> tuple[float, bool]:
    """Return ``||op - other||_F / ||op||_F``, and whether it is measured in full; NaN where `other` overflows.

    In full: a bound, from products with unit vectors along the smaller side in double precision, what they round
    included. Otherwise on Gaussian vectors, whose mean ``||A x||^2`` is the energy of a matrix, with two standard
    errors on top, in the precision of each operator; the vectors are fixed unless drawn by `rng`.
    """
    if op.shape[0] * op.shape[1] > MEASURED:
        return _estimated(op, other, rng or np.random.default_rng(0)), False
    op, other = upright(in_double(op), in_double(other))
    missed, total = _energies_of(op, other)
    return missed.bound_over(total, [op, other], [op]), True


def upright(*ops: Any) -> tuple[Any, ...]:
    """Return operators of no more columns than rows: these, or their transposes."""
    return ops if ops[0].shape[1] <= ops[0].shape[0] else tuple(op.T for op in ops)


def _energies_of(op: Any, other: Any) -> tuple[Energy, Energy]:
    """Return the energies of the difference and of `op`, from products with unit vectors."""
    missed, total = Energy(), Energy()
    m, n = op.shape
    width = max(1, _PANEL // m)
    for first in range(0, n, width):
        x = identity_panel(n, first, min(width, n - first), op.dtype.type(0).real.dtype)
        y = op @ x
        y = y.astype(np.result_type(y.dtype, np.float64), copy=False)
        total.add(y)
        with np.errstate(over="ignore", invalid="ignore"):
            missed.add(y - other @ x)
    return missed, total


def _estimated(op: Any, other: Any, rng: np.random.Generator) -> float:
    m, n = op.shape
    count = probes(n)
    missed, total = (np.zeros(count) for _ in range(2))
    wide = np.result_type(op.dtype, other.dtype, np.float64)
    exponent: int | None = None
    for columns, x in vectors(m, n, count, op.dtype, rng):
        y = np.ascontiguousarray(op @ x, wide)
        with np.errstate(over="ignore", invalid="ignore"):
            difference = y - other @ x
        if exponent is None:  # squares neither vanish nor overflow
            exponent = -exponent_of(y)
        missed[columns], total[columns] = (energies(part, exponent) for part in (difference, y))
    energy = float(np.sum(total))
    if energy == 0:
        return float("inf") if missed.any() else 0.0
    spread = 2 * float(np.std(missed, ddof=1)) * np.sqrt(count)
    return float(np.sqrt((np.sum(missed) + spread) / energy))


def probes(n: int) -> int:
    """Return how many random vectors of n numbers an estimate takes."""
    return min(_PROBES, max(LEAST_PROBES, (1 << 24) // n))


def vectors(m: int, n: int, count: int, dtype: Any, rng: np.random.Generator) -> Iterator[tuple[slice, Array]]:
    """Yield panels of Gaussian vectors that all precisions represent."""
    real = np.dtype(dtype).type(0).real.dtype
    width = max(1, _PANEL // max(m, n))
    for first in range(0, count, width):
        columns = slice(first, min(first + width, count))
        yield columns, rng.standard_normal((n, columns.stop - first)).astype(np.float32).astype(real)


def energies(x: Array, exponent: int) -> Array:
    """Return the squared lengths of columns times a power of two."""
    parts = scaled(x, exponent).view(np.float64).reshape(*x.shape, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.einsum("ijp,ijp->j", parts, parts))
