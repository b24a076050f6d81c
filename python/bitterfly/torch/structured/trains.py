"""Tensor trains and Kronecker products as layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import numpy as np
import torch

from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import Operator
from bitterfly.operators.kron import kron
from bitterfly.structures.multilevel import sizes_of
from bitterfly.structures.projections import kronecker
from bitterfly.structures.tensor_trains.decompositions import tensor_train
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator
from bitterfly.torch.structured.chains import checked_digits
from bitterfly.torch.structured.layer import StructuredLinear


class TensorTrain(StructuredLinear):
    """A tensor train matrix as a layer, see `structures.TensorTrainOperator`.

    Parameters
    ----------
    rows, columns : sequence of d integers
        ``m = m_1 ... m_d`` and ``n = n_1 ... n_d``, most significant digits first.
    ranks : int or sequence of d - 1 integers
        From ``from_dense``, at most what its unfoldings have; missing ones are zeros.
    bias, rng, dtype
        See `Butterfly`.

    Raises
    ------
    ValueError, TypeError
        Where sizes or ranks are not positive.

    Notes
    -----
    Novikov, Podoprikhin, Osokin, Vetrov, *Tensorizing neural networks* (NeurIPS 2015). ``from_dense`` truncates SVDs:
    its error is at most ``sqrt(d - 1)`` times the least.

    Examples
    --------
    >>> from bitterfly.torch import TensorTrain
    >>> TensorTrain([4, 4, 4], [4, 8, 4], ranks=3)
    TensorTrain(128, 64, bias=True, 0.0469 of the numbers)
    """

    def __init__(
        self,
        rows: Sequence[int],
        columns: Sequence[int],
        ranks: int | Sequence[int],
        *,
        bias: bool = True,
        rng: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        heights, widths, between = checked_digits(rows, columns, ranks)
        super().__init__(prod(widths), prod(heights), bias, rng, dtype)
        self._digits = heights, widths
        shapes = zip([1, *between], heights, widths, [*between, 1], strict=True)
        self._draw({f"core_{at}": shape for at, shape in enumerate(shapes)}, prod(between), rng)

    @classmethod
    def _like(cls, shape: tuple[int, int], *how: Any, **named: Any) -> Self:
        return cls(*how, **named)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        k, count, rest = len(x), len(x), self.in_features
        for core in self._numbers:  # vectors and digits done, rank and digit, digits to come
            r, m, n, s = core.shape
            rest //= n
            x = core.permute(1, 3, 0, 2).reshape(m * s, r * n) @ x.reshape(count, r * n, rest)
            count *= m
        return x.reshape(k, self.out_features)

    def _projected(self, a: Array) -> list[Array]:
        found = tensor_train(a, *self._digits, ranks=[core.shape[3] for core in self._numbers[:-1]]).cores
        sizes = [
            [own - has for own, has in zip(core.shape, x.shape, strict=True)]
            for core, x in zip(self._numbers, found, strict=True)
        ]
        return [np.pad(x, [(0, more) for more in each]) for x, each in zip(found, sizes, strict=True)]

    def _exported(self, numbers: list[Array]) -> TensorTrainOperator:
        return TensorTrainOperator(numbers)


class Kronecker(StructuredLinear):
    """A Kronecker product of two matrices as a layer: blocks ``B[i, j] C``.

    Parameters
    ----------
    outer, inner : (m, n) and (p, q)
        Shapes of B and of C: the layer has ``n q`` inputs and ``m p`` outputs.
    bias, rng, dtype
        See `Butterfly`.

    Raises
    ------
    ValueError, TypeError
        Where sizes are not positive.

    Notes
    -----
    ``from_dense`` is `structures.kronecker`, the nearest one as far as its power iteration finds it.

    Examples
    --------
    >>> from bitterfly.torch import Kronecker
    >>> Kronecker((8, 4), (16, 16))
    Kronecker(64, 128, bias=True, 0.0352 of the numbers)
    """

    outer: torch.Tensor
    inner: torch.Tensor

    def __init__(
        self,
        outer: tuple[int, int],
        inner: tuple[int, int],
        *,
        bias: bool = True,
        rng: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        (m, n), (p, q) = sizes_of(outer, "outer", 2), sizes_of(inner, "inner", 2)
        super().__init__(n * q, m * p, bias, rng, dtype)
        self._draw({"outer": (m, n), "inner": (p, q)}, 1, rng)

    @classmethod
    def _like(cls, shape: tuple[int, int], *how: Any, **named: Any) -> Self:
        return cls(*how, **named)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        y = self.outer @ (x.reshape(len(x), self.outer.shape[1], self.inner.shape[1]) @ self.inner.T)
        return y.reshape(len(x), self.out_features)

    def _projected(self, a: Array) -> list[Array]:
        op = kronecker(a, (self.inner.shape[0], self.inner.shape[1]))
        return [part.todense() for part in op.members]

    def _exported(self, numbers: list[Array]) -> Operator:
        return kron(*(ButterflyOperator([x.reshape(1, *x.shape, 1)]) for x in numbers))
