"""Matrices of low rank, sums of Kronecker products, tensor trains: expected from singular values, then coded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import log2, prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from bitterfly.chains import families
from bitterfly.compression.candidates import Candidate
from bitterfly.compression.exact import divisors
from bitterfly.compression.request import Request
from bitterfly.compression.stages import Measured, Work
from bitterfly.dense.beside.head import leading
from bitterfly.dense.predicted import predicted
from bitterfly.dense.trains.quantize import quantize_train
from bitterfly.inputs import Array, UnmetError
from bitterfly.powers import scaled
from bitterfly.sources.given import ArraySource
from bitterfly.structures.tensor_trains.decompositions import rounded, tensor_train, train_of
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_MOST = {"low_rank": 128, "kronecker": 64, "tensor_train": 64}  # ranks
_FIRST = 16  # singular values that are looked for at first
_SHARES = (0.3, 0.5, 0.7, 0.85, 0.95)  # of a tolerance, that truncation may take
_ABOVE = 0.4  # bits of a code above the logarithm of its error
_FEWEST = 1.0  # bits of a number
_LOOSEST = 0.7  # error that is of use
_MORE, _LOOSER = 4, 2.0  # times a rank: rows and columns that are looked at; times a tolerance: what they may leave
_STEP, _STEPS = 0.25, 12  # between tolerances of tensor trains that are tried for given bytes
_UNITS = 12  # of the precision of a matrix: no tolerance that is tried is less
_SPLITS = 3  # sizes of blocks of sums of Kronecker products that are tried
_SPARE = 8  # singular triples beyond those kept
_AGAIN = 0.93  # of the error of codes, where they have missed


class _Digits(NamedTuple):
    """A name, and digits of rows and columns."""

    name: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def trains(work: Work, request: Request, x: Array, exponent: int, error: float = np.inf) -> Iterator[Candidate]:
    """Yield tensor trains of two cores and more, with what they are expected to come to.

    Parameters
    ----------
    work : Work
        Of an array.
    request : Request
        With `rtol` or `nbytes`.
    x, exponent : ndarray, shape (m, n), and int
        The matrix is `x`, of entries near one, times that power of two.
    error : float, optional
        That of the best so far, for given bytes.
    """
    target = min(_target(work, request), error)
    for digits in _two_cores(x.shape):
        if digits.name in request.structures and _looks_low(x, digits, target):
            yield from _of_two(work, request, _unfolded(x, digits), exponent, digits)
    if "tensor_train" in request.structures:
        digits = _all_digits(x.shape)
        if len(digits.rows) > 2 and _looks_low(x, _halves(digits), target):
            yield from _of_many(work, request, x, digits)


def _target(work: Work, request: Request) -> float:
    """Return an error that is of use: the one asked for, or that of dense codes of the bytes."""
    if request.rtol is not None:
        return min(request.rtol, _LOOSEST)
    codes = predicted(work.real_shape, nbytes=request.nbytes)
    return _LOOSEST if codes is None else codes.error


# ---- which digits ----


def _two_cores(shape: tuple[int, int]) -> Iterator[_Digits]:
    m, n = shape
    yield _Digits("low_rank", (m, 1), (1, n))
    sizes = sorted(
        (m // p * (n // q) + p * q, abs(m * q - n * p), p, q)
        for p in divisors(m)
        for q in divisors(n)
        if 1 < p * q < m * n and (p, q) not in {(1, n), (m, 1)}
    )
    for _, _, p, q in sizes[:_SPLITS]:
        yield _Digits("kronecker", (m // p, p), (n // q, q))


def _all_digits(shape: tuple[int, int]) -> _Digits:
    """Return as many digits as the sizes have prime factors, the larger ones first, and ones for those of the other."""
    rows, columns = (sorted(families.primes(size), reverse=True) for size in shape)
    d = max(len(rows), len(columns))
    return _Digits("tensor_train", *(tuple([1] * (d - len(each)) + each) for each in (rows, columns)))


def _halves(digits: _Digits) -> _Digits:
    at = len(digits.rows) // 2
    return _Digits(digits.name, *((prod(each[:at]), prod(each[at:])) for each in (digits.rows, digits.columns)))


def _looks_low(x: Array, digits: _Digits, target: float) -> bool:
    """Whether some rows and columns of the unfolding are about of a rank that is worth it."""
    (i, k), (j, last) = digits.rows, digits.columns
    most = max(1, min(_MOST[digits.name], _worth(i * j, k * last)))
    rng = np.random.default_rng(0)
    left, right = (np.sort(rng.choice(size, min(_MORE * most, size), replace=False)) for size in (i * j, k * last))
    rows = (left // j)[:, None] * k + (right // last)[None, :]
    columns = (left % j)[:, None] * last + (right % last)[None, :]
    s = np.linalg.svd(x[rows, columns], compute_uv=False)
    whole = float(np.linalg.norm(s))
    return float(np.linalg.norm(s[most:])) <= _LOOSER * target * whole


def _worth(p: int, q: int) -> int:
    """Return the largest rank of which factors have less than half of the numbers."""
    return p * q // (2 * (p + q))


def _unfolded(x: Array, digits: _Digits) -> Array:
    (i, k), (j, last) = digits.rows, digits.columns
    return x.reshape(i, k, j, last).transpose(0, 2, 1, 3).reshape(i * j, k * last)


# ---- two cores: what singular values say ----


class _Plan(NamedTuple):
    rank: int
    nbytes: float
    error: float


def _of_two(work: Work, request: Request, unfolded: Array, exponent: int, digits: _Digits) -> Iterator[Candidate]:
    p, q = unfolded.shape
    planes, rng = (2 if unfolded.dtype.kind == "c" else 1), np.random.default_rng(0)
    total = float(np.linalg.norm(unfolded.ravel())) ** 2
    count, most, best = _FIRST, max(1, min(_MOST[digits.name], _worth(p, q))), None
    while True:
        count = min(count, most)
        s = leading(unfolded, count, rng)[1] / sqrt(total)
        best = _planned(s, planes * (p + q), request)
        if count == most or (best is not None and best.rank < count):
            break
        count *= 4
    if best is not None:
        make = partial(_made, work, request, unfolded, exponent, digits, best.rank)
        yield Candidate(digits.name, best.nbytes, best.error, make)


def _planned(s: Array, each: int, request: Request) -> _Plan | None:
    """Return the rank that takes the fewest bytes, or leaves the least error; None where none does.

    Component j errs in both factors by ``theta`` of the norm if its numbers have ``log2(s_j / theta)`` bits.
    """
    left = np.sqrt(np.maximum(1 - np.cumsum(s**2), 0))
    logs = np.log2(np.maximum(s, 1e-30)) + _ABOVE
    plans = []
    if request.is_for_least_bytes:
        assert request.rtol is not None
        for rank in {int(np.argmax(left <= share * request.rtol)) + 1 for share in _SHARES}:
            codes = request.rtol**2 - left[rank - 1] ** 2
            if codes > 0:
                theta = log2(sqrt(codes / (2 * rank)))
                bits = each * float(np.maximum(logs[:rank] - theta, _FEWEST).sum())
                plans.append(_Plan(rank, bits / 8, request.rtol))
        return min(plans, key=lambda plan: plan.nbytes, default=None)
    assert request.nbytes is not None
    for rank in range(1, len(s) + 1):
        bits = 8 * request.nbytes / (rank * each)
        if bits < _FEWEST:
            break
        theta = 2.0 ** (float(logs[:rank].mean()) - bits)
        plans.append(_Plan(rank, request.nbytes, float(np.hypot(left[rank - 1], theta * sqrt(2 * rank)))))
    return min(plans, key=lambda plan: plan.error, default=None)


# ---- more cores ----


def _of_many(work: Work, request: Request, x: Array, digits: _Digits) -> Iterator[Candidate]:
    """Yield the train of the tolerance that is expected to be best; truncation is orthogonal, so that norms tell it."""
    planes, d = (2 if x.dtype.kind == "c" else 1), len(digits.rows)
    wide = x.astype(np.result_type(x.dtype, np.float64))
    norm, most = float(np.linalg.norm(wide)), [_MOST[digits.name]] * (d - 1)
    best: Candidate | None = None
    shares = [0.5 * (request.rtol or 0)] if request.is_for_least_bytes else [0.5 * _STEP**k for k in range(_STEPS)]
    shares = [share for share in shares if share > _UNITS * np.finfo(x.dtype).eps] or shares[:1]
    with work.stage("factorize"):
        finest = train_of(wide, digits.rows, digits.columns, shares[-1], most)
    for share in shares:
        train = finest if share == shares[-1] else rounded(finest, share)
        numbers = planes * sum(core.size for core in train.cores)
        left = sqrt(max(1 - (2.0**train.log2_norm / norm) ** 2, 0.0))
        if request.is_for_least_bytes:
            assert request.rtol is not None
            if left >= request.rtol:
                continue
            bits = max(_FEWEST, _ABOVE - log2(sqrt((request.rtol**2 - left**2) / d)))
            nbytes, error = numbers * bits / 8, request.rtol
        else:
            assert request.nbytes is not None
            nbytes, bits = request.nbytes, 8 * request.nbytes / numbers
            if bits < _FEWEST:
                break
            error = float(np.hypot(left, sqrt(d) * 2.0 ** (_ABOVE - bits)))
        found = Candidate(digits.name, nbytes, error, partial(_truncated, work, request, digits, share))
        if best is None or found.cost(request) < best.cost(request):
            best = found
    if best is not None:
        yield best


# ---- what is made ----


def _made(work: Work, request: Request, unfolded: Array, exponent: int, digits: _Digits, rank: int) -> Measured:
    """Return leading singular triples of an unfolding, coded."""
    with work.stage("factorize"):
        u, s, vh = leading(unfolded, min(rank + _SPARE, *unfolded.shape), np.random.default_rng(0))
        root, e = np.sqrt(s[:rank]), exponent // 2
        left = scaled(u[:, :rank] * root, e).reshape(1, digits.rows[0], digits.columns[0], rank)
        right = scaled(root[:, None] * vh[:rank], exponent - e).reshape(rank, digits.rows[1], digits.columns[1], 1)
        train = TensorTrainOperator([side.astype(work.source.dtype) for side in (left, right)])
    return _coded(work, request, train, work.measure(train).error)


def _truncated(work: Work, request: Request, digits: _Digits, rtol: float) -> Measured:
    """Return a train of many cores, coded."""
    assert isinstance(work.source, ArraySource)
    with work.stage("factorize"):
        a = work.source.array
        train = tensor_train(a, digits.rows, digits.columns, rtol=rtol, ranks=_MOST[digits.name])
    return _coded(work, request, train, train.relative_error)


def _coded(work: Work, request: Request, train: TensorTrainOperator, left: float) -> Measured:
    """Return a train in few bits: what it has left of the matrix and what codes add are about orthogonal."""
    if request.nbytes is not None:
        return _quantized(work, request, train, nbytes=request.nbytes)
    assert request.rtol is not None
    if left >= request.rtol:
        raise UnmetError(
            f"rtol: {request.rtol:.3g} is not met by ranks of at most {max(train.ranks)}, which leave {left:.3g}"
        )
    room = sqrt(request.rtol**2 - left**2)
    op = _quantized(work, request, train, rtol=room)
    if op.error <= request.rtol:
        return op
    return _quantized(work, request, train, rtol=_AGAIN * room)


def _quantized(work: Work, request: Request, train: TensorTrainOperator, **asked: Any) -> Measured:
    rng = np.random.default_rng(0 if request.rng is None else request.rng)
    with work.stage("quantize"):
        op = quantize_train(train, rng=rng, **asked)
    return Measured(op, work.measure(op))
