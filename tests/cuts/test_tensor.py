"""Signed cuts of tensors of any order: errors that are true, what sweeps gain, contractions, files, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitterfly
import errors
import exact
import strategies as own
from bitterfly import cuts, reference
from bitterfly.cuts.ascent import greedy
from bitterfly.cuts.refine import swept
from bitterfly.cuts.terms import Cuts

SHAPES = [(9,), (1,), (1, 1, 1), (12, 7), (1, 12, 1, 7), (5, 8, 9), (3, 1, 4, 6), (2, 3, 2, 3, 4)]


def drawn(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def of_any_order(rng: np.random.Generator) -> np.ndarray:
    """A matrix of any kind, its sides parted and its axes in another order, as a view at times."""
    a = errors.matrix(rng).real
    sides = [part for n in a.shape for part in _parted(rng, n)]
    x = a.reshape(sides)
    while x.ndim > 5:
        x = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
    x = np.transpose(x, rng.permutation(x.ndim))
    kind = rng.integers(4)
    if kind == 0:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    if kind == 1:
        x = np.ascontiguousarray(x[::-1])[::-1]
    if kind == 2:
        x.flags.writeable = False
    return x.reshape(-1) if rng.random() < 0.1 else x


def _parted(rng: np.random.Generator, n: int) -> list[int]:
    """Factors of a number, ones among them."""
    some = [d for d in range(1, n + 1) if n % d == 0]
    first = int(rng.choice(some))
    return [first, *_parted(rng, n // first)] if first > 1 and rng.random() < 0.7 else [first, n // first]


@pytest.mark.parametrize("first", range(0, 320, 40))
def test_errors_are_never_below_the_true_ones(first: int) -> None:
    refused = 0
    for seed in range(first, first + 40):
        rng = np.random.default_rng([11, seed])
        x, asked = of_any_order(rng), errors.asked_of_cuts(rng)
        try:
            cut = cuts.tensor(x, **asked)
        except (ValueError, OverflowError) as error:
            refused += 1
            if not str(error).startswith(("x: ", "rtol: ", "bits: ", "nbytes: ")):
                raise
            continue
        for part in (cut, cut.truncated(int(rng.integers(1, cut.width + 1)))):
            true = exact.error_of_tensor(x, part)
            assert true <= part.relative_error, (seed, x.shape, x.dtype, asked)
            assert part.relative_error <= true * (1 + 1e-3) + 1e-5, (seed, x.shape, x.dtype, asked)
        assert cut.relative_error <= asked.get("rtol", np.inf)
        size = asked.get("nbytes", asked.get("bits", np.inf) * x.size / 8)
        assert cut.nbytes <= size and cut.width <= asked.get("width", np.inf)
    assert refused < 20


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sweeps", [0, 4])
def test_errors_are_those_of_the_first_cuts(shape: tuple[int, ...], dtype: str, sweeps: int) -> None:
    x = drawn(shape, dtype)
    cut = cuts.tensor(x, width=20, sweeps=sweeps, rng=0)
    assert cut.error_kind == "measured" and cut.dtype == dtype
    for width in range(1, cut.width + 1):
        part = cut.truncated(width)
        true = float(exact.error_of_tensor(x, part))
        assert true <= part.relative_error <= true * (1 + 1e-5) + 1e-6
        assert part.nbytes == width * (sum(-(-n // 8) for n in shape) + x.itemsize)
    expected = reference.cut_tensor(cut)
    np.testing.assert_allclose(cut.todense(), expected, atol=1e-5 if dtype == "f4" else 1e-13)
    if not sweeps:
        assert np.all(np.diff(cut.errors) <= 1e-6)


def test_what_is_asked_for() -> None:
    x = drawn((20, 30, 16), "f4")
    by_bits = cuts.tensor(x, bits=1, sweeps=0, rng=0)
    assert 8 * by_bits.nbytes <= x.size < 8 * by_bits.nbytes * (1 + 1 / by_bits.width)
    assert cuts.tensor(x, nbytes=by_bits.nbytes, sweeps=0, rng=0).width == by_bits.width
    plain = cuts.tensor(x, rtol=0.5, sweeps=0, rng=0)
    assert plain.relative_error <= 0.5 < plain.errors[-2] + 1e-5
    better = cuts.tensor(x, rtol=0.5, rng=0)
    assert better.relative_error <= 0.5 and better.width < 0.95 * plain.width


@pytest.mark.parametrize("shape", [(24, 20, 28), (10, 9, 8, 12)])
def test_sweeps_and_starts_gain(shape: tuple[int, ...]) -> None:
    x = drawn(shape, "f4")
    found = [cuts.tensor(x, bits=2, starts=1, sweeps=sweeps, rng=0).relative_error for sweeps in (0, 1, 4, 16)]
    assert sorted(found, reverse=True) == found
    assert found[-1] < 0.97 * found[0]
    assert cuts.tensor(x, bits=2, sweeps=0, starts=8, rng=0).relative_error < 0.95 * found[0]


def test_no_flip_of_a_single_sign_is_left_that_gains() -> None:
    rng, shape = np.random.default_rng(4), (9, 8, 7, 3)
    x = own.gaussian(rng, shape, "f4")
    found = Cuts(rng.uniform(0.1, 0.5, 10), tuple(rng.choice([-1, 1], (10, size)).astype("f4") for size in shape))
    rest = x - found.dense()
    for _ in range(80):
        before = np.linalg.norm(rest)
        rest, found = swept(rest, found, 1)
        assert np.linalg.norm(rest) <= before * (1 + 1e-6)
    np.testing.assert_allclose(rest, x - found.dense(), atol=1e-5)
    least = np.linalg.norm(x - found.dense())
    for side in found.sides:
        for at in np.ndindex(side.shape):
            side[at] *= -1
            assert np.linalg.norm(x - found.dense()) >= least * (1 - 1e-5)
            side[at] *= -1


def test_ascents_end_where_no_side_gains() -> None:
    """Cuts of a group are of one residual: the first one is at the top of its ascent."""
    x = drawn((12, 9, 10), "f4")
    found = greedy(x, 1, 0.0, 6, np.random.default_rng(0))
    gain = np.einsum("ijk,i,j,k", x, *(side[0] for side in found.sides))
    assert np.isclose(found.c[0], gain / x.size, rtol=1e-5)
    for axis in range(3):
        others = [side[0] for at, side in enumerate(found.sides) if at != axis]
        image = np.tensordot(np.moveaxis(x, axis, 0), np.multiply.outer(*others), 2)
        assert np.abs(image).sum() <= gain * (1 + 1e-4)


def test_tensors_of_rank_one_signs_and_of_one_entry() -> None:
    signs = 0.75 * np.multiply.outer(np.outer([1, -1, 1, -1], [1, 1, -1, -1]), [1, -1])
    for seed in range(40):  # half of all random signs are orthogonal to a side
        cut = cuts.tensor(signs, width=5, rng=seed, starts=1)
        assert cut.relative_error < 1e-14
        np.testing.assert_allclose(cut.todense(), signs)
    for place in ((0, 0, 0), (6, 5, 8)):
        x = np.zeros((7, 6, 9))
        x[place] = 1e6
        cut = cuts.tensor(x, width=120, rng=0)
        assert exact.error_of_tensor(x, cut) <= cut.relative_error < 0.95
    constant = cuts.tensor(np.full((6, 5, 4, 3), -2.5, "f4"), rtol=1e-4, rng=0)
    assert constant.width == 1 and constant.relative_error < 1e-12


def test_contractions_along_any_axes() -> None:
    cut = cuts.tensor(drawn((6, 17, 8)), width=30, rng=1)
    dense, vectors = reference.cut_tensor(cut), [drawn((n,)) for n in cut.shape]
    np.testing.assert_allclose(cut.contract({1: vectors[1]}).todense(), np.einsum("ijk,j", dense, vectors[1]))
    both = cut.contract({0: vectors[0], -1: vectors[2] * (1 + 2j)})
    np.testing.assert_allclose(both.todense(), np.einsum("ijk,i,k", dense, vectors[0], vectors[2] * (1 + 2j)))
    assert np.isclose(cut.contract(dict(enumerate(vectors))), np.einsum("ijk,i,j,k", dense, *vectors))
    assert np.isnan(both.relative_error) and both.error_kind == "estimated"
    for exponents in ((-900, 800, 100), (900, -1000, 900)):  # neither over- nor underflows on the way
        scaled = {axis: np.ldexp(vector, e) for axis, (vector, e) in enumerate(zip(vectors, exponents, strict=True))}
        found = cut.contract(scaled)
        np.testing.assert_allclose(np.ldexp(found, -sum(exponents)), np.einsum("ijk,i,j,k", dense, *vectors), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(4096, 5, 3), (70, 300), (5001,)])
def test_contractions_of_long_axes(shape: tuple[int, ...], dtype: str) -> None:
    """Several tables and several blocks of cuts."""
    rng = np.random.default_rng(shape)
    bits = tuple(np.packbits(rng.integers(2, size=(700, n)), axis=1, bitorder="little") for n in shape)
    cut = cuts.CutTensor(shape, rng.standard_normal(700).astype(dtype), bits, np.full(700, np.nan))
    vector = own.gaussian(rng, (shape[0],), dtype)
    signs = 1.0 - 2 * np.unpackbits(bits[0], axis=1, count=shape[0], bitorder="little")
    expected = cut.coefficients * (signs @ vector.astype(np.result_type(dtype, "f8")))
    found = cut.contract({0: vector})
    if len(shape) == 1:
        np.testing.assert_allclose(found, expected.sum(), rtol=1e-4 if dtype in ("f4", "c8") else 1e-10)
    else:
        assert found.dtype == dtype
        eps = 16 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(found.coefficients, expected, rtol=4 * eps, atol=4 * eps * np.abs(expected).max())


def test_tensors_of_two_axes_are_matrices() -> None:
    a = drawn((40, 50), "f4")
    by_tensor, by_matrix = (way(a.T, width=60, starts=3, rng=0) for way in (cuts.tensor, cuts.matrix))
    assert np.isclose(by_tensor.relative_error, by_matrix.relative_error, rtol=1e-12)
    np.testing.assert_array_equal(by_tensor.bits[0], by_matrix.bits[0])


@pytest.mark.parametrize("exponent", [-900, 900])
def test_scales_zeros_and_starts(exponent: int) -> None:
    x = drawn((5, 6, 7))
    plain, cut = (cuts.tensor(each, width=9, starts=1, rng=3) for each in (x, np.ldexp(x, exponent)))
    np.testing.assert_array_equal(np.ldexp(cut.coefficients, -exponent), plain.coefficients)
    assert cuts.tensor(x, width=9, starts=8, rng=3).relative_error < plain.relative_error
    nothing = cuts.tensor(np.zeros((2, 3, 4)), width=5)
    assert (nothing.width, nothing.relative_error, nothing.error_kind) == (1, 0, "exact")
    copied = pickle.loads(pickle.dumps(cut))
    np.testing.assert_array_equal(copied.todense(), cut.todense())


def test_results_depend_on_the_seed_alone() -> None:
    x = drawn((20, 24, 10), "f4")
    found = [cuts.tensor(x, bits=1, rng=seed, workers=workers) for seed, workers in ((5, 1), (5, 3), (6, 1))]
    np.testing.assert_array_equal(found[0].bits[0], found[1].bits[0])
    assert not np.array_equal(found[0].bits[0], found[2].bits[0])


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    cut = cuts.tensor(drawn((5, 1, 17, 8), "f4"), width=12, rng=0)
    for each in (cut, cut.contract({0: drawn((5,)) * 1j})):
        each.save(path)
        again = cuts.CutTensor.load(path)
        np.testing.assert_array_equal(again.todense(), each.todense())
        assert (again.shape, again.dtype, again.error_kind) == (each.shape, each.dtype, each.error_kind)
        np.testing.assert_array_equal(again.errors, each.errors)
    with pytest.raises(
        ValueError, match=r"kind: 'cut_tensor' is of tensors, .* CutTensor.load reads it|CutTensor.load"
    ):
        bitterfly.load(path)
    bitterfly.save(path, bitterfly.SignedCut([1.0], [[1, -1]], [[1]]))
    with pytest.raises(ValueError, match=r"kind: expected 'cut_tensor', got 'cuts'"):
        cuts.CutTensor.load(path)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (1.0, {"width": 1}, ValueError, "x: expected axes of a length"),
        (np.ones((2, 0)), {"width": 1}, ValueError, "x: expected axes of a length"),
        (np.ones((2, 2), "c8"), {"width": 1}, TypeError, "x: expected real numbers"),
        ([[np.nan]], {"width": 1}, ValueError, "x: expected finite numbers"),
        ([1.0], {}, ValueError, "expected exactly one"),
        ([1.0], {"width": 1, "bits": 3}, ValueError, "expected exactly one"),
        ([1.0], {"width": 0}, ValueError, "width: expected at least 1"),
        (np.ones((2, 3, 4)), {"bits": 3}, ValueError, "bits: a cut of 2 x 3 x 4 takes 11 bytes, got 9"),
        ([1.0], {"rtol": 1.0}, ValueError, "rtol: expected a number below 1"),
        ([5e-324, 1e-323], {"rtol": 0.05}, ValueError, "rtol: not met by coefficients of float64"),
        ([1.0], {"width": 1, "starts": 0}, ValueError, "starts: expected at least 1"),
        ([1.0], {"width": 1, "sweeps": -1}, ValueError, "sweeps: expected a number"),
    ],
)
def test_refusals(x: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cuts.tensor(x, **options)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shape": ()}, ValueError, "shape: expected axes of a length"),
        ({"shape": (9, 0)}, ValueError, "shape: expected axes of a length"),
        ({"coefficients": np.array([np.inf])}, ValueError, "coefficients: expected a vector of finite numbers"),
        ({"coefficients": np.zeros(0)}, ValueError, "coefficients: expected a vector"),
        ({"bits": ()}, ValueError, "bits: expected an array for each of 2 axes, got 0"),
        ({"bits": (np.zeros((1, 2)), None)}, TypeError, r"bits\[0\]: expected an array of uint8, got float64"),
        ({"bits": (np.zeros((1, 2), "u1"), np.zeros((2, 1), "u1"))}, ValueError, r"bits\[1\]: expected shape \(1, 1\)"),
        ({"bits": (np.full((1, 2), 2, "u1"), np.zeros((1, 1), "u1"))}, ValueError, r"bits\[0\]: expected zeros behind"),
        ({"errors": np.array([-1.0])}, ValueError, "errors: expected 1 numbers"),
        ({"error_kind": "known"}, ValueError, "error_kind: expected one of"),
    ],
)
def test_refused_parts(change: dict[str, Any], error: type[Exception], message: str) -> None:
    bits = np.zeros((1, 2), np.uint8), np.zeros((1, 1), np.uint8)
    good = {"shape": (9, 3), "coefficients": np.ones(1), "bits": bits, "errors": np.array([0.5])}
    assert cuts.CutTensor(**good).width == 1
    with pytest.raises(error, match=message):
        cuts.CutTensor(**(good | change))


def test_refused_contractions() -> None:
    cut = cuts.tensor(drawn((3, 4), "f4"), width=2, rng=0)
    for vectors, error, message in (
        ({2: np.ones(3)}, ValueError, "expected different axes from -2 to 1, got 2"),
        ({0: np.ones(3), -2: np.ones(3)}, ValueError, "expected different axes"),
        ({1: np.ones(3)}, ValueError, r"vectors\[1\]: expected shape \(4,\)"),
        ({0: [1, np.nan, 1]}, ValueError, r"vectors\[0\]: expected finite numbers"),
        ({0: np.full(3, 3e38, "f4")}, OverflowError, "vectors: the contraction does not fit float32"),
    ):
        with pytest.raises(error, match=message):
            cut.contract(vectors)
    for width in (0, 3):
        with pytest.raises(ValueError, match="width: expected 1 to 2"):
            cut.truncated(width)
