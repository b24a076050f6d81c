"""Published ways to code weights, beside window codes and on top of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cholesky, eigh

import bitterfly
from bench.dense.minilm import plain_gptq
from bench.models.factors import in_codes, in_halves
from bench.models.layers import Found, Layers, half
from bitterfly import SecondMoments
from bitterfly.dense.low_ranks.plans import Plans, least_bytes
from bitterfly.models.rates import curve, shared
from bitterfly.structures import InverseFisherOperator

DAMPING = 0.01  # of the mean of the diagonal of moments


# ---- window codes ----


def windows(layers: Layers, **how: Any) -> Found:
    """Window codes of one rate for all layers: `quantize_dense`."""
    dense, taken = {}, 0
    for name, w in layers.matrices.items():
        asked = {"metric": layers.moments[name], "rng": 0, **how}
        op = bitterfly.quantize_dense(w.astype(np.float32), nbytes=layers.own(name), **asked)
        dense[name], taken = op.todense(), taken + op.nbytes
    return Found(dense, taken)


def by_losses(layers: Layers, **how: Any) -> Found:
    """Window codes, the bytes of each layer by the losses of probes."""
    curves = [curve(w.shape, 1) for w in layers.matrices.values()]
    shares = shared(curves, [layers.losses[name] for name in layers.names], layers.nbytes)
    dense, taken = {}, 0
    for share, (name, w) in zip(shares, layers.matrices.items(), strict=True):
        asked = {"metric": layers.moments[name], "rng": 0, **how}
        op = bitterfly.quantize_dense(w.astype(np.float32), nbytes=share.nbytes, **asked)
        dense[name], taken = op.todense(), taken + op.nbytes
    return Found(dense, taken)


def affine(layers: Layers) -> Found:
    """Window codes of ``W P^-1``, P a Kronecker product of two matrices in half precision, stored beside them.

    Sun et al., FlatQuant (ICML 2025), who learn P by gradients. In codes of columns that make good for each other,
    errors count ``|W P^-1|^2`` where P has determinant one: the least is found factor by factor, in closed form (the
    flip-flop of Dutilleul, 1999, for Kronecker covariances).
    """
    dense, taken = {}, 0
    for name, w in layers.matrices.items():
        first, second = transform(w)
        p = np.kron(first, second)
        inverse = np.kron(np.linalg.inv(first), np.linalg.inv(second))
        assert np.allclose(w @ inverse @ p, w, atol=1e-9 * np.abs(w).max())
        beside = 2 * (first.size + second.size)
        moments = p @ layers.moments[name] @ p.T
        a = (w @ inverse).astype(np.float32)
        op = bitterfly.quantize_dense(a, nbytes=layers.own(name) - beside, metric=(moments + moments.T) / 2, rng=0)
        dense[name], taken = op.todense() @ p, taken + op.nbytes + beside
    return Found(dense, taken)


def transform(w: np.ndarray, rounds: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return P1 and P2 of determinant about one, for which ``|W (P1 x P2)^-1|`` is least, in half precision."""
    n = w.shape[1]
    p = max(d for d in range(1, int(n**0.5) + 1) if n % d == 0)
    gram = (w.T @ w).reshape(p, n // p, p, n // p)
    s2 = np.eye(n // p)
    for _ in range(rounds):
        s1 = _unimodular(np.linalg.inv(np.einsum("iajb,ba->ij", gram, s2)))
        s2 = _unimodular(np.linalg.inv(np.einsum("iajb,ji->ab", gram, s1)))
    assert np.einsum("iajb,ji,ba->", gram, s1, s2) <= np.sum(np.square(w)) * (1 + 1e-9)
    return half(_root(s1)), half(_root(s2))


def _unimodular(s: np.ndarray) -> np.ndarray:
    return s / np.exp(np.linalg.slogdet(s)[1] / len(s))


def _root(s: np.ndarray) -> np.ndarray:
    """Return ``S^-1/2``."""
    values, vectors = eigh(s)
    out: np.ndarray = (vectors / np.sqrt(values)) @ vectors.T
    return out


# ---- integers, and numbers left out ----


def gptq(layers: Layers) -> Found:
    """Integers of a scale and a zero for each group of columns, error feedback: Frantar et al., GPTQ (ICLR 2023).

    As many bits as fit, in groups as small as fit beside them.
    """
    bits, group = max(
        (bits, -group)
        for bits in range(1, 9)
        for group in (32, 64, 128, 384)
        if bits + (16 + bits) / group <= 16 * layers.share
    )
    moments = {name: SecondMoments.of(x, 1) for name, x in layers.moments.items()}
    dense = {name: plain_gptq(w, moments[name], bits, -group) for name, w in layers.matrices.items()}
    return Found(dense, int(sum(w.size for w in dense.values()) * (bits + (16 + bits) / -group) / 8))


def outliers_apart(layers: Layers) -> Found:
    """Columns of the largest inputs in half floats, all else in integers over the largest number of the row.

    Dettmers et al., LLM.int8() (NeurIPS 2022), there of 8 bits: one column in a hundred.
    """
    bits = _bits(layers, lambda bits: bits + (16 - bits) / 90 + 16 / 384)
    dense, taken = {}, 0
    for name, w in layers.matrices.items():
        m, n = w.shape
        apart = np.argsort(-np.diag(layers.moments[name]))[: -(-n // 100)]
        found = np.delete(w, apart, axis=1)
        scale = half(np.abs(found).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1 or 1))
        whole = np.clip(np.rint(w / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale
        whole[:, apart] = half(w[:, apart])
        dense[name] = whole
        taken += m * (n - len(apart)) * bits // 8 + 2 * m * len(apart) + 2 * m + 2 * len(apart)
    return Found(dense, taken)


def _bits(layers: Layers, stored: Any) -> int:
    """Return the most bits, of which those that are stored for a number fit the share."""
    return max(bits for bits in range(1, 17) if stored(bits) <= 16 * layers.share or bits == 1)


def pruned(layers: Layers, block: int = 128) -> Found:
    """The numbers that count most in half floats, one bit for each that says where; the others make good for the rest.

    Frantar, Alistarh, SparseGPT (ICML 2023): the optimal brain surgeon, column by column.
    """
    dense, taken = {}, 0
    density = layers.share - 1 / 16
    for name, w in layers.matrices.items():
        upper = cholesky(inverse_of(layers.moments[name]))
        left, out = w.copy(), np.zeros_like(w)
        for first in range(0, w.shape[1], block):
            own = slice(first, first + block)
            scores = np.square(left[:, own] / np.diag(upper)[own])
            least = np.partition(scores.ravel(), -int(density * scores.size))[-int(density * scores.size)]
            for j in range(w.shape[1])[own]:
                out[:, j] = np.where(scores[:, j - first] >= least, half(left[:, j]), 0)
                left[:, j + 1 :] -= np.outer((left[:, j] - out[:, j]) / upper[j, j], upper[j, j + 1 :])
        dense[name] = out
        taken += 2 * np.count_nonzero(out) + w.size // 8
    return Found(dense, int(taken))


def inverse_of(moments: np.ndarray) -> np.ndarray:
    """Return the inverse of damped moments."""
    values, vectors = eigh(moments)
    gradients = (vectors * np.sqrt(np.maximum(values, 0) * len(moments))).T
    op = InverseFisherOperator(gradients, damping=DAMPING * float(np.mean(np.diag(moments))))
    dense: np.ndarray = op.todense()
    return (dense + dense.T) / 2


# ---- the best structure of each layer ----

STRUCTURES = ("codes", "low rank", "low rank in codes")


def best_structures(layers: Layers, among: tuple[str, ...] = STRUCTURES) -> Found:
    """Of each layer codes, triples in half floats or triples in codes, by the least sum of predicted losses.

    ROCKET (2025) so solves a knapsack of structures by dynamic programming.
    """
    plans = [plans_of(layers, name, among) for name in layers.names]
    chosen = least_sum(plans, layers.nbytes)
    dense, taken = {}, 0
    for name, (nbytes, _, structure) in zip(layers.names, chosen, strict=True):
        w, moments = layers.matrices[name], layers.moments[name]
        if structure == "codes":
            op = bitterfly.quantize_dense(w.astype(np.float32), nbytes=nbytes, metric=moments, rng=0)
            dense[name], own = op.todense(), op.nbytes
        else:
            pair = in_halves if structure == "low rank" else in_codes
            dense[name], own = pair(layers.triples[name], moments, nbytes)
        taken += own
    return Found(dense, taken)


Plan = tuple[int, float, str]


def plans_of(layers: Layers, name: str, among: tuple[str, ...]) -> list[Plan]:
    """Return bytes, the loss to be expected and the structure of some ways to store a layer."""
    w, own = layers.matrices[name], layers.triples[name]
    m, n = w.shape
    unit, codes = layers.losses[name] / layers.probes[name], curve(w.shape, 1)
    factors = Plans(w, layers.moments[name])
    plans: list[Plan] = []
    for bits in (*np.arange(0.4, 4, 0.2), *np.arange(4, 9, 0.5)):
        nbytes = int(bits * w.size / 8)
        if "codes" in among and nbytes >= codes.nbytes[0]:
            plans.append((nbytes, layers.losses[name] * codes.square(nbytes), "codes"))
        if "low rank" in among and (rank := nbytes // (2 * (m + n))) > 0:
            plans.append((nbytes, unit * own.tail(rank) ** 2, "low rank"))
        if "low rank in codes" in among and nbytes >= least_bytes(w.shape):
            plans.append((nbytes, unit * factors.square(nbytes), "low rank in codes"))
    return plans


def least_sum(plans: list[list[Plan]], nbytes: int, unit: int = 1024) -> list[Plan]:
    """Return one plan of each layer, of the least sum of losses in at most so many bytes."""
    room = nbytes // unit
    least = np.zeros(room + 1)
    choices = []
    for options in plans:
        tried = np.full((len(options), room + 1), np.inf)
        for at, (size, loss, _) in enumerate(options):
            taken = -(-size // unit)
            if taken <= room:
                tried[at, taken:] = least[: room + 1 - taken] + loss
        choices.append(np.argmin(tried, axis=0))
        least = np.min(tried, axis=0)
    assert np.isfinite(least[room])
    chosen: list[Plan] = []
    for options, choice in zip(plans[::-1], choices[::-1], strict=True):
        plan = options[choice[room]]
        chosen.append(plan)
        room -= -(-plan[0] // unit)
    return chosen[::-1]
