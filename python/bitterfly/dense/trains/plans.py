"""Plans and trains of one tensor train: ranks that stay, and the codes of each core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from bitterfly.dense.quantize import quantize_dense
from bitterfly.dense.rates import even_bytes
from bitterfly.dense.trains.forms import Form, expected_errors, hull, shared
from bitterfly.inputs import Array, UnmetError
from bitterfly.operators.contract import Operator
from bitterfly.powers import scaled
from bitterfly.stores.dense.codes import HALF_BITS
from bitterfly.stores.dense.windows import window_code
from bitterfly.structures.tensor_trains.cores import CodedCore, Core, bytes_of, decoded, numbers_of
from bitterfly.structures.tensor_trains.decompositions import canonical, in_view_of
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

_HALF = 3.4e-8  # squared relative error of numbers rounded to eleven bits
_FLOAT = 0.04  # of the squared unit of a precision
_STAGED = [(stages, 2 * bits) for stages in (2, 3, 4, 5, 6) for bits in (5, 6, 8)]
_FAR = 0.87  # how far the ranks of plans are apart
_LARGEST_METRIC = 1024  # columns
_LANES = 16  # numbers of a diagonal are stored in as many
_NARROW = 8  # exponents that short floats take


class Asked(NamedTuple):
    """What codes of a train are asked for, one of these."""

    bits: float | None = None
    nbytes: int | None = None
    rtol: float | None = None


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
    forms: list[list[Form]]


class Plan(NamedTuple):
    """Forms of all cores, with the error and the bytes to be expected, and the sum of the ranks."""

    error: float
    cost: float
    center: int
    threshold: float
    forms: list[Form]
    budget: float
    ranks: int


class Maker:
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

    def plans(self, asked: Asked) -> list[Plan]:
        """Return a plan for each set of ranks, the one of least error first, for an error that of least cost."""
        plans = self._plans(asked, False) or self._plans(asked, asked.bits is not None)
        if not plans:
            raise UnmetError(self.refusal(asked))
        return sorted(plans.values(), key=_rank_of(asked))

    def _plans(self, asked: Asked, without_diagonal: bool) -> dict[tuple[int, ...], Plan]:
        plans: dict[tuple[int, ...], Plan] = {}
        for each in self._outlines:
            lost, ranks, budget = each.lost, each.ranks, self._budget(asked, each.parts)
            budget += sum(part.diagonal for part in each.parts) if without_diagonal else 0
            found = shared(each.forms, budget, None if asked.rtol is None else asked.rtol**2 - lost)
            if found is None:
                continue
            error, cost = float(np.sqrt(lost + sum(form.error for form in found))), sum(form.cost for form in found)
            plan = Plan(error, cost, each.center, each.threshold, found, budget, sum(ranks))
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

    def _budget(self, asked: Asked, parts: Sequence[_Part]) -> float:
        if asked.bits is not None:
            return asked.bits / 8 * sum(part.numbers for part in parts)
        return float("inf") if asked.nbytes is None else asked.nbytes - self.beside

    def refusal(self, asked: Asked) -> str:
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

    def _forms(self, part: _Part) -> list[Form]:
        """Return the forms of a core on the lower convex hull of errors over costs, the least first."""
        (p, q), info = part.shape, np.finfo(self.op.dtype)

        def cost(half_bits: int) -> float:
            if self.by_bits:
                return half_bits / 16 * part.numbers
            return even_bytes((self._planes * p, q), half_bits)

        errors = expected_errors(np.array([self._unit(h) for h in HALF_BITS]), part.spread).tolist()
        forms = [Form(cost(h) + part.diagonal, error, h) for h, error in zip(HALF_BITS, errors, strict=True)]
        forms += [Form(t * cost(h), self._unit(h) ** t, h, t) for t, h in _STAGED]
        forms.append(Form(part.numbers * info.bits / 8, _FLOAT * float(info.eps) ** 2, 0))
        if part.takes_half:
            forms.append(Form(part.numbers * 2, _HALF, 1))
        return hull(forms)

    def _unit(self, half_bits: int) -> float:
        """Return the squared relative error of codes of normal numbers."""
        return float(window_code(self.code, half_bits / 2).error) ** 2

    # ---- trains ----

    def made(self, plan: Plan, follows: bool) -> TensorTrainOperator:
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

    def _core(self, core: Array, form: Form, share: float, beside: _Beside, before: bool) -> Core:
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

    def _codes(self, x: Array, form: Form, share: float, beside: _Beside) -> Operator:
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


def _rank_of(asked: Asked) -> Callable[[Plan], tuple[float, float]]:
    return (lambda plan: (plan.cost, plan.error)) if asked.rtol is not None else (lambda plan: (plan.error, plan.cost))


def _powers(exponent: int, is_half: Sequence[bool], center: int) -> list[int]:
    """Return the exponents that cores take: equal shares, short floats none."""
    takers = [at for at, half in enumerate(is_half) if not half] or [max(center, 0)]
    share, rest = divmod(exponent, len(takers))
    out = [0] * len(is_half)
    for k, at in enumerate(takers):
        out[at] = share + (k < rest)
    return out
