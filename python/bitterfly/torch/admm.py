"""Training towards a structure or a code: the alternating direction method of multipliers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from bitterfly.inputs import Array, as_number
from bitterfly.operators.contract import Operator
from bitterfly.torch.products import array_of, tensor_of

Projection = Callable[[Array], Any]


class Admm:
    """Weights that are drawn to a set while they learn: ``W`` is trained, ``Z`` is in the set, ``U`` sums differences.

    Minimizes a loss of weights W of which ``W = Z`` is asked, Z in a set: some steps of any optimizer on ``loss +
    penalty()``, then `update`, and again.

    Parameters
    ----------
    model : torch.nn.Module
    projections : mapping of str to callable
        By the name of a parameter: from an array of shape (m, n) to an operator or array of the set near it, such as
        ``structures.circulant`` or ``functools.partial(bitterfly.quantize_dense, bits=2, rng=0)``. A weight of more
        than two dimensions is the matrix of a row for each index of the first.
    rho : float, optional
        The weight of the penalty.

    Raises
    ------
    KeyError, ValueError, TypeError
        Where the model has no parameter of a name, one is no matrix, a projection returns another shape, or `rho` is
        not positive.

    Notes
    -----
    Boyd, Parikh, Chu, Peleato, Eckstein, *Distributed optimization and statistical learning via the alternating
    direction method of multipliers* (2011), for convex sets; for codes of few bits Leng, Li, Zhu, Jin, *Extremely low
    bit neural network: squeeze the last bit out with ADMM* (AAAI 2018).

    Examples
    --------
    >>> import torch, bitterfly
    >>> from bitterfly.torch import Admm
    >>> layer = torch.nn.Linear(4, 4)
    >>> admm = Admm(layer, {"weight": bitterfly.structures.circulant}, rho=1.0)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    >>> for _ in range(50):
    ...     optimizer.zero_grad()
    ...     admm.penalty().backward()
    ...     optimizer.step()
    ...     admm.update()
    >>> admm.residuals["weight"] < 1e-4
    True
    >>> admm.operators["weight"]
    <4 x 4 ToeplitzOperator of float32, 32 bits per stored number, relative error ... (measured)>
    """

    def __init__(self, model: nn.Module, projections: Mapping[str, Projection], rho: float = 1e-3) -> None:
        self.rho = as_number(rho, "rho")
        if not 0 < self.rho < float("inf"):
            raise ValueError(f"rho: expected a positive number, got {rho}")
        known = dict(model.named_parameters())
        for name in projections:
            if name not in known:
                raise KeyError(f"projections[{name!r}]: the model has no parameter of this name")
            if known[name].ndim < 2:
                raise ValueError(f"projections[{name!r}]: expected a matrix, got shape {tuple(known[name].shape)}")
        self._weights = {name: known[name] for name in projections}
        self._projections = dict(projections)
        self._found: dict[str, Any] = {}
        self._nearest = {name: self._projected(name, w.detach()) for name, w in self._weights.items()}
        self._sums = {name: torch.zeros_like(w) for name, w in self._weights.items()}

    def _projected(self, name: str, w: torch.Tensor) -> torch.Tensor:
        a = array_of(tensor_of(w.flatten(1)).cpu())  # a projection may write to it, or return it
        found = self._projections[name](a)
        dense = found.todense() if isinstance(found, Operator) else np.asarray(found)
        if dense.shape != a.shape:
            raise ValueError(f"projections[{name!r}]: expected a result of shape {a.shape}, got {dense.shape}")
        if dense.dtype.kind == "c":
            raise TypeError(f"projections[{name!r}]: expected a result of real numbers, got {dense.dtype}")
        self._found[name] = found
        return tensor_of(dense).to(w.device, w.dtype).view(w.shape)

    def penalty(self) -> torch.Tensor:
        """Return ``rho / 2`` times the sum of ``||W - Z + U||^2``, to be added to the loss."""
        parts = [(w - self._nearest[name] + self._sums[name]).square().sum() for name, w in self._weights.items()]
        return self.rho / 2 * torch.stack(parts).sum() if parts else torch.zeros(())

    @torch.no_grad()
    def update(self) -> None:
        """Set Z to the projection of ``W + U``, and add ``W - Z`` to U."""
        for name, w in self._weights.items():
            self._nearest[name] = self._projected(name, w + self._sums[name])
            self._sums[name] += w - self._nearest[name]

    @torch.no_grad()
    def finish(self) -> None:
        """Set all W to their own projections."""
        for name, w in self._weights.items():
            w.copy_(self._projected(name, w))

    @property
    def operators(self) -> dict[str, Any]:
        """What the projections have returned last, which `replace_linear` takes."""
        return dict(self._found)

    @property
    def residuals(self) -> dict[str, float]:
        """``||W - Z|| / ||W||`` of each weight; zero where both are."""
        return {name: _distance(w.detach(), self._nearest[name]) for name, w in self._weights.items()}


def _distance(w: torch.Tensor, z: torch.Tensor) -> float:
    missed = float((w - z).norm())
    return missed / float(w.norm()) if missed else 0.0
