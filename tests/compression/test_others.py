"""compress takes low rank, sums of Kronecker products, tensor trains and signed cuts where they are best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg

import bitterfly
import exact
from bitterfly import compress, structures
from bitterfly.inputs import UnmetError
from bitterfly.structures import TensorTrainOperator

Matrix = np.ndarray[Any, np.dtype[Any]]


def gaussian(*shape: int, dtype: str = "f4", seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape)
    return (a + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else a).astype(dtype)


def matrix(name: str, m: int, n: int, dtype: str) -> tuple[Matrix, int]:
    """A matrix of a structure, and the numbers that it has."""
    x, y = np.arange(m)[:, None] / m, np.arange(n)[None, :] / n
    if name == "low_rank":
        rank = 5
        return gaussian(m, rank, dtype=dtype) @ gaussian(rank, n, dtype=dtype, seed=1), rank * (m + n)
    if name == "kronecker":
        p, q, terms = m // 16, n // 8, 3
        pairs = [(gaussian(p, q, dtype=dtype, seed=k), gaussian(16, 8, dtype=dtype, seed=9 + k)) for k in range(terms)]
        return sum(np.kron(*pair) for pair in pairs), terms * (p * q + 128)
    a = 1 / (1 + x + 3 * y + x * y)
    return (a * (1 + 2j) if np.dtype(dtype).kind == "c" else a).astype(dtype), 16 * 7 * 4


def checked(a: Matrix, **asked: Any) -> Any:
    op = compress(a, **asked)
    true = float(exact.error(a, op))
    assert true <= op.relative_error <= asked.get("rtol", np.inf)
    assert op.nbytes == op.report.nbytes <= asked.get("nbytes", np.inf)
    assert op.shape == a.shape and op.dtype == a.dtype
    x = gaussian(a.shape[1], 2, dtype=a.dtype.str[1:])
    np.testing.assert_allclose(op @ x, op.todense() @ x, atol=1e-4 * np.abs(a @ x).max())
    return op


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8"])
@pytest.mark.parametrize("shape", [(128, 128), (192, 320)], ids=str)
@pytest.mark.parametrize("name", ["low_rank", "kronecker", "tensor_train"])
def test_trains_are_found_and_take_fewer_bits(name: str, shape: tuple[int, int], dtype: str) -> None:
    a, numbers = matrix(name, *shape, dtype)
    reals = numbers * (2 if a.dtype.kind == "c" else 1)
    for rtol, bits in ((1e-1, 8), (1e-3, 27 if a.dtype.kind == "c" else 18)):
        alone = checked(a, rtol=rtol, structure=name)
        assert alone.report.structure == name and isinstance(alone, TensorTrainOperator)
        assert alone.nbytes <= reals * bits / 8 + 1500
        best = checked(a, rtol=rtol)
        assert best.nbytes <= alone.nbytes
    few = checked(a, nbytes=2 * reals + 400)
    assert isinstance(few, TensorTrainOperator) and few.relative_error < 0.1


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
@pytest.mark.parametrize("name", ["low_rank", "kronecker", "tensor_train"])
def test_trains_at_any_scale(name: str, scale: float) -> None:
    a, _ = matrix(name, 64, 64, "f8")
    op, plain = (checked(each, rtol=1e-2, structure=name) for each in (a * scale, a))
    assert op.nbytes <= 1.5 * plain.nbytes


def test_a_train_that_truncates_keeps_the_rest_for_its_codes() -> None:
    """Truncation and codes err about orthogonally: with both near the tolerance, the sum of both errors is above."""
    n = 200
    u, v = (np.linalg.qr(gaussian(n, n, dtype="f8", seed=k))[0] for k in range(2))
    a = (u * 0.6 ** np.arange(n)) @ v.T
    op = checked(a, rtol=1e-2, structure="low_rank")
    halves = structures.tensor_train(a, [n, 1], [1, n], rtol=0.5e-2)
    assert op.nbytes <= bitterfly.quantize_train(halves, rtol=1e-2, rng=0).nbytes


def test_cuts_below_one_bit() -> None:
    a = gaussian(160, 160)
    for asked in ({"rtol": 0.7}, {"nbytes": a.size // 16}):
        op = checked(a, **asked)
        assert op.report.structure == "cuts" and op.bits_per_entry < 0.9
    assert compress(a, rtol=0.05).report.structure == "dense"
    assert compress(a, rtol=0.3, structure="cuts").report.structure == "cuts"
    with pytest.raises(UnmetError, match="structure: the matrix is none of cuts"):
        compress(gaussian(40, 40, dtype="c8"), rtol=0.5, structure="cuts")


def test_cuts_below_one_bit_are_seen_where_they_may_be_better_than_expected() -> None:
    rng = np.random.default_rng(0)
    s, t = (rng.choice([-1.0, 1.0], (6, 128)) for _ in range(2))
    a = ((s.T * 2.0 ** -np.arange(6)) @ t).astype(np.float32)
    op = checked(a, nbytes=288)
    assert op.report.structure == "cuts" and op.relative_error < 0.05


def test_no_error_at_all() -> None:
    """What is exact is found; all else is refused with the reason."""
    a = gaussian(64, dtype="f8")
    assert checked(scipy.linalg.circulant(a), rtol=0).relative_error == 0
    for structure in ("auto", "cuts", ["low_rank", "tensor_train"]):
        with pytest.raises(
            ValueError, match=r"rtol: 0 is below the precision of float64|structure: the matrix is none"
        ):
            compress(gaussian(64, 64, dtype="f8"), rtol=0, structure=structure)


def test_hankel() -> None:
    t = gaussian(255, dtype="c16")
    a = t[np.add.outer(np.arange(128), np.arange(128))]
    op = checked(a, rtol=1e-6)
    assert op.report.structure == "hankel" and op.nbytes <= 16 * 255 + 4 * 128


def test_what_is_predicted_to_be_worse_is_said_and_not_made() -> None:
    tried = {each.name: each for each in compress(gaussian(128, 128), rtol=0.05).report.tried}
    assert tried["dense"].note == "measured" and tried["cuts"].note == "predicted"
    assert "low_rank" not in tried and "tensor_train" not in tried


def test_a_structure_alone_that_the_matrix_has_not() -> None:
    for name in ("low_rank", "kronecker", "tensor_train"):
        with pytest.raises(bitterfly.UnmetError, match=f"structure: the matrix is none of {name} as far as asked for"):
            compress(gaussian(128, 128), rtol=0.05, structure=name)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="bits: expected rtol or nbytes with structure"):
            compress(gaussian(128, 128), bits=4, structure=name)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="a: expected finite entries"):
            compress(np.full((64, 64), np.nan), rtol=0.05, structure=name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["low_rank", "kronecker", "tensor_train", "cuts", "hankel"])
def test_shapes_that_have_little_to_split(name: str) -> None:
    for shape in ((1, 1), (1, 7), (7, 1), (2, 2), (13, 1), (3, 97)):
        a = gaussian(*shape, dtype="f8")
        try:
            op = compress(a, rtol=0.3, structure=name)  # type: ignore[arg-type]
        except UnmetError:
            continue
        assert exact.error(a, op) <= op.relative_error <= 0.3


def test_the_same_matrix_twice() -> None:
    a, _ = matrix("low_rank", 96, 160, "f4")
    first, again = (compress(a, rtol=1e-2, rng=3, workers=workers) for workers in (1, 3))
    assert np.array_equal(first.todense(), again.todense())
    assert bitterfly.compress(a, rtol=1e-2).nbytes == first.nbytes
