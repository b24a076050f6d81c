"""Tensor trains in codes: errors that are never below the true one, bytes and tolerances that are kept, refusals."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

import bitterfly
import exact
import strategies as own
from bitterfly import reference, structures
from bitterfly.inputs import UnmetError
from bitterfly.structures import CodedCore, TensorTrainOperator

SIZES = {np.dtype("f4"): 30, np.dtype("f8"): 900, np.dtype("c8"): 30, np.dtype("c16"): 900}


def train(rng: np.random.Generator) -> TensorTrainOperator:
    """Cores of any kind: graded, rank-deficient, zero, long and thin, of any scale, rows in any order."""
    dtype, d = np.dtype(own.DTYPES[rng.integers(4)]), int(rng.choice([1, 2, 2, 2, 3, 4]))
    if rng.random() < 0.2:
        return own._tensor_train(rng).op  # type: ignore[no-any-return]
    most = {1: 40, 2: 12, 3: 6, 4: 4}[d]
    ranks = [1, *(int(r) for r in rng.integers(1, {2: 40}.get(d, 12), d - 1)), 1]
    digits = [(int(a), int(b)) for a, b in rng.integers(1, most, (d, 2))]
    if d == 2 and rng.random() < 0.6:  # of low rank
        digits = [(int(rng.integers(1, 120)), 1), (1, int(rng.integers(1, 120)))]
    cores = []
    for (m, n), r, s in zip(digits, ranks[:-1], ranks[1:], strict=True):
        core = own._numbers(rng, (r, m, n, s), dtype)
        if rng.random() < 0.3:
            core = core * 10.0 ** -np.linspace(0, 6, s)
        size = int(rng.integers(-SIZES[dtype], SIZES[dtype])) // d if rng.random() < 0.3 else 0
        cores.append(own.ldexp(core.astype(dtype), size).astype(dtype))
    if rng.random() < 0.05:
        cores[-1] *= 0
    rows = int(np.prod([m for m, _ in digits]))
    order = rng.permutation(rows)[: rng.integers(1, rows + 1)] if rng.random() < 0.3 else None
    op = TensorTrainOperator(cores, rows=order, mode=own._mode(rng))
    return op.replaced(relative_error=0.0, error_kind="exact")


@pytest.mark.parametrize("part", range(4))
def test_errors_are_never_below_the_true_one(part: int) -> None:
    for seed in range(9 * part, 9 * part + 9):
        rng = np.random.default_rng([9, seed])
        op = train(rng)
        kind = str(rng.choice(["bits", "nbytes", "rtol"]))
        asked: dict[str, Any] = {"bits": float(rng.uniform(1, 9))}
        if kind == "nbytes":
            asked = {"nbytes": int(op.nbytes * rng.uniform(0.1, 1.2)) + 200}
        if kind == "rtol":
            asked = {"rtol": float(10 ** rng.uniform(-4, -0.3))}
        true = exact.dense(op)
        try:
            out = bitterfly.quantize_train(op, **asked, rng=seed)
        except UnmetError:
            continue
        where = f"{seed}: {op!r} {op.stored_cores} {asked}"
        assert exact.error(true, out) <= out.relative_error, where
        assert out.dtype == op.dtype and out.mode == op.mode and out.is_alike(op), where
        assert out.nbytes <= asked.get("nbytes", np.inf), where
        assert not out.relative_error > asked.get("rtol", np.inf), where
        assert not true.any() or _is_within(out, asked.get("bits", np.inf)), where


def _is_within(op: TensorTrainOperator, bits: float) -> bool:
    """Whether numbers take so many bits in the mean; the scales of columns on top where they leave less than one."""
    count, taken = (sum(getattr(part, name) for part in op.numbers) for name in ("reals", "bits"))
    longest = max(max(r * m, n * s) for r, m, n, s in (core.shape for core in op.stored_cores))
    scales = 8 * 16 * -(-longest // 16) * op.dtype.type(0).real.itemsize
    return taken <= (bits * count + (scales if scales > (bits - 1) * count else 0)) * (1 + 1e-9)


def low_rank(rng: np.random.Generator, m: int, n: int, sizes: np.ndarray) -> TensorTrainOperator:
    u, v = (np.linalg.qr(rng.standard_normal((k, len(sizes))))[0] for k in (m, n))
    cores = (u * sizes).reshape(1, m, 1, -1), np.ascontiguousarray(v.T).reshape(-1, 1, n, 1)
    return TensorTrainOperator([core.astype(np.float32) for core in cores])


@pytest.mark.parametrize("decades", [0, 1, 2])
def test_low_rank_errs_as_the_geometric_mean_of_its_singular_values(decades: int) -> None:
    """Of both factors, each less than codes of the same bits whose errors all count alike."""
    sizes = 10.0 ** -np.linspace(0, decades, 96)
    op = low_rank(np.random.default_rng(0), 600, 400, sizes)
    out = bitterfly.quantize_train(op, bits=3, rng=0)
    mean = np.exp(np.mean(np.log(sizes**2))) / np.mean(sizes**2)
    assert out.relative_error < 1.25 * np.sqrt(2 * mean) * 0.139
    assert out.mean_bits <= 3


def test_in_the_same_bytes_it_errs_less_than_short_floats() -> None:
    x = np.arange(512)
    a = (1 / (1 + np.abs(np.subtract.outer(x, x)))).astype(np.float32)
    u, s, v = np.linalg.svd(a.astype(np.float64))
    cores = [(u * s).reshape(1, 512, 1, 512), v.reshape(512, 1, 512, 1)]
    op = TensorTrainOperator([core.astype(np.float32) for core in cores])
    nbytes = 2 * 2 * 512 * 24
    out = bitterfly.quantize_train(op, nbytes=nbytes, rng=0)
    floats = np.linalg.norm(s[24:]) / np.linalg.norm(s)
    assert out.nbytes <= nbytes and out.relative_error < 0.8 * floats


@pytest.mark.parametrize("rtol", [0.3, 0.03, 3e-3, 3e-5])
def test_tolerances_are_met_in_fewer_bytes(rtol: float) -> None:
    op = low_rank(np.random.default_rng(1), 300, 500, 10.0 ** -np.linspace(0, 3, 64))
    out = bitterfly.quantize_train(op, rtol=rtol, rng=0)
    assert 0.3 * rtol < out.relative_error <= rtol
    assert out.nbytes < op.nbytes * (0.3 if rtol > 1e-3 else 0.8)


def test_the_error_of_the_train_itself_counts() -> None:
    op = low_rank(np.random.default_rng(1), 100, 100, np.ones(20)).replaced(relative_error=0.1, error_kind="estimated")
    out = bitterfly.quantize_train(op, rtol=0.2, rng=0)
    assert 0.1 < out.relative_error <= 0.2 and out.error_kind == "estimated"
    with pytest.raises(UnmetError, match=r"rtol: 0\.05 is not met: 0\.1 is reached"):
        bitterfly.quantize_train(op, rtol=0.05)


def test_tolerances_of_small_cores() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        a = np.outer(rng.standard_normal(24), np.ones(24)) + 1e-14 * rng.standard_normal((24, 24))
        train = structures.tensor_train(a, [2, 2, 2, 3], [2, 2, 2, 3], rtol=1e-3 if seed % 2 else 1e-13)
        rtol = float(rng.uniform(0.001, 0.4))
        op = bitterfly.quantize_train(train, rtol=rtol, rng=0)
        assert exact.error(a, op) <= op.relative_error <= rtol


@pytest.mark.parametrize("largest", [1e37, 3e38])
def test_cores_that_do_not_fit_are_refused_or_coded(largest: float) -> None:
    """The largest numbers of single precision, which sums of codes may leave."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        a = rng.uniform(-1, 1, (int(rng.integers(1, 60)), 2)) @ rng.uniform(-0.5, 0.5, (2, 48))
        a = (largest * a).astype(np.float32)
        for structure, rtol in (("auto", 0.02), ("tensor_train", 0.3), ("low_rank", 0.02)):
            try:
                op = bitterfly.compress(a, rtol=rtol, structure=structure)  # type: ignore[arg-type]
            except (UnmetError, OverflowError):
                continue
            assert exact.error(a, op) <= op.relative_error <= rtol


@pytest.mark.parametrize("dtype", own.DTYPES)
def test_bits_of_small_cores(dtype: Any) -> None:
    """Scales of a core may take more than its numbers: that many bits a number are there for the codes all the same."""
    for seed, (rows, columns) in enumerate([([1], [1]), ([2, 2], [2, 2]), ([4, 3, 2], [3, 3, 4]), ([60, 1], [1, 2])]):
        a = own.gaussian(np.random.default_rng(seed), (prod(rows), prod(columns)), dtype)
        for ranks in (1, 3):
            train = structures.tensor_train(a, rows, columns, ranks=ranks)
            errors = []
            for bits in (1, 2, 4, 8):
                op = bitterfly.quantize_train(train, bits=bits, rng=0)
                errors.append(op.relative_error)
                assert exact.error(a, op) <= op.relative_error
            assert errors[-1] <= 1.1 * train.relative_error + 0.01


def test_zeros_of_any_precision() -> None:
    for dtype in own.DTYPES:
        op = TensorTrainOperator([np.zeros((1, 3, 4, 2), dtype), np.ones((2, 5, 2, 1), dtype)])
        out = bitterfly.quantize_train(op, nbytes=100)
        assert out.dtype == dtype and out.relative_error == 0 and not reference.dense(out).any()


def test_equal_seeds_make_equal_codes_and_products_keep_a_precision() -> None:
    op = low_rank(np.random.default_rng(3), 128, 96, np.ones(40))
    first, second = (bitterfly.quantize_train(op, bits=4, rng=7, workers=w) for w in (1, 2))
    x = np.random.default_rng(4).standard_normal(96).astype(np.float32)
    np.testing.assert_array_equal(first @ x, second @ x)
    assert all(isinstance(core, CodedCore) for core in first.stored_cores)
    y, rough = first @ x, first.T.T
    rough.precision = "int8"
    assert rough.precision == "int8" and first.precision == "float"
    apart = float(np.linalg.norm(rough @ x - y) / np.linalg.norm(y))
    assert 1e-4 < apart < 0.1
    np.testing.assert_array_equal(rough.astype(np.float32) @ x, y)


def test_rows_are_looked_up_without_the_rest() -> None:
    op = structures.tensor_train(np.random.default_rng(0).standard_normal((60, 24)), [3, 4, 5], [2, 3, 4], ranks=9)
    out = bitterfly.quantize_train(op, bits=5, rng=0)
    whole = reference.dense(out)
    for some in ([7], [59, 0, 7, 7], slice(None)):
        np.testing.assert_allclose(out.rows(some), whole[some].reshape(-1, 24), atol=1e-5)
        np.testing.assert_allclose(out.T.rows([3]), whole.T[[3]], atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "bits, nbytes, rtol: expected one of them"),
        ({"bits": 2, "nbytes": 100}, "bits, nbytes, rtol: expected only one of them"),
        ({"bits": 0.5}, "bits: expected 1 or more, got 0.5"),
        ({"nbytes": 40}, "nbytes: 40 are too few for any codes of 2 cores"),
        ({"nbytes": 0}, "nbytes: expected a positive number"),
        ({"rtol": -1.0}, "rtol: expected"),
        ({"rtol": 1e-12}, "rtol: 1e-12 is not met"),
        ({"bits": 3, "code": "window9"}, "code: expected window7 or window11"),
    ],
)
def test_refusals(asked: dict[str, Any], message: str) -> None:
    op = low_rank(np.random.default_rng(0), 50, 40, np.ones(10))
    with pytest.raises(ValueError, match=message):
        bitterfly.quantize_train(op, **asked)


def test_what_is_no_train_is_refused() -> None:
    with pytest.raises(TypeError, match="op: expected a TensorTrainOperator, got ndarray"):
        bitterfly.quantize_train(np.ones((4, 4)), bits=3)  # type: ignore[arg-type]
