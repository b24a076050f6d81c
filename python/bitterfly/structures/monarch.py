"""Monarch matrices and block tensor trains: chains of any sizes, and the factors of a matrix on them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from bitterfly.chains import families
from bitterfly.chains.chain import Chain
from bitterfly.factorization.factorize import by_spectra
from bitterfly.inputs import as_count, check_rtol
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.structures.multilevel import sizes_of


def monarch(
    a: Any,
    blocks: tuple[int, int] | None = None,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    workers: int | None = None,
) -> ButterflyOperator:
    """Return the nearest Monarch matrix: two block-diagonal factors with a permutation between them.

    Parameters
    ----------
    a : array_like, shape (m, n)
    blocks : (p, q), optional
        The residue classes of rows and the runs of columns, which divide m and n: the matrix is p q blocks of
        ``m / p`` rows and ``n / q`` columns. Default: the divisors nearest below the square roots.
    rank : int, optional
        Of all blocks; default: 1, or, with `rtol`, the least that meets it.
    rtol : float, optional
        Largest relative error in the Frobenius norm; beside `rank`, of at most that rank.
    workers : int, optional
        Threads, see :func:`factorize`.

    Returns
    -------
    ButterflyOperator
        On ``Chain.monarch((m, n), blocks, rank)``: ``m q r + p n r`` numbers for rank r. The error is the least
        possible: the root of the sum of the squares of the singular values that all blocks leave.

    Raises
    ------
    ValueError
        Where `blocks` do not divide the shape, a rank is larger than the blocks, or `rtol` is not met.

    Notes
    -----
    Dao et al., *Monarch: Expressive structured matrices for efficient and accurate training* (ICML 2022). Block (s, t)
    holds rows ``s, s + p, ..`` and columns ``t n / q`` to ``(t + 1) n / q``. Transpose, factorize and transpose for
    runs of rows and residue classes of columns.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> dft = np.fft.fft(np.eye(12))[:, np.arange(12).reshape(3, 4).T.ravel()]  # columns by residues modulo 4
    >>> op = bitterfly.structures.monarch(dft, (3, 4))
    >>> op.relative_error < 1e-13, op.chain
    (True, Chain([(1, 4, 4, 3), (4, 3, 3, 1)]))
    """
    m, n = _shape(a)
    check_rtol(rtol)
    thin = Chain.monarch((m, n), blocks)
    p, q = thin[0][3], thin[1][0]
    most = min(m // p, n // q)
    chain = Chain.monarch((m, n), (p, q), (1 if rtol is None else most) if rank is None else as_count(rank, "rank"))
    return by_spectra(a, chain, rtol, workers)


def block_tensor_train(
    a: Any,
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    ranks: int | Sequence[int] | None = None,
    rtol: float | None = None,
    workers: int | None = None,
) -> ButterflyOperator:
    """Return a block tensor train near a matrix: a tensor train whose cores differ from block to block.

    ``A[i, j] = G_1[:, i_1, j_1, :; i_2 .. i_d] G_2[:, i_2, j_2, :; j_1; i_3 .. i_d] ... G_d[:, i_d, j_d, :; j_1 ..
    j_(d-1)]``: core k depends on the digits of columns before it and on those of rows after it as well.

    Parameters
    ----------
    a : array_like, shape (m, n)
    rows, columns : sequence of d integers
        ``m = m_1 ... m_d`` and ``n = n_1 ... n_d``, of the most significant digits first.
    ranks : int or sequence of d - 1 integers, optional
        Of the junctions. A single one is lowered at junctions whose blocks are smaller, if it fits the largest.
    rtol : float, optional
        Largest relative error in the Frobenius norm: ranks are the least that meet it; beside `ranks`, at most those.
    workers : int, optional
        Threads, see :func:`factorize`.

    Returns
    -------
    ButterflyOperator
        Of factors ``(n_1 .. n_(k-1), m_k r_(k-1), n_k r_k, m_(k+1) .. m_d)``. With two cores, its error is the least
        possible; with d cores at most ``sqrt(d - 1)`` times that.

    Raises
    ------
    ValueError
        Where the products of the sizes are not the shape, ranks are larger than the blocks, or `rtol` is not met.

    Notes
    -----
    S. Qiu, A. Potapczynski, M. Finzi, M. Goldblum, A. G. Wilson, *Compute better spent: Replacing dense layers with
    structured matrices* (ICML 2024). With two cores these are Monarch matrices of any rank; with rank one deformable
    butterflies.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.arange(60) / 60
    >>> op = bitterfly.structures.block_tensor_train(np.sqrt(1 + np.add.outer(x, x)), [5, 12], [12, 5], rtol=1e-6)
    >>> op.chain.ranks, op.relative_error <= 1e-6
    ((2,), True)
    """
    shape, heights, widths = _shape(a), sizes_of(rows, "rows"), sizes_of(columns, "columns")
    if len(heights) != len(widths) or (prod(heights), prod(widths)) != shape:
        raise ValueError(
            f"rows, columns: expected as many sizes, whose products are {shape}, got {heights} and {widths}"
        )
    check_rtol(rtol)
    if rtol is None and ranks is None:
        raise ValueError("rtol, ranks: expected at least one of them")
    most = _full_ranks(heights, widths)
    chain = Chain(families.patterns(heights, widths, most if ranks is None else _checked_ranks(ranks, most)))
    return by_spectra(a, chain, rtol, workers)


def _shape(a: Any) -> tuple[int, int]:
    shape = np.shape(a)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"a: expected shape (m, n), neither of them zero, got {shape}")
    return shape[0], shape[1]


def _full_ranks(rows: Sequence[int], columns: Sequence[int]) -> list[int]:
    """Return the ranks of junctions that constrain nothing."""
    return [min(prod(rows[:at]), prod(columns[at:])) for at in range(1, len(rows))]


def _checked_ranks(ranks: Any, most: list[int]) -> list[int]:
    is_one = np.ndim(ranks) == 0
    given = [as_count(ranks, "ranks")] * len(most) if is_one else [as_count(r, "ranks") for r in ranks]
    if len(given) != len(most):
        raise ValueError(f"ranks: expected one integer, or {len(most)} of them, got {ranks!r}")
    too_large = (
        max(given, default=1) > max(most, default=1) if is_one else any(r > s for r, s in zip(given, most, strict=True))
    )
    if too_large or min(given, default=1) < 1:
        raise ValueError(f"ranks: expected positive numbers, at most {most}, got {ranks!r}")
    return [min(r, s) for r, s in zip(given, most, strict=True)]
