"""Products and rows of operators as operators of torch: with a gradient, and as the tracers of compilers see them."""

from __future__ import annotations

from secrets import randbits
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch._C import _functorch
from torch.autograd import forward_ad

from bitterfly.inputs import Array
from bitterfly.operators.contract import Operator

# What torch calls takes tensors and numbers: an operator is known by its handle, as long as a module holds it. Traces
# that are saved keep the number: drawn at random, it stands for no operator of another process.
_OPERATORS: WeakValueDictionary[int, Operator] = WeakValueDictionary()


def handle_of(op: Operator) -> int:
    """Return a new handle of an operator, which the caller keeps alive."""
    handle = randbits(62)
    _OPERATORS[handle] = op
    return handle


def _operator(handle: int) -> Operator:
    op = _OPERATORS.get(handle)
    if op is None:
        raise RuntimeError(f"handle: expected that of a module that is still there, got {handle}")
    return op


def array_of(x: torch.Tensor) -> Array:
    """Return the numbers of a tensor of the processor, in place where NumPy has the dtype, else in single precision."""
    return (x if x.dtype in (torch.float32, torch.float64) else x.float()).numpy(force=True)


def tensor_of(x: Any) -> torch.Tensor:
    """Return the numbers of an array, in any layout and order of bytes, or of a tensor, in memory of their own."""
    if isinstance(x, torch.Tensor):
        return x.detach().clone(memory_format=torch.contiguous_format)
    array = np.asarray(x)
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


@torch.library.custom_op("bitterfly::multiply", mutates_args=())
def multiply(x: torch.Tensor, handle: int, transposed: bool) -> torch.Tensor:
    """Return ``x @ A.T``, or ``x @ A`` transposed, for x of shape (..., n): rows are multiplied where they lie."""
    return _product(x, _operator(handle), transposed)


def product(x: torch.Tensor, handle: int, op: Operator | None = None) -> torch.Tensor:
    """Return ``x @ A.T`` as `multiply` does: straight where torch does not look on, which takes it longer.

    Tangents of forward-mode derivatives, which operators of torch written in Python lose, are multiplied as well.
    """
    if forward_ad._current_level >= 0:
        primal, tangent = forward_ad.unpack_dual(x)
        if tangent is not None:
            return forward_ad.make_dual(multiply(primal, handle, False), multiply(tangent, handle, False))
    if _is_alone(x):
        return _product(x, _operator(handle) if op is None else op, False)
    return multiply(x, handle, False)


def _product(x: torch.Tensor, op: Operator, transposed: bool) -> torch.Tensor:
    m, n = op.shape[::-1] if transposed else op.shape
    vectors = array_of(x).reshape(-1, n)
    is_double = vectors.dtype == np.float64 or op.dtype == np.float64
    y = torch.empty((*x.shape[:-1], m), dtype=torch.float64 if is_double else torch.float32)
    if len(vectors):
        op._multiply(vectors.T, y.numpy().reshape(-1, m).T, transposed, False, None)
    return y if y.dtype == x.dtype else y.to(x.dtype)


def _is_alone(x: torch.Tensor) -> bool:
    """Whether no gradient, compiler, mode or transform of torch looks at what is done with a tensor in memory."""
    return (
        not torch.compiler.is_compiling()
        and type(x) is torch.Tensor
        and x.is_cpu
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.jit.is_tracing()
        and torch._C._len_torch_dispatch_stack() == torch._C._len_torch_function_stack() == 0
        and _functorch.peek_interpreter_stack() is None
    )


def dtype_of(x: Operator | Array) -> torch.dtype:
    """Return the dtype of a real operator or array in torch."""
    return torch.float32 if x.dtype == np.float32 else torch.float64


@multiply.register_fake
def _(x: torch.Tensor, handle: int, transposed: bool) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], _operator(handle).shape[1 if transposed else 0]))


def _keep(ctx: Any, inputs: tuple[torch.Tensor, int, bool], output: torch.Tensor) -> None:
    _, ctx.handle, ctx.transposed = inputs
    ctx.operator = _operator(ctx.handle)  # it may be the last one to hold it


def _adjoint(ctx: Any, y: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    return multiply(y, ctx.handle, not ctx.transposed), None, None


multiply.register_autograd(_adjoint, setup_context=_keep)


@multiply.register_vmap
def _(info: Any, axes: tuple[int | None, ...], x: torch.Tensor, handle: int, transposed: bool) -> tuple[Any, int]:
    assert axes[0] is not None  # the others are no tensors
    return multiply(x.movedim(axes[0], 0), handle, transposed), 0


@torch.library.custom_op("bitterfly::rows", mutates_args=())
def rows(index: torch.Tensor, handle: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the rows `index` of shape (...), decoded once each: (..., n)."""
    op = _operator(handle)
    flat = index.detach().reshape(-1).numpy()
    if flat.size and not (flat.min() >= 0 and flat.max() < op.shape[0]):
        raise IndexError(f"index: expected 0 to {op.shape[0] - 1}, got {flat.min()} to {flat.max()}")
    some, places = np.unique(flat, return_inverse=True)
    found = torch.from_numpy(op.rows(some)).to(dtype)
    return found[torch.from_numpy(places.reshape(index.shape))]


@rows.register_fake
def _(index: torch.Tensor, handle: int, dtype: torch.dtype) -> torch.Tensor:
    return index.new_empty((*index.shape, _operator(handle).shape[1]), dtype=dtype)


@rows.register_vmap
def _(info: Any, axes: tuple[int | None, ...], index: torch.Tensor, *facts: Any) -> tuple[Any, int]:
    assert axes[0] is not None
    return rows(index.movedim(axes[0], 0), *facts), 0
