"""Kernels of convolutions as tensor trains: of all axes, or with the windows as one, a Tucker decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.convolutions.alternating import orthogonal
from bitterfly.convolutions.factored import FactoredConvolution
from bitterfly.convolutions.kernel import Kernel, as_kernel, check_one, windows_of
from bitterfly.inputs import Array, as_count
from bitterfly.powers import near_one
from bitterfly.structures.tensor_trains import decompositions
from bitterfly.structures.tensor_trains.decompositions import balanced, measured, within
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator


def tensor_train(
    weight: Any, *, ranks: int | Sequence[int] | None = None, rtol: float | None = None
) -> FactoredConvolution:
    """Return the kernel of a convolution as a tensor train of the axes out, windows, in, by truncated SVDs.

    Parameters
    ----------
    weight : array_like, shape (out, in, k_1[, k_2[, k_3]])
        Real numbers; with groups, `in` counts the channels of one.
    ranks : int or sequence of integers, optional
        The most ranks: one between each two of out, the windows of more than one place, and in.
    rtol : float, optional
        Largest relative error in the Frobenius norm, as well or instead.

    Returns
    -------
    FactoredConvolution
        A convolution of one place, one along each window, and one of one place. Its error is measured; of given
        ranks it is at most the root of the sum of what each SVD leaves, ``sqrt(d - 1)`` times that of the best.

    Raises
    ------
    UnmetError
        Where `rtol`, given alone, is not met.
    TypeError, ValueError
        For a weight that is no kernel, and where neither or a bad one of `ranks` and `rtol` is given.

    Notes
    -----
    Oseledets, *Tensor-train decomposition* (SIAM J. Sci. Comput. 33, 2011); for convolutions Garipov, Podoprikhin,
    Novikov, Vetrov, *Ultimate tensorization: compressing convolutional and FC layers alike* (2016).

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.arange(5.0)
    >>> weight = np.multiply.outer(np.ones((6, 4)), np.exp(-np.add.outer(x, x)))
    >>> kernel = bitterfly.convolutions.tensor_train(weight, rtol=1e-10)
    >>> kernel.factors[0].ranks, kernel.parameters
    ((1, 1, 1, 1, 1), 20)
    """
    kernel = as_kernel(weight)
    shape = kernel.array.shape
    windows = [shape[axis] for axis in windows_of(shape)]
    rows, columns = [shape[0], *[1] * (len(windows) + 1)], [1, *windows, shape[1]]
    return _kept(kernel, decompositions.tensor_train(kernel.matrix, rows, columns, ranks=ranks, rtol=rtol))


def tucker(
    weight: Any, *, ranks: int | tuple[int, int] | None = None, rtol: float | None = None
) -> FactoredConvolution:
    """Return the kernel of a convolution as a smaller one between two mixings of channels (Tucker decomposition).

    Parameters
    ----------
    weight : array_like, shape (out, in, k_1[, k_2[, k_3]])
        Real numbers; with groups, `in` counts the channels of one.
    ranks : int or (p, q), optional
        Output and input channels of the smaller kernel, at most.
    rtol : float, optional
        Instead of `ranks`: the largest relative error in the Frobenius norm, by the fewest numbers.

    Returns
    -------
    FactoredConvolution
        A tensor train of (out, p), (p, k_1 ... k_d, q), (q, in). Its error is measured: at most the root of the
        squares of what both unfoldings leave, ``sqrt(2)`` times that of the best. Windows of one place leave a matrix
        of low rank.

    Raises
    ------
    UnmetError
        Where `rtol` is not met: factors of denormal numbers may be too coarse.
    TypeError, ValueError
        For a weight that is no kernel, and where not one, or a bad one, of `ranks` and `rtol` is given.
    ImportError
        Without tensorly.

    Notes
    -----
    De Lathauwer, De Moor, Vandewalle, *On the best rank-1 and rank-(R1, R2, .., RN) approximation of higher-order
    tensors* (SIAM J. Matrix Anal. Appl. 21, 2000): truncated singular vectors, then orthogonal iteration, that of
    tensorly, which only lessens the error; for convolutions Kim et al., *Compression of deep convolutional neural
    networks for fast and low power mobile applications* (ICLR 2016).

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> weight = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    >>> kernel = bitterfly.convolutions.tucker(weight, ranks=(12, 8))
    >>> kernel.factors[0].ranks
    (1, 12, 8, 1)
    """
    check_one(ranks=ranks, rtol=rtol)
    kernel = as_kernel(weight)
    shape = kernel.array.shape
    asked = None if ranks is None else _as_ranks(ranks)
    if not windows_of(shape):
        most = None if asked is None else min(asked)
        found = decompositions.tensor_train(kernel.matrix, [shape[0], 1], [1, shape[1]], ranks=most, rtol=rtol)
        return _kept(kernel, found)
    x, exponent = near_one(kernel.matrix)
    x = x.reshape(shape[0], -1, shape[1])
    sides = [np.linalg.svd(np.moveaxis(x, at, 0).reshape(x.shape[at], -1), full_matrices=False)[:2] for at in (0, 2)]

    def make(least: float) -> TensorTrainOperator:
        p, q = _fewest([s for _, s in sides], x.shape[1], least) if asked is None else asked
        p, q = _fitting(p, q, x.shape)
        start = [u[:, :rank] for (u, _), rank in zip(sides, (p, q), strict=True)]
        core, (left, right) = orthogonal(x, start, (0, 2)) if x.any() else (np.zeros((p, x.shape[1], q)), start)
        cores = [left.reshape(1, -1, 1, p), core.reshape(p, 1, -1, q), right.T.reshape(q, 1, -1, 1)]
        return measured(balanced(cores, exponent, kernel.array.dtype), kernel.matrix)

    return _kept(kernel, within(make, rtol, ranks))


def _kept(kernel: Kernel, op: TensorTrainOperator) -> FactoredConvolution:
    known = Known(kernel.rounding, "exact").then(op.relative_error, kind=op.error_kind)
    return FactoredConvolution(kernel.array.shape, "tensor_train", (op,)).replaced(known)


def _as_ranks(ranks: Any) -> tuple[int, int]:
    given = [as_count(rank, "ranks") for rank in ([ranks, ranks] if np.ndim(ranks) == 0 else ranks)]
    if len(given) != 2 or min(given) < 1:
        raise ValueError(f"ranks: expected a positive integer, or two of them, got {ranks!r}")
    return given[0], given[1]


def _fitting(p: int, q: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return ranks that unfoldings of the tensor and of the core can have."""
    m, k, n = shape
    p, q = min(p, m, k * n), min(q, n, k * m)
    p = min(p, k * q)
    return p, min(q, k * p)


def _fewest(singular: Sequence[Array], window: int, rtol: float) -> tuple[int, int]:
    """Return the ranks of the fewest numbers whose tails, by squares, are within a tolerance."""
    tails = [np.append(np.cumsum(np.square(s[::-1]))[::-1], 0.0) for s in singular]
    room = np.square(rtol) * tails[0][0]
    m, n = (len(s) for s in singular)
    best = m, n
    for p in range(1, m + 1):
        enough = np.flatnonzero(tails[0][p] + tails[1][1:] <= room)
        q = int(enough[0]) + 1 if len(enough) else n
        if (len(enough) or p == m) and p * window * q + m * p + n * q < best[0] * window * best[1] + m * best[
            0
        ] + n * best[1]:
            best = p, q
    return best
