"""Tensor trains to codes: bits shared between cores, each coded in the metric of what stands beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import dia_array

from bitterfly.accuracy.known import Known
from bitterfly.dense.quantize import quantize_dense
from bitterfly.dense.rates import even_bytes
from bitterfly.inputs import Array, UnmetError, as_bytes, as_number, check_rtol, require_names
from bitterfly.operators.contract import Operator
from bitterfly.operators.sparse import SparseOperator
from bitterfly.powers import scaled
from bitterfly.stores.dense.codes import BLOCK, HALF_BITS
from bitterfly.stores.dense.windows import WINDOW_BITS, window_code
from bitterfly.structures.tensor_trains.cores import CodedCore, Core, bytes_of, decoded, numbers_of
from bitterfly.structures.tensor_trains.decompositions import canonical, in_view_of
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_log = logging.getLogger("bitterfly")

_HALF = 3.4e-8  # squared relative error of numbers rounded to eleven bits
_FLOAT = 0.04  # of the squared unit of a precision
_STAGED = [(stages, 2 * bits) for stages in (2, 3, 4, 5, 6) for bits in (5, 6, 8)]
_TRIES = 8
_NEAR = 0.93  # of the tolerance: nothing is gained by another try
_AGAIN = 0.7  # of the tolerance, where no codes fit a plan
_FAR, _NEXT = 0.87, 0.9  # how far the ranks of plans are apart, and those of plans that are tried
_ROUNDS = 16
_UNEVEN = 1.3
_LARGEST_METRIC = 1024  # columns
_LANES = 16  # numbers of a diagonal are stored in as many
_NARROW = 8  # exponents that short floats take


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
    asked = _Asked(
        None if bits is None else as_number(bits, "bits"),
        None if nbytes is None else as_bytes(nbytes),
        None if rtol is None else as_number(rtol, "rtol"),
    )
    _check_request(asked, code)
    maker = _Maker(op.dequantize(), code, asked.bits is not None, np.random.default_rng(rng), workers)
    if asked.rtol is not None:
        return _within(maker, op, asked.rtol)
    return _made(maker, op, asked)


class _Asked(NamedTuple):
    bits: float | None = None
    nbytes: int | None = None
    rtol: float | None = None


def _check_request(asked: _Asked, code: str) -> None:
    given = sum(x is not None for x in asked)
    if given != 1:
        raise ValueError("bits, nbytes, rtol: expected " + ("only one of them" if given else "one of them, as bits=4"))
    if asked.bits is not None and not asked.bits >= 1:
        raise ValueError(f"bits: expected 1 or more, got {asked.bits}")
    check_rtol(asked.rtol)
    if not isinstance(code, str) or code not in WINDOW_BITS:
        raise ValueError(f"code: expected window7 or window11, got {code!r}")


# ---- what the forms of a core cost, and how they err ----


class _Form(NamedTuple):
    """What a core can be stored as: bytes, and the squared error to be expected."""

    cost: float
    error: float
    half_bits: int  # 0 of floats, 1 of short ones
    stages: int = 1


class _Part(NamedTuple):
    """What is known of a core before it is coded."""

    shape: tuple[int, int]  # of what is coded
    numbers: int
    spread: Array | None  # squared singular values of the columns' rank, over the squared norm
    diagonal: int  # bytes of the singular values that it is multiplied with
    takes_half: bool


class _Outline(NamedTuple):
    """Ranks that stay, the squared error that they leave, and what each core can be stored as."""

    ranks: tuple[int, ...]
    lost: float
    threshold: float
    center: int
    parts: list[_Part]
    forms: list[list[_Form]]


class _Plan(NamedTuple):
    error: float
    cost: float
    center: int
    threshold: float
    forms: list[_Form]
    budget: float
    ranks: int


class _Maker:
    """Plans and trains of one train."""

    def __init__(
        self, op: TensorTrainOperator, code: str, by_bits: bool, rng: np.random.Generator, workers: int | None
    ) -> None:
        self.op, self.code, self.by_bits, self._rng, self._workers = op, code, by_bits, rng, workers
        self._planes = 2 if op.dtype.kind == "c" else 1
        self._shapes = [core.shape for core in op.stored_cores]
        whole = canonical(op, len(self._shapes))
        self.norm = float(np.linalg.norm(whole.cores[-1]))
        self._singular = [s / self.norm if self.norm else s for s in whole.singular]
        self._thresholds = _thresholds(max(self._singular, key=len, default=np.zeros(0)))
        self._is_moderate = abs(whole.exponent) <= _NARROW
        self.beside = 0 if op.stored_rows is None else int(op.stored_rows.nbytes)

    # ---- plans ----

    def plans(self, asked: _Asked) -> list[_Plan]:
        """Return a plan for each set of ranks, the one of least error first, for an error that of least cost."""
        plans = self._plans(asked, False) or self._plans(asked, asked.bits is not None)
        if not plans:
            raise UnmetError(self.refusal(asked))
        return sorted(plans.values(), key=_rank_of(asked))

    def _plans(self, asked: _Asked, without_diagonal: bool) -> dict[tuple[int, ...], _Plan]:
        plans: dict[tuple[int, ...], _Plan] = {}
        for each in self._outlines:
            lost, ranks, budget = each.lost, each.ranks, self._budget(asked, each.parts)
            budget += sum(part.diagonal for part in each.parts) if without_diagonal else 0
            found = _shared(each.forms, budget, None if asked.rtol is None else asked.rtol**2 - lost)
            if found is None:
                continue
            error, cost = float(np.sqrt(lost + sum(form.error for form in found))), sum(form.cost for form in found)
            plan = _Plan(error, cost, each.center, each.threshold, found, budget, sum(ranks))
            plans[ranks] = min(plans.get(ranks, plan), plan, key=_rank_of(asked))
        return plans

    @cached_property
    def _outlines(self) -> list[_Outline]:
        """What cores of each set of ranks, and each center, can be stored as."""
        out: list[_Outline] = []
        for threshold in [0.0] if self.by_bits else self._thresholds:
            kept = [s[: max(1, int(np.count_nonzero(s > threshold)))] for s in self._singular]
            ranks = tuple(map(len, kept))
            if out and ranks == out[-1].ranks:
                continue
            lost = float(sum(np.sum(np.square(s[len(k) :])) for s, k in zip(self._singular, kept, strict=True)))
            for center in range(1, max(len(self._shapes), 2)):
                parts = self._parts(kept, center)
                out.append(_Outline(ranks, lost, threshold, center, parts, list(map(self._forms, parts))))
        return out

    def _budget(self, asked: _Asked, parts: Sequence[_Part]) -> float:
        if asked.bits is not None:
            return asked.bits / 8 * sum(part.numbers for part in parts)
        return float("inf") if asked.nbytes is None else asked.nbytes - self.beside

    def refusal(self, asked: _Asked) -> str:
        """Return why nothing is found."""
        if asked.rtol is not None:
            return f"rtol: {asked.rtol:.3g} is not met by codes of the cores"
        what = f"nbytes: {asked.nbytes} are" if asked.nbytes is not None else f"bits: {asked.bits:.3g} are"
        return f"{what} too few for any codes of {len(self._shapes)} cores"

    def _parts(self, kept: Sequence[Array], center: int) -> list[_Part]:
        """Return what is known of each core from the singular values that stay."""
        ranks = [1, *map(len, kept), 1]
        out = []
        for at, (_, m, n, _) in enumerate(self._shapes):
            r, s = ranks[at : at + 2]
            before = at < center
            shape = (r * m, n * s) if before else (n * s, r * m)
            spread = np.square(kept[at] if before else kept[at - 1]) if kept else None
            is_center = at == center
            diagonal = -(-shape[1] // _LANES) * _LANES * self.op.dtype.type(0).real.itemsize if is_center else 0
            takes_half = self._planes == 1 and (self._is_moderate or not is_center) and bool(kept)
            out.append(_Part(shape, prod(shape) * self._planes, spread, diagonal, takes_half))
        return out

    def _forms(self, part: _Part) -> list[_Form]:
        """Return the forms of a core on the lower convex hull of errors over costs, the least first."""
        (p, q), info = part.shape, np.finfo(self.op.dtype)

        def cost(half_bits: int) -> float:
            if self.by_bits:
                return half_bits / 16 * part.numbers
            return even_bytes((self._planes * p, q), half_bits)

        errors = _errors(np.array([self._unit(h) for h in HALF_BITS]), part.spread).tolist()
        forms = [_Form(cost(h) + part.diagonal, error, h) for h, error in zip(HALF_BITS, errors, strict=True)]
        forms += [_Form(t * cost(h), self._unit(h) ** t, h, t) for t, h in _STAGED]
        forms.append(_Form(part.numbers * info.bits / 8, _FLOAT * float(info.eps) ** 2, 0))
        if part.takes_half:
            forms.append(_Form(part.numbers * 2, _HALF, 1))
        return _hull(forms)

    def _unit(self, half_bits: int) -> float:
        """Return the squared relative error of codes of normal numbers."""
        return float(window_code(self.code, half_bits / 2).error) ** 2

    # ---- trains ----

    def made(self, plan: _Plan, follows: bool) -> TensorTrainOperator:
        """Return the train of a plan; what is left of its budget goes to the first codes that can use it.

        Where it `follows`, each core is the best one behind those that are coded already, in their metric.
        """
        parts = canonical(self.op, plan.center, plan.threshold)
        spare = plan.budget - plan.cost if np.isfinite(plan.budget) else 0.0
        powers = _powers(parts.exponent, [form.half_bits == 1 for form in plan.forms], plan.center)
        gram, apart, cores = np.ones((1, 1)), np.ones((1, 1)), list[Core]()
        for at, (form, power) in enumerate(zip(plan.forms, powers, strict=True)):
            core, singular = parts.cores[at], parts.singular
            core = core * singular[at - 1][:, None, None, None] if at == plan.center else core
            target = np.tensordot(np.linalg.lstsq(gram, apart, rcond=1e-10)[0], core, 1) if follows else core
            beside = _Beside(None, None)
            if form.stages == 1 and at < plan.center and singular:
                beside = _Beside(np.square(singular[at]), None)
            elif form.stages == 1 and singular:
                scales = singular[at - 1] if at == plan.center else None
                counts = np.ones(len(core)) if scales is not None else np.square(singular[at - 1])
                beside = _Beside(gram if follows else counts, scales)
            coded = self._core(scaled(target, power), form, form.cost + spare, beside, at < plan.center)
            spare = max(spare + form.cost - self._cost_of(coded), 0.0) if form.half_bits > 1 else spare
            cores.append(coded)
            if follows:
                own = scaled(decoded(coded, np.result_type(self.op.dtype, np.float64)), -power)
                gram, apart = (
                    np.einsum("ru,rabs,uabt->st", x, own.conj(), y, optimize=True)
                    for x, y in ((gram, own), (apart, core))
                )
        return in_view_of(self.op, TensorTrainOperator(cores, dtype=self.op.dtype))

    def _cost_of(self, core: Core) -> float:
        return sum(part.bits for part in numbers_of(core)) / 8 if self.by_bits else bytes_of(core)

    def _core(self, core: Array, form: _Form, share: float, beside: _Beside, before: bool) -> Core:
        dtype = np.dtype(np.float16) if form.half_bits == 1 else self.op.dtype
        with np.errstate(over="ignore"):
            core = core.astype(dtype)
        if not np.all(np.isfinite(core)):
            raise OverflowError(f"op: a core in canonical form does not fit {dtype}")
        if form.half_bits < 2:
            return core
        r, m, n, s = core.shape
        x = core.reshape(r * m, n * s) if before else core.reshape(r * m, n * s).T
        matrix = self._codes(x, form, share, beside.spread_over(n if before else m, before))
        return CodedCore(matrix if before else matrix.T, (r, m, n, s))

    def _codes(self, x: Array, form: _Form, share: float, beside: _Beside) -> Operator:
        asked: dict[str, Any] = {"nbytes": int(share)}
        if self.by_bits:
            codes = share - (0 if beside.scales is None else len(beside.scales) * x.real.itemsize)
            asked = {"bits": min(8 * codes / (x.size * self._planes), HALF_BITS[-1] / 2 * form.stages)}
        if beside.metric is None:
            asked["stages"] = form.stages
        if beside.scales is not None:
            asked["rotate"] = beside.scales / np.max(beside.scales)
        return quantize_dense(
            x,
            **asked,
            metric=beside.metric,
            code=self.code,
            outliers=None,
            head=None,
            rng=self._rng,
            workers=self._workers,
        )


class _Beside(NamedTuple):
    """What counts errors of the columns' rank of a core: a metric or its diagonal, and scales of columns."""

    metric: Array | None
    scales: Array | None

    def spread_over(self, count: int, inner: bool) -> _Beside:
        """Return the same for all columns: digits are `count` more, the rank the last of both or the first."""
        scales = None if self.scales is None else np.repeat(self.scales, count)
        metric = self.metric
        if metric is None:
            return _Beside(None, scales)
        if metric.ndim == 2 and metric.dtype.kind != "c" and len(metric) * count <= _LARGEST_METRIC:
            return _Beside(np.kron(metric, np.eye(count)), scales)
        diagonal = metric if metric.ndim == 1 else np.diagonal(metric).real
        return _Beside(np.tile(diagonal, count) if inner else np.repeat(diagonal, count), scales)


def _thresholds(singular: Array) -> list[float]:
    """Return 0, and numbers between descending singular values, for ranks that are apart."""
    out, rank = [0.0], len(singular)
    while (rank := min(int(rank * _FAR), rank - 1)) > 0:
        out.append(float(np.sqrt(singular[rank - 1] * singular[rank])))
    return out


def _rank_of(asked: _Asked) -> Callable[[_Plan], tuple[float, float]]:
    return (lambda plan: (plan.cost, plan.error)) if asked.rtol is not None else (lambda plan: (plan.error, plan.cost))


def _errors(units: Array, spread: Array | None) -> Array:
    """Return the squared errors to be expected of codes in a metric, of which `spread` is the diagonal.

    Where columns make good for each other, it is that of the geometric mean: of the diagonal and what others have lost
    on top, above a share of the arithmetic mean that even rates leave. Fitted to random cores of ranks 16 to 256.
    """
    if spread is None:
        return units
    least = np.maximum(spread, _UNEVEN * np.mean(spread) / max(len(spread), BLOCK))[:, None]
    lost: Array = np.zeros(len(units))
    for _ in range(_ROUNDS):
        lost = units * np.exp(np.mean(np.log(least + lost), axis=0))
    return lost * len(spread)


def _powers(exponent: int, is_half: Sequence[bool], center: int) -> list[int]:
    """Return the exponents that cores take: equal shares, short floats none."""
    takers = [at for at, half in enumerate(is_half) if not half] or [max(center, 0)]
    share, rest = divmod(exponent, len(takers))
    out = [0] * len(is_half)
    for k, at in enumerate(takers):
        out[at] = share + (k < rest)
    return out


def _hull(forms: Sequence[_Form]) -> list[_Form]:
    """Return the forms of which none is above the line between two others, by cost."""
    out: list[_Form] = []
    for form in sorted(forms, key=lambda each: (each.cost, each.error)):
        if out and form.error >= out[-1].error:
            continue
        while len(out) > 1 and _slope(out[-2], out[-1]) <= _slope(out[-1], form):
            out.pop()
        out.append(form)
    return out


def _slope(a: _Form, b: _Form) -> float:
    """Return how much error a byte more takes away."""
    return (a.error - b.error) / (b.cost - a.cost)


def _shared(forms: Sequence[Sequence[_Form]], budget: float, goal: float | None) -> list[_Form] | None:
    """Return the form of each core: steps down the hulls, the steepest first, while the budget, or to the goal.

    Squared errors and costs add up: on convex hulls that is the least error at its cost (Shoham, Gersho, *Efficient
    bit allocation for an arbitrary set of quantizers*, 1988).
    """
    found = [each[0] for each in forms]
    cost, error = sum(form.cost for form in found), sum(form.error for form in found)
    if cost > budget:
        return None
    steps = [(_slope(a, b), at, a, b) for at, hull in enumerate(forms) for a, b in pairwise(hull)]
    for _, at, a, b in sorted(steps, key=lambda each: -each[0]):
        if goal is not None and error <= goal:
            break
        if found[at] != a or cost + b.cost - a.cost > budget:
            continue  # a step before it has been too large: none after it is taken
        found[at] = b
        cost, error = cost + b.cost - a.cost, error + b.error - a.error
    return found if goal is None or error <= goal else None


# ---- what is asked for ----


def _made(maker: _Maker, op: TensorTrainOperator, asked: _Asked) -> TensorTrainOperator:
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
    maker: _Maker, op: TensorTrainOperator, plan: _Plan, follows: bool, nbytes: int | None = None
) -> _Tried | None:
    """Return the train of a plan, or None where it takes too many bytes."""
    try:
        out = _measured(op, maker, maker.made(plan, follows))
    except (UnmetError, OverflowError):  # bytes that no code of a core fits, numbers that their precision does not
        return None
    _log.info("ranks %s, relative error %.3g, expected %.3g", out.ranks, out.relative_error, plan.error)
    return _Tried(out, out.relative_error, follows) if nbytes is None or out.nbytes <= nbytes else None


def _apart(plans: Sequence[_Plan]) -> list[_Plan]:
    """Return the first of some plans, and of all others those of ranks apart from one another, in their order."""
    first, out = plans[0], list[_Plan]()
    for step in (1, -1):
        last = first.ranks
        for plan in sorted(plans, key=lambda each: step * each.ranks):
            if plan.ranks * _NEXT >= last if step > 0 else plan.ranks <= last * _NEXT:
                out.append(plan)
                last = plan.ranks
    return [first, *sorted(out, key=lambda each: each.ranks)]


def _within(maker: _Maker, op: TensorTrainOperator, rtol: float) -> TensorTrainOperator:
    """Return the train of the fewest bytes for an error that a few tries find."""
    if not maker.norm:
        return _nothing(op)
    known = Known.of(maker.op)
    room = known.room_for(rtol)
    found: list[TensorTrainOperator] = []
    goal, least, seen = room, float("inf"), list[_Plan]()
    for _ in range(_TRIES if room > 0 else 0):
        plan = maker.plans(_Asked(rtol=goal))[0]
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
        raise UnmetError(maker.refusal(_Asked(rtol=rtol)))
    if not found:
        raise UnmetError(f"rtol: {rtol:.3g} is not met: {max(known.error, 0.0) if room <= 0 else least:.3g} is reached")
    return min(found, key=lambda each: each.nbytes)


def _measured(op: TensorTrainOperator, maker: _Maker, train: TensorTrainOperator) -> TensorTrainOperator:
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
