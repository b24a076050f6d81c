"""Any real matrix to signed cuts: greedy ascents, then all cuts together."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.cuts.errors import errors_of_first
from bitterfly.cuts.search import asked, check_error, checked, found, rounded
from bitterfly.inputs import as_floating
from bitterfly.operators.cuts import SignedCut
from bitterfly.powers import near_one
from bitterfly.workers import set_workers


def matrix(
    a: Any,
    *,
    width: int | None = None,
    bits: float | None = None,
    rtol: float | None = None,
    nbytes: int | None = None,
    starts: int = 2,
    sweeps: int = 16,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> SignedCut:
    """Approximate a real matrix by a sum of signed cuts, ``sum_j c_j s_j t_j^T`` with s_j and t_j of -1 and 1.

    Parameters
    ----------
    a : array_like, shape (m, n)
        Real numbers; worked on in single precision, at any scale.
    width : int, optional
        How many cuts.
    bits : float, optional
        Bits for each entry of the matrix, those of coefficients counted too: the most cuts that fit them.
    rtol : float, optional
        Relative error that as few cuts as found meet.
    nbytes : int, optional
        The most cuts that fit so many bytes.
    starts : int, optional
        Of how many ascents from random signs each cut is the best.
    sweeps : int, optional
        How often, while cuts take one bit an entry, the signs of the last ones, of a bit an entry, are looked at again
        and their coefficients fitted. None, ``sweeps=0``, with one start is the published algorithm.
    rng : numpy.random.Generator or int, optional
        Draws the random signs.
    workers : int, optional
        Threads, as for `factorize`.

    Returns
    -------
    SignedCut
        Its ``relative_error`` is measured on all entries, what the measurement rounds included; its ``errors`` are
        those of the first 1, 2, .. cuts. Fewer cuts than asked for where these leave nothing
        that single precision tells from zero.

    Raises
    ------
    ValueError
        Where not exactly one of `width`, `bits`, `rtol`, `nbytes` is given, or a bad value; for infinities and NaNs;
        where `rtol` is not met by coefficients of the precision of `a`, subnormal ones.
    OverflowError
        Where coefficients do not fit the precision of the matrix.
    TypeError
        Where `a` is no matrix of real numbers.

    Notes
    -----
    The ascent (arXiv:2410.01799): from random signs t, s are the signs of ``R t`` and t those of ``R^T s`` as long as
    ``s^T R t`` grows; the coefficient is that over ``m n``, and R loses the cut.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> a = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    >>> op = bitterfly.cuts.matrix(a, bits=4, rng=0)
    >>> op.nbytes * 8 / a.size <= 4, op.relative_error < 0.17
    (True, True)
    """
    given = as_floating(a, "a")
    if given.ndim != 2 or 0 in given.shape:
        raise ValueError(f"a: expected shape (m, n), neither of them zero, got {given.shape}")
    given = checked(given, "a")
    options = asked(given, width, bits, rtol, nbytes, starts, sweeps, rng, workers)
    near, exponent = near_one(given)
    with set_workers(options.workers):
        cuts = found(near.astype(np.float32), options)
        numbers = rounded(cuts.c, exponent, given.dtype, "a")
        errors = errors_of_first(near, np.ldexp(numbers.astype(np.float64), -exponent), cuts.sides)
        op = SignedCut(numbers, *cuts.sides, errors=errors)
        known = Known(measure(given, op), "measured") if given.any() else Known(0.0, "exact")
    errors[-1] = known.error
    check_error(known.error, rtol, given.dtype)
    return op.replaced(relative_error=known.error, error_kind=known.kind, errors=errors)
