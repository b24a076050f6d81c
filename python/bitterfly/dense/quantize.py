"""Any matrix to window codes in a rotated basis."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Literal, cast

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.head import worthwhile_head
from bitterfly.dense.search import Asked, Rotate, coded
from bitterfly.dense.stages import as_stages, staged
from bitterfly.inputs import Array, UnmetError, as_bytes, as_number, check_rtol, require_names
from bitterfly.operators.contract import ButterflyProduct, ButterflySum, Operator
from bitterfly.operators.dense import DenseOperator
from bitterfly.powers import exponent_of, near_one, scaled
from bitterfly.precision import in_double
from bitterfly.sources.given import ArraySource, as_source, at_hand
from bitterfly.stores.dense.codes import HALF_BITS
from bitterfly.stores.dense.windows import WINDOW_BITS
from bitterfly.workers import building_workers, set_workers

_CLEARLY = 0.9  # of what is expected of codes alone: with less, they are not tried
_ROOM = 60  # binary orders between a matrix that may have a head and the limits of its precision
_ORTHOGONAL = 1e-4  # what Q^H Q may be off the identity
_PANEL = 1 << 20  # entries that are looked at at once


def quantize_dense(
    a: Any,
    *unnamed: Any,
    bits: float | None = None,
    nbytes: int | None = None,
    rtol: float | None = None,
    metric: Any = None,
    rotate: Literal["auto", "inputs", "both"] | bool | Operator = "auto",
    code: str = "window11",
    unequal: bool = True,
    head: Literal["auto"] | None = "auto",
    stages: int | None = None,
    sweeps: int = 0,
    shape: tuple[int, int] | None = None,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> DenseOperator | ButterflySum | ButterflyProduct:
    """Code any matrix in 1 to 8 bits a number: window codes in a rotated basis.

    Parameters
    ----------
    a : array_like, shape (m, n), or what else `factorize` takes
        Real or complex matrix, with or without structure.
    bits : float, optional
        Bits of the codes for each number, in the mean: 1 to 5 in steps of a half, 6 and 8; between these, blocks of 32
        columns take the rates on either side. In several stages, up to 8 in each. A real entry is a number, a complex
        one is two.
    nbytes : int, optional
        Instead of `bits`: the least error in at most so many bytes, all counted.
    rtol : float, optional
        Instead of `bits`: about the fewest bits whose measured relative error is at most `rtol`. One of the three is
        needed. With a metric, the error in it.
    metric : array_like of shape (n, n) or (n,), or SecondMoments, optional
        Which errors count: ``G = X^T X`` of the inputs X that the matrix is going to multiply, or its diagonal. Columns
        then make good for what those before them have lost, and blocks of columns that count more take more bits.
    rotate : {"auto", "inputs", "both"}, bool or operator, optional
        What random signs and Hadamard transforms mix: "inputs" the columns of the matrix, "both" its rows as well;
        False nothing. "auto" takes "inputs", and compares "both" where the energies of the mixed columns differ, as
        those of matrices of rows that are alike do. An orthogonal (unitary) operator Q of this package, such as a
        learned butterfly: the codes are those of ``A Q^H``, the result is a product with Q, whose bytes count.
    code : {"window11", "window7"}, optional
        "window11" errs the least; "window7" by 1 to 10 % more, and is quantized three to four times and multiplied up
        to twice as fast.
    unequal : bool, optional
        Whether blocks of 32 columns take unequal rates with a metric.
    head : {"auto", None}, optional
        "auto": a part of low rank that saves more bytes than it takes is stored by itself, in factors of 4 to 8 bits,
        and window codes hold the rest. With a metric there is none.
    stages : int, optional
        1 to 6: of how many operators the result is the sum, each coding what those before it leave, in equal shares of
        the bits. Two of 3 or 4 bits err by 0.019 and 0.0052, one of 6 or 8 bits, whose products take half the time, by
        0.025 and 0.008. Default: 1 for `bits` and with a metric; else what takes the fewest bytes, or errs the least.
    sweeps : int, optional
        With a metric: how often all columns are coded anew against what the others have lost, which takes as long
        again. Of the layers of a sentence encoder the first one gains 1.6 % at 1 bit, 0.2 % at more.
    shape : (m, n), optional
        Shape of the matrix that an entry function stands for.
    rng : numpy.random.Generator or int, optional
        Draws the seeds of the rotations.
    workers : int, optional
        Threads, as for `factorize`; the codes do not depend on it.

    Returns
    -------
    DenseOperator, ButterflySum or ButterflyProduct
        A sum where there is a head or several stages: of the head's product of factors, and of codes, the other
        ``op.terms``, which have the ``precision``; with a `rotate` of yours a product, of the codes,
        ``op.operators[0]``, and of that. The ``relative_error`` is measured on all entries, what the measurement rounds
        included, and with a metric so is the ``metric_error`` of the codes.

    Raises
    ------
    ValueError
        Where none or a bad value of `bits`, `nbytes`, `rtol` is given, where `rtol` is not met by the stages, for
        infinities and NaNs in `a`, and where `metric` is not one: not positive semidefinite, of another size.
    TypeError
        Where `a` is no matrix of numbers.

    Notes
    -----
    A rotated matrix is as good as normal numbers, whatever it was: k bits a number, 16 for each row and 8 bytes in all
    leave a relative error of 0.54, 0.38, 0.27, 0.19, 0.14, 0.10, 0.072, 0.039 ("window11", k = 1, 1.5, .. 4, 5), 0.0255
    (6) and about 0.008 (8); no code can do better than ``2**-k``. Rows are coded in sixteens: of a matrix of m rows as
    many bits as ``16 ceil(m / 16)`` rows take. The codes are trellis codes as of Tseng, Sun, Hou, De Sa, QTIP (NeurIPS
    2024), of windows and tables that fit registers; the rotation is that of Tseng et al., QuIP# (ICML 2024).

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> a = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    >>> op = bitterfly.quantize_dense(a, bits=4, rng=0)
    >>> op.nbytes, round(op.relative_error, 3)
    (33289, 0.072)
    >>> x = np.ones(256, np.float32)
    >>> bool(np.linalg.norm(op @ x - a @ x) < 0.1 * np.linalg.norm(a @ x))
    True
    """
    require_names(unnamed)
    bits, rtol = (None if x is None else as_number(x, name) for x, name in ((bits, "bits"), (rtol, "rtol")))
    stages = as_stages(stages)
    _check_request(bits, nbytes, rtol, stages or 1)
    if stages is not None and stages > 1 and (metric is not None or isinstance(rotate, Operator)):
        raise ValueError(f"stages: expected 1 with a metric or with a rotation of your own, got {stages}")
    source = at_hand(as_source(a, shape))
    if not isinstance(source, ArraySource):
        source = ArraySource(source.whole(), getattr(source, "rounding", 0.0))  # type: ignore[attr-defined]
    _check_finite(source.array)
    asked = Asked(
        bits,
        None if nbytes is None else as_bytes(nbytes),
        rtol,
        as_metric(metric, source.shape[1]),
        None,
        _as_code(code),
        bool(unequal),
        stages,
        _as_sweeps(sweeps),
        building_workers(workers),
    )
    with set_workers(asked.workers):
        op = _of_array(source.array, asked, rotate, head, np.random.default_rng(rng))
    if not source.rounding:
        return op
    return op._viewed(_fact=Known(source.rounding, "exact").then(op.relative_error, kind=op.error_kind))


def _of_array(
    a: Array, asked: Asked, rotate: Any, head: Any, rng: np.random.Generator
) -> DenseOperator | ButterflySum | ButterflyProduct:
    if not (head is None or (isinstance(head, str) and head == "auto")):
        raise ValueError(f"head: expected 'auto' or None, got {head!r}")
    if isinstance(rotate, Operator):
        return _in_basis_of(rotate, a, asked, rng)
    asked = asked._replace(rotate=_as_rotation(rotate))
    probes = np.random.default_rng(rng.integers(1 << 63))  # of their own: they do not change what is drawn after them
    whole = _with_head(a, asked, probes) if head == "auto" and asked.metric is None else None
    if whole is None:
        return _summed(a, staged(a, asked, rng), asked.rtol)
    expected = _CLEARLY * asked.expected(2 if a.dtype.kind == "c" else 1, a.shape)
    rtol = asked.rtol
    if whole.relative_error < expected if rtol is None else whole.nbytes < expected and whole.relative_error <= rtol:
        return whole
    try:
        plain = _summed(a, staged(a, asked, rng), rtol)
    except UnmetError:
        if rtol is None or whole.relative_error <= rtol:
            return whole
        raise
    if rtol is None:
        return whole if whole.relative_error < plain.relative_error else plain
    return whole if whole.relative_error <= rtol and whole.nbytes < plain.nbytes else plain


def _summed(a: Array, terms: Sequence[DenseOperator], rtol: float | None) -> DenseOperator | ButterflySum:
    """Return the sum of operators, its error measured; a single one as it is."""
    if len(terms) == 1:
        return terms[0]
    whole = _measured(a, terms)
    if rtol is not None and not whole.relative_error <= rtol:
        raise UnmetError(f"rtol: {rtol:.3g} is not met: a sum of {len(terms)} codes reaches {whole.relative_error:.3g}")
    return whole


def _measured(a: Array, terms: Sequence[Operator]) -> ButterflySum:
    whole = ButterflySum(terms)
    return whole._viewed(_fact=Known(measure(a, whole), "measured"))


def _with_head(a: Array, asked: Asked, rng: np.random.Generator) -> ButterflySum | None:
    """Return a head and codes of the rest; None where there is no head, or too little is left for the rest."""
    limits, largest = np.finfo(a.dtype), exponent_of(a)
    if not limits.minexp + _ROOM < largest < limits.maxexp - _ROOM:  # factors would leave the range
        return None
    head = worthwhile_head(a, rng)
    if head is None:
        return None
    rest = a - head.todense()
    terms: list[Operator] = [head]
    if rest.any():
        left = _beside(asked, head, _norm(rest) / _norm(a))
        if left is None:
            return None
        try:
            terms += staged(rest, left, rng)
        except UnmetError:  # too few bytes, or an error out of reach
            return None
    return _measured(a, terms)


def _norm(a: Array) -> float:
    """Return the norm of a matrix far from the limits of its precision."""
    x, exponent = near_one(a)
    return float(np.linalg.norm(x)) * 2.0**exponent


def _beside(asked: Asked, head: Operator, ratio: float) -> Asked | None:
    """Return what is left for the rest of a matrix, whose norm is `ratio` of the whole; None for too little."""
    if asked.bits is not None:
        left = asked.bits - sum(part.bits for part in head.numbers) / (head.shape[0] * head.shape[1])
        return asked._replace(bits=left) if left >= 1 else None
    if asked.nbytes is not None:
        return asked._replace(beside=head.nbytes)
    assert asked.rtol is not None
    return asked._replace(rtol=min(asked.rtol / ratio * (1 - 1e-6), 0.99))


def _in_basis_of(q: Operator, a: Array, asked: Asked, rng: np.random.Generator) -> ButterflyProduct:
    """Return codes of ``a Q^H``, times Q."""
    n = a.shape[1]
    if q.shape != (n, n):
        raise ValueError(f"rotate: expected an operator of shape {(n, n)}, got {q.shape}")
    if q.dtype.kind == "c" and (a.dtype.kind != "c" or asked.metric is not None):
        raise TypeError(f"rotate: expected real numbers for a real matrix, and for a metric, got {q.dtype}")
    wide = in_double(q)
    probe = rng.standard_normal((n, 4))
    apart = float(np.linalg.norm(wide.H @ (wide @ probe) - probe) / np.linalg.norm(probe))
    if not apart < _ORTHOGONAL:
        raise ValueError(f"rotate: expected an orthogonal operator, got one whose Q^H Q is {apart:.2g} off")
    x, exponent = near_one(a)
    rotated = scaled((wide @ x.conj().T).conj().T, exponent).astype(a.dtype)
    if not np.all(np.isfinite(rotated)):
        raise OverflowError(f"rotate: the rotated matrix does not fit {a.dtype}")
    if asked.metric is not None:
        half = wide @ (np.diag(asked.metric) if asked.metric.ndim == 1 else asked.metric)
        metric = wide @ half.T
        asked = asked._replace(metric=as_metric((metric + metric.T) / 2, n))
    if asked.rtol is not None:
        asked = asked._replace(rtol=asked.rtol * (1 - 2 * apart))
    whole = ButterflyProduct([coded(rotated, asked._replace(beside=q.nbytes), rng), q])
    known = Known(measure(a, whole), "measured") if a.any() else Known(0.0, "exact")
    return whole._viewed(_fact=known)


# ---- what users hand in ----


def _check_request(bits: float | None, nbytes: int | None, rtol: float | None, stages: int) -> None:
    if bits is None and nbytes is None and rtol is None:
        raise ValueError("bits, nbytes, rtol: expected one of them, for example bits=4")
    if sum(x is not None for x in (bits, nbytes, rtol)) > 1:
        raise ValueError("bits, nbytes, rtol: expected only one of them")
    most = stages * HALF_BITS[-1] // 2
    if bits is not None and not stages <= bits <= most:
        raise ValueError(f"bits: expected {stages} to {most}, got {bits}")
    check_rtol(rtol)


def _check_finite(a: Array) -> None:
    panel = max(_PANEL // a.shape[1], 1)
    for first in range(0, len(a), panel):
        part = a[first : first + panel]
        if not np.all(np.isfinite(part)):
            i, j = np.argwhere(~np.isfinite(part))[0]
            raise ValueError(f"a: expected finite entries, got {part[i, j]} at ({first + i}, {j})")


def _as_sweeps(sweeps: int) -> int:
    try:
        count = index(sweeps)
    except TypeError:
        raise TypeError(f"sweeps: expected an integer, got {sweeps!r}") from None
    if count < 0:
        raise ValueError(f"sweeps: expected a number that is not negative, got {count}")
    return count


def _as_code(code: Any) -> str:
    if not isinstance(code, str) or code not in WINDOW_BITS:
        raise ValueError(f"code: expected window7 or window11, got {code!r}")
    return code


def _as_rotation(rotate: Any) -> Rotate:
    if isinstance(rotate, (bool, np.bool_)):
        return "inputs" if rotate else None
    if not isinstance(rotate, str) or rotate not in ("auto", "inputs", "both"):
        raise ValueError(f"rotate: expected 'auto', 'inputs', 'both', False or an operator, got {rotate!r}")
    return cast(Rotate, rotate)
