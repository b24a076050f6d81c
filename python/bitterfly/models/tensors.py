"""Tensors of safetensors files, mapped one by one and never read as a whole, and those of arrays; files of both."""

from __future__ import annotations

import json
import os
import stat
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from bitterfly.files.container import unique_keys
from bitterfly.inputs import Array

FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of a number
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "C64": "<c8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_NAMES = {np.dtype(name): kind for kind, name in _NUMPY.items()}
_ALIGNMENT = 8
_MOST_HEADER = 100_000_000  # bytes, of the library
_MOST_BRAIN = np.uint32(0x7F7F0000).view(np.float32)


class Tensor(NamedTuple):
    """A tensor, by its bytes.

    Attributes
    ----------
    dtype : str
        As safetensors has it: "F32", "BF16", ...
    shape : tuple of int
    held : str or ndarray
        The file that it is in, or an array of its bytes.
    start, nbytes : int
        Where it begins, and how long it is.
    """

    dtype: str
    shape: tuple[int, ...]
    held: str | Array
    start: int
    nbytes: int

    def raw(self) -> Array:
        """Return its bytes, read-only: a map of the file, which lasts as long as the array, or a view."""
        if not isinstance(self.held, str):
            view = self.held[self.start : self.start + self.nbytes]
            view.flags.writeable = False
            return view
        if not self.nbytes:
            return np.zeros(0, np.uint8)
        return np.memmap(self.held, np.uint8, "r", self.start, (self.nbytes,))

    def array(self, rows: slice = slice(None)) -> Array:
        """Return the numbers, those of BF16 in single precision; along the first axis, only these.

        Raises
        ------
        TypeError
            For types that NumPy does not have.
        """
        if self.dtype == "BF16":
            return widened(self.raw().view("<u2").reshape(self.shape)[rows])
        if self.dtype not in _NUMPY:
            raise TypeError(f"dtype: NumPy has no {self.dtype}")
        numbers = self.raw().view(_NUMPY[self.dtype]).reshape(self.shape)
        return np.asarray(numbers[rows] if self.shape else numbers)

    def chunks(self) -> Iterator[Array]:
        """Yield its bytes, in parts."""
        yield self.raw()


class Written(Protocol):
    """What is asked of a tensor that goes into a file."""

    @property
    def dtype(self) -> str:
        """As safetensors has it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def nbytes(self) -> int:
        """How long it is."""

    def chunks(self) -> Iterator[Array]:
        """Yield its bytes, in parts."""


def check_name(name: object, what: str) -> None:
    """Raise where files cannot hold a tensor of a name."""
    if not isinstance(name, str):
        raise TypeError(f"{what}: expected names of tensors, got {name!r}")
    if name == "__metadata__" or name.encode("utf-8", "replace").decode() != name:  # half a character is none
        raise ValueError(f"{what}: expected names that safetensors has, got {name[:60]!r}")


def of_array(x: Any, name: str) -> Tensor:
    """Return an array as a tensor.

    Raises
    ------
    TypeError
        Where it is none of numbers that safetensors has.
    """
    array = np.asarray(x)
    is_brain = array.dtype.name == "bfloat16"
    kind = "BF16" if is_brain else _NAMES.get(array.dtype.newbyteorder("<"))
    if kind is None:
        raise TypeError(f"{name}: expected an array of numbers that safetensors has, got {array.dtype}")
    little = np.ascontiguousarray(array if is_brain else array.astype(_NUMPY[kind], copy=False))
    return Tensor(kind, array.shape, little.reshape(-1).view(np.uint8), 0, little.nbytes)


def widened(short: Array) -> Array:
    """Return numbers of BF16, given as 16 bits each, in single precision."""
    return (short.astype("<u4") << np.uint32(16)).view(np.float32)


def shortened(x: Array) -> Array:
    """Return numbers in BF16, the largest finite ones at most, rounded to even; as 16 bits each."""
    bits = np.ascontiguousarray(np.clip(x, -_MOST_BRAIN, _MOST_BRAIN), "<f4").view("<u4")
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded).astype("<u2")


class TensorFile(NamedTuple):
    """What a safetensors file says of itself."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def opened(path: str) -> TensorFile:
    """Return the tensors of a safetensors file, unread, and its metadata.

    Raises
    ------
    ValueError
        Where it is no such file, or damaged: lengths, offsets, overlaps, gaps and names are checked.
    OSError
        Where it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: expected a regular file")
    try:
        with safe_open(path, framework="numpy"), open(path, "rb") as file:  # the library checks the container
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size), object_pairs_hook=unique_keys)
    except SafetensorError as error:
        reason = textwrap.shorten(str(error), 200)  # it may quote what the file holds
        raise ValueError(f"{path}: header: not a safetensors file, or damaged ({reason})") from error
    except ValueError as error:
        raise ValueError(f"{path}: header: {error}") from error
    metadata = header.pop("__metadata__", None) or {}
    return TensorFile({name: _tensor(path, 8 + size, entry) for name, entry in header.items()}, metadata)


def _tensor(path: str, first: int, entry: dict[str, Any]) -> Tensor:
    start, stop = entry["data_offsets"]
    return Tensor(entry["dtype"], tuple(entry["shape"]), path, first + start, stop - start)


def write(file: BinaryIO, tensors: Mapping[str, Written], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, tensor by tensor; the same bytes for the same contents.

    Raises
    ------
    ValueError
        Where names and metadata are longer than readers take.
    """
    order = sorted(tensors, key=lambda name: (-_width(tensors[name]), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    at = 0
    for name in order:
        each = tensors[name]
        header[name] = {"dtype": each.dtype, "shape": list(each.shape), "data_offsets": [at, at + each.nbytes]}
        at += each.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > _MOST_HEADER:
        raise ValueError(f"header: expected names and facts of at most {_MOST_HEADER} bytes, got {len(text)}")
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        for chunk in tensors[name].chunks():
            file.write(chunk.data)


def _width(tensor: Written) -> int:
    """Return the bytes of a number: wide ones come first, so that all are aligned."""
    return tensor.nbytes // prod(tensor.shape) if tensor.nbytes else 1


def nbytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors in half precision: two for each floating-point number, all others as they are."""
    return sum(2 * prod(each.shape) if each.dtype in FLOATS else each.nbytes for each in tensors)
