"""Sums of Kronecker products: a matrix of low rank, with the entries of each block in a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.inputs import as_count
from bitterfly.operators.contract import Composite
from bitterfly.sources.given import ArraySource
from bitterfly.structures import projections
from bitterfly.structures.low_ranks.errors import as_array, measured
from bitterfly.structures.low_ranks.factors import Factors, as_asked
from bitterfly.structures.low_ranks.search import least
from bitterfly.structures.multilevel import sizes_of
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator


def kronecker(
    a: Any,
    block: tuple[int, int],
    *,
    terms: int | None = None,
    rtol: float | None = None,
    rng: np.random.Generator | int | None = None,
) -> Composite | TensorTrainOperator:
    """Return the nearest sum of Kronecker products ``B_1 x C_1 + B_2 x C_2 + ..``, each C of the shape of a block.

    Parameters
    ----------
    a : array_like, shape (m, n)
    block : (p, q)
        Which divide m and n.
    terms : int, optional
        The most terms. Default: 1, with `rtol` as many as it takes.
    rtol : float, optional
        Relative error that must not be exceeded, by as few terms as possible.
    rng : numpy.random.Generator or int, optional
        Draws the vectors by which few terms of a large matrix are found, as of `low_rank`.

    Returns
    -------
    Composite or TensorTrainOperator
        Of one term that was asked for, a Kronecker product of two operators; else a tensor train of two cores, all B
        and all C. ``relative_error`` is measured.

    Raises
    ------
    UnmetError
        Where `rtol` is not met.
    ValueError, TypeError
        Where `block` does not divide the shape, for bad `terms` and `rtol`, and where `a` is no matrix of finite
        numbers.

    Notes
    -----
    With the entries of each block in a row, that is the nearest matrix of so many ranks (Van Loan, Pitsianis,
    *Approximation with Kronecker products*, 1993), by a truncated SVD: there is no nearer sum. A single term is found
    by a power iteration that begins with the largest block: where there are several of nearly one singular value,
    another one of them may be found.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> rng = np.random.default_rng(0)
    >>> b, c = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 5, 6))
    >>> a = np.kron(b[0], c[0]) + np.kron(b[1], c[1])
    >>> op = bitterfly.structures.kronecker(a, (5, 6), rtol=1e-10)
    >>> op.ranks, op.nbytes == b.nbytes + c.nbytes
    ((1, 2, 1), True)
    """
    if rtol is None and (terms is None or as_count(terms, "terms") == 1):
        return projections.kronecker(a, block)
    if terms is not None and as_count(terms, "terms") < 1:
        raise ValueError("terms: expected a positive number, got 0")
    asked, source = as_asked(terms, rtol), as_array(a)
    (m, n), (p, q) = source.shape, sizes_of(block, "block", 2)
    if m % p or n % q:
        raise ValueError(f"block: expected a shape that divides {(m, n)}, got {block}")
    blocks = source.array.reshape(m // p, p, n // q, q).transpose(0, 2, 1, 3).reshape(-1, p * q)
    lines = ArraySource(blocks, source.rounding)

    def make(factors: Factors, rank: int) -> TensorTrainOperator:
        left, right = factors.cores(rank, source.dtype)
        cores = left.reshape(1, m // p, n // q, rank), right.reshape(rank, p, q, 1)
        return TensorTrainOperator(cores)._viewed(_fact=measured((left, right), lines))

    generator = np.random.default_rng(rng)
    return least(lines, asked, make, lambda op: op.relative_error, metric=None, method="auto", rng=generator)
