"""Inverses of damped sums of rank-one matrices: inverse empirical Fisher matrices of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import qr, svd

from bitterfly.accuracy.change import after_cast
from bitterfly.accuracy.known import Known
from bitterfly.bits import Numbers
from bitterfly.inputs import Array, as_count, as_floating, as_number
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import ButterflySum, StoredOperator, checked_error
from bitterfly.operators.report import CompressReport
from bitterfly.operators.views import FLAGS, Mode, checked_mode
from bitterfly.powers import near_one, scaled
from bitterfly.precision import cast_dtype
from bitterfly.structures.permutations import PermutationOperator

_EPS = float(np.finfo(np.float64).eps)
_OPERATIONS = 8  # roundings of a term of a sum, of complex numbers
_REFLECTED = 16  # units that a QR factorization misses a column by, for each root of its sums and for each column
_PASSES = 3  # of Gram-Schmidt: twice is enough unless a vector lies in the span but for rounding
_SLACK = 1e-6  # of a logarithm: for what bounds round


class InverseFisherOperator(StoredOperator):
    """The inverse of a damped mean of rank-one matrices: ``(damping I + sum_i g_i g_i^H / m)^-1``.

    With gradients g_i, that is the inverse of the empirical Fisher matrix, by which natural gradients and the removal
    of weights go. It is Hermitian and positive definite.

    Parameters
    ----------
    gradients : array_like, shape (m, d)
        One g_i a row, the oldest first.
    damping : float
        Positive; its reciprocal, the largest eigenvalue where m < d, has to fit the dtype.
    relative_error, error_kind : float, str, optional
        What is known about the error against an original matrix. Default: none, this is the matrix.
    mode : {"forward", "transpose", "adjoint", "conjugate"}, optional
        Which view of the matrix the operator is.
    report : CompressReport, optional
        How an operator was made.

    Raises
    ------
    TypeError, ValueError
        Where gradients are no matrix of finite numbers, or the damping is not positive.

    Notes
    -----
    The operator of E. Frantar, E. Kurtic, D. Alistarh, *M-FAC: Efficient matrix-free approximations of second-order
    information* (NeurIPS 2021): ``4 d m`` operations a product, ``O(d m^2)`` once. Their recursion, as the formula of
    Woodbury, errs by the condition number where gradients nearly depend on each other. Here, with ``[g_1 ... g_m] /
    sqrt(m) = Q C`` (Q orthonormal, in double precision, held in memory beside the gradients) and the singular values s
    and left singular vectors U of C,

        A^-1 x = (x - Q U diag(s^2 / (damping + s^2)) U^H Q^H x) / damping,

    in which nothing is divided by what may vanish. A product rounds a vector x by units roundoff of ``|x| / damping``.
    The factorization misses Q C by ``E``, a few units roundoff of double precision of its norm. In units of
    ``1 / damping``, that changes the inverse by about ``2 |E| max(s / (damping + s^2))``: at worst by the root of the
    condition number times these units, where some s is near the root of the damping.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> g = np.random.default_rng(0).standard_normal((20, 1000))
    >>> op = bitterfly.structures.InverseFisherOperator(g, damping=1e-6)
    >>> x = np.ones(1000)
    >>> y = op @ x
    >>> np.allclose(1e-6 * y + g.T @ (g @ y) / 20, x)
    True
    """

    kind = "inverse_fisher"
    mode: Mode

    def __init__(
        self,
        gradients: Any,
        damping: float,
        *,
        relative_error: float = 0.0,
        error_kind: str = "exact",
        mode: str = "forward",
        report: CompressReport | None = None,
    ) -> None:
        g = np.array(_checked(gradients), order="C")
        self._assemble(g, _checked_damping(damping, g.dtype), _Span.of(g))
        self.mode = checked_mode(mode, g.dtype)
        self.report = report
        super().__init__(g.dtype, self.stored_shape, checked_error(relative_error, error_kind))

    def _assemble(self, gradients: Array, damping: float, span: _Span) -> None:
        gradients.flags.writeable = False
        facts = {"_gradients": gradients, "_damping": damping, "_span": span}
        facts["_inner"], facts["_missed"] = span.projection(len(gradients), damping)
        self.__dict__.update(facts)

    _gradients: Array
    _damping: float
    _span: _Span
    _inner: Array
    _missed: float

    # ---- what the operator is ----

    @property
    def gradients(self) -> Array:
        """The stored gradients, of the forward operator, one a row, read-only."""
        return self._gradients

    @property
    def damping(self) -> float:
        """The multiple of the identity that is added."""
        return self._damping

    @property
    def basis_size(self) -> int:
        """How many vectors the basis in memory has: at most two for each gradient, and d."""
        return int(self._span.basis.shape[1])

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of the stored, forward operator."""
        d = self._gradients.shape[1]
        return d, d

    @property
    def nbytes(self) -> int:
        """Bytes of the gradients; the basis in memory, which is not stored, takes 8 or 16 for each of their numbers."""
        return int(self._gradients.nbytes)

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers of the gradients, real and imaginary parts one by one, and their bits."""
        g = self._gradients
        return (Numbers(g.size * (2 if g.dtype.kind == "c" else 1), 8 * g.nbytes),)

    @property
    def _is_conjugate(self) -> bool:
        """Whether the view is the conjugate, which is the transpose as well, of the stored matrix."""
        transposed, conjugated = FLAGS[self.mode]
        return transposed != conjugated

    def diagonal(self) -> Array:
        """Return the diagonal, real numbers of shape (d,), from ``d m`` operations for each gradient."""
        basis = self._span.basis
        taken = np.einsum("ir,ir->i", basis @ self._inner, basis.conj()).real
        entries = np.maximum(1 - taken, self._span.least(len(self._gradients), self._damping)) / self._damping
        return np.asarray(entries, self.dtype.type(0).real.dtype)

    # ---- the matrix itself ----

    def inverse(self) -> ButterflySum:
        """Return the matrix itself, ``damping I + sum_i g_i g_i^H / m``, an operator.

        Its ``relative_error`` is what rounding ``1 / m`` costs; NaN where this one is not exact.

        Raises
        ------
        OverflowError
            Where the damping does not fit the dtype.
        """
        m, d = self._gradients.shape
        rows = ButterflyOperator([self._gradients.conj().reshape(1, m, d, 1)], relative_error=0.0, error_kind="exact")
        identity = PermutationOperator(np.arange(d), dtype=self.dtype)
        matrix: ButterflySum = self._damping * identity + (rows.H @ rows) / m
        matrix = matrix.conj() if self._is_conjugate else matrix
        if self.relative_error == 0:
            return matrix
        return matrix._viewed(_fact=Known(float("nan"), "estimated"))

    def solve(self, y: Any) -> Array:
        """Return x with ``op @ x = y``, y of shape (d,) or (d, k): ``damping y + sum_i g_i (g_i^H y) / m``."""
        return self.inverse().apply(y)

    def updated(self, gradients: Any, drop: int = 0) -> Self:
        """Return the operator of a window of gradients that has moved on.

        Parameters
        ----------
        gradients : array_like, shape (k, d) or (d,)
            New ones, in the order of the view that the operator is; they are stored in its dtype.
        drop : int, optional
            How many of the oldest are left out.

        Returns
        -------
        InverseFisherOperator
            The mean is that of the new window. A gradient takes ``O(d m)`` operations, and the window ``O(m^3)`` once:
            new ones are made orthogonal to the basis, which forgets old ones when it is twice as large as the window,
            by a new factorization.

        Raises
        ------
        TypeError, ValueError, OverflowError
            Where gradients do not fit those that are there, or none would be left.
        """
        new = as_floating(gradients, "gradients")
        new = self._fitting(new[None] if new.ndim == 1 else new)
        drop = as_count(drop, "drop")
        if drop > len(self._gradients) or (drop == len(self._gradients) and not len(new)):
            raise ValueError(f"drop: expected to leave at least one of {len(self._gradients)} gradients, got {drop}")
        window = np.concatenate([self._gradients[drop:], new])
        known = Known(0.0, "exact") if self.relative_error == 0 else Known(float("nan"), "estimated")
        moved = self._viewed(report=None, _fact=known)
        moved._assemble(window, self._damping, self._span.moved(window, new, drop))
        return moved

    def _fitting(self, new: Array) -> Array:
        """Return new gradients as the stored ones are."""
        d = self.shape[0]
        if new.ndim != 2 or new.shape[1] != d:
            raise ValueError(f"gradients: expected shape (k, {d}) or ({d},), got {new.shape}")
        if new.dtype.kind == "c" and self.dtype.kind != "c":
            raise TypeError(f"gradients: expected real numbers for an operator of {self.dtype}, got {new.dtype}")
        if not np.all(np.isfinite(new)):
            raise ValueError("gradients: expected finite numbers, got infinities or NaNs")
        with np.errstate(over="ignore", under="ignore"):
            out = new.astype(self.dtype)
        if not np.all(np.isfinite(out)):
            raise OverflowError(f"gradients: the numbers do not fit {self.dtype}")
        return out.conj() if self._is_conjugate else out

    # ---- bounds ----

    @property
    def log2_norm(self) -> float:
        """The logarithm to base 2 of the Frobenius norm, rounded up."""
        d, r = self.shape[0], self.basis_size
        inside = np.linalg.eigvalsh(np.eye(r) - self._inner)
        size = float(np.sqrt(np.sum(np.square(inside)) + (d - r))) + self._missed + 64 * r * np.sqrt(r) * _EPS
        return float(np.log2(min(size, np.sqrt(d)))) - float(np.log2(self._damping)) + _SLACK

    @property
    def log2_rounding_gain(self) -> float:
        """The logarithm of a bound on what a product rounds of a vector of length one.

        Three sums of ``d``, r and r terms, of moduli of matrices whose norms are at most ``sqrt(r)``; what is missed by
        the factorization; and the result in the precision of the operator.
        """
        d, r = self.shape[0], self.basis_size
        sums = _OPERATIONS * np.sqrt(float(r)) * (d + 2.0 * r + 12) * _EPS
        whole = sums + self._missed + 4 * float(np.finfo(self.dtype).eps)
        return float(np.log2(whole)) - float(np.log2(self._damping)) + _SLACK

    # ---- products ----

    def _multiply(self, x: Array, out: Array, transposed: bool, conjugated: bool, workers: int | None) -> Array:
        if not out.size:
            return out
        conjugate = self._is_conjugate ^ (transposed != conjugated) and self.dtype.kind == "c"
        wide = np.ascontiguousarray(x.reshape(len(x), -1), np.result_type(out.dtype, np.float64))
        wide = wide.conj() if conjugate else wide
        pairs = wide.view(np.float64).reshape(*wide.shape, -1)  # real and imaginary parts
        exponents = np.frexp(np.max(np.abs(pairs), axis=(0, 2)))[1][:, None]
        mantissa, exponent = np.frexp(self._damping)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            y = self._projected(np.ldexp(pairs, -exponents)) / mantissa
            y = np.ldexp(y, exponents - exponent).view(wide.dtype)[:, :, 0]
            out[...] = (y.conj() if conjugate else y).reshape(out.shape)
        return out

    def _projected(self, pairs: Array) -> Array:
        """Return ``x - Q M Q^H x`` of real and imaginary parts; the conjugate of Q is never formed."""
        basis = self._span.basis
        z = pairs.reshape(len(pairs), -1) if basis.dtype.kind != "c" else pairs.view(basis.dtype)[:, :, 0]
        y = z - basis @ (self._inner @ (basis.T @ z.conj()).conj())
        return np.ascontiguousarray(y).view(np.float64).reshape(pairs.shape)

    # ---- views and copies ----

    def astype(self, dtype: Any) -> Self:
        """Return the operator in another precision; to a narrower one, the change is added to the error.

        Raises
        ------
        TypeError, OverflowError
            From complex to real numbers, and where gradients, or the reciprocal of the damping, do not fit.
        """
        target = np.dtype(cast_dtype(dtype, self.dtype).type)
        with np.errstate(over="ignore", under="ignore"):
            g = self._gradients.astype(target)
        if not np.all(np.isfinite(g)) or not _fits(self._damping, target):
            raise OverflowError(f"dtype: the gradients, or the reciprocal of the damping, do not fit {target}")
        cast = self._viewed(dtype=target)
        if np.finfo(target).eps <= np.finfo(self.dtype).eps:
            g.flags.writeable = False
            cast.__dict__["_gradients"] = g
            return cast
        cast._assemble(g, self._damping, _Span.of(g))
        return cast._viewed(_fact=after_cast(self, cast))

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"mode": self.mode, "report": self.report} | Known.of(self).facts
        return _rebuilt, (self._gradients, self._damping, facts)


def _rebuilt(gradients: Array, damping: float, facts: dict[str, Any]) -> InverseFisherOperator:
    return InverseFisherOperator(gradients, damping, **facts)


@dataclass(frozen=True)
class _Span:
    """Gradients as columns: ``basis @ coefficients * 2**exponent``, (d, r) orthonormal times (r, m), r at most 2 m."""

    basis: Array
    coefficients: Array
    exponent: int

    @classmethod
    def of(cls, gradients: Array) -> _Span:
        z, exponent = near_one(gradients)
        basis, coefficients = qr(z.T, mode="economic", check_finite=False)
        return cls(basis, coefficients, exponent)

    def projection(self, count: int, damping: float) -> tuple[Array, float]:
        """Return ``U diag(s^2 / (damping + s^2)) U^H``, and a bound on what errors of the span change the inverse by.

        That is in units of 1 / damping, between zero and which both inverses lie. With ``H = (damping I + K K^H)^-1``
        and ``K' = K + E`` it follows from ``H' - H = -H (E K^H + K' E^H) H'``, where ``|H K|`` is the largest of ``s /
        (damping + s^2)``, off by at most ``|E| / damping``; or, where K has full rank, from projections on its range,
        which differ by ``|E|`` over the least s (G. W. Stewart, *On the perturbation of pseudo-inverses, projections
        and linear least squares problems*, 1977), while what is left on that is below ``damping / s^2``.
        """
        d, r = self.basis.shape
        columns = max(count, r)
        units = _REFLECTED * (np.sqrt(float(d) * columns) + columns) * _EPS
        u, s, _ = svd(self.coefficients / np.sqrt(count), full_matrices=False)
        root, off = self._root(damping), units * float(np.linalg.norm(s))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore", under="ignore"):
            weights = np.where(s > 0, 1 / (1 + np.square(root / s)), 0.0)
            largest = float(np.max(np.where(s > 0, weights / s, 0.0)))
            missed = 2 * off * largest + 5 * float(np.square(np.divide(off, root))) if off else 0.0
        least = float(s[-1]) - 2 * off
        if least > 0 and len(s) == min(count, d):
            missed = float(np.fmin(missed, off / least + 2 * np.square(root / least)))
        return (u * weights) @ u.conj().T, float(np.fmin(missed, 1.0))

    def least(self, count: int, damping: float) -> float:
        """Return a bound from below on the eigenvalues of the inverse, in units of 1 / damping."""
        with np.errstate(over="ignore", divide="ignore"):
            ratio = np.divide(np.linalg.norm(self.coefficients) / np.sqrt(count), self._root(damping))
            return float(1 / (1 + np.square(ratio)))

    def _root(self, damping: float) -> float:
        return float(np.ldexp(np.sqrt(damping), -self.exponent))

    def moved(self, window: Array, new: Array, drop: int) -> _Span:
        """Return the span of a window: without the first `drop` columns, and with new ones."""
        if self.basis.shape[1] + len(new) > 2 * len(window):
            return _Span.of(window)
        z, exponent = near_one(new)
        top = max(exponent, self.exponent) if new.any() else self.exponent
        old, added = scaled(self.coefficients[:, drop:], self.exponent - top), scaled(z, exponent - top)
        d, r = self.basis.shape
        basis = np.empty((d, min(d, r + len(new))), np.result_type(self.basis, z), order="F")
        basis[:, :r] = self.basis
        columns = []
        for g in added:
            parts, rest = _orthogonal(g, basis[:, :r])
            size = float(np.linalg.norm(rest))
            if r < d and size > _REFLECTED * _EPS * np.sqrt(d) * float(np.linalg.norm(g)):
                basis[:, r] = rest / size
                r, parts = r + 1, np.append(parts, size)
            columns.append(parts)
        coefficients = np.zeros((r, old.shape[1] + len(new)), basis.dtype)
        coefficients[: len(old), : old.shape[1]] = old
        for at, parts in enumerate(columns, start=old.shape[1]):
            coefficients[: len(parts), at] = parts
        return _Span(basis[:, :r], coefficients, top)


def _orthogonal(x: Array, basis: Array) -> tuple[Array, Array]:
    """Return the coefficients of a vector along a basis, and what is left."""
    parts = np.zeros(basis.shape[1], np.result_type(x, basis))
    for _ in range(_PASSES):
        along = (basis.T @ x.conj()).conj()
        x, parts = x - basis @ along, parts + along
        if np.linalg.norm(along) < np.linalg.norm(x) / 8:  # little was left to take away
            break
    return parts, x


def _checked(gradients: Any) -> Array:
    g = as_floating(gradients, "gradients")
    if g.ndim != 2 or 0 in g.shape:
        raise ValueError(f"gradients: expected shape (m, d), neither of them zero, got {g.shape}")
    if not np.all(np.isfinite(g)):
        raise ValueError("gradients: expected finite numbers, got infinities or NaNs")
    return g


def _fits(damping: float, dtype: np.dtype[Any]) -> bool:
    """Whether the reciprocal is a normal number of a dtype."""
    limits = np.finfo(dtype)
    return bool(float(limits.tiny) <= 1 / damping <= float(limits.max)) if damping > 0 else False


def _checked_damping(damping: Any, dtype: np.dtype[Any]) -> float:
    number = as_number(damping, "damping")
    if not _fits(number, dtype):
        raise ValueError(f"damping: expected a positive number whose reciprocal fits {dtype}, got {number}")
    return number
