"""Kernels to factors: errors that are true, bounds that hold, what is asked for, codes, any scale and layout."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import bitterfly
import errors
import exact
import strategies as own
from bitterfly import convolutions
from bitterfly.convolutions import FactoredConvolution
from bitterfly.inputs import UnmetError

SHAPES = [(6, 5, 3, 3), (1, 4, 3), (5, 1, 2, 3), (4, 6, 1, 1), (1, 1, 1), (7, 3, 1), (3, 4, 2, 3, 2), (1, 1, 5, 5)]


def of_any_kind(rng: np.random.Generator) -> np.ndarray:
    """The entries of a matrix of any kind as a kernel, as a view at times."""
    a = errors.matrix(rng).real
    shape = tuple(int(n) for n in (*rng.integers(1, 8, 2), *rng.choice([1, 1, 2, 3, 4], rng.integers(1, 4))))
    x = np.resize(a.ravel(), shape)
    kind = rng.integers(5)
    if kind == 0:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    if kind == 1:
        x = np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1]
    if kind == 2:
        x = np.asfortranarray(x)
    if kind == 3:
        x.flags.writeable = False
    return x


def of_terms(rng: np.random.Generator, shape: tuple[int, ...], rank: int) -> np.ndarray:
    """A sum of so many outer products."""
    out = np.ones(rank)
    for size in shape:
        out = out[..., None, :] * rng.standard_normal((size, rank))
    return out.sum(axis=-1)


def check_true(x: np.ndarray, found: FactoredConvolution, what: Any) -> None:
    true = exact.error_of_kernel(x, found)
    assert true <= found.relative_error, what
    assert found.relative_error <= true * (1 + 1e-3) + 1e-5, what


@pytest.mark.parametrize("first", range(0, 320, 40))
def test_errors_are_never_below_the_true_ones(first: int) -> None:
    pytest.importorskip("tensorly")
    refused = 0
    for seed in range(first, first + 40):
        rng = np.random.default_rng([12, seed])
        x, rank = of_any_kind(rng), int(rng.integers(1, 6))
        makers = {
            "cp": lambda: convolutions.cp(x, rank=rank, iterations=10, rng=seed),  # noqa: B023
            "tucker": lambda: convolutions.tucker(x, ranks=rank),  # noqa: B023
            "train": lambda: convolutions.tensor_train(x, ranks=rank),  # noqa: B023
            "cuts": lambda: convolutions.signed_cuts(x, width=rank, rng=seed),  # noqa: B023
        }
        for name, make in makers.items():
            what = seed, name, x.shape, x.dtype
            try:
                found = make()
            except (ValueError, OverflowError) as error:
                refused += 1
                if not str(error).startswith(("x: ", "weight: ")):
                    raise
                continue
            assert found.error_kind in ("measured", "exact") and found.shape == x.shape
            check_true(x, found, what)
            assert name != "train" or found.relative_error <= 1 + 1e-6, what
    assert refused < 10


@pytest.mark.parametrize("first", range(0, 120, 40))
def test_errors_of_codes_are_never_below_the_true_ones(first: int) -> None:
    pytest.importorskip("tensorly")
    refused = 0
    for seed in range(first, first + 40):
        rng = np.random.default_rng([13, seed])
        x, rank = of_any_kind(rng), int(rng.integers(1, 6))
        makers = convolutions.cp, convolutions.tucker, convolutions.tensor_train
        name = ("rank", "ranks", "ranks")[seed % 3]
        facts = {"iterations": 10, "rng": seed} if seed % 3 == 0 else {}
        kernel = makers[seed % 3](x, **{name: rank}, **facts)  # type: ignore[operator]
        asked = [{"bits": int(rng.integers(2, 9))}, {"nbytes": int(rng.integers(200, 2000))}][rng.integers(2)]
        try:
            code, anew = (kernel.quantized(**asked, weight=weight, rng=seed) for weight in (None, x))
        except (ValueError, OverflowError) as error:
            refused += 1
            if not str(error).startswith(("bits: ", "nbytes: ", "op: ", "a: ")):
                raise
            continue
        what = seed, x.shape, x.dtype, asked
        true = exact.error_of_kernel(x, code)
        assert true <= anew.relative_error <= true * (1 + 1e-3) + 1e-5, what
        assert anew.relative_error <= code.relative_error * (1 + 1e-9) + 1e-9, what
        assert code.nbytes <= asked.get("nbytes", np.inf), what
    assert refused < 20


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("size", [1.0, 2.0**900, 2.0**-900])
def test_what_is_of_a_structure_is_found(shape: tuple[int, ...], dtype: str, size: float) -> None:
    pytest.importorskip("tensorly")
    if dtype != "f8" and size != 1:
        size = {"f2": 2.0**6, "f4": 2.0**100}[dtype] ** (1 if size > 1 else -1)
    rng = np.random.default_rng(list(shape))
    x = of_terms(rng, shape, 2)
    x = (x * (size / np.abs(x).max())).astype(dtype)
    unit = 2e-3 if dtype == "f2" else 1e-5  # where alternating least squares gain no more; of float16 its rounding
    found = [
        convolutions.cp(x, rank=2, iterations=1000, rng=0),
        convolutions.cp(x, rtol=unit, iterations=1000, rng=0),
        convolutions.tucker(x, ranks=2),
        convolutions.tucker(x, rtol=unit),
        convolutions.tensor_train(x, ranks=2),
        convolutions.tensor_train(x, rtol=unit),
    ]
    for kernel in found:
        assert kernel.dtype == {"f2": "f4"}.get(dtype, dtype)
        assert exact.error_of_kernel(x, kernel) <= kernel.relative_error <= unit
    assert found[1].factors[0].shape[1] <= 2 and max(found[3].factors[0].ranks) <= 2


@pytest.mark.parametrize("shape", SHAPES)
def test_zeros(shape: tuple[int, ...]) -> None:
    pytest.importorskip("tensorly")
    x = np.zeros(shape, np.float32)
    for kernel in (
        convolutions.cp(x, rank=3),
        convolutions.cp(x, rtol=0.1),
        convolutions.tucker(x, ranks=2),
        convolutions.tucker(x, rtol=0.1),
        convolutions.tensor_train(x, ranks=2),
        convolutions.signed_cuts(x, width=2),
    ):
        assert kernel.relative_error == 0 and not kernel.dense().any()
        if kernel.structure != "cuts":
            code = kernel.quantized(bits=4, rng=0)
            assert code.relative_error == 0 and not code.dense().any()


@pytest.mark.parametrize("seed", range(40))
def test_bounds_of_singular_values(seed: int) -> None:
    """Tucker and trains leave at least the tail of each unfolding, and at most the root of the sum of these."""
    pytest.importorskip("tensorly")
    rng = np.random.default_rng([14, seed])
    o, i, k, h = (int(n) for n in (*rng.integers(2, 9, 2), *rng.integers(2, 4, 2)))
    x = rng.standard_normal((o, i, k, h)) * np.exp(-rng.uniform(0, 1) * np.arange(o))[:, None, None, None]
    p, q, r = (int(rng.integers(1, n + 1)) for n in (o, i, min(i * h, o * k)))
    tails = [
        np.linalg.svd(y, compute_uv=False)
        for y in (x.reshape(o, -1), x.transpose(1, 0, 2, 3).reshape(i, -1), x.transpose(0, 2, 3, 1).reshape(o * k, -1))
    ]
    lost = [float(np.linalg.norm(s[rank:])) / np.linalg.norm(x) for s, rank in zip(tails, (p, q, r), strict=True)]
    tucker = convolutions.tucker(x, ranks=(p, q)).relative_error
    assert max(lost[:2]) * (1 - 1e-9) - 1e-9 <= tucker <= np.hypot(*lost[:2]) * (1 + 1e-6) + 1e-9
    train = convolutions.tensor_train(x, ranks=[p, r, q]).relative_error
    inner = p * k >= r and q * h >= r  # else the middle rank is less
    assert max(lost) * (1 - 1e-9) - 1e-9 <= train
    assert not inner or train <= np.linalg.norm(lost) * (1 + 1e-6) + 1e-9
    for rtol in (0.5, 0.1):
        found = convolutions.tucker(x, rtol=rtol)
        assert found.relative_error <= rtol
        least = [int(np.sum(np.sqrt(np.cumsum(s[::-1] ** 2))[::-1] > rtol * np.linalg.norm(x))) for s in tails[:2]]
        ranks = found.factors[0].ranks
        assert ranks[1] >= min(least[0], ranks[2] * k * h) and ranks[2] >= min(least[1], ranks[1] * k * h)


def test_matrices_are_the_nearest_ones() -> None:
    rng = np.random.default_rng(0)
    for shape in ((9, 7, 1), (9, 1, 7), (1, 9, 1, 7)):
        x = rng.standard_normal(shape)
        s = np.linalg.svd(x.reshape(9, 7), compute_uv=False)
        best = float(np.linalg.norm(s[3:]) / np.linalg.norm(s))
        assert convolutions.cp(x, rank=3).relative_error == pytest.approx(best)
        if shape[2] == 1 and len(shape) == 3:
            assert convolutions.tucker(x, ranks=3).relative_error == pytest.approx(best)
            assert convolutions.tensor_train(x, ranks=3).relative_error == pytest.approx(best)


def test_tolerances_of_sums_of_outer_products() -> None:
    pytest.importorskip("tensorly")
    x = np.random.default_rng(0).standard_normal((8, 6, 3, 3))
    found = convolutions.cp(x, rtol=0.3, rng=0)
    rank = found.factors[0].shape[1]
    assert found.relative_error <= 0.3 < convolutions.cp(x, rank=rank - 1, rng=0).relative_error
    again = convolutions.cp(x, rank=rank, rng=0)
    np.testing.assert_array_equal(found.dense(), again.dense())
    with pytest.raises(UnmetError, match="rtol: 1e-15 is not met"):
        convolutions.cp(x.astype(np.float32), rtol=1e-15, rng=0, iterations=3)


@pytest.mark.parametrize("make", ["cp", "tucker", "tensor_train"])
def test_codes_add_their_own_error(make: str) -> None:
    pytest.importorskip("tensorly")
    x = np.random.default_rng(0).standard_normal((48, 32, 3, 3)).astype(np.float32)
    kernel = getattr(convolutions, make)(x, **({"rank": 48, "rng": 0} if make == "cp" else {"ranks": 16}))
    left = kernel.relative_error
    coded = [kernel.quantized(bits=bits, weight=x, rng=0) for bits in (2, 4, 8)]
    sizes, lost = [each.nbytes for each in coded], [np.sqrt(each.relative_error**2 - left**2) for each in coded]
    assert sorted(sizes) == sizes and sizes[2] < 0.4 * kernel.nbytes
    assert lost[0] < 0.5 and lost[1] < 0.2 and lost[2] < 0.02
    fitting = kernel.quantized(nbytes=sizes[1], weight=x, rng=0)
    assert fitting.nbytes <= sizes[1] and fitting.relative_error < coded[1].relative_error + 0.02
    with pytest.raises(UnmetError, match="nbytes: "):
        kernel.quantized(nbytes=60)


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.ones((3, 4)), ValueError, r"weight: expected shape \(out, in, k_1"),
        (np.ones((3, 4, 1, 1, 1, 1)), ValueError, r"weight: expected shape \(out, in, k_1"),
        (np.ones((3, 0, 3)), ValueError, r"weight: expected shape \(out, in, k_1"),
        (np.full((3, 4, 3), np.nan), ValueError, "weight: expected finite numbers"),
        (np.ones((3, 4, 3), complex), TypeError, "weight: expected real numbers, got complex128"),
        (np.array([[["a"]]]), TypeError, "weight: expected"),
    ],
)
@pytest.mark.parametrize("make", ["cp", "tucker", "tensor_train", "signed_cuts"])
def test_what_is_no_kernel(make: str, weight: Any, error: type[Exception], message: str) -> None:
    asked = {"cp": {"rank": 2}, "signed_cuts": {"width": 2}}.get(make, {"ranks": 2})
    with pytest.raises(error, match=message):
        getattr(convolutions, make)(weight, **asked)


@pytest.mark.parametrize(
    ("make", "asked", "error", "message"),
    [
        ("cp", {}, ValueError, "rank, rtol: expected one of them, got none"),
        ("cp", {"rank": 2, "rtol": 0.1}, ValueError, "rank, rtol: expected one of them, got rank and rtol"),
        ("cp", {"rank": 0}, ValueError, "rank: expected a positive number, got 0"),
        ("cp", {"rank": 1.5}, TypeError, "rank: expected an integer"),
        ("cp", {"rtol": 1.5}, ValueError, "rtol: expected a number below 1"),
        ("cp", {"rank": 2, "iterations": -1}, ValueError, "iterations: expected a number that is not negative"),
        ("tucker", {}, ValueError, "ranks, rtol: expected one of them, got none"),
        ("tucker", {"ranks": [1, 2, 3]}, ValueError, "ranks: expected a positive integer, or two of them"),
        ("tucker", {"ranks": (0, 2)}, ValueError, "ranks: expected a positive integer, or two of them"),
        ("tensor_train", {"ranks": [1, 2]}, ValueError, "ranks: expected a positive integer, or 3 of them"),
        ("tensor_train", {}, ValueError, "rtol, ranks: expected at least one"),
        ("signed_cuts", {}, ValueError, "width, bits, rtol, nbytes: expected"),
    ],
)
def test_what_is_asked_for_wrongly(make: str, asked: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        getattr(convolutions, make)(np.ones((4, 3, 3, 2)), **asked)


def test_codes_that_are_asked_for_wrongly() -> None:
    x = own.gaussian(np.random.default_rng(0), (6, 5, 3), np.float32)
    kernel = convolutions.tensor_train(x, ranks=2)
    with pytest.raises(ValueError, match="bits, nbytes: expected one of them"):
        kernel.quantized()
    with pytest.raises(ValueError, match=r"weight: expected shape \(6, 5, 3\), got \(6, 5, 2\)"):
        kernel.quantized(bits=4, weight=x[..., 1:])
    for coded in (
        convolutions.signed_cuts(x, width=3, rng=0),
        convolutions.unfolded(bitterfly.quantize_dense(x.reshape(6, -1), bits=4, rng=0), x.shape),
    ):
        with pytest.raises(TypeError, match="structure: expected 'canonical' or 'tensor_train', got"):
            coded.quantized(bits=4)


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorly", None)
    x = np.random.default_rng(0).standard_normal((4, 3, 3))
    for make, asked in ((convolutions.cp, {"rank": 2}), (convolutions.tucker, {"ranks": 2})):
        with pytest.raises(ImportError, match=r'expected tensorly, found none; pip install "bitterfly\[tensorly\]"'):
            make(x, **asked)
