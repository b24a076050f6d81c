"""A correction of low rank to codes of a matrix, the best one in a metric of the inputs.

With ``H = M M^T``, ``||(D - B) M||`` is least for ``B = [D M]_r M^-1``, ``[.]_r`` the r leading singular triples (Liu,
Hu, Wang, Choi et al., EoRA, 2024, who take M from eigenvectors of H).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from bitterfly.dense.beside.head import in_factors, leading
from bitterfly.dense.feedback import DampedMetric
from bitterfly.inputs import Array
from bitterfly.operators.contract import ButterflyProduct

BITS = 4  # of the numbers of the factors: those of two times as many are worth less than twice the rank


def correction(
    apart: Array, power: int, rank: int, metric: Array | None, dtype: np.dtype[Any], rng: np.random.Generator
) -> ButterflyProduct:
    """Return a product of two factors, in few bits, that is near a matrix of differences.

    Parameters
    ----------
    apart : numpy.ndarray
        D, (m, n), float64 or complex128, not zero, over ``2**power``.
    power : int
    rank : int
        At most the smaller side.
    metric : numpy.ndarray or None
        H as `as_metric` returns it.
    dtype : dtype
        Of the operator.
    rng : numpy.random.Generator
    """
    if metric is None:
        u, s, vh = leading(apart, rank, rng)
        right = vh.T
    elif metric.ndim == 1:
        roots = np.sqrt(DampedMetric(metric).matrix)
        u, s, vh = leading(apart * roots, rank, rng)
        right = vh.T / roots[:, None]
    else:
        factor = DampedMetric(metric).factor
        assert factor is not None
        u, s, vh = leading(apart @ factor, rank, rng)
        right = solve_triangular(factor, vh.T, trans="T")
    some = s > s[0] * np.finfo(np.float64).eps
    return in_factors((u * s)[:, some], right[:, some], power, BITS, dtype)


def bits_of(shape: tuple[int, int], rank: int, dtype: np.dtype[Any]) -> int:
    """Return the bits of such factors, the lengths of their columns included."""
    planes = 2 if dtype.kind == "c" else 1
    return rank * (sum(shape) * planes * BITS + 2 * 8 * dtype.itemsize)


def bytes_of(shape: tuple[int, int], rank: int, dtype: np.dtype[Any]) -> int:
    """Return the bytes of such factors, with what fills their tiles: those of any numbers."""
    left, right = (np.ones((size, rank), np.result_type(dtype, np.float64)) for size in shape)
    return in_factors(left, right, 0, BITS, dtype).nbytes
