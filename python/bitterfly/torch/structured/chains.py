"""Layers whose matrix is a product of sparse factors: butterflies, Monarch matrices, block tensor trains, low rank."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import torch
from torch.nn import functional

from bitterfly.chains import families
from bitterfly.chains.chain import Chain
from bitterfly.factorization.factorize import factorize
from bitterfly.inputs import Array, as_count
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.views import fitting_shape
from bitterfly.torch.structured.layer import StructuredLinear, checked_sizes


class ChainLinear(StructuredLinear):
    """A layer of the factors of a chain, a parameter each: what all layers of this file are."""

    def __init__(
        self, chain: Chain, shape: tuple[int, int], bias: bool, rng: torch.Generator | None, dtype: torch.dtype | None
    ) -> None:
        m, n = fitting_shape(shape, chain)
        super().__init__(n, m, bias, rng, dtype)
        self.chain = chain
        self._draw({f"factor_{at}": pattern for at, pattern in enumerate(chain)}, prod(chain.ranks), rng)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        m, n = self.chain.shape
        x = functional.pad(x, (0, n - self.in_features)) if n > self.in_features else x
        for values in reversed(self._numbers):
            a, _, c, d = values.shape
            x = torch.einsum("abcd,kacd->kabd", values, x.reshape(-1, a, c, d))
        return x.reshape(-1, m)[:, : self.out_features]

    def _projected(self, a: Array) -> list[Array]:
        return list(factorize(a, self.chain, permute=None).factors)

    def _exported(self, numbers: list[Array]) -> ButterflyOperator:
        return ButterflyOperator(numbers, shape=(self.out_features, self.in_features))


class Butterfly(ChainLinear):
    """A butterfly as a layer: ``n log n`` numbers in place of ``n^2``.

    Parameters
    ----------
    in_features, out_features : int
        Columns n and rows m of the matrix.
    chain : Chain, optional
        Of at least this shape; larger ones pad with zeros. Default: `Chain.square_dyadic` of a square power of two,
        else `Chain.for_shape`.
    bias : bool, optional
    rng : torch.Generator, optional
        Draws the numbers. Default: that of torch.
    dtype : torch.dtype, optional

    Raises
    ------
    ValueError, TypeError
        Where sizes are not positive, or the chain is smaller.

    Notes
    -----
    Dao, Gu, Eichhorn, Rudra, Ré, *Learning fast algorithms for linear transforms using butterfly factorizations* (ICML
    2019). ``from_dense`` factorizes in the order of the chain, with no permutation.

    Examples
    --------
    >>> import torch
    >>> from bitterfly.torch import Butterfly
    >>> layer = Butterfly(64, 64)
    >>> layer
    Butterfly(64, 64, bias=True, 0.188 of the numbers)
    >>> op = layer.to_operator()
    >>> bool(torch.allclose(torch.from_numpy(op.todense()), layer.dense(), atol=1e-6))
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        chain: Chain | None = None,
        *,
        bias: bool = True,
        rng: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        m, n = checked_sizes(in_features, out_features)
        if chain is None:
            chain = Chain.square_dyadic(n) if m == n > 1 and n & (n - 1) == 0 else Chain.for_shape((m, n))
        super().__init__(chain, (m, n), bias, rng, dtype)


class Monarch(ChainLinear):
    """Two factors of blocks as a layer, see `Chain.monarch`.

    Parameters
    ----------
    in_features, out_features : int
        Columns n and rows m of the matrix.
    blocks : (p, q), optional
        Residue classes of rows and runs of columns, which divide m and n. Default: near their square roots.
    rank : int, optional
        Of the ``p q`` blocks that the matrix has, in another order.
    bias, rng, dtype
        See `Butterfly`.

    Raises
    ------
    ValueError, TypeError
        Where sizes do not divide, or the rank is larger than the blocks.

    Notes
    -----
    Dao et al., *Monarch: Expressive structured matrices for efficient and accurate training* (ICML 2022).
    ``from_dense`` is the nearest one: truncated SVDs of the blocks.

    Examples
    --------
    >>> from bitterfly.torch import Monarch
    >>> Monarch(64, 256, rank=2, bias=False)
    Monarch(64, 256, bias=False, 0.375 of the numbers)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        blocks: tuple[int, int] | None = None,
        rank: int = 1,
        *,
        bias: bool = True,
        rng: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        m, n = checked_sizes(in_features, out_features)
        super().__init__(Chain.monarch((m, n), blocks, rank), (m, n), bias, rng, dtype)


class LowRank(ChainLinear):
    """A product of two thin matrices as a layer.

    Parameters
    ----------
    in_features, out_features : int
        Columns n and rows m of the matrix.
    rank : int
        At most the smaller of both.
    bias, rng, dtype
        See `Butterfly`.

    Raises
    ------
    ValueError, TypeError
        For another rank, and sizes that are not positive.

    Notes
    -----
    ``from_dense`` is the nearest one, the truncated SVD.

    Examples
    --------
    >>> from bitterfly.torch import LowRank
    >>> LowRank(64, 256, rank=4)
    LowRank(64, 256, bias=True, 0.0781 of the numbers)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        *,
        bias: bool = True,
        rng: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        m, n = checked_sizes(in_features, out_features)
        r = as_count(rank, "rank")
        if not 1 <= r <= min(m, n):
            raise ValueError(f"rank: expected 1 to {min(m, n)}, got {rank}")
        super().__init__(Chain([(1, m, r, 1), (1, r, n, 1)]), (m, n), bias, rng, dtype)


class BlockTensorTrain(ChainLinear):
    """A block tensor train as a layer: a chain of as many factors as there are digits, of given ranks.

    Factor l depends on the digits 1 to l of columns and l to d of rows, a core of a tensor train on digit l of both
    alone. With two digits it is a Monarch matrix.

    Parameters
    ----------
    rows, columns : sequence of d integers
        ``m = m_1 ... m_d`` and ``n = n_1 ... n_d``, most significant digits first.
    ranks : int or sequence of d - 1 integers
    bias, rng, dtype
        See `Butterfly`.

    Raises
    ------
    ValueError, TypeError
        Where sizes are not positive, or a rank is larger than its blocks.

    Notes
    -----
    Qiu, Potapczynski, Finzi, Goldblum, Wilson, *Compute better spent: replacing dense layers with structured matrices*
    (ICML 2024). ``from_dense`` factorizes from left to right.

    Examples
    --------
    >>> from bitterfly.torch import BlockTensorTrain
    >>> BlockTensorTrain([4, 4, 4], [4, 8, 4], ranks=2)
    BlockTensorTrain(128, 64, bias=True, 0.438 of the numbers)
    """

    def __init__(
        self,
        rows: Sequence[int],
        columns: Sequence[int],
        ranks: int | Sequence[int],
        *,
        bias: bool = True,
        rng: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        heights, widths, between = checked_digits(rows, columns, ranks)
        chain = Chain(families.patterns(heights, widths, between))
        for at, r in enumerate(between):
            block = prod(heights[: at + 1]), prod(widths[at + 1 :])
            if r > min(block):
                raise ValueError(f"ranks: expected at most {min(block)} at junction {at}, of blocks {block}, got {r}")
        super().__init__(chain, chain.shape, bias, rng, dtype)

    @classmethod
    def _like(cls, shape: tuple[int, int], *how: Any, **named: Any) -> Self:
        return cls(*how, **named)


def checked_digits(rows: Any, columns: Any, ranks: Any) -> tuple[list[int], list[int], list[int]]:
    """Return sizes of digits, and a rank for each junction, all positive."""
    heights, widths = (
        [as_count(size, name) for size in sizes] for sizes, name in ((rows, "rows"), (columns, "columns"))
    )
    if not heights or len(widths) != len(heights) or min(*heights, *widths) < 1:
        raise ValueError(f"rows, columns: expected as many positive sizes of both, got {heights} and {widths}")
    given = ranks if isinstance(ranks, Sequence) else [ranks] * (len(heights) - 1)
    between = [as_count(rank, "ranks") for rank in given]
    if len(between) != len(heights) - 1 or min(between, default=1) < 1:
        raise ValueError(f"ranks: expected a positive integer, or {len(heights) - 1} of them, got {ranks!r}")
    return heights, widths, between
