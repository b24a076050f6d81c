"""Any matrix to window codes in a rotated basis."""

from __future__ import annotations

from operator import index
from typing import Any, Literal, NamedTuple

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.basis import Basis
from bitterfly.dense.coder import Coder, Trial
from bitterfly.dense.head import worthwhile_head
from bitterfly.inputs import Array, as_bytes, as_number, check_rtol, require_names
from bitterfly.operators.contract import ButterflyProduct, ButterflySum, Operator
from bitterfly.operators.dense import DenseOperator
from bitterfly.powers import near_one
from bitterfly.sources.given import ArraySource, as_source, at_hand
from bitterfly.stores.dense import HALF_BITS
from bitterfly.workers import building_workers, set_workers

Rotate = Literal["auto", "inputs", "both"] | bool | Operator

_TRIES = 6  # of rates, to meet an error
_ALIKE = 0.02  # bits: what unequal energies of columns may cost before rows are rotated as well
_ORTHOGONAL = 1e-4  # what Q^H Q may be off the identity
_LEAST_RATIO = 1e-3  # of an error to the one expected
_PANEL = 1 << 20  # entries that are looked at at once


def quantize_dense(
    a: Any,
    *unnamed: Any,
    bits: float | None = None,
    nbytes: int | None = None,
    rtol: float | None = None,
    metric: Any = None,
    rotate: Rotate = "auto",
    code: str = "window11",
    unequal: bool = True,
    head: Literal["auto"] | None = "auto",
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
        columns take the rates on either side. A real entry is a number, a complex one is two.
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
        "window11" errs the least; "window7" by 1 to 10 % more, and is quantized ten times and multiplied up to twice
        as fast.
    unequal : bool, optional
        Whether blocks of 32 columns take unequal rates with a metric.
    head : {"auto", None}, optional
        "auto": a part of low rank that saves more bytes than it takes is stored by itself, in factors of 4 to 8 bits,
        and window codes hold the rest. With a metric there is none.
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
        A sum where there is a head: of its product of factors, and of the rest; a product with a `rotate` of yours.
        The ``relative_error`` is measured on all entries, what the measurement rounds included, and with a metric so is
        the ``metric_error``.

    Raises
    ------
    ValueError
        Where none or a bad value of `bits`, `nbytes`, `rtol` is given, where `rtol` is not met by 8 bits a number, for
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
    (33289, 0.073)
    >>> x = np.ones(256, np.float32)
    >>> bool(np.linalg.norm(op @ x - a @ x) < 0.1 * np.linalg.norm(a @ x))
    True
    """
    require_names(unnamed)
    bits, rtol = (None if x is None else as_number(x, name) for x, name in ((bits, "bits"), (rtol, "rtol")))
    _check_request(bits, nbytes, rtol)
    source = at_hand(as_source(a, shape))
    if not isinstance(source, ArraySource):
        source = ArraySource(source.whole(), getattr(source, "rounding", 0.0))  # type: ignore[attr-defined]
    _check_finite(source.array)
    asked = _Asked(
        bits,
        None if nbytes is None else as_bytes(nbytes),
        rtol,
        as_metric(metric, source.shape[1]),
        rotate,
        code,
        unequal,
        _as_sweeps(sweeps),
        building_workers(workers),
    )
    with set_workers(asked.workers):
        op = _of_array(source.array, asked, head, np.random.default_rng(rng))
    if not source.rounding:
        return op
    return op._viewed(_fact=Known(source.rounding, "exact").then(op.relative_error, kind=op.error_kind))


class _Asked(NamedTuple):
    """What is asked for."""

    bits: float | None
    nbytes: int | None
    rtol: float | None
    metric: Array | None
    rotate: Rotate
    code: str
    unequal: bool
    sweeps: int
    workers: int

    def beside(self, head: Operator, ratio: float) -> _Asked | None:
        """Return what is left for the rest of a matrix, whose norm is `ratio` of the whole; None for too little."""
        if self.bits is not None:
            left = self.bits - sum(part.bits for part in head.numbers) / (head.shape[0] * head.shape[1])
            return self._replace(bits=left) if left >= 1 else None
        if self.nbytes is not None:
            return self._replace(nbytes=self.nbytes - head.nbytes) if self.nbytes > head.nbytes else None
        assert self.rtol is not None
        return self._replace(rtol=min(self.rtol / ratio * (1 - 1e-6), 0.99))


def _of_array(
    a: Array, asked: _Asked, head: Literal["auto"] | None, rng: np.random.Generator
) -> DenseOperator | ButterflySum | ButterflyProduct:
    if head not in ("auto", None):
        raise ValueError(f"head: expected 'auto' or None, got {head!r}")
    if isinstance(asked.rotate, Operator):
        return _in_basis_of(asked.rotate, a, asked, rng)
    low_rank = worthwhile_head(a, rng) if head == "auto" and asked.metric is None else None
    if low_rank is not None:
        rest = a - low_rank.todense()
        ratio = float(np.linalg.norm(near_one(rest)[0]) / np.linalg.norm(near_one(a)[0]))
        ratio *= 2.0 ** (near_one(rest)[1] - near_one(a)[1])
        left = asked.beside(low_rank, ratio)
        if left is not None:
            whole = ButterflySum([low_rank, _coded(rest, left, rng)])
            return whole._viewed(_fact=Known(measure(a, whole), "measured"))
    return _coded(a, asked, rng)


def _in_basis_of(q: Operator, a: Array, asked: _Asked, rng: np.random.Generator) -> ButterflyProduct:
    """Return codes of ``a Q^H``, times Q."""
    n = a.shape[1]
    if q.shape != (n, n):
        raise ValueError(f"rotate: expected an operator of shape {(n, n)}, got {q.shape}")
    if q.dtype.kind == "c" and a.dtype.kind != "c":
        raise TypeError(f"rotate: expected real numbers, as those of a, got {q.dtype}")
    rotated = (q @ a.conj().T).conj().T
    probe = rng.standard_normal((n, 4)).astype(q.dtype)
    apart = float(np.linalg.norm(q.H @ (q @ probe) - probe) / np.linalg.norm(probe))
    if not apart < _ORTHOGONAL:
        raise ValueError(f"rotate: expected an orthogonal operator, got one whose Q^H Q is {apart:.2g} off")
    metric = asked.metric
    if metric is not None:
        half = q @ (np.diag(metric) if metric.ndim == 1 else metric)
        metric = as_metric((q @ half.conj().T).real, n)
    left = asked._replace(rotate=False, metric=metric)
    if asked.nbytes is not None:
        left = left._replace(nbytes=max(asked.nbytes - q.nbytes, 0))
    if asked.rtol is not None:
        left = left._replace(rtol=asked.rtol * (1 - apart))
    whole = ButterflyProduct([_coded(np.ascontiguousarray(rotated, a.dtype), left, rng), q])
    return whole._viewed(_fact=Known(measure(a, whole), "measured"))


def _coded(a: Array, asked: _Asked, rng: np.random.Generator) -> DenseOperator:
    """Return window codes of a matrix in the basis that is best for it."""
    found = []
    for basis in _bases(a, asked.rotate, rng):
        coder = Coder(basis, asked.metric, asked.code, asked.unequal, asked.sweeps, asked.workers)
        trial = _fewest_bits(coder, asked.rtol) if asked.rtol is not None else _at_most(coder, asked.bits, asked.nbytes)
        found.append((trial.codes.nbytes if asked.rtol is not None else 0, trial.counted, basis, trial))
    _, _, basis, trial = min(found, key=lambda each: each[:2])
    known = Known(trial.error, "measured" if trial.error else "exact").facts | {"metric_error": trial.metric_error}
    return DenseOperator(trial.codes, inputs=basis.inputs, outputs=basis.outputs, dtype=a.dtype, **known)


def _bases(a: Array, rotate: Rotate, rng: np.random.Generator) -> list[Basis]:
    """Return the matrix in the basis asked for, or in two that are to be compared."""
    if rotate not in ("auto", "inputs", "both", True, False):
        raise ValueError(f"rotate: expected 'auto', 'inputs', 'both', False or an operator, got {rotate!r}")
    inputs, outputs = (int(seed) for seed in rng.integers(0, 1 << 63, 2))
    if rotate is False:
        return [Basis(a, None, None)]
    both = Basis(a, inputs, outputs)
    if rotate == "both":
        return [both]
    basis = Basis(a, inputs, None)
    uneven = rotate == "auto" and a.shape[0] > 1 and _unevenness(basis.energies[1]) > _ALIKE + 2 / basis.shape[0]
    return [basis, both] if uneven else [basis]


def _unevenness(energies: Array) -> float:
    """Return the bits that unequal energies cost: half the logarithm of their arithmetic over their geometric mean."""
    mean = float(np.mean(energies))
    if mean == 0:
        return 0.0
    floor = np.maximum(energies, mean * 2.0**-60)
    return float(np.log2(mean) - np.mean(np.log2(floor))) / 2


# ---- how many bits ----


def _at_most(coder: Coder, bits: float | None, nbytes: int | None) -> Trial:
    """Return codes of at most so many bits a number in the mean, or so many bytes in all."""
    ladder = coder.ladder
    if nbytes is None:
        assert bits is not None
        rung = ladder.highest(lambda each: ladder.bits(each) <= bits)
    else:
        rung = ladder.highest(lambda each: coder.nbytes(ladder.half_bits(each)) <= nbytes)
    if rung < 0:
        least = f"{coder.nbytes(ladder.half_bits(0))} bytes" if bits is None else "1 bit a number"
        name, given = ("nbytes", nbytes) if bits is None else ("bits", bits)
        raise ValueError(f"{name}: expected at least {least}, the least that codes take, got {given}")
    return coder.trial(ladder.half_bits(rung))


def _fewest_bits(coder: Coder, rtol: float) -> Trial:
    """Return codes of the fewest bits whose measured error is at most `rtol`; try what is expected to reach it."""
    ladder = coder.ladder
    best: Trial | None = None
    low, high, ratio = -1, ladder.rungs, 1.0
    for _ in range(_TRIES):
        rung = min(max(ladder.lowest_for(rtol / ratio), low + 1), high - 1)
        if rung == low:
            break
        trial = coder.trial(ladder.half_bits(rung))
        ratio = max(trial.counted / (ladder.error(rung) or 1.0), _LEAST_RATIO)
        if trial.counted <= rtol:
            best, high = trial, rung
        else:
            low = rung
        if low == ladder.rungs - 1:
            reached = f"{ladder.bits(low):.3g} bits a number reach {trial.counted:.3g}"
            raise ValueError(f"rtol: {rtol:.3g} is not met: {reached}")
    return best or coder.trial(ladder.half_bits(ladder.rungs - 1))


# ---- what users hand in ----


def _check_request(bits: float | None, nbytes: int | None, rtol: float | None) -> None:
    if bits is None and nbytes is None and rtol is None:
        raise ValueError("bits, nbytes, rtol: expected one of them, for example bits=4")
    if sum(x is not None for x in (bits, nbytes, rtol)) > 1:
        raise ValueError("bits, nbytes, rtol: expected only one of them")
    if bits is not None and not 1 <= bits <= HALF_BITS[-1] / 2:
        raise ValueError(f"bits: expected 1 to {HALF_BITS[-1] // 2}, got {bits}")
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
