"""Alternating least squares and orthogonal iteration, those of tensorly, which is imported when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly.inputs import Array

_REGULAR = 2.0**-30  # of a Gram matrix, on its diagonal, where there is no solution without
_TOLERANCE = 1e-8  # of the error: what no iteration gains any more


def _tensorly() -> Any:
    try:
        import tensorly
        import tensorly.decomposition
    except ImportError as error:
        raise ImportError(
            'bitterfly.convolutions: expected tensorly, found none; pip install "bitterfly[tensorly]"'
        ) from error
    return tensorly


def canonical(x: Array, rank: int, iterations: int, rng: np.random.Generator) -> list[Array]:
    """Return matrices of `rank` columns, one for each axis, whose outer products sum up to about a tensor.

    Alternating least squares from the singular vectors of the unfoldings, random columns after these. `x` is of at
    least three axes of more than one place, not zero, in double precision near one.
    """
    tl = _tensorly()
    start = [_leading(x, axis, rank, rng) for axis in range(x.ndim)]
    found = []
    with tl.backend_context("numpy"):
        for regular in (0, _REGULAR * float(np.linalg.norm(x))):
            try:
                _, factors = tl.decomposition.parafac(
                    x, rank, init=(np.ones(rank), start), n_iter_max=iterations, tol=_TOLERANCE, l2_reg=regular
                )
            except np.linalg.LinAlgError:
                continue
            error = float(np.linalg.norm(x - tl.cp_to_tensor((None, factors)))) / float(np.linalg.norm(x))
            found.append((error, factors))
            if error < 1:
                break
    finite = [(error, factors) for error, factors in found if np.isfinite(error)]
    return list(min(finite, key=lambda each: each[0])[1]) if finite else start


def _leading(x: Array, axis: int, rank: int, rng: np.random.Generator) -> Array:
    """Return the leading singular vectors of an unfolding, times its singular values along the first axis."""
    u, s, _ = np.linalg.svd(np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1), full_matrices=False)
    kept = (u * s if axis == 0 else u)[:, :rank]
    return np.hstack([kept, rng.standard_normal((len(x) if axis == 0 else x.shape[axis], rank - kept.shape[1]))])


def orthogonal(x: Array, start: Sequence[Array], modes: Sequence[int]) -> tuple[Array, list[Array]]:
    """Return a core and orthonormal columns for some axes of a tensor, by orthogonal iteration from others."""
    tl = _tensorly()
    with tl.backend_context("numpy"):
        core = tl.tenalg.multi_mode_dot(x, start, modes=modes, transpose=True)
        ranks = [each.shape[1] for each in start]
        (core, factors), _ = tl.decomposition.partial_tucker(
            x, ranks, modes=list(modes), init=(core, list(start)), tol=_TOLERANCE
        )
    return core, list(factors)
