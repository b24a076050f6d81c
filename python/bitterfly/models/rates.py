"""How many bytes each part of a model takes: the least loss of all, by what is predicted of codes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from bitterfly.dense.low_ranks.plans import Plans, least_bytes
from bitterfly.dense.predicted import MOST_BITS, Predicted, predicted
from bitterfly.inputs import UnmetError
from bitterfly.quantization.knapsack import Knapsack, Option

PROBED = 2  # bits of the codes by which the loss of a part is found
_PER_BIT = 4  # rates that are looked at


class Share(NamedTuple):
    """Bytes of a part, and the loss to be expected."""

    nbytes: int
    loss: float


class Curve:
    """What codes of a shape take and lose, in units of what those of two bits a number do.

    Parameters
    ----------
    shape : (m, n)
    stages : int or None
        Of the codes; None: as many as err the least.
    """

    def __init__(self, shape: tuple[int, int], stages: int | None) -> None:
        self.shape, self._stages = shape, stages
        rates = [at / _PER_BIT for at in range(_PER_BIT, MOST_BITS * _PER_BIT + 1)]
        found = (predicted(shape, bits=bits) for bits in rates)
        self.nbytes = sorted({each.nbytes for each in found if each is not None})
        self._unit = self._at(self.probed).error ** 2
        self._squares = {nbytes: self._at(nbytes).error ** 2 / self._unit for nbytes in self.nbytes}

    @property
    def probed(self) -> int:
        """Bytes of codes of two bits a number."""
        found = predicted(self.shape, bits=PROBED)
        assert found is not None
        return found.nbytes

    def square(self, nbytes: int) -> float:
        """Return the squared error to be expected in so many bytes."""
        known = self._squares.get(nbytes)
        return self._at(nbytes).error ** 2 / self._unit if known is None else known

    def taken(self, nbytes: int) -> int:
        """Return the bytes that codes take of so many."""
        return self._at(nbytes).nbytes

    def _at(self, nbytes: int) -> Predicted:
        found = predicted(self.shape, nbytes=nbytes, stages=self._stages)
        assert found is not None
        return found


class WithLowRank(Curve):
    """What codes of a matrix take and lose, or factors of low rank in codes, whichever lose less.

    Parameters
    ----------
    codes : Curve
    plans : Plans
        Of the factors.
    unit : float
        The squared error of codes of two bits a number.
    """

    def __init__(self, codes: Curve, plans: Plans, unit: float) -> None:
        self.shape, self._codes = codes.shape, codes
        self._sizes = plans.sizes
        self._least = np.minimum.accumulate([plans.square(size) for size in self._sizes]) / unit
        self.nbytes = sorted({*codes.nbytes, *self._sizes})

    @property
    def probed(self) -> int:
        """Bytes of codes of two bits a number."""
        return self._codes.probed

    def square(self, nbytes: int) -> float:
        """Return the squared error to be expected in so many bytes."""
        at = bisect_right(self._sizes, nbytes) - 1
        found = [float(self._least[at])] if at >= 0 else []
        return min(found + ([self._codes.square(nbytes)] if nbytes >= self._codes.nbytes[0] else []))

    def taken(self, nbytes: int) -> int:
        """Return the bytes that one or the other takes of so many, at least."""
        return self._codes.taken(nbytes) if nbytes >= self._codes.nbytes[0] else nbytes


def least_of(shape: tuple[int, int], with_low_rank: bool) -> int:
    """Return the fewest bytes that a part takes."""
    codes = curve(shape, 1).nbytes[0]
    return min(codes, least_bytes(shape)) if with_low_rank else codes


@cache
def curve(shape: tuple[int, int], stages: int | None) -> Curve:
    """Return the curve of a shape."""
    return Curve(shape, stages)


def shared(curves: Sequence[Curve], losses: Sequence[float], nbytes: int) -> list[Share]:
    """Return the bytes of all parts, in all at most `nbytes`, by the least sum of losses.

    Parameters
    ----------
    curves : sequence of Curve
    losses : sequence of float
        Of each part at two bits a number; at other rates they follow its squared error.
    nbytes : int

    Raises
    ------
    UnmetError
        Where one bit a number takes more.

    Notes
    -----
    Steps along the lower convex hulls of bytes and losses, the best gain for a byte first, as long as they fit: the
    optimum of the relaxed problem. Then smaller ones, by which the columns of a part take two rates.
    """
    weights = [max(loss, 0.0) for loss in losses]
    options = [
        [Option(each, weight * found.square(each), at) for at, each in enumerate(found.nbytes)]
        for found, weight in zip(curves, weights, strict=True)
    ]
    chosen = Knapsack(options).in_bytes(nbytes, in_order=True)
    if chosen is None:
        least = sum(found.nbytes[0] for found in curves)
        raise UnmetError(f"nbytes: expected at least {least} for the codes of all matrices, got {nbytes}")
    sizes = [each.nbytes for each in chosen]
    _fill(curves, weights, sizes, nbytes - sum(sizes))
    return [
        Share(size, weight * found.square(size)) for size, weight, found in zip(sizes, weights, curves, strict=True)
    ]


def _fill(curves: Sequence[Curve], weights: Sequence[float], sizes: list[int], left: int) -> None:
    """Take smaller steps while they fit, the best gain for a byte first; the last one as far as the bytes go."""
    steps = [step for part in range(len(sizes)) if (step := _step(part, curves, weights, sizes)) is not None]
    heapify(steps)
    last: int | None = None
    while steps:
        _, part, nbytes = heappop(steps)
        if nbytes - sizes[part] > left:
            last = part if last is None else last
            continue
        left -= nbytes - sizes[part]
        sizes[part] = nbytes
        following = _step(part, curves, weights, sizes)
        if following is not None:
            heappush(steps, following)
    if last is not None:
        sizes[last] += left


def _step(
    part: int, curves: Sequence[Curve], weights: Sequence[float], sizes: Sequence[int]
) -> tuple[float, int, int] | None:
    """Return what the next rate of a part gains for a byte, negative, the part, and its bytes then."""
    found, now = curves[part], sizes[part]
    more = next((each for each in found.nbytes if each > now), None)
    gain = 0.0 if more is None else weights[part] * (found.square(now) - found.square(more)) / (more - now)
    return None if more is None or gain <= 0 else (-gain, part, more)
