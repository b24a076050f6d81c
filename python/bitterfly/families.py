"""Families of chains: radices of rows and columns, and ranks, to patterns."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from operator import index

Pattern = tuple[int, int, int, int]
_SMOOTH = 7  # largest prime factor that is not padded away


def patterns(
    rows: Sequence[int], columns: Sequence[int], ranks: Sequence[int], a: int = 1, d: int = 1
) -> list[Pattern]:
    """Return the patterns whose factor l splits rows by ``rows[l]``, columns by ``columns[l]``."""
    out, d = [], d * prod(rows)
    for p, q, r, s in zip(rows, columns, (1, *ranks), (*ranks, 1), strict=True):
        d //= p
        out.append((a, r * p, q * s, d))
        a *= q
    return out


def monarch(shape: tuple[int, int], blocks: tuple[int, int] | None, rank: int) -> list[Pattern]:
    """Return the two patterns (1, m / p, q r, p), (q, p r, n / q, 1), blocks = (p, q)."""
    m, n = sizes(shape)
    p, q = (_middle_divisor(m), _middle_divisor(n)) if blocks is None else (index(x) for x in blocks)
    if p < 1 or q < 1 or m % p or n % q:
        raise ValueError(f"blocks: expected divisors of {m} and {n}, got {(p, q)}")
    _check_rank(rank, (m // p, n // q), 0)
    return [(1, m // p, q * rank, p), (q, p * rank, n // q, 1)]


def deformable(shape: tuple[int, int], blocks: Sequence[tuple[int, int]]) -> list[Pattern]:
    """Return the rank-one patterns (q_1 .. q_(l-1), p_l, q_l, p_(l+1) .. p_L) of blocks (p_l, q_l)."""
    rows, columns = [index(p) for p, _ in blocks], [index(q) for _, q in blocks]
    if not rows or (prod(rows), prod(columns)) != sizes(shape) or min(*rows, *columns) < 1:
        raise ValueError(f"blocks: expected positive pairs whose products are {tuple(shape)}, got {list(blocks)}")
    return patterns(rows, columns, [1] * (len(rows) - 1))


def butterfly(shape: tuple[int, int], rank: int | Sequence[int], leaf: int, groups: int) -> list[Pattern]:
    """Return the general dyadic family: rows leaf, 2, 2, ...; columns groups, 2, ..., 2, the rest."""
    m, n = sizes(shape)
    leaf, groups = index(leaf), index(groups)
    levels = (m // leaf).bit_length() - 1 if 0 < leaf <= m else -1
    if levels < 0 or leaf << levels != m:
        raise ValueError(f"leaf: expected {m} over a power of two, got {leaf}")
    if levels == 0:
        return [(1, m, n, 1)]
    if groups < 1 or n % (groups << (levels - 1)):
        raise ValueError(f"groups: expected {n} to be a multiple of groups * {1 << (levels - 1)}, got groups={groups}")
    ranks = [rank] * levels if isinstance(rank, int) else [index(r) for r in rank]
    if len(ranks) != levels:
        raise ValueError(f"rank: expected {levels} of them, one a junction, got {len(ranks)}")
    for at, r in enumerate(ranks):
        _check_rank(r, (leaf << at, n // (groups << at)), at)
    columns = [groups, *[2] * (levels - 1), n // (groups << (levels - 1))]
    return patterns([leaf, *[2] * levels], columns, ranks)


def for_shape(shape: tuple[int, int], rank: int) -> list[Pattern]:
    """Return the patterns of the prime factors of both sides, the shorter list filled up with ones."""
    rows, columns = (_primes(_smooth(size)) for size in sizes(shape))
    count = max(len(rows), len(columns), 1)
    rows, columns = rows + [1] * (count - len(rows)), columns + [1] * (count - len(columns))
    ranks: list[int] = []
    height, width = 1, prod(columns)
    for p, q in zip(rows[:-1], columns[:-1], strict=True):
        height, width = height * p, width // q
        ranks.append(min(rank, p * (ranks[-1] if ranks else 1), height, width))
    return patterns(rows, columns, ranks)


def merged(chain: Sequence[Pattern]) -> list[Pattern]:
    """Merge neighbours whose junction constrains nothing, until there are none.

    Behind a junction, the product of a pair is cut into blocks of `b` rows (of the left pattern) and `c` columns (of
    the right one); a junction rank of at least the smaller of the two leaves them free.
    """
    out = list(chain)
    at = 0
    while at + 1 < len(out):
        if is_redundant(out[at], out[at + 1]):
            out[at : at + 2] = [pair_product(out[at], out[at + 1])]
            at = max(at - 1, 0)
        else:
            at += 1
    return out


def is_redundant(left: Pattern, right: Pattern) -> bool:
    """Whether the product of a pair is any matrix of its pattern."""
    return left[0] * left[2] // right[0] >= min(left[1], right[2])


def pair_product(left: Pattern, right: Pattern) -> Pattern:
    """Return the pattern of the product of a chainable pair."""
    (a1, b1, _, d1), (a2, _, c2, d2) = left, right
    return a1, b1 * d1 // d2, a2 * c2 // a1, d2


def sizes(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the two sizes, else raise a ValueError."""
    m, n = (index(size) for size in shape)
    if m < 1 or n < 1:
        raise ValueError(f"shape: expected positive sizes, got {(m, n)}")
    return m, n


def _check_rank(rank: int, block: tuple[int, int], junction: int) -> None:
    if not 1 <= rank <= min(block):
        raise ValueError(
            f"rank: expected 1 to {min(block)} at junction {junction}, whose blocks are {block[0]} x {block[1]}, "
            f"got {rank}"
        )


def _middle_divisor(n: int) -> int:
    return next(p for p in range(isqrt(n), 0, -1) if n % p == 0)


def _smooth(n: int) -> int:
    """Return the least size from `n` on without prime factors above 7."""
    while max(_primes(n), default=1) > _SMOOTH:
        n += 1
    return n


def _primes(n: int) -> list[int]:
    out, p = [], 2
    while p * p <= n:
        while n % p == 0:
            out.append(p)
            n //= p
        p += 1
    return out + [n] * (n > 1)
