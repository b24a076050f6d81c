"""Chains of sparsity patterns (a, b, c, d): which products are defined, and of which shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import pairwise
from math import prod
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from bitterfly.chains import families
from bitterfly.chains.families import Pattern


class Chain:
    """The sparsity patterns of a product of Kronecker-sparse factors.

    A pattern ``(a, b, c, d)`` is the support ``I_a (x) 1_{b x c} (x) I_d`` of a factor of shape ``(a*b*d, a*c*d)``. The
    factor's values are a 4-D array ``v[i, j, k, t]``, at row ``i*b*d + j*d + t`` and column ``i*c*d + k*d + t``.

    Parameters
    ----------
    patterns : iterable of (a, b, c, d)
        Positive integers, one pattern a factor, from left to right.

    Raises
    ------
    ValueError
        Where two neighbours are not chainable; the message says which, and why.
    TypeError
        Where a pattern is not of integers.

    Notes
    -----
    Neighbours ``(a1, b1, c1, d1)`` and ``(a2, b2, c2, d2)`` are chainable when ``a1`` divides ``a2``, ``d2`` divides
    ``d1``, and ``r = a1*c1 / a2 = b2*d2 / d1`` is an integer, the rank of their junction (Le, Zheng, Riccietti and
    Gribonval, *Butterfly factorization with error guarantees*, 2024). Chains are immutable, compare by their patterns
    and can be keys of a dict.

    Examples
    --------
    >>> chain = Chain.square_dyadic(8)
    >>> list(chain)
    [(1, 2, 2, 4), (2, 2, 2, 2), (4, 2, 2, 1)]
    >>> chain.shape, chain.ranks
    ((8, 8), (1, 1))
    """

    __slots__ = ("_patterns",)
    _patterns: tuple[Pattern, ...]

    def __init__(self, patterns: Iterable[Iterable[int]]) -> None:
        checked = tuple(families.as_pattern(p, at) for at, p in enumerate(patterns))
        if not checked:
            raise ValueError("patterns: expected at least one")
        for at, (left, right) in enumerate(pairwise(checked)):
            families.require_chainable(left, right, at)
        object.__setattr__(self, "_patterns", checked)

    @classmethod
    def square_dyadic(cls, n: int) -> Chain:
        """Return the chain ``(2**(l-1), 2, 2, n / 2**l)``, ``l = 1 .. log2(n)``.

        Parameters
        ----------
        n : int
            Size of both sides, a power of two.

        Raises
        ------
        ValueError
            Where `n` is not a power of two, at least 2.
        """
        return cls(families.square_dyadic(index(n)))

    @classmethod
    def monarch(cls, shape: tuple[int, int], blocks: tuple[int, int] | None = None, rank: int = 1) -> Chain:
        """Return two factors for an m x n matrix: ``(1, m/p, q*rank, p), (q, p*rank, n/q, 1)``.

        Parameters
        ----------
        shape : (m, n)
            Any sizes.
        blocks : (p, q), optional
            Residue classes of rows and runs of columns; default: the divisors nearest below the square roots.
        rank : int
            Of the p * q blocks, at most ``min(m/p, n/q)``.

        Raises
        ------
        ValueError
            Where `blocks` do not divide the shape, or the rank is larger than the blocks.

        Notes
        -----
        Dao et al., *Monarch: Expressive structured matrices* (2022). With two factors, the left-to-right factorization
        is the best approximation in the Frobenius norm: the blocks are independent.

        Examples
        --------
        >>> Chain.monarch((12, 20), rank=2)
        Chain([(1, 4, 8, 3), (4, 6, 5, 1)])
        """
        return cls(families.monarch(shape, blocks, index(rank)))

    @classmethod
    def deformable(cls, shape: tuple[int, int], blocks: Sequence[tuple[int, int]]) -> Chain:
        """Return the rank-one chain ``(q_1 * .. * q_(l-1), p_l, q_l, p_(l+1) * .. * p_L)``, ``l = 1 .. L``.

        Parameters
        ----------
        shape : (m, n)
            The products of all p and of all q.
        blocks : sequence of (p_l, q_l)
            Digits of rows and columns.

        Raises
        ------
        ValueError
            Where the products of the p and of the q are not the shape.

        Notes
        -----
        Lin et al., *Deformable butterfly: A highly structured and sparse linear transform* (2021).

        Examples
        --------
        >>> Chain.deformable((6, 20), [(2, 4), (3, 5)])
        Chain([(1, 2, 4, 3), (4, 3, 5, 1)])
        """
        return cls(families.deformable(shape, blocks))

    @classmethod
    def butterfly(cls, shape: tuple[int, int], *, rank: int | Sequence[int], leaf: int, groups: int) -> Chain:
        """Return the general dyadic family for an m x n matrix.

        ``(1, leaf, groups*r_1, m/leaf)``, then ``(groups*2**(l-2), 2*r_(l-1), 2*r_l, m/(leaf*2**(l-1)))``, and last
        ``(groups*2**(L-2), 2*r_(L-1), n/(groups*2**(L-2)), 1)``.

        Parameters
        ----------
        shape : (m, n)
            `m` is `leaf` times a power of two, ``2**(L-1)``; `n` a multiple of ``groups * 2**(L-2)``.
        rank : int or sequence of L - 1 int
            Ranks of the junctions, whose blocks have ``leaf * 2**(l-1)`` rows and ``n / (groups * 2**(l-1))`` columns;
            a single one is lowered at junctions whose blocks are smaller, if it fits the largest.
        leaf, groups : int
            Rows of the smallest blocks, column groups of the first factor. A leaf of `m` gives one dense pattern.

        Raises
        ------
        ValueError
            Where sizes do not divide, or a rank is larger than the blocks of its junction (says which).

        Examples
        --------
        >>> Chain.butterfly((16, 16), rank=2, leaf=4, groups=4)
        Chain([(1, 4, 8, 4), (4, 4, 4, 2), (8, 4, 2, 1)])
        """
        return cls(families.butterfly(shape, rank, leaf, groups))

    @classmethod
    def for_shape(cls, shape: tuple[int, int], *, rank: int = 1) -> Chain:
        """Return the chain of the prime factors of an m x n matrix.

        A side with a prime factor above 7 is padded to the next size without: then ``chain.shape`` is larger than
        `shape`. `factorize` pads with zeros; factors hold, and count, the padding.

        Parameters
        ----------
        shape : (m, n)
            Any sizes.
        rank : int
            Of all junctions whose blocks are large enough, and of which the factor to the left can have as many.

        Raises
        ------
        ValueError
            Where a size or the rank is not positive.

        Examples
        --------
        >>> Chain.for_shape((6, 4)), Chain.for_shape((11, 1)).shape
        (Chain([(1, 2, 2, 3), (2, 3, 2, 1)]), (12, 1))
        """
        return cls(families.for_shape(shape, index(rank)))

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns, from left to right."""
        return self._patterns

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the product."""
        (a, b, _, d), (last_a, _, c, last_d) = self._patterns[0], self._patterns[-1]
        return a * b * d, last_a * c * last_d

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of each junction, one fewer than there are patterns."""
        return tuple(left[0] * left[2] // right[0] for left, right in pairwise(self._patterns))

    @property
    def T(self) -> Chain:
        """Chain of the transpose after digit reversal of both sides: reversed, ``(d, c, b, a)``."""
        return Chain((d, c, b, a) for a, b, c, d in reversed(self._patterns))

    @property
    def pattern(self) -> Pattern:
        """Pattern of the product of all factors."""
        return reduce(families.pair_product, self._patterns)

    @property
    def is_redundant(self) -> bool:
        """Whether some junction constrains nothing: its rank is that of any matrix on its blocks."""
        return any(families.is_redundant(*pair) for pair in pairwise(self._patterns))

    def merged(self) -> Chain:
        """Return the chain in which pairs with redundant junctions are replaced by their products.

        It has the same products, and no more entries (see "redundant" in Le, Zheng, Riccietti and Gribonval, 2024).

        Examples
        --------
        >>> Chain([(1, 2, 4, 2), (2, 4, 2, 1)]).merged()
        Chain([(1, 4, 4, 1)])
        """
        return Chain(families.merged(self._patterns))

    def nbytes(self, dtype: npt.DTypeLike = float) -> int:
        """Bytes of all factors with numbers of this dtype."""
        return self.nnz * np.dtype(dtype).itemsize

    @property
    def nnz(self) -> int:
        """Numbers in all factors."""
        return sum(map(prod, self._patterns))

    @property
    def row_digits(self) -> tuple[int, ...]:
        """Radices of the row index of the product, most significant first; ones are left out."""
        i, j, _, t = self.factor_digits(0)
        return families.without_ones(i + j + t)

    @property
    def column_digits(self) -> tuple[int, ...]:
        """Radices of the column index of the product, most significant first; ones are left out."""
        i, _, k, t = self.factor_digits(len(self) - 1)
        return families.without_ones(i + k + t)

    def factor_digits(self, at: int) -> tuple[tuple[int, ...], ...]:
        """Radices of the indices (i, j, k, t) of factor `at`, most significant first, ones included.

        Reading all of them backwards turns the transposed factors, in reversed order, into the chain `T`.
        """
        return families.factor_digits(self._patterns, range(len(self))[at])

    @property
    def is_square_dyadic(self) -> bool:
        """Whether this is ``Chain.square_dyadic(n)`` for some `n`."""
        count = len(self._patterns)
        return all(p == (1 << at, 2, 2, 1 << (count - 1 - at)) for at, p in enumerate(self._patterns))

    def __len__(self) -> int:
        return len(self._patterns)

    def __iter__(self) -> Iterator[Pattern]:
        return iter(self._patterns)

    def __getitem__(self, at: int) -> Pattern:
        return self._patterns[at]

    def __eq__(self, other: object) -> bool:
        return self._patterns == other._patterns if isinstance(other, Chain) else NotImplemented

    def __hash__(self) -> int:
        return hash((Chain, self._patterns))

    def __repr__(self) -> str:
        return f"Chain.square_dyadic({self.shape[0]})" if self.is_square_dyadic else f"Chain({list(self._patterns)})"

    def _repr_html_(self) -> str:
        lines = zip(self._patterns, (*self.ranks, ""), strict=True)
        rows = "".join(f"<tr><td>{p}</td><td>{rank}</td><td>{prod(p):,}</td></tr>" for p, rank in lines)
        head = "<tr><th>pattern (a, b, c, d)</th><th>rank</th><th>entries</th></tr>"
        return f"<table><caption>Chain of shape {self.shape}</caption>{head}{rows}</table>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Chain, (self._patterns,)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Chain is immutable, cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Chain is immutable, cannot delete {name}")
