"""The stages of a compression: factorize, quantize, measure, allocate, dense; timed and reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.accuracy.measured import measure
from bitterfly.accuracy.sampled import SAMPLED_ROWS, sampled_error
from bitterfly.dense.quantize import quantize_dense
from bitterfly.factorization.factorize import factorize, searched
from bitterfly.factorization.search import WORTHWHILE
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import Operator
from bitterfly.quantization.quantize import quantize
from bitterfly.sources.given import ArraySource, Source

Progress = Callable[[str, float], None]

_log = logging.getLogger("bitterfly")
_WHOLE = 1 << 22  # entries of few rows that are all read to measure
_ROUNDED = 2000  # eps below which splits in single precision waste ranks


class Measured(NamedTuple):
    """Codes, and what is known of their error against the matrix."""

    packed: Any
    known: Known

    @property
    def error(self) -> float:
        """The relative error."""
        return self.known.error


class Work:
    """The matrix, and the stages that are run on it, timed and reported."""

    def __init__(self, source: Source, progress: Progress | None) -> None:
        self.source = source
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._inside = 0.0  # seconds of the stages within the open one

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        m, n = self.source.shape
        return m * n * self.source.dtype.itemsize

    @property
    def real_shape(self) -> tuple[int, int]:
        """Shape of the real matrix that dense codes are of: both parts of a complex one."""
        m, n = self.source.shape
        return (2 * m if self.source.dtype.kind == "c" else m, n)

    def factorize(self, **asked: Any) -> ButterflyOperator:
        """Return float factors."""
        with self.stage("factorize"):
            found: ButterflyOperator = factorize(self.source, **asked)
            return found

    def searched(self, rtol: float, *, worthwhile: float = WORTHWHILE, **asked: Any) -> ButterflyOperator:
        """Search in double precision where the rounding of the splits would take much of a tolerance."""
        single = self.source.dtype
        fine = np.finfo(single).bits > 32 or rtol > _ROUNDED * np.finfo(single).eps
        with self.stage("factorize"):
            if fine or not isinstance(self.source, ArraySource):
                return searched(self.source, rtol, worthwhile=worthwhile, **asked)
            wide = ArraySource(self.source.array.astype(np.result_type(single, np.float64)))
            return searched(wide, rtol, worthwhile=worthwhile, **asked).astype(single)

    def quantize(self, op: ButterflyOperator, bits: float | None = None, nbytes: int | None = None) -> PackedButterfly:
        """Return codes of these bits, or of at most so many bytes."""
        with self.stage("quantize"):
            return quantize(op, bits=bits, nbytes=nbytes)

    def dense(self, source: Any = None, **asked: Any) -> Operator:
        """Return window codes of the matrix, or of another, and what they take beside them."""
        with self.stage("dense"):
            return quantize_dense(self.source if source is None else source, **asked)

    def measure(self, op: Operator) -> Known:
        """Return what is known of the error against the matrix: all of it, or random rows of what is no array."""
        with self.stage("measure"):
            m, n = self.source.shape
            if isinstance(self.source, ArraySource):
                error = measure(self.source.array, op, partial(self.report, "measure"))
                return Known(self.source.rounding, "exact").then(error, kind="measured")
            if m <= SAMPLED_ROWS and m * n <= _WHOLE:
                return Known(measure(self.source.block(np.arange(m), np.arange(n)), op), "measured")
            return Known(sampled_error(self.source, op, SAMPLED_ROWS, np.random.default_rng(0))[1], "estimated")

    def trial(self, op: ButterflyOperator, bits: float | None = None, nbytes: int | None = None) -> Measured:
        """Return codes of these bits, or of at most so many bytes, and their error."""
        packed = self.quantize(op, bits, nbytes)
        found = Measured(packed, self.measure(packed))
        _log.info("%d bytes: %s relative error %.3e", packed.nbytes, found.known.kind, found.error)
        return found

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time and report a stage, also one that fails; stages within it count for themselves, so that times add up."""
        start, outside, self._inside = perf_counter(), self._inside, 0.0
        self.report(name, 0.0)
        try:
            yield
        finally:
            elapsed = perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - self._inside
            self._inside = outside + elapsed
            self.report(name, 1.0)

    def report(self, stage: str, fraction: float) -> None:
        """Pass on which share of a stage is done."""
        if self._progress is not None:
            self._progress(stage, fraction)
