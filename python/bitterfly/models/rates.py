"""How many bytes each part of a model takes: the least loss of all, by what is predicted of codes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from bitterfly.dense.predicted import MOST_BITS, Predicted, least_bytes, predicted
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

    @property
    def probed(self) -> int:
        """Bytes of codes of two bits a number."""
        found = predicted(self.shape, bits=PROBED)
        assert found is not None
        return found.nbytes

    def square(self, nbytes: int) -> float:
        """Return the squared error to be expected in so many bytes."""
        return self._at(nbytes).error ** 2 / self._unit

    def taken(self, nbytes: int) -> int:
        """Return the bytes that codes take of so many."""
        return self._at(nbytes).nbytes

    def _at(self, nbytes: int) -> Predicted:
        found = predicted(self.shape, nbytes=nbytes, stages=self._stages)
        assert found is not None
        return found


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
    Steps along the lower convex hulls of bytes and losses, the best gain for a byte first, then what still fits; what
    is left after the last one goes to the part that gains the most by it, whose columns take two rates.
    """
    weights = [max(loss, 0.0) for loss in losses]
    options = [
        [Option(each, weight * found.square(each), at) for at, each in enumerate(found.nbytes)]
        for found, weight in zip(curves, weights, strict=True)
    ]
    chosen = Knapsack(options).in_bytes(nbytes)
    if chosen is None:
        least = sum(least_bytes(found.shape) for found in curves)
        raise UnmetError(f"nbytes: expected at least {least} for the codes of all matrices, got {nbytes}")
    sizes = [each.nbytes for each in chosen]
    for part in _by_gain(curves, weights, sizes):
        sizes[part] += min(nbytes - sum(sizes), curves[part].nbytes[-1] - sizes[part])
    return [
        Share(size, weight * found.square(size)) for size, weight, found in zip(sizes, weights, curves, strict=True)
    ]


def _by_gain(curves: Sequence[Curve], weights: Sequence[float], sizes: Sequence[int]) -> list[int]:
    """Return the parts that gain by a byte more, the best first."""

    def gain(part: int) -> float:
        found, now = curves[part], sizes[part]
        more = next((each for each in found.nbytes if each > now), None)
        return 0.0 if more is None else weights[part] * (found.square(now) - found.square(more)) / (more - now)

    return [part for part in sorted(range(len(sizes)), key=gain, reverse=True) if gain(part) > 0]
