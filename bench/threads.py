"""Products on one thread and on two, this process not being pinned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench import apply, chains, timing
from bitterfly.workers import available_cores

VECTORS = 64


def cases(one: int, many: int) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Yield names, operators and arrays: one vector of `one` numbers, 64 of `many`."""
    for n, shape in ((one, (one,)), (many, (many, VECTORS))):
        for name in ("float32", "2 bits", "4 bits"):
            yield name, apply.operators(n)[name], np.ones(shape, np.float32)
    for name, op in zip(("general chain, factors", "general chain, 8 bits"), chains.operators(many), strict=True):
        yield name, op, np.ones((many, VECTORS), np.complex64)


def rows(one: int, many: int, rounds: int) -> list[dict[str, Any]]:
    """Microseconds by the number of workers; nothing where this process has one core."""
    if available_cores() < 2:
        return []
    found = []
    for name, op, x in cases(one, many):
        out = np.empty_like(x)
        assert np.array_equal(op.apply(x, workers=1), op.apply(x, workers=2))
        runs = {str(k): (lambda op=op, x=x, out=out, k=k: op.apply(x, out, workers=k)) for k in (1, 2)}
        seconds = timing.interleaved(runs, rounds)
        row = {"product": name, "n": len(x), "columns": x.size // len(x)}
        row |= {"1 worker us": 1e6 * seconds["1"], "2 workers us": 1e6 * seconds["2"]}
        found.append(row | {"speed-up": seconds["1"] / seconds["2"]})
    return found
