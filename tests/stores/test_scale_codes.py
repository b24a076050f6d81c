"""Scale vectors in short floats: codes, products, files, casts; the choice of their precision."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitterfly
import strategies as own
import tolerances
from bitterfly import PackedButterfly, quantize, transforms
from bitterfly.files import container, storage
from bitterfly.quantization.scales import scale_loss, scale_options
from bitterfly.stores.kinds import Code
from bitterfly.stores.scale_codes import ScaleCodes
from exact import true_error

DTYPES = ["f4", "f8", "c8", "c16"]
CODES = st.builds(lambda t, e: Code(f"float{t}", t + e), st.integers(1, 24), st.integers(1, 6))


def scale_vector(n: int, dtype: str, seed: int, spread: float = 4) -> np.ndarray:
    """Numbers of many sizes, some zero."""
    rng = np.random.default_rng(seed)
    scale = own.gaussian(rng, (n,), np.dtype(dtype)) * 2 ** rng.uniform(-spread, spread, n)
    scale[rng.random(n) < 0.1] = 0
    return scale.astype(dtype)


def coded_operator(n: int, dtype: str, code: Code, seed: int = 0) -> PackedButterfly:
    rng = np.random.default_rng(seed)
    base = quantize(transforms.random(n, rng=rng, dtype=dtype), bits=2)
    scale = ScaleCodes.of(scale_vector(n, dtype, seed), code)
    order = rng.permutation(n) if seed % 2 else None
    return PackedButterfly(base.words, base.codes, scale, permutations=(None, order), relative_error=0.5)


def plain(op: PackedButterfly) -> PackedButterfly:
    """The same operator with the numbers that the codes stand for."""
    known = {"permutations": op.base_permutations, "relative_error": op.relative_error, "mode": op.mode}
    return PackedButterfly(op.words, op.codes, op.scale.copy(), **known)


def rounded(x: float, top: int, code: Code) -> float:
    """By the definition: the nearest of all numbers of the code."""
    t = int(code.kind.removeprefix("float"))
    e = code.bits - t
    fields = range(2**e)
    values = [
        np.ldexp(m + (2 ** (t - 1) if E else 0), max(E, 1) - (2**e - 1) - (t - 1) + top)
        for E in fields
        for m in range(2 ** (t - 1))
    ]
    return float(np.copysign(min(values, key=lambda v: abs(v - abs(x))), x))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_numbers_are_the_nearest(t: int, e: int, seed: int) -> None:
    scale = scale_vector(16, "f8", seed)
    top = int(np.frexp(np.max(np.abs(scale)))[1]) - 1
    code = Code(f"float{t}", t + e)
    held = ScaleCodes.of(scale, code).numbers()
    for x, y in zip(scale, held, strict=True):
        assert abs(y - x) == abs(rounded(x, top, code) - x)


@pytest.mark.parametrize("dtype", DTYPES)
@given(CODES, st.integers(1, 10), st.integers(0, 99))
def test_products_are_those_of_the_decoded_scale(isa: str, dtype: str, code: Code, p: int, seed: int) -> None:
    """Bit for bit: the kernels decode to the same numbers, in all views and for any vectors."""
    op = coded_operator(2**p, dtype, code, seed)
    twin, rng = plain(op), np.random.default_rng(seed)
    for x in (own.gaussian(rng, (2**p,), np.dtype(dtype)), rng.standard_normal((2**p, 3)) + 1j):
        for view, other in ((op, twin), (op.T, twin.T), (op.H, twin.H), (op.conj(), twin.conj())):
            np.testing.assert_array_equal(view @ x, other @ x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_on_several_threads(dtype: str) -> None:
    op = coded_operator(1 << 13, dtype, Code("float7", 10), 1)
    x = np.random.default_rng(0).standard_normal((1 << 13, 20)).astype(dtype)
    np.testing.assert_array_equal(op.apply(x, workers=4), plain(op).apply(x, workers=1))
    np.testing.assert_array_equal(op.T.apply(x[:, 0], workers=4), plain(op).T.apply(x[:, 0], workers=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", ["zero", "subnormal", "tiny", "huge"])
def test_scales_at_the_ends_of_the_range(isa: str, dtype: str, size: str) -> None:
    limits = np.finfo(dtype)
    factor = {"zero": 0, "subnormal": limits.smallest_subnormal, "tiny": limits.tiny, "huge": limits.max}[size]
    scale = np.linspace(-1, 1, 32, dtype=dtype) * factor
    base = quantize(transforms.hadamard(32, dtype=limits.dtype), bits=0.5).astype(dtype)
    for code in (Code("float24", 30), Code("float3", 5), Code("float1", 2)):
        lengths = ScaleCodes.of(scale, code)
        op = PackedButterfly(base.words, base.codes, lengths, relative_error=0.0)
        assert np.all(np.isfinite(op.scale))
        x = np.zeros(32, dtype)
        x[3] = 1
        np.testing.assert_array_equal(op @ x, plain(op) @ x)
        if code.bits == 30 and size != "subnormal":
            np.testing.assert_allclose(op.scale, scale, rtol=2.0**-23, atol=limits.smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 16, 256])
def test_round_trips(tmp_path: Path, n: int, dtype: str) -> None:
    for op in (coded_operator(n, dtype, Code("float5", 9), 1), coded_operator(n, dtype, Code("float11", 13), 2).T):
        bitterfly.save(tmp_path / "op", op)
        again = bitterfly.load(tmp_path / "op")
        for other in (again, pickle.loads(pickle.dumps(op)), copy.deepcopy(op), op.replaced(relative_error=0.5)):
            assert other.scale_code == op.scale_code and other.nbytes == op.nbytes and other.mode == op.mode
            assert other.dtype == op.dtype
            np.testing.assert_array_equal(other.words, op.words)
            np.testing.assert_array_equal(other.scale, op.scale)
            np.testing.assert_array_equal(other @ np.ones(n), op @ np.ones(n))


def test_bytes_are_those_of_the_buffers() -> None:
    op = coded_operator(256, "c16", Code("float7", 10))
    assert op.nbytes == op.words.nbytes + 256 * 2 * 10 // 8 + 8
    assert not any(isinstance(v, np.ndarray) for v in vars(op).values())


@pytest.mark.parametrize(("first", "second"), [("f4", "f8"), ("f8", "f4"), ("c8", "c16"), ("c16", "c8"), ("f4", "c8")])
def test_casts_keep_the_code(first: str, second: str) -> None:
    op = coded_operator(64, first, Code("float6", 10))
    cast = op.astype(second)
    assert cast.dtype == second and cast.scale_code == op.scale_code
    np.testing.assert_array_equal(cast.scale, op.scale)  # six bits fit every precision
    assert np.allclose(cast @ np.ones(64), op @ np.ones(64), rtol=1e-4)


def test_casts_out_of_range() -> None:
    base = quantize(transforms.hadamard(16), bits=0.5)
    for factor, fits in ((1e300, False), (1e-300, True)):
        scale = ScaleCodes.of(np.full(16, factor), Code("float4", 6))
        op = PackedButterfly(base.words, base.codes, scale, relative_error=0.0)
        if fits:
            np.testing.assert_array_equal(op.astype("f4").scale, 0)
        else:
            with pytest.raises(OverflowError, match="scale vector"):
                op.astype("f4")


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_are_those_of_the_numbers(dtype: str) -> None:
    """The prediction is exact for short vectors."""
    scale = scale_vector(128, dtype, 3)
    found = scale_options(scale)
    for option, code in zip(found.options[1:], found.codes[1:], strict=True):
        assert code is not None
        codes = ScaleCodes.of(scale, code)
        assert option.nbytes == codes.nbytes
        assert option.square == pytest.approx(scale_loss(scale, codes), rel=1e-6, abs=1e-30)


def test_losses_of_long_vectors_are_predicted() -> None:
    scale = scale_vector(1 << 17, "f8", 4)
    found = scale_options(scale)
    for at in (20, 40, 60, 80):
        code = found.codes[at]
        assert code is not None
        assert found.options[at].square == pytest.approx(scale_loss(scale, ScaleCodes.of(scale, code)), rel=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rtol", [0.2, 1e-2, 1e-3])
def test_the_ledger_is_true(dtype: str, rtol: float) -> None:
    """Squares of the losses of factors and scale add up exactly; the rest is the bound on roundings."""
    op = transforms.random(256, rng=1, dtype=dtype)
    a = op.astype(np.result_type(dtype, np.float64)).todense()
    packed = quantize(op, rtol=rtol)
    true, excess = true_error(a, packed), tolerances.ledger_excess(256, dtype, float(np.linalg.norm(a)))
    assert packed.scale_code is not None
    assert true <= packed.relative_error <= min(rtol, true + excess)


@pytest.mark.parametrize("dtype", ["f4", "c16"])
def test_bytes_and_tolerances_take_short_scales(dtype: str) -> None:
    op = transforms.random(256, rng=2, dtype=dtype)
    for bits in (2, 4):
        equal = quantize(op, bits=bits)
        assert equal.scale_code is None
        fewer, better = quantize(op, rtol=equal.relative_error), quantize(op, nbytes=equal.nbytes)
        assert fewer.nbytes < 0.9 * equal.nbytes
        assert better.nbytes <= equal.nbytes and better.relative_error < 0.7 * equal.relative_error
    a = op.todense()
    assert bitterfly.compress(a, rtol=1e-2).scale_code is not None


def test_exact_scales_cost_two_bits() -> None:
    """The lengths of Hadamard columns are a power of two: one bit of significand and one of exponent."""
    packed = quantize(transforms.hadamard(256), rtol=1e-10)
    assert packed.scale_code == Code("float1", 2)
    assert packed.relative_error < 1e-12
    assert packed.nbytes == packed.words.nbytes + 256 // 4 + 8


def test_fewest_bytes() -> None:
    op = transforms.random(64, rng=5)
    with pytest.raises(ValueError, match="nbytes: expected at least") as problem:
        quantize(op, nbytes=10)
    least = int(str(problem.value).split("at least ")[1].split(",")[0])
    assert quantize(op, nbytes=least).nbytes == least
    with pytest.raises(ValueError, match="nbytes"):
        quantize(op, nbytes=least - 1)


def test_codes_do_not_stand_beside_tiles() -> None:
    op = quantize(transforms.random(16, rng=0), bits=4, code="lattice")
    with pytest.raises(TypeError, match="scale"):
        PackedButterfly(
            op.words,
            op.codes,
            ScaleCodes.of(op.scale, Code("float4", 7)),
            chain=op.chain,
            steps=op.steps,
            relative_error=0.0,
        )


# ---- hostile files: the checksum is right, the contents are not ----

HEADERS: list[tuple[str, Any]] = [
    ("format_version", 1),
    ("format_version", 2),
    ("kind", "float"),
    ("scale_code", ["float7"]),
    ("scale_code", ["float7", 14]),
    ("scale_code", ["float7", 7]),
    ("scale_code", ["float7", True]),
    ("scale_code", ["float25", 27]),
    ("scale_code", ["lattice", 8]),
    ("scale_code", ["angle", 8]),
    ("scale_code", None),
    ("scale_code", {"float7": 10}),
    ("dtype", "float64"),
]
TENSORS: list[tuple[str, Any]] = [
    ("steps", np.array([0.75])),
    ("steps", np.array([0.0])),
    ("steps", np.array([-1.0])),
    ("steps", np.array([np.nan])),
    ("steps", np.array([np.inf])),
    ("steps", np.array([2.0**128])),
    ("steps", np.array([2.0**-150])),
    ("steps", np.array([1.0, 1.0])),
    ("steps", np.array([1.0], np.float32)),
    ("scale", np.zeros(32, np.uint32)),
    ("scale", np.zeros(16, np.float32)),
    ("scale", np.full(16, 1 << 9, np.uint32)),  # negative zeros
    ("scale", np.full(16, 1 << 10, np.uint32)),  # a bit beyond the codes
]


@pytest.mark.parametrize(("name", "value"), HEADERS + TENSORS)
def test_hostile_files(tmp_path: Path, name: str, value: Any) -> None:
    from safetensors.numpy import save as to_bytes

    header, tensors = storage.sealed(coded_operator(16, "f4", Code("float7", 10)))
    (tensors if isinstance(value, np.ndarray) else header)[name] = value
    header["sha256"] = container.checksum(header, tensors)
    (tmp_path / "bad").write_bytes(to_bytes(tensors, metadata={"bitterfly": container.canonical(header)}))
    if (name, value) == ("dtype", "float64"):
        assert bitterfly.load(tmp_path / "bad").dtype == np.float64  # the same codes, another precision
        return
    with pytest.raises(ValueError, match=r"bad: "):
        bitterfly.load(tmp_path / "bad")


def test_files_of_plain_scales_stay_version_1() -> None:
    op = quantize(transforms.random(16, rng=0), bits=2)
    assert storage.sealed(op)[0]["format_version"] == 1
    assert storage.sealed(coded_operator(16, "f8", Code("float7", 10)))[0]["format_version"] == 4
