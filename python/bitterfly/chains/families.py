"""Rules of patterns (a, b, c, d), and families of them: radices of rows and columns, and ranks, to patterns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from math import isqrt, prod
from operator import index
from typing import Any

Pattern = tuple[int, int, int, int]
_SMOOTH = 7  # largest prime factor that is not padded away


def as_pattern(pattern: Iterable[int], at: int) -> Pattern:
    """Return the pattern number `at` as a tuple, else raise a TypeError or ValueError."""
    try:
        numbers = tuple(index(x) for x in pattern)
    except TypeError:
        raise TypeError(f"patterns[{at}]: expected four integers (a, b, c, d), got {pattern!r}") from None
    if len(numbers) != 4 or min(numbers) < 1:
        raise ValueError(f"patterns[{at}]: expected four positive integers (a, b, c, d), got {numbers}")
    return numbers


def require_chainable(left: Pattern, right: Pattern, at: int) -> None:
    """Raise a ValueError where the product of the patterns `at` and `at` + 1 is not defined."""
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


def factor_digits(chain: Sequence[Pattern], at: int) -> tuple[tuple[int, ...], ...]:
    """Return the radices of the indices (i, j, k, t) of factor `at`, most significant first.

    >>> factor_digits([(1, 2, 2, 4), (2, 2, 2, 2), (4, 2, 2, 1)], 1)
    ((1, 2), (1, 2), (2, 1), (2, 1))
    """
    a, b, c, d = zip(*chain, strict=True)
    ranks = [left[0] * left[2] // right[0] for left, right in pairwise(chain)]
    i = (a[0], *(c[k] // ranks[k] for k in range(at)))
    t = (*(d[k] // d[k + 1] for k in range(at, len(chain) - 1)), d[-1])
    rows = (b[0],) if at == 0 else (ranks[at - 1], d[at - 1] // d[at])
    columns = (c[-1],) if at == len(chain) - 1 else (c[at] // ranks[at], ranks[at])
    return i, rows, columns, t


def without_ones(digits: tuple[int, ...]) -> tuple[int, ...]:
    """Return the radices above one, at least one radix."""
    return tuple(x for x in digits if x > 1) or (1,)


def square_dyadic(n: int) -> list[Pattern]:
    """Return the patterns (2^(l-1), 2, 2, n / 2^l)."""
    if n < 2 or n & (n - 1):
        raise ValueError(f"n: expected a power of two, at least 2, got {n}")
    return [(1 << (level - 1), 2, 2, n >> level) for level in range(1, n.bit_length())]


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
    p, q = (_middle_divisor(m), _middle_divisor(n)) if blocks is None else _pair(blocks, "blocks")
    if p < 1 or q < 1 or m % p or n % q:
        raise ValueError(f"blocks: expected divisors of {m} and {n}, got {(p, q)}")
    _check_rank(rank, (m // p, n // q), 0)
    return [(1, m // p, q * rank, p), (q, p * rank, n // q, 1)]


def deformable(shape: tuple[int, int], blocks: Sequence[tuple[int, int]]) -> list[Pattern]:
    """Return the rank-one patterns (q_1 .. q_(l-1), p_l, q_l, p_(l+1) .. p_L) of blocks (p_l, q_l)."""
    pairs = [_pair(pair, f"blocks[{at}]") for at, pair in enumerate(blocks)]
    rows, columns = [p for p, _ in pairs], [q for _, q in pairs]
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
    ranks = _junction_ranks(rank, [(leaf << at, n // (groups << at)) for at in range(levels)])
    columns = [groups, *[2] * (levels - 1), n // (groups << (levels - 1))]
    return patterns([leaf, *[2] * levels], columns, ranks)


def for_shape(shape: tuple[int, int], rank: int) -> list[Pattern]:
    """Return the patterns of the prime factors of both sides, the shorter list filled up with ones."""
    if rank < 1:
        raise ValueError(f"rank: expected at least 1, got {rank}")
    rows, columns = (primes(smooth(size)) for size in sizes(shape))
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
    m, n = _pair(shape, "shape")
    if m < 1 or n < 1:
        raise ValueError(f"shape: expected positive sizes, got {(m, n)}")
    return m, n


def _pair(pair: Any, name: str) -> tuple[int, int]:
    try:
        numbers = tuple(index(x) for x in pair)
    except TypeError:
        raise TypeError(f"{name}: expected two integers, got {pair!r}") from None
    if len(numbers) != 2:
        raise ValueError(f"{name}: expected two integers, got {numbers}")
    return numbers


def _junction_ranks(rank: int | Sequence[int], blocks: Sequence[tuple[int, int]]) -> list[int]:
    """Return a rank for each junction, of blocks (rows, columns); a single one is lowered to what fits."""
    if not isinstance(rank, Iterable):
        middle = max(range(len(blocks)), key=lambda at: min(blocks[at]))
        _check_rank(index(rank), blocks[middle], middle)
        return [min(index(rank), *block) for block in blocks]
    ranks = [index(r) for r in rank]
    if len(ranks) != len(blocks):
        raise ValueError(f"rank: expected {len(blocks)} of them, one a junction, got {len(ranks)}")
    for at, (r, block) in enumerate(zip(ranks, blocks, strict=True)):
        _check_rank(r, block, at)
    return ranks


def _check_rank(rank: int, block: tuple[int, int], junction: int) -> None:
    if not 1 <= rank <= min(block):
        raise ValueError(
            f"rank: expected 1 to {min(block)} at junction {junction}, whose blocks are {block[0]} x {block[1]}, "
            f"got {rank}"
        )


def _middle_divisor(n: int) -> int:
    return next(p for p in range(isqrt(n), 0, -1) if n % p == 0)


@cache
def smooth(n: int) -> int:
    """Return the least size from `n` on without prime factors above 7."""
    while not _is_smooth(n):
        n += 1
    return n


def _is_smooth(n: int) -> bool:
    for p in range(2, _SMOOTH + 1):
        while n % p == 0:
            n //= p
    return n == 1


def primes(n: int) -> list[int]:
    """Return the prime factors of `n`, ascending."""
    out, p = [], 2
    while p * p <= n:
        while n % p == 0:
            out.append(p)
            n //= p
        p += 1
    return out + [n] * (n > 1)
