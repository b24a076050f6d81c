"""Apply: float and packed products on every tier against double-precision references of the same operator."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
import strategies as own
import tolerances
from bitterfly import _core, reference, transforms
from bitterfly.ordering import bit_reversal

SIZES = [2**p for p in range(1, 14)]
MODES = ["forward", "transpose", "adjoint", "conjugate"]
WIDTHS = {"f": [0.5, 1, 2, 2.5, 4, 5.5, 8], "c": [0.25, 1, 1.75, 2.25, 4, 6, 8]}
Operator = bitterfly.ButterflyOperator | bitterfly.PackedButterfly


@lru_cache(maxsize=256)
def operator(n: int, dtype: Any, bits: float, code: str = "auto") -> Operator:
    """A butterfly with permutations; bits = 0 leaves the factors in floating point."""
    rng = np.random.default_rng(n)
    base = transforms.random(n, rng=rng, dtype=dtype)
    permuted = bitterfly.ButterflyOperator(base.factors, permutations=(rng.permutation(n), "bit_reversal"))
    return permuted if bits == 0 else bitterfly.quantize(permuted, bits=bits, code=code)


@lru_cache(maxsize=256)
def coded(n: int, dtype: Any, codes: tuple[tuple[str, int], ...]) -> bitterfly.PackedButterfly:
    """A packed operator of random codes, straight from the format: nothing but the decoders and the products."""
    rng = np.random.default_rng(n)
    words = []
    for level, (_, bits) in enumerate(codes):
        q = rng.integers(0, 2**bits, (2**level, 2, n >> (level + 1)), dtype=np.uint64).astype(np.uint32)
        words.append(_core.pack(q, bits))
    permutations = (None, rng.permutation(n))
    scale = own.gaussian(rng, (n,), dtype)
    return bitterfly.PackedButterfly(
        np.concatenate(words), codes, scale, permutations=permutations, relative_error=np.nan, error_kind="estimated"
    )


def decoded_factors(op: bitterfly.PackedButterfly) -> list[np.ndarray]:
    """By the reference: nothing of the core but the bits."""
    factors = [
        reference.coded_factor(code.kind, code.bits, q).astype(np.complex128)
        for code, q in zip(op.codes, op.unpack(), strict=True)
    ]
    factors[-1] *= op.scale.astype(np.complex128).reshape(-1, 1, 2, 1)
    return factors


@lru_cache(maxsize=256)
def references(op: Operator) -> tuple[list[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The decoded factors in double precision and the index arrays."""
    identity = np.arange(op.shape[0])
    rows, columns = (identity if p is None else p for p in op.base_permutations)
    if isinstance(op, bitterfly.PackedButterfly):
        return decoded_factors(op), (rows, columns)
    return [np.asarray(f, np.complex128) for f in op.factors], (rows, columns)


def multiply(op: Operator, x: np.ndarray, mode: str, modulus: bool = False, more: float = 0) -> np.ndarray:
    """Product in complex128, factor by factor.

    For the bound: with `modulus`, of the moduli; `more`, relative to the length of its column, is added to each entry.
    """
    factors, (rows, columns) = references(op)
    transposed, conjugated = mode in ("transpose", "adjoint"), mode in ("adjoint", "conjugate")
    y = np.asarray(np.abs(x) if modulus else x, np.complex128).reshape(len(x), -1)
    y = y[rows if transposed else columns]
    for f in factors if transposed else reversed(factors):
        length = np.linalg.norm(f, axis=1, keepdims=True)
        f = np.abs(f) + more * length if modulus else f.conj() if conjugated else f
        a, _, _, d = f.shape
        y = np.einsum("ijkl,ijlx->iklx" if transposed else "ijkl,iklx->ijlx", f, y.reshape(a, 2, d, -1)).reshape(
            len(x), -1
        )
    out = np.empty_like(y)
    out[columns if transposed else rows] = y
    return out.reshape(x.shape)


def bound_of(op: Operator, x: np.ndarray, mode: str) -> np.ndarray:
    """Roundings of the products, relative to the moduli, and what an absolute error of each coefficient adds."""
    error = tolerances.decoded(op.dtype) if isinstance(op, bitterfly.PackedButterfly) else 0.0
    low = np.abs(multiply(op, x, mode, modulus=True))
    high = np.abs(multiply(op, x, mode, modulus=True, more=error))
    return tolerances.product_bound(len(x), op.dtype) * high + (high - low)


def view(op: Operator, mode: str) -> Operator:
    return {"forward": op, "transpose": op.T, "adjoint": op.H, "conjugate": op.conj()}[mode]


def check(op: Operator, x: np.ndarray, mode: str) -> None:
    y = view(op, mode).apply(x)
    assert y.dtype == np.result_type(op.dtype, x.dtype)
    assert y.shape == x.shape
    assert np.all(np.abs(y - multiply(op, x, mode)) <= bound_of(op, x, mode))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_float_products(isa: str, n: int, dtype: type) -> None:
    x = own.gaussian(np.random.default_rng(0), (n, 3), dtype)
    for mode in MODES:
        check(operator(n, dtype, 0), x, mode)


@pytest.mark.parametrize("n", [2, 8, 16, 32, 64, 256, 512, 2048])
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_packed_products(isa: str, n: int, dtype: type) -> None:
    x = own.gaussian(np.random.default_rng(0), (n,), dtype)
    for bits in WIDTHS["c" if np.dtype(dtype).kind == "c" else "f"]:
        for mode in MODES:
            check(operator(n, dtype, bits), x, mode)


@pytest.mark.parametrize("n", [2, 32, 1024])
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_every_code_of_every_width(isa: str, n: int, dtype: type) -> None:
    """Unpackers and decoders are compiled for each width: all of them, below and above the 256 blocks of a group."""
    x = own.gaussian(np.random.default_rng(0), (n, 2), dtype)
    for kind in own.code_kinds(dtype):
        for bits in own.WIDTHS[kind]:
            check(coded(n, dtype, ((kind, bits),) * tolerances.levels(n)), x, MODES[bits % 4])


@given(own.vector_sizes, own.dtypes, st.sampled_from(MODES), st.integers(1, 4), st.data())
def test_mixed_codes(isa: str, n: int, dtype: type, mode: str, columns: int, data: st.DataObject) -> None:
    """Factors of any kinds and widths beside each other, any number of columns."""
    one = st.sampled_from([(kind, bits) for kind in own.code_kinds(dtype) for bits in own.WIDTHS[kind]])
    codes = data.draw(st.lists(one, min_size=tolerances.levels(n), max_size=tolerances.levels(n)))
    x = own.gaussian(np.random.default_rng(n), (n, columns), dtype)
    check(coded(n, dtype, tuple(codes)), x, mode)


@given(own.vector_sizes, own.dtypes, st.sampled_from(MODES), own.seeds)
def test_float_factors_of_wide_range(isa: str, n: int, dtype: type, mode: str, seed: int) -> None:
    """Entries of any size that cannot overflow, subnormal results included."""
    rng, p = np.random.default_rng(seed), tolerances.levels(n)
    decades = np.log10(float(np.finfo(dtype).max)) / (2 * p + 2) - 1
    factors = []
    for level in range(p):
        f = own.gaussian(rng, (2**level, 2, 2, n >> (level + 1)), dtype)
        factors.append((f * 10.0 ** rng.uniform(-2 * decades, decades, f.shape)).astype(dtype))
    op = bitterfly.ButterflyOperator(factors)
    x = own.gaussian(rng, (n,), dtype)
    y = view(op, mode).apply(x)
    weight = np.abs(multiply(op, x, mode, modulus=True))
    rows = np.abs(multiply(op, np.ones(n), mode, modulus=True))
    largest = max(float(np.max(rows)), 2.0**p * 10.0 ** (decades * p))
    bound = tolerances.product_bound(n, dtype) * weight + tolerances.tiny_bound(n, dtype, largest)
    assert np.all(np.abs(y - multiply(op, x, mode)) <= bound)


@pytest.mark.parametrize(
    ("code", "bits"), [("angle", 1), ("angle", 4), ("phase", 1), ("phase", 2), ("phase", 3), ("phase", 6)]
)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_each_code_in_complex_operators(isa: str, dtype: type, code: str, bits: float) -> None:
    x = own.gaussian(np.random.default_rng(0), (128, 2), dtype)
    for mode in MODES:
        check(operator(128, dtype, bits, code), x, mode)


DIRECT = [2, 4, 6, 8, 10, 12, 14, 16]  # widths of angle codes that float32 products of one vector decode in registers


@pytest.mark.parametrize("n", [512, 1024, 2048, 4096, 8192, 2**14, 2**16])
@pytest.mark.parametrize("bits", DIRECT)
def test_codes_decoded_in_registers(isa: str, n: int, bits: int) -> None:
    """Above the innermost pass, of eight factors, there are passes of one to four: all of them, with permutations."""
    op = coded(n, np.float32, (("angle", bits),) * tolerances.levels(n))
    for seed, mode in enumerate(("forward", "transpose")):
        x = own.gaussian(np.random.default_rng(seed), (n,), np.float32)
        check(op, x, mode)
        y = view(op, mode).apply(x)
        np.testing.assert_array_equal(view(op, mode).apply(x, workers=2), y)
        np.testing.assert_array_equal(view(op, mode).apply(np.repeat(x, 3)[::3]), y)


@pytest.mark.parametrize("bits", DIRECT)
def test_every_code_decoded_in_registers(isa: str, bits: int) -> None:
    """All codes, in a factor of their own among those of the axes, as the entries of a matrix of two rows a block."""
    n, p = 2**17, 17
    q = np.zeros((1, 2, n // 2), np.uint32)
    q[0, 0, :], q[0, 1, :] = np.arange(n // 2) % 2**bits, np.arange(n // 2)[::-1] % 2**bits
    turned = np.zeros((2, 1), np.uint32) + np.array([[0], [2 ** (bits - 1)]], np.uint32)
    words = [_core.pack(q, bits)]
    for level in range(1, p):
        shape = (2**level, 2, n >> (level + 1))
        words.append(_core.pack(np.ascontiguousarray(np.broadcast_to(turned, shape)), bits))
    op = bitterfly.PackedButterfly(
        np.concatenate(words),
        (("angle", bits),) * p,
        np.ones(n, np.float32),
        relative_error=np.nan,
        error_kind="estimated",
    )
    for k in range(2):
        x = np.repeat(np.arange(2) == k, n // 2).astype(np.float32)
        angle = np.pi * q[0, k].astype(np.float64) / 2**bits
        expected = np.concatenate([np.cos(angle), np.sin(angle)])
        assert np.max(np.abs(op.apply(x) - expected)) <= tolerances.decoded(np.float32)


@pytest.mark.parametrize("n", [8192, 2**15])
@pytest.mark.parametrize("bits", [2, 4])
def test_depth_first_parts(isa: str, n: int, bits: float) -> None:
    x = own.gaussian(np.random.default_rng(0), (n,), np.float32)
    for mode in ("forward", "transpose"):
        check(operator(n, np.float32, bits), x, mode)


@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("columns", [1, 2, 5, 17, 33])
def test_large_panels(isa: str, dtype: type, columns: int) -> None:
    """Several vectors at once where the passes are cut into parts of the caches: each as if it came alone."""
    n = 8192
    x = own.gaussian(np.random.default_rng(0), (n, columns), dtype)
    kinds = own.code_kinds(dtype)
    codes = tuple((kinds[i % len(kinds)], 1 + 5 * i % 16) for i in range(13))
    for op in (operator(n, dtype, 0), coded(n, dtype, codes)):
        for mode in ("forward", "adjoint"):
            y = view(op, mode).apply(x)
            for j in range(columns):
                np.testing.assert_array_equal(y[:, j], view(op, mode).apply(x[:, j].copy()))
        check(op, x[:, : min(columns, 3)], "forward")


@pytest.mark.parametrize("columns", [0, 1, 2, 7, 8, 9, 15, 16, 17, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize("bits", [0, 2])
def test_many_columns(isa: str, columns: int, dtype: type, bits: float) -> None:
    x = own.gaussian(np.random.default_rng(1), (64, columns), dtype)
    for mode in MODES:
        check(operator(64, dtype, bits), x, mode)


@pytest.mark.parametrize("x_dtype", [*own.DTYPES, np.int32, np.bool_, np.float16, ">f8"])
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_dtypes_of_x(dtype: type, x_dtype: Any) -> None:
    op = operator(32, dtype, 4)
    x = (own.gaussian(np.random.default_rng(2), (32,), np.complex128) * 3).astype(np.complex128)
    x = x.astype(x_dtype) if np.dtype(x_dtype).kind == "c" else x.real.astype(x_dtype)
    y = op.apply(x)
    working = {"f": np.result_type(x.dtype.newbyteorder("="), np.float32), "c": x.dtype}.get(
        x.dtype.kind, np.dtype(float)
    )
    assert y.dtype == np.result_type(op.dtype, working)
    assert np.all(np.abs(y - multiply(op, x, "forward")) <= bound_of(op, x, "forward"))


@pytest.mark.parametrize("bits", [0, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_strides(dtype: type, bits: float) -> None:
    op = operator(64, dtype, bits)
    x = own.gaussian(np.random.default_rng(3), (64, 5), dtype)
    expected = op.apply(x)
    wide = np.zeros((192, 10), dtype)
    wide[::3, ::2] = x
    broadcast = np.broadcast_to(x[:, :1], (64, 4))
    for same in (np.asfortranarray(x), wide[::3, ::2], x[::-1].copy()[::-1], x[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(op.apply(same), expected)
    np.testing.assert_array_equal(op.apply(broadcast), np.repeat(expected[:, :1], 4, axis=1))
    out = np.zeros((64, 10), dtype)[:, ::2]
    assert op.apply(x, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_out_is_checked() -> None:
    op = operator(16, np.float64, 2)
    x = np.ones(16)
    read_only = np.zeros(16)
    read_only.flags.writeable = False
    for out, error in [
        (np.zeros(8), ValueError),
        (np.zeros((16, 1)), ValueError),
        (np.zeros(16, np.float32), TypeError),
        (read_only, ValueError),
        ([0.0] * 16, TypeError),
    ]:
        with pytest.raises(error, match="out: expected"):
            op.apply(x, out=out)
    expected = op.apply(x)
    assert op.apply(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("bits", [0, 2])
@pytest.mark.parametrize(("source", "target"), [((0, 16), (8, 24)), ((8, 24), (0, 16)), ((0, 16), (0, 16))])
@pytest.mark.parametrize("step", [1, -1])
def test_out_may_overlap_x(bits: float, source: tuple[int, int], target: tuple[int, int], step: int) -> None:
    op = operator(16, np.float64, bits)
    memory = np.random.default_rng(6).standard_normal(24)
    x, out = memory[slice(*source)], memory[slice(*target)][::step]
    expected = op.apply(x.copy())
    op.apply(x, out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("bits", [0, 2])
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_nan_and_zero(isa: str, dtype: type, bits: float) -> None:
    """A NaN reaches every output that it touches; zero gives zero exactly, and the workspace keeps neither."""
    op = operator(64, dtype, bits)
    x = np.ones((64, 3), dtype)
    expected = op.apply(x)
    x[5, 1] = np.nan
    y = op.apply(x)
    touched = op.todense()[:, 5] != 0
    assert np.all(np.isnan(y[touched, 1]))
    np.testing.assert_array_equal(y[:, [0, 2]], expected[:, [0, 2]])
    np.testing.assert_array_equal(op.apply(np.zeros((64, 3), dtype)), 0)


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_tiers_agree(isa: str, dtype: type) -> None:
    """Products of two tiers differ by their roundings; sums of one tier do not depend on the number of columns."""
    x = own.gaussian(np.random.default_rng(8), (512,), dtype)
    for bits in (0, 1, 2.5, 8):
        op = operator(512, dtype, bits)
        y = op.apply(x)
        _core.select_isa("scalar")
        expected = op.apply(x)
        _core.select_isa(isa)
        assert np.all(np.abs(y - expected) <= 2 * bound_of(op, x, "forward"))


@pytest.mark.parametrize("x", [np.ones(16, object), np.array(["a"] * 16), np.ones(16, "M8[s]"), np.ma.ones(16), None])
def test_bad_types(x: Any) -> None:
    with pytest.raises(TypeError, match="x: expected"):
        operator(16, np.float64, 2).apply(x)


@pytest.mark.parametrize("x", [np.ones(15), np.ones((15, 2)), np.ones((2, 15, 2)), np.float64(3)])
def test_bad_shapes(x: Any) -> None:
    with pytest.raises(ValueError, match="x: expected shape"):
        operator(16, np.float64, 2).apply(x)


@pytest.mark.parametrize("bits", [0, 2, 4, 8])
@pytest.mark.parametrize("dtype", own.DTYPES)
@pytest.mark.parametrize("n", [16, 512])
def test_adjointness(isa: str, n: int, dtype: type, bits: float) -> None:
    """|<A x, y> - <x, A^H y>| against ||A x|| ||y|| would vanish with A x: the moduli of the factors bound it."""
    op = operator(n, dtype, bits)
    rng = np.random.default_rng(4)
    x, y = own.gaussian(rng, (n,), dtype), own.gaussian(rng, (n,), dtype)
    wide = np.result_type(dtype, np.float64)
    left = np.vdot(y.astype(wide), op.apply(x).astype(wide))
    right = np.vdot(op.H.apply(y).astype(wide), x.astype(wide))
    assert abs(left - right) <= 2 * np.vdot(np.abs(y), bound_of(op, x, "forward"))


@pytest.mark.parametrize("bits", [0, 4])
@pytest.mark.parametrize("dtype", own.DTYPES)
def test_linearity(isa: str, dtype: type, bits: float) -> None:
    op = operator(128, dtype, bits)
    rng = np.random.default_rng(5)
    x, y = own.gaussian(rng, (128,), dtype), own.gaussian(rng, (128,), dtype)
    z = 2 * np.abs(x) + np.abs(y)
    difference = op.apply(2 * x + y) - 2 * op.apply(x) - op.apply(y)
    sums = 4 * tolerances.eps(dtype) * np.abs(multiply(op, z, "forward", modulus=True))
    assert np.all(np.abs(difference) <= 2 * bound_of(op, z, "forward") + sums)


def test_dense_matrix_and_trace() -> None:
    for dtype in own.DTYPES:
        op = operator(64, dtype, 4)
        a = op.todense()
        np.testing.assert_array_equal(np.asarray(op), a)
        assert abs(op.trace() - np.trace(a)) <= tolerances.gamma(64, dtype) * np.sum(np.abs(np.diag(a)))
        factors, (rows, columns) = references(op)
        dense = np.linalg.multi_dot([reference.dense_factor(f) for f in factors])
        bound = tolerances.product_bound(64, dtype) * np.abs(dense).max() * 64
        assert np.abs(a[np.ix_(rows, columns)] - dense).max() <= bound


@pytest.mark.parametrize("n", [32, 256, 512, 2**14])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transform_without_weights(isa: str, n: int, dtype: type) -> None:
    """Sums of small integers are exact."""
    x = np.random.default_rng(0).integers(-4, 5, n).astype(dtype)
    out = np.empty_like(x)
    expected = transforms.hadamard(n) @ x.astype(np.float64)
    for transposed in (False, True):
        _core.hadamard(n, np.dtype(dtype)).apply(x, out, transposed, False)
        np.testing.assert_array_equal(out, np.rint(expected))


def test_isa_by_name() -> None:
    with pytest.raises(ValueError, match=r"BITTERFLY_ISA: expected one of .*scalar, got 'sse9'"):
        _core.select_isa("sse9")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("n", [2**13, 2**14, 2**17])
def test_reversed_orders_are_copied_tile_by_tile(n: int, dtype: Any) -> None:
    """A[rows[i], columns[j]] = B[i, j], bit by bit, also where an order is not quite the reversal."""
    rng = np.random.default_rng(n)
    base = transforms.random(n, rng=rng, dtype=dtype)
    order = bit_reversal(n)
    almost = order.copy()
    almost[[1, 2]] = order[[2, 1]]
    x = own.gaussian(rng, (n,), dtype)
    for rows, columns in [(order, None), (None, order), (almost, order)]:
        op = bitterfly.ButterflyOperator(base.factors, permutations=(rows, columns))
        rows, columns = (np.arange(n) if p is None else p for p in (rows, columns))
        for forward in (True, False):
            into, out = (columns, rows) if forward else (rows, columns)
            expected = np.empty_like(x)
            expected[out] = (base if forward else base.H) @ x[into]
            product = op if forward else op.H
            np.testing.assert_array_equal(product @ x, expected)
            np.testing.assert_array_equal(product @ np.repeat(x, 2)[::2], expected)
