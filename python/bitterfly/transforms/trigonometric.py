"""Hartley, cosine and sine transforms as operators: exact real butterflies of junction rank 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitterfly.inputs import FLOATING
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.transforms import real_chains
from bitterfly.transforms.real_chains import Factored, Norm


def hartley(n: int, *, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the Hartley transform ``cos(2 pi j k / n) + sin(2 pi j k / n)``.

    Parameters
    ----------
    n : int
        A power of two, at least 2.
    dtype : dtype_like
        float32 or float64.

    Returns
    -------
    ButterflyOperator
        Of junction rank 2; ``op @ op`` is `n` times the identity.

    Raises
    ------
    ValueError
        Where `n` is not a power of two, at least 2, or for another `dtype`.

    Notes
    -----
    R. N. Bracewell, *The fast Hartley transform*, Proc. IEEE 72 (1984), on the real DFT of Sorensen et al. (1987).
    """
    return _operator(real_chains.hartley_factors(n), dtype)


def dct(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the discrete cosine transform, that of `scipy.fft.dct`.

    Parameters
    ----------
    n : int
        A power of two, at least 2.
    kind : {2, 3, 4}
        Type of the transform.
    norm : {None, "ortho"}
        As in SciPy: sums times two, or an orthogonal matrix.
    dtype : dtype_like
        float32 or float64.

    Returns
    -------
    ButterflyOperator
        Of junction rank 2.

    Raises
    ------
    ValueError
        Where `n` is not a power of two, at least 2, or `kind`, `norm` or `dtype` is another.

    Notes
    -----
    J. Makhoul, *A fast cosine transform in one and two dimensions*, IEEE Trans. ASSP 28 (1980); fourth kind: P.
    Duhamel, Y. Mahieux and J. P. Petit, ICASSP 1991.
    """
    return _operator(real_chains.dct_factors(n, kind, norm=norm), dtype)


def dst(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the discrete sine transform, that of `scipy.fft.dst`; for parameters and errors see `dct`."""
    return _operator(real_chains.dst_factors(n, kind, norm=norm), dtype)


def idct(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the inverse of `dct`, that of `scipy.fft.idct`; for parameters and errors see `dct`."""
    return _operator(real_chains.idct_factors(n, kind, norm=norm), dtype)


def idst(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the inverse of `dst`, that of `scipy.fft.idst`; for parameters and errors see `dct`."""
    return _operator(real_chains.idst_factors(n, kind, norm=norm), dtype)


def _operator(factored: Factored, dtype: npt.DTypeLike) -> ButterflyOperator:
    native = np.dtype(dtype).newbyteorder("=")
    if native.type not in FLOATING[:2]:
        raise ValueError(f"dtype: expected float32 or float64, got {native}")
    factors, rows, columns = factored
    # Each stage is sqrt(2) times orthogonal and errs by less than 3 eps: a root, sums of up to three terms of it.
    rounding = (3 * len(factors) + 5) * float(np.finfo(native).eps)
    cast: list[Any] = [f.astype(native) for f in factors]
    return ButterflyOperator(cast, permutations=(rows, columns), relative_error=rounding, error_kind="ledger")
