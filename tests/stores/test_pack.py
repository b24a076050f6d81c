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


def test_golden_words_of_full_width() -> None:
    """n = 2, d = 1, 32 bits: column 0 is word 0 of lane 0, column 1 the word a line further."""
    expected = np.zeros(32, np.uint32)
    expected[[0, 16]] = [0xDEADBEEF, 0x01234567]
    np.testing.assert_array_equal(_core.pack(np.array([[[0xDEADBEEF], [0x01234567]]], np.uint32), 32), expected)


def test_golden_words_of_two_groups() -> None:
    """n = 1024, d = 512, 1 bit: block 256 + 17 is the first lane but one of the second group, its second vector."""
    codes = np.zeros((1, 2, 512), np.uint32)
    codes[0, 1, 256 + 17] = 1
    expected = np.zeros(32, np.uint32)
    expected[16 + 1] = 1 << (2 * 1 + 1)
    np.testing.assert_array_equal(_core.pack(codes, 1), expected)


@pytest.mark.parametrize("bits", range(1, 33))
@pytest.mark.parametrize("n", [2, 8, 32, 64, 256, 512, 2048])
def test_sizes_are_those_of_the_format(bits: int, n: int) -> None:
    """A full group of 256 blocks takes `bits` lines of 16 words; a smaller factor the lines that its vectors need."""
    blocks = n // 2
    lines = bits * blocks // 256 if blocks >= 256 else -(-2 * -(-blocks // 16) * bits // 32)
    assert _core.packed_words(n, bits) == 16 * lines == reference.pack(np.zeros((1, 2, blocks)), bits).size


@pytest.mark.parametrize("bits", [1, 7, 31])
def test_unused_bits_are_zero(bits: int) -> None:
    codes = np.full((1, 2, 4), 2**bits - 1, np.uint32)
    used = sum(int(word).bit_count() for word in _core.pack(codes, bits))
    assert used == 8 * bits


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_bad_bits(bits: int) -> None:
    with pytest.raises(ValueError, match="1 to 32 bits"):
        _core.pack(np.zeros((1, 2, 1), np.uint32), bits)


def test_bad_words() -> None:
    with pytest.raises(ValueError, match="words: expected 16 words"):
        _core.unpack(np.zeros(15, np.uint32), 8, 2, 3)


@pytest.mark.parametrize("n", [2, 16, 32, 64, 128, 256, 512, 1024, 4096, 2**14])
def test_stream_holds_every_code_once(n: int) -> None:
    """Words to the order of the kernels and back; as many bits are set there."""
    p = n.bit_length() - 1
    codes = [("angle", 1 + (7 * level + 2) % 16) for level in range(p)]
    parts = [_core.pack(random_codes(n, n >> (level + 1), bits, level), bits) for level, (_, bits) in enumerate(codes)]
    words = np.concatenate(parts)
    stream = _core.reordered(codes, words, True)
    assert stream.size == words.size and stream.ctypes.data % 64 == 0
    np.testing.assert_array_equal(_core.reordered(codes, stream, False), words)
    assert sum(int(w).bit_count() for w in stream) == sum(int(w).bit_count() for w in words)


@pytest.mark.parametrize("n", [2, 16, 32, 256, 512, 4096])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_stream_holds_every_weight_once(n: int, dtype: type) -> None:
    p = n.bit_length() - 1
    values = np.arange(1, 2 * n * p + 1).reshape(p, 2 * n).astype(dtype) * (1 if dtype == np.float32 else 1 - 2j)
    stream = _core.stream_of_values(values)
    np.testing.assert_array_equal(_core.values_of_stream(n, stream, np.dtype(dtype)), values)
    assert n < 32 or stream.nbytes == values.nbytes


def test_golden_stream() -> None:
    """n = 64, 8 bits: factor 6 (d = 1) comes first, its lane bits are the bits 3, 2, 1 and 4 of the element."""
    codes = np.zeros((32, 2, 1), np.uint32)
    codes[(32 + 16 + 2) // 2, 1, 0] = 0xAB  # element 50: pair 1, lane 0b0011, column 1
    words = np.concatenate([np.zeros(5 * _core.packed_words(64, 8), np.uint32), _core.pack(codes, 8)])
    stream = _core.reordered([("angle", 8)] * 6, words, True)
    expected = np.zeros(words.size, np.uint32)
    expected[3] = 0xAB << 24
    np.testing.assert_array_equal(stream, expected)


def test_passes_cover_all_factors() -> None:
    for p in range(1, 31):
        strides = [stride << j for factors, stride in _core.plan(2**p) for j in range(factors)]
        assert strides == [2**j for j in range(p)]
