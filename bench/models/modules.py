"""Published compressions of pairs of layers, which keep their outer shapes: MoDeGPT's three kinds of modules.

Lin, Gao, Smith, Patel, Tuli, Shen, Jin, Hsu, MoDeGPT (ICLR 2025): Nystroem's method for the layers around a
nonlinearity, columns of both sides for query and key, one decomposition for value and output of each head. What is not
kept is zero here; its bytes do not count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import block_diag, solve

from bench.models.factors import of_layer, quantized
from bench.models.layers import BLOCKS, HEADS, Found, Layers, half, triples

Store = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, int]]

DAMPING = 1e-4  # of the mean of the diagonal: what leverage is counted beside


def modules(layers: Layers, kept: float) -> Found:
    """All modules: the share `kept` of hidden numbers, in window codes; 0: the share of the bytes, in half floats."""
    share = kept or layers.share
    tensors: dict[str, np.ndarray] = {}
    taken = 0
    for block in range(BLOCKS):
        for module in (hidden, query_and_key, value_and_output):
            changed, parts = module(layers, block, share)
            room = layers.own(*parts)
            total = sum(part[0].size for part in parts.values())
            for name, (matrix, moments, rows, columns) in parts.items():
                stored, nbytes = _stored(matrix, moments, room * matrix.size // total, kept)
                tensors[name] = np.zeros(layers.matrices[name].shape)
                tensors[name][np.ix_(rows, columns)] = stored
                taken += nbytes
            tensors |= changed
    return Found(tensors, taken)


Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # a matrix, its metric, its rows and columns
Module = tuple[dict[str, np.ndarray], dict[str, Part]]


def _stored(x: np.ndarray, moments: np.ndarray, nbytes: int, kept: float) -> tuple[np.ndarray, int]:
    if kept == 0:
        return half(x), 2 * x.size
    op = quantized(x, moments, nbytes=nbytes)
    return op.todense(), op.nbytes


def hidden(layers: Layers, block: int, share: float) -> Module:
    """Hidden numbers of most ridge leverage, and the layer after them fitted to all: exact where all are kept."""
    up, down = (of_layer(block, kind) for kind in ("intermediate.dense", "output.dense"))
    moments, after = layers.moments[down], layers.matrices[down]
    n = len(moments)
    damped = moments + DAMPING * np.trace(moments) / n * np.eye(n)
    leverage = np.einsum("ij,ji->i", moments, np.linalg.inv(damped))
    some = np.sort(np.argsort(-leverage)[: int(share * n)])
    seen = moments[np.ix_(some, some)]
    fitted = solve(seen, moments[some] @ after.T, assume_a="pos").T
    inputs, outputs = np.arange(layers.matrices[up].shape[1]), np.arange(len(after))
    parts = {
        up: (layers.matrices[up][some], layers.moments[up], some, inputs),
        down: (fitted, seen, outputs, some),
    }
    bias = np.zeros(n)
    bias[some] = layers.weights[_bias(up)][some]
    return {_bias(up): bias}, parts


def query_and_key(layers: Layers, block: int, share: float) -> Module:
    """Of each head the numbers of most energy on both sides."""
    names = [of_layer(block, f"attention.self.{part}") for part in ("query", "key")]
    x, biases = [layers.matrices[name] for name in names], [layers.weights[_bias(name)] for name in names]
    sizes = [np.sqrt(np.einsum("ij,jk,ik->i", w, layers.moments[name], w)) for w, name in zip(x, names, strict=True)]
    scores = (sizes[0] * sizes[1]).reshape(HEADS, -1)
    width = scores.shape[1]
    best = np.sort(np.argsort(-scores, axis=1)[:, : int(share * width)], axis=1)
    some = (best + width * np.arange(HEADS)[:, None]).ravel()
    inputs = np.arange(x[0].shape[1])
    parts = {name: (w[some], layers.moments[name], some, inputs) for name, w in zip(names, x, strict=True)}
    kept = np.isin(np.arange(len(x[0])), some)
    return {_bias(name): np.where(kept, bias, 0) for name, bias in zip(names, biases, strict=True)}, parts


def value_and_output(layers: Layers, block: int, share: float) -> Module:
    """Of each head the best product of fewer numbers in the metric of the inputs: exact where all are kept."""
    value, output = (of_layer(block, kind) for kind in ("attention.self.value", "attention.output.dense"))
    v, o, moments = layers.matrices[value], layers.matrices[output], layers.moments[value]
    width = len(v) // HEADS
    count = int(share * width)
    lefts, rights, maps = [], [], []
    for head in range(HEADS):
        own = slice(head * width, (head + 1) * width)
        found = triples(o[:, own] @ v[own], moments)
        turn = o[:, own].T @ found.left[:, :count]  # value' = turn^T value, output' = left
        assert count < width or np.allclose(found.left[:, :count] @ turn.T, o[:, own], atol=1e-9)
        lefts.append(found.left[:, :count])
        rights.append(turn.T @ v[own])
        maps.append(turn)
    turn = block_diag(*maps)
    some = (np.arange(count) + width * np.arange(HEADS)[:, None]).ravel()
    bias = np.zeros(len(v))
    bias[some] = turn.T @ layers.weights[_bias(value)]
    seen = turn.T @ layers.moments[output] @ turn
    inputs, outputs = np.arange(v.shape[1]), np.arange(len(o))
    return {_bias(value): bias}, {
        value: (np.concatenate(rights), moments, some, inputs),
        output: (np.concatenate(lefts, axis=1), seen, outputs, some),
    }


def checked(layers: Layers) -> None:
    """Assert that modules of which all is kept are as they were."""
    _, parts = hidden(layers, 0, 1.0)
    name = of_layer(0, "output.dense")
    assert np.allclose(parts[name][0], layers.matrices[name], atol=1e-5 * np.abs(layers.matrices[name]).max())
    _, parts = value_and_output(layers, 0, 1.0)
    for head in range(HEADS):
        own = slice(head * 32, (head + 1) * 32)
        v, o = (of_layer(0, kind) for kind in ("attention.self.value", "attention.output.dense"))
        before, after = layers.matrices[o][:, own] @ layers.matrices[v][own], parts[o][0][:, own] @ parts[v][0][own]
        assert np.allclose(before, after, atol=1e-9 * np.abs(before).max())


def _bias(name: str) -> str:
    return name.replace(".weight", ".bias")
