"""Laws loss = a e^b of errors, fitted to logarithms, and how far losses scatter about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import spearmanr

Row = dict[str, Any]


class Law(NamedTuple):
    """``loss = factor * error**exponent`` within a factor of e^scatter, root mean square, and the rank correlation."""

    factor: float
    exponent: float
    scatter: float
    rank: float
    count: int

    def __call__(self, error: np.ndarray) -> np.ndarray:
        """The loss of an error."""
        found: np.ndarray = self.factor * error**self.exponent
        return found


def within(rows: Sequence[Row], loss: str, least: float, most: float) -> list[Row]:
    """Rows whose loss is more than noise, and not so large that it has an end."""
    return [row for row in rows if least <= row[loss] <= most]


def law(rows: Sequence[Row], predictor: str, loss: str) -> Law:
    """Least squares of logarithms."""
    e, y = (np.log([row[name] for row in rows]) for name in (predictor, loss))
    exponent, start = np.polyfit(e, y, 1)
    missed = y - start - exponent * e
    rank = float(spearmanr(e, y).statistic)
    return Law(float(np.exp(start)), float(exponent), float(np.sqrt(np.mean(missed**2))), rank, len(rows))


def of_counts(rows: Sequence[Row], predictor: str, loss: str, noise: str, count: dict[str, int]) -> tuple[float, ...]:
    """The law of a share that is counted: factor, exponent, its standard error, and misses over the noise of counting.

    What is lost is the difference of answers that become wrong and right, so that zeros and gains are values as well.
    """
    e, y = (np.array([row[name] for row in rows]) for name in (predictor, loss))
    n = np.array([count[row["task"]] for row in rows])
    spread = np.sqrt((np.array([row[noise] for row in rows]) + 1 / n) / n)
    found, covariance = curve_fit(lambda e, a, b: np.exp(a) * e**b, e, y, (-1.0, 1.5), spread)
    missed = (y - np.exp(found[0]) * e ** found[1]) / spread
    return float(np.exp(found[0])), float(found[1]), float(covariance[1, 1] ** 0.5), float(np.sqrt(np.mean(missed**2)))


def by_prediction(rows: Sequence[Row], predictor: str, edges: Sequence[float]) -> list[list[Row]]:
    """Rows whose squared errors, what they are expected to lose, lie between edges."""
    said = np.square([row[predictor] for row in rows])
    bins = np.digitize(said, edges)
    return [[rows[k] for k in np.flatnonzero(bins == at)] for at in range(1, len(edges))]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error."""
    x = np.asarray(values, float)
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else float("nan")
