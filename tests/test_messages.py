"""What the public functions say to common mistakes: which argument, what came, what may have been meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bitterfly

A = np.eye(8)

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
    (lambda: bitterfly.compress(A), ValueError, "expected at least one of them, for example rtol=1e-3"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_mistakes_are_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("?", r"\?").replace(".001", r"\.001")):
        call()
