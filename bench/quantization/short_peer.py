"""Short significands against lazylinop: the same inputs, errors and times of both in one run.

Real to float16, whose significands have 11 bits; complex to 4 bits, for which theirs tries some of the candidates only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import bitterfly
from bench import peers, timing
from bitterfly import _core
from bitterfly.quantization.rank_one import search_depth

SIZES = ((2, 2), (5, 20))
BITS = {"real": 11, "complex": 4}
ROUNDS = 5

Factors = list[np.ndarray]


def rows() -> list[dict[str, Any]]:
    """Errors asserted: ours is never larger."""
    modules = peers.lazylinop()
    if not modules:
        return []
    rng = np.random.default_rng(0)
    out = []
    for kind in BITS:
        out += [_vectors(modules[1], kind, _gaussian(rng, kind, m), _gaussian(rng, kind, n)) for m, n in SIZES]
        for name, call, chain in _chains(modules[1], kind):
            out.append(_chain(name, call, kind, [_gaussian(rng, kind, *pattern) for pattern in chain]))
    return out


def _chains(module: Any, kind: str) -> list[tuple[str, Callable[..., Any], bitterfly.Chain]]:
    n = 64 if kind == "real" else 16
    return [
        (f"qbutterfly, n = {n}", module.qbutterfly, bitterfly.Chain.square_dyadic(n)),
        ("qmonarch, 16 x 16", module.qmonarch, bitterfly.Chain.monarch((16, 16))),
    ]


def _gaussian(rng: np.random.Generator, kind: str, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x if kind == "real" else x + 1j * rng.standard_normal(shape)


def _target(kind: str) -> dict[str, Any]:
    return {"target": np.dtype(np.float16)} if kind == "real" else {"target": np.dtype(np.complex64), "t": BITS[kind]}


def _wide(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.result_type(x, np.float64))


def _vectors(module: Any, kind: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    target, columns = _target(kind), (x[:, np.newaxis], y[:, np.newaxis])
    xh, yh = (_wide(z) for z in module.qrank_one(*columns, **target)[:2])
    exact = np.outer(x, y.conj())
    theirs = float(np.linalg.norm(exact - xh @ yh.conj().T) / np.linalg.norm(exact))
    return _comparison(
        f"{kind} qrank_one, {len(x)} x {len(y)}",
        (bitterfly.quantize_rank_one(x, y, significand=BITS[kind])[2], theirs),
        lambda: bitterfly.quantize_rank_one(x, y, significand=BITS[kind]),
        lambda: module.qrank_one(*columns, **target),
    )


def _chain(name: str, call: Callable[..., Any], kind: str, factors: Factors) -> dict[str, Any]:
    target, widths = _target(kind), [BITS[kind]] * len(factors)
    theirs = _core.chain_error(factors, [_wide(f) for f in call(factors, **target)[0]])

    def ours() -> float:
        error: float = _core.shorten(factors, widths, "left_to_right", search_depth(BITS[kind]))[1]
        return error

    return _comparison(f"{kind} {name}", (ours(), theirs), ours, lambda: call(factors, **target))


def _comparison(
    name: str, errors: tuple[float, float], ours: Callable[[], object], theirs: Callable[[], object]
) -> dict[str, Any]:
    assert errors[0] <= errors[1] * (1 + 1e-9), (name, errors)
    seconds = timing.interleaved({"ours": ours, "theirs": theirs}, ROUNDS)
    return {
        "what": name,
        "error": errors[0],
        "lazylinop": errors[1],
        "ratio of errors": errors[1] / errors[0],
        "us": 1e6 * seconds["ours"],
        "lazylinop us": 1e6 * seconds["theirs"],
        "ratio of times": seconds["theirs"] / seconds["ours"],
    }
