"""Bits of an operator: one definition for every kind, counted anew from codes, words and factors."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from test_products import FIRST, OPERATORS

import bitterfly
import strategies as own
from bitterfly import Chain, algebra, bits, transforms
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.floats import DyadicFloats, HadamardFloats
from bitterfly.stores.tiles import Skeleton


def singles(op: Any) -> list[Any]:
    """The operators with factors of their own that an operator is made of, each as often as it is there."""
    return [one for member in op.members for one in singles(member)] or [op]


def counted(op: Any) -> tuple[int, int]:
    """Real numbers that the factors of one operator store, and their bits, from the numbers themselves."""
    planes = 2 if op.dtype.kind == "c" else 1
    if op.kind == "dense":
        m, n = op.codes.shape
        columns = np.repeat(op.codes.half_bits, 32)[:n].astype(int)
        return m * n, m * int(columns.sum()) // 2
    if op.kind == "cuts":
        return op.width * sum(op.shape), op.width * sum(op.shape)
    if op.kind == "sparse":
        return planes * op.matrix.data.size, 8 * op.matrix.data.nbytes
    if op.kind == "permutation":
        return 0, 0
    if op.kind == "toeplitz":
        return planes * op.coefficients.size, 8 * op.coefficients.nbytes
    if op.kind == "tensor_train":
        arrays = [core for core in op.stored_cores if isinstance(core, np.ndarray)]
        parts = [(core.size * (2 if core.dtype.kind == "c" else 1), 8 * core.nbytes) for core in arrays]
        codes = [core.matrix for core in op.stored_cores if not isinstance(core, np.ndarray)]
        parts += [counted(part) for code in codes for part in singles(code)]
        return sum(count for count, _ in parts), sum(width for _, width in parts)
    if op.kind == "inverse_fisher":
        return planes * op.gradients.size, 8 * op.gradients.nbytes
    if not hasattr(op, "codes"):
        stored = op.store.factors() if isinstance(op.store, DyadicFloats) else op.store.stored()
        arrays = [f.t if isinstance(f, Skeleton) else f for f in stored]
        width = 0 if isinstance(op.store, HadamardFloats) else 8 * sum(f.nbytes for f in arrays)
        return planes * sum(f.size for f in arrays), width
    count = width = 0
    for code, pattern, q in zip(op.codes, op.stored_chain, op.unpack(), strict=True):
        if isinstance(op.store, DirectionCodes):
            numbers, each = 2 * planes * q.size, code.bits / (2 * planes)
        else:
            a, b, c, d = pattern
            lanes, weights, _ = q.shape
            padded = code.kind != "skeleton"  # the rows of a dense block, to whole parts of a split
            numbers, each = planes * (a * b * c * d if padded else lanes * weights), float(code.bits)
        count, width = count + numbers, width + round(numbers * each)
    return count, width


def bytes_of_codes(op: Any) -> int:
    """Of one operator, with what pads them."""
    if op.kind == "dense":
        return int(op.codes.nbytes - op.codes.scale.nbytes)
    if op.kind == "cuts":
        return int(op.nbytes - op.coefficients.nbytes)
    if op.kind == "sparse":
        return int(op.matrix.data.nbytes)
    if op.kind in ("permutation", "toeplitz", "tensor_train", "inverse_fisher"):
        return int(op.nbytes)
    return int(op.words.nbytes if op.kind == "packed" else op.store.nbytes)


def test_mean_bits_are_those_of_the_numbers_that_are_stored() -> None:
    for seed in range(FIRST, FIRST + OPERATORS):
        drawn = own.operator(seed)
        counts, widths = zip(*map(counted, singles(drawn.op)), strict=True)
        assert drawn.op.mean_bits == pytest.approx(sum(widths) / max(sum(counts), 1), rel=1e-12), drawn.how
        assert drawn.op.bits_per_number == pytest.approx(8 * drawn.op.nbytes / max(sum(counts), 1)), drawn.how
        assert drawn.op.bits_per_entry == 8 * drawn.op.nbytes / np.prod(drawn.op.shape)


def test_bits_do_not_decrease_with_more_that_is_counted() -> None:
    for seed in range(FIRST, FIRST + OPERATORS):
        op = own.operator(seed).op
        words = 8 * sum(map(bytes_of_codes, singles(op)))
        codes = op.mean_bits * (sum(part.reals for part in op.numbers) or 1)
        assert codes <= words * (1 + 1e-12) and words <= 8 * op.nbytes, op
        first, second = map(float, re.findall(r"\d\S*", bits.in_words(op.mean_bits, op.bits_per_number)))
        assert first <= second, op


@pytest.mark.filterwarnings("ignore:the relative error is:UserWarning")
@pytest.mark.parametrize("dtype", ["f4", "c16"])
@pytest.mark.parametrize(("code", "widths"), [("direction", (0.5, 1, 2.3, 4, 7.9)), ("skeleton", (2, 4.3, 7.26, 16))])
def test_bits_asked_for_are_the_mean_bits_or_more(code: str, widths: tuple[float, ...], dtype: str) -> None:
    op: Any = transforms.random(64, rng=0, dtype=dtype)
    if code != "direction":
        a = own.gaussian(np.random.default_rng(0), (48, 40), dtype)
        op = bitterfly.factorize(a, Chain.for_shape(a.shape, rank=3))
    for width in widths:
        packed = bitterfly.quantize(op, bits=width, code=code)
        assert width - 0.5 < packed.mean_bits <= width
        if width == int(width):
            assert packed.mean_bits == width


def test_zero_bits_at_the_end_of_all_codes_are_not_counted() -> None:
    packed = bitterfly.quantize(transforms.dft(64), bits=2)
    assert packed.mean_bits == (1 + 2 + 3 + 4 + 5 + 6) / (6 * 4)


def test_compress_reports_the_same_for_all_chains() -> None:
    rows, columns = np.arange(60) / 60, np.arange(50)
    for a in (transforms.random(64, rng=0).todense(), np.exp(-1j * np.outer(rows, columns))):
        op = bitterfly.compress(a, rtol=1e-2)
        assert op.report.bits == op.mean_bits and op.report.bits_per_number == op.bits_per_number
        words = bits.in_words(op.mean_bits, op.bits_per_number)
        assert words in str(op.report) and words in op._repr_html_()
        assert f"{op.mean_bits:.3g} bits per stored number" in repr(op)


def test_floats_and_what_is_made_of_several() -> None:
    a = transforms.random(32, rng=0, dtype="f4")
    b = bitterfly.quantize(a, bits=4)
    assert a.mean_bits == a.bits_per_number == 32 and a.astype("f8").mean_bits == 64
    for both in (algebra.ButterflySum([a, b]), algebra.vstack([a, b]), algebra.hstack([a, b])):
        assert both.mean_bits == 18 and f"{both.mean_bits:.3g} bits per stored number" in repr(both)
    assert algebra.vstack([algebra.ButterflySum([a, b]), a]).mean_bits == pytest.approx((32 + 4 + 32) / 3)


def test_identity_rows_alone_store_no_number() -> None:
    pivots = np.ones((1, 1, 2), bool)
    op = bitterfly.ButterflyOperator([Skeleton((1, 2, 2, 1), pivots, np.empty((1, 1, 0, 2)))])
    np.testing.assert_array_equal(op.todense(), np.eye(2))
    assert op.mean_bits == 0 <= op.bits_per_number
