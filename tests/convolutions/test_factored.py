"""Kernels of convolutions in factors of every structure: products with images, adjoints, operations, refusals."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitterfly
import exact
import strategies as own
from bitterfly import reference
from bitterfly.convolutions import FactoredConvolution, unfolded
from bitterfly.cuts import CutTensor
from bitterfly.structures import TensorTrainOperator


def close(got: Any, want: np.ndarray, size: float, dtype: Any) -> None:
    """Within rounding of the sums of moduli, of which `size` is the largest."""
    assert np.shape(got) == want.shape
    assert np.max(np.abs(got - want), initial=0) <= 500 * np.finfo(dtype).eps * size


@pytest.mark.parametrize("seed", range(60))
def test_kernels_are_what_they_store(seed: int) -> None:
    drawn = own.convolution(seed)
    want, kernel = drawn.dense, drawn.op
    size = float(np.abs(want).max()) + 1
    close(reference.kernel(kernel), want, size, np.float64)
    close(kernel.dense(), want, 100 * size, kernel.dtype)
    assert kernel.dense().dtype == kernel.dtype
    numbers = [
        factor.parameters if not isinstance(factor, CutTensor) else factor.width * (1 + sum(factor.shape))
        for factor in kernel.factors
    ]
    assert kernel.parameters == sum(numbers) and kernel.nbytes == sum(factor.nbytes for factor in kernel.factors)


@pytest.mark.parametrize("seed", range(60, 140))
def test_products_with_images(seed: int, tmp_path: Path) -> None:
    rng, drawn = np.random.default_rng(seed), own.convolution(seed)
    kernel, (o, i, *window) = drawn.op, drawn.op.shape
    d, groups = len(window), int(rng.choice([g for g in range(1, o + 1) if o % g == 0]))
    stride, padding, dilation = (rng.integers(low, 4, d).tolist() for low in (1, 0, 1))
    least = [max(t * (k - 1) + 1 - 2 * p, 1) for t, k, p in zip(dilation, window, padding, strict=True)]
    image = [n + int(rng.integers(0, 4)) for n in least]
    facts = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    op = kernel.to_operator(image, **facts)
    x = rng.standard_normal((i * groups, *image))
    want = reference.convolution(drawn.dense, x, stride, padding, dilation, groups)
    size = float(np.abs(drawn.dense).max() + 1) * i * float(np.prod(window)) * 100
    close(op @ x.ravel(), want.ravel(), size, kernel.dtype)
    y = rng.standard_normal(op.shape[0])
    assert abs((op @ x.ravel()) @ y - (op.H @ y) @ x.ravel()) <= 1e3 * np.finfo(kernel.dtype).eps * size * x.size
    kernel.save(tmp_path / "kernel")
    for same in (FactoredConvolution.load(tmp_path / "kernel"), pickle.loads(pickle.dumps(kernel))):
        assert (same.shape, same.structure, same.error_kind) == (kernel.shape, kernel.structure, kernel.error_kind)
        np.testing.assert_array_equal(same.to_operator(image, **facts) @ x.ravel(), op @ x.ravel())


def test_operations_are_those_of_all_stages() -> None:
    rng = np.random.default_rng(0)
    kernel = bitterfly.convolutions.tensor_train(rng.standard_normal((6, 5, 3, 2)), ranks=[4, 3, 2])
    # First a pixel of 5 channels to 2, then windows of 2 and of 3, and 4 channels to 6.
    sizes = [2 * 5 * 8 * 9, 3 * 2 * 2 * 10 * 5, 4 * 3 * 3 * 4 * 5, 6 * 4 * 4 * 5]
    assert kernel.flops([8, 9], stride=2, padding=[1, 1]) == 2 * sum(sizes)
    whole = unfolded(bitterfly.SparseOperator(np.ones((6, 30))), (6, 5, 3, 2))
    assert whole.flops([8, 9]) == 2 * 6 * 30 * 6 * 8
    assert whole.flops([8, 9], groups=3) == whole.flops([8, 9])
    thin = TensorTrainOperator([rng.standard_normal((1, 6, 1, 2)), rng.standard_normal((2, 1, 30, 1))])
    assert unfolded(thin, (6, 5, 3, 2)).flops([8, 9]) == 2 * 2 * 36 * 6 * 8
    point = bitterfly.convolutions.tensor_train(rng.standard_normal((6, 5, 1)), ranks=2)
    assert point.flops([9], stride=2) == 2 * 5 * (2 * 5 + 6 * 2)


def test_windows_that_cost_more_together_stay_apart() -> None:
    rng = np.random.default_rng(0)
    factors = [TensorTrainOperator([rng.standard_normal((1, size, 4, 1))]) for size in (6, 7, 7, 5)]
    apart = FactoredConvolution((6, 5, 7, 7), "canonical", tuple(factors))
    assert [window.weight.shape for window in apart.stages.windows] == [(4, 1, 7, 1), (4, 1, 1, 7)]
    x = rng.standard_normal((5, 9, 8))
    want = reference.convolution(apart.dense(), x, (1, 1), (2, 2), (1, 1), 1)
    np.testing.assert_allclose(apart.to_operator((9, 8), padding=2) @ x.ravel(), want.ravel(), atol=1e-11)


def test_signs_are_multiplied_as_bits() -> None:
    rng = np.random.default_rng(0)
    kernel = bitterfly.convolutions.signed_cuts(rng.standard_normal((64, 32, 3)), bits=1, rng=0)
    first, _, last = kernel.stages
    assert first.bits_per_entry < 4 and last.bits_per_entry < 4  # scales, and rows that are filled up


@pytest.mark.parametrize(
    ("shape", "structure", "factors", "message"),
    [
        ((4, 3), "unfolded", 1, "shape: expected"),
        ((4, 3, 0), "unfolded", 1, "shape: expected"),
        ((4, 3, 2), "dense", 1, "structure: expected one of canonical"),
        ((4, 3, 2), "unfolded", 2, r"factors: expected one of shape \(4, 6\), got shapes"),
        ((4, 3, 3), "unfolded", 1, r"factors: expected one of shape \(4, 9\), got shapes \(4, 6\)"),
        ((4, 3, 2), "canonical", 3, r"factors: expected 3 of shapes \(4, R\), \(2, R\), \(3, R\), got"),
        ((4, 3, 2), "tensor_train", 1, r"factors: expected a tensor train of cores \(1, 4, 1, r\)"),
    ],
)
def test_factors_that_do_not_fit(shape: Any, structure: str, factors: int, message: str) -> None:
    op = bitterfly.SparseOperator(np.ones((4, 6)))
    with pytest.raises(ValueError, match=message):
        FactoredConvolution(shape, structure, (op,) * factors)


def test_what_is_no_kernel() -> None:
    op = bitterfly.SparseOperator(np.ones((4, 6)))
    with pytest.raises(TypeError, match=r"factors\[0\]: expected what 'cuts' takes, got SparseOperator"):
        FactoredConvolution((4, 3, 2), "cuts", (op,))
    with pytest.raises(TypeError, match=r"factors\[0\]: expected real numbers, got complex"):
        FactoredConvolution((4, 3, 2), "unfolded", (op * 1j,))
    with pytest.raises(ValueError, match="error_kind: expected one of"):
        FactoredConvolution((4, 3, 2), "unfolded", (op,), 0.5, "guessed")
    with pytest.raises(TypeError, match="op: expected an operator of this package, got ndarray"):
        unfolded(np.ones((4, 6)), (4, 3, 2))  # type: ignore[arg-type]
    rows = TensorTrainOperator([np.ones((1, 4, 1, 2)), np.ones((2, 1, 6, 1))])
    for train in (rows, rows.T, TensorTrainOperator(rows.cores, rows=[0, 1, 2, 3])):
        with pytest.raises(ValueError, match="factors: expected a tensor train"):
            FactoredConvolution((4, 3, 2), "tensor_train", (train,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": [2, 2]}, "image: expected"),
        ({"image": [1]}, r"image: expected one that the window \(2,\) fits"),
        ({"image": [5], "stride": 0}, "stride: expected"),
        ({"image": [5], "dilation": [1, 1]}, "dilation: expected"),
        ({"image": [5], "padding": -1}, "padding: expected numbers that are not negative"),
        ({"image": [5], "groups": 3}, "groups: expected a number that divides 4"),
    ],
)
def test_images_that_do_not_fit(options: Any, message: str) -> None:
    kernel = unfolded(bitterfly.SparseOperator(np.ones((4, 6))), (4, 3, 2))
    with pytest.raises(ValueError, match=message):
        kernel.to_operator(**options)
    with pytest.raises(ValueError, match=message):
        kernel.flops(**options)


def test_files_are_named(tmp_path: Path) -> None:
    kernel = unfolded(bitterfly.SparseOperator(np.ones((4, 6))), (4, 3, 2))
    kernel.save(tmp_path / "kernel")
    with pytest.raises(ValueError, match=r"bitterfly\.convolutions\.FactoredConvolution\.load reads it"):
        bitterfly.load(tmp_path / "kernel")
    bitterfly.save(tmp_path / "op", kernel.factors[0])
    with pytest.raises(ValueError, match="kind: expected 'convolution', got 'sparse'"):
        FactoredConvolution.load(tmp_path / "op")


def test_errors_of_what_is_made_of_operators() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((16, 8, 3, 3))
    kernel = unfolded(bitterfly.quantize_dense(w.reshape(16, -1), bits=3, rng=0), w.shape)
    true = exact.error_of_kernel(w, kernel)
    assert true <= kernel.relative_error <= true * (1 + 1e-9)
    assert repr(kernel).startswith("<16 x 8 x 3 x 3 FactoredConvolution, unfolded, ")
