"""Factors in closed form, and the orders of rows and columns, of trigonometric transforms as exact butterflies.

The chain is ``(2**(l-1), 4, 4, n / 2**(l+1))``, ``l = 1 .. log2(n) - 1``, of junction rank 2 (one block for n = 2). A
junction carries exactly `n` real numbers: complex ones, each as its real and its imaginary part.

* Real input (Hartley, second and third kind). The DFT `C` of `4q` real numbers follows from those of the even and odd
  ones by ``C(k) = A(k) + exp(-2 pi i k / 4q) B(k)``. As ``A(2q - k) = conj A(k)``, the outputs `k`, `2q - k`, `2q + k`
  and `4q - k` need `A` and `B` at `k` alone; the real numbers `A(0)` and `A(q)` share the place ``k = 0`` (H. V.
  Sorensen et al., *Real-valued fast Fourier transform algorithms*, IEEE Trans. ASSP 35, 1987).
* Fourth kind. The complex butterfly of ``n / 2`` numbers, every entry as ``(Re, -Im; Im, Re)``.
"""

from __future__ import annotations

from operator import index
from typing import Literal

import numpy as np

from bitterfly.inputs import Array, IndexArray, as_size
from bitterfly.ordering import bit_reversal

Norm = Literal["ortho"] | None
Factored = tuple[list[Array], IndexArray, IndexArray]
_INVERSE = {2: 3, 3: 2, 4: 4}  # up to 1 / (2 n) unless orthogonal


def hartley_factors(n: int) -> Factored:
    """Return the factors of the Hartley transform ``cos(2 pi j k / n) + sin(2 pi j k / n)``.

    Parameters
    ----------
    n : int
        A power of two, at least 2.

    Returns
    -------
    factors, rows, columns : list of float64 ndarray (a, b, c, d), intp ndarray (n,), intp ndarray (n,)
        ``A[rows][:, columns]`` is the product of the factors, for the transform `A`.

    Raises
    ------
    ValueError
        Where `n` is not a power of two, at least 2.

    Notes
    -----
    ``Re((1 + i) V(k))``, `V` the DFT of the real input (R. N. Bracewell, *The fast Hartley transform*, Proc. IEEE 72,
    1984). The transform is `n` times its own inverse.

    Examples
    --------
    >>> [f.shape for f in hartley_factors(8)[0]]
    [(1, 4, 4, 2), (2, 4, 4, 1)]
    """
    n = as_size(index(n))
    return _real_fourier(n, np.full(n, 1 + 1j), np.zeros(n, np.intp)), _symmetric_order(n), bit_reversal(n)


def dct_factors(n: int, kind: int = 2, *, norm: Norm = None) -> Factored:
    """Return the factors of the discrete cosine transform, that of `scipy.fft.dct`.

    Parameters
    ----------
    n : int
        A power of two, at least 2.
    kind : {2, 3, 4}
        Type of the transform.
    norm : {None, "ortho"}
        As in SciPy: sums times two, or an orthogonal matrix.

    Returns
    -------
    factors, rows, columns : list of float64 ndarray (a, b, c, d), intp ndarray (n,), intp ndarray (n,)
        ``A[rows][:, columns]`` is the product of the factors, for the transform `A`.

    Raises
    ------
    ValueError
        Where `n` is not a power of two, at least 2, or `kind` or `norm` is another.

    Notes
    -----
    Second kind: ``2 Re(exp(-pi i k / 2n) V(k))``, `V` the DFT of ``x_0, x_2, x_4, ..., x_5, x_3, x_1`` (J. Makhoul, *A
    fast cosine transform in one and two dimensions*, IEEE Trans. ASSP 28, 1980). Third kind: its transpose, with the
    constant halved unless `norm` is "ortho". Fourth kind: with ``z_m = x_(2m) + i x_(n-1-2m)`` and the sum ``c_k`` of
    ``z_m exp(-2 pi i (m + 1/4) (k + 1/4) / (n/2))``, it is ``X_(2k) = 2 Re c_k``, ``X_(n-1-2k) = -2 Im c_k`` (P.
    Duhamel, Y. Mahieux and J. P. Petit, *A fast algorithm for the implementation of filter banks*, ICASSP 1991).

    Examples
    --------
    >>> dct_factors(2)[0][0].reshape(2, 2)
    array([[ 2.        ,  2.        ],
           [ 1.41421356, -1.41421356]])
    """
    return _cosine(n, _as_kind(kind), norm)


def dst_factors(n: int, kind: int = 2, *, norm: Norm = None) -> Factored:
    """Return the factors of the discrete sine transform, that of `scipy.fft.dst`.

    Parameters
    ----------
    n, kind, norm : see `dct_factors`

    Returns
    -------
    factors, rows, columns : see `dct_factors`

    Raises
    ------
    ValueError
        Where `n` is not a power of two, at least 2, or `kind` or `norm` is another.

    Notes
    -----
    The cosine transform of the same kind with signs ``(-1)**m`` on inputs and reversed outputs (second and fourth
    kind), or reversed inputs and signs on outputs (third): Z. Wang, *Fast algorithms for the discrete W transform and
    for the discrete Fourier transform*, IEEE Trans. ASSP 32, 1984.

    Examples
    --------
    >>> dst_factors(2)[1:]
    (array([1, 0]), array([0, 1]))
    """
    return _sine(n, _as_kind(kind), norm)


def idct_factors(n: int, kind: int = 2, *, norm: Norm = None) -> Factored:
    """Return the factors of the inverse of `dct_factors`, that of `scipy.fft.idct`.

    Parameters
    ----------
    n, kind, norm : see `dct_factors`; `kind` is that of the transform to invert

    Returns
    -------
    factors, rows, columns : see `dct_factors`

    Raises
    ------
    ValueError
        Where `n` is not a power of two, at least 2, or `kind` or `norm` is another.

    Examples
    --------
    >>> idct_factors(2)[0][0].reshape(2, 2)
    array([[ 0.25      ,  0.35355339],
           [ 0.25      , -0.35355339]])
    """
    return _inverse(_cosine(n, _INVERSE[_as_kind(kind)], norm), norm)


def idst_factors(n: int, kind: int = 2, *, norm: Norm = None) -> Factored:
    """Return the factors of the inverse of `dst_factors`, that of `scipy.fft.idst`.

    Parameters
    ----------
    n, kind, norm : see `dct_factors`; `kind` is that of the transform to invert

    Returns
    -------
    factors, rows, columns : see `dct_factors`

    Raises
    ------
    ValueError
        Where `n` is not a power of two, at least 2, or `kind` or `norm` is another.

    Examples
    --------
    >>> [f.shape for f in idst_factors(16)[0]]
    [(1, 4, 4, 4), (2, 4, 4, 2), (4, 4, 4, 1)]
    """
    return _inverse(_sine(n, _INVERSE[_as_kind(kind)], norm), norm)


def _as_kind(kind: int) -> int:
    if kind not in _INVERSE:
        raise ValueError(f"kind: expected 2, 3 or 4, got {kind!r}")
    return kind


def _cosine(n: int, kind: int, norm: Norm) -> Factored:
    n = as_size(index(n))
    if norm not in (None, "ortho"):
        raise ValueError(f"norm: expected None or 'ortho', got {norm!r}")
    gain = 2.0 if norm is None else np.sqrt(2 / n)
    if kind == 4:
        return _fourth(n, gain)
    gains = np.full(n, gain)
    gains[0] = np.sqrt(1 / n) if norm == "ortho" else 4.0 - kind  # the constant of the third kind is halved
    makhoul = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)[::-1]])
    second = _real_fourier(n, gains, -np.arange(n)), _symmetric_order(n), makhoul[bit_reversal(n)]
    return second if kind == 2 else _transposed(second)


def _sine(n: int, kind: int, norm: Norm) -> Factored:
    """Return the cosine transform, signs on one side, the other side reversed."""
    factors, rows, columns = _cosine(n, kind, norm)
    a, b, c, d = factors[0].shape if kind == 3 else factors[-1].shape
    if kind == 3:
        factors[0] *= (1.0 - 2.0 * (rows % 2)).reshape(a, b, 1, d)
        return factors, rows, n - 1 - columns
    factors[-1] *= (1.0 - 2.0 * (columns % 2)).reshape(a, 1, c, d)
    return factors, n - 1 - rows, columns


def _inverse(forward: Factored, norm: Norm) -> Factored:
    forward[0][0] *= 0.5 / len(forward[1]) if norm is None else 1.0
    return forward


def _real_fourier(n: int, gains: Array, turns: IndexArray) -> list[Array]:
    """Return factors of ``Re(gains[k] exp(2 pi i turns[k] / 4n) V(k))``, `V` the DFT of real input."""
    k = _symmetric_order(n)
    if n == 2:
        return [(gains * _unit(turns, 4 * n)).real.reshape(1, 2, 1, 1) * [[[1], [1]], [[1], [-1]]]]
    stages = [_real_stage(k, gains[k], turns[k]), *(_pairs_stage(n >> level) for level in range(1, n.bit_length() - 2))]
    even, odd = stages[-1][:, ::2], stages[-1][:, 1::2]
    stages[-1] = np.stack([even + odd, even - odd], axis=2).reshape(4, 4, 1)  # the DFT of two numbers, at the right end
    return [np.tile(stage, (1 << level, 1, 1, 1)) for level, stage in enumerate(stages)]


def _pairs_stage(size: int) -> Array:
    """Return the stage whose outputs are real and imaginary parts of `C`, and C(0), C(size / 2)."""
    half = _symmetric_order(size // 2)
    k = np.concatenate([half, half])
    turns = np.repeat([0, -size], size // 2)  # Im z = Re(-i z)
    k[size // 2], turns[size // 2] = size // 2, 0
    return _real_stage(k, 1.0, turns)


def _real_stage(k: IndexArray, gains: Array | float, turns: IndexArray) -> Array:
    """Return the (4, 4, q) block of ``Re(gains exp(2 pi i turns / 16q) C(k))``, `C` of 4q numbers, from `A` and `B`.

    Columns: real and imaginary part of `A`, then of `B`, at ``k[:q]``; for the first of those, 0, the values at 0, q.
    """
    size = k.size
    from_a, from_b = _unit(turns, 4 * size) * gains, _unit(turns - 4 * k, 4 * size) * gains
    conjugate = (k.reshape(4, -1) - k[: size // 4]) % (size // 2) != 0
    out = _real_rows(from_a.reshape(4, -1), from_b.reshape(4, -1), np.where(conjugate, -1.0, 1.0))
    out[1::2, 1::2, 0] = out[1::2, ::2, 0]
    out[1::2, ::2, 0] = out[::2, 1::2, 0] = 0.0
    return out


def _real_rows(from_a: Array, from_b: Array, sign: Array | float = 1.0) -> Array:
    """Return the rows ``Re(from_a A + from_b B)`` on the parts of `A` and `B`, of their conjugates if `sign` is -1."""
    return np.stack([from_a.real, -sign * from_a.imag, from_b.real, -sign * from_b.imag], axis=-2)


def _fourth(n: int, gain: float) -> Factored:
    """Return the cosine transform of the fourth kind; angles are counted in turns of 1 / (8 n)."""
    k, m = np.arange(n // 2), bit_reversal(n // 2)
    rows, columns = np.concatenate([2 * k, n - 1 - 2 * k]), np.stack([2 * m, n - 1 - 2 * m], axis=1).reshape(-1)
    outputs = np.stack([-1 - 4 * k, 2 * n - 1 - 4 * k])  # -Im z = Re(i z)
    if n == 2:
        weights = gain * _unit(outputs[:, 0], 8 * n)
        return [np.stack([weights.real, -weights.imag], axis=1).reshape(1, 2, 2, 1)], rows, columns
    factors = []
    for level in range(n.bit_length() - 2):
        a, size = 1 << level, n >> (level + 1)
        turns = outputs if level == 0 else np.repeat([[0], [-2 * n]], size, axis=1)  # Im z = Re(-i z)
        inputs = 4 * m.reshape(a, 2, 1, 1) if size == 2 else np.zeros((1, 2, 1, 1), np.intp)
        from_a = _unit(turns.reshape(4, -1) - inputs[:, 0], 8 * n)
        from_b = _unit((turns - 8 * n // size * k[:size]).reshape(4, -1) - inputs[:, 1], 8 * n)
        factors.append(np.tile(_real_rows(from_a, from_b), (a // len(from_a), 1, 1, 1)))
    factors[0] *= gain
    return factors, rows, columns


def _symmetric_order(n: int) -> IndexArray:
    """Return the frequencies of a real DFT: halves, quarters, ... of the order hold `k` and its mirror image alike."""
    order = np.zeros(1, np.intp)
    while order.size < n:
        mirror = 2 * order.size - order
        mirror[0] = order.size
        order = np.concatenate([order, mirror])
    return order


def _transposed(forward: Factored) -> Factored:
    """Return the factors of the transpose: reversed, pattern (d, c, b, a), the bits of all indices reversed."""
    factors, rows, columns = forward
    bits = bit_reversal(len(rows))
    turned = [v.transpose()[np.ix_(*map(bit_reversal, v.shape[::-1]))] for v in reversed(factors)]
    return turned, columns[bits], rows[bits]


def _unit(turns: Array, full: int) -> Array:
    """Return ``exp(2 pi i turns / full)``, the angle reduced exactly to an eighth of a turn: axes, diagonals exact."""
    quarters = (4 * turns + full // 2) // full
    rest = 4 * turns - quarters * full
    angle = np.arccos(np.longdouble(-1)) / (2 * full) * rest
    diagonal = np.sqrt(0.5) * (1 + 1j * np.sign(rest))
    root = np.where(2 * np.abs(rest) == full, diagonal, np.cos(angle) + 1j * np.sin(angle)).astype(np.complex128)
    out: Array = np.array([1, 1j, -1, -1j])[quarters % 4] * root
    return out
