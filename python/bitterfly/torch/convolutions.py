"""Convolutions whose kernel is in factors: small convolutions one after the other, channels mixed from packed bits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bitterfly.convolutions import FactoredConvolution
from bitterfly.convolutions.columns import decoded
from bitterfly.convolutions.stages import Mixing
from bitterfly.files.convolutions import sealed
from bitterfly.files.storage import contents
from bitterfly.inputs import Array, as_count
from bitterfly.operators.contract import Operator
from bitterfly.operators.dense import Precision
from bitterfly.torch import products
from bitterfly.torch.packed import Packed, check_device, in_precision

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class PackedConvolution(Packed):
    """A convolution ``y = w * x + b`` of a kernel w in factors, as `torch.nn.Conv1d`, `Conv2d` and `Conv3d` are.

    What mixes channels is multiplied straight from packed bits, where it is in codes; windows of the factors are
    numbers, decoded once. The gradient of x is that of all stages; the kernel has none.

    Parameters
    ----------
    kernel : FactoredConvolution, shape (out, in, k_1[, k_2[, k_3]])
    bias : torch.Tensor of shape (out,), optional
        A parameter is taken as it is.
    stride, dilation : int or sequence of d integers, optional
    padding : int, sequence of d integers, "same" or "valid", optional
    groups : int, optional
        Of channels, each of which sees its own `in`; what mixes the outputs is then decoded too.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}, optional
    precision : {"float", "half", "int8"}, optional
        How finely products of window codes round their vectors, see `DenseOperator.precision`.
    decoded : bool, optional
        Whether all factors are decoded, and multiplied by torch: more memory, less time for large images.

    Raises
    ------
    TypeError, ValueError
        Where `kernel` is none, and where other arguments do not fit it.

    Notes
    -----
    In a state dict the kernel is "packed", the bytes of its file (docs/storage.md) as a tensor of uint8.

    Examples
    --------
    >>> import numpy as np, torch, bitterfly
    >>> from bitterfly.torch import PackedConvolution
    >>> weight = np.random.default_rng(0).standard_normal((64, 32, 3, 3)).astype(np.float32)
    >>> kernel = bitterfly.convolutions.tensor_train(weight, ranks=16).quantized(bits=8, rng=0)
    >>> layer = PackedConvolution(kernel, padding=1)
    >>> layer(torch.ones(2, 32, 10, 10)).shape, layer.nbytes < 0.06 * weight.nbytes
    (torch.Size([2, 64, 10, 10]), True)
    """

    kernel: FactoredConvolution

    def __init__(
        self,
        kernel: Any,
        bias: torch.Tensor | None = None,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        precision: Precision = "float",
        decoded: bool = False,
    ) -> None:
        nn.Module.__init__(self)
        shape = _checked_kernel(kernel).shape
        d = len(shape) - 2
        self.stride, self.dilation = _sizes(stride, "stride", d, 1), _sizes(dilation, "dilation", d, 1)
        (self.groups,) = _sizes(groups, "groups", 1, 1)
        if shape[0] % self.groups:
            raise ValueError(f"groups: expected a number that divides {shape[0]} outputs, got {groups}")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode: expected one of {', '.join(_MODES)}, got {padding_mode!r}")
        self.padding, self.padding_mode = padding, padding_mode
        self._pads = _pads(padding, shape[2:], self.stride, self.dilation)
        self.precision, self.decoded = precision, bool(decoded)
        self._hold(kernel)
        if bias is not None and tuple(bias.shape) != shape[:1]:
            raise ValueError(f"bias: expected shape {shape[:1]}, got {tuple(bias.shape)}")
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)

    # ---- what it holds ----

    def _hold(self, kernel: Any) -> None:
        self.kernel = _checked_kernel(kernel)
        for name in [name for name in self._buffers if name.startswith("_stage")]:
            delattr(self, name)
        if self.kernel.structure == "unfolded" and (self.decoded or self.groups > 1):
            self._mixings: list[Operator | None] = [None, None]
            self._windows: tuple[bool, ...] = ()
            self._keep("_stage_last", self.kernel.dense())
        else:
            found = self.kernel.stages
            is_decoded = self.decoded, self.decoded or self.groups > 1
            self._mixings = [
                self._mixing(f"_stage_{name}", mixing, decode)
                for name, mixing, decode in zip(("first", "last"), (found.first, found.last), is_decoded, strict=True)
            ]
            self._windows = tuple(window.is_per_channel for window in found.windows)
            for at, window in enumerate(found.windows):
                self._keep(f"_stage_{at}", window.weight)
        self._take_handles()

    def _mixing(self, name: str, mixing: Mixing | None, decode: bool) -> Operator | None:
        """Return an operator that is multiplied as it is packed; keep all others as numbers."""
        if isinstance(mixing, Operator) and not decode:
            return in_precision(mixing, self.precision)
        if mixing is not None:
            numbers = decoded(mixing) if isinstance(mixing, Operator) else mixing
            self._keep(name, numbers.reshape(*numbers.shape, *[1] * len(self.stride)))
        return None

    def _keep(self, name: str, numbers: Array) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(numbers, order="C")), persistent=False)

    def _take_handles(self) -> None:
        self._handles = [None if op is None else products.handle_of(op) for op in self._mixings]

    @property
    def held(self) -> FactoredConvolution:
        """What is packed."""
        return self.kernel

    def _bytes(self) -> bytes:
        return contents(sealed(self.kernel))

    # ---- products ----

    @property
    def out_channels(self) -> int:
        """Channels of what comes out."""
        return self.kernel.shape[0]

    @property
    def in_channels(self) -> int:
        """Channels of images."""
        return self.kernel.shape[1] * self.groups

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """The window."""
        return self.kernel.shape[2:]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of x of shape (N, in groups, n_1, ..) or (in groups, n_1, ..).

        Raises
        ------
        TypeError, ValueError
            For numbers that are no real floating ones, another shape, and another device than the processor.
        """
        check_device(x, "x")
        d = len(self.stride)
        if not x.is_floating_point():
            raise TypeError(f"x: expected real floating numbers, got {x.dtype}")
        if x.ndim not in (d + 1, d + 2) or x.shape[-d - 1] != self.in_channels:
            sizes = ", ".join([str(self.in_channels), *(f"n_{at + 1}" for at in range(d))])
            raise ValueError(f"x: expected shape (N, {sizes}) or ({sizes}), got {tuple(x.shape)}")
        y = self._product(x if x.ndim == d + 2 else x[None])
        if self.bias is not None:
            y = y + self.bias.view(-1, *[1] * d)
        return y if x.ndim == d + 2 else y[0]

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        first, last = self._handles
        is_whole = self.kernel.structure == "unfolded"
        if is_whole and last is not None:
            return _multiplied(self._unfolded(self._padded(x)), last)
        pads = [left for left, _ in self._pads]
        ones = any(pad and k == 1 for pad, k in zip(pads, self.kernel_size, strict=True))
        if ones or self.padding_mode != "zeros" or any(left != right for left, right in self._pads):
            x, pads = self._padded(x), [0] * len(pads)
        if is_whole:
            return self._convolved(self._picked(x), "_stage_last", self.kernel_size, pads, self.groups)
        count = len(x)
        x = self._picked(x.reshape(count * self.groups, self.kernel.shape[1], *x.shape[2:]))
        x = self._mixed(x, "_stage_first", first, 1)
        for at, is_per_channel in enumerate(self._windows):
            window = self.get_buffer(f"_stage_{at}").shape
            x = self._convolved(x, f"_stage_{at}", window[2:], pads, window[0] if is_per_channel else 1)
        x = x.reshape(count, self.groups * x.shape[1], *x.shape[2:])
        return self._mixed(x, "_stage_last", last, self.groups)

    def _picked(self, x: torch.Tensor) -> torch.Tensor:
        """Return the places that are looked at along axes of which the window has one place."""
        steps = (s if k == 1 else 1 for s, k in zip(self.stride, self.kernel_size, strict=True))
        return x[(..., *(slice(None, None, step) for step in steps))]

    def _mixed(self, x: torch.Tensor, name: str, handle: int | None, groups: int) -> torch.Tensor:
        if handle is not None:
            return _multiplied(x, handle)
        ones = [1] * len(self.stride)
        return self._convolved(x, name, ones, ones, groups)

    def _convolved(
        self, x: torch.Tensor, name: str, window: Sequence[int], pads: Sequence[int], groups: int
    ) -> torch.Tensor:
        """Return the convolution with a weight, with the steps of this one along axes of more than one place."""
        longer = [k > 1 for k in window]
        stride, dilation = (
            [size if k else 1 for size, k in zip(sizes, longer, strict=True)] for sizes in (self.stride, self.dilation)
        )
        padding = [pad if k else 0 for pad, k in zip(pads, longer, strict=True)]
        weight = self.get_buffer(name).to(x.dtype)
        return _CONVOLUTIONS[len(window)](x, weight, None, stride, padding, dilation, groups)

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        pads = [size for pair in reversed(self._pads) for size in pair]
        return functional.pad(x, pads, mode=_MODES[self.padding_mode]) if any(pads) else x

    def _unfolded(self, x: torch.Tensor) -> torch.Tensor:
        """Return the windows of padded images, (N, in k_1 .. k_d, m_1, ..)."""
        spans = [t * (k - 1) for t, k in zip(self.dilation, self.kernel_size, strict=True)]
        some = [
            x[(..., *(slice(f * t, n - (span - f * t), s) for f, t, n, span, s in each))]
            for place in product(*map(range, self.kernel_size))
            for each in [list(zip(place, self.dilation, x.shape[2:], spans, self.stride, strict=True))]
        ]
        return torch.stack(some, dim=2).flatten(1, 2)

    def extra_repr(self) -> str:
        """Return the facts that `print` shows."""
        facts = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        bits = f"{8 * self.nbytes / np.prod(self.kernel.shape):.3g} bits an entry"
        return f"{facts}, groups={self.groups}, bias={self.bias is not None}, {self.kernel.structure}, {bits}"


def _multiplied(x: torch.Tensor, handle: int) -> torch.Tensor:
    """Return the product of channels, the second axis, with an operator."""
    return products.product(x.movedim(1, -1), handle).movedim(-1, 1)


def _checked_kernel(kernel: Any) -> FactoredConvolution:
    if not isinstance(kernel, FactoredConvolution):
        raise TypeError(f"kernel: expected a FactoredConvolution, got {type(kernel).__name__}")
    return kernel


def _sizes(given: Any, name: str, count: int, least: int) -> tuple[int, ...]:
    """Return so many integers of at least `least`, one of which stands for all."""
    sizes = [as_count(size, name) for size in ([given] * count if np.ndim(given) == 0 else given)]
    if len(sizes) == 1:
        sizes = sizes * count
    if len(sizes) != count or min(sizes) < least:
        raise ValueError(f"{name}: expected {count} integers of at least {least}, got {given}")
    return tuple(sizes)


def _pads(padding: Any, window: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """Return what is added on both sides of each axis."""
    if not isinstance(padding, str):
        return [(size, size) for size in _sizes(padding, "padding", len(window), 0)]
    if padding not in ("same", "valid"):
        raise ValueError(f"padding: expected integers, 'same' or 'valid', got {padding!r}")
    if padding == "valid":
        return [(0, 0)] * len(window)
    if max(stride) > 1:
        raise ValueError(f"padding: expected integers for strides of more than one, {tuple(stride)}, got 'same'")
    totals = [t * (k - 1) for t, k in zip(dilation, window, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]
