"""Tensor trains to codes: bits shared between cores, each coded in the metric of what stands beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import dia_array

from bitterfly.accuracy.known import Known
from bitterfly.dense.trains.plans import Asked, Maker, Plan
from bitterfly.inputs import UnmetError, as_bytes, as_number, check_rtol, require_names
from bitterfly.operators.sparse import SparseOperator
from bitterfly.stores.dense.windows import WINDOW_BITS
from bitterfly.structures.tensor_trains.cores import CodedCore
from bitterfly.structures.tensor_trains.decompositions import in_view_of
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_log = logging.getLogger("bitterfly")

_TRIES = 8
_NEAR = 0.93  # of the tolerance: nothing is gained by another try
_AGAIN = 0.7  # of the tolerance, where no codes fit a plan
_NEXT = 0.9  # how far the ranks of plans that are tried are apart


def quantize_train(
    op: TensorTrainOperator,
    *unnamed: Any,
    bits: float | None = None,
    nbytes: int | None = None,
    rtol: float | None = None,
    code: str = "window11",
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> TensorTrainOperator:
    """Code the cores of a tensor train in a few bits a number: of a matrix of low rank, its factors.

    Parameters
    ----------
    op : TensorTrainOperator
        A matrix of low rank is one of two cores, (1, m, 1, r) and (r, 1, n, 1).
    bits : float, optional
        Bits for each number of the cores, in the mean, that of row scales and seeds not counted: 1 at least. Where that
        is too little for cores so small, the bytes of the scales of their columns come on top.
    nbytes : int, optional
        Instead of `bits`: the least error in at most so many bytes, all counted, ranks being taken away where bits are
        better spent on others.
    rtol : float, optional
        Instead of `bits`: about the fewest bytes whose relative error, with that of `op`, is at most `rtol`.
    code : {"window11", "window7"}, optional
        As for `quantize_dense`.
    rng : numpy.random.Generator or int, optional
        Draws the seeds of rotations.
    workers : int, optional
        Threads, as for `factorize`; the codes do not depend on it.

    Returns
    -------
    TensorTrainOperator
        With the digits, rows and mode of `op`. Its cores are window codes, in several stages where many bits are asked
        for, and floats where these take less. The ``relative_error`` is that of `op` and the change of the train, which
        is measured in full from the cores.

    Raises
    ------
    ValueError
        Where none or a bad value of `bits`, `nbytes`, `rtol` is given; `UnmetError` where bytes or error are not met.
    TypeError
        Where `op` is no tensor train.

    Notes
    -----
    In canonical form cores are orthonormal on either side of a junction; an error in one counts the squared singular
    values at the next junction, in the metric of which it is coded: it errs as much as their geometric mean tells.
    Errors of cores add up in squares; bits go where they lessen the sum most (reverse water filling; Cover, Thomas,
    *Elements of Information Theory*, section 10.3).

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> x = np.arange(256) / 256
    >>> a = 1 / (1 + 8 * np.abs(np.subtract.outer(x, x))).astype(np.float32)
    >>> train = bitterfly.structures.tensor_train(a, [256, 1], [1, 256], ranks=32)
    >>> op = bitterfly.quantize_train(train, nbytes=8000, rng=0)
    >>> train.nbytes, op.nbytes <= 8000, op.relative_error < 0.05
    (65536, True, True)
    """
    require_names(unnamed)
    if not isinstance(op, TensorTrainOperator):
        raise TypeError(f"op: expected a TensorTrainOperator, got {type(op).__name__}")
    asked = Asked(
        None if bits is None else as_number(bits, "bits"),
        None if nbytes is None else as_bytes(nbytes),
        None if rtol is None else as_number(rtol, "rtol"),
    )
    _check_request(asked, code)
    maker = Maker(op.dequantize(), code, asked.bits is not None, np.random.default_rng(rng), workers)
    if asked.rtol is not None:
        return _within(maker, op, asked.rtol)
    return _made(maker, op, asked)


def _check_request(asked: Asked, code: str) -> None:
    given = sum(x is not None for x in asked)
    if given != 1:
        raise ValueError("bits, nbytes, rtol: expected " + ("only one of them" if given else "one of them, as bits=4"))
    if asked.bits is not None and not asked.bits >= 1:
        raise ValueError(f"bits: expected 1 or more, got {asked.bits}")
    check_rtol(asked.rtol)
    if not isinstance(code, str) or code not in WINDOW_BITS:
        raise ValueError(f"code: expected window7 or window11, got {code!r}")


def _made(maker: Maker, op: TensorTrainOperator, asked: Asked) -> TensorTrainOperator:
    """Return the best train of given bits or bytes: of the plan of least error, and of more or fewer ranks."""
    if not maker.norm:
        return _nothing(op)
    first, *others = _apart(maker.plans(asked))
    found = [each for each in (_tried(maker, op, first, follows, asked.nbytes) for follows in (True, False)) if each]
    follows = not found or min(found, key=lambda each: each.error).follows
    for side in ([p for p in others if p.ranks > first.ranks], [p for p in others[::-1] if p.ranks < first.ranks]):
        for plan in side:
            least = min((each.error for each in found), default=float("inf"))
            found += filter(None, [_tried(maker, op, plan, follows, asked.nbytes)])
            if found and not found[-1].error < least:
                break
    if not found:
        raise UnmetError(maker.refusal(asked))
    return min(found, key=lambda each: each.error).op


class _Tried(NamedTuple):
    op: TensorTrainOperator
    error: float
    follows: bool


def _tried(
    maker: Maker, op: TensorTrainOperator, plan: Plan, follows: bool, nbytes: int | None = None
) -> _Tried | None:
    """Return the train of a plan, or None where it takes too many bytes."""
    try:
        out = _measured(op, maker, maker.made(plan, follows))
    except (UnmetError, OverflowError):  # bytes that no code of a core fits, numbers that their precision does not
        return None
    _log.info("ranks %s, relative error %.3g, expected %.3g", out.ranks, out.relative_error, plan.error)
    return _Tried(out, out.relative_error, follows) if nbytes is None or out.nbytes <= nbytes else None


def _apart(plans: Sequence[Plan]) -> list[Plan]:
    """Return the first of some plans, and of all others those of ranks apart from one another, in their order."""
    first, out = plans[0], list[Plan]()
    for step in (1, -1):
        last = first.ranks
        for plan in sorted(plans, key=lambda each: step * each.ranks):
            if plan.ranks * _NEXT >= last if step > 0 else plan.ranks <= last * _NEXT:
                out.append(plan)
                last = plan.ranks
    return [first, *sorted(out, key=lambda each: each.ranks)]


def _within(maker: Maker, op: TensorTrainOperator, rtol: float) -> TensorTrainOperator:
    """Return the train of the fewest bytes for an error that a few tries find."""
    if not maker.norm:
        return _nothing(op)
    known = Known.of(maker.op)
    room = known.room_for(rtol)
    found: list[TensorTrainOperator] = []
    goal, least, seen = room, float("inf"), list[Plan]()
    for _ in range(_TRIES if room > 0 else 0):
        plan = maker.plans(Asked(rtol=goal))[0]
        if plan in seen and found:
            break
        seen.append(plan)
        both = [each for each in (_tried(maker, op, plan, follows) for follows in (True, False)) if each]
        if not both:
            goal *= _AGAIN
            continue
        out = min(both, key=lambda each: each.error).op
        _log.info("bytes %d, relative error %.3g", out.nbytes, out.relative_error)
        least = min(least, out.relative_error)
        if out.relative_error <= rtol:
            found.append(out)
            if out.relative_error >= _NEAR * rtol or len(found) > 2:
                break
        reached = (out.relative_error - known.error) / (1 + known.error)
        goal *= float(np.clip(0.98 * room / reached, 0.3, 3)) if reached > 0 else 3
    if not found and room > 0 and least == np.inf:
        raise UnmetError(maker.refusal(Asked(rtol=rtol)))
    if not found:
        raise UnmetError(f"rtol: {rtol:.3g} is not met: {max(known.error, 0.0) if room <= 0 else least:.3g} is reached")
    return min(found, key=lambda each: each.nbytes)


def _measured(op: TensorTrainOperator, maker: Maker, train: TensorTrainOperator) -> TensorTrainOperator:
    change = maker.op.change_to(train)
    return train._viewed(_fact=Known.of(maker.op).then(change, kind="measured"), report=op.report)


def _nothing(op: TensorTrainOperator) -> TensorTrainOperator:
    """Return a train of zeros of rank one, of no bytes but those of an order of rows."""
    cores = []
    for core in op.stored_cores:
        _, m, n, _ = core.shape
        empty = dia_array((np.zeros((0, n), op.dtype), np.zeros(0, np.int32)), shape=(m, n))
        cores.append(CodedCore(SparseOperator(empty), (1, m, n, 1)))
    return in_view_of(op, TensorTrainOperator(cores, dtype=op.dtype))._viewed(_fact=Known.of(op))
