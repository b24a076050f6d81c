"""Closest vectors in a metric: never worse than rounding on average, integers, cut off where asked."""

from __future__ import annotations

import numpy as np
import pytest

import bitterfly
from bitterfly import _core, gallery
from bitterfly.accuracy.change import change_of
from bitterfly.quantization.tiles import Recoder, _pivoted, recode, wrapped
from tolerances import exact_codes, gamma

DTYPES = ["float64", "complex128"]


def blocks(dtype: str, count: int, m: int, r: int, decay: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        x = rng.standard_normal(shape)
        return (x + 1j * rng.standard_normal(shape)).astype(dtype) if dtype[0] == "c" else x

    t = draw(count, m, r) / 3
    rows = draw(count, r, r) * decay ** np.arange(r)
    return t, np.ascontiguousarray(rows @ rows.conj().swapaxes(1, 2))


def cost(t: np.ndarray, q: np.ndarray, step: float, metric: np.ndarray) -> np.ndarray:
    """Of each matrix: what [I; T] W loses, W chosen anew, to first order."""
    d = q * step - t
    weight = np.linalg.inv(np.eye(t.shape[1]) + t @ t.conj().swapaxes(1, 2))
    return np.einsum("qij,qjr,qrs,qis->q", weight, d, metric, d.conj()).real


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("r", "decay", "gain"), [(1, 1.0, 1.0), (4, 0.3, 2.0), (8, 0.4, 6.0)])
def test_weak_directions_take_the_error(dtype: str, r: int, decay: float, gain: float) -> None:
    t, metric = blocks(dtype, 30, 5, r, decay)
    step = 1 / 512
    q = _core.closest_codes(t, metric, step, 1e6, 1e-12)
    parts = q.view(np.float64)
    assert np.array_equal(parts, np.rint(parts))
    plain = np.rint((t / step).view(np.float64)).view(t.dtype)
    assert gain * np.sum(cost(t, q, step, metric)) <= 1.05 * np.sum(cost(t, plain, step, metric))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exhaustive_neighbours_are_no_better(dtype: str) -> None:
    """In two dimensions a reduced basis finds the closest vector, or one within a factor."""
    t, metric = blocks(dtype, 20, 1, 2, 0.2)
    q = _core.closest_codes(t, metric, 0.1, 1e6, 1e-12)
    found = cost(t, q, 0.1, metric)
    best = np.full(len(t), np.inf)
    axes = 2 if dtype == "float64" else 4
    for shift in np.array(np.meshgrid(*[np.arange(-3, 4)] * axes)).reshape(axes, -1).T:
        move = shift if axes == 2 else shift[:2] + 1j * shift[2:]
        best = np.minimum(best, cost(t, np.rint((t / 0.1).view(float)).view(t.dtype) + move, 0.1, metric))
    assert np.mean(found / best) < 1.2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [2, 4, 8, 14])
def test_codes_within_the_range_make_up_for_each_other(dtype: str, bits: int) -> None:
    """What lies beyond the range is held there and the rest chosen anew: nearly as good as without a range.

    Never worse than plain rounding, which loses nothing on numbers at the ends of the range.
    """
    most = (1 << (bits - 1)) - 1
    rng = np.random.default_rng(bits)
    t, metric = blocks(dtype, 60, 6, 8, 0.4)
    parts = t.view(np.float64)
    parts[...] = np.where(rng.random(parts.shape) < 0.1, np.sign(parts), np.clip(parts, -1, 1))
    q = _core.closest_codes(t, metric, 1 / most, float(most), 1e-12)
    free = _core.closest_codes(t, metric, 1 / most, 1e9, 1e-12)
    assert np.max(np.abs(q.view(np.float64))) <= most < np.max(np.abs(free.view(np.float64)))
    assert np.array_equal(q.view(np.float64), np.rint(q.view(np.float64)))
    plain = np.rint((t * most).view(np.float64)).view(t.dtype)
    bounded, free_cost, rounded = (np.sum(cost(t, codes, 1 / most, metric)) for codes in (q, free, plain))
    assert bounded <= rounded
    if bits >= 8:  # a tenth of the numbers at the ends leave enough others
        assert 10 * bounded <= rounded and bounded <= 10 * free_cost


@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_metrics(dtype: str) -> None:
    t, metric = blocks(dtype, 3, 4, 3, 0.5)
    for singular in (metric * 0, np.ones_like(metric), metric * 1e-300, np.full_like(metric, 5e-324)):
        q = _core.closest_codes(t, singular, 0.01, 7.0, 1e-4)
        assert np.all(np.abs(q.view(np.float64)) <= 7)
    with pytest.raises(ValueError, match="metric"):
        _core.closest_codes(t, metric[:, :2, :2].copy(), 0.1, 7.0, 0.0)


@pytest.mark.parametrize("scale", [1e-300, 1e-310, 1e-320])
def test_subnormal_metrics_count_as_those_near_one(scale: float) -> None:
    """A metric loses digits where it is subnormal, not its order of magnitude."""
    t, metric = blocks("float64", 20, 5, 2, 0.5)
    tiny = metric * scale
    small = np.ldexp(np.ldexp(tiny, 700), 374)  # exact: the metric that `tiny` stands for, near one
    assert np.array_equal(_core.closest_codes(t, tiny, 0.1, 31.0, 1e-6), _core.closest_codes(t, small, 0.1, 31.0, 1e-6))


def test_skeletons_of_factors_of_any_scale() -> None:
    op = bitterfly.factorize(gallery.nonuniform_dft(256).todense(), rtol=1e-2)
    factors = [f.copy() for f in op.factors]
    factors[0] *= 1e250
    factors[1] *= 1e-250
    scaled = bitterfly.ButterflyOperator(factors, permutations=op.permutations)
    assert np.array_equal(recode(scaled, "skeleton", 8).words, recode(op, "skeleton", 8).words) or (
        bitterfly.quantize(scaled, bits=8).relative_error < 1.1 * bitterfly.quantize(op, bits=8).relative_error
    )


def test_no_draw_is_far_from_the_others() -> None:
    """Each code cut after its row was chosen cost up to 30 times the error, in one of 10 to 30 draws."""
    bits = (6, 9, 10, 12, 13)
    errors = []
    for seed in range(6):
        op = bitterfly.factorize(gallery.nonuniform_dft(256, rng=1000 + seed).todense(), rtol=1e-4)
        recoder = Recoder(op, "skeleton")
        errors.append([change_of(op, wrapped(op, recoder([b] * len(op.chain)).codes))[0] for b in bits])
    assert np.all(np.max(errors, axis=0) <= 1.5 * np.median(errors, axis=0))


@pytest.mark.parametrize("bits", [4, 9, 16])
def test_losses_add_up_to_the_change(bits: int) -> None:
    """Skeleton codes project orthogonally, in the norm of the coded factors to the left."""
    op = bitterfly.factorize(gallery.nonuniform_dft(256).todense(), rtol=1e-2)
    codes, losses = Recoder(op, "skeleton")([bits] * len(op.chain))
    assert np.sqrt(np.sum(losses)) == pytest.approx(change_of(op, wrapped(op, codes))[0], rel=1e-3)


@pytest.mark.parametrize("bits", [3, 6, 11])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_skeleton_codes_of_codes_are_the_same_operator(bits: int, dtype: str) -> None:
    """What is left is the rounding of the factors to the precision, and that of the normal equations of each junction.

    Their matrices are at least I, and at most the product of the squared norms of the blocks ``[I; T]`` to the left.
    """
    op = bitterfly.factorize(gallery.nonuniform_dft(256).todense().astype(dtype), rtol=1e-3)
    floats = bitterfly.quantize(op, bits=bits, code="skeleton").dequantize()
    change = change_of(floats, wrapped(floats, recode(floats, "skeleton", bits)))[0]
    condition = 1.0
    for factor, rank in zip(floats.factors, op.chain.ranks, strict=False):
        a, b, c, d = factor.shape
        groups = factor.reshape(a, b, c // rank, rank, d).transpose(0, 2, 4, 1, 3)
        condition *= float(np.max(np.linalg.norm(groups, 2, axis=(3, 4)))) ** 2
    normal_equations = gamma(8 * len(op.chain), np.float64) * condition
    assert change <= exact_codes(op.shape[0], dtype) + normal_equations < 2.0**-bits / 8


@pytest.mark.parametrize("small", [1e-150, 1e-160, 1e-165])
def test_columns_of_very_different_sizes(small: float) -> None:
    """Squares of small columns are subnormal: codes stay those of the large ones."""
    op = bitterfly.transforms.random(16, rng=0)
    chain = bitterfly.Chain.monarch((16, 16))
    a = np.abs(bitterfly.factorize(op.todense(), chain).todense())
    a = a / a.max() * np.where(np.arange(16) % 2, small, 1.0)
    packed = bitterfly.quantize(bitterfly.factorize(a, chain), bits=16)
    assert packed.relative_error < 1e-3 + 2 * bitterfly.factorize(a, chain).relative_error


def test_pivots_of_graded_rows() -> None:
    """Combinations that are huge next to the others are no codes, though each of the others is a whole number of them
    up to rounding."""
    blocks = np.array([[[1.0, 0.0], [1.0, 1e-30], [0.5, 1.0]], [[1.0, 0.0], [0.0, 1.0], [0.5, 1.0]]])
    known = np.array([[True, True, False], [True, True, False]])
    pivots, t = _pivoted(blocks, 127, known)
    assert np.max(np.abs(t)) <= 1.25 and np.array_equal(pivots[1], known[1])
    for rows, chosen, combination in zip(blocks, pivots, t, strict=True):
        np.testing.assert_allclose(combination @ rows[chosen], rows[~chosen], atol=gamma(8, np.float64))


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("b", [1, 3, 4, 16])
def test_complex_lattice_codes_of_codes_are_the_same_numbers(bits: int, b: int) -> None:
    """Their lengths are complex. (Of columns of two numbers a few in 10^5 find others as near.)"""
    rng = np.random.default_rng([bits, b])

    def coded(x: np.ndarray) -> np.ndarray:
        codes, lengths = _core.lattice_codes(x, bits)
        numbers = np.ldexp(codes - float(1 << (bits - 1)), 1 - bits)
        return numbers.view(complex)[..., 0] * lengths.view(complex).reshape(-1, 1)

    once = coded(rng.standard_normal((300, b)) + 1j * rng.standard_normal((300, b)))
    np.testing.assert_allclose(coded(once), once, rtol=0, atol=gamma(16 * b, float) * np.max(np.abs(once)))
