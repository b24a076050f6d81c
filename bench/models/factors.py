"""Published factors of layers: singular triples, shared bases, columns of a cosine transform, sparse combinations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.fft import dct
from scipy.linalg import eigh, eigvalsh, solve

import bitterfly
from bench.models.layers import BLOCKS, Found, Layers, Triples, half, halves, triples
from bitterfly import structures
from bitterfly.dense.low_ranks import coded as low_ranks
from bitterfly.quantization.knapsack import Knapsack, Option

KINDS = (
    *(f"attention.self.{part}" for part in ("query", "key", "value")),
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
Pair = Callable[[Triples, np.ndarray, int], tuple[np.ndarray, int]]


def of_layer(block: int, kind: str) -> str:
    return f"encoder.layer.{block}.{kind}.weight"


# ---- two factors in so many bytes ----


def in_halves(found: Triples, moments: np.ndarray, nbytes: int) -> tuple[np.ndarray, int]:
    """Return as many triples as half floats take so many bytes of, and the bytes."""
    m, n = len(found.left), found.right.shape[1]
    rank = nbytes // (2 * (m + n))
    return halves(found.left[:, :rank], found.right[:rank]), 2 * rank * (m + n)


def in_codes(found: Triples, moments: np.ndarray, nbytes: int) -> tuple[np.ndarray, int]:
    """Return triples in window codes, as many and in as many bits as err the least, and the bytes."""
    a = (found.left @ found.right).astype(np.float32)
    op = low_ranks.in_codes(a, nbytes=nbytes, metric=moments, rng=np.random.default_rng(0))
    return op.todense().astype(np.float64), op.nbytes


def quantized(x: np.ndarray, moments: np.ndarray, nbytes: int) -> Any:
    """Return codes in the metric, without anything beside them."""
    return bitterfly.quantize_dense(
        x.astype(np.float32), metric=moments, nbytes=nbytes, head=None, outliers=None, rng=0
    )


# ---- one layer by itself ----


def low_rank(layers: Layers, pair: Pair, metric: str = "inputs") -> Found:
    """The leading triples: of the matrix, of its columns times the roots of their inputs' energies, or in the metric.

    Yuan et al., ASVD (2023): columns over the activations' sizes. Wang, Zheng, Wan, Zhang, SVD-LLM (ICLR 2025): the
    factor of the second moments. Kaushal, Vaidhya, Rish, LoRD (2023): eigenvectors of the outputs, which is the same.
    """
    dense, taken = {}, 0
    for name, w in layers.matrices.items():
        moments = layers.moments[name]
        own = layers.triples[name]
        if metric != "inputs":
            own = triples(w, np.diag(np.diag(moments)) if metric == "diagonal" else np.eye(w.shape[1]))
        dense[name], nbytes = pair(own, moments, layers.own(name))
        taken += nbytes
        if pair is in_halves and metric == "inputs":
            rank = nbytes // (2 * sum(w.shape))
            assert abs(layers.error(name, dense[name]) / own.tail(rank) - 1) < 0.01, name  # the tail, and half floats
    check = layers.names[0]
    op = structures.low_rank(layers.matrices[check], rank=20, metric=layers.moments[check], method="svd")
    assert abs(op.metric_error / layers.triples[check].tail(20) - 1) < 1e-6
    return Found(dense, taken)


def one_threshold(layers: Layers, whitened: bool) -> Found:
    """Ranks by one threshold on singular values over the largest of their layer; where that saves nothing, all of it.

    Jaiswal et al., WeLore (2024). `whitened`: the singular values, and the triples, in the metric of the inputs.
    """
    eyes = {name: np.eye(w.shape[1]) for name, w in layers.matrices.items()}
    own = layers.triples if whitened else {name: triples(w, eyes[name]) for name, w in layers.matrices.items()}

    def bytes_at(threshold: float) -> dict[str, int]:
        ranks = {name: max(1, int(np.sum(each.sizes > threshold * each.sizes[0]))) for name, each in own.items()}
        return {name: 2 * min(ranks[name] * sum(w.shape), w.size) for name, w in layers.matrices.items()}

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(bytes_at(middle).values()) <= layers.nbytes else (middle, high)
    dense = {}
    for name, nbytes in bytes_at(high).items():
        w = layers.matrices[name]
        dense[name] = half(w) if nbytes == 2 * w.size else in_halves(own[name], layers.moments[name], nbytes)[0]
    return Found(dense, sum(bytes_at(high).values()))


def by_losses(layers: Layers, pair: Pair) -> Found:
    """Triples in the metric, as many of each layer as the losses of probes ask for."""
    options = []
    for name, w in layers.matrices.items():
        weight, own = layers.losses[name] / layers.probes[name], layers.triples[name]
        ranks = range(4, min(w.shape) + 1, 4)
        some = [Option(2 * k * sum(w.shape), weight * own.tail(k) ** 2, k) for k in ranks if k * sum(w.shape) < w.size]
        options.append([*some, Option(2 * w.size, 0.0, 0)])
    chosen = Knapsack(options).in_bytes(layers.nbytes)
    assert chosen is not None
    dense = {}
    for name, option in zip(layers.names, chosen, strict=True):
        whole = half(layers.matrices[name])
        dense[name] = pair(layers.triples[name], layers.moments[name], option.nbytes)[0] if option.width else whole
    return Found(dense, sum(option.nbytes for option in chosen))


# ---- one basis for several layers ----


def adjacent(layers: Layers) -> list[list[str]]:
    """Return pairs of neighbouring blocks."""
    return [[of_layer(at + k, kind) for k in (0, 1)] for kind in KINDS for at in range(0, BLOCKS, 2)]


def same_inputs(layers: Layers) -> list[list[str]]:
    """Return query, key and value of each block together, and all others by pairs of blocks."""
    together = [[of_layer(at, kind) for kind in KINDS[:3]] for at in range(BLOCKS)]
    return together + [each for each in adjacent(layers) if not any(kind in each[0] for kind in KINDS[:3])]


def clustered(layers: Layers) -> list[list[str]]:
    """Return the pairs of blocks that leave the least beside a basis of half their triples, for each kind."""
    out = []
    for kind in KINDS:
        names = [of_layer(at, kind) for at in range(BLOCKS)]
        lost = np.zeros((BLOCKS, BLOCKS))
        for i in range(BLOCKS):
            for j in range(i):
                a, moments = stacked(layers, [names[i], names[j]])
                rank = layers.own(names[i], names[j]) // (2 * sum(a.shape))
                lost[i, j] = energies(a, moments)[rank:].sum()
        best = min(matchings(list(range(BLOCKS))), key=lambda pairs: sum(lost[max(p), min(p)] for p in pairs))
        out += [[names[i], names[j]] for i, j in best]
    return out


def matchings(items: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Yield all ways to make pairs."""
    if not items:
        yield []
    for at in range(1, len(items)):
        rest = items[1:at] + items[at + 1 :]
        yield from ([(items[0], items[at]), *others] for others in matchings(rest))


def stacked(layers: Layers, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return some layers one below the other, and the sum of their moments, each over the energy of its outputs."""
    parts, moments = [], np.zeros_like(layers.moments[names[0]])
    for name in names:
        parts.append(layers.matrices[name])
        moments = moments + layers.moments[name]
    return np.concatenate(parts), moments


def energies(a: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Return the squared singular values of ``A M``, the largest first."""
    if a.shape[0] <= a.shape[1]:
        values = eigvalsh(a @ moments @ a.T)
    else:
        w, v = eigh(moments)
        root = v * np.sqrt(np.maximum(w, 0))
        values = eigvalsh(root.T @ (a.T @ a) @ root)
    return np.maximum(values[::-1], 0)


def shared_bases(layers: Layers, together: Callable[[Layers], list[list[str]]], pair: Pair) -> Found:
    """One basis of several layers, and coefficients of each: triples of all of them, one below the other.

    Wang et al., Basis Sharing (ICLR 2025), in the sum of the metrics. Each metric is at most the sum: what all layers
    lose in their own is at most what the triples leave.
    """
    dense: dict[str, np.ndarray] = {}
    taken = 0
    for names in together(layers):
        a, moments = stacked(layers, names)
        own = triples(a, moments)
        product, nbytes = pair(own, moments, layers.own(*names))
        taken += nbytes
        cuts = np.cumsum([len(layers.matrices[name]) for name in names])[:-1]
        dense |= dict(zip(names, np.split(product, cuts), strict=True))
        if pair is in_halves:
            rank = nbytes // (2 * sum(a.shape))
            lost = [layers.matrices[name] - dense[name] for name in names]
            squares = sum(np.einsum("ij,ij", x @ layers.moments[name], x) for x, name in zip(lost, names, strict=True))
            assert squares <= 1.001 * np.sum(np.square(own.sizes[rank:])), names  # half floats beside it
    return Found(dense, taken)


# ---- bases that take no bytes, and sparse ones ----


def cosine_columns(layers: Layers, kept: float) -> Found:
    """Columns of the matrix times a cosine transform, those of most energy, fitted in the metric.

    Modoranu et al. (2025) choose columns of the transform so for gradients. `kept`: the share of columns; in half
    floats where it is that of the bytes, else in window codes.
    """
    dense, taken = {}, 0
    for name, w in layers.matrices.items():
        m, n = w.shape
        nbytes, moments = layers.own(name), layers.moments[name]
        q = dct(np.eye(n), axis=0, norm="ortho").T
        turned = w @ q
        assert abs(np.linalg.norm(turned) / np.linalg.norm(w) - 1) < 1e-12
        in_basis = q.T @ moments @ q
        count = (nbytes - n // 8) // (2 * m) if kept == 0 else int(kept * n)
        score = np.sum(np.square(turned), axis=0) * np.diag(in_basis)
        some = np.sort(np.argsort(-score)[:count])
        seen = in_basis[np.ix_(some, some)]
        fitted = solve(seen, (turned @ in_basis[:, some]).T, assume_a="pos").T
        if kept == 0:
            coefficients, own = half(fitted), 2 * fitted.size
        else:
            op = quantized(fitted, seen, nbytes=nbytes - n // 8)
            coefficients, own = op.todense(), op.nbytes
        dense[name] = coefficients @ q[:, some].T
        taken += own + n // 8
    return Found(dense, taken)


def sparse_codes(layers: Layers, rounds: int = 6) -> Found:
    """Rows as combinations of half the atoms of a dictionary each, both fitted in the metric.

    Shopkhoev et al., CoSpaDi (2025): twice as many atoms as a row takes, half floats, one bit for each that it might
    take. Here atoms are found a few at a time by their inner products with what is left (orthogonal matching pursuit,
    in generalized form), the dictionary by least squares (Engan et al., MOD, 1999) in place of K-SVD.
    """
    dense, taken = {}, 0
    for name, w in layers.matrices.items():
        m, n = w.shape
        nbytes, moments = layers.own(name), layers.moments[name]
        count = int(nbytes / (2 * (2 * n + m) + m / 4))
        atoms = starting(layers.triples[name], 2 * count)
        best: tuple[float, np.ndarray] | None = None
        for _ in range(rounds):
            codes = pursued(w, atoms, moments, count)
            atoms = solve(codes.T @ codes + 1e-9 * np.eye(len(atoms)), codes.T @ w, assume_a="pos")
            found = half(codes) @ half(atoms)
            error = layers.error(name, found)
            best = (error, found) if best is None or error < best[0] else best
        assert best is not None
        dense[name] = best[1]
        taken += 2 * (2 * count * n + m * count) + m * count // 4
    return Found(dense, taken)


def starting(own: Triples, count: int) -> np.ndarray:
    """Return combinations of the leading triples."""
    rank = min(count, len(own.sizes))
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((count, rank)) + 4 * np.eye(count, rank)
    basis = own.right[:rank] / own.sizes[:rank, None]
    return mixed @ basis


def pursued(w: np.ndarray, atoms: np.ndarray, moments: np.ndarray, count: int, steps: int = 6) -> np.ndarray:
    """Return for each row so many coefficients of atoms, the others zero, chosen in a few steps."""
    gram = atoms @ moments @ atoms.T
    gram += 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    lengths = np.sqrt(np.diag(gram))
    inner = w @ moments @ atoms.T
    codes = np.zeros((len(w), len(atoms)))
    for step in range(1, steps + 1):
        scores = np.abs(inner - codes @ gram) / lengths
        scores[codes != 0] = np.inf
        size = count * step // steps
        some = np.argpartition(-scores, size - 1, axis=1)[:, :size]
        for first in range(0, len(w), 64):
            rows = slice(first, first + 64)
            own = some[rows]
            blocks = gram[own[:, :, None], own[:, None, :]]
            found = np.linalg.solve(blocks, np.take_along_axis(inner[rows], own, 1)[..., None])[..., 0]
            codes[rows] = 0
            np.put_along_axis(codes[rows], own, found, 1)
    return codes
