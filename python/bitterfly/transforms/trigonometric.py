"""Hartley, cosine and sine transforms as exact real butterflies of junction rank 2."""

from __future__ import annotations

from operator import index
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bitterfly.inputs import FLOATING, Array, IndexArray, as_size
from bitterfly.operator import ButterflyOperator
from bitterfly.transforms import fourier

Norm = Literal["ortho"] | None
_INVERSE = {2: 3, 3: 2, 4: 4}


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
        ``op @ op`` is `n` times the identity. The complex factors of the DFT, each number as a pair of real ones; the
        first takes ``Re - Im`` (R. N. Bracewell, Proc. IEEE 72, 1984).
    """
    factors, columns = _real_dft(as_size(index(n)))
    factors[0] = _outputs(factors[0], np.full(len(columns), 1 + 1j))
    return _operator(factors, None, columns, dtype)


def dct(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the discrete cosine transform, that of `scipy.fft.dct`.

    Parameters
    ----------
    n : int
        A power of two, at least 2 (4 for the fourth kind).
    kind : {2, 3, 4}
        The third is the transpose of the second, but for the weight of its first column.
    norm : {None, "ortho"}
        As in SciPy: unnormalised sums times two, or orthogonal.
    dtype : dtype_like
        float32 or float64.

    Returns
    -------
    ButterflyOperator
        Of junction rank 2: the second kind is the real part of a diagonal times the DFT of reordered input (J. Makhoul,
        IEEE Trans. ASSP 28, 1980), the fourth one a DFT of n/2 complex numbers between two diagonals.
    """
    kind = _checked(n, kind, norm)
    if kind == 4:
        return _fourth(n, norm, dtype)
    return _second(n, norm, dtype) if kind == 2 else _second(n, norm, dtype, halved=True).T


def dst(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the discrete sine transform, that of `scipy.fft.dst`; see `dct`.

    It is the cosine transform with one side reversed and alternating signs on the other.
    """
    kind = _checked(n, kind, norm)
    if kind == 4:
        return _fourth(n, norm, dtype, sine=True)
    return _second(n, norm, dtype, sine=True) if kind == 2 else _second(n, norm, dtype, halved=True, sine=True).T


def idct(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the inverse of `dct`, that of `scipy.fft.idct`."""
    return _scaled(dct(n, _INVERSE[_checked(n, kind, norm)], norm=norm, dtype=dtype), n, norm)


def idst(n: int, kind: int = 2, *, norm: Norm = None, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the inverse of `dst`, that of `scipy.fft.idst`."""
    return _scaled(dst(n, _INVERSE[_checked(n, kind, norm)], norm=norm, dtype=dtype), n, norm)


def _checked(n: int, kind: int, norm: Norm) -> int:
    if kind not in _INVERSE:
        raise ValueError(f"kind: expected 2, 3 or 4, got {kind!r}")
    if norm not in (None, "ortho"):
        raise ValueError(f"norm: expected None or 'ortho', got {norm!r}")
    if as_size(index(n)) < 4 and kind == 4:
        raise ValueError(f"n: expected at least 4 for the fourth kind, got {n}")
    return kind


def _second(n: int, norm: Norm, dtype: npt.DTypeLike, *, halved: bool = False, sine: bool = False) -> ButterflyOperator:
    """Return the second kind; `halved`: with the row of the constant halved, for the transpose."""
    factors, columns = _real_dft(n)
    k = np.arange(n)
    weights = 2 * _unit(-k, 4 * n)
    if norm == "ortho":
        weights *= np.sqrt(0.5 / n)
        weights[0] *= np.sqrt(0.5)
    elif halved:
        weights[0] /= 2
    factors[0] = _outputs(factors[0], weights)
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)[::-1]])[columns]
    if not sine:
        return _operator(factors, None, order, dtype)
    factors[-1] = _times_columns(factors[-1], 1.0 - 2.0 * (order % 2))
    return _operator(factors, k[::-1], order, dtype)


def _fourth(n: int, norm: Norm, dtype: npt.DTypeLike, *, sine: bool = False) -> ButterflyOperator:
    """Return the fourth kind: inputs (x_2m, x_(n-1-2m)) and outputs (X_2k, -X_(n-1-2k)) are complex numbers."""
    half = n // 2
    op = fourier.dft(half)
    columns = np.arange(half) if op.base_permutations[1] is None else op.base_permutations[1]
    complexes = [f.copy() for f in op.factors]
    scale = 2.0 if norm is None else np.sqrt(2.0 / n)
    k = np.arange(half)
    complexes[0] = complexes[0] * (scale * _unit(-(4 * k + 1), 8 * n)).reshape(1, 2, 1, -1)
    last = complexes[-1]
    complexes[-1] = last * _unit(-columns, 2 * n).reshape(last.shape[0], 1, 2, 1)
    factors = [_as_real(f) for f in complexes]
    first, m = factors[0], np.arange(half)
    first[:, 2:] *= -1  # the imaginary parts of outputs, with the sign of X_(n-1-2k)
    rows = np.concatenate([2 * k, n - 1 - 2 * k])
    order = np.stack([2 * m[columns], n - 1 - 2 * m[columns]], axis=-1).reshape(-1)
    if not sine:
        return _operator(factors, rows, order, dtype)
    factors[0] = factors[0] * (1.0 - 2.0 * (rows % 2)).reshape(1, 4, 1, -1)
    return _operator(factors, rows, n - 1 - order, dtype)


def _real_dft(n: int) -> tuple[list[Array], IndexArray]:
    """Return the factors of the DFT of real input: the first still complex, and the order of columns."""
    op = fourier.dft(n)
    complexes = [f.copy() for f in op.factors]
    columns = np.arange(n) if op.base_permutations[1] is None else op.base_permutations[1]
    if n == 2:
        return complexes, columns
    factors = [complexes[0], *(_as_real(f) for f in complexes[1:])]
    factors[-1] = factors[-1][:, :, ::2]  # the imaginary part of the input is zero
    return factors, columns


def _as_real(factor: Array) -> Array:
    """Return a complex factor with numbers as pairs: row (part, j), column (k, part)."""
    a, b, c, d = factor.shape
    out = np.empty((a, 2, b, c, 2, d))
    out[:, 0, :, :, 0], out[:, 0, :, :, 1] = factor.real, -factor.imag
    out[:, 1, :, :, 0], out[:, 1, :, :, 1] = factor.imag, factor.real
    return out.reshape(a, 2 * b, 2 * c, d)


def _outputs(first: Array, weights: Array) -> Array:
    """Return the first factor with the real output ``Re(weights[row] * z)`` of its complex one z."""
    a, b, c, d = first.shape
    scaled = first * weights.reshape(a, b, 1, d)
    if b * d == 2:  # the only factor: real input as well
        return scaled.real
    out = np.empty((a, b, c, 2, d))
    out[:, :, :, 0], out[:, :, :, 1] = scaled.real, -scaled.imag
    return out.reshape(a, b, 2 * c, d)


def _times_columns(last: Array, signs: Array) -> Array:
    return last * signs.reshape(last.shape[0], 1, last.shape[2], last.shape[3])


def _unit(turns: Array, full: int) -> Array:
    """Return ``exp(2 pi i turns / full)``, the argument reduced exactly."""
    angle = 2 * np.pi * (turns % full) / full
    return np.cos(angle) + 1j * np.sin(angle)


def _operator(
    factors: list[Array], rows: IndexArray | None, columns: IndexArray, dtype: npt.DTypeLike
) -> ButterflyOperator:
    native = np.dtype(dtype).newbyteorder("=")
    if native.type not in FLOATING[:2]:
        raise ValueError(f"dtype: expected float32 or float64, got {native}")
    # Roots of unity, then products with the weights: three units roundoff in the first and last factor.
    rounding = (len(factors) + 3) * float(np.finfo(native).eps)
    cast: list[Any] = [f.astype(native) for f in factors]
    return ButterflyOperator(cast, permutations=(rows, columns), relative_error=rounding, error_kind="ledger")


def _scaled(op: ButterflyOperator, n: int, norm: Norm) -> ButterflyOperator:
    if norm == "ortho":
        return op
    factors = [*op.store.factors()]
    factors[0] = factors[0] * np.asarray(0.5 / n, factors[0].dtype)
    known = {"permutations": op.base_permutations, "relative_error": op.relative_error, "error_kind": op.error_kind}
    return ButterflyOperator(factors, mode=op.mode, **known)  # type: ignore[arg-type]
