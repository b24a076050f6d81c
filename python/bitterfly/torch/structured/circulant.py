"""Matrices of circulant blocks as layers."""

from __future__ import annotations

from math import gcd

import numpy as np
import torch

from bitterfly.inputs import Array, as_count
from bitterfly.structures.multilevel import ToeplitzOperator
from bitterfly.structures.projections import circulant
from bitterfly.torch.structured.layer import StructuredLinear, checked_sizes


class Circulant(StructuredLinear):
    """A matrix of circulant blocks as a layer, multiplied by Fourier transforms; a square one is a block by default.

    Parameters
    ----------
    in_features, out_features : int
        Columns n and rows m of the matrix.
    block : int, optional
        Order of the blocks, which divides both. Default: the greatest common divisor.
    bias, rng, dtype
        See `Butterfly`.

    Raises
    ------
    ValueError, TypeError
        Where sizes are not positive, or the order does not divide them.

    Notes
    -----
    Ding et al., *CirCNN: accelerating and compressing deep neural networks using block-circulant weight matrices*
    (MICRO 2017). ``from_dense`` is the nearest one: means of what is one number. Half precision is transformed in
    single.

    Examples
    --------
    >>> from bitterfly.torch import Circulant
    >>> Circulant(64, 256)
    Circulant(64, 256, bias=True, 0.0156 of the numbers)
    """

    coefficients: torch.Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        block: int | None = None,
        *,
        bias: bool = True,
        rng: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        m, n = checked_sizes(in_features, out_features)
        order = gcd(m, n) if block is None else as_count(block, "block")
        if order < 1 or m % order or n % order:
            raise ValueError(f"block: expected a divisor of {m} and {n}, got {block}")
        super().__init__(n, m, bias, rng, dtype)
        self._draw({"coefficients": (m // order, n // order, order)}, 1, rng)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        if not len(x):  # transforms refuse nothing
            return x.new_zeros(0, self.out_features)
        _, q, order = self.coefficients.shape
        wide = torch.promote_types(x.dtype, torch.float32)
        spectra = (torch.fft.rfft(each.to(wide)) for each in (self.coefficients, x.reshape(-1, q, order)))
        y = torch.fft.irfft(torch.einsum("pqf,kqf->kpf", *spectra), n=order)
        return y.reshape(-1, self.out_features).to(x.dtype)

    def _projected(self, a: Array) -> list[Array]:
        p, q, order = self.coefficients.shape
        blocks = a.reshape(p, order, q, order).swapaxes(1, 2)
        return [np.stack([[circulant(each).coefficients[0, 0] for each in row] for row in blocks])]

    def _exported(self, numbers: list[Array]) -> ToeplitzOperator:
        order = numbers[0].shape[2]
        return ToeplitzOperator(numbers[0], [order], [order], periodic=True)
