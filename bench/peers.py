"""The competitors: lazylinop and pyfaust (optional), a chain of scipy.sparse CSR matrices."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import scipy.sparse as sparse

import bitterfly


def lazylinop() -> tuple[Any, Any] | None:
    """The modules lazylinop.butterfly and lazylinop.quantization, or None."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import lazylinop.butterfly as butterfly
            import lazylinop.quantization as quantization
    except ImportError:
        return None
    return butterfly, quantization


def faust(op: bitterfly.ButterflyOperator) -> Any | None:
    """The factors as a pyfaust `Faust`, or None."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return bitterfly.interop.to_faust(op)
    except ImportError:
        return None


def csr_chain(op: bitterfly.ButterflyOperator) -> list[sparse.csr_array]:
    """The factors as CSR matrices with 32-bit indices, permutations left out."""
    out = []
    for f in op.factors:
        a, b, c, d = f.shape
        i, j, k, t = np.indices(f.shape)
        rows, columns = (i * b + j) * d + t, (i * c + k) * d + t
        shape = (a * b * d, a * c * d)
        out.append(sparse.csr_array((f.ravel(), (rows.ravel(), columns.ravel())), shape=shape))
    return out


def csr_product(chain: list[sparse.csr_array], x: np.ndarray) -> np.ndarray:
    for factor in reversed(chain):
        x = factor @ x
    return x
