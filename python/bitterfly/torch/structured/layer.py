"""What linear layers of a structure share: sizes, bias, variance at the start, and the way from and to matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from bitterfly.inputs import Array, as_count
from bitterfly.operators.contract import Operator
from bitterfly.powers import near_one
from bitterfly.torch.products import array_of, tensor_of


class StructuredLinear(nn.Module):
    """A layer ``y = x A^T + b`` whose matrix A has a structure, with its numbers as parameters.

    At the start, entries of A have mean zero and the variance ``1 / (3 n)``, and those of b are uniform within
    ``1 / sqrt(n)``, as `torch.nn.Linear` has them.

    Attributes
    ----------
    in_features, out_features : int
        Columns and rows of A.
    bias : torch.nn.Parameter or None
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool,
        rng: torch.Generator | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._dtype = dtype or torch.get_default_dtype()
        if not isinstance(self._dtype, torch.dtype) or not self._dtype.is_floating_point:
            raise TypeError(f"dtype: expected one of real floating numbers, got {dtype}")
        start = (2 * torch.rand(out_features, generator=rng, dtype=self._dtype) - 1) / sqrt(in_features)
        self.bias = nn.Parameter(start) if bias else None

    def _draw(self, shapes: Mapping[str, Sequence[int]], paths: int, rng: torch.Generator | None) -> None:
        """Make parameters of normal numbers: an entry of A is the sum of `paths` products of one number of each."""
        deviation = (1 / (3 * self.in_features * paths)) ** (1 / (2 * len(shapes)))
        for name, shape in shapes.items():
            numbers = torch.randn(*shape, generator=rng, dtype=self._dtype)
            self.register_parameter(name, nn.Parameter(deviation * numbers))
        self._names = tuple(shapes)

    @property
    def _numbers(self) -> list[torch.Tensor]:
        """The parameters of A, in each of which it is linear."""
        return [getattr(self, name) for name in self._names]

    # ---- what a structure supplies ----

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x A^T`` of shape (k, m) for x of shape (k, n)."""
        raise NotImplementedError

    def _projected(self, a: Array) -> list[Array]:
        """Return the numbers of a matrix of the structure near another one."""
        raise NotImplementedError

    def _exported(self, numbers: list[Array]) -> Operator:
        """Return the operator of these numbers."""
        raise NotImplementedError

    @classmethod
    def _like(cls, shape: tuple[int, int], *how: Any, **named: Any) -> Self:
        """Return a layer of a shape."""
        return cls(shape[1], shape[0], *how, **named)

    # ---- what all do with it ----

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x A^T + b`` for x of shape (..., n).

        Raises
        ------
        TypeError, ValueError
            For what is no tensor of real floating numbers, and another last size.
        """
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            raise TypeError(
                f"x: expected a tensor of real floating numbers, got {getattr(x, 'dtype', type(x).__name__)}"
            )
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"x: expected shape (..., {self.in_features}), got {tuple(x.shape)}")
        y = self._product(x.reshape(-1, self.in_features)).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def dense(self) -> torch.Tensor:
        """Return the matrix A of shape (m, n), a function of the parameters."""
        first = self._numbers[0]
        return self._product(torch.eye(self.in_features, dtype=first.dtype, device=first.device)).T

    def to_operator(self) -> Operator:
        """Return the matrix A, without the bias, as an operator of this package of the same numbers."""
        return self._exported([array_of(x.cpu()) for x in self._numbers])

    @classmethod
    def from_dense(cls, weight: Any, *how: Any, bias: Any = None, **named: Any) -> Self:
        """Return a layer whose matrix is the projection of another one, with its parameters of one size.

        Parameters
        ----------
        weight : torch.Tensor or array_like, shape (m, n)
        *how, **named
            What the class takes, but for `in_features` and `out_features`, which are those of `weight`.
        bias : torch.Tensor or array_like of shape (m,), optional

        Raises
        ------
        ValueError
            Where sizes do not fit.
        """
        given = tensor_of(weight)
        if given.ndim != 2 or not given.is_floating_point():
            raise ValueError(f"weight: expected real floats of shape (m, n), got {given.dtype}, {tuple(given.shape)}")
        m, n = given.shape
        layer = cls._like((m, n), *how, bias=False, dtype=given.dtype, **named)
        if (layer.out_features, layer.in_features) != (m, n):
            raise ValueError(f"weight: expected shape {(layer.out_features, layer.in_features)}, got {(m, n)}")
        layer._write(_evened(layer._projected(array_of(given.cpu()))))
        if bias is not None:
            if np.shape(bias) != (m,):
                raise ValueError(f"bias: expected shape ({m},), got {tuple(np.shape(bias))}")
            layer.bias = nn.Parameter(tensor_of(bias))
        return layer

    def _write(self, numbers: list[Array]) -> None:
        with torch.no_grad():
            for parameter, values in zip(self._numbers, numbers, strict=True):
                parameter.copy_(torch.from_numpy(np.array(values, order="C")))

    def extra_repr(self) -> str:
        """Return the facts that `print` shows."""
        count = sum(x.numel() for x in self._numbers)
        share = count / (self.in_features * self.out_features)
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, {share:.3g} of the numbers"


def _evened(numbers: list[Array]) -> list[Array]:
    """Return factors of one root mean square and of the same product: none learns faster for being small."""
    near = [near_one(x) for x in numbers]
    squares = [float(np.mean(np.square(x, dtype=np.float64))) for x, _ in near]
    if len(numbers) == 1 or min(squares) == 0:
        return numbers
    sizes = [np.log2(square) / 2 + power for square, (_, power) in zip(squares, near, strict=True)]
    return [x * np.exp2(np.mean(sizes) - size).astype(x.dtype) for x, size in zip(numbers, sizes, strict=True)]


def checked_sizes(in_features: Any, out_features: Any) -> tuple[int, int]:
    """Return the shape (m, n), two positive integers."""
    m, n = as_count(out_features, "out_features"), as_count(in_features, "in_features")
    if min(m, n) < 1:
        raise ValueError(f"in_features, out_features: expected positive sizes, got {n} and {m}")
    return m, n
