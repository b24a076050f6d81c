"""The safetensors layer: JSON text to checked fields, names to checked tensors, the checksum; trusts nothing."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from bitterfly.accuracy.known import ERROR_KINDS, Known
from bitterfly.inputs import Array
from bitterfly.stores.floats import aligned, frozen_view
from bitterfly.stores.tiles import planes_of

Header = dict[str, Any]
Parts = tuple[Header, dict[str, Array]]
Expected = dict[str, tuple[str, list[int]]]  # type and shape of each tensor

DTYPES = ("float32", "float64", "complex64", "complex128")
MAX_SIZE = 1 << 31  # permutations are stored in 32 bits
COMMON = frozenset({"format_version", "kind", "relative_error", "error_kind", "sha256"})

_MAX_DEPTH = 32
_MAX_LENGTH = 1 << 20


class Tensors(Protocol):
    """What is asked of an open file."""

    def keys(self) -> Iterable[str]:
        """Names of all tensors."""

    def get_slice(self, name: str) -> Any:
        """Return type and shape of a tensor, unread."""

    def get_tensor(self, name: str) -> Array:
        """Return a tensor."""


class Codec(NamedTuple):
    """How operators of one kind are stored.

    Attributes
    ----------
    describe : callable
        From an operator to its metadata, without the checksum, and its tensors.
    read : callable
        From metadata of this kind, unchecked, and an open file to the operator.
    """

    describe: Callable[[Any], Parts]
    read: Callable[[Header, Tensors], Any]


# ---- the text ----


def canonical(header: Header) -> str:
    """Return the one JSON text of a header: sorted keys, no spaces, ASCII."""
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse(text: str) -> Header:
    """Return the JSON object in `text`; its fields are not checked."""
    check_size(text)
    try:
        header = json.loads(text, object_pairs_hook=unique_keys, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"metadata: not valid JSON ({error})") from error
    if not isinstance(header, dict):
        raise ValueError("metadata: expected a JSON object")
    return header


def check_size(text: str) -> None:
    """Raise a ValueError for metadata that are too long, or nested too deeply."""
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"metadata: longer than {_MAX_LENGTH} characters")
    if _depth(text) > _MAX_DEPTH:  # the parser recurses, as deep as the recursion limit, which others may have raised
        raise ValueError(f"metadata: not valid JSON of ours (nested deeper than {_MAX_DEPTH})")


def _depth(text: str) -> int:
    """Return how deep brackets are nested outside of strings."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def unique_keys(pairs: list[tuple[str, Any]]) -> Header:
    """Return the object of the pairs that a parser of JSON found, refuse one key for two."""
    header = dict(pairs)
    if len(header) != len(pairs):
        raise ValueError("a key appears twice")
    return header


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


# ---- fields ----


def expect(good: bool, field: str, expected: str, header: Header) -> None:
    """Raise a ValueError that names the field unless it is good."""
    if not good:
        got = repr(header.get(field))
        got = got if len(got) <= 60 else got[:57] + "..."
        raise ValueError(f"{field}: expected {expected}, got {got}")


def is_int(x: object) -> bool:
    """Whether x is an integer of JSON: true and 1.0 are none."""
    return type(x) is int


def are_ints(x: object, count: int) -> bool:
    """Whether x is a list of so many integers."""
    return isinstance(x, list) and len(x) == count and all(map(is_int, x))


def is_one_of(x: object, choices: Collection[str]) -> bool:
    """Whether x is one of some texts."""
    return isinstance(x, str) and x in choices


def check_fields(header: Header, names: Collection[str]) -> None:
    """Require the fields that all kinds have and those of `names`, no others."""
    for name in sorted(COMMON.union(names) ^ header.keys()):
        raise ValueError(f"{name[:60]}: {'unknown' if name in header else 'missing'} metadata field")


def error_fields(op: Any) -> Header:
    """Return the fields of the error of an operator."""
    error = None if math.isnan(op.relative_error) else op.relative_error
    return {"relative_error": error, "error_kind": op.error_kind}


def checked_error(header: Header) -> Known:
    """Return the error of an operator, and how it is known."""
    error, kind = header["relative_error"], header["error_kind"]
    good = error is None or (type(error) is float and math.isfinite(error) and error >= 0)
    expect(good, "relative_error", "a finite float, not negative, or null", header)
    expect(is_one_of(kind, ERROR_KINDS), "error_kind", "one of " + ", ".join(ERROR_KINDS), header)
    return Known(math.nan if error is None else error, kind)


def metric_errors_of(op: Any) -> Header:
    """Return the field of the errors of an operator in metrics of its inputs, and of those of its transpose."""
    return {"metric_errors": [None if math.isnan(each) else each for each in op._metric_errors]}


def checked_metric_errors(header: Header) -> tuple[float, float]:
    """Return the errors of an operator in metrics."""
    errors = header["metric_errors"]
    good = isinstance(errors, list) and len(errors) == 2 and all(each is None or _is_error(each) for each in errors)
    expect(good, "metric_errors", "two finite floats, not negative, or null", header)
    first, second = (math.nan if each is None else each for each in errors)
    return first, second


def _is_error(x: object) -> bool:
    return type(x) is float and math.isfinite(x) and x >= 0


def checked_dtype(header: Header) -> np.dtype[Any]:
    """Return the dtype of an operator."""
    expect(is_one_of(header["dtype"], DTYPES), "dtype", ", ".join(DTYPES), header)
    return np.dtype(header["dtype"])


def check_digest(header: Header) -> None:
    """Check that the checksum has the form of one."""
    digest = header["sha256"]
    good = isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    expect(good, "sha256", "64 hexadecimal digits", header)


# ---- tensors ----


def reals_of(dtype: np.dtype[Any], *shape: int) -> tuple[str, list[int]]:
    """Return type and shape of a tensor of the real parts of numbers."""
    return f"F{8 * dtype.itemsize // planes_of(dtype)}", list(shape)


def numbers_of(dtype: np.dtype[Any], *shape: int) -> tuple[str, list[int]]:
    """Return type and shape of a tensor of numbers, complex ones as pairs: safetensors has no complex128."""
    return reals_of(dtype, *shape, *([2] if dtype.kind == "c" else []))


def as_reals(a: Array) -> Array:
    """View complex numbers as a trailing axis of two real ones."""
    return a.view(a.real.dtype).reshape(*a.shape, 2) if a.dtype.kind == "c" else a


def reals(tensors: dict[str, Array], name: str) -> Array:
    """Return a tensor of finite real numbers."""
    if not np.all(np.isfinite(tensors[name])):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return tensors[name]


def numbers(tensors: dict[str, Array], name: str, dtype: np.dtype[Any]) -> Array:
    """Return a tensor of finite numbers, pairs as complex ones."""
    parts = reals(tensors, name)
    return parts.view(dtype)[..., 0] if dtype.kind == "c" else parts


def read_tensors(file: Tensors, expected: Expected, optional: Collection[str] = ()) -> dict[str, Array]:
    """Check names, types and shapes of all tensors, then read them into aligned memory."""
    names = set(file.keys())
    for name in sorted(names - expected.keys()):
        raise ValueError(f"{name[:60]}: unknown tensor")
    for name in sorted(expected.keys() - names - set(optional)):
        raise ValueError(f"{name}: missing tensor")
    for name in sorted(names):
        _check_tensor(file, name, *expected[name])
    return {name: frozen_view(aligned(file.get_tensor(name))) for name in sorted(names)}


def _check_tensor(file: Tensors, name: str, kind: str, shape: list[int]) -> None:
    view = file.get_slice(name)
    got = view.get_dtype(), list(view.get_shape())
    if got != (kind, shape):
        raise ValueError(f"{name}: expected {kind} of shape {shape}, got {got[0]} of {got[1]}")


def checksum(header: Header, tensors: dict[str, Array]) -> str:
    """Return the SHA-256 of the canonical metadata without the checksum, and of every tensor."""
    covered = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(canonical(covered).encode() + b"\n")
    for name, tensor in sorted(tensors.items()):
        little = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        kind = f"{tensor.dtype.kind.upper()}{8 * tensor.dtype.itemsize}"
        description = [name, kind, list(tensor.shape)]
        digest.update(json.dumps(description, separators=(",", ":")).encode() + b"\n")
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_sum(header: Header, tensors: dict[str, Array]) -> None:
    """Compare the checksum with the contents."""
    if checksum(header, tensors) != header["sha256"]:
        raise ValueError("sha256: the checksum does not match the contents, the file is damaged")


# ---- operators inside of operators ----


class Some:
    """Some tensors of a file: those whose names begin so, without that."""

    def __init__(self, file: Tensors, names: list[str], prefix: str = "") -> None:
        self._file, self._names, self._prefix = file, names, prefix

    def keys(self) -> list[str]:
        """Names of all tensors."""
        return self._names

    def get_slice(self, name: str) -> Any:
        """Return type and shape of a tensor, unread."""
        return self._file.get_slice(self._prefix + name)

    def get_tensor(self, name: str) -> Array:
        """Return a tensor."""
        return self._file.get_tensor(self._prefix + name)


def own_tensors(file: Tensors, terms: int) -> tuple[Some, list[Some]]:
    """Return the tensors of an operator itself, and those of each of so many others in it, after ``0.``, ``1.``, ..."""
    own: list[str] = []
    found: dict[str, list[str]] = {str(at): [] for at in range(terms)}
    for name in sorted(file.keys()):
        number, dot, rest = name.partition(".")
        (found[number] if dot and number in found else own).append(rest if dot and number in found else name)
    return Some(file, own), [Some(file, names, f"{number}.") for number, names in found.items()]


def members_of(terms: list[Header], files: list[Some], read: Callable[[Header, Tensors], Any]) -> list[Any]:
    """Return the operators of the metadata `terms`; a message says which one is at fault."""
    members = []
    for at, (term, file) in enumerate(zip(terms, files, strict=True)):
        try:
            members.append(read(term, file))
        except ValueError as problem:
            raise ValueError(f"terms[{at}]: {problem}") from problem
    return members


def covered(header: Header, tensors: dict[str, Array]) -> dict[str, Array]:
    """Return the tensors that the checksum of an operator covers: not those of others in it, which have their own."""
    numbers = {str(at) for at in range(len(header.get("terms", [])))}
    return {name: x for name, x in tensors.items() if name.partition(".")[0] not in numbers}
