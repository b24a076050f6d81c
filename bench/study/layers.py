"""Linear layers in one structure each, in equal bytes; tables in window codes, as many bits a number."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

import bitterfly
from bench.dense.minilm import errors
from bench.study.whole import Coded, Way, Whole, coded
from bitterfly import SecondMoments, structures
from bitterfly.models.units import Part

Form = Callable[[np.ndarray, int, SecondMoments], Coded]

DIGITS = {384: [8, 6, 8], 1536: [16, 8, 12]}
SIDES = {384: 16, 1536: 32}  # of the second factors of Kronecker products
BLOCKS = (4, 16)  # of Monarch matrices, by rows and by columns
RATES = (2.5, 3.5, 5.0)  # bits of their numbers
RANKS = 0.75  # of all: in codes, the best share for layers in the metric of a few that were tried
TABLES = Way(share="alike")


def low_rank(a: np.ndarray, nbytes: int, moments: SecondMoments, in_metric: bool) -> Coded:
    """Factors of float16."""
    rank = nbytes // (2 * sum(a.shape))
    op = structures.low_rank(a, rank=rank, metric=moments if in_metric else None)
    left, right = (core.reshape(core.shape[0] * core.shape[1], -1) for core in op.cores)
    return Coded(half(left) @ half(right), 2 * rank * sum(a.shape))


def half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def coded_low_rank(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    op = bitterfly.quantize_train(singular_train(a), nbytes=nbytes, rng=0, workers=1)
    return Coded(op.todense(), op.nbytes)


def singular_train(a: np.ndarray) -> structures.TensorTrainOperator:
    u, s, vh = np.linalg.svd(a.astype(np.float64), full_matrices=False)
    cores = [(u * np.sqrt(s)).reshape(1, len(a), 1, -1), (np.sqrt(s)[:, None] * vh).reshape(-1, 1, a.shape[1], 1)]
    return structures.TensorTrainOperator([core.astype(np.float32) for core in cores])


def coded_in_metric(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    """Codes of the factors of the best approximation in the metric."""
    train = structures.low_rank(a, rank=int(RANKS * min(a.shape)), metric=moments)
    op = bitterfly.quantize_train(train, nbytes=nbytes, rng=0, workers=1)
    return Coded(op.todense(), op.nbytes)


def kronecker(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    """A sum of Kronecker products in codes: a matrix of low rank with the entries of each block in a row."""
    (m, n), (p, q) = a.shape, (SIDES[each] for each in a.shape)
    blocks = a.reshape(m // p, p, n // q, q).transpose(0, 2, 1, 3)
    rows, nbytes, _ = coded_low_rank(np.ascontiguousarray(blocks.reshape(-1, p * q)), nbytes, moments)
    return Coded(rows.reshape(blocks.shape).transpose(0, 2, 1, 3).reshape(m, n), nbytes)


def train(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    """A tensor train of three cores in codes."""
    whole = structures.tensor_train(a, *(DIGITS[each] for each in a.shape), ranks=a.size)
    op = bitterfly.quantize_train(whole, nbytes=nbytes, rng=0, workers=1)
    return Coded(op.todense(), op.nbytes)


def monarch(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    """Factors of float16, of the better blocks."""
    found = []
    for blocks in BLOCKS:
        rank = nbytes // (2 * blocks * sum(a.shape))
        if rank:
            op = structures.monarch(a, (blocks, blocks), rank=rank, workers=1)
            short = bitterfly.ButterflyOperator([half(factor) for factor in op.factors])
            found.append(Coded(short.todense(), op.nbytes // 2))
    return nearest(a, found)


def coded_monarch(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    """Packed factors, of the best blocks and ranks."""
    found = []
    for blocks in BLOCKS:
        for bits in RATES:
            rank = min(int(8 * nbytes / (bits * blocks * sum(a.shape))), min(a.shape) // blocks)
            if rank:
                op = structures.monarch(a, (blocks, blocks), rank=rank, workers=1)
                with suppress(ValueError):  # of more bits than there are bytes for
                    packed = bitterfly.quantize(op, nbytes=nbytes, workers=1)
                    found.append(Coded(packed.todense(), packed.nbytes))
    return nearest(a, found)


def nearest(a: np.ndarray, found: list[Coded]) -> Coded:
    return min(found, key=lambda each: float(np.linalg.norm(each[0] - a)))


def monarch_and_rest(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    """A packed Monarch matrix of rank one, and window codes in the metric of what it leaves."""
    packed = bitterfly.quantize(structures.monarch(a, (4, 4), rank=1, workers=1), bits=4, workers=1)
    first = packed.todense()
    left = nbytes - packed.nbytes
    rest = bitterfly.quantize_dense(a - first, nbytes=left, metric=moments, rng=0, workers=1)
    return Coded(first + rest.todense(), packed.nbytes + rest.nbytes)


def cuts(a: np.ndarray, nbytes: int, moments: SecondMoments) -> Coded:
    op = bitterfly.cuts.matrix(a, nbytes=nbytes, rng=0, workers=1)
    return Coded(op.todense(), op.nbytes)


def windows(a: np.ndarray, nbytes: int, moments: SecondMoments, in_metric: bool) -> Coded:
    op = bitterfly.quantize_dense(a, nbytes=nbytes, metric=moments if in_metric else None, rng=0, workers=1)
    return Coded(op.todense(), op.nbytes)


FORMS: dict[str, Form] = {
    "window codes, in the metric": partial(windows, in_metric=True),
    "window codes": partial(windows, in_metric=False),
    "Monarch, coded, and codes of the rest": monarch_and_rest,
    "low rank, in the metric, coded": coded_in_metric,
    "low rank, coded": coded_low_rank,
    "tensor train, coded": train,
    "sum of Kronecker products, coded": kronecker,
    "signed cuts": cuts,
    "low rank, in the metric, float16": partial(low_rank, in_metric=True),
    "low rank, float16": partial(low_rank, in_metric=False),
    "Monarch, coded": coded_monarch,
    "Monarch, float16": monarch,
}
SLOW = {
    "low rank, in the metric, coded",
    "low rank, coded",
    "tensor train, coded",
    "sum of Kronecker products, coded",
}
UNTOUCHED = "as they were"
SOME, ERRORS_AT = "encoder.layer.3.", (0.125, 0.25)
# Those with which the whole model is judged; the others take as long as all of these.
WHOLE_FORMS = [name for name in FORMS if name not in SLOW]


def with_layers(whole: Whole, name: str, budget: float) -> dict[str, Any]:
    """What is known of the encoder with all linear layers in one form, and the mean errors of these."""
    shares, _ = whole.shares(TABLES, budget)
    found: list[list[float]] = []

    def make(part: Part) -> Coded:
        if part.name not in whole.moments:
            return coded(part, TABLES, shares[part], whole.moments)
        a = part.array()
        if name == UNTOUCHED:
            return Coded(a, shares[part])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # errors above a half
            dense, nbytes, _ = FORMS[name](a, shares[part], whole.moments[part.name])
        assert nbytes <= shares[part], (name, part.name, nbytes, shares[part])
        found.append(errors(a, dense, [whole.moments[part.name]]))
        return Coded(dense, nbytes)

    result = whole.of_parts(make, budget)
    if found:
        result |= dict(zip(("in metric", "error"), np.mean(found, axis=0).tolist(), strict=True))
    return result


def errors_of_some(
    weights: Mapping[str, np.ndarray], moments: Mapping[str, SecondMoments], form: str, budget: float
) -> dict[str, Any]:
    """The mean errors of the six matrices of one layer, each in this share of its bytes."""
    found = []
    for name, a in weights.items():
        if name.startswith(SOME) and name in moments:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                dense, nbytes, _ = FORMS[form](a, int(2 * budget * a.size), moments[name])
            assert nbytes <= 2 * budget * a.size, (form, name, nbytes)
            found.append(errors(a, dense, [moments[name]]))
    return dict(zip(("in metric", "error"), np.mean(found, axis=0).tolist(), strict=True))
