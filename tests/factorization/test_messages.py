"""What the public functions say to common mistakes: which argument, what came, what may have been meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bitterfly
from bitterfly import Chain, algebra, transforms

A = np.eye(8)
OP = bitterfly.factorize(A)

MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: bitterfly.compress(A, 1e-3), TypeError, "chain: expected a Chain, got float; did you mean rtol=0.001?"),
    (lambda: bitterfly.compress(A, np.float64(0.5)), TypeError, "chain: .* did you mean rtol=0.5?"),
    (lambda: bitterfly.compress(A, 4), TypeError, "chain: expected a Chain, got int; did you mean bits=4?"),
    (lambda: bitterfly.factorize(A, 1e-3), TypeError, "chain: expected a Chain, got float; did you mean rtol=0.001?"),
    (lambda: bitterfly.factorize(A, 1e-3, terms=2), TypeError, "did you mean rtol=0.001?"),
    (lambda: bitterfly.factorize(A, 4), TypeError, "chain: expected a Chain, got int$"),
    (lambda: bitterfly.factorize(A, "auto"), TypeError, "chain: expected a Chain, got str$"),
    (lambda: bitterfly.factorize(A, [1e-3]), TypeError, "chain: expected a Chain, got list$"),
    (lambda: bitterfly.compress(A, rtol="1e-3"), TypeError, "rtol: expected a number, got str"),
    (lambda: bitterfly.compress(A, bits="4"), TypeError, "bits: expected a number, got str"),
    (lambda: bitterfly.compress(A, nbytes="100"), TypeError, "nbytes: expected an integer, got '100'"),
    (lambda: bitterfly.factorize(A, rtol="1e-3"), TypeError, "rtol: expected a number, got str"),
    (lambda: bitterfly.quantize(bitterfly.factorize(A), rtol="1e-3"), TypeError, "rtol: expected a number, got str"),
    (lambda: bitterfly.quantize(OP, 4), TypeError, "options: expected by name, got 4; did you mean bits=4?"),
    (lambda: bitterfly.quantize(OP, 1e-3), TypeError, "options: expected by name, got 0.001; did you mean rtol=0.001?"),
    (lambda: bitterfly.quantize(OP, "angle"), TypeError, "options: expected by name, got 'angle'$"),
    (lambda: bitterfly.quantize(OP, rtol=1.5), ValueError, "rtol: expected a number below 1, .* got 1.5"),
    (lambda: bitterfly.quantize(OP, rtol=float("nan")), ValueError, "rtol: expected a number that is not negative"),
    (lambda: bitterfly.quantize(algebra.ButterflySum([OP, OP]), rtol=1), ValueError, "rtol: expected a number below 1"),
    (lambda: bitterfly.compress(A), ValueError, "expected at least one of them, for example rtol=1e-3"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_mistakes_are_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("?", r"\?").replace(".001", r"\.001")):
        call()


@pytest.mark.parametrize("shape", [(100, 80), (80, 100), (64, 64)])
def test_refused_bytes_name_no_tolerance(shape: tuple[int, int]) -> None:
    """The search tries tolerances of its own; the refusal says what was asked for, and the ranks."""
    noise = np.random.default_rng(0).standard_normal(shape)
    with pytest.raises(ValueError, match="nbytes: no butterfly of at most 20 bytes was found; ") as caught:
        bitterfly.compress(noise, nbytes=20)
    assert "rtol" not in str(caught.value) and "numerical rank" in str(caught.value)


def test_more_bytes_than_the_matrix_are_a_warning() -> None:
    a = np.random.default_rng(0).standard_normal((4, 4))
    with pytest.warns(UserWarning, match=r"the operator takes \d+ bytes, its matrix 128: fewer bits") as found:
        op = bitterfly.compress(a, Chain.for_shape(a.shape, rank=4), bits=16)
    assert op.nbytes > a.nbytes and found[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_fewer_bytes_than_the_matrix_are_none() -> None:
    assert bitterfly.compress(transforms.hadamard(64).todense(), bits=4).nbytes < 64 * 64 * 8
