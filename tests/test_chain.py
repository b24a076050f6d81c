"""Chains and orderings: their rules, and the messages where rules are broken."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from bitterfly import Chain, ordering


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


@pytest.mark.parametrize("chain", [Chain.square_dyadic(8), Chain([(1, 3, 4, 6), (2, 4, 5, 3)])])
def test_repr_evaluates_to_the_chain(chain: Chain) -> None:
    assert eval(repr(chain), {"Chain": Chain}) == chain


@pytest.mark.parametrize("n", [1, 2, 8, 1024])
def test_bit_reversal(n: int) -> None:
    order = ordering.bit_reversal(n)
    width = n.bit_length() - 1
    expected = [int(f"{i:0{width}b}"[::-1], 2) if width else 0 for i in range(n)]
    assert order.dtype == np.intp
    assert order.tolist() == expected
    assert np.array_equal(order[order], np.arange(n))


@pytest.mark.parametrize("n", [-2, 0, 3])
def test_bit_reversal_refuses_other_sizes(n: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        ordering.bit_reversal(n)
