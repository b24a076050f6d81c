"""Dense operators: what codes of a matrix promise, what users may hand in, views, precisions, rows, files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator, lsqr

import bitterfly
import exact
import strategies as own
from bitterfly import reference, transforms
from bitterfly.dense.rates import even_bytes
from bitterfly.inputs import UnmetError
from bitterfly.stores.dense.codes import DenseCodes
from bitterfly.stores.dense.tiles import tiles_of_streams

# Limits of relative errors (n >= 256), with 16 / n bits of scales beside the codes.
LIMITS = {1: 0.546, 1.5: 0.389, 2: 0.276, 2.5: 0.199, 3: 0.142, 3.5: 0.102, 4: 0.0735, 5: 0.0415, 6: 0.0255, 8: 0.008}
PRECISIONS = {"float": 2e-7, "half": 6e-5, "int8": 1.5e-2}


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def outliers(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Columns, rows and single entries far larger than others, and a mean."""
    a = rng.standard_normal(shape) + 0.3
    a[:, 5] *= 60
    a[7] *= 30
    a[rng.integers(shape[0], size=20), rng.integers(shape[1], size=20)] = 100
    return a


@pytest.mark.parametrize("bits", LIMITS)
@pytest.mark.parametrize("kind", ["gaussian", "outliers", "butterfly"])
def test_errors_are_those_of_normal_numbers_whatever_the_matrix(kind: str, bits: float) -> None:
    rng = np.random.default_rng(3)
    shape = (320, 256)
    a = {"gaussian": rng.standard_normal(shape), "outliers": outliers(rng, shape)}.get(kind)
    a = own.matrix("butterfly", 256, np.float64, 0) if a is None else a
    op = bitterfly.quantize_dense(a, bits=bits, rng=0)
    assert op.relative_error <= LIMITS[bits]
    lengths = 2 * 64 * 64 / a.size if op.kind == "sum" else 0  # of the columns of a head, up to 64 of them
    assert op.bits_per_entry <= bits + 16 / 256 + 8 * 17 / a.size + lengths
    assert op.error_kind == "measured"
    assert relative(reference.dense(op), a) <= op.relative_error <= relative(reference.dense(op), a) * (1 + 1e-6)


def test_window7_errs_a_little_more() -> None:
    a = np.random.default_rng(0).standard_normal((512, 512))
    for bits in (1, 2, 4):
        long, short = (bitterfly.quantize_dense(a, bits=bits, code=code, rng=0) for code in ("window11", "window7"))
        assert 1 <= short.relative_error / long.relative_error < 1.11


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions_of_products(precision: Any) -> None:
    rng = np.random.default_rng(0)
    op = bitterfly.quantize_dense(rng.standard_normal((700, 512)).astype(np.float32), bits=2, rng=0)
    dense = reference.dense(op)
    for each in (op, op.T):
        each.precision = precision
        x = rng.standard_normal((each.shape[1], 9)).astype(np.float32)
        expected = (dense if each is op else dense.T) @ x.astype(np.float64)
        assert relative(each @ x, expected) < PRECISIONS[precision]
        assert each.precision == precision
        assert each.astype(np.float64).precision == "float"
    wide = op.astype(np.float64)
    x = rng.standard_normal(512)
    assert relative(wide @ x, dense @ x) < 4e-15


@given(
    seed=own.seeds, dtype=own.dtypes, bits=st.floats(1, 8), rotate=st.sampled_from(["auto", "inputs", "both", False])
)
def test_any_shape_and_kind(seed: int, dtype: Any, bits: float, rotate: Any) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(s) for s in rng.choice([1, 2, 3, 15, 16, 17, 33, 64, 65, 100], 2))
    a = own.ldexp(own.source(rng, shape, dtype), int(rng.integers(-100, 20))).astype(dtype)
    op = bitterfly.quantize_dense(a, bits=bits, rotate=rotate, head="auto" if seed % 2 else None, rng=0)
    assert op.shape == shape
    assert op.dtype == dtype
    exact = a.astype(np.result_type(dtype, np.float64))
    missed = np.linalg.norm(reference.dense(op) - exact)
    assert missed <= op.relative_error * np.linalg.norm(exact)
    assert op.kind == "sum" or op.mean_bits <= bits


@pytest.mark.parametrize("exponent", [-1000, -500, 0, 500, 1000])
def test_matrices_of_any_scale(exponent: int) -> None:
    a = np.random.default_rng(1).standard_normal((64, 96))
    plain, op = (bitterfly.quantize_dense(np.ldexp(a, e), bits=3, rng=0) for e in (0, exponent))
    assert op.relative_error == plain.relative_error
    x = np.linspace(-1, 1, 96)
    np.testing.assert_array_equal(op @ x, np.ldexp(plain @ x, exponent))


def test_zeros_stay_zeros() -> None:
    a = np.random.default_rng(2).standard_normal((40, 64))
    a[3] = 0
    op = bitterfly.quantize_dense(a, bits=4, rng=0)
    np.testing.assert_array_equal(op.rows(3), np.zeros((1, 64)))
    zero = bitterfly.quantize_dense(np.zeros((40, 64)), bits=1, rng=0)
    assert zero.relative_error == 0
    np.testing.assert_array_equal(zero @ np.ones(64), np.zeros(40))


def alike(rng: np.random.Generator) -> np.ndarray:
    """Rows that are nearly one row."""
    a = rng.standard_normal(384) * (1 + 0.2 * rng.standard_normal((512, 1)))
    return a + 0.2 * rng.standard_normal((512, 384))


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("scale", [1.0, 2.0**-900, 2.0**900])
def test_a_part_of_low_rank_is_taken_out_where_it_pays(bits: int, scale: float) -> None:
    a = alike(np.random.default_rng(5)) * scale
    plain, op = (bitterfly.quantize_dense(a, bits=bits, head=head, rng=0) for head in (None, "auto"))
    assert op.kind == "sum"
    assert op.nbytes < plain.nbytes + 1000
    assert op.relative_error < 0.25 * LIMITS[bits]
    assert plain.relative_error > 3 * op.relative_error
    near = np.ldexp(a, -int(np.frexp(np.abs(a).max())[1]))
    found = np.ldexp(reference.dense(op), -int(np.frexp(np.abs(a).max())[1]))
    assert relative(found, near) <= op.relative_error
    for asked in ({"nbytes": plain.nbytes}, {"rtol": plain.relative_error}):
        other = bitterfly.quantize_dense(a, **asked, rng=0)
        assert other.nbytes <= plain.nbytes
        assert other.relative_error <= plain.relative_error


def spectrum(values: np.ndarray, noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((256, len(values))))[0] for _ in range(2))
    return u * values @ v.T + noise * rng.standard_normal((256, 256))


@pytest.mark.parametrize("asked", [{"rtol": 0.6}, {"nbytes": 13_000}, {"nbytes": 9000}, {"bits": 1}, {"bits": 1.5}])
@pytest.mark.parametrize("values", [np.geomspace(100, 30, 16), np.full(16, 60.0), np.full(1, 100.0)])
def test_a_head_is_never_worse_than_none(asked: dict[str, Any], values: np.ndarray) -> None:
    for noise in (0.05, 0.5):
        a = spectrum(values, noise)
        plain, op = (bitterfly.quantize_dense(a, **asked, head=head, code="window7", rng=0) for head in (None, "auto"))
        if "rtol" in asked:
            assert op.nbytes <= plain.nbytes
            assert op.relative_error <= 0.6
        else:
            assert op.relative_error <= plain.relative_error
            assert op.nbytes <= max(plain.nbytes + 1500, asked.get("nbytes", 0))


def test_heads_that_are_all_of_it() -> None:
    a = np.zeros((10, 66))
    a[3, 4] = 1
    for asked in ({"rtol": 0.5}, {"bits": 4}, {"nbytes": 5000}):
        op = bitterfly.quantize_dense(a, **asked, rng=0)
        assert relative(reference.dense(op), a) <= op.relative_error <= asked.get("rtol", 1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_of_the_range(dtype: Any, tmp_path: Path) -> None:
    limits = np.finfo(dtype)
    rng = np.random.default_rng(0)
    low_rank = rng.standard_normal((14, 2)) @ rng.standard_normal((2, 79))
    low_rank /= np.abs(low_rank).max()
    for a in (
        np.full((40, 50), limits.max),
        np.full((4, 5), limits.smallest_subnormal),
        (low_rank * float(limits.smallest_subnormal) * 8).astype(dtype),
        (low_rank * (float(limits.max) / 3)).astype(dtype),
    ):
        op = bitterfly.quantize_dense(a, bits=8, rng=0)
        assert op.relative_error < 0.01
        bitterfly.save(tmp_path / "op", op)
        assert bitterfly.load(tmp_path / "op").codes.exponent == op.codes.exponent
        assert bitterfly.quantize_dense(a, rtol=0.1, rng=0).relative_error <= 0.1


def test_scales_stay_within_half_precision() -> None:
    """A row of one large number and many small ones reaches far, and has the largest scale of all."""
    a = np.full((20, 400), 1e-3)
    a[:, 7] = np.linspace(0.9, 1, 20)
    for bits in (6, 8):
        op = bitterfly.quantize_dense(a, bits=bits, rotate=False, head=None, rng=0)
        assert relative(reference.dense(op), a) <= op.relative_error < 1


def test_the_message_names_the_tolerance_asked_for() -> None:
    with pytest.raises(ValueError, match=r"rtol: 0\.0003 is not met"):
        bitterfly.quantize_dense(spectrum(np.geomspace(100, 30, 16), 0.05), rtol=0.0003, stages=1, rng=0)


def test_no_head_of_noise() -> None:
    a = np.random.default_rng(0).standard_normal((300, 200))
    assert bitterfly.quantize_dense(a, bits=2, rng=0).kind == "dense"


# ---- what is asked for ----


@pytest.mark.parametrize("rtol", [0.5, 0.2, 0.1, 0.05, 0.03, 0.012])
@pytest.mark.parametrize("shape", [(300, 257), (64, 1024), (1000, 40)])
def test_tolerances_are_met_with_few_bits(rtol: float, shape: tuple[int, int]) -> None:
    a = np.random.default_rng(4).standard_normal(shape)
    op = bitterfly.quantize_dense(a, rtol=rtol, rng=0)
    assert op.relative_error <= rtol
    blocks = -(-shape[1] // 32)
    fewer = op.mean_bits - 2 / min(blocks, 8)
    if fewer >= 1:
        assert bitterfly.quantize_dense(a, bits=fewer, rng=0).relative_error > rtol


@pytest.mark.parametrize("nbytes", [80, 96, 120])
def test_bytes_are_not_exceeded_by_what_stands_beside_no_codes(nbytes: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        m, n = rng.integers(2, 9, 2)
        a = np.zeros((m, n))
        a[rng.integers(m), rng.integers(n)] = rng.standard_normal()
        op = bitterfly.quantize_dense(a, nbytes=nbytes, rng=0)
        assert op.nbytes <= nbytes and exact.error(a, op) <= op.relative_error


@given(seed=own.seeds, nbytes=st.integers(2000, 12_000))
def test_bytes_are_not_exceeded(seed: int, nbytes: int) -> None:
    a = np.random.default_rng(seed).standard_normal((96, 128))
    op = bitterfly.quantize_dense(a, nbytes=nbytes, rng=0)
    assert op.nbytes <= nbytes
    step = 2 if op.mean_bits >= 6 else 1 if op.mean_bits >= 4 else 0.5  # bits from rate to rate
    assert nbytes - op.nbytes <= 96 * 32 * step / 8 + 4 or op.mean_bits == 8


def test_what_sources_hold() -> None:
    a = np.random.default_rng(0).standard_normal((50, 70))
    plain = bitterfly.quantize_dense(a, bits=3, rng=0)
    for given_ in (a.tolist(), aslinearoperator(a), np.asfortranarray(a)):
        op = bitterfly.quantize_dense(given_, bits=3, rng=0)
        np.testing.assert_array_equal(op.todense(), plain.todense())
    op = bitterfly.quantize_dense(lambda i, j: a[np.ix_(i, j)], shape=a.shape, bits=3, rng=0)
    np.testing.assert_array_equal(op.todense(), plain.todense())


def test_threads_do_not_change_codes() -> None:
    a = np.random.default_rng(0).standard_normal((200, 300)).astype(np.float32)
    one, two = (bitterfly.quantize_dense(a, bits=2.3, rng=0, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.codes.scale, two.codes.scale)
    for x, y in zip(one.codes.tiles, two.codes.tiles, strict=True):
        np.testing.assert_array_equal(x, y)
    x = a[0]
    np.testing.assert_array_equal(one.apply(x, workers=1), one.apply(x, workers=2))


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({}, ValueError, "bits, nbytes, rtol: expected one of them"),
        ({"bits": 2, "rtol": 0.1}, ValueError, "bits, nbytes, rtol: expected only one"),
        ({"bits": 0.5}, ValueError, "bits: expected 1 to 8, got 0.5"),
        ({"bits": 9}, ValueError, "bits: expected 1 to 8, got 9"),
        ({"bits": float("nan")}, ValueError, "bits: expected 1 to 8, got nan"),
        ({"bits": "2"}, TypeError, "bits: expected a number"),
        ({"nbytes": 100}, ValueError, "nbytes: expected at least .* bytes"),
        ({"rtol": 1e-3, "stages": 1}, ValueError, "rtol: 0.001 is not met: 8 bits a number reach 0.00"),
        ({"rtol": 2}, ValueError, "rtol: expected a number below 1"),
        ({"bits": 2, "code": "window9"}, ValueError, "code: expected window7 or window11, got 'window9'"),
        (
            {"bits": 2, "rotate": "outputs"},
            ValueError,
            "rotate: expected 'auto', 'inputs', 'both', 'scaled', 'whitened', False, an operator or scales",
        ),
        ({"bits": 2, "head": 3}, ValueError, "head: expected 'auto' or None, got 3"),
        (
            {"bits": 2, "rotate": transforms.hadamard(32)},
            ValueError,
            r"rotate: expected an operator of shape \(64, 64\)",
        ),
        (
            {"bits": 2, "rotate": 0 * transforms.hadamard(64)},
            ValueError,
            "rotate: expected an operator with an inverse",
        ),
        ({"bits": 2, "rotate": transforms.dft(64) / 8}, TypeError, "rotate: expected real numbers"),
        ({"bits": 2, "rotate": 0}, ValueError, "rotate: expected 'auto'"),
        ({"bits": 2, "rotate": np.eye(64)}, ValueError, r"rotate: expected an operator, or \(64,\) real scales"),
        ({"bits": 2, "rotate": [1j] * 64}, ValueError, "rotate: expected an operator, or .* got an array, complex"),
        ({"bits": 2, "rotate": np.arange(64.0)}, ValueError, "rotate: expected positive finite scales"),
        (
            {"bits": 2, "rotate": 10.0 ** np.arange(64)},
            ValueError,
            "rotate: expected scales near one, got 1 to 1e[+]63",
        ),
        (
            {"bits": 2, "rotate": "scaled", "stages": 2},
            ValueError,
            "stages: expected 1 with a metric or with a rotation",
        ),
        ({"bits": 2, "outliers": -1}, ValueError, "outliers: expected a number that is not negative, got -1"),
        ({"bits": 2, "outliers": 0.1}, TypeError, "outliers: expected an integer, got 0.1"),
        ({"bits": 2, "outliers": "all"}, ValueError, "outliers: expected 'auto', None or a number of entries"),
        ({"bits": 2, "outliers": 1000}, ValueError, "outliers: 1000 entries leave too few of the bits to codes"),
        ({"bits": 2, "repair": 40}, ValueError, "repair: factors of rank 40 leave too few of the bits to codes"),
        ({"rtol": 0.1, "repair": 1}, ValueError, "repair: expected 0 with rtol"),
        ({"bits": 2, "code": ["window7"]}, ValueError, "code: expected window7 or window11"),
        ({"nbytes": 100, "rotate": transforms.hadamard(64) / 8}, ValueError, r"at least 465 bytes.*, got 100"),
        ({"bits": 2, "shape": (3, 3)}, ValueError, "shape: expected"),
    ],
)
def test_refusals(asked: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bitterfly.quantize_dense(np.random.default_rng(0).standard_normal((40, 64)), **asked)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_infinities_are_refused(bad: float) -> None:
    a = np.ones((40, 64))
    a[17, 3] = bad
    with pytest.raises(ValueError, match=rf"a: expected finite entries, got {bad} at \(17, 3\)"):
        bitterfly.quantize_dense(a, bits=2)


def test_numbers_without_names_are_refused() -> None:
    with pytest.raises(TypeError, match="options: expected by name, got 4"):
        bitterfly.quantize_dense(np.ones((3, 3)), 4)


def test_a_rotation_of_ones_own() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.complex64):
        a = own.gaussian(rng, (80, 128), dtype)
        a[:, 3] *= 100
        q = transforms.hadamard(128, dtype=np.float64) / 128**0.5
        for asked in ({"bits": 4}, {"nbytes": 20_000 + q.nbytes}, {"rtol": 0.05}):
            op = bitterfly.quantize_dense(a, rotate=q, rng=0, **asked)
            assert op.operators[1] is q
            assert relative(reference.dense(op), a.astype(np.complex128)) <= op.relative_error < 0.11
            assert op.nbytes <= asked.get("nbytes", op.nbytes)
            assert op.relative_error <= asked.get("rtol", 1)
    assert bitterfly.quantize_dense(np.zeros((40, 128)), rotate=q, bits=2, rng=0).relative_error == 0
    seen = rng.standard_normal((300, 128))
    single = bitterfly.quantize_dense(a.real, rotate=q.astype(np.float32), bits=3, metric=seen.T @ seen, rng=0)
    assert single.operators[0].metric_error < 0.2
    weights = np.geomspace(1, 0.01, 128)
    op = bitterfly.quantize_dense(a.real, rotate=q, bits=3, metric=weights, rng=0)
    plain = bitterfly.quantize_dense(a.real, rotate=q, bits=3, rng=0)
    of = [np.linalg.norm((reference.dense(each) - a.real) * np.sqrt(weights)) for each in (op, plain)]
    assert of[0] < 0.8 * of[1]


def test_bytes_that_do_for_one_rotation_are_enough_where_two_are_compared() -> None:
    rng = np.random.default_rng(0)
    a = np.outer(np.ones(256), rng.standard_normal(128)) + 0.3 * rng.standard_normal((256, 128))  # rows that are alike
    least = even_bytes(a.shape, 2)
    asked: dict[str, Any] = {"head": None, "outliers": None, "rng": 0}
    one = bitterfly.quantize_dense(a, nbytes=least, rotate="inputs", **asked)
    op, more = (bitterfly.quantize_dense(a, nbytes=nbytes, **asked) for nbytes in (least, least + 8))
    assert op.nbytes == least
    assert more.relative_error <= op.relative_error == one.relative_error
    with pytest.raises(UnmetError, match=f"nbytes: expected at least {least} bytes"):
        bitterfly.quantize_dense(a, nbytes=least - 1, **asked)


# ---- the operator ----


@pytest.fixture(params=[np.float32, np.complex128])
def op(request: Any) -> Any:
    a = own.gaussian(np.random.default_rng(0), (90, 70), request.param)
    return bitterfly.quantize_dense(a, bits=2.5, rotate="both", rng=0)


def test_views_and_copies(op: Any, tmp_path: Path) -> None:
    dense = op.todense()
    np.testing.assert_allclose(op.H.todense(), dense.conj().T, rtol=1e-5, atol=1e-6)
    assert op.H.H.mode == "forward"
    assert op.T.conj().T.mode == ("conjugate" if op.dtype.kind == "c" else "forward")
    assert copy.deepcopy(op) is op
    bitterfly.save(tmp_path / "op", op.H)
    for other in (pickle.loads(pickle.dumps(op.H)), bitterfly.load(tmp_path / "op")):
        assert (other.mode, other.relative_error, other.error_kind) == (op.H.mode, op.relative_error, "measured")
        np.testing.assert_array_equal(other.todense(), op.H.todense())
    with pytest.raises(AttributeError, match="immutable"):
        op.mode = "forward"
    with pytest.raises(ValueError, match="precision: expected float, half, int8, got 'double'"):
        op.precision = "double"


def test_rows_are_those_of_the_matrix() -> None:
    rng = np.random.default_rng(0)
    for rotate in ("inputs", "both", False):
        for dtype in own.DTYPES:
            op = bitterfly.quantize_dense(own.gaussian(rng, (100, 65), dtype), bits=2, rotate=rotate, rng=1)
            dense, some = reference.dense(op), [99, 0, 64, 63, -1]
            np.testing.assert_allclose(op.rows(some), dense[some], atol=1e-5)
            np.testing.assert_allclose(op.H.rows(some[1:4]), dense.conj().T[some[1:4]], atol=1e-5)


def test_casts() -> None:
    a = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    op = bitterfly.quantize_dense(a, bits=4, rng=0)
    wide = op.astype(np.float64)
    assert wide.codes is op.codes
    assert wide.relative_error == op.relative_error
    with pytest.raises(TypeError, match="dtype: the codes are those of float32 numbers"):
        op.astype(np.complex64)


def test_arithmetic_knows_its_error() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 64, 64))
    x, y = (bitterfly.quantize_dense(each, bits=5, rng=0) for each in (a, b))
    x.precision = "int8"  # what products round is no part of the matrix
    total, product = x + 2 * y, x @ y
    for made, whole in ((total, a + 2 * b), (product, a @ b)):
        assert relative(reference.dense(made), whole) <= made.relative_error < 0.25
        assert made.error_kind == "measured"


def test_solvers_take_it() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((120, 60)) + 10 * np.eye(120, 60)
    op = bitterfly.quantize_dense(a, bits=8, rng=0)
    x = rng.standard_normal(60)
    found = lsqr(op, op @ x, atol=1e-12, btol=1e-12)[0]
    assert relative(found, x) < 1e-9


def test_codes_are_checked() -> None:
    tiles = [tiles_of_streams([np.zeros((64, 16), np.uint8)])]
    good: dict[str, Any] = {"shape": (64, 64), "name": "window7", "half_bits": [4, 4], "tiles": tiles}
    good |= {"scale": np.ones(64, np.float16)}
    assert DenseCodes(**good).nbytes == 64 * 16 + 128 + 1
    bad = [
        ({"name": "window8"}, "code: expected"),
        ({"half_bits": [4]}, "half_bits: expected"),
        ({"half_bits": [4, 9]}, "half_bits: expected"),
        ({"half_bits": [4, 4.5]}, "half_bits: expected"),
        ({"half_bits": [4, 300]}, "half_bits: expected"),
        ({"half_bits": [4, 5]}, "tiles: expected 2 arrays"),
        ({"scale": np.ones(63, np.float16)}, "scale: expected 64"),
        ({"scale": np.ones(64)}, "scale: expected 64"),
        ({"scale": np.full(64, np.inf, np.float16)}, "scale: expected 64"),
        ({"exponent": 3000}, "exponent: expected"),
        ({"tiles": [tiles[0][:-1]]}, r"tiles\[0\]: expected"),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            DenseCodes(**(good | change))
    with pytest.raises(TypeError, match="inputs: expected an integer or None"):
        bitterfly.DenseOperator(DenseCodes(**good), inputs=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="metric_error: expected a number >= 0"):
        bitterfly.DenseOperator(DenseCodes(**good), metric_error=-1)
    with pytest.raises(ValueError, match="inputs: expected a seed"):
        bitterfly.DenseOperator(DenseCodes(**good), inputs=-1)
    with pytest.raises(ValueError, match="codes: expected real and imaginary parts"):
        bitterfly.DenseOperator(
            DenseCodes((63, 64), "window7", [4, 4], tiles, np.ones(63, np.float16)), dtype=np.complex64
        )


# ---- metrics ----


def inputs(rng: np.random.Generator, n: int, count: int = 400) -> np.ndarray:
    """Vectors of unequal, correlated numbers."""
    mix = np.linalg.qr(rng.standard_normal((n, n)))[0] * np.geomspace(1, 0.02, n)
    return rng.standard_normal((count, n)) @ mix.T + 0.1


@pytest.mark.parametrize("rotate", ["inputs", "both", False])
@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_errors_in_a_metric(rotate: Any, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    a, x = own.gaussian(rng, (130, 160), dtype), inputs(rng, 160)
    moments = bitterfly.SecondMoments(160).update(x[:100]).merge(bitterfly.SecondMoments(160).update(x[100:]))
    plain = bitterfly.quantize_dense(a, bits=2, rotate=rotate, rng=0)
    op = bitterfly.quantize_dense(a, bits=2, metric=moments, rotate=rotate, rng=0)
    same = bitterfly.quantize_dense(a, bits=2, metric=2.0**900 * (x.T @ x), rotate=rotate, rng=0)
    wide = a.astype(np.result_type(dtype, np.float64))
    of = {key: relative(reference.dense(each) @ x.T, wide @ x.T) for key, each in (("op", op), ("plain", plain))}
    assert of["op"] < 0.6 * of["plain"]
    assert of["op"] <= op.metric_error < of["op"] * (1 + 1e-6)
    assert same.metric_error == pytest.approx(op.metric_error, rel=0.05)
    assert relative(reference.dense(op), wide) <= op.relative_error
    assert np.isnan(plain.metric_error)
    assert op.mean_bits <= 2


def test_unequal_rates_and_sweeps_gain() -> None:
    rng = np.random.default_rng(1)
    a, x = rng.standard_normal((128, 256)), inputs(rng, 256)
    errors = [
        bitterfly.quantize_dense(a, bits=2, metric=x.T @ x, rng=0, **more).metric_error
        for more in ({"unequal": False}, {}, {"sweeps": 1})
    ]
    assert errors[0] > 1.02 * errors[1] > 1.02 * errors[2]


@pytest.mark.parametrize("unequal", [True, False])
def test_tolerances_and_bytes_in_a_metric(unequal: bool) -> None:
    rng = np.random.default_rng(2)
    a, x = rng.standard_normal((100, 192)), inputs(rng, 192)
    for rtol in (0.1, 0.05, 0.02):
        op = bitterfly.quantize_dense(a, rtol=rtol, metric=x.T @ x, unequal=unequal, rng=0)
        assert relative(reference.dense(op) @ x.T, a @ x.T) <= op.metric_error <= rtol
        fewer = bitterfly.quantize_dense(a, bits=op.mean_bits - 0.5, metric=x.T @ x, unequal=unequal, rng=0)
        assert fewer.metric_error > rtol
        again = bitterfly.quantize_dense(a, nbytes=op.nbytes, metric=x.T @ x, unequal=unequal, rng=0)
        assert again.nbytes <= op.nbytes
        assert again.metric_error < 1.05 * rtol


def test_diagonal_metrics() -> None:
    rng = np.random.default_rng(3)
    a, weights = rng.standard_normal((70, 96)), np.geomspace(1, 1e-4, 96)
    for rotate in ("inputs", False):
        op = bitterfly.quantize_dense(a, bits=2, metric=weights, rotate=rotate, rng=0)
        lost = np.sqrt(np.sum((reference.dense(op) - a) ** 2 * weights) / np.sum(a**2 * weights))
        assert lost <= op.metric_error < lost * (1 + 1e-6)
        assert op.metric_error < 0.2


@pytest.mark.parametrize("size", [1e3, 1e6, 1e14])
def test_a_matrix_that_is_nearly_nothing_in_its_metric(size: float) -> None:
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((16, 64)), rng.standard_normal((300, 64))
    a[:, 0], x[:, 0] = 0, size * x[:, 0]
    for metric in (x.T @ x, np.diag(x.T @ x)):
        op = bitterfly.quantize_dense(a, bits=3, metric=metric, rng=0)
        g = np.diag(metric) if metric.ndim == 1 else metric
        lost = reference.dense(op) - a
        true = np.sqrt(np.sum(lost @ g * lost) / np.sum(a @ g * a))
        assert not op.metric_error < true * (1 - 1e-9)  # NaN where it is not known
    rank = rng.standard_normal((8, 64))
    inside = a - a @ np.linalg.pinv(rank) @ rank
    assert not bitterfly.quantize_dense(inside, bits=8, metric=rank.T @ rank, rng=0).metric_error < 1e5


def test_metrics_in_single_precision() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 50)).astype(np.float32)
    op = bitterfly.quantize_dense(rng.standard_normal((40, 50)), bits=3, metric=x.T @ x, rng=0)
    assert op.metric_error < 0.1
    assert np.isnan(op.T.metric_error)
    assert op.T.T.metric_error == op.metric_error


def test_inputs_that_are_never_seen() -> None:
    rng = np.random.default_rng(4)
    a, x = rng.standard_normal((64, 64)), rng.standard_normal((5, 64))
    op = bitterfly.quantize_dense(a, bits=2, metric=x.T @ x, rng=0)
    assert relative(reference.dense(op) @ x.T, a @ x.T) <= op.metric_error < 0.1
    assert op.relative_error < 2


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (np.eye(63), ValueError, r"metric: expected shape \(64, 64\), or \(64,\)"),
        (bitterfly.SecondMoments(64), ValueError, "metric: expected a number other than zero"),
        (-np.ones(64), ValueError, "metric: expected a diagonal that is not negative"),
        (np.full((64, 64), np.nan), ValueError, "metric: expected finite numbers"),
        (
            1.0 - 2 * np.eye(64)[::-1],
            ValueError,
            "metric: expected a diagonal|metric: expected a positive semidefinite",
        ),
        (np.triu(np.ones((64, 64))), ValueError, "metric: expected a symmetric matrix"),
        (np.eye(64) * 1j, TypeError, "metric: expected real numbers"),
    ],
)
def test_metrics_that_are_none(metric: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bitterfly.quantize_dense(np.random.default_rng(0).standard_normal((40, 64)), bits=2, metric=metric)


def test_sweeps_are_counts() -> None:
    with pytest.raises(ValueError, match="sweeps: expected a number that is not negative"):
        bitterfly.quantize_dense(np.eye(40), bits=2, metric=np.ones(40), sweeps=-1)
    with pytest.raises(TypeError, match="sweeps: expected an integer"):
        bitterfly.quantize_dense(np.eye(40), bits=2, metric=np.ones(40), sweeps=0.5)


# ---- stages ----


@pytest.mark.parametrize(
    ("bits", "stages", "most"), [(6, 2, 0.0195), (7, 2, 0.0103), (8, 2, 0.0054), (10, 2, 0.0016), (9, 3, 0.0028)]
)
def test_several_codes_err_by_the_product_of_their_errors(bits: float, stages: int, most: float) -> None:
    a = np.random.default_rng(0).standard_normal((256, 512))
    op = bitterfly.quantize_dense(a, bits=bits, stages=stages, rng=0)
    assert len(op.terms) == stages
    assert relative(reference.dense(op), a) <= op.relative_error < most
    assert op.bits_per_entry < bits + stages * (16 / 512 + 8 * 9 / a.size) + 1e-9
    x = a[0]
    assert relative(op @ x, reference.dense(op) @ x) < 1e-13


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("rtol", [0.3, 0.03, 3e-3, 1e-4, 5e-6, 1e-9, 1e-12])
def test_any_tolerance(dtype: Any, rtol: float) -> None:
    a = own.gaussian(np.random.default_rng(0), (64, 96), dtype)
    least = 2e-6 if np.finfo(dtype).bits == 32 else 3e-13
    if rtol < least:
        with pytest.raises(ValueError, match=f"rtol: {rtol:.3g} is not met: sums of codes in {np.dtype(dtype)} reach"):
            bitterfly.quantize_dense(a, rtol=rtol, rng=0)
        return
    op = bitterfly.quantize_dense(a, rtol=rtol, rng=0)
    exact = a.astype(np.result_type(dtype, np.float64))
    assert relative(reference.dense(op), exact) <= op.relative_error <= rtol
    planes = 2 if np.dtype(dtype).kind == "c" else 1
    assert op.bits_per_entry < planes * (1.15 * np.log2(1 / rtol) + 1.2)


def test_stages_in_bytes() -> None:
    a = np.random.default_rng(0).standard_normal((128, 256))
    for nbytes in (8000, 30_000, 60_000):
        one, op = (bitterfly.quantize_dense(a, nbytes=nbytes, stages=stages, rng=0) for stages in (1, None))
        assert op.nbytes <= nbytes
        assert op.relative_error <= one.relative_error
    assert len(op.terms) > 2


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"bits": 1, "stages": 2}, ValueError, "bits: expected 2 to 16, got 1"),
        ({"bits": 4, "stages": 0}, ValueError, "stages: expected 1 to 6, got 0"),
        ({"bits": 4, "stages": 2.0}, TypeError, "stages: expected an integer or None"),
        ({"bits": 4, "stages": 2, "metric": np.ones(64)}, ValueError, "stages: expected 1 with a metric"),
        ({"rtol": 1e-7, "stages": 2}, ValueError, "rtol: 1e-07 is not met by a sum of 2 codes"),
    ],
)
def test_stages_that_are_none(asked: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bitterfly.quantize_dense(np.random.default_rng(0).standard_normal((40, 64)), **asked, rng=0)


def test_outliers_are_stored_by_themselves() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.complex128):
        a = own.gaussian(rng, (200, 160), dtype)
        places = rng.integers(200, size=25), rng.integers(160, size=25)
        a[places] *= 300
        expected = a[places]
        op, plain = (
            bitterfly.quantize_dense(a, bits=4, rng=0, **more) for more in ({}, {"outliers": None, "head": None})
        )
        assert op.terms[0].kind == "sparse"
        assert 0 < op.terms[0].nnz <= 25
        assert op.mean_bits <= 4.01
        assert op.relative_error < 0.3 * plain.relative_error
        assert relative(reference.dense(op), a.astype(np.result_type(dtype, np.float64))) <= op.relative_error
        np.testing.assert_array_less(abs(reference.dense(op)[places] - expected), 0.5)  # they are kept as they are
        small = bitterfly.quantize_dense(a, rtol=0.02, rng=0)
        assert small.relative_error <= 0.02
        assert small.nbytes < 0.85 * bitterfly.quantize_dense(a, rtol=0.02, outliers=None, rng=0).nbytes


def test_so_many_outliers() -> None:
    a = np.random.default_rng(0).standard_normal((60, 70))
    op = bitterfly.quantize_dense(a, nbytes=2500, outliers=12, rng=0)
    stored = op.terms[0]
    assert stored.nnz == 12
    np.testing.assert_array_equal(np.sort(abs(stored.matrix.data)), np.sort(abs(a), axis=None)[-12:])
    assert op.nbytes <= 2500
    few = np.zeros((5, 6), np.float32)
    few[2, 3], few[4, 0] = 2, -1e-30
    whole = bitterfly.quantize_dense(few, bits=2, outliers=100)
    assert whole.relative_error == 0
    np.testing.assert_array_equal(whole.todense(), few)
    assert bitterfly.quantize_dense(few, nbytes=whole.nbytes, outliers=100).nbytes == whole.nbytes
    with pytest.raises(UnmetError, match=f"nbytes: expected at least {whole.nbytes} for the entries alone"):
        bitterfly.quantize_dense(few, nbytes=whole.nbytes - 1, outliers=100)
    assert bitterfly.quantize_dense(np.ones((30, 40)), bits=3, outliers=3, rng=0).terms[0].nnz == 3


def test_gaussian_matrices_have_no_outliers_and_no_head() -> None:
    a = np.random.default_rng(0).standard_normal((300, 300))
    assert bitterfly.quantize_dense(a, bits=2, rng=0).kind == "dense"
    assert bitterfly.quantize_dense(a, bits=2, metric=np.ones(300), rng=0).kind == "dense"


def test_columns_over_scales() -> None:
    rng = np.random.default_rng(0)
    s = np.geomspace(1, 100, 96)
    for dtype in (np.float32, np.complex128):
        a = (own.gaussian(rng, (120, 96), dtype) * s).astype(dtype)
        wide = a.astype(np.result_type(dtype, np.float64))
        plain, given, norms = (
            bitterfly.quantize_dense(a, bits=3, rotate=rotate, rng=0) for rotate in ("inputs", s, "scaled")
        )
        gain = np.sqrt(np.mean(s**2)) / np.exp(np.mean(np.log(s)))  # what the error model says
        for op in (given, norms):
            assert relative(reference.dense(op), wide) <= op.relative_error < 1.25 * plain.relative_error / gain
            assert np.isnan(op.metric_error)
        assert bitterfly.quantize_dense(a, rtol=0.02, rotate="scaled", rng=0).relative_error <= 0.02
        assert bitterfly.quantize_dense(a, nbytes=6000, rotate="scaled", rng=0).nbytes <= 6000 * (
            1 + (dtype != np.float32)
        )
    zeros = np.where(np.arange(96) % 3, a, 0)
    assert bitterfly.quantize_dense(zeros, bits=3, rotate="scaled", rng=0).relative_error < 0.15
    assert bitterfly.quantize_dense(0 * zeros, bits=3, rotate="scaled", rng=0).relative_error == 0


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_what_stands_beside_codes_in_a_metric(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    a, x = own.gaussian(rng, (130, 160), dtype), inputs(rng, 160)
    a += 3 * np.outer(own.gaussian(rng, (130,), dtype), own.gaussian(rng, (160,), dtype))
    wide = a.astype(np.result_type(dtype, np.float64))
    metric = 2.0**-300 * (x.T @ x)
    found = {}
    for name, asked in {
        "head": {},
        "none": {"head": None},
        "repair": {"repair": 4},
        "outliers": {"outliers": 7},
        "scaled": {"rotate": "scaled"},
        "all": {"rotate": "scaled", "outliers": 3, "repair": 2},
        "diagonal": {"metric": np.square(x).sum(axis=0)},
    }.items():
        op = bitterfly.quantize_dense(a, **{"bits": 2.5, "metric": metric, "rng": 0} | asked)
        lost = relative(reference.dense(op) @ x.T, wide @ x.T)
        if name == "diagonal":
            weights = np.sqrt(np.square(x).sum(axis=0))
            lost = relative(reference.dense(op) * weights, wide * weights)
        assert lost <= op.metric_error < lost * (1 + 1e-5), name
        assert relative(reference.dense(op), wide) <= op.relative_error
        found[name] = op.metric_error
    assert found["head"] < 0.6 * found["none"]
    op = bitterfly.quantize_dense(a, rtol=0.03, metric=metric, rng=0)
    assert relative(reference.dense(op) @ x.T, wide @ x.T) <= op.metric_error <= 0.03
    assert op.nbytes < 0.8 * bitterfly.quantize_dense(a, rtol=0.03, metric=metric, head=None, rng=0).nbytes


@pytest.mark.parametrize("shape", [(1, 3), (48, 64), (100, 17), (31, 31)])
@pytest.mark.parametrize("dtype", ["f4", "c16"])
def test_bytes_of_a_repair_count(shape: tuple[int, int], dtype: str) -> None:
    a = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    alone = bitterfly.quantize_dense(a, bits=2, outliers=None, head=None, rng=0).nbytes
    for nbytes in range(alone, alone + 800, 50):
        try:
            op = bitterfly.quantize_dense(a, nbytes=nbytes, repair=1, outliers=None, head=None, rng=0)
        except UnmetError:
            continue
        assert op.nbytes <= nbytes


def test_a_repair_is_the_best_of_its_rank() -> None:
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((90, 100)), inputs(rng, 100)
    for metric in (None, x.T @ x):
        op = bitterfly.quantize_dense(a, bits=3, metric=metric, repair=6, head=None, rng=0)
        codes, factors = op.terms
        factor = np.eye(100) if metric is None else np.linalg.cholesky(metric)
        apart = (a - reference.dense(codes)) @ factor
        s = np.linalg.svd(apart, compute_uv=False)
        least = np.linalg.norm(s[6:])
        assert least < np.linalg.norm(apart - reference.dense(factors) @ factor) < least + 0.2 * np.linalg.norm(s[:6])


def test_errors_in_a_metric_stay_with_views_and_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((64, 80)) + 5, inputs(rng, 80)
    op, single = (bitterfly.quantize_dense(each, bits=2, metric=x.T @ x, rng=0) for each in (a, a.astype(np.float32)))
    assert op.kind == single.kind == "sum"
    assert op.metric_error < 0.1
    assert single.astype(np.float64).metric_error == single.metric_error
    bitterfly.save(tmp_path / "op", op.T)
    for each in (op.conj(), op.T.T, copy.copy(op), pickle.loads(pickle.dumps(op)), bitterfly.load(tmp_path / "op").T):
        assert each.metric_error == op.metric_error
    for each in (op.T, op.H, op.astype(np.float32), 2 * op, op + op, op @ op.T):
        assert np.isnan(each.metric_error)


@given(seed=own.seeds)
def test_errors_in_a_metric_are_never_too_low(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, n = (int(each) for each in rng.integers(1, 40, 2))
    dtype = own.DTYPES[rng.integers(4)]
    a = own.ldexp(own.source(rng, (m, n), dtype), int(rng.integers(-90, 90))).astype(dtype)
    x = rng.standard_normal((int(rng.integers(1, 50)), n)) * 10.0 ** rng.uniform(-3, 3, n)
    metric = x.T @ x
    asked: dict[str, Any] = {"rotate": ["auto", "both", False, "scaled"][rng.integers(4)]}
    asked |= {"outliers": ["auto", 2][rng.integers(2)], "repair": int(rng.integers(2))}
    op = bitterfly.quantize_dense(a, nbytes=1 << 14, metric=metric, rng=rng, **asked)
    wide, g = a.astype(np.result_type(dtype, np.longdouble)), metric.astype(np.longdouble)
    lost = exact.dense(op) - wide
    above, below = (np.sum((d @ g * d.conj()).real) for d in (lost, wide))
    if not np.isnan(op.metric_error):
        assert above <= np.longdouble(op.metric_error) ** 2 * below * (1 + 1e-12)


def test_a_head_is_as_large_as_the_bits_allow() -> None:
    rng = np.random.default_rng(0)
    a = 10 * rng.standard_normal((256, 24)) @ rng.standard_normal((24, 256)) + rng.standard_normal((256, 256))
    found = [bitterfly.quantize_dense(a, bits=bits, rng=0) for bits in (1.25, 1.5, 2)]
    plain = [bitterfly.quantize_dense(a, bits=bits, head=None, rng=0) for bits in (1.25, 1.5, 2)]
    assert all(op.kind == "sum" and op.mean_bits <= 2 for op in found)
    assert all(op.relative_error < 0.9 * other.relative_error for op, other in zip(found, plain, strict=True))
    assert all(op.nbytes < 1.05 * other.nbytes for op, other in zip(found, plain, strict=True))
