"""What a kernel in factors does one after the other: channels are mixed, windows are summed, channels are mixed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from bitterfly.convolutions.columns import decoded, plain
from bitterfly.convolutions.kernel import windows_of
from bitterfly.cuts.cut_tensor import CutTensor
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import Operator
from bitterfly.quantization.quantize import quantize
from bitterfly.structures.tensor_trains import cores
from bitterfly.structures.tensor_trains.cores import CodedCore, Core

_TOGETHER = 2  # windows of each channel are one as long as that takes at most so many times the multiplications

Mixing = Operator | Array  # of channels: (outputs, inputs)


class Window(NamedTuple):
    """A convolution along some axes.

    Attributes
    ----------
    weight : ndarray, shape (out, in, k_1, ..) or (channels, 1, k_1, ..)
        Of one place along the axes that it leaves alone.
    is_per_channel : bool
        Each channel by itself.
    """

    weight: Array
    is_per_channel: bool


class Stages(NamedTuple):
    """The small convolutions of a kernel.

    Attributes
    ----------
    first : operator or ndarray, (s, in), or None
        In codes, as they are packed, or numbers; None: `last` mixes the channels of whole windows, (out, in k_1 ...).
    windows : tuple of Window
    last : operator or ndarray, (out, r)
    """

    first: Mixing | None
    windows: tuple[Window, ...]
    last: Mixing


def stages_of(structure: str, factors: Sequence[Any], shape: tuple[int, ...]) -> Stages:
    """Return the stages of the factors of a `FactoredConvolution`."""
    if structure == "unfolded":
        return Stages(None, (), factors[0])
    if structure == "tensor_train":
        first, *inner, last = factors[0].stored_cores
        axes = parted([core.shape[2] for core in inner], shape)
        assert axes is not None
        dtype = factors[0].dtype
        along = [_of_core(core, each, shape, dtype) for core, each in zip(inner, axes, strict=True)]
        return Stages(_mixing(last, dtype), tuple(along[::-1]), _mixing(first, dtype))
    if structure == "cuts":
        left, right, windows = _of_cuts(factors[0])
    else:
        left, right = _factor(factors[0]), _factor(factors[-1]).T
        windows = [_numbers(each) for each in factors[1:-1]]
    return Stages(right, _per_channel(windows, shape), left)


def parted(sizes: Sequence[int], shape: tuple[int, ...]) -> list[list[int]] | None:
    """Return for each size the axes of windows whose product it is, in their order; None where there are none."""
    left, out = windows_of(shape), []
    for size in sizes:
        some: list[int] = []
        while left and prod(shape[axis] for axis in some) < size:
            some.append(left.pop(0))
        if not some or prod(shape[axis] for axis in some) != size:
            return None
        out.append(some)
    return None if left else out


def _of_core(core: Core, axes: Sequence[int], shape: tuple[int, ...], dtype: Any) -> Window:
    r, _, _, s = core.shape
    weight = cores.decoded(core, dtype)[:, 0].transpose(0, 2, 1)
    return Window(np.ascontiguousarray(weight).reshape(r, s, *_along(axes, shape)), False)


def _along(axes: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size if axis in axes else 1 for axis, size in enumerate(shape) if axis >= 2)


def _mixing(core: Core, dtype: Any) -> Mixing:
    """Return the first or the last core of a train as a matrix."""
    if isinstance(core, CodedCore):
        return core.matrix
    r, m, n, s = core.shape
    return core.reshape(r * m, n * s).astype(dtype, copy=False)


def _factor(factor: Operator) -> Mixing:
    numbers = plain(factor)
    return factor if numbers is None else numbers[0, :, :, 0].astype(factor.dtype, copy=False)


def _numbers(factor: Operator) -> Array:
    found = _factor(factor)
    return found if isinstance(found, np.ndarray) else decoded(found)


def _of_cuts(cut: CutTensor) -> tuple[Mixing, Mixing, list[Array]]:
    """Return signs of outputs and inputs, one bit each, and those of windows, the first times the coefficients."""
    axes = windows_of(cut.shape)
    signs = cut.signs
    rest = cut.coefficients * np.prod([signs[at][:, 0] for at in range(2, len(signs)) if at not in axes], axis=0)
    windows = [signs[axis].T.astype(cut.dtype) for axis in axes]
    if windows:
        windows[0] = windows[0] * rest
        return _packed(signs[0].T, cut.dtype), _packed(signs[1], cut.dtype), windows
    return _packed(signs[0].T, cut.dtype), _packed(signs[1], cut.dtype), [rest[None]]


def _packed(signs: Array, dtype: np.dtype[Any]) -> Operator:
    op = ButterflyOperator([signs.astype(dtype).reshape(1, *signs.shape, 1)])
    return quantize(op, bits=1, code="sign")


def _per_channel(windows: Sequence[Array], shape: tuple[int, ...]) -> tuple[Window, ...]:
    """Return convolutions of each channel by itself, (k, R) for each axis, together where that costs little."""
    axes = windows_of(shape)
    if not axes:
        return tuple(Window(each.T.reshape(-1, 1, *_along((), shape)), True) for each in windows)
    sizes = [shape[axis] for axis in axes]
    if prod(sizes) > _TOGETHER * sum(sizes):
        return tuple(
            Window(np.ascontiguousarray(each.T).reshape(-1, 1, *_along([axis], shape)), True)
            for axis, each in zip(axes, windows, strict=True)
        )
    whole = np.ones((windows[0].shape[1], 1), windows[0].dtype)
    for each in windows:
        whole = (whole[:, :, None] * each.T[:, None, :]).reshape(len(whole), -1)
    return (Window(whole.reshape(-1, 1, *_along(axes, shape)), True),)
