"""Rank-one quantization: the best of all short vectors, invariant under scalings; bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bitterfly import _core, quantize_rank_one
from bitterfly.reference import rank_one_by_exhaustion, round_significand
from strategies import gaussian, seeds
from tolerances import eps, rank_one_squares

DTYPES = (np.float32, np.float64, np.complex64, np.complex128)


def error_of(x: np.ndarray, y: np.ndarray, xq: np.ndarray, yq: np.ndarray) -> float:
    exact = np.outer(x, y.conj())
    return float(np.linalg.norm(exact - np.outer(xq, yq.conj())) / np.linalg.norm(exact))


@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_no_short_vectors_are_nearer(seed: int, t: int, m: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(m), rng.standard_normal(n)
    xq, yq, error = quantize_rank_one(x, y, significand=t)
    assert error == pytest.approx(error_of(x, y, xq, yq), rel=1e-9, abs=4 * eps(np.float64))
    assert error <= rank_one_by_exhaustion(x, y, t) * (1 + 1e-12) + 4 * eps(np.float64)


@given(seeds, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_unlike_numbers_and_ties(isa: str, seed: int, t: int, m: int, n: int, whole: bool) -> None:
    """Of sizes far apart the nearest second entry is not always the best; small integers meet at ties."""
    rng = np.random.default_rng(seed)
    if whole:
        x, y = rng.integers(1, 12, m).astype(float), rng.integers(-12, 12, n).astype(float)
    else:
        x, y = (rng.standard_normal(k) * 2.0 ** rng.integers(-7, 8, k) for k in (m, n))
    error = quantize_rank_one(x, y, significand=t)[2]
    assert error <= rank_one_by_exhaustion(x, y, t) * (1 + 1e-12) + 4 * eps(np.float64)


@given(seeds, st.integers(1, 11), st.sampled_from([np.float64, np.float32, ">f8"]))
def test_layouts_and_dtypes_do_not_matter(seed: int, t: int, dtype: str) -> None:
    x, y = np.random.default_rng(seed).standard_normal((2, 6)).astype(np.float32).astype(np.float64)
    plain = quantize_rank_one(x[::2].copy(), y, significand=t)
    other = quantize_rank_one(x.astype(dtype)[::2], y.astype(dtype), significand=t)
    assert other[2] == plain[2]
    for got, want in zip(other[:2], plain[:2], strict=True):
        assert np.array_equal(got, want)


def without_small_parts(z: np.ndarray, depth: float) -> np.ndarray:
    """Parts below `depth` times the power of two below the largest one of their row become zero."""
    parts = z.view(np.float64).reshape(len(z), -1)
    largest = np.abs(parts).max(1, keepdims=True)
    return np.where(np.abs(parts) < depth * 2.0 ** np.floor(np.log2(largest)), 0, parts).view(np.complex128)


@example(seed=569, t=2, n=1)
@given(seeds, st.integers(1, 2), st.integers(1, 2))
def test_no_short_complex_pair_is_nearer(seed: int, t: int, n: int) -> None:
    """All x with parts of three octaves or zero: the parts beyond are within the documented depth."""
    rng = np.random.default_rng(seed)
    x, y = gaussian(rng, (2,), np.complex128), gaussian(rng, (n,), np.complex128)
    parts = np.concatenate([[0.0], *(2.0**-e * (1 + np.arange(2 ** (t - 1)) / 2 ** (t - 1)) for e in range(3))])
    signed = np.unique(np.concatenate([parts, -parts]))
    q = np.stack(np.meshgrid(*[signed] * 4), -1).reshape(-1, 4).view(np.complex128)
    q = q[np.any(q != 0, 1)]
    mu = q.conj() @ x / np.sum(np.abs(q) ** 2, 1)
    rounded = round_significand(mu[:, None] * y, t)
    if n == 1:  # the shorter one is searched, to the documented depth
        rounded = without_small_parts(rounded, 2.0 ** -(t + 6))
    missed = np.outer(x, y) - q[:, :, None] * rounded[:, None, :]
    best = np.min(np.linalg.norm(missed, axis=(1, 2))) / np.linalg.norm(np.outer(x, y))
    assert quantize_rank_one(x, y.conj(), significand=t)[2] <= best * (1 + 1e-12) + 4 * eps(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@given(seeds, st.integers(1, 8), st.integers(1, 6), st.integers(1, 6))
@example(11491, 1, 5, 4)  # no listed value of the pivot gives complex vectors rounded to nearest
def test_never_worse_than_round_to_nearest(dtype: type, seed: int, t: int, m: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = gaussian(rng, (m,), dtype), gaussian(rng, (n,), dtype)
    xq, yq, error = quantize_rank_one(x, y, significand=t)
    wide = np.result_type(dtype, np.float64)
    u, v = x.astype(wide), y.astype(wide)
    nearest = error_of(u, v, round_significand(u, t), round_significand(v, t))
    assert error <= nearest * (1 + 1e-12) + 4 * eps(np.float64)
    for q in (xq, yq):
        assert q.dtype == dtype
        assert np.array_equal(round_significand(q.astype(wide), t), q)


@given(seeds, st.integers(1, 6), st.floats(0.5, 8), st.integers(-300, 300))
def test_scales_do_not_matter(seed: int, t: int, factor: float, exponent: int) -> None:
    """Any factor may move from one vector to the other; a power of two may come from nowhere."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(3), rng.standard_normal(5)
    xq, yq, error = quantize_rank_one(x, y, significand=t)
    again = quantize_rank_one(x * factor, y / factor, significand=t)[2]
    assert again == pytest.approx(error, rel=1e-9, abs=4 * eps(np.float64))
    shifted = quantize_rank_one(np.ldexp(x, exponent), np.ldexp(y, 2 * exponent // 3), significand=t)
    assert shifted[2] == error
    assert np.array_equal(np.ldexp(shifted[0], -exponent), xq)
    assert np.array_equal(np.ldexp(shifted[1], -(2 * exponent // 3)), yq)


def test_long_significands_of_short_vectors() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 2))
    error = quantize_rank_one(x, y, significand=20)[2]
    assert error < 2.0**-20 / 16  # 2^20 cells, three residuals: about 2^-20 2^-20/3


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_and_subnormal_vectors(dtype: type) -> None:
    x, zero = np.ones(3, dtype), np.zeros(2, dtype)
    xq, yq, error = quantize_rank_one(x, zero, significand=4)
    assert error == 0
    assert not np.any(np.outer(xq, yq))
    tiny = np.full(2, np.finfo(dtype).smallest_subnormal, dtype)
    xq, yq, error = quantize_rank_one(tiny, x, significand=4)
    assert error == 0
    assert np.array_equal(np.outer(xq, yq), np.outer(tiny, x))


def test_mixed_dtypes_take_the_common_one() -> None:
    xq, yq, _ = quantize_rank_one(np.ones(2, np.float32), np.ones(3, np.complex128), significand=3)
    assert xq.dtype == yq.dtype == np.complex128
    assert quantize_rank_one([1, 2], [3, 5], significand=3)[0].dtype == np.float64


@pytest.mark.parametrize("t", [0, 25, -1])
def test_significand_out_of_range(t: int) -> None:
    with pytest.raises(ValueError, match="significand: expected 1 to 24"):
        quantize_rank_one([1.0], [1.0], significand=t)


@pytest.mark.parametrize(
    ("x", "match"),
    [([], "not empty"), ([[1.0]], "vector"), ([np.nan], "finite"), ([np.inf], "finite")],
)
def test_bad_vectors(x: list, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        quantize_rank_one(x, [1.0], significand=3)
    with pytest.raises(ValueError, match=match):
        quantize_rank_one([1.0], x, significand=3)


def test_significand_of_another_type() -> None:
    with pytest.raises(TypeError, match="significand"):
        quantize_rank_one([1.0], [1.0], significand=2.5)


def test_products_beyond_the_dtype() -> None:
    huge = np.full(2, 3e38, np.float32)
    with pytest.raises(OverflowError, match="float32"):
        quantize_rank_one(huge, huge, significand=3)


@given(seeds, st.integers(1, 5), st.sampled_from([(1, 3), (2, 2), (2, 9), (3, 4), (9, 2)]))
def test_complex_tiers_agree(isa: str, seed: int, t: int, shape: tuple[int, int]) -> None:
    """The least error of all candidates is the same but for rounding; zeros and parts of any size among them."""
    rng = np.random.default_rng(seed)
    x, y = (gaussian(rng, (k,), np.complex128) * 2.0 ** rng.integers(-9, 10, k) for k in shape)
    if seed % 3 == 0:
        x.imag[0] = y.real[-1] = 0
    found = quantize_rank_one(x, y, significand=t)
    _core.select_isa("scalar")
    want = quantize_rank_one(x, y, significand=t)
    _core.select_isa(isa)
    assert abs(found[2] ** 2 - want[2] ** 2) <= rank_one_squares(*shape)
    assert abs(found[2] ** 2 - error_of(x, y, *found[:2]) ** 2) <= rank_one_squares(*shape)


@given(seeds, st.integers(1, 6), st.sampled_from([(2, 2), (3, 5), (5, 3)]))
def test_complex_layouts_do_not_matter(seed: int, t: int, shape: tuple[int, int]) -> None:
    """Strided and swapped arrays go another way to the same numbers."""
    rng = np.random.default_rng(seed)
    x, y = (gaussian(rng, (k,), np.complex128) for k in shape)
    plain = quantize_rank_one(x, y, significand=t)
    other = quantize_rank_one(np.repeat(x, 2)[::2], y.astype(">c16"), significand=t)
    assert abs(other[2] ** 2 - plain[2] ** 2) <= rank_one_squares(*shape)
    for got, want in zip(other[:2], plain[:2], strict=True):
        assert np.array_equal(got, want)


@pytest.mark.parametrize("significand", [True, np.int64(3), 3.0, 1 << 70])
def test_significands_of_other_types(significand: object) -> None:
    x = np.array([1.0, 2.5])
    if isinstance(significand, float):
        with pytest.raises(TypeError, match="significand"):
            quantize_rank_one(x, x, significand=significand)
    elif significand == 1 << 70:
        with pytest.raises(ValueError, match="significand"):
            quantize_rank_one(x, x, significand=significand)
    else:
        assert quantize_rank_one(x, x, significand=significand)[2] >= 0


def test_more_sectors_than_are_kept() -> None:
    """Lists of candidates are shared by searches; those of another depth or width are not mixed up."""
    x, y = (gaussian(np.random.default_rng(k), (2,), np.complex128) for k in (1, 2))
    first = [quantize_rank_one(x, y, significand=t)[2] for t in range(1, 9)]
    shallow = [_core.rank_one(x, y.conj(), t, 2)[2] for t in range(1, 9)]
    assert [quantize_rank_one(x, y, significand=t)[2] for t in range(1, 9)] == first
    assert all(a <= b * (1 + 1e-12) for a, b in zip(first, shallow, strict=True))
