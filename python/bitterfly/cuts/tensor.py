"""Any real tensor to signed cuts."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.cuts.cut_tensor import CutTensor
from bitterfly.cuts.errors import errors_of_first, measured
from bitterfly.cuts.search import asked, check_error, checked, found, rounded
from bitterfly.inputs import as_floating
from bitterfly.powers import near_one
from bitterfly.workers import set_workers


def tensor(
    x: Any,
    *,
    width: int | None = None,
    bits: float | None = None,
    rtol: float | None = None,
    nbytes: int | None = None,
    starts: int = 8,
    sweeps: int = 16,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> CutTensor:
    """Approximate a real tensor of any order by a sum of signed cuts, ``sum_j c_j s_j1 x s_j2 x ..``.

    Parameters
    ----------
    x : array_like
        Real numbers, of one axis or more; worked on in single precision, at any scale.
    width : int, optional
        How many cuts.
    bits : float, optional
        Bits for each entry of the tensor, those of coefficients counted too: the most cuts that fit them.
    rtol : float, optional
        Relative error that as few cuts as found meet.
    nbytes : int, optional
        The most cuts that fit so many bytes.
    starts : int, optional
        Of how many ascents from random signs each cut is the best.
    sweeps : int, optional
        How often, while cuts take one bit an entry, the signs of the last ones, of a bit an entry, are looked at again
        and their coefficients fitted. None, ``sweeps=0``, with one start is the published algorithm, but that ascents
        of the same residual go up together, for a 64th of a bit an entry.
    rng : numpy.random.Generator or int, optional
        Draws the random signs.
    workers : int, optional
        Threads, as for `factorize`.

    Returns
    -------
    CutTensor
        Its ``relative_error`` is measured on all entries, what the measurement rounds included; its ``errors`` bound
        those of the first 1, 2, .. cuts. Fewer cuts than asked for where these leave nothing
        that single precision tells from zero.

    Raises
    ------
    ValueError
        Where not exactly one of `width`, `bits`, `rtol`, `nbytes` is given, or a bad value; for infinities, NaNs, and
        axes of no length; where `rtol` is not met by coefficients of the precision of `x`, subnormal ones.
    OverflowError
        Where coefficients do not fit the precision of `x`.
    TypeError
        For what is no array of real numbers.

    Notes
    -----
    The ascent (arXiv:2410.01799): from random signs along all axes, those of one after the other become the signs of
    what the others give, as long as that grows; the coefficient is it over the number of entries. Sweeps are those of
    `matrix`, axis by axis, each against the products of the signs along all others.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.random.default_rng(0).standard_normal((16, 12, 20)).astype(np.float32)
    >>> cut = bitterfly.cuts.tensor(x, bits=1, rng=0)
    >>> cut.nbytes * 8 / x.size <= 1, bool(0.6 < cut.relative_error < 0.8)
    (True, True)
    >>> cut.contract({1: np.ones(12)}).shape
    (16, 20)
    """
    given = as_floating(x, "x")
    if not given.ndim or 0 in given.shape:
        raise ValueError(f"x: expected axes of a length, got shape {given.shape}")
    given = checked(given, "x")
    options = asked(given, width, bits, rtol, nbytes, starts, sweeps, rng, workers)
    axes = [axis for axis, n in enumerate(given.shape) if n > 1] or [0]
    axes.sort(key=lambda axis: -given.shape[axis])  # products with all of the tensor go along the longest
    compact = np.ascontiguousarray(given.transpose(axes + [axis for axis in range(given.ndim) if axis not in axes]))
    compact = compact.reshape([given.shape[axis] for axis in axes])
    near, exponent = near_one(compact)
    with set_workers(options.workers):
        cuts = found(near.astype(np.float32), options)
        numbers = rounded(cuts.c, exponent, given.dtype, "x")
        errors = errors_of_first(near, np.ldexp(numbers.astype(np.float64), -exponent), cuts.sides)
        known = measured(compact, numbers, cuts.sides)
    errors[-1] = known.error
    check_error(known.error, rtol, given.dtype)
    packed = [np.zeros((len(numbers), 1), np.uint8)] * given.ndim  # axes of one place are of plus signs
    for axis, side in zip(axes, cuts.sides, strict=True):
        packed[axis] = np.packbits(side < 0, axis=1, bitorder="little")
    return CutTensor(given.shape, numbers, tuple(packed), errors, known.kind)
