"""How far the dense matrix that products return may lie from the product of the factors that an operator stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitterfly.inputs import Array
from bitterfly.powers import exponent_of, scaled
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.tile_codes import TiledCodes, values_of

# Roundings of an entry in one factor: those of sums of `planes` times the rank products, and of decoding a direction,
# of a step and of the scale vector (`tests/tolerances.py`).
_OPERATIONS, _OTHERS = 4, 8
_SLACK = 0.02  # of a logarithm to base 2: for what the bound itself rounds, and for terms of second order

_NONE = -(1 << 20)  # the exponent of zero

NOTHING = -np.inf
Gain = Callable[[Any], float]


def log2_rounding(op: Any, gain: Gain | None = None) -> float:
    """Return the logarithm to base 2 of a bound on ``||fl(op I) - op||_F``, and on that of the adjoint.

    Parameters
    ----------
    op : operator of this package
        Multiplied with unit vectors, in its own precision.
    gain : callable, optional
        What bounds spectral norms of members; default: `log2_gain`.

    Returns
    -------
    float
        ``NOTHING`` where an operator is zero; NaN where a factor is not finite.

    Notes
    -----
    Factor l of L adds ``delta_l`` to the columns of ``Y_l = Q_l Y_(l+1)``, with ``|delta_l| <= gamma_k |Q_l|
    |Y_(l+1)|``: only r numbers of a column are not zero in a block, so that k grows with the rank. All later factors
    ``P = Q_1 .. Q_(l-1)`` multiply it. The supports of the columns of different blocks and groups are disjoint, hence

        ||P delta_l||_F^2 <= gamma_k^2 sum ||P_block||_F^2 ||Q_block||_F^2 ||Y_block||_F^2

    over all blocks of ``q x r`` numbers; the outer two are traces of Gram matrices, which pass from factor to factor.
    The bound is the same for the adjoint. Exponents are kept beside all blocks, for factors of any scale.
    """
    if op.kind == "sum":
        sides = [log2_rounding(t, gain) for t in op.terms], [log2_norm(t, gain) for t in op.terms]
        return log2_sum(_sum_rounding(op, *sides, max(op.shape)))
    if op.kind == "sparse":  # of a unit vector, products are entries
        return NOTHING
    if op.kind == "stack":  # each part rounds, and so do their sums
        unit = np.log2(len(op.parts) * float(np.finfo(op.dtype).eps))
        norms = [unit + log2_norm(part, gain) for part in op.parts]
        return log2_sum([log2_rounding(part, gain) for part in op.parts] + norms)
    # Of unit vectors, the first operator of a product makes any vectors.
    if op.kind in ("product", "kron", "dense", "cuts") or _knows_itself(op):
        size = max(op.shape)
        return log2_applied(op, np.log2(size) / 2, size, gain)
    return _chain_rounding(_factors(op), (1, *op.stored_chain.ranks, 1), np.dtype(op.dtype))


def log2_norm(op: Any, gain: Gain | None = None) -> float:
    """Return the logarithm to base 2 of a bound on ``||op||_F``, padding and all."""
    if op.kind == "sum":
        return log2_sum(_log2_size(c) + log2_norm(t, gain) for c, t in zip(op.coefficients, op.terms, strict=True))
    if op.kind == "stack":
        return log2_sum(log2_norm(part, gain) for part in op.parts)
    if op.kind == "product":
        return sum(map(gain or log2_gain, op.operators[:-1])) + log2_norm(op.operators[-1], gain)
    if op.kind == "kron":
        return sum(log2_norm(each, gain) for each in op.operators)
    if op.kind == "dense":
        return float(op.codes.log2_norm)
    if op.kind == "sparse":
        return _log2_length(op.matrix.data)
    if _knows_itself(op):
        return float(op.log2_norm)
    if op.kind == "cuts":  # of each cut the root of all entries
        return log2_sum(map(_log2_size, op.coefficients.tolist())) + _log2_side(op) + _SLACK
    factors, ranks = _factors(op), (1, *op.stored_chain.ranks, 1)
    a, _, c, d = factors[-1].shape
    grams = _Grams.ones(a * c, d)
    for at in reversed(range(len(factors))):
        grams = _Blocks.of(factors[at], *ranks[at : at + 2]).rows(grams)
    return log2_sum(grams.traces().ravel()) / 2


def log2_gain(op: Any) -> float:
    """Return the logarithm to base 2 of a bound on ``|F_1| .. |F_L|`` in the spectral norm, F the moduli of factors.

    A factor has the norm of its largest block, here in the Frobenius norm; no rounding makes vectors longer than that.
    """
    if op.kind == "sum":
        return log2_sum(_log2_size(c) + log2_gain(t) for c, t in zip(op.coefficients, op.terms, strict=True))
    if op.kind == "stack":
        return log2_sum(map(log2_gain, op.parts))
    if op.kind in ("dense", "sparse", "cuts") or _knows_itself(op):
        return log2_norm(op)
    return float(sum(map(log2_gain, op.operators))) if op.members else float(sum(map(_factor_gain, _factors(op))))


def is_exact(op: Any) -> bool:
    """Whether products with unit vectors are free of rounding: all numbers are short multiples of powers of two.

    If the numbers of factor l are multiples of ``2^g`` up to ``2^h`` in modulus, ``h - g`` bits hold them; a product
    whose bits, and those of the numbers of terms, together fit the precision is exact, whatever its order.
    """
    if op.kind == "sparse":
        return True
    if op.kind == "stack":  # a unit vector meets one part, or each by itself
        return all(map(is_exact, op.parts))
    if op.members:
        return op.kind == "sum" and op.coefficients in ((1,), (-1,)) and is_exact(op.terms[0])
    if op.kind in ("dense", "cuts"):
        return log2_norm(op) == NOTHING
    if _knows_itself(op):
        return bool(op.log2_rounding_gain == NOTHING)
    if isinstance(op.store, DirectionCodes):
        return False  # decoded by rotations
    numbers = _stored_numbers(op)
    low, high = (np.array(side) for side in zip(*map(_range, numbers), strict=True))
    terms = sum(np.log2(4 * rank) for rank in (1, *op.stored_chain.ranks))
    limits = np.finfo(op.dtype)
    fits = np.sum(np.maximum(np.abs(low), np.abs(high))) + terms < -limits.minexp
    return bool(fits and np.sum(high - low) + terms <= limits.nmant + 1)


def _knows_itself(op: Any) -> bool:
    """Whether an operator says of itself how long it is, and what its products round of a vector of length one.

    Unless it has `log2_applied`, it scales its numbers and vectors to about one: only what it returns may underflow.
    """
    return hasattr(op, "log2_rounding_gain")


def _log2_length(x: Array) -> float:
    """Return the logarithm of the root of a sum of squared moduli, those of zeros nothing."""
    exponent = exponent_of(x)
    length = float(np.linalg.norm(scaled(x.astype(np.result_type(x.dtype, np.float64)), -exponent)))
    return float(np.log2(length) + exponent) + _SLACK if length else NOTHING


def _log2_size(x: complex) -> float:
    return float(np.log2(abs(x))) if x else NOTHING


def _factor_gain(factor: Array) -> float:
    blocks = factor.astype(np.result_type(factor.dtype, np.float64), copy=False).transpose(0, 3, 1, 2)
    x, exponents = _normal(blocks)
    with np.errstate(divide="ignore"):
        return float(np.max(np.log2(np.einsum("...bc,...bc->...", x, x.conj()).real) / 2 + exponents))


def _sum_rounding(op: Any, roundings: list[float], norms: list[float], count: int) -> list[float]:
    """Return logarithms of what a sum rounds: its terms, products with coefficients, additions; of `count` vectors."""
    limits = np.finfo(op.dtype)
    unit, sizes = np.log2((len(norms) + 2) * float(limits.eps)), [_log2_size(c) for c in op.coefficients]
    found = [size + rounding for size, rounding in zip(sizes, roundings, strict=True)]
    found += [unit + size + norm for size, norm in zip(sizes, norms, strict=True)]
    if any(c not in (0, 1, -1) for c in op.coefficients) and max(norms) > NOTHING:
        entries = max(op.shape) * count
        found.append(float(np.log2(limits.smallest_subnormal) + np.log2(len(norms) * np.sqrt(entries))))
    return found


def log2_applied(op: Any, size: float, count: int, gain: Gain | None = None) -> float:
    """Return the logarithm of a bound on what products with `count` vectors round, together of norm ``2**size``.

    The vectors are any, the adjoint the same: factor l of L adds at most ``gamma_k |F_1| .. |F_L| |x|``.
    """
    gain = gain or log2_gain
    if op.kind == "sum":
        sides = [log2_applied(t, size, count, gain) for t in op.terms], [gain(t) + size for t in op.terms]
        return log2_sum(_sum_rounding(op, *sides, count))
    if op.kind == "stack":
        unit = np.log2(len(op.parts) * float(np.finfo(op.dtype).eps))
        return log2_sum([unit + size + gain(op), *(log2_applied(part, size, count, gain) for part in op.parts)])
    if op.members:
        count *= max(max(part.shape) for part in op.members) if op.kind == "kron" else 1
        return max(_one_by_one(ops, size, count, gain) for ops in (op.members, op.members[::-1]))
    if op.kind == "dense":
        return _dense_applied(op, size, count)
    if op.kind == "sparse":
        return _sparse_applied(op, size, count)
    if hasattr(op, "log2_applied"):
        return float(op.log2_applied(size, count))
    if _knows_itself(op):
        gain_of, limits = op.log2_rounding_gain, np.finfo(op.dtype)
        tiny = float(np.log2(limits.smallest_subnormal) + np.log2(_OTHERS * max(op.shape) * np.sqrt(count)))
        return NOTHING if gain_of == NOTHING else log2_sum([gain_of + size, tiny])
    if op.kind == "cuts":
        return _cuts_applied(op, size, count)
    factors, limits = _factors(op), np.finfo(op.dtype)
    gains = [_factor_gain(f) for f in factors]
    if NOTHING in gains:
        return NOTHING
    planes, growth = 2 if np.dtype(op.dtype).kind == "c" else 1, sum(max(gain, 0.0) for gain in gains)
    found = []
    for f in factors:
        a, b, c, d = f.shape
        roundings = _OPERATIONS * planes * max(b, c) + _OTHERS
        found.append(float(np.log2(roundings * float(limits.eps) / 2)) + sum(gains) + size)
        entries = a * d * max(b, c) * count
        found.append(float(np.log2(roundings * np.sqrt(entries)) + np.log2(limits.smallest_subnormal)) + growth)
    return log2_sum(found)


def _dense_applied(op: Any, size: float, count: int) -> float:
    """Return the logarithm of a bound on what products with window codes round, of vectors of norm ``2**size``.

    Rotations round; digits miss half a unit of each number, the largest being ``op.largest_digits`` units; integer sums
    are exact, and a few products round what becomes of them.
    """
    norm, limits = log2_norm(op), np.finfo(op.dtype)
    if norm == NOTHING:
        return NOTHING
    unit = float(limits.eps) / 2
    digits = float(np.sqrt(max(op.codes.shape))) / (2 * op.largest_digits)
    found = [float(np.log2(op.rotations_rounding(unit) + digits + _OTHERS * unit)) + norm + size]
    found.append(float(np.log2(limits.smallest_subnormal) + np.log2(_OTHERS * np.sqrt(max(op.shape) * count))))
    return log2_sum(found)


def _sparse_applied(op: Any, size: float, count: int) -> float:
    """Return the logarithm of a bound on what products with a sparse matrix round: sums of the entries of a row."""
    norm, limits = log2_norm(op), np.finfo(op.dtype)
    if norm == NOTHING:
        return NOTHING
    planes, matrix = 2 if np.dtype(op.dtype).kind == "c" else 1, op.matrix.tocsr()
    longest = max(np.max(np.diff(matrix.indptr)), np.max(np.bincount(matrix.indices), initial=0))
    roundings = _OPERATIONS * planes * int(longest) + _OTHERS
    found = [float(np.log2(roundings * float(limits.eps) / 2)) + norm + size]
    found.append(float(np.log2(limits.smallest_subnormal) + np.log2(roundings * np.sqrt(max(op.shape) * count))))
    return log2_sum(found)


def _cuts_applied(op: Any, size: float, count: int) -> float:
    """Return the logarithm of a bound on what products with signed cuts round, of vectors of norm ``2**size``.

    Numbers of a vector, and the sums of the cuts times coefficients, miss half a unit, the largest of them being fewer
    than ``2**op.rounded_bits`` units; integer sums are exact, and a few products round what becomes of them. The sum of
    a cut is at most the root of a side times the norm of the vector.
    """
    norm, limits = log2_norm(op), np.finfo(op.dtype)
    if norm == NOTHING:
        return NOTHING
    integers = float(sum(op.shape) + op.width) * 2.0**-op.rounded_bits
    found = [float(np.log2(integers + _OTHERS * float(limits.eps) / 2)) + norm + size]
    found.append(float(np.log2(limits.smallest_subnormal) + np.log2(_OTHERS * np.sqrt(max(op.shape) * count))))
    return log2_sum(found)


def _log2_side(op: Any) -> float:
    """Return the logarithm of the root of the number of entries."""
    return float(np.log2(op.shape[0]) + np.log2(op.shape[1])) / 2


def _one_by_one(ops: Iterable[Any], size: float, count: int, gain: Gain) -> float:
    """Return the logarithm of a bound on what products with one operator after the other round."""
    lost = NOTHING
    for op in ops:
        most = gain(op)
        lost = log2_sum([log2_applied(op, size, count, gain), most + lost])
        size = log2_sum([size + most, lost])
    return lost


def _factors(op: Any) -> list[Array]:
    """Return the stored factors, the last one with the lengths of the columns."""
    store = op.store.dequantize() if hasattr(op.store, "dequantize") else op.store
    return list(store.factors())


def _stored_numbers(op: Any) -> list[Array]:
    """Return all numbers that products multiply with, codes, steps and lengths apart."""
    store = op.store
    if not isinstance(store, TiledCodes):
        return list(store.factors())
    codes = [values_of(code, q) for code, q in zip(store.codes, store.unpack(), strict=True)]
    return [*codes, *store.steps, store.scale]


def _range(x: Array) -> tuple[float, float]:
    """Return the exponents between which the bits of all numbers lie."""
    reals = np.atleast_1d(np.ascontiguousarray(x)).view(np.asarray(x).real.dtype).astype(np.float64)
    reals = reals[reals != 0]
    if not reals.size:
        return 0.0, 0.0
    mantissas, exponents = np.frexp(reals)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    trailing = np.log2((whole & -whole).astype(np.float64))
    return float(np.min(exponents - 53 + trailing)), float(np.max(exponents))


def _chain_rounding(factors: list[Array], ranks: tuple[int, ...], dtype: np.dtype[Any]) -> float:
    """Return the logarithm of the bound for a product of factors, ``ranks[l]`` and ``ranks[l + 1]`` beside factor l."""
    blocks = [_Blocks.of(f, left, right) for f, left, right in zip(factors, ranks, ranks[1:], strict=False)]
    a, _, c, d = factors[-1].shape
    after = [_Grams.ones(a * c, d)]
    for block in blocks[:0:-1]:
        after.insert(0, block.rows(after[0]))
    a, b, _, d = factors[0].shape
    before, found, planes = _Grams.ones(a, b * d), [], 2 if dtype.kind == "c" else 1
    rows, columns = a * b * d, factors[-1].shape[0] * factors[-1].shape[2] * factors[-1].shape[3]
    tiny = float(np.log2(np.finfo(dtype).smallest_subnormal))
    for block, right in zip(blocks, after, strict=True):
        roundings = _OPERATIONS * planes * max(block.x.shape[-2:]) + _OTHERS
        found.append(np.log2(roundings * float(np.finfo(dtype).eps) / 2) + block.between(before, right) / 2)
        ends = max(before.largest(), right.largest())
        size = np.log2(max(rows, block.x[..., 0].size) * max(columns, block.x[..., 0, :].size))
        found.append(np.log2(roundings) + tiny + (size + ends) / 2 if found[-1] > NOTHING else NOTHING)
        before = block.columns(before)
    return log2_sum(found)


@dataclass(frozen=True)
class _Grams:
    """Gram matrices at a junction of rank r, (a, d, r, r) times ``4**exponents``, of shape (a, d)."""

    values: Array
    exponents: Array

    @classmethod
    def ones(cls, a: int, d: int) -> _Grams:
        return cls(np.ones((a, d, 1, 1)), np.zeros((a, d), int))

    def traces(self) -> Array:
        """Return logarithms of the squared norms of what the matrices are the squares of."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log2(np.einsum("...ii->...", self.values).real) + 2.0 * self.exponents)

    def largest(self) -> float:
        return float(np.max(self.traces()))


@dataclass(frozen=True)
class _Blocks:
    """The blocks of q x r numbers of a factor, (a, p, d, groups, q, r) times ``2**exponents``.

    Row ``s*p + i`` of block (a, d) is row s of its part i, column ``g*r + k`` is column k of its group g.
    """

    x: Array
    exponents: Array

    @classmethod
    def of(cls, factor: Array, left: int, right: int) -> _Blocks:
        a, b, c, d = factor.shape
        wide = factor.astype(np.result_type(factor.dtype, np.float64), copy=False)
        x = wide.reshape(a, left, b // left, c // right, right, d).transpose(0, 2, 5, 3, 1, 4)
        return cls(*_normal(np.ascontiguousarray(x)))

    def rows(self, grams: _Grams) -> _Grams:
        """Return the Gram matrices of the rows of this factor times what has those given."""
        a, p, d, groups, _, r = self.x.shape
        inner = grams.values.reshape(a, groups, d, r, r).transpose(0, 2, 1, 3, 4)[:, None]
        exponents = grams.exponents.reshape(a, groups, d).transpose(0, 2, 1)[:, None] + self.exponents
        values, top = _added(_above(self.x, inner), exponents, 3)
        return _Grams(values.reshape(a, p * d, *values.shape[3:]), top.reshape(a, p * d))

    def columns(self, grams: _Grams) -> _Grams:
        """Return the Gram matrices of the columns of what has those given, times this factor."""
        a, p, d, groups, q, r = self.x.shape
        inner = grams.values.reshape(a, p, d, 1, q, q)
        exponents = grams.exponents.reshape(a, p, d, 1) + self.exponents
        values, top = _added(_above(_adjoint(self.x), inner), exponents, 1)
        values, top = values.transpose(0, 2, 1, 3, 4), top.transpose(0, 2, 1)
        return _Grams(np.ascontiguousarray(values).reshape(a * groups, d, r, r), top.reshape(a * groups, d))

    def between(self, before: _Grams, after: _Grams) -> float:
        """Return the logarithm of the sum over all blocks of the squared norms before, of, and after each."""
        a, p, d, groups = self.x.shape[:4]
        left = before.traces().reshape(a, p, d, 1)
        right = after.traces().reshape(a, groups, d).transpose(0, 2, 1)[:, None]
        with np.errstate(divide="ignore"):
            own = np.log2(np.einsum("...qr,...qr->...", self.x, self.x.conj()).real) + 2.0 * self.exponents
        return log2_sum((left + own + right).ravel())


def _normal(x: Array) -> tuple[Array, Array]:
    """Divide each matrix in the last two axes by the power of two that brings it near one; return the exponents too."""
    size = np.maximum(np.abs(x.real), np.abs(x.imag)).max(axis=(-2, -1))
    exponents = np.where(size > 0, np.frexp(size)[1], _NONE)
    shift = -exponents[..., None, None]
    out = np.ldexp(x.real, shift) if x.dtype.kind != "c" else np.ldexp(x.real, shift) + 1j * np.ldexp(x.imag, shift)
    return np.asarray(out), exponents


def _added(grams: Array, exponents: Array, axis: int) -> tuple[Array, Array]:
    """Add Gram matrices times ``4**exponents`` along an axis; what vanishes beside the largest does not count."""
    top = exponents.max(axis=axis, keepdims=True)
    weights = np.ldexp(1.0, 2 * (exponents - top))
    values, more = _normal(np.sum(grams * weights[..., None, None], axis=axis))
    odd = more & 1  # the exponents are those of squares
    return values * np.ldexp(1.0, odd)[..., None, None], np.squeeze(top, axis) + (more - odd) // 2


def _above(x: Array, gram: Array) -> Array:
    """Return ``x gram x^H`` and a multiple of the identity that bounds its rounding, also where it cancels."""
    q, r = x.shape[-2:]
    size = np.einsum("...qr,...qr->...", x, x.conj()).real * np.einsum("...ii->...", gram).real
    unit = 8 * (q + r + 2) * float(np.finfo(np.float64).eps)
    return np.asarray(x @ gram @ _adjoint(x) + (unit * size)[..., None, None] * np.eye(q))


def _adjoint(x: Array) -> Array:
    return x.conj().swapaxes(-1, -2)


def log2_sum(logarithms: Iterable[float]) -> float:
    """Return the logarithm of a sum of numbers given by theirs."""
    parts = np.fromiter(logarithms, float)
    top = np.max(parts, initial=NOTHING)
    return float(top + np.log2(np.sum(np.exp2(parts - top))) + _SLACK) if np.isfinite(top) else float(top)
