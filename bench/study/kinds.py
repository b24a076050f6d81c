"""Layers of a structure with at most a share of the numbers of two dense ones, and their numbers in few bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import bitterfly
from bench.torch.mnist import LAYERS, SIZES, dense
from bitterfly import Chain
from bitterfly.chains import families
from bitterfly.torch import BlockTensorTrain, Butterfly, Circulant, Kronecker, LowRank, Monarch, TensorTrain

SHAPES = tuple((m, n) for n, m in pairwise(SIZES[:3]))
ENTRIES = sum(m * n for m, n in SHAPES)
SIDE = 64  # rows of numbers in codes, which share a stream of bits
LEAST = 2048  # numbers from which codes are of use
ROOM = 1.01  # for what a structure has beside a power of two of numbers
FLOAT16 = 16.0  # bits

Make = Callable[[], list[nn.Module]]  # both layers


class Digits(NamedTuple):
    """How rows and columns of the two layers are split."""

    rows: tuple[list[int], list[int]]
    columns: list[int]

    def ranks(self, at: int, levels: Sequence[int]) -> list[int]:
        """Ranks of the junctions, no larger than the blocks that have them."""
        heights, widths = self.rows[at], self.columns
        most = [min(prod(heights[: k + 1]), prod(widths[k + 1 :])) for k in range(len(widths) - 1)]
        return [min(pair) for pair in zip(levels, most, strict=True)]

    def levels(self) -> Iterator[list[int]]:
        """Ranks, raised at one junction at a time."""
        junctions = len(self.columns) - 1
        for r in count(1):
            yield from ([r + 1] * more + [r] * (junctions - more) for more in range(junctions))


THREE = Digits(([8, 16, 8], [4, 16, 4]), [8, 16, 8])
FOURS = Digits(([4] * 5, [1] + [4] * 4), [4] * 5)


# ---- structures, each from few numbers to many ----


def butterflies() -> Iterator[Make]:
    for levels in FOURS.levels():

        def make(levels: Sequence[int] = levels) -> list[nn.Module]:
            patterns = (families.patterns(FOURS.rows[at], FOURS.columns, FOURS.ranks(at, levels)) for at in (0, 1))
            return [Butterfly(n, m, Chain(each)) for (m, n), each in zip(SHAPES, patterns, strict=True)]

        yield make


def block_trains() -> Iterator[Make]:
    for levels in THREE.levels():

        def make(levels: Sequence[int] = levels) -> list[nn.Module]:
            return [BlockTensorTrain(THREE.rows[at], THREE.columns, THREE.ranks(at, levels)) for at in (0, 1)]

        yield make


class MatrixTrain(TensorTrain):
    """Of three cores, multiplied as a matrix: faster from a rank of about ten on."""

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.einsum("xaib,bcjd,dekx->aceijk", *self._numbers).reshape(self.out_features, -1).T


def trains() -> Iterator[Make]:
    for rank in count(1):
        yield lambda rank=rank: [MatrixTrain(THREE.rows[at], THREE.columns, rank) for at in (0, 1)]


def monarchs() -> Iterator[Make]:
    """More blocks, up to 32 x 32 of them, and higher ranks."""
    for blocks, rank in ((1, 1), (2, 1), (1, 3), (4, 1), (2, 3), (8, 1), (4, 3), (16, 1), (8, 3)):
        yield lambda blocks=blocks, rank=rank: [Monarch(n, m, (blocks, blocks), rank) for m, n in SHAPES]
    for rank in range(1, 9):
        yield lambda rank=rank: [Monarch(n, m, (32, 32), rank) for m, n in SHAPES]


def low_ranks() -> Iterator[Make]:
    for rank in range(1, min(map(min, SHAPES)) + 1):
        yield lambda rank=rank: [LowRank(n, m, rank) for m, n in SHAPES]


def kroneckers() -> Iterator[Make]:
    for outer in ((32, 32), (16, 32), (16, 16), (8, 16), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)):
        yield lambda outer=outer: [Kronecker(outer, (m // outer[0], n // outer[1])) for m, n in SHAPES]


def circulants() -> Iterator[Make]:
    for block in (256, 128, 64, 32, 16, 8, 4, 2):
        yield lambda block=block: [Circulant(n, m, block) for m, n in SHAPES]


KINDS: dict[str, Callable[[], Iterator[Make]]] = {
    "low rank": low_ranks,
    "tensor train": trains,
    "block tensor train": block_trains,
    "Monarch": monarchs,
    "butterfly": butterflies,
    "Kronecker": kroneckers,
    "circulant blocks": circulants,
}


def numbers_of(layer: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the matrix of a layer."""
    return {name: x for name, x in layer.named_parameters() if name != "bias"}


def size_of(layers: Sequence[nn.Module]) -> int:
    return sum(x.numel() for layer in layers for x in numbers_of(layer).values())


def largest(kind: str, share: float) -> Make | None:
    """The last one with at most so many numbers, as a share of those of dense layers."""
    found: Make | None = None
    for make in KINDS[kind]():
        with torch.device("meta"):
            if size_of(make()) > ROOM * share * ENTRIES:
                break
        found = make
    return found


def structured(make: Make) -> nn.Sequential:
    model = dense()
    for at, layer in zip(LAYERS[:2], make(), strict=True):
        model[int(at)] = layer
    return model


# ---- few bits ----


def coded(x: np.ndarray, bits: float) -> tuple[np.ndarray, int]:
    """Any numbers in window codes, as a matrix of 64 rows, and their bytes; few ones, or all, in float16."""
    if bits == FLOAT16 or x.size < LEAST or x.size % SIDE:
        return x.astype(np.float16).astype(np.float32), 2 * x.size
    op = bitterfly.quantize_dense(x.reshape(SIDE, -1), bits=bits, code="window7", head=None, outliers=None, rng=0)
    return op.todense().reshape(x.shape), op.nbytes


def in_few_bits(model: nn.Sequential, bits: float) -> tuple[nn.Sequential, int]:
    """The model with the numbers of both layers in codes, and their bytes."""
    model, nbytes = copy.deepcopy(model), 0
    for at in LAYERS[:2]:
        for parameter in numbers_of(model.get_submodule(at)).values():
            found, taken = coded(parameter.detach().numpy(), bits)
            parameter.data = torch.from_numpy(np.ascontiguousarray(found))
            nbytes += taken
    return model, nbytes
