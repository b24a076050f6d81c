"""Operators made of operators in files: the metadata of all members in one text, their tensors under numbered names."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from bitterfly.files.checksum import checksum
from bitterfly.files.container import MAX_SIZE, Header, check_digest, check_error, expect
from bitterfly.inputs import Array
from bitterfly.operators.contract import ButterflyProduct, ButterflySum, Operator
from bitterfly.operators.kron import ButterflyKron
from bitterfly.operators.stacks import ButterflyStack

PLAIN_SUM = 3  # format version of sums of butterflies without coefficients
COMPOSITE = 5  # and of all else, to any depth
KINDS = ("sum", "product", "stack", "kron")

_MAX_TERMS = 1 << 10
_COMMON = {"format_version", "kind", "terms", "relative_error", "error_kind", "sha256"}
_FIELDS = {
    (PLAIN_SUM, "sum"): _COMMON,
    (COMPOSITE, "sum"): _COMMON | {"coefficients"},
    (COMPOSITE, "product"): _COMMON,
    (COMPOSITE, "stack"): _COMMON | {"axis"},
    (COMPOSITE, "kron"): _COMMON,
}


class Tensors(Protocol):
    """What is asked of an open file."""

    def keys(self) -> Iterable[str]:
        """Names of all tensors."""

    def get_slice(self, name: str) -> Any:
        """Return type and shape of a tensor, unread."""

    def get_tensor(self, name: str) -> Array:
        """Return a tensor."""


class _Member:
    """The tensors of one member, whose names begin with its number."""

    def __init__(self, file: Tensors, at: int, names: list[str]) -> None:
        self._file, self._prefix, self._names = file, f"{at}.", names

    def keys(self) -> list[str]:
        return self._names

    def get_slice(self, name: str) -> Any:
        return self._file.get_slice(self._prefix + name)

    def get_tensor(self, name: str) -> Array:
        return self._file.get_tensor(self._prefix + name)


# ---- writing ----


def composite_parts(
    op: Operator, sealed: Callable[[Any], tuple[Header, dict[str, Array]]]
) -> tuple[Header, dict[str, Array]]:
    """Return the metadata, without the checksum, and the tensors of an operator whose members `sealed` describes."""
    expect(len(op.members) <= _MAX_TERMS, "op", f"at most {_MAX_TERMS} members", {"op": len(op.members)})
    headers: list[Header] = []
    tensors: dict[str, Array] = {}
    for at, member in enumerate(op.members):
        header, buffers = sealed(member)
        headers.append(header)
        tensors |= {f"{at}.{name}": buffer for name, buffer in buffers.items()}
    header = {"format_version": COMPOSITE, "kind": op.kind, "terms": headers, "error_kind": op.error_kind}
    header["relative_error"] = None if math.isnan(op.relative_error) else op.relative_error
    if isinstance(op, ButterflyStack):
        return header | {"axis": op.axis}, tensors
    if not isinstance(op, ButterflySum):
        return header, tensors
    if not any(member.members for member in op.members) and all(type(c) is float and c == 1 for c in op.coefficients):
        return header | {"format_version": PLAIN_SUM}, tensors
    return header | {"coefficients": [_as_json(c) for c in op.coefficients]}, tensors


def _as_json(x: complex) -> float | list[float]:
    return [x.real, x.imag] if isinstance(x, complex) else x


# ---- reading ----


def is_composite(header: Header) -> bool:
    """Whether metadata are those of an operator made of operators."""
    kind = header.get("kind")
    return isinstance(kind, str) and kind in KINDS


def read_composite(
    header: Header, file: Tensors, one: Callable[[Header, Tensors], Any], any_kind: Callable[[Header, Tensors], Any]
) -> Any:
    """Return the operator of checked metadata; members are read by `one`, by `any_kind` where they may have members."""
    _check_fields(header)
    if checksum(header, {}) != header["sha256"]:
        raise ValueError("sha256: the checksum does not match the contents, the file is damaged")
    terms, read = header["terms"], one if header["format_version"] == PLAIN_SUM else any_kind
    members = []
    for at, (term, names) in enumerate(zip(terms, _names_of(file, len(terms)), strict=True)):
        try:
            members.append(read(term, _Member(file, at, names)))
        except ValueError as problem:
            raise ValueError(f"terms[{at}]: {problem}") from problem
    try:
        op = _made(header, members)
    except OverflowError as problem:
        raise ValueError(str(problem)) from problem
    if max(op.shape) > MAX_SIZE:
        raise ValueError(f"terms: an operator of shape {op.shape} exceeds {MAX_SIZE} rows or columns")
    return op


def _check_fields(header: Header) -> None:
    """Check the fields of metadata, those of members aside."""
    version, kind = header.get("format_version"), header["kind"]
    versions = [v for v, k in _FIELDS if k == kind]
    expected = " or ".join(map(str, versions))
    expect(type(version) is int and version in versions, "format_version", f"{expected} for kind {kind!r}", header)
    for name in sorted(_FIELDS[header["format_version"], kind] ^ header.keys()):
        raise ValueError(f"{name[:60]}: {'unknown' if name in header else 'missing'} metadata field")
    terms = header["terms"]
    good = isinstance(terms, list) and 1 <= len(terms) <= _MAX_TERMS and all(isinstance(t, dict) for t in terms)
    expect(good, "terms", f"1 to {_MAX_TERMS} objects", header)
    check_error(header)
    check_digest(header)
    if "axis" in header:
        axis = header["axis"]
        good = (type(axis) is int and axis in (0, 1)) or axis == "diagonal"
        expect(good, "axis", "0, 1 or 'diagonal'", header)
    if "coefficients" in header:
        numbers = header["coefficients"]
        good = isinstance(numbers, list) and len(numbers) == len(terms) and all(map(_is_number, numbers))
        expect(good, "coefficients", "a finite float, or a pair of them, for each term", header)


def _is_number(x: object) -> bool:
    parts = x if isinstance(x, list) else [x]
    good = all(type(part) is float and math.isfinite(part) for part in parts)
    return good and (parts is not x or len(parts) == 2)


def _names_of(file: Tensors, count: int) -> list[list[str]]:
    """Return the names of the tensors of each member, without its number."""
    found: dict[str, list[str]] = defaultdict(list)
    numbers = [str(at) for at in range(count)]
    known = set(numbers)
    for name in sorted(file.keys()):
        number, dot, rest = name.partition(".")
        if not dot or number not in known:
            raise ValueError(f"{name[:60]}: unknown tensor")
        found[number].append(rest)
    return [found[number] for number in numbers]


def _made(header: Header, members: list[Any]) -> Operator:
    error = header["relative_error"]
    known: dict[str, Any] = {
        "relative_error": np.nan if error is None else error,
        "error_kind": header["error_kind"],
    }
    if header["kind"] == "sum":
        numbers = header.get("coefficients", [1.0] * len(members))
        coefficients = [complex(*c) if isinstance(c, list) else c for c in numbers]
        return ButterflySum(members, coefficients=coefficients, **known)
    if header["kind"] == "stack":
        return ButterflyStack(members, header["axis"], **known)
    return (ButterflyProduct if header["kind"] == "product" else ButterflyKron)(members, **known)
