"""A model whose linear layers, tables of vectors and convolutions give way to packed ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from bitterfly.convolutions import FactoredConvolution, unfolded
from bitterfly.operators.contract import Operator
from bitterfly.operators.dense import Precision
from bitterfly.torch.convolutions import PackedConvolution
from bitterfly.torch.packed import PACKED, Packed, PackedEmbedding, PackedLinear, from_bytes
from bitterfly.torch.products import tensor_of

_log = logging.getLogger("bitterfly")

_WEIGHT = "weight"
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)


def replace_linear(model: nn.Module, compressed: Mapping[str, Any], *, precision: Precision = "float") -> nn.Module:
    """Replace layers of a model by packed ones, in place.

    Parameters
    ----------
    model : torch.nn.Module
        It may be on the device "meta", so that its weights are never in memory.
    compressed : mapping of str to operator or array_like
        By the names of state dicts, as `bitterfly.models.load` returns it. An operator takes the place of the weight of
        a `torch.nn.Linear` or `torch.nn.Embedding`, and of all that share it; arrays become the numbers of the
        parameters and buffers of their names, and so do operators of other weights, such as those of convolutions
        (matrices of a row for each output), decoded. What has no name here stays.
    precision : {"float", "half", "int8"}, optional
        See `PackedLinear`.

    Returns
    -------
    torch.nn.Module
        The model; if it is itself a linear layer, the packed one.

    Raises
    ------
    KeyError
        Where the model has no tensor of a name.
    ValueError, TypeError
        Where shapes differ, and for operators of complex numbers.

    Examples
    --------
    >>> import numpy as np, torch, bitterfly
    >>> from bitterfly.torch import replace_linear
    >>> model = torch.nn.Sequential(torch.nn.Linear(128, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128))
    >>> weight = model[0].weight.detach().numpy()
    >>> replace_linear(model, {"0.weight": bitterfly.quantize_dense(weight, bits=4, rng=0)})[0]
    PackedLinear(128, 256, bias=True, 4.13 bits an entry)
    """
    given = dict(compressed)  # each once: files are read and checked anew
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    for name, value in given.items():
        if name not in tensors:
            raise KeyError(f"compressed[{name!r}]: the model has no tensor of this name")
        shape = tuple(tensors[name].shape)
        expected = (shape[0], prod(shape[1:])) if len(shape) > 1 and isinstance(value, Operator) else shape
        if np.shape(value) != expected:
            raise ValueError(f"compressed[{name!r}]: expected shape {expected}, got {np.shape(value)}")
        if not isinstance(value, Operator):
            given[name] = _as_tensor(value, f"compressed[{name!r}]", tensors[name].is_complex())
    homes = {name: _homes(model, tensors[name]) for name, value in given.items() if isinstance(value, Operator)}
    for name, value in given.items():  # first of all: biases go to the packed layers
        if not homes.get(name):
            _assign(model, name, tensors[name], value)
    made = [
        (at, _packed(model.get_submodule(at), given[name], precision, f"compressed[{name!r}]"))
        for name, places in homes.items()
        for at in places
    ]
    for at, module in made:
        model = _put(model, at, module)
    return model


def replace_convolutions(
    model: nn.Module, compressed: Mapping[str, Any], *, precision: Precision = "float", decoded: bool = False
) -> nn.Module:
    """Replace convolutions of a model by packed ones, in place.

    Parameters
    ----------
    model : torch.nn.Module
        It may be on the device "meta", so that its weights are never in memory.
    compressed : mapping of str to FactoredConvolution or operator
        By the names of weights in state dicts. A kernel, or an operator of a row for each output, takes the place of
        the weight of a `torch.nn.Conv1d`, `Conv2d` or `Conv3d`, and of all that share it.
    precision, decoded
        See `PackedConvolution`.

    Returns
    -------
    torch.nn.Module
        The model; if it is itself a convolution, the packed one.

    Raises
    ------
    KeyError
        Where the model has no tensor of a name.
    ValueError, TypeError
        Where shapes differ, and for weights of other modules, such as transposed convolutions.

    Examples
    --------
    >>> import torch, bitterfly
    >>> from bitterfly.torch import replace_convolutions
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU())
    >>> kernel = bitterfly.convolutions.tensor_train(model[0].weight.detach().numpy(), ranks=8)
    >>> replace_convolutions(model, {"0.weight": kernel})[0]
    PackedConvolution(16, 32, kernel_size=(3, 3), stride=(1, 1), groups=1, bias=True, tensor_train, 5.33 bits an entry)
    """
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    made = []
    for name, value in compressed.items():
        if name not in tensors:
            raise KeyError(f"compressed[{name!r}]: the model has no tensor of this name")
        label = f"compressed[{name!r}]"
        holders = _holders(model, tensors[name], label)
        kernel = _kernel(value, tuple(tensors[name].shape), label)
        made += [(at, _packed_convolution(module, kernel, precision, decoded, label)) for at, module in holders]
    for at, module in made:
        model = _put(model, at, module)
    return model


def load_packed(
    model: nn.Module, state_dict: Mapping[str, Any], *, precision: Precision = "float", decoded: bool = False
) -> nn.Module:
    """Load the state of a model with packed layers into one that has none yet, or others, in place.

    Parameters
    ----------
    model : torch.nn.Module
        As it was before `replace_linear` and `replace_convolutions`; it may be on the device "meta".
    state_dict : mapping of str to torch.Tensor
        What ``state_dict()`` of the model with packed layers was.
    precision, decoded
        See `PackedLinear` and `PackedConvolution`.

    Returns
    -------
    torch.nn.Module
        The model; if it is itself such a layer, the packed one.

    Raises
    ------
    RuntimeError
        Where names or shapes differ, as `torch.nn.Module.load_state_dict` does.
    ValueError, TypeError
        Where packed bytes are damaged, or stand for the weight of another kind of module.
    """
    for name, value in state_dict.items():
        at, _, last = name.rpartition(".")
        module = dict(model.named_modules()).get(at) if last == PACKED else None
        if module is not None and not isinstance(module, Packed):
            found = from_bytes(value)
            packed = (
                _packed_convolution(module, found, precision, decoded, name)
                if isinstance(found, FactoredConvolution)
                else _packed(module, found, precision, name)
            )
            model = _put(model, at, packed)
    model.load_state_dict(state_dict, assign=True)
    return model


def _homes(model: nn.Module, tensor: torch.Tensor) -> list[str]:
    """Return the names of the modules whose weight a tensor is; none where others hold it too, which read it."""
    held = [
        (at, key, module)
        for at, module in model.named_modules(remove_duplicate=False)
        for key, own in module.named_parameters(recurse=False, remove_duplicate=False)
        if own is tensor
    ]
    if not all(key == _WEIGHT and _is_packable(module) for _, key, module in held):
        return []
    return [at for at, _, _ in held]


def _is_packable(module: nn.Module) -> bool:
    return type(module) is nn.Linear or (type(module) is nn.Embedding and module.max_norm is None)


def _packed(module: nn.Module, op: Operator, precision: Precision, name: str) -> nn.Module:
    """Return what takes the place of a module."""
    if not _is_packable(module):
        raise TypeError(f"{name}: expected a Linear, or an Embedding without max_norm, got {type(module).__name__}")
    shape = tuple(module.get_parameter(_WEIGHT).shape)
    if op.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {op.shape}")
    packed: nn.Module
    if isinstance(module, nn.Embedding):
        packed = PackedEmbedding(op, dtype=module.weight.dtype)
    else:
        assert isinstance(module, nn.Linear)
        packed = PackedLinear(op, module.bias, precision=precision)
    return _in_place_of(module, packed)


def _in_place_of(module: nn.Module, packed: nn.Module) -> nn.Module:
    """Return a packed module with the hooks and the mode of the one that it replaces."""
    for hooks in _HOOKS:
        vars(packed)[hooks] = vars(module)[hooks]  # itself: handles, which remove them, know it
    return packed.train(module.training)


# ---- convolutions ----


def _holders(model: nn.Module, tensor: torch.Tensor, name: str) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold a tensor, all of them convolutions whose weight it is, or raise a TypeError."""
    out = []
    for at, module in model.named_modules(remove_duplicate=False):
        for key, own in module.named_parameters(recurse=False, remove_duplicate=False):
            if own is tensor:
                if key != _WEIGHT:
                    raise TypeError(f"{name}: expected the weight of a convolution, got {key!r} of {_kind(module)}")
                out.append((at, _checked_convolution(module, name)))
    if not out:
        raise TypeError(f"{name}: expected the weight of a convolution, got a buffer")
    return out


def _checked_convolution(module: nn.Module, name: str) -> nn.Module:
    if type(module) not in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        hint = {"ConvTranspose": ", transposed", "LazyConv": ", which has no weight before its first input"}
        why = next((text for part, text in hint.items() if type(module).__name__.startswith(part)), "")
        raise TypeError(f"{name}: expected a Conv1d, Conv2d or Conv3d, got {_kind(module)}{why}")
    return module


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _kernel(value: Any, shape: tuple[int, ...], name: str) -> FactoredConvolution:
    if isinstance(value, Operator) and value.shape == (shape[0], prod(shape[1:])):
        return unfolded(value, shape)
    if not isinstance(value, (FactoredConvolution, Operator)):
        raise TypeError(f"{name}: expected a FactoredConvolution or an operator, got {type(value).__name__}")
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape}")
    assert isinstance(value, FactoredConvolution)  # operators have two axes, kernels of modules three
    return value


def _packed_convolution(
    module: nn.Module, kernel: FactoredConvolution, precision: Precision, decoded: bool, name: str
) -> nn.Module:
    """Return what takes the place of a convolution."""
    weight: Any = getattr(_checked_convolution(module, name), _WEIGHT)
    _kernel(kernel, tuple(weight.shape), name)
    facts = {key: getattr(module, key) for key in ("stride", "padding", "dilation", "groups", "padding_mode")}
    bias: Any = module.bias
    return _in_place_of(module, PackedConvolution(kernel, bias, **facts, precision=precision, decoded=decoded))


def _assign(model: nn.Module, name: str, tensor: torch.Tensor, value: Any) -> None:
    """Write numbers into a parameter or a buffer, or put new ones wherever one without memory is."""
    if isinstance(value, Operator):
        _log.info("%s: no layer that can be packed, decoded", name)
        value = _as_tensor(value.todense(), name, tensor.is_complex())
    numbers = value.to(tensor.dtype).view(tensor.shape)
    if not tensor.is_meta:
        with torch.no_grad():
            tensor.copy_(numbers)
        return
    filled = nn.Parameter(numbers, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else numbers
    for module in model.modules():
        for key, own in (*module._parameters.items(), *module._buffers.items()):
            if own is tensor:
                setattr(module, key, filled)


def _as_tensor(value: Any, name: str, takes_complex: bool) -> torch.Tensor:
    """Return numbers in memory of their own; complex ones only where they fit."""
    found = tensor_of(value)
    if found.is_complex() and not takes_complex:
        raise TypeError(f"{name}: expected real numbers, got {found.dtype}")
    return found


def _put(model: nn.Module, at: str, module: nn.Module) -> nn.Module:
    """Put a module in its place; return the model, which is the module where its name is empty."""
    if not at:
        return module
    parent, _, last = at.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
    return model
