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

from bitterfly import families
from bitterfly.families import Pattern


class Chain:
    """The sparsity patterns of a product of Kronecker-sparse factors.

    A pattern ``(a, b, c, d)`` is the support ``I_a (x) 1_{b x c} (x) I_d`` of a factor of shape
    ``(a*b*d, a*c*d)``. The factor's values are a 4-D array ``v[i, j, k, t]``, at row ``i*b*d + j*d
    + t`` and column ``i*c*d + k*d + t``.

    Parameters
    ----------
    patterns : iterable of (a, b, c, d)
        Positive integers, one pattern a factor, from left to right.

    Raises
    ------
    ValueError
        Where two neighbours are not chainable; the message says which, and why.

    Notes
    -----
    Neighbours ``(a1, b1, c1, d1)`` and ``(a2, b2, c2, d2)`` are chainable when ``a1`` divides
    ``a2``, ``d2`` divides ``d1``, and ``r = a1*c1 / a2 = b2*d2 / d1`` is an integer, the rank of
    their junction (Zheng, Riccietti and Gribonval, *Butterfly factorization with error guarantees*,
    2024). Chains are immutable, compare by their patterns and can be keys of a dict.

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
        checked = tuple(_as_pattern(p, at) for at, p in enumerate(patterns))
        if not checked:
            raise ValueError("patterns: expected at least one")
        for at, (left, right) in enumerate(pairwise(checked)):
            _require_chainable(left, right, at)
        object.__setattr__(self, "_patterns", checked)

    @classmethod
    def square_dyadic(cls, n: int) -> Chain:
        """Return the chain ``(2**(l-1), 2, 2, n / 2**l)``, ``l = 1 .. log2(n)``, of size `n`.

        Raises
        ------
        ValueError
            Where `n` is not a power of two, at least 2.
        """
        n = index(n)
        if n < 2 or n & (n - 1):
            raise ValueError(f"n: expected a power of two, at least 2, got {n}")
        levels = range(1, n.bit_length())
        return cls((1 << (level - 1), 2, 2, n >> level) for level in levels)

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
        """
        return cls(families.monarch(shape, blocks, index(rank)))

    @classmethod
    def deformable(cls, shape: tuple[int, int], blocks: Sequence[tuple[int, int]]) -> Chain:
        """Return the rank-one chain of blocks (p_l, q_l): ``(q_1..q_(l-1), p_l, q_l, p_(l+1)..p_L)``.

        Raises
        ------
        ValueError
            Where the products of the p and of the q are not the shape.
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
            Ranks of the junctions.
        leaf, groups : int
            Rows of the smallest blocks, column groups of the first factor.

        Raises
        ------
        ValueError
            Where sizes do not divide, or a rank is larger than the blocks of its junction (says which).
        """
        return cls(families.butterfly(shape, rank, leaf, groups))

    @classmethod
    def for_shape(cls, shape: tuple[int, int], *, rank: int = 1) -> Chain:
        """Return the chain of the prime factors of an m x n matrix.

        A side with a prime factor above 7 is padded to the next size without: then ``chain.shape`` is larger than
        `shape`, and factors hold, and count, the padding.

        Raises
        ------
        ValueError
            Where a size is not positive.
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

        It has the same products (Le, Zheng, Riccietti and Gribonval, 2024, on redundant pairs).
        """
        return Chain(families.merged(self._patterns))

    def nbytes(self, dtype: npt.DTypeLike = float) -> int:
        """Bytes of float factors of this dtype."""
        return self.nnz * np.dtype(dtype).itemsize

    @property
    def nnz(self) -> int:
        """Numbers in all factors."""
        return sum(map(prod, self._patterns))

    @property
    def row_digits(self) -> tuple[int, ...]:
        """Radices of the row index of the product, most significant first; ones are left out."""
        i, j, _, t = self.factor_digits(0)
        return _without_ones(i + j + t)

    @property
    def column_digits(self) -> tuple[int, ...]:
        """Radices of the column index of the product, most significant first; ones are left out."""
        i, _, k, t = self.factor_digits(len(self) - 1)
        return _without_ones(i + k + t)

    def factor_digits(self, at: int) -> tuple[tuple[int, ...], ...]:
        """Radices of the indices (i, j, k, t) of factor `at`, most significant first.

        Reading all of them backwards turns the transposed factors, in reversed order, into a chain.
        """
        patterns, ranks = self._patterns, self.ranks
        at = range(len(patterns))[at]
        a, b, c, d = zip(*patterns, strict=True)
        i = (a[0], *(c[k] // ranks[k] for k in range(at)))
        t = (*(d[k] // d[k + 1] for k in range(at, len(patterns) - 1)), d[-1])
        rows = (b[0],) if at == 0 else (ranks[at - 1], d[at - 1] // d[at])
        columns = (c[-1],) if at == len(patterns) - 1 else (c[at] // ranks[at], ranks[at])
        return i, rows, columns, t

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
        rows = "".join(
            f"<tr><td>{pattern}</td><td>{rank}</td><td>{prod(pattern):,}</td></tr>"
            for pattern, rank in zip(self._patterns, (*self.ranks, ""), strict=True)
        )
        head = "<tr><th>pattern (a, b, c, d)</th><th>rank</th><th>entries</th></tr>"
        return f"<table><caption>Chain of shape {self.shape}</caption>{head}{rows}</table>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Chain, (self._patterns,)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Chain is immutable, cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Chain is immutable, cannot delete {name}")


def _without_ones(digits: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x for x in digits if x > 1) or (1,)


def _as_pattern(pattern: Iterable[int], at: int) -> Pattern:
    try:
        numbers = tuple(index(x) for x in pattern)
    except TypeError:
        raise TypeError(f"patterns[{at}]: expected four integers (a, b, c, d), got {pattern!r}") from None
    if len(numbers) != 4 or min(numbers) < 1:
        raise ValueError(f"patterns[{at}]: expected four positive integers (a, b, c, d), got {numbers}")
    return numbers


def _require_chainable(left: Pattern, right: Pattern, at: int) -> None:
    reason = _obstacle(left, right)
    if reason is not None:
        raise ValueError(f"patterns[{at}] = {left} and patterns[{at + 1}] = {right} are not chainable: {reason}")


def _obstacle(left: Pattern, right: Pattern) -> str | None:
    """Say why two patterns are not chainable; None where they are."""
    (a1, _, c1, d1), (a2, b2, _, d2) = left, right
    columns, rows = a1 * c1 * d1, a2 * b2 * d2
    if columns != rows:
        return f"the left factor has {columns} columns, the right one {rows} rows"
    if a2 % a1:
        return f"a = {a1} does not divide a = {a2}"
    if d1 % d2:
        return f"d = {d2} on the right does not divide d = {d1} on the left"
    if a1 * c1 % a2:
        return f"the junction rank {a1} * {c1} / {a2} is not an integer"
    return None
