"""The rates and the basis of window codes for what is asked: bits, bytes or an error."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.dense.basis import Basis
from bitterfly.dense.coder import Coder, Trial
from bitterfly.dense.predicted import predicted
from bitterfly.dense.rates import Ladder, codes_bytes
from bitterfly.inputs import Array, UnmetError
from bitterfly.operators.dense import DenseOperator

Rotate = Literal["auto", "inputs", "both"] | None

_TRIES = 6  # of rates, to meet an error
_ALIKE = 0.02  # bits: what unequal energies of columns may cost before rows are rotated as well
_LEAST_RATIO = 1e-3  # of an error to the one expected


class Asked(NamedTuple):
    """What is asked for: `bits`, `nbytes` or `rtol`, the others None; bytes `beside` the codes count.

    `stages` is the number of codes that are added up; None: as many as are best.
    """

    bits: float | None
    nbytes: int | None
    rtol: float | None
    metric: Array | None
    rotate: Rotate
    code: str
    unequal: bool
    stages: int | None
    sweeps: int
    workers: int
    beside: int = 0

    def expected(self, planes: int, shape: tuple[int, int]) -> float:
        """Return the error, or for `rtol` the bytes, to be expected of codes alone; infinite where they do not do."""
        asked = {"bits": self.bits, "nbytes": self.nbytes, "rtol": self.rtol}
        found = predicted((planes * shape[0], shape[1]), **asked, stages=self.stages, name=self.code)
        if found is None:
            return float("inf")
        return found.error if self.rtol is None else found.nbytes


def coded(a: Array, asked: Asked, rng: np.random.Generator) -> DenseOperator:
    """Return window codes of a matrix in the basis that is best for it.

    Raises
    ------
    UnmetError
        Where what is asked for is met in none.
    """
    found, refused = [], []
    for basis in _bases(a, asked.rotate, rng):
        coder = Coder(basis, asked.metric, asked.code, asked.unequal, asked.sweeps, asked.workers)
        try:
            trial = _fewest_bits(coder, asked.rtol) if asked.rtol is not None else _at_most(coder, asked)
        except UnmetError as error:
            refused.append(error)
            continue
        found.append((trial.codes.nbytes if asked.rtol is not None else 0, trial.counted, basis, trial))
    if not found:
        raise refused[0]
    _, _, basis, trial = min(found, key=lambda each: each[:2])
    known = Known(trial.error, "measured" if trial.error else "exact").facts
    known["metric_error"] = trial.metric_error if np.isfinite(trial.metric_error) else float("nan")
    return DenseOperator(trial.codes, inputs=basis.inputs, outputs=basis.outputs, dtype=a.dtype, **known)


def _bases(a: Array, rotate: Rotate, rng: np.random.Generator) -> list[Basis]:
    """Return the matrix in the basis asked for, or in two that are to be compared."""
    inputs, outputs = (int(seed) for seed in rng.integers(0, 1 << 63, 2))
    if rotate is None:
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


def _highest(ladder: Ladder, asked: Asked, shape: tuple[int, int], seeds: int) -> int:
    """Return the highest rung within the bits or the bytes; -1 if there is none."""
    bits, nbytes = asked.bits, asked.nbytes
    if bits is not None:
        return ladder.highest(lambda rung: ladder.bits(rung) <= bits)
    assert nbytes is not None
    left = nbytes - asked.beside
    return ladder.highest(lambda rung: codes_bytes(shape, ladder.half_bits(rung), seeds) <= left)


def _at_most(coder: Coder, asked: Asked) -> Trial:
    """Return codes of at most so many bits a number in the mean, or so many bytes in all."""
    ladder, basis = coder.ladder, coder.basis
    rung = _highest(ladder, asked, basis.shape, basis.seeds)
    if rung < 0:
        least = f"{asked.beside + codes_bytes(basis.shape, ladder.half_bits(0), basis.seeds)} bytes"
        name, given = ("nbytes", asked.nbytes) if asked.bits is None else ("bits", asked.bits)
        least = least if asked.bits is None else "1 bit a number"
        raise UnmetError(f"{name}: expected at least {least}, the least that codes take, got {given}")
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
            break
    if best is None:
        trial = trial if low == ladder.rungs - 1 else coder.trial(ladder.half_bits(ladder.rungs - 1))
        if not trial.counted <= rtol:
            most = ladder.bits(ladder.rungs - 1)
            raise UnmetError(f"rtol: {rtol:.3g} is not met: {most:.3g} bits a number reach {trial.counted:.3g}")
    return best or trial
