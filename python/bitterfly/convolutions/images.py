"""Products of kernels in factors with images, and their adjoints, in NumPy: stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator

from bitterfly.convolutions.columns import decoded
from bitterfly.convolutions.stages import Mixing, Stages, Window
from bitterfly.inputs import Array
from bitterfly.structures.multilevel import integers_of, sizes_of


class Places(NamedTuple):
    """Where a window stands: sizes of the image and of what comes out, and the steps between, along each axis.

    Attributes
    ----------
    window, image, out, stride, padding, dilation : tuple of int
    groups : int
    """

    window: tuple[int, ...]
    image: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def places(shape: tuple[int, ...], image: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Places:
    """Return the places of the window of a kernel, checked."""
    d, window = len(shape) - 2, shape[2:]
    n = sizes_of(image, "image", d)
    s, t = (sizes_of(_each(x, d), name, d) for x, name in ((stride, "stride"), (dilation, "dilation")))
    p = integers_of(_each(padding, d), "padding", d)
    if min(p) < 0:
        raise ValueError(f"padding: expected numbers that are not negative, got {padding}")
    (g,) = sizes_of([groups], "groups", 1)
    if shape[0] % g:
        raise ValueError(f"groups: expected a number that divides {shape[0]} outputs, got {groups}")
    out = [(size + 2 * a - b * (k - 1) - 1) // c + 1 for size, a, b, k, c in zip(n, p, t, window, s, strict=True)]
    if min(out) < 1:
        raise ValueError(f"image: expected one that the window {window} fits, got {tuple(n)} with padding {tuple(p)}")
    return Places(window, tuple(n), tuple(out), tuple(s), tuple(p), tuple(t), g)


def _each(x: Any, d: int) -> Any:
    return [x] * d if np.ndim(x) == 0 else x


class Step(NamedTuple):
    """A linear map of arrays (channels, places), and its transpose."""

    forward: Callable[[Array], Array]
    transposed: Callable[[Array], Array]


class ImageOperator(LinearOperator):  # type: ignore[misc]
    """A kernel in factors and one image: what `FactoredConvolution.to_operator` returns."""

    def __init__(self, kernel: Any, at: Places) -> None:
        o, i = kernel.shape[:2]
        stages = kernel.stages
        self._steps = _before(stages, at)
        rows = [slice(first, first + o // at.groups) for first in range(0, o, o // at.groups)]
        self._last = [_mix(_rows(stages.last, each) if at.groups > 1 else stages.last) for each in rows]
        self._in, self._out = (at.groups, i, *at.image), (at.groups, o // at.groups, *at.out)
        super().__init__(kernel.dtype, (prod(self._out), prod(self._in)))

    def _matvec(self, x: Array) -> Array:
        parts = zip(np.reshape(x, self._in), self._last, strict=True)
        return np.concatenate([_through([*self._steps, last], part).ravel() for part, last in parts])

    def _rmatvec(self, y: Array) -> Array:
        parts = zip(np.reshape(y, self._out), self._last, strict=True)
        return np.concatenate([_back([*self._steps, last], part).ravel() for part, last in parts])


def _through(steps: Sequence[Step], x: Array) -> Array:
    for step in steps:
        x = step.forward(x)
    return x


def _back(steps: Sequence[Step], y: Array) -> Array:
    for step in reversed(steps):
        y = step.transposed(y)
    return y


def _before(stages: Stages, at: Places) -> list[Step]:
    """Return all steps but the last."""
    padded = [size + 2 * pad for size, pad in zip(at.image, at.padding, strict=True)]
    if stages.first is None:
        return [_pad(at, range(len(padded))), _windows(padded, at)]
    covered, rest = _covered(stages, at)
    before = [size if axis in rest else at.image[axis] for axis, size in enumerate(padded)]
    steps = [_pad(at, rest), _pick(before, next(_shifts(at, rest)))] if rest else []
    steps += [_mix(stages.first), _pad(at, covered)]
    sizes = [at.out[axis] if axis in rest else size for axis, size in enumerate(padded)]
    for window in stages.windows:
        steps.append(_sum(window, sizes, at))
        sizes = [at.out[axis] if axis in _axes(window) else size for axis, size in enumerate(sizes)]
    return steps


def _covered(stages: Stages, at: Places) -> tuple[set[int], set[int]]:
    """Return the axes of windows, and those of which windows have one place."""
    covered = {axis for window in stages.windows for axis in _axes(window)}
    return covered, set(range(len(at.image))) - covered


def _axes(window: Window) -> list[int]:
    return [axis for axis, size in enumerate(window.weight.shape[2:]) if size > 1]


def _shifts(at: Places, axes: Collection[int]) -> Iterator[tuple[slice, ...]]:
    """Yield, place by place of the window along some axes, what that place sees of a padded image."""
    for place in np.ndindex(*(size if axis in axes else 1 for axis, size in enumerate(at.window))):
        first = [place[axis] * at.dilation[axis] for axis in range(len(place))]
        yield tuple(
            slice(f, f + (at.out[axis] - 1) * at.stride[axis] + 1, at.stride[axis]) if axis in axes else slice(None)
            for axis, f in enumerate(first)
        )


def _mix(mixing: Mixing) -> Step:
    def product(matrix: Any, x: Array) -> Array:
        return np.asarray(matrix @ np.ascontiguousarray(x.reshape(len(x), -1))).reshape(-1, *x.shape[1:])

    return Step(partial(product, mixing), partial(product, mixing.T))


def _rows(mixing: Mixing, rows: slice) -> Array:
    return mixing[rows] if isinstance(mixing, np.ndarray) else decoded(mixing)[rows]


def _pad(at: Places, axes: Collection[int]) -> Step:
    pads = [pad if axis in axes else 0 for axis, pad in enumerate(at.padding)]
    inside = tuple(slice(pad, pad + size) if pad else slice(None) for pad, size in zip(pads, at.image, strict=True))
    return Step(lambda x: np.pad(x, [(0, 0), *((pad, pad) for pad in pads)]), lambda y: y[:, *inside])


def _pick(shape: Sequence[int], places: tuple[slice, ...]) -> Step:
    def back(y: Array) -> Array:
        x = np.zeros((len(y), *shape), y.dtype)
        x[:, *places] = y
        return x

    return Step(lambda x: x[:, *places], back)


def _windows(shape: Sequence[int], at: Places) -> Step:
    shifts = list(_shifts(at, range(len(shape))))

    def gathered(x: Array) -> Array:
        return np.stack([x[:, *each] for each in shifts], axis=1).reshape(-1, *at.out)

    def spread(y: Array) -> Array:
        x = np.zeros((len(y) // len(shifts), *shape), y.dtype)
        for each, part in zip(shifts, np.moveaxis(y.reshape(len(x), -1, *at.out), 1, 0), strict=True):
            x[:, *each] += part
        return x

    return Step(gathered, spread)


def _sum(window: Window, shape: Sequence[int], at: Places) -> Step:
    shifts = list(_shifts(at, _axes(window)))
    weights = np.moveaxis(window.weight.reshape(*window.weight.shape[:2], -1), 2, 0)

    def of(x: Array, weight: Array, back: bool) -> Array:
        if window.is_per_channel:
            return weight[:, 0].reshape(-1, *(1 for _ in shape)) * x
        return np.tensordot(weight.T if back else weight, x, 1)

    def summed(x: Array) -> Array:
        return sum(of(x[:, *each], weight, False) for each, weight in zip(shifts, weights, strict=True))  # type: ignore[return-value]

    def spread(y: Array) -> Array:
        x = np.zeros((len(y) if window.is_per_channel else weights.shape[2], *shape), np.result_type(y, weights))
        for each, weight in zip(shifts, weights, strict=True):
            x[:, *each] += of(y, weight, True)
        return x

    return Step(summed, spread)


def operations(kernel: Any, at: Places) -> int:
    """Return the multiplications and additions of one image, stage by stage."""
    stages = kernel.stages
    if stages.first is None:
        return int(stages.last.flops) * prod(at.out)
    last = int(prod(stages.last.shape)) * prod(at.out)
    _, rest = _covered(stages, at)
    total = int(prod(stages.first.shape)) * prod(
        at.out[axis] if axis in rest else size for axis, size in enumerate(at.image)
    )
    sizes = [at.out[a] if a in rest else size + 2 * at.padding[a] for a, size in enumerate(at.image)]
    for window in stages.windows:
        sizes = [at.out[axis] if axis in _axes(window) else size for axis, size in enumerate(sizes)]
        total += int(window.weight.size) * prod(sizes)
    return 2 * (at.groups * total + last)
