"""The linear layers of a sentence encoder as methods take them, and what these make of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh, svd

import bitterfly
from bench.dense.minilm import HEADS
from bench.dense.minilm import LAYERS as BLOCKS
from bitterfly import SecondMoments
from bitterfly.accuracy.metric import as_metric
from bitterfly.dense.rates import even_bytes

__all__ = ["BLOCKS", "HEADS", "Found", "Layers", "Method", "Triples", "half", "halves"]


class Found(NamedTuple):
    """Tensors that a method has changed, as they multiply, and the bytes of all layers."""

    tensors: dict[str, np.ndarray]
    nbytes: int


class Triples(NamedTuple):
    """``A = left @ right``, left orthonormal: the first columns are the best of their number in the metric.

    `sizes` are the norms of the rows of `right` in the metric.
    """

    left: np.ndarray
    right: np.ndarray
    sizes: np.ndarray

    def tail(self, rank: int) -> float:
        """What the first columns leave, relative to all."""
        return float(np.linalg.norm(self.sizes[rank:]) / np.linalg.norm(self.sizes))


class Layers:
    """All linear layers, the moments of their inputs, and the bytes that they may take together.

    Parameters
    ----------
    weights : mapping
        All tensors of the model.
    moments : mapping of names to SecondMoments
    losses : mapping of names to floats
        What the model loses by each layer alone in codes of two bits.
    nbytes : int
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        moments: Mapping[str, SecondMoments],
        losses: Mapping[str, float],
        nbytes: int = 0,
    ) -> None:
        self.weights, self.losses, self.nbytes = weights, losses, nbytes
        self.matrices = {name: weights[name].astype(np.float64) for name in moments}
        self.moments = {name: moments[name].matrix for name in moments}
        self.names = list(self.matrices)

    def within(self, nbytes: int) -> Layers:
        """Return the same with other bytes, and what was found of them."""
        out = object.__new__(Layers)
        out.__dict__ |= self.__dict__ | {"nbytes": nbytes}
        return out

    def read(self, path: Path) -> Layers:
        """Return itself, once what all methods share is known; the errors of probes are kept in a file."""
        if path.exists():
            self.probes: dict[str, float] = json.loads(path.read_text())
        else:
            self.probes = {name: self._probe(name) for name in self.names}
            path.write_text(json.dumps(self.probes))
        assert self.triples.keys() <= self.probes.keys()
        return self

    @property
    def share(self) -> float:
        """Bytes, of those of half floats."""
        return self.nbytes / (2 * sum(w.size for w in self.matrices.values()))

    def own(self, *names: str) -> int:
        """Return the bytes of some layers where all have the same share."""
        return int(2 * self.share * sum(self.matrices[name].size for name in names))

    @cached_property
    def triples(self) -> dict[str, Triples]:
        """The triples of each layer in the metric of its inputs."""
        return {name: triples(w, self.moments[name]) for name, w in self.matrices.items()}

    def _probe(self, name: str) -> float:
        """Return the squared error in the metric of codes of two bits, of which the loss is."""
        w = self.matrices[name].astype(np.float32)
        op = bitterfly.quantize_dense(w, nbytes=even_bytes(w.shape, 4), metric=self.moments[name], rng=0)
        return op.metric_error**2

    def error(self, name: str, found: np.ndarray) -> float:
        """Return the error of a layer in the metric of its inputs."""
        w = self.matrices[name]
        metric = as_metric(self.moments[name], w.shape[1])
        assert metric is not None
        squares = [np.einsum("ij,ij", x @ metric, x) for x in (w - found, w)]
        return float(np.sqrt(max(squares[0], 0) / squares[1]))


Method = Callable[[Layers], Found]


def triples(w: np.ndarray, moments: np.ndarray) -> Triples:
    """Return the left singular vectors of ``W M``, where the moments are ``M M^T``, and what they leave in W."""
    values, vectors = eigh(moments)
    root = vectors * np.sqrt(np.maximum(values, 0))
    left, sizes, _ = svd(w @ root, full_matrices=False)
    return Triples(left, left.T @ w, sizes)


def half(x: np.ndarray) -> np.ndarray:
    """Round to half precision."""
    return x.astype(np.float16).astype(np.float64)


def halves(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the product of two factors in half precision, their columns and rows of one length."""
    roots = np.sqrt(np.linalg.norm(right, axis=1) / np.linalg.norm(left, axis=0))
    return half(left * roots) @ half(right / roots[:, None])
