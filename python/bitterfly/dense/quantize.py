"""Any matrix to window codes in a rotated basis."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.beside.best import Beside, best_codes, less, what_is_left
from bitterfly.dense.beside.outliers import largest_entries, without
from bitterfly.dense.beside.repair import bits_of, bytes_of, correction
from bitterfly.dense.measured import counted, measured_sum
from bitterfly.dense.own_basis import as_scales, column_scales, in_basis_of, over_operator, over_scales, whitening
from bitterfly.dense.search import Asked, Rotate
from bitterfly.dense.stages import as_stages
from bitterfly.inputs import Array, UnmetError, as_bytes, as_count, as_number, check_rtol, require_names
from bitterfly.operators.contract import ButterflyProduct, ButterflySum, Operator
from bitterfly.operators.dense import DenseOperator
from bitterfly.powers import near_one, scaled
from bitterfly.precision import in_double
from bitterfly.sources.given import ArraySource, as_source, at_hand
from bitterfly.stores.dense.codes import HALF_BITS
from bitterfly.stores.dense.windows import WINDOW_BITS
from bitterfly.workers import building_workers, set_workers

_Basis = Rotate | Literal["scaled", "whitened"] | Operator | Array

_PANEL = 1 << 20  # entries that are looked at at once


def quantize_dense(
    a: Any,
    *unnamed: Any,
    bits: float | None = None,
    nbytes: int | None = None,
    rtol: float | None = None,
    metric: Any = None,
    rotate: Literal["auto", "inputs", "both", "scaled", "whitened"] | bool | Operator | Array = "auto",
    code: str = "window11",
    unequal: bool = True,
    outliers: Literal["auto"] | int | None = "auto",
    head: Literal["auto"] | None = "auto",
    repair: int = 0,
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
    rotate : {"auto", "inputs", "both", "scaled", "whitened"}, bool, operator or array_like of shape (n,), optional
        What random signs and Hadamard transforms mix: "inputs" the columns of the matrix, "both" its rows as well;
        False nothing. "auto" takes "inputs", and compares "both" where the energies of the mixed columns differ, as
        those of matrices of rows that are alike do. An orthogonal (unitary) operator Q of this package, such as a
        learned butterfly: the codes are those of ``A Q^H``, the result is a product with Q, whose bytes count. Positive
        scales: the codes are those of the columns over these, in turn rotated, the result is a product with a diagonal,
        and columns make good for each other as with a metric. "scaled": so with the norms of the columns, which are the
        best: where these are uneven, errors fall from their root mean square towards their geometric mean. A real
        operator P with an inverse: so with the codes of ``A P^-1``. "whitened": so with a root of ``A^H A``, in window
        codes itself, the best P, where that is expected to save more bytes than it takes, as it does of tall matrices
        with correlated columns; else as "auto". Heads and outliers are taken out with "auto" only, which may be better
        where few columns hold most of the matrix.
    code : {"window11", "window7"}, optional
        "window11" errs the least; "window7" by 1 to 10 % more, and is quantized three to four times and multiplied up
        to twice as fast.
    unequal : bool, optional
        Whether blocks of 32 columns take unequal rates with a metric.
    outliers : {"auto", None} or int, optional
        Entries that are stored by themselves, as they are, while window codes hold the rest: those that save more bytes
        than they take (of more than about nine times the root mean square of all), none, or so many of the largest.
    head : {"auto", None}, optional
        "auto": a part of low rank that saves more bytes than it takes is stored by itself, in factors of 4 to 8 bits,
        and window codes hold the rest. With a metric, the same without the part is made as well, and the better taken.
    repair : int, optional
        Rank of a correction, in factors of 4 bits: of all of that rank the one after which codes err the least, in the
        metric where there is one. Where columns make good for each other, more bits for the codes gain more.
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
        A sum where there are outliers, a head, a repair or several stages: of a `SparseOperator`, products of factors,
        and of codes, those ``op.terms`` that have the ``precision``; with a `rotate` of yours a product, of the codes,
        ``op.operators[0]``, and of that (then "auto" outliers and heads are not looked for). The ``relative_error`` is
        measured on all entries, what the measurement rounds included, and with a metric so is the ``metric_error``.

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
        as_count(sweeps, "sweeps"),
        building_workers(workers),
    )
    basis = _as_rotation(rotate, source.shape[1])
    is_own = isinstance(basis, (Operator, np.ndarray)) or basis in ("scaled", "whitened")
    if stages is not None and stages > 1 and (metric is not None or is_own):
        raise ValueError(f"stages: expected 1 with a metric or with a rotation of your own, got {stages}")
    beside = Beside(_as_head(head), _as_outliers(outliers), as_count(repair, "repair"))
    if beside.repair and rtol is not None:
        raise ValueError(f"repair: expected 0 with rtol, whose codes need none, got {repair}")
    with set_workers(asked.workers):
        op = _of_array(source.array, asked, basis, beside, np.random.default_rng(rng))
    if rtol is not None and not counted(op, asked.metric) <= rtol:
        raise UnmetError(f"rtol: {rtol:.3g} is not met: {counted(op, asked.metric):.3g} is reached")
    if not source.rounding:
        return op
    return op._viewed(_fact=Known(source.rounding, "exact").then(op.relative_error, kind=op.error_kind))


def _of_array(a: Array, asked: Asked, basis: _Basis, beside: Beside, rng: np.random.Generator) -> Operator:
    if not isinstance(beside.outliers, int):
        return _repaired(a, asked, basis, beside, rng)
    entries = largest_entries(a, min(beside.outliers, a.size))
    rest = without(a, entries)
    if not rest.any():
        if asked.nbytes is not None and entries.nbytes > asked.nbytes:
            raise UnmetError(f"nbytes: expected at least {entries.nbytes} for the entries alone, got {asked.nbytes}")
        return measured_sum(a, [entries], asked.metric)
    left = what_is_left(asked, entries, a, rest)
    if left is None:
        raise UnmetError(f"outliers: {entries.nnz} entries leave too few of the bits to codes")
    return measured_sum(a, [entries, *_terms(_repaired(rest, left, basis, beside, rng))], asked.metric)


def _repaired(a: Array, asked: Asked, basis: _Basis, beside: Beside, rng: np.random.Generator) -> Operator:
    """Return codes and what they take beside them, with a correction of low rank where one is asked for."""
    rank = min(beside.repair, *a.shape)
    if rank == 0 or not a.any():
        return _in_any_basis(a, asked, basis, beside, rng)
    left = less(asked, a, bits_of(a.shape, rank, a.dtype), bytes_of(a.shape, rank, a.dtype))
    if left is None:
        raise UnmetError(f"repair: factors of rank {rank} leave too few of the bits to codes")
    op = _in_any_basis(a, left, basis, beside, rng)
    x, exponent = near_one(a)
    apart = x - scaled(in_double(op).todense(), -exponent)
    if not apart.any():
        return op
    return measured_sum(a, [*_terms(op), correction(apart, exponent, rank, asked.metric, a.dtype, rng)], asked.metric)


def _in_any_basis(a: Array, asked: Asked, basis: _Basis, beside: Beside, rng: np.random.Generator) -> Operator:
    if isinstance(basis, Operator):
        return in_basis_of(basis, a, asked, rng)
    if isinstance(basis, np.ndarray):
        return over_scales(basis, a, asked, rng)
    if basis == "scaled":
        return over_scales(column_scales(a), a, asked, rng)
    if basis == "whitened":
        root = whitening(a, asked, rng)
        if root is not None:
            return over_operator(root, a, asked, rng)
        basis = "auto"
    return best_codes(a, asked._replace(rotate=basis), beside, rng)


def _terms(op: Operator) -> tuple[Operator, ...]:
    return op.terms if isinstance(op, ButterflySum) else (op,)


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


def _as_head(head: Any) -> Literal["auto"] | None:
    if not (head is None or (isinstance(head, str) and head == "auto")):
        raise ValueError(f"head: expected 'auto' or None, got {head!r}")
    return cast(Literal["auto"] | None, head)


def _as_outliers(outliers: Any) -> Literal["auto"] | int | None:
    if outliers is None or (isinstance(outliers, str) and outliers == "auto"):
        return cast(Literal["auto"] | None, outliers)
    if isinstance(outliers, str):
        raise ValueError(f"outliers: expected 'auto', None or a number of entries, got {outliers!r}")
    return as_count(outliers, "outliers") or None


def _as_code(code: Any) -> str:
    if not isinstance(code, str) or code not in WINDOW_BITS:
        raise ValueError(f"code: expected window7 or window11, got {code!r}")
    return code


def _as_rotation(rotate: Any, n: int) -> _Basis:
    if isinstance(rotate, (bool, np.bool_)):
        return "inputs" if rotate else None
    if isinstance(rotate, (np.ndarray, list, tuple)):
        return as_scales(rotate, n)
    if isinstance(rotate, Operator):
        return rotate
    if not isinstance(rotate, str) or rotate not in ("auto", "inputs", "both", "scaled", "whitened"):
        names = "'auto', 'inputs', 'both', 'scaled', 'whitened', False"
        raise ValueError(f"rotate: expected {names}, an operator or scales of columns, got {rotate!r}")
    return cast(_Basis, rotate)
