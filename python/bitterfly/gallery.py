"""Kernels with and without butterfly structure, as entry functions and as matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from bitterfly.inputs import Array, IndexArray
from bitterfly.ordering import morton

_PANEL_ENTRIES = 1 << 22


@dataclass(frozen=True, eq=False)
class Kernel:
    """An n x n matrix given by a formula: ``kernel(rows, cols)`` is the block of entries at ``rows x cols``.

    Attributes
    ----------
    name, formula : str
    shape : (int, int)
    dtype : numpy.dtype
        float64 or complex128.
    """

    name: str
    formula: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    _function: Callable[..., Array] = field(repr=False)
    _data: tuple[Any, ...] = field(repr=False, default=())

    def __call__(self, rows: npt.ArrayLike, cols: npt.ArrayLike) -> Array:
        """Return the entries at ``rows x cols``, two vectors of indices: shape ``(len(rows), len(cols))``."""
        i, j = np.atleast_1d(np.asarray(rows)), np.atleast_1d(np.asarray(cols))
        for index, size in zip((i, j), self.shape, strict=True):
            if index.ndim != 1 or index.dtype.kind not in "iu":
                raise TypeError(f"rows, cols: expected vectors of integers, got shape {index.shape} of {index.dtype}")
            if index.size and not (index.min() >= 0 and index.max() < size):
                raise IndexError(f"rows, cols: expected indices from 0 to {size - 1}")
        return np.asarray(self._function(i[:, None], j[None, :], self.shape[0], *self._data), self.dtype)

    def todense(self) -> Array:
        """Return the matrix, made in panels of rows."""
        m, n = self.shape
        out = np.empty(self.shape, self.dtype)
        height = max(1, _PANEL_ENTRIES // n)
        for first in range(0, m, height):
            rows = np.arange(first, min(first + height, m))
            out[rows] = self(rows, np.arange(n))
        return out


def _size(n: int) -> int:
    if int(n) != n or n < 1:
        raise ValueError(f"n: expected a positive integer, got {n!r}")
    return int(n)


def _kernel(name: str, formula: str, n: int, kind: str, function: Callable[..., Array], *data: Any) -> Kernel:
    n = _size(n)
    return Kernel(name, formula, (n, n), np.dtype(np.complex128 if kind == "c" else np.float64), function, data)


def _turns(t: Array) -> Array:
    """Return exp(2 pi i t), the argument reduced to half a turn."""
    return np.exp(2j * np.pi * (t - np.rint(t)))


# ---- Fourier ----


def _dft(j: IndexArray, k: IndexArray, n: int) -> Array:
    return _turns(-(j * k % n) / n)


def dft(n: int) -> Kernel:
    """Return the discrete Fourier transform ``exp(-2 pi i j k / n)``, its argument reduced exactly."""
    return _kernel("dft", "exp(-2 pi i j k / n)", n, "c", _dft)


def _nonuniform(j: IndexArray, k: IndexArray, n: int, x: Array, xi: Array) -> Array:
    return _turns(-x[j] * xi[k])


def nonuniform_dft(n: int, *, rng: np.random.Generator | int | None = 0) -> Kernel:
    """Return ``exp(-2 pi i x_j xi_k)``: x_j and xi_k are off the DFT's points and frequencies by up to half a cell."""
    generator = np.random.default_rng(rng)
    x = (np.arange(_size(n)) + generator.uniform(-0.5, 0.5, n)) / n
    xi = np.arange(n) - n / 2 + generator.uniform(-0.5, 0.5, n)
    return _kernel("nonuniform_dft", "exp(-2 pi i x_j xi_k), jittered", n, "c", _nonuniform, x, xi)


def _integral(j: IndexArray, k: IndexArray, n: int) -> Array:
    frequency, turns = k - n // 2, (j * (k - n // 2)) % n / n
    return _turns(turns + (2 + np.sin(2 * np.pi * j / n)) / 8 * np.abs(frequency))


def fourier_integral(n: int) -> Kernel:
    """Return the Fourier integral operator ``exp(2 pi i (x k + c(x) |k|))``, ``c(x) = (2 + sin 2 pi x) / 8``.

    x = j / n, k = -n/2 .. n/2 - 1. Candes, Demanet and Ying, Multiscale Model. Simul. 7 (2009).
    """
    return _kernel("fourier_integral", "exp(2 pi i (x k + (2 + sin 2 pi x)/8 |k|))", n, "c", _integral)


def _dct(j: IndexArray, k: IndexArray, n: int, kind: int) -> Array:
    # Quarter turns over n: 2 (2 j + 1) k for the second kind, its transpose, (2 j + 1)(2 k + 1) for the fourth.
    product = {2: 2 * j * (2 * k + 1), 3: 2 * k * (2 * j + 1), 4: (2 * j + 1) * (2 * k + 1)}[kind]
    return np.cos(2 * np.pi * (product % (8 * n)) / (8 * n))


def dct(n: int, *, kind: int = 4) -> Kernel:
    """Return the cosine transform of kind 2, 3 or 4, ``cos(pi j (k + 1/2) / n)`` and so on, not normalised."""
    if kind not in (2, 3, 4):
        raise ValueError(f"kind: expected 2, 3 or 4, got {kind}")
    return _kernel(f"dct{kind}", "cos(pi (j + 1/2)(k + 1/2) / n), kinds 2 to 4", n, "f", _dct, kind)


def _hartley(j: IndexArray, k: IndexArray, n: int) -> Array:
    angle = 2 * np.pi * (j * k % n) / n
    return np.asarray(np.cos(angle) + np.sin(angle))


def hartley(n: int) -> Kernel:
    """Return the Hartley transform ``cos(2 pi j k / n) + sin(2 pi j k / n)``."""
    return _kernel("hartley", "cas(2 pi j k / n)", n, "f", _hartley)


def _hadamard(j: IndexArray, k: IndexArray, n: int) -> Array:
    return 1.0 - 2.0 * (np.bitwise_count(np.bitwise_and(j, k)) & 1)


def hadamard(n: int) -> Kernel:
    """Return the Hadamard transform in natural order, n a power of two."""
    if _size(n) & (n - 1):
        raise ValueError(f"n: expected a power of two, got {n}")
    return _kernel("hadamard", "(-1)^(bits of j & k)", n, "f", _hadamard)


# ---- special functions ----


def _hankel(j: IndexArray, k: IndexArray, n: int) -> Array:
    return np.asarray(special.hankel1(k, n + 2 * np.pi / 3 * j))


def hankel(n: int) -> Kernel:
    """Return the Hankel functions ``H_k^(1)(x_j)``, ``x_j = n + 2 pi j / 3``: orders below the argument."""
    return _kernel("hankel", "H_k(n + 2 pi j / 3)", n, "c", _hankel)


def _bessel(j: IndexArray, k: IndexArray, n: int) -> Array:
    return np.asarray(special.j0(j / n * ((k + 1) * np.pi)))


def bessel_j0(n: int) -> Kernel:
    """Return the Schloemilch expansion ``J_0(r_j w_k)``, ``r_j = j / n``, ``w_k = (k + 1) pi``."""
    return _kernel("bessel_j0", "J_0(j/n (k + 1) pi)", n, "f", _bessel)


@lru_cache(maxsize=4)
def _legendre_table(n: int) -> Array:
    """Return P_k(x_j) sqrt(k + 1/2) at Gauss nodes by the three-term recurrence of the orthonormal polynomials."""
    x = special.roots_legendre(n)[0]
    out = np.empty((n, n), order="F")
    before, now = np.zeros(n), np.full(n, np.sqrt(0.5))
    for k in range(n):
        out[:, k] = now
        ratio = (k + 1) / np.sqrt((2 * k + 1) * (2 * k + 3))
        last = k / np.sqrt((2 * k + 1) * (2 * k - 1)) if k else 0.0
        before, now = now, (x * now - last * before) / ratio
    out.flags.writeable = False
    return out


def _legendre(j: IndexArray, k: IndexArray, n: int) -> Array:
    block: Array = _legendre_table(n)[j, k]
    return block


def legendre(n: int) -> Kernel:
    """Return ``P_k(x_j) sqrt(k + 1/2)`` at the n Gauss nodes, from a table that is computed once."""
    return _kernel("legendre", "P_k(x_j) sqrt(k + 1/2), Gauss nodes", n, "f", _legendre)


# ---- Helmholtz ----


def _helmholtz(i: IndexArray, j: IndexArray, n: int, targets: Array, sources: Array, kappa: float) -> Array:
    r = np.sqrt(np.sum((targets[i] - sources[j]) ** 2, axis=-1))
    return np.asarray(np.exp(-1j * kappa * r) / r)


def helmholtz_plates(n: int, *, dim: int = 3, wavelengths: float | None = None) -> Kernel:
    """Return ``exp(-i kappa r) / r`` between two parallel plates one side apart.

    Parameters
    ----------
    n : int
        Points on each plate. dim 3: a square grid of the unit square, n a square, in Morton order; dim 2: points on a
        segment of length one.
    dim : {2, 3}
    wavelengths : float, optional
        Along a side. Default: half of the points along it, two a wavelength.
    """
    side = round(_size(n) ** 0.5) if dim == 3 else n
    if dim not in (2, 3) or (dim == 3 and side * side != n):
        raise ValueError(f"n, dim: expected dim 2, or dim 3 and a square, got n={n}, dim={dim}")
    grid = (np.arange(side) + 0.5) / side
    if dim == 3:
        points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
        points = points[morton(points)]
    else:
        points = grid[:, None]
    targets, sources = (np.column_stack([points, np.full(n, height)]) for height in (1.0, 0.0))
    kappa = 2 * np.pi * (side / 2 if wavelengths is None else wavelengths)
    return _kernel(f"helmholtz_plates_{dim}d", "exp(-i kappa r) / r", n, "c", _helmholtz, targets, sources, kappa)


# ---- without structure ----


def _green(i: IndexArray, j: IndexArray, n: int, kappa: float) -> Array:
    r = np.abs(i - j) / n + 0.25 / n
    return np.asarray(np.exp(-1j * kappa * r) / r)


def green_self(n: int) -> Kernel:
    """Return the Helmholtz kernel of a segment with itself, r kept away from 0 by a quarter of a step."""
    return _kernel("green_self", "exp(-i kappa r) / r, r = |x_i - x_j|", n, "c", _green, np.pi * n / 2)


def _cauchy(i: IndexArray, j: IndexArray, n: int) -> Array:
    return np.asarray(1 / (i - j + 0.5))


def cauchy(n: int) -> Kernel:
    """Return the Cauchy matrix ``1 / (i - j + 1/2)``."""
    return _kernel("cauchy", "1 / (i - j + 1/2)", n, "f", _cauchy)


def _shuffled(j: IndexArray, k: IndexArray, n: int, rows: IndexArray, columns: IndexArray) -> Array:
    return _dft(rows[j], columns[k], n)


def shuffled_dft(n: int, *, rng: np.random.Generator | int | None = 0) -> Kernel:
    """Return the DFT with rows and columns in random order."""
    generator = np.random.default_rng(rng)
    orders = generator.permutation(_size(n)), generator.permutation(n)
    return _kernel("shuffled_dft", "exp(-2 pi i p_j q_k / n)", n, "c", _shuffled, *orders)


def _stored(j: IndexArray, k: IndexArray, n: int, table: Array) -> Array:
    block: Array = table[j, k]
    return block


def gaussian(n: int, *, rng: np.random.Generator | int | None = 0) -> Kernel:
    """Return independent normal entries (a stored matrix)."""
    return _kernel("gaussian", "noise", n, "f", _stored, np.random.default_rng(rng).standard_normal((_size(n), n)))


KERNELS: dict[str, Callable[[int], Kernel]] = {
    "dft": dft,
    "nonuniform_dft": nonuniform_dft,
    "fourier_integral": fourier_integral,
    "hankel": hankel,
    "bessel_j0": bessel_j0,
    "legendre": legendre,
    "dct": dct,
    "hartley": hartley,
    "hadamard": hadamard,
    "helmholtz_plates": helmholtz_plates,
}
# Blocks of full rank: everywhere, or (the first two) on the diagonal, so that only a loose tolerance finds a chain.
FULL_RANK: dict[str, Callable[[int], Kernel]] = {
    "green_self": green_self,
    "cauchy": cauchy,
    "shuffled_dft": shuffled_dft,
    "gaussian": gaussian,
}
