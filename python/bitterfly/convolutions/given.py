"""Kernels of convolutions by signed cuts, and as operators that are there already."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.convolutions.factored import FactoredConvolution
from bitterfly.convolutions.kernel import as_kernel
from bitterfly.cuts.tensor import tensor
from bitterfly.operators.contract import Operator


def signed_cuts(
    weight: Any,
    *,
    width: int | None = None,
    bits: float | None = None,
    rtol: float | None = None,
    nbytes: int | None = None,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> FactoredConvolution:
    """Approximate the kernel of a convolution by signed cuts, ``sum_j c_j s_j1[o] s_j2[i] s_j3[k_1] ..``.

    Parameters
    ----------
    weight : array_like, shape (out, in, k_1[, k_2[, k_3]])
        Real numbers; with groups, `in` counts the channels of one.
    width, bits, rtol, nbytes
        One of them, as of `bitterfly.cuts.tensor`: cuts, bits an entry of the kernel, the relative error, bytes.
    rng, workers
        As of `bitterfly.cuts.tensor`.

    Returns
    -------
    FactoredConvolution
        Of structure ``"cuts"``. Its error is measured on all entries.

    Raises
    ------
    TypeError, ValueError, OverflowError
        As of `bitterfly.cuts.tensor`, and for a weight that is no kernel.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> weight = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    >>> bitterfly.convolutions.signed_cuts(weight, bits=1, rng=0)
    <32 x 16 x 3 x 3 FactoredConvolution, cuts, 57... bytes, relative error ...e-01 (measured)>
    """
    kernel = as_kernel(weight)
    asked = {"width": width, "bits": bits, "rtol": rtol, "nbytes": nbytes}
    cut = tensor(kernel.array, **asked, rng=rng, workers=workers)  # type: ignore[arg-type]
    known = Known(kernel.rounding, "exact").then(cut.relative_error, kind=cut.error_kind)
    return FactoredConvolution(kernel.array.shape, "cuts", (cut,)).replaced(known)


def unfolded(op: Operator, shape: tuple[int, ...]) -> FactoredConvolution:
    """Return an operator as the kernel of a convolution, a row for each output.

    Parameters
    ----------
    op : operator, shape (out, in k_1 ... k_d)
        Of any kind: window codes, ..
    shape : tuple of int, (out, in, k_1[, k_2[, k_3]])

    Returns
    -------
    FactoredConvolution
        Of structure ``"unfolded"``, with the error of the operator. Its convolution multiplies with whole windows.

    Raises
    ------
    TypeError, ValueError
        Where it is no real operator of this shape.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> weight = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    >>> op = bitterfly.quantize_dense(weight.reshape(32, -1), bits=4, rng=0)
    >>> bitterfly.convolutions.unfolded(op, weight.shape)
    <32 x 16 x 3 x 3 FactoredConvolution, unfolded, 2... bytes, relative error 7...e-02 (measured)>
    """
    if not isinstance(op, Operator):
        raise TypeError(f"op: expected an operator of this package, got {type(op).__name__}")
    return FactoredConvolution(shape, "unfolded", (op,), op.relative_error, op.error_kind)
