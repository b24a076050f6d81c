"""Sums of signed cuts of tensors: what they hold, their contractions with vectors, their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from operator import index
from typing import Any

import numpy as np

from bitterfly.accuracy.known import ERROR_KINDS
from bitterfly.cuts.terms import unfolded_cuts
from bitterfly.files import cuts as files
from bitterfly.files import storage
from bitterfly.files.replacing import Path
from bitterfly.inputs import Array, as_count, as_floating
from bitterfly.powers import near_one, scaled
from bitterfly.stores.floats import frozen

_AT_ONCE = 1 << 18  # bytes of signs that are looked up
_TABLES = 1 << 9  # of 256 sums each
_OF_BYTES = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[None], axis=0, bitorder="little")  # (8, 256)


@dataclass(frozen=True, repr=False, eq=False)
class CutTensor:
    """A sum of signed cuts, ``sum_j c_j s_j1 x s_j2 x ..`` of signs along each axis, one bit each.

    Attributes
    ----------
    shape : tuple of int
        Of the tensor.
    coefficients : ndarray, shape (width,)
        float32 or float64, or of both parts where a contraction with complex vectors made them.
    bits : tuple of ndarrays of uint8, shapes (width, ceil(n / 8))
        For each axis: bit i of byte b is set where sign ``8 b + i`` is -1; zeros behind the last sign.
    errors : ndarray, shape (width,)
        Bounds on the relative errors of the first 1, 2, ... cuts, NaN where none is known.
    error_kind : {"exact", "ledger", "measured", "estimated"}
        How the last one is known.

    Raises
    ------
    TypeError, ValueError
        Where these do not fit each other, and for coefficients that are not finite.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> bits = np.array([[0b10]], np.uint8), np.array([[0b01]], np.uint8), np.array([[0]], np.uint8)
    >>> cut = bitterfly.cuts.CutTensor((2, 2, 1), np.array([1.5]), bits, np.array([np.nan]))
    >>> cut.todense()[:, :, 0]
    array([[-1.5,  1.5],
           [ 1.5, -1.5]])
    """

    shape: tuple[int, ...]
    coefficients: Array
    bits: tuple[Array, ...]
    errors: Array
    error_kind: str = "estimated"

    def __post_init__(self) -> None:
        shape = tuple(map(index, self.shape))
        if not shape or min(shape) < 1:
            raise ValueError(f"shape: expected axes of a length, got {self.shape}")
        numbers = as_floating(self.coefficients, "coefficients")
        if numbers.ndim != 1 or not numbers.size or not np.all(np.isfinite(numbers)):
            raise ValueError(f"coefficients: expected a vector of finite numbers, got shape {numbers.shape}")
        if len(self.bits) != len(shape):
            raise ValueError(f"bits: expected an array for each of {len(shape)} axes, got {len(self.bits)}")
        pairs = enumerate(zip(self.bits, shape, strict=True))
        sides = tuple(_checked_side(side, len(numbers), n, f"bits[{at}]") for at, (side, n) in pairs)
        errors = np.array(self.errors, np.float64)
        if errors.shape != numbers.shape or np.any(errors < 0):
            raise ValueError(f"errors: expected {len(numbers)} numbers >= 0 or nan (unknown), one for each cut")
        if self.error_kind not in ERROR_KINDS:
            raise ValueError(f"error_kind: expected one of {', '.join(ERROR_KINDS)}, got {self.error_kind!r}")
        kept = {"shape": shape, "coefficients": frozen(numbers), "bits": sides, "errors": frozen(errors)}
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    @property
    def width(self) -> int:
        """The number of cuts."""
        return len(self.coefficients)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The precision of the coefficients."""
        return self.coefficients.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the signs, in whole bytes for each axis of a cut, and of the coefficients."""
        return sum(side.nbytes for side in self.bits) + self.coefficients.nbytes

    @property
    def relative_error(self) -> float:
        """What is known of the error of all cuts: a bound, NaN where nothing is."""
        return float(self.errors[-1])

    @property
    def signs(self) -> tuple[Array, ...]:
        """The signs along each axis: -1 and 1 of int8, shapes (width, n)."""
        return tuple(_signs(side, n, np.int8) for side, n in zip(self.bits, self.shape, strict=True))

    def truncated(self, width: int) -> CutTensor:
        """Return the first cuts; their error is that of `errors`.

        Parameters
        ----------
        width : int
            1 to ``cut.width``.
        """
        count = as_count(width, "width")
        if not 1 <= count <= self.width:
            raise ValueError(f"width: expected 1 to {self.width}, got {width}")
        sides, errors = tuple(side[:count] for side in self.bits), self.errors[:count]
        kind = self.error_kind if errors[-1] == errors[-1] else "estimated"
        return CutTensor(self.shape, self.coefficients[:count], sides, errors, kind)

    def todense(self) -> Array:
        """Return the tensor as an ndarray."""
        sides = [_signs(side, n, np.float32) for side, n in zip(self.bits, self.shape, strict=True)]
        out = np.zeros((self.shape[0], prod(self.shape[1:])), self.dtype)
        for part, rest in unfolded_cuts(sides):
            out += (sides[0][part] * self.coefficients[part, None]).T @ rest.astype(out.dtype)
        return out.reshape(self.shape)

    def contract(self, vectors: Mapping[int, Any]) -> CutTensor | Any:
        """Return the sum over some axes with a vector for each: cuts along the others, a number where none is left.

        Sums of eight numbers by all their signs are looked up by the bytes of the signs, in double precision.

        Parameters
        ----------
        vectors : mapping from axes to array_like, shape (n,)
            Finite numbers; negative axes count from the end.

        Raises
        ------
        TypeError, ValueError
            For axes that are none or given twice, and vectors that do not fit them.
        OverflowError
            Where coefficients do not fit their precision.
        """
        order, given = len(self.shape), {}
        for axis, vector in vectors.items():
            if not -order <= axis < order or axis % order in given:
                raise ValueError(f"vectors: expected different axes from {-order} to {order - 1}, got {axis}")
            given[axis % order] = _checked_vector(vector, self.shape[axis], f"vectors[{axis}]")
        dtype = np.result_type(self.dtype, *(vector.dtype for vector in given.values()))
        kept = [axis for axis in range(order) if axis not in given]
        wide, exponent = near_one(self.coefficients)
        for axis, vector in given.items():
            near, more = near_one(vector)
            wide, exponent = wide * _signed_sums(self.bits[axis], near), exponent + more
        with np.errstate(over="ignore", under="ignore"):
            coefficients = scaled(wide if kept else wide.sum(keepdims=True), exponent).astype(dtype)
        if not np.all(np.isfinite(coefficients)):
            raise OverflowError(f"vectors: the contraction does not fit {dtype}")
        if not kept:
            return coefficients[0]
        sides = tuple(self.bits[axis] for axis in kept)
        return CutTensor(tuple(self.shape[axis] for axis in kept), coefficients, sides, np.full(self.width, np.nan))

    def save(self, path: Path) -> None:
        """Write the cuts to a safetensors file.

        Parameters
        ----------
        path : str or path-like
            The file appears, or replaces an older one, only once it is complete.

        Raises
        ------
        OSError
            Where the file cannot be written; an existing file is left as it was.
        """
        storage.write(path, files.describe_tensor(self))

    @classmethod
    def load(cls, path: Path) -> CutTensor:
        """Read cuts that `save` has written.

        Parameters
        ----------
        path : str or path-like
            A file of kind ``"cut_tensor"`` in the format of docs/storage.md.

        Returns
        -------
        CutTensor
            Equal in all buffers and errors to what was saved.

        Raises
        ------
        ValueError
            Where the file is no such file, or damaged; the message names the field at fault.
        OSError
            Where the file cannot be read.
        """
        cut: CutTensor = storage.read(path, lambda header, file: cls(*files.read_tensor(header, file)))
        return cut

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.shape))
        return (
            f"<{sizes} CutTensor of {self.width} cuts, {self.nbytes} bytes, relative error {self.relative_error:.2e}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return CutTensor, (self.shape, self.coefficients, self.bits, self.errors, self.error_kind)


def _signs(bits: Array, count: int, dtype: Any) -> Array:
    return 1 - 2 * np.unpackbits(bits, axis=1, count=count, bitorder="little").astype(dtype)


def _signed_sums(bits: Array, vector: Array) -> Array:
    """Return the sum of a vector by each row of signs, eight at a time from tables of all their sums."""
    out = np.zeros(len(bits), vector.dtype)
    numbers = np.pad(vector, (0, 8 * bits.shape[1] - len(vector))).reshape(-1, 8)
    for first in range(0, len(numbers), _TABLES):
        tables = numbers[first : first + _TABLES] @ _OF_BYTES
        starts, rows = np.arange(0, tables.size, 256), max(1, _AT_ONCE // len(tables))
        for row in range(0, len(bits), rows):
            some = slice(row, row + rows)
            out[some] += tables.ravel()[bits[some, first : first + _TABLES] + starts].sum(axis=1)
    return out


def _checked_side(side: Any, width: int, count: int, name: str) -> Array:
    """Return the signs along an axis, a row of bytes for each cut."""
    shape = width, -(-count // 8)
    if not isinstance(side, np.ndarray) or side.dtype != np.uint8:
        raise TypeError(f"{name}: expected an array of uint8, got {getattr(side, 'dtype', type(side).__name__)}")
    if side.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, a bit for each sign, got {side.shape}")
    if count % 8 and np.any(side[:, -1] >> count % 8):
        raise ValueError(f"{name}: expected zeros behind the last sign")
    return frozen(np.ascontiguousarray(side))


def _checked_vector(vector: Any, count: int, name: str) -> Array:
    given = as_floating(vector, name)
    if given.shape != (count,):
        raise ValueError(f"{name}: expected shape ({count},), got {given.shape}")
    if not np.all(np.isfinite(given)):
        raise ValueError(f"{name}: expected finite numbers, got infinities or NaNs")
    return given
