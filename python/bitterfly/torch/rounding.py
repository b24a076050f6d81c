"""Weights that are rounded in the forward pass and learn as if they were not."""

from __future__ import annotations

import warnings
from math import log
from typing import Any

import numpy as np
import torch
from torch import nn

from bitterfly.accuracy.measured import measure
from bitterfly.dense.quantize import quantize_dense
from bitterfly.inputs import as_count
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import Operator
from bitterfly.quantization.fixed_point import packed_integers
from bitterfly.quantization.quantize import quantize
from bitterfly.stores.kinds import names_of
from bitterfly.torch.products import array_of, tensor_of

_WINDOWS = ("window7", "window11")
_LISTS = names_of("list")


def encoded(weight: Any, code: str, bits: float, *, rng: np.random.Generator | int | None = 0) -> Operator:
    """Return a weight in a code, an operator that `replace_linear` takes.

    Parameters
    ----------
    weight : torch.Tensor or array_like, shape (m, ...)
        Of more than two dimensions, as the matrix of a row for each index of the first.
    code : {"window7", "window11", "sign", "ternary", "power_of_two", "shift"}
        Window codes of `quantize_dense`, without heads and outliers, or lists of numbers of `quantize`, with a scale
        for each row.
    bits : float
        Bits of a number.
    rng : numpy.random.Generator or int, optional
        Draws rotations; the default draws the same ones in every call.

    Returns
    -------
    operator, shape (m, n)

    Raises
    ------
    ValueError, TypeError
        For another code, bits that it has not, and numbers that are not finite.

    Examples
    --------
    >>> import torch
    >>> from bitterfly.torch import encoded
    >>> op = encoded(torch.tensor([[0.5, -0.25], [3.0, 0.0]]), "power_of_two", 3)
    >>> op.todense()
    array([[ 0.5 , -0.25],
           [ 3.  ,  0.  ]], dtype=float32)
    """
    a = array_of(as_weight(weight).flatten(1).cpu())
    if code in _WINDOWS:
        return quantize_dense(a, bits=bits, code=code, head=None, outliers=None, rng=rng)
    if code not in _LISTS:
        raise ValueError(f"code: expected {', '.join((*_WINDOWS, *_LISTS))}, got {code!r}")
    upright = ButterflyOperator([np.ascontiguousarray(a.T)[None, :, :, None]])  # columns have a scale each
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the relative error is")  # few numbers err so much
        return quantize(upright, code=code, bits=bits, rng=rng).T


def as_weight(weight: Any) -> torch.Tensor:
    """Return real floats of at least two dimensions, without a gradient."""
    given = tensor_of(weight)
    if given.ndim < 2 or not given.is_floating_point():
        raise ValueError(f"weight: expected real floats of shape (m, n), got {given.dtype}, {tuple(given.shape)}")
    return given


def straight_through(
    weight: torch.Tensor, code: str, bits: float, *, rng: np.random.Generator | int | None = 0
) -> torch.Tensor:
    """Return a weight as its code has it, whose gradient is that of the weight itself.

    Parameters
    ----------
    weight : torch.Tensor, shape (m, ...)
    code, bits, rng
        See `encoded`, which is asked anew in every call: window codes take 0.1 to 0.4 s a million numbers, lists less.

    Returns
    -------
    torch.Tensor
        The numbers of ``encoded(weight, code, bits)``, of the shape and dtype of `weight`.

    Raises
    ------
    ValueError, TypeError
        As `encoded` does.

    Notes
    -----
    Bengio, Léonard, Courville, *Estimating or propagating gradients through stochastic neurons for conditional
    computation* (arXiv:1308.3432, 2013).

    Examples
    --------
    >>> import torch
    >>> from bitterfly.torch import straight_through
    >>> w = torch.tensor([[0.9, -0.1], [0.2, 1.1]], requires_grad=True)
    >>> straight_through(w, "ternary", 2).sum().backward()
    >>> w.grad
    tensor([[1., 1.],
            [1., 1.]])
    """
    found = torch.from_numpy(encoded(weight, code, bits, rng=rng).todense())
    return _StraightThrough.apply(weight, found.to(weight.device, weight.dtype).view(weight.shape))


class StraightThrough(nn.Module):
    """`straight_through` as a parametrization: ``parametrize.register_parametrization(layer, "weight", ...)``.

    Parameters
    ----------
    code, bits, rng
        See `encoded`.

    Examples
    --------
    >>> import torch
    >>> from torch.nn.utils import parametrize
    >>> from bitterfly.torch import StraightThrough
    >>> layer = torch.nn.Linear(8, 4)
    >>> _ = parametrize.register_parametrization(layer, "weight", StraightThrough("ternary", 2))
    >>> len(torch.unique(layer.weight[0].abs())) <= 2
    True
    """

    def __init__(self, code: str, bits: float, *, rng: np.random.Generator | int | None = 0) -> None:
        super().__init__()
        self.code, self.bits, self.rng = code, bits, rng

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the rounded weight."""
        return straight_through(weight, self.code, self.bits, rng=self.rng)


class FixedPoint(nn.Module):
    """Fixed-point numbers whose binary point is learned: ``2**-p clip(round(2**p x))``, p the position, an integer.

    A parametrization, as `StraightThrough` is one. Gradients pass the two roundings as if they were none: that of x is
    zero where it is clipped, and the position moves to where errors of rounding and of clipping balance.

    Parameters
    ----------
    bits : int
        Integers from ``-2**(bits - 1)`` to ``2**(bits - 1) - 1``.
    weight : torch.Tensor, optional
        Whose least squared error gives the position to begin with. Default: numbers below one.

    Raises
    ------
    ValueError, TypeError
        For fewer than one bit or more than 24.

    Notes
    -----
    Dai, Zhang, Zhang, Hu, Cai, Sun, Zhang, *Trainable fixed-point quantization for deep learning acceleration on FPGAs*
    (QFX, arXiv:2401.17544, 2024).

    Examples
    --------
    >>> import torch
    >>> from bitterfly.torch import FixedPoint
    >>> FixedPoint(3)(torch.tensor([0.3, -0.6, 5.0])).detach()
    tensor([ 0.2500, -0.5000,  0.7500])

    As an operator of the same numbers, for `replace_linear` and as a projection of `Admm`:

    >>> FixedPoint(3).to_operator(torch.tensor([[0.3, -0.6, 5.0]]))
    <1 x 3 PackedButterfly of float32, 3 bits per stored number, relative error 8.43e-01 (measured)>
    """

    def __init__(self, bits: int, weight: torch.Tensor | None = None) -> None:
        super().__init__()
        self.bits = as_count(bits, "bits")
        if not 1 <= self.bits <= 24:
            raise ValueError(f"bits: expected 1 to 24, got {bits}")
        self.position = nn.Parameter(torch.tensor(float(self.bits - 1)))
        if weight is None:
            return
        if not torch.isfinite(weight.detach()).all():
            raise ValueError("weight: expected finite numbers, got infinities or NaNs")
        if weight.detach().any():
            self._fit(weight.detach().double())

    def _fit(self, weight: torch.Tensor) -> None:
        """Take the position of the least squared error; beyond that at which nothing is clipped, errors grow again."""
        exponent = int(torch.frexp(weight.abs().max())[1])
        first, part = self.bits - 1 - exponent, -exponent // 2
        weight = weight * 2.0**part * 2.0 ** (-exponent - part)  # near one, whose squares are in range
        with torch.no_grad():

            def missed(shift: int) -> float:
                self.position.fill_(self.bits - 1 + shift)
                return float((self(weight) - weight).square().sum())

            self.position.fill_(first + min(range(self.bits + 2), key=missed))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rounded numbers."""
        found: torch.Tensor = _Fixed.apply(x, self.position, self.bits)[0]
        return found

    def to_operator(self, weight: Any) -> PackedButterfly:
        """Return the rounded numbers of a weight as packed integers times a power of two, not one of them changed.

        Parameters
        ----------
        weight : torch.Tensor or array_like, shape (m, ...)
            What the parametrization is of, before it is rounded: ``layer.parametrizations.weight.original``.

        Returns
        -------
        PackedButterfly, shape (m, n)
            In float64 for weights in double precision and beyond the range of float32, else in float32. Of `bits` bits
            a number, two at least: where the lowest integer occurs, codes "lattice", with a scale of one for each
            number of the shorter side; where it does not, integers with a sign, which need none.

        Raises
        ------
        ValueError, TypeError
            For what are no real floats, and numbers that are not finite, or not normal, when rounded.
        """
        given = as_weight(weight)
        with torch.no_grad():
            rounded = array_of(self(given).flatten(1).cpu())
        if not np.all(np.isfinite(rounded)):
            raise ValueError("weight: expected numbers that are finite when rounded, got infinities or NaNs")
        exponent = -round(float(self.position.detach()))
        integers = np.ldexp(rounded.astype(np.float64), -exponent)
        dtype = _in_range_of(rounded.dtype, exponent, self.bits)
        if dtype is None or np.any(integers != np.rint(integers)):
            raise ValueError(
                f"position: numbers times 2**{exponent} in {given.dtype} leave the range of normal numbers"
            )
        op = packed_integers(integers, exponent, self.bits, dtype)
        return op.replaced(relative_error=measure(array_of(given.flatten(1).cpu()), op), error_kind="measured")

    def extra_repr(self) -> str:
        """Return the facts that `print` shows."""
        return f"bits={self.bits}, position={round(float(self.position.detach()))}"


def _in_range_of(dtype: np.dtype[Any], exponent: int, bits: int) -> np.dtype[Any] | None:
    """Return the first precision, from this one, in which integers of so many bits times a power of two are normal."""
    for each in (dtype, np.dtype(np.float64)):
        limits = np.finfo(each)
        if limits.minexp <= exponent < limits.maxexp - bits:
            return each
    return None


class _Fixed(torch.autograd.Function):
    """Numbers in fixed point, and whether they are within its range.

    The derivative by the position p, of ``2**-p`` and of ``2**p x`` alike, is ``ln 2 (x - y)``, y in place of x - y
    where x is clipped: no power of two is left that leaves the range of numbers.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, position: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
        wide = torch.promote_types(x.dtype, torch.float32)
        power, half = torch.round(position.to(wide)), 2 ** (bits - 1)
        first = torch.floor(power / 2)  # the whole power may be infinite
        found = torch.round(x.to(wide) * torch.exp2(first) * torch.exp2(power - first))
        inside = (found >= -half) & (found < half)
        found = torch.clamp(found, -half, half - 1) * torch.exp2(-first) * torch.exp2(first - power)
        return found.to(x.dtype), inside

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], *output)
        ctx.dtype = inputs[1].dtype

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, found, inside = ctx.saved_tensors
        moved = log(2) * (torch.where(inside, x, torch.zeros_like(x)) - found)
        return gradient * inside, (gradient * moved).sum().to(ctx.dtype), None


class _StraightThrough(torch.autograd.Function):
    """The second tensor, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        return found.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None
