"""Modules that multiply with, and look up in, packed operators; their state is the file of the operator."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import torch
from torch import nn

from bitterfly.convolutions import FactoredConvolution
from bitterfly.files.convolutions import KIND
from bitterfly.files.replacing import as_regular_file
from bitterfly.files.storage import read, to_bytes, unsealed
from bitterfly.operators.contract import Composite, Operator
from bitterfly.operators.dense import DenseOperator, Precision
from bitterfly.torch import products

PACKED = "packed"  # the name of what a module keeps in a state dict
_PRECISIONS = ("float", "half", "int8")


class Packed(nn.Module):
    """What all modules share: an operator or a kernel, its handle, and its place in state dicts, a tensor of bytes."""

    operator: Operator

    def __init__(self, operator: Any, precision: Precision) -> None:
        super().__init__()
        self.precision = precision
        self._hold(operator)

    def _hold(self, operator: Any) -> None:
        self.operator = in_precision(checked_operator(operator), self.precision)
        self._take_handles()

    def _take_handles(self) -> None:
        self._handle = products.handle_of(self.operator)

    @property
    def held(self) -> Any:
        """What is packed."""
        return self.operator

    def _bytes(self) -> bytes:
        return to_bytes(self.operator)

    @property
    def nbytes(self) -> int:
        """Bytes of what is packed."""
        return int(self.held.nbytes)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._take_handles()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + PACKED] = torch.frombuffer(bytearray(self._bytes()), dtype=torch.uint8)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        name = prefix + PACKED
        rest = {key: value for key, value in state_dict.items() if key != name}
        super()._load_from_state_dict(rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        if name not in state_dict:
            missing_keys.append(name)
            return
        try:
            found = from_bytes(state_dict[name])
            if found.shape != self.held.shape:
                raise ValueError(f"expected an operator of shape {self.held.shape}, got {found.shape}")
            self._hold(found)
        except (ValueError, TypeError) as error:
            error_msgs.append(f"{name}: {error}")


class PackedLinear(Packed):
    """A linear layer ``y = x A^T + b`` that multiplies straight from the packed bits of an operator A.

    It takes inputs as `torch.nn.Linear` does, of any leading shape and real floating dtype, and returns their dtype;
    products have the precision of the operator. The gradient of x is the adjoint product; the operator has none.

    Parameters
    ----------
    operator : operator, shape (m, n)
        Of real numbers.
    bias : torch.Tensor of shape (m,), optional
        A parameter is taken as it is.
    precision : {"float", "half", "int8"}, optional
        How finely products of window codes round their vectors, see `DenseOperator.precision`.

    Raises
    ------
    TypeError, ValueError
        Where `operator` is none, or of complex numbers, and where `bias` has another shape.

    Notes
    -----
    In a state dict the operator is "packed", the bytes of its file (docs/storage.md) as a tensor of uint8. Modules
    stay in the memory of the processor; ``module.to(dtype)`` is about the bias.

    Examples
    --------
    >>> import numpy as np, torch, bitterfly
    >>> from bitterfly.torch import PackedLinear
    >>> weight = np.random.default_rng(0).standard_normal((256, 128)).astype(np.float32)
    >>> layer = PackedLinear(bitterfly.quantize_dense(weight, bits=4, rng=0))
    >>> layer(torch.ones(2, 3, 128)).shape, layer.nbytes < 0.14 * weight.nbytes
    (torch.Size([2, 3, 256]), True)
    """

    def __init__(self, operator: Any, bias: torch.Tensor | None = None, *, precision: Precision = "float") -> None:
        super().__init__(operator, precision)
        if bias is not None and not isinstance(bias, torch.Tensor):
            raise TypeError(f"bias: expected a tensor, got {type(bias).__name__}")
        if bias is not None and tuple(bias.shape) != self.operator.shape[:1]:
            raise ValueError(f"bias: expected shape {self.operator.shape[:1]}, got {tuple(bias.shape)}")
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)

    @property
    def out_features(self) -> int:
        """Rows of the matrix."""
        return int(self.operator.shape[0])

    @property
    def in_features(self) -> int:
        """Columns of the matrix."""
        return int(self.operator.shape[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x A^T + b`` for x of shape (..., n).

        Raises
        ------
        TypeError, ValueError
            For numbers that are no real floating ones, another last size, and another device than the processor.
        """
        check_device(x, "x")
        if not x.is_floating_point():
            raise TypeError(f"x: expected real floating numbers, got {x.dtype}")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(f"x: expected shape (..., {self.in_features}), got {tuple(x.shape)}")
        y, bias = products.product(x, self._handle, self.operator), self.bias
        if bias is None:
            return y
        if bias.device != y.device:  # torch adds nothing, and says nothing, where one has no memory
            raise ValueError(f"bias: expected a tensor on the device of x, {y.device}, got one of {bias.device}")
        return y.add_(bias)

    def extra_repr(self) -> str:
        """Return the facts that `print` shows."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, {_facts(self.operator)}"


class PackedEmbedding(Packed):
    """A table of vectors, looked up by decoding single rows of an operator.

    Parameters
    ----------
    operator : operator, shape (m, n)
        Of real numbers: m vectors.
    dtype : torch.dtype, optional
        Of the vectors. Default: that of the operator.

    Raises
    ------
    TypeError
        Where `operator` is none, or of complex numbers.

    Examples
    --------
    >>> import numpy as np, torch, bitterfly
    >>> from bitterfly.torch import PackedEmbedding
    >>> table = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)
    >>> layer = PackedEmbedding(bitterfly.quantize_dense(table, bits=4, rng=0))
    >>> layer(torch.tensor([[3, 1, 4]])).shape
    torch.Size([1, 3, 64])
    """

    def __init__(self, operator: Any, *, dtype: torch.dtype | None = None) -> None:
        super().__init__(operator, "float")
        self.dtype = dtype or products.dtype_of(self.operator)

    @property
    def num_embeddings(self) -> int:
        """How many vectors there are."""
        return int(self.operator.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Numbers of a vector."""
        return int(self.operator.shape[1])

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        """Return the vectors of indices of shape (...): (..., n).

        Raises
        ------
        TypeError, IndexError, ValueError
            For what are no integers, or no vectors of the table, and another device than the processor.
        """
        check_device(index, "index")
        if index.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"index: expected int64 or int32, got {index.dtype}")
        return products.rows(index, self._handle, self.dtype)

    def extra_repr(self) -> str:
        """Return the facts that `print` shows."""
        return f"{self.num_embeddings}, {self.embedding_dim}, {_facts(self.operator)}"


def _facts(op: Operator) -> str:
    return f"{op.bits_per_entry:.3g} bits an entry"


def check_device(x: Any, name: str) -> None:
    """Refuse what is no tensor in the memory of the processor; those of no memory are traced."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.device.type not in ("cpu", "meta"):
        raise ValueError(f"{name}: expected a tensor in the memory of the processor, got one of {x.device}")


def checked_operator(op: Any) -> Operator:
    """Return a real operator, or raise a TypeError."""
    if not isinstance(op, Operator):
        raise TypeError(f"operator: expected an operator of this package, got {type(op).__name__}")
    if op.dtype.kind == "c":
        raise TypeError(f"operator: expected real numbers, got {op.dtype}")
    return op


def in_precision(op: Operator, precision: Precision) -> Operator:
    """Return the operator with another precision of products wherever it has one; the given one stays as it is."""
    if precision not in _PRECISIONS:
        raise ValueError(f"precision: expected {', '.join(_PRECISIONS)}, got {precision!r}")
    if isinstance(op, DenseOperator):
        return op._viewed(_precision=precision)
    if isinstance(op, Composite):
        again = op._remade([in_precision(member, precision) for member in op.members])
        return again._viewed(_fact=op._fact, report=op.report, _metric_errors=op._metric_errors)
    return op


def from_bytes(packed: Any) -> Operator | FactoredConvolution:
    """Return the operator, or the kernel of a convolution, whose file a tensor of bytes holds."""
    if not isinstance(packed, torch.Tensor) or packed.dtype != torch.uint8 or packed.ndim != 1:
        raise TypeError(f"expected bytes, a tensor of uint8, got {getattr(packed, 'dtype', type(packed).__name__)}")
    with as_regular_file(BytesIO(packed.cpu().numpy().tobytes())) as name:
        return read(name, _unsealed)


def _unsealed(header: Any, file: Any) -> Any:
    return FactoredConvolution.of_file(header, file) if header.get("kind") == KIND else unsealed(header, file)
