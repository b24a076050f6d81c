"""Kernels of convolutions as sums of outer products (CP): by rank, or by tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.convolutions import alternating
from bitterfly.convolutions.columns import as_factor, columns_of, error_of
from bitterfly.convolutions.factored import FactoredConvolution
from bitterfly.convolutions.kernel import Kernel, as_kernel, check_one, windows_of
from bitterfly.inputs import Array, UnmetError, as_count
from bitterfly.powers import near_one, scaled


def cp(
    weight: Any,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    iterations: int = 100,
    rng: np.random.Generator | int | None = None,
) -> FactoredConvolution:
    """Return the kernel of a convolution as ``sum_r A[o, r] X[k_1, r] .. B[i, r]`` (CP decomposition).

    Parameters
    ----------
    weight : array_like, shape (out, in, k_1[, k_2[, k_3]])
        Real numbers; with groups, `in` counts the channels of one.
    rank : int, optional
        The most terms.
    rtol : float, optional
        Instead of `rank`: the relative error in the Frobenius norm that is met by few terms, by bisection. There is
        no best approximation of a rank, nor a way to the fewest terms.
    iterations : int, optional
        The most rounds of alternating least squares.
    rng : numpy.random.Generator or int, optional
        Draws where terms beyond the size of an axis begin.

    Returns
    -------
    FactoredConvolution
        A convolution of one place, of each channel along the windows, and of one place. Its error is measured on all
        entries. Kernels of at most two axes of more than one place are matrices, and found by an SVD.

    Raises
    ------
    UnmetError
        Where `rtol` is not met.
    TypeError, ValueError
        For a weight that is no kernel, and where not one, or a bad one, of `rank` and `rtol` is given.
    ImportError
        Without tensorly.

    Notes
    -----
    Carroll, Chang (1970), Harshman (1970): alternating least squares, those of tensorly; for convolutions Lebedev et
    al., *Speeding-up convolutional neural networks using fine-tuned CP-decomposition* (ICLR 2015). Terms may grow
    without end while their sum does not; codes of few bits are no match for these. A round takes memory for `rank`
    times the entries of the kernel over its least axis, in double precision.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> weight = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    >>> kernel = bitterfly.convolutions.cp(weight, rank=24, rng=0)
    >>> [factor.shape for factor in kernel.factors]
    [(32, 24), (3, 24), (3, 24), (16, 24)]
    """
    check_one(rank=rank, rtol=rtol)
    count = as_count(iterations, "iterations")
    if rank is not None and as_count(rank, "rank") < 1:
        raise ValueError(f"rank: expected a positive number, got {rank}")
    kernel, generator = as_kernel(weight), np.random.default_rng(rng)
    make = partial(_of_rank, kernel, count, int(generator.integers(1 << 32)))
    sizes = [size for size in kernel.array.shape if size > 1]
    most = prod(sizes) // max(sizes, default=1)  # enough for any
    if rank is not None:
        return make(min(int(rank), most))
    assert rtol is not None
    return _within(make, rtol, most)


def _within(make: Any, rtol: float, most: int) -> FactoredConvolution:
    """Return the one of the least rank that doubling and bisection find to meet a tolerance."""
    below, rank = 0, 1
    while not (found := make(rank)).relative_error <= rtol:
        if rank == most:
            raise UnmetError(f"rtol: {rtol:.3g} is not met: rank {rank} leaves {found.relative_error:.3g}")
        below, rank = rank, min(2 * rank, most)
    while rank - below > 1:
        middle = (below + rank) // 2
        tried = make(middle)
        if tried.relative_error <= rtol:
            found, rank = tried, middle
        else:
            below = middle
    return found  # type: ignore[no-any-return]


def _of_rank(kernel: Kernel, iterations: int, seed: int, rank: int) -> FactoredConvolution:
    array = kernel.array
    near, exponent = near_one(kernel.matrix)
    axes = [0, *windows_of(array.shape), 1]
    near = near.reshape([array.shape[axis] for axis in axes])
    columns = _columns(near, rank, iterations, np.random.default_rng(seed))
    factors = tuple(as_factor(x) for x in _shared(columns, exponent, array.dtype))
    found = error_of(kernel.matrix, columns_of(factors))
    known = Known(kernel.rounding, "exact").then(found.error, kind=found.kind)
    return FactoredConvolution(array.shape, "canonical", factors).replaced(known)


def _columns(near: Array, rank: int, iterations: int, rng: np.random.Generator) -> list[Array]:
    """Return a matrix of columns for each axis, ones along those of one place."""
    axes = [axis for axis, size in enumerate(near.shape) if size > 1]
    out = [np.ones((size, rank)) for size in near.shape]
    x = near.reshape([near.shape[axis] for axis in axes])
    if not near.any():
        return [0 * each[:, :1] for each in out]
    if len(axes) > 2:
        found = alternating.canonical(x, rank, iterations, rng)
    elif len(axes) == 2:
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        found = [u[:, :rank] * s[:rank], vh[:rank].T]
    else:
        found = [x.reshape(-1, 1)]
    for axis, each in zip(axes or [0], found, strict=True):
        out[axis] = each
    return [each[:, : found[0].shape[1]] for each in out]


def _shared(columns: Sequence[Array], exponent: int, dtype: np.dtype[Any]) -> list[Array]:
    """Return columns whose length the first and the last axis share, those of windows being of about one."""
    sizes = [np.abs(each).max(axis=0) for each in columns]
    units = [each / np.where(size > 0, size, 1) for each, size in zip(columns, sizes, strict=True)]
    root = np.prod(np.sqrt(sizes), axis=0)
    left, right = exponent - exponent // 2, exponent // 2
    ends = scaled(np.ascontiguousarray(units[0] * root), left), scaled(np.ascontiguousarray(units[-1] * root), right)
    return [each.astype(dtype) for each in (ends[0], *units[1:-1], ends[1])]
