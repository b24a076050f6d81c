"""Chains: their rules, digits, products and transposes, and the messages where rules are broken."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitterfly import Chain, ordering, reference
from bitterfly.chains import families

small = st.integers(1, 3)


@st.composite
def chains(draw: st.DrawFn, most: int = 4) -> Chain:
    """Any chain of up to `most` factors: its digits and ranks say all."""
    count = draw(st.integers(1, most))
    rows, columns = (draw(st.lists(small, min_size=count, max_size=count)) for _ in range(2))
    ranks = draw(st.lists(small, min_size=count - 1, max_size=count - 1))
    return Chain(families.patterns(rows, columns, ranks, draw(small), draw(small)))


def integer_factors(chain: Chain, seed: int) -> list[np.ndarray]:
    """Factors whose products are exact in double precision: at most 4 factors of entries up to 3, sums of up to 81."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 4, p).astype(float) for p in chain]


@pytest.mark.parametrize("n", [2, 4, 1024, 2**20])
def test_square_dyadic(n: int) -> None:
    chain = Chain.square_dyadic(n)
    p = n.bit_length() - 1
    assert list(chain) == [(2 ** (level - 1), 2, 2, n // 2**level) for level in range(1, p + 1)]
    assert len(chain) == p and chain[0] == chain.patterns[0]
    assert chain.shape == (n, n)
    assert chain.ranks == (1,) * (p - 1)
    assert chain.is_square_dyadic
    assert chain == chain.T


@pytest.mark.parametrize("n", [-4, 0, 1, 3, 12])
def test_square_dyadic_refuses_other_sizes(n: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Chain.square_dyadic(n)


def test_square_dyadic_refuses_floats() -> None:
    with pytest.raises(TypeError):
        Chain.square_dyadic(8.0)  # type: ignore[arg-type]


def test_equality_and_hash() -> None:
    chain = Chain.square_dyadic(8)
    same = Chain([(1, 2, 2, 4), [2, 2, 2, 2], np.array([4, 2, 2, 1])])
    assert chain == same and hash(chain) == hash(same) and {chain: 1}[same] == 1
    assert chain != Chain.square_dyadic(16)
    assert chain != chain.patterns


def test_transpose_of_a_rectangular_chain() -> None:
    chain = Chain([(1, 3, 4, 6), (2, 4, 5, 3), (10, 3, 7, 1)])
    assert chain.shape == (18, 70)
    assert chain.ranks == (2, 1)
    assert Chain([(1, 7, 3, 10), (3, 5, 4, 2), (6, 4, 3, 1)]) == chain.T
    assert chain.T.shape == chain.shape[::-1]
    assert chain.T.ranks == chain.ranks[::-1]
    assert chain == chain.T.T
    assert not chain.is_square_dyadic


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        ((1, 2, 2, 2), (1, 2, 2, 4), "4 columns, the right one 8 rows"),
        ((2, 2, 3, 2), (3, 2, 2, 2), "a = 2 does not divide a = 3"),
        ((1, 2, 2, 3), (1, 3, 2, 2), "d = 2 on the right does not divide d = 3"),
        ((1, 2, 2, 6), (4, 3, 2, 1), "junction rank 1 [*] 2 / 4 is not an integer"),
    ],
)
def test_pairs_that_are_not_chainable(left: tuple[int, ...], right: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=rf"patterns\[0\].*patterns\[1\].*{reason}"):
        Chain([left, right])


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        ([], ValueError, "at least one"),
        ([(1, 2, 2)], ValueError, r"patterns\[0\]: expected four"),
        ([(1, 2, 2, 0)], ValueError, "positive"),
        ([(1, 2, 2, 1), (2, -2, 2, 1)], ValueError, r"patterns\[1\]"),
        ([(1, 2, 2.0, 1)], TypeError, "four integers"),
        ([3], TypeError, "four integers"),
    ],
)
def test_malformed_patterns(patterns: list[tuple[int, ...]], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Chain(patterns)


def test_immutable_and_copyable() -> None:
    chain = Chain.square_dyadic(4)
    with pytest.raises(AttributeError, match="immutable"):
        chain._patterns = ()
    with pytest.raises(AttributeError, match="immutable"):
        del chain._patterns
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert copy.deepcopy(chain) == chain


@given(chains() | st.sampled_from([Chain.square_dyadic(2), Chain.square_dyadic(64)]))
def test_repr_evaluates_to_the_chain(chain: Chain) -> None:
    assert eval(repr(chain), {"Chain": Chain}) == chain


def test_repr_of_numpy_integers_is_plain() -> None:
    assert repr(Chain(np.array([[1, 4, 16, 64]]))) == "Chain([(1, 4, 16, 64)])"
    assert repr(Chain.square_dyadic(8)) == "Chain.square_dyadic(8)"


def test_html_lists_patterns_ranks_and_entries() -> None:
    html = Chain([(1, 50, 60, 6), (30, 12, 7, 1)])._repr_html_()
    assert html.startswith("<table>") and html.endswith("</table>") and html.count("<tr>") == 3
    assert "<tr><td>(1, 50, 60, 6)</td><td>2</td><td>18,000</td></tr>" in html
    assert "<tr><td>(30, 12, 7, 1)</td><td></td><td>2,520</td></tr>" in html


@given(chains())
def test_digits_multiply_to_the_sizes(chain: Chain) -> None:
    assert (prod(chain.row_digits), prod(chain.column_digits)) == chain.shape
    for digits in (chain.row_digits, chain.column_digits):
        assert digits == (1,) or min(digits) > 1
    for at, pattern in enumerate(chain):
        a, b, c, d = pattern
        assert tuple(map(prod, chain.factor_digits(at))) == (a, b, c, d)
        assert chain.factor_digits(at - len(chain)) == chain.factor_digits(at)


def test_digits_of_a_chain() -> None:
    chain = Chain([(1, 3, 4, 6), (2, 4, 5, 3), (10, 3, 7, 1)])
    assert chain.row_digits == (3, 2, 3)
    assert chain.column_digits == (2, 5, 7)
    assert chain.factor_digits(1) == ((1, 2), (2, 2), (5, 1), (3, 1))
    assert Chain([(1, 1, 1, 1)]).row_digits == (1,)
    with pytest.raises(IndexError):
        chain.factor_digits(3)


@given(chains())
def test_neighbours_read_the_index_between_them_alike(chain: Chain) -> None:
    """The column digits of a factor and the row digits of the next are cuts of the same index."""
    for at, (left, right) in enumerate(pairwise(chain)):
        i, _, k, t = chain.factor_digits(at)
        next_i, next_j, _, next_t = chain.factor_digits(at + 1)
        assert next_i + next_j + next_t == i + k + t
        assert left[0] * left[2] * left[3] == right[0] * right[1] * right[3]


@given(chains(), st.integers(0, 2**32 - 1))
def test_transposed_factors_make_the_transposed_chain(chain: Chain, seed: int) -> None:
    """With the digits of both sides reversed, the transposed matrix is a product over `chain.T`."""
    factors = integer_factors(chain, seed)
    turned = []
    for at, v in enumerate(factors):
        orders = [ordering.digit_reversal(digits[::-1]) for digits in chain.factor_digits(at)]
        turned.append(v[np.ix_(*orders)].transpose(3, 2, 1, 0))
    turned.reverse()
    assert [f.shape for f in turned] == list(chain.T)
    rows = ordering.digit_reversal(chain.row_digits[::-1])
    columns = ordering.digit_reversal(chain.column_digits[::-1])
    a = reference.product(factors)
    assert np.array_equal(reference.product(turned), a[np.ix_(rows, columns)].T)
    assert chain.T.row_digits == chain.column_digits[::-1]
    assert chain.T.column_digits == chain.row_digits[::-1]


@given(chains(), st.integers(0, 2**32 - 1))
def test_pattern_is_the_support_of_the_product(chain: Chain, seed: int) -> None:
    a = reference.product(integer_factors(chain, seed))
    assert np.array_equal(a != 0, reference.dense_factor(np.ones(chain.pattern)) != 0)


@given(chains())
def test_entries_and_bytes(chain: Chain) -> None:
    factors = [np.ones(p, np.complex64) for p in chain]
    assert chain.nnz == sum(f.size for f in factors)
    assert chain.nbytes(np.complex64) == sum(f.nbytes for f in factors)
    assert chain.nbytes() == 8 * chain.nnz


def blocks_of_pair(w: np.ndarray, pair: Chain) -> np.ndarray:
    """The blocks (a1, d1/d2, d2, a2/a1, b1, c2) on which the junction of a pair acts, of values of its product."""
    (a1, b1, _, d1), (a2, _, c2, d2) = pair
    return w.reshape(a1, b1, d1 // d2, a2 // a1, c2, d2).transpose(0, 2, 5, 3, 1, 4)


def values_on(dense: np.ndarray, pattern: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = pattern
    return np.einsum("ijtikt->ijkt", dense.reshape(a, b, d, a, c, d))


def is_pair(chain: Chain) -> bool:
    return len(chain) == 2


pairs = chains(2).filter(is_pair)


@given(pairs, st.integers(0, 2**32 - 1))
def test_rank_of_the_blocks_of_a_pair(pair: Chain, seed: int) -> None:
    """Gaussian factors reach the junction rank, or the size of the block where it is redundant."""
    rng = np.random.default_rng(seed)
    product = reference.product([rng.standard_normal(p) for p in pair])
    blocks = blocks_of_pair(values_on(product, pair.pattern), pair)
    height, width = blocks.shape[-2:]
    assert np.all(np.linalg.matrix_rank(blocks, tol=1e-10) == min(*pair.ranks, height, width))
    assert pair.is_redundant is (pair.ranks[0] >= min(height, width))


@given(pairs.filter(lambda pair: pair.is_redundant), st.integers(0, 2**32 - 1))
def test_redundant_pairs_hold_any_matrix_of_their_pattern(pair: Chain, seed: int) -> None:
    w = np.random.default_rng(seed).integers(1, 9, pair.pattern).astype(float)
    blocks, (r,) = blocks_of_pair(w, pair), pair.ranks
    height, width = blocks.shape[-2:]
    room = [(0, 0)] * 4
    if height <= r:
        u = np.broadcast_to(np.eye(height, r), (*blocks.shape[:4], height, r))
        v = np.pad(blocks, [*room, (0, r - height), (0, 0)])
    else:
        u = np.pad(blocks, [*room, (0, 0), (0, r - width)])
        v = np.broadcast_to(np.eye(r, width), (*blocks.shape[:4], r, width))
    left = u.transpose(0, 4, 3, 5, 1, 2).reshape(pair[0])
    right = v.transpose(0, 3, 4, 1, 5, 2).reshape(pair[1])
    assert np.array_equal(reference.product([left, right]), reference.dense_factor(w))
    assert list(pair.merged()) == [pair.pattern]


@given(chains())
def test_merged_chain_is_no_larger(chain: Chain) -> None:
    merged = chain.merged()
    assert not merged.is_redundant and merged.merged() == merged
    assert (merged.shape, merged.pattern) == (chain.shape, chain.pattern)
    assert merged.nnz <= chain.nnz
    assert (merged == chain) is not chain.is_redundant


def holds_everything(chain: Chain, shape: tuple[int, int]) -> bool:
    """Whether every entry of a matrix of this shape lies in the support of the product."""
    return chain.shape == shape and chain.pattern == (1, *shape, 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (7, 7), (12, 20), (13, 64), (1024, 256)])
def test_monarch(shape: tuple[int, int]) -> None:
    chain = Chain.monarch(shape)
    (_, height, _, p), (q, _, width, _) = chain
    assert holds_everything(chain, shape) and chain.ranks == (1,)
    assert (height * p, q * width) == shape and p <= height and q <= width


def test_monarch_of_given_blocks() -> None:
    assert list(Chain.monarch((12, 20), (6, 2), 2)) == [(1, 2, 4, 6), (2, 12, 10, 1)]
    assert list(Chain.monarch((64, 64))) == [(1, 8, 8, 8), (8, 8, 8, 1)]
    assert Chain.monarch((12, 20), (3, 4), 4).is_redundant  # blocks of 4 x 5
    assert not Chain.monarch((12, 20), (3, 4), 3).is_redundant


def test_deformable() -> None:
    chain = Chain.deformable((24, 30), [(2, 5), (3, 1), (4, 6)])
    assert list(chain) == [(1, 2, 5, 12), (5, 3, 1, 4), (5, 4, 6, 1)]
    assert holds_everything(chain, (24, 30)) and chain.ranks == (1, 1)
    assert Chain.deformable((64, 64), [(2, 2)] * 6) == Chain.square_dyadic(64)


def test_butterfly_is_the_general_dyadic_family() -> None:
    m, n, leaf, groups, r = 64, 96, 4, 3, (3, 4, 5, 2)
    chain = Chain.butterfly((m, n), rank=r, leaf=leaf, groups=groups)
    expected = [(1, leaf, groups * r[0], m // leaf)]
    for at in range(2, 5):
        a, d = groups * 2 ** (at - 2), m // (leaf * 2 ** (at - 1))
        expected.append((a, 2 * r[at - 2], 2 * r[at - 1], d))
    expected.append((groups * 8, 2 * r[-1], n // (groups * 8), 1))
    assert list(chain) == expected
    assert holds_everything(chain, (m, n)) and chain.ranks == r


@pytest.mark.parametrize("n", [2, 8, 256])
def test_butterfly_of_smallest_blocks_is_square_dyadic(n: int) -> None:
    assert Chain.butterfly((2 * n, 2 * n), rank=1, leaf=2, groups=2) == Chain.square_dyadic(2 * n)
    assert Chain.butterfly((n, n), rank=(), leaf=n, groups=2) == Chain([(1, n, n, 1)])
    assert Chain.butterfly((n, 5), rank=7, leaf=n, groups=3) == Chain([(1, n, 5, 1)])


def test_a_single_rank_is_lowered_where_blocks_are_smaller() -> None:
    """Blocks of 4 x 16, 8 x 8, 16 x 4 and 32 x 2."""
    same = {"leaf": 4, "groups": 4}
    assert Chain.butterfly((64, 64), rank=6, **same).ranks == (4, 6, 4, 2)
    assert Chain.butterfly((64, 64), rank=np.int64(2), **same).ranks == (2, 2, 2, 2)
    assert Chain.butterfly((64, 64), rank=np.array([1, 2, 3, 1]), **same).ranks == (1, 2, 3, 1)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 8), (8, 1), (7, 7), (12, 20), (100, 3), (49, 64), (11, 13), (97, 1021), (1000, 331)]
)
@pytest.mark.parametrize("rank", [1, 3])
def test_for_shape(shape: tuple[int, int], rank: int) -> None:
    chain = Chain.for_shape(shape, rank=rank)
    assert holds_everything(chain, chain.shape)
    for size, padded, digits in zip(shape, chain.shape, (chain.row_digits, chain.column_digits), strict=True):
        assert set(digits) <= {1, 2, 3, 5, 7}
        assert padded == next(k for k in range(size, 2 * size + 1) if is_smooth(k))
    assert all(r == 1 for r in chain.ranks) if rank == 1 else all(1 <= r <= rank for r in chain.ranks)


def is_smooth(n: int) -> bool:
    """Whether n divides a high power of 2 * 3 * 5 * 7."""
    return 210**16 % n == 0


def test_for_shape_of_powers_of_two_is_square_dyadic() -> None:
    assert Chain.for_shape((64, 64)) == Chain.square_dyadic(64)
    assert list(Chain.for_shape((6, 4))) == [(1, 2, 2, 3), (2, 3, 2, 1)]
    assert list(Chain.for_shape((7, 7))) == [(1, 7, 7, 1)]
    assert Chain.for_shape((64, 64), rank=4).ranks == (2, 4, 4, 4, 2)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (lambda: Chain.monarch((12, 20), (5, 4)), r"divisors of 12 and 20, got \(5, 4\)"),
        (lambda: Chain.monarch((12, 20), (0, 4)), "blocks: expected divisors"),
        (lambda: Chain.monarch((12, 20), (3,)), r"blocks: expected two integers, got \(3,\)"),
        (lambda: Chain.monarch((12, 20), (3, 4), 5), "rank: expected 1 to 4 at junction 0.*4 x 5, got 5"),
        (lambda: Chain.monarch((0, 20)), r"shape: expected positive sizes, got \(0, 20\)"),
        (lambda: Chain.deformable((12, 20), [(3, 4), (4, 4)]), r"whose products are \(12, 20\)"),
        (lambda: Chain.deformable((4, 4), [(-2, 2), (-2, 2)]), "positive pairs"),
        (lambda: Chain.deformable((4, 4), []), r"got \[\]"),
        (lambda: Chain.deformable((4, 4), [(2, 2, 1)]), r"blocks\[0\]: expected two integers"),
        (lambda: Chain.butterfly((48, 32), rank=1, leaf=4, groups=2), "leaf: expected 48 over a power of two, got 4"),
        (lambda: Chain.butterfly((48, 32), rank=1, leaf=0, groups=2), "leaf: .*got 0"),
        (lambda: Chain.butterfly((48, 30), rank=1, leaf=6, groups=3), r"multiple of groups [*] 4, got groups=3"),
        (lambda: Chain.butterfly((32, 32), rank=(2, 2), leaf=4, groups=2), "expected 3 of them.*got 2"),
        (lambda: Chain.butterfly((32, 32), rank=(2, 9, 2), leaf=4, groups=2), "1 to 8 at junction 1.*8 x 8, got 9"),
        (lambda: Chain.butterfly((32, 32), rank=(2, 2, 0), leaf=4, groups=2), "1 to 4 at junction 2.*16 x 4, got 0"),
        (lambda: Chain.butterfly((32, 32), rank=9, leaf=4, groups=2), "1 to 8 at junction 1.*got 9"),
        (lambda: Chain.for_shape((4, 4), rank=0), "rank: expected at least 1, got 0"),
        (lambda: Chain.for_shape((4, -1)), r"positive sizes, got \(4, -1\)"),
        (lambda: Chain.for_shape((4,)), r"shape: expected two integers, got \(4,\)"),
    ],
)
def test_families_say_what_does_not_fit(family: Callable[[], Chain], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        family()


@pytest.mark.parametrize("shape", [(4.0, 4), 4, ("a", "b")])
def test_shapes_are_integers(shape: Any) -> None:
    for family in (Chain.monarch, Chain.for_shape):
        with pytest.raises(TypeError, match="shape: expected two integers"):
            family(shape)


def test_square_dyadic_has_nothing_to_merge() -> None:
    assert not Chain.square_dyadic(1024).is_redundant
    assert Chain([(1, 2, 4, 2), (2, 4, 2, 1)]).merged() == Chain([(1, 4, 4, 1)])
