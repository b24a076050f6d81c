"""Pack: round trips, the reference layout, and golden bytes that pin the format."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitterfly import _core, reference

SIZES = (2, 4, 16, 32, 64, 512, 1024)


def random_codes(n: int, d: int, bits: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**bits, (n // (2 * d), 2, d), dtype=np.uint64).astype(np.uint32)


@pytest.mark.parametrize("bits", range(1, 33))
@pytest.mark.parametrize("n", SIZES)
def test_round_trip(bits: int, n: int) -> None:
    for d in {1, max(n // 4, 1), n // 2}:
        codes = random_codes(n, d, bits, bits)
        words = _core.pack(codes, bits)
        assert words.size == _core.packed_words(n, bits)
        assert words.ctypes.data % 64 == 0
        np.testing.assert_array_equal(_core.unpack(words, n, d, bits), codes)


@given(st.integers(1, 32), st.sampled_from(SIZES[:-1]), st.data())
def test_against_the_reference(bits: int, n: int, data: st.DataObject) -> None:
    d = 2 ** data.draw(st.integers(0, n.bit_length() - 2))
    codes = random_codes(n, d, bits, data.draw(st.integers(0, 99)))
    words = _core.pack(codes, bits)
    np.testing.assert_array_equal(words, reference.pack(codes, bits))
    np.testing.assert_array_equal(codes, reference.unpack(words, n, d, bits))


def test_golden_words() -> None:
    """n = 8, d = 2, 3 bits: block beta = 2 i + t is lane beta; column 0 in bits 0-2, column 1 in bits 3-5."""
    codes = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 0]]], np.uint32)
    expected = np.zeros(16, np.uint32)
    expected[:4] = [1 | 3 << 3, 2 | 4 << 3, 5 | 7 << 3, 6 | 0 << 3]
    np.testing.assert_array_equal(_core.pack(codes, 3), expected)


def test_golden_bytes_across_words() -> None:
    """n = 512, d = 1, 7 bits: 32 codes a lane, of which some straddle two words."""
    codes = (np.arange(512, dtype=np.uint32) * 37 % 128).reshape(256, 2, 1)
    words = _core.pack(codes, 7)
    assert words.size == 7 * 16
    digest = hashlib.sha256(words.astype("<u4").tobytes()).hexdigest()
    assert digest == "24eea61ece5a7d66d0c69295c326f4dd24b6a45a3e89d9b01658f94821ebe26f"


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_bad_bits(bits: int) -> None:
    with pytest.raises(ValueError, match="1 to 32 bits"):
        _core.pack(np.zeros((1, 2, 1), np.uint32), bits)


def test_bad_words() -> None:
    with pytest.raises(ValueError, match="words: expected 16 words"):
        _core.unpack(np.zeros(15, np.uint32), 8, 2, 3)
