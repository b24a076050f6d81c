"""What singular triples of a matrix take in window codes, and what they lose, in a metric of the inputs.

``A = L R``, L orthonormal, the rows of ``R M`` orthogonal, of lengths s, where ``H = M M^T`` is the metric. Codes of
column k of L err by ``e(a)`` of its length, which counts s_k; those of row k of R, whose numbers make good for each
other, by ``e(b) |R_k|`` times the root of the geometric mean of the variances of the inputs. What is not stored counts
s_k. These squares add up, as do the bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.feedback import DampedMetric
from bitterfly.inputs import Array
from bitterfly.quantization.knapsack import Knapsack, Option
from bitterfly.stores.dense.codes import BLOCK, HALF_BITS
from bitterfly.stores.dense.windows import window_code
from bitterfly.structures.low_ranks.factors import singular_factors

CODE = "window11"
_ROWS = 16  # rows, or columns, that codes fill up to
_POINTS = 96  # of a curve, from the fewest bytes to those of the most
_BASE = 2 * HALF_BITS[-1]  # of a pair of rates as one number
_LEAST = 64  # bytes of seeds and rates


class Rates(NamedTuple):
    """Twice the bits of each 32 triples: of their columns on the left, of their rows on the right; 0 of none."""

    left: list[int]
    right: list[int]


class Plans:
    """The ways to store the triples of a matrix.

    Parameters
    ----------
    a : ndarray, shape (m, n)
        Real, finite, not zero.
    metric : array_like, SecondMoments or None
        Of the inputs, as `quantize_dense` takes it.

    Attributes
    ----------
    factors : Factors
    metric : ndarray or None
        As `as_metric` returns it.
    """

    def __init__(self, a: Array, metric: object) -> None:
        self.shape, self.metric = a.shape, as_metric(metric, a.shape[1])
        found = singular_factors(a, self.metric)
        left, right, sizes = found.left[:, : found.useful], found.right[: found.useful], found.sizes[: found.useful]
        self.factors = found._replace(left=left, right=right, sizes=sizes)
        # The geometric mean of the variances of inputs, each given those after it.
        self._mean = 1.0
        if self.metric is not None:
            self._mean = float(np.exp(np.mean(np.log(DampedMetric(self.metric).variances))))
        self._energy = float(np.sum(np.square(self.factors.sizes)))
        self._knapsack = Knapsack([self._options(first) for first in range(0, len(sizes), BLOCK)])

    def square(self, nbytes: int) -> float:
        """Return the squared relative error that is to be expected in so many bytes."""
        return sum(each.square for each in self._chosen(nbytes)) / self._energy if self._energy else 0.0

    def rates(self, nbytes: int) -> Rates:
        """Return the rates of all triples in so many bytes."""
        pairs = [divmod(each.width, _BASE) for each in self._chosen(nbytes)]
        return Rates([left for left, _ in pairs], [right for _, right in pairs])

    @property
    def sizes(self) -> list[int]:
        """Bytes that are worth looking at, the fewest first."""
        least, most = least_bytes(self.shape), self._bytes(HALF_BITS[-1], HALF_BITS[-1], min(self.shape))
        return sorted({round(size) for size in np.geomspace(least, max(most, least), _POINTS).tolist()})

    def _chosen(self, nbytes: int) -> list[Option]:
        found = self._knapsack.in_bytes(nbytes - beside(self.shape), in_order=True)
        return found if found is not None else [Option(0, self._energy, 0)]

    def _options(self, first: int) -> list[Option]:
        part = slice(first, first + BLOCK)
        sizes, right = self.factors.sizes[part], self.factors.right[part]
        energy, lost = (float(np.sum(np.square(x))) for x in (sizes, right))
        lost = min(lost * self._mean, energy)
        errors = {half: window_code(CODE, half / 2).error ** 2 for half in HALF_BITS}
        coded = [
            Option(self._bytes(a, b, len(sizes)), energy * errors[a] + lost * errors[b], _BASE * a + b)
            for a in HALF_BITS
            for b in HALF_BITS
        ]
        return [Option(0, energy, 0), *coded]

    def _bytes(self, left: int, right: int, count: int) -> int:
        m, n, width = _filled(*self.shape, count)
        return (m * left + n * right) * width // 16


def beside(shape: tuple[int, int]) -> int:
    """Return the bytes that two factors in codes take beside these: scales of rows, seeds, rates."""
    return 2 * (shape[0] + min(shape)) + _LEAST


def least_bytes(shape: tuple[int, int]) -> int:
    """Return the fewest bytes of a few triples in codes."""
    m, n, width = _filled(*shape, min(*shape, BLOCK))
    return (m + n) * width * HALF_BITS[0] // 16 + beside(shape)


def _filled(*sizes: int) -> list[int]:
    """Return numbers of rows and columns with those that fill them up."""
    return [-(-size // _ROWS) * _ROWS for size in sizes]
