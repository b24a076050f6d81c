"""Which tensors of a model are coded, as which matrices, and in how many parts."""

from __future__ import annotations

import re
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from bitterfly.inputs import Array
from bitterfly.models.tensors import FLOATS, Tensor

_LEAST_SIDE, _LEAST_SIZE = 16, 4096  # of smaller matrices, what stands beside codes is too much
_TABLE = re.compile(r"embed|\bwte\b|\bwpe\b|vocab|lookup", re.IGNORECASE)
_TALL = 16  # rows for each column, of which a matrix is a table whatever its name
_PARTED = 4096  # rows of a table from which it is coded in parts
_SHARES = (8, 4, 2)  # where the parts of a table begin: at these fractions of its rows
_PANEL = 64  # rows of codes
_LOOKED_AT = 1 << 20  # entries at once


class Part(NamedTuple):
    """Rows of a tensor that are coded by themselves."""

    name: str
    kind: str
    tensor: Tensor
    first: int
    end: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return self.end - self.first, prod(self.tensor.shape[1:])

    def array(self) -> Array:
        """Return the matrix."""
        return self.tensor.array(slice(self.first, self.end)).reshape(self.shape)


def kind_of(name: str, tensor: Tensor, has_moments: bool = False) -> str:
    """Return "linear", "table", "convolution", or "plain" for what is left alone.

    Tables are looked up row by row: matrices that are called so and have no inputs, or are very tall.
    """
    if tensor.dtype not in FLOATS or len(tensor.shape) < 2 or tensor.nbytes == 0:
        return "plain"
    m, n = tensor.shape[0], prod(tensor.shape[1:])
    if min(m, n) < _LEAST_SIDE or m * n < _LEAST_SIZE:
        return "plain"
    if len(tensor.shape) > 2:
        return "convolution"
    return "table" if not has_moments and (_TABLE.search(name) or m >= _TALL * n) else "linear"


def parts_of(name: str, kind: str, tensor: Tensor) -> list[Part]:
    """Return the parts of a tensor: one, or of long tables four.

    Vocabularies are ordered by frequency, most of them: what the first rows lose counts more than what the last do.
    """
    m = tensor.shape[0]
    firsts = [0]
    if kind == "table" and m >= _PARTED:
        firsts += [-(-m // (share * _PANEL)) * _PANEL for share in _SHARES]
    return [Part(name, kind, tensor, first, end) for first, end in pairwise([*firsts, m])]


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor has no infinities and NaNs."""
    rows = max(_LOOKED_AT // prod(tensor.shape[1:]), 1)
    parts = (tensor.array(slice(first, first + rows)) for first in range(0, tensor.shape[0], rows))
    return all(bool(np.isfinite(part).all()) for part in parts)
