"""Transforms with factors in closed form, and random butterflies; no dense matrix is formed."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from bitterfly import _core
from bitterfly.inputs import FLOATING, Array, as_size
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.ordering import bit_reversal
from bitterfly.stores.floats import HadamardFloats


def hadamard(n: int, *, dtype: npt.DTypeLike = float) -> ButterflyOperator:
    """Return the Walsh-Hadamard transform in natural order, entries +1 and -1.

    Parameters
    ----------
    n : int
        A power of two, at least 2.
    dtype : dtype_like
        float32, float64, complex64 or complex128.

    Returns
    -------
    ButterflyOperator
        Exact; ``op.T @ op`` is `n` times the identity. Nothing is stored: ``op.nbytes`` is 0, and products, of ``n
        log2(n)`` additions, read nothing but their vectors.

    Examples
    --------
    >>> import bitterfly
    >>> bitterfly.transforms.hadamard(2).todense()
    array([[ 1.,  1.],
           [ 1., -1.]])
    """
    return ButterflyOperator.from_store(HadamardFloats(as_size(index(n)), _floating(dtype)))


def dft(n: int, *, dtype: npt.DTypeLike = complex) -> ButterflyOperator:
    """Return the discrete Fourier transform ``exp(-2 pi i j k / n)``, that of `scipy.fft.fft`.

    Parameters
    ----------
    n : int
        A power of two, at least 2.
    dtype : dtype_like
        complex64 or complex128.

    Returns
    -------
    ButterflyOperator
        With its columns in bit-reversed order the product of factors whose 2 x 2 blocks are ``[[1,
        w], [1, -w]]``, ``w = exp(-pi i t / d)`` for block ``(i, t)`` of the pattern ``(a, 2, 2,
        d)``: the radix-2 decimation-in-time algorithm of Cooley and Tukey, Math. Comp. 19 (1965).
        Its ``relative_error`` bounds what the rounding of the roots of unity contributes.
    """
    values = _empty_values(n, _floating(dtype, kinds="c"))
    return _fourier(values, _roots(values.shape[1] // 4))


def idft(n: int, *, dtype: npt.DTypeLike = complex) -> ButterflyOperator:
    """Return the inverse discrete Fourier transform, ``exp(2 pi i j k / n) / n``.

    Parameters
    ----------
    n : int
        A power of two, at least 2.
    dtype : dtype_like
        complex64 or complex128.

    Returns
    -------
    ButterflyOperator
        The conjugate of `dft` over `n`, each factor taking a share of 1/2: ``idft(n) @ dft(n)`` is
        the identity.
    """
    values = _empty_values(n, _floating(dtype, kinds="c"))
    return _fourier(values, _roots(values.shape[1] // 4).conj(), weight=0.5)


def random(
    n: int,
    *,
    rng: np.random.Generator | int | None,
    dtype: npt.DTypeLike = float,
    orthogonal: bool = False,
) -> ButterflyOperator:
    """Return a random butterfly, for tests and benchmarks.

    Parameters
    ----------
    n : int
        A power of two, at least 2.
    rng : numpy.random.Generator or int or None
        Source of the numbers, or its seed; None draws a fresh seed.
    dtype : dtype_like
        float32, float64, complex64 or complex128.
    orthogonal : bool
        Whether the 2 x 2 blocks, hence the operator, are orthogonal (unitary), drawn from the Haar
        measure.

    Returns
    -------
    ButterflyOperator
        Unless `orthogonal`, with independent Gaussian factor entries of mean zero and variance 1/2
        (complex ones circular), so that the columns of the operator have the expected squared
        length 1.
    """
    generator = np.random.default_rng(rng)
    values = _empty_values(n, _floating(dtype))
    if orthogonal:
        for factor in _factors(values):
            _fill_unitary(factor, generator)
    else:
        _fill_gaussian(values, generator)
    return ButterflyOperator.from_values(values)


def _floating(dtype: npt.DTypeLike, kinds: str = "fc") -> np.dtype[Any]:
    native = np.dtype(dtype).newbyteorder("=")
    if native.type not in FLOATING or native.kind not in kinds:
        expected = "float32, float64, complex64 or complex128" if "f" in kinds else "complex64 or complex128"
        raise ValueError(f"dtype: expected {expected}, got {native}")
    return native


def _empty_values(n: int, dtype: np.dtype[Any]) -> Array:
    """Return the buffer of all factors, not initialised: (p, 2n), starting on a cache line."""
    n = as_size(index(n))
    values: Array = _core.aligned_empty((n.bit_length() - 1, 2 * n), dtype)
    return values


def _factors(values: Array) -> list[Array]:
    """Return views of the factors (a, 2, 2, d) in the buffer `values`."""
    return [row.reshape(1 << level, 2, 2, -1) for level, row in enumerate(values)]


def _fourier(values: Array, roots: Array, weight: float = 1.0) -> ButterflyOperator:
    n = values.shape[1] // 2
    values[...] = weight
    for level, factor in enumerate(_factors(values)):
        factor[:, 0, 1] = weight * roots[:: 1 << level]
        factor[:, 1, 1] = -factor[:, 0, 1]
    rounding = len(values) * float(np.finfo(values.dtype).eps)
    return ButterflyOperator.from_values(values, permutations=(None, bit_reversal(n)), relative_error=rounding)


def _roots(count: int) -> Array:
    """Return ``exp(-pi i t / count)``, t = 0 .. count - 1; `count` is a power of two.

    Cosine and sine are taken in the first octant only, in extended precision where the platform has
    it; everything else follows by symmetry, so that axes and diagonals are exact and mirror images
    agree to the last bit.
    """
    cosine = _quarter_cosine(max(count // 2, 1))
    sine = cosine[::-1]
    if count == 1:
        return np.ones(1, dtype=np.complex128)
    roots = np.empty(count, dtype=np.complex128)
    half = count // 2
    roots.real[:half], roots.imag[:half] = cosine[:-1], -sine[:-1]
    roots.real[half:], roots.imag[half:] = -sine[:-1], -cosine[:-1]
    roots.real[half] = 0.0
    roots.imag[0] = 0.0
    return roots


def _quarter_cosine(count: int) -> Array:
    """Return ``cos(pi/2 * t / count)``, t = 0 .. count, from the first octant."""
    if count == 1:
        return np.array([1.0, 0.0])
    step = np.arccos(np.longdouble(-1)) / (2 * count)
    angles = step * np.arange(count // 2 + 1)
    quarter = np.empty(count + 1)
    quarter[: count // 2 + 1] = np.cos(angles)
    quarter[count // 2 :] = np.sin(angles)[::-1]
    return quarter


def _fill_gaussian(values: Array, rng: np.random.Generator) -> None:
    """Draw entries of mean zero and mean squared modulus 1/2, in place."""
    real = values.view(values.real.dtype)
    rng.standard_normal(dtype=real.dtype.type, out=real)
    real *= 0.5 if values.dtype.kind == "c" else np.sqrt(0.5)


def _fill_unitary(factor: Array, rng: np.random.Generator) -> None:
    """Draw Haar-random 2 x 2 blocks: a unit column, its complement times a unit number."""
    size = (factor.shape[0], factor.shape[3])
    is_complex = factor.dtype.kind == "c"
    column = rng.standard_normal((2, *size))
    if is_complex:
        column = column + 1j * rng.standard_normal((2, *size))
    column /= np.sqrt(np.sum(np.abs(column) ** 2, axis=0))
    turn = rng.random(size)
    unit = np.exp(2j * np.pi * turn) if is_complex else np.copysign(1.0, turn - 0.5)
    factor[:, 0, 0], factor[:, 1, 0] = column
    factor[:, 0, 1], factor[:, 1, 1] = -unit * column[1].conj(), unit * column[0].conj()
