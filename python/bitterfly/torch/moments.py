"""Second moments of the inputs of the layers of a model, while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from bitterfly.accuracy.moments import SecondMoments
from bitterfly.torch.products import array_of

_Layer: TypeAlias = "nn.Linear | nn.Conv1d | nn.Conv2d"


class ModelMoments(Mapping[str, SecondMoments]):
    """Second moments by the name of the weight; a context manager, at whose end, or by `remove`, they stop."""

    def __init__(self, layers: Mapping[str, _Layer]) -> None:
        self._moments = {name: SecondMoments(_columns(layer)) for name, layer in layers.items()}
        self._mask: torch.Tensor | None = None
        self._hooks = [
            layer.register_forward_pre_hook(partial(self._see, name), with_kwargs=True)
            for name, layer in layers.items()
        ]

    def __getitem__(self, name: str) -> SecondMoments:
        return self._moments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._moments)

    def __len__(self) -> int:
        return len(self._moments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the hooks off the model; the moments stay."""
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def masked(self, mask: Any) -> Iterator[None]:
        """Leave out tokens of padding while a block runs.

        Parameters
        ----------
        mask : tensor of any leading shape (...)
            True, or not zero, for those that count. Inputs of shape (..., n) are masked; those of another leading
            shape, such as (batch, n) behind a pooling, count as they are.
        """
        before, self._mask = self._mask, torch.as_tensor(mask).bool()
        try:
            yield
        finally:
            self._mask = before

    def _see(self, name: str, layer: _Layer, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = (inputs[0] if inputs else named["input"]).detach()
        if isinstance(layer, nn.Linear):
            if self._mask is not None and self._mask.shape == x.shape[:-1]:
                x = x[self._mask.to(x.device)]
        else:
            x = _unfolded(layer, x)
        self._moments[name].update(array_of(x.cpu()))


def second_moments(model: nn.Module, names: Iterable[str] | None = None) -> ModelMoments:
    """Sum up ``x x^T`` over all inputs x that layers of a model see, in double precision, while it runs.

    Parameters
    ----------
    model : torch.nn.Module
    names : iterable of str, optional
        Of weights, as in state dicts. Default: those of all `torch.nn.Linear`, and of all `Conv1d` and `Conv2d` whose
        inputs can be unfolded: of one group, padded with zeros.

    Returns
    -------
    ModelMoments
        A mapping of these names to `SecondMoments`, which grows with every batch until `remove` or the end of a
        ``with`` block; ``masked(mask)`` leaves out padding. An input of a convolution is a window: the weight is a
        matrix (out, in * kernel) then.

    Raises
    ------
    KeyError
        Where the model has no weight of a name.
    TypeError, ValueError
        Where it is of another module, or of a convolution whose inputs cannot be unfolded.

    Examples
    --------
    >>> import torch
    >>> from bitterfly.torch import second_moments
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    >>> with second_moments(model) as moments:
    ...     y = model(torch.ones(4, 3))
    >>> dict(moments)
    {'0.weight': SecondMoments(n=3, count=4), '2.weight': SecondMoments(n=5, count=4)}
    """
    known = {f"{at}.weight".lstrip("."): module for at, module in model.named_modules()}
    if names is None:
        found = {name: module for name, module in known.items() if _obstacle(module) is None}
        return ModelMoments(found)
    chosen: dict[str, Any] = {}
    for name in names:
        if name not in known:
            raise KeyError(f"names: the model has no weight of the name {name!r}")
        obstacle = _obstacle(known[name])
        if obstacle is not None:
            raise TypeError(f"names: {name!r}: {obstacle}")
        chosen[name] = known[name]
    return ModelMoments(chosen)


def _obstacle(module: nn.Module) -> str | None:
    """Say why the inputs of a module are no vectors that a matrix multiplies; None where they are."""
    if isinstance(module, nn.Linear):
        return None
    if not isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return f"expected a Linear, a Conv1d or a Conv2d, got {type(module).__name__}"
    if module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return f"expected one group, and padding with a number of zeros, got {module}"
    return None


def _columns(layer: _Layer) -> int:
    return int(layer.weight[0].numel())


def _unfolded(layer: nn.Conv1d | nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Return all windows of a convolution, one a row."""
    if x.ndim == layer.weight.ndim - 1:
        x = x[None]
    sizes: list[Any] = [layer.kernel_size, layer.dilation, layer.padding, layer.stride]
    if isinstance(layer, nn.Conv1d):
        x = x[:, :, None]
        sizes = [(least, each[0]) for least, each in zip((1, 1, 0, 1), sizes, strict=True)]
    windows: torch.Tensor = functional.unfold(x, *sizes)
    return windows.mT.reshape(-1, windows.shape[1])
