"""How far an operator is from another that was made of it: measured in full, or estimated on random vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bitterfly.inputs import Array
from bitterfly.linear import identity_panel
from bitterfly.powers import exponent_of, scaled

_EXACT = 1 << 21  # entries up to which the change is measured in full
_PROBES = 64
_LEAST_PROBES = 16
_PANEL = 1 << 22  # numbers in a panel of vectors


def after_cast(op: Any, cast: Any, factors: int) -> dict[str, Any]:
    """Return what is known of the error of `cast`, which is `op` in a lower precision; each factor rounds products."""
    change, full = change_of(op, cast)
    change += factors * float(np.finfo(cast.dtype).eps)
    error = op.relative_error + (1 + op.relative_error) * change
    return {"relative_error": error, "error_kind": op.error_kind if full and error == error else "estimated"}


def change_of(op: Any, other: Any, rng: np.random.Generator | None = None) -> tuple[float, bool]:
    """Return ``||op - other||_F / ||op||_F``, and whether it is measured in full; NaN where `other` overflows.

    Otherwise on Gaussian vectors, whose mean ``||A x||^2`` is the energy of a matrix, with two standard errors on top;
    they are fixed unless drawn by `rng`. Products are taken in the precision of each operator.
    """
    m, n = op.shape
    full = m * n <= _EXACT
    count = n if full else min(_PROBES, max(_LEAST_PROBES, (1 << 24) // n))
    missed, total = (np.zeros(count) for _ in range(2))
    wide = np.result_type(op.dtype, other.dtype, np.float64)
    exponent: int | None = None
    for columns, x in _vectors(m, n, count, op.dtype, None if full else rng or np.random.default_rng(0)):
        y = np.ascontiguousarray(op @ x, wide)
        with np.errstate(over="ignore", invalid="ignore"):
            difference = y - other @ x
        if exponent is None:  # squares neither vanish nor overflow
            exponent = -exponent_of(y)
        missed[columns], total[columns] = (_energies(part, exponent) for part in (difference, y))
    energy = float(np.sum(total))
    if energy == 0:
        return (0.0 if not missed.any() else float("inf")), full
    spread = 0.0 if full else 2 * float(np.std(missed, ddof=1)) * np.sqrt(count)
    return float(np.sqrt((np.sum(missed) + spread) / energy)), full


def _vectors(m: int, n: int, count: int, dtype: Any, rng: np.random.Generator | None) -> Iterator[tuple[slice, Array]]:
    """Yield panels of unit vectors, or with `rng` of Gaussian ones that all precisions represent."""
    real = np.dtype(dtype).type(0).real.dtype
    width = max(1, _PANEL // max(m, n))
    for first in range(0, count, width):
        columns = slice(first, min(first + width, count))
        if rng is None:
            yield columns, identity_panel(n, first, columns.stop - first, real)
        else:
            yield columns, rng.standard_normal((n, columns.stop - first)).astype(np.float32).astype(real)


def _energies(x: Array, exponent: int) -> Array:
    """Return the squared lengths of columns times a power of two."""
    parts = scaled(x, exponent).view(np.float64).reshape(*x.shape, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.einsum("ijp,ijp->j", parts, parts))
