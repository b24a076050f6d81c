"""Sums in files: the metadata of all terms in one text, their tensors under numbered names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from bitterfly.files.container import Header, check_digest, check_error, expect
from bitterfly.inputs import Array
from bitterfly.operators.contract import ButterflySum

SUM = "sum"
SUM_VERSION = 3

_MAX_TERMS = 1 << 10
_FIELDS = {"format_version", "kind", "terms", "relative_error", "error_kind", "sha256"}


class Tensors(Protocol):
    """What is asked of an open file."""

    def keys(self) -> Iterable[str]:
        """Names of all tensors."""

    def get_slice(self, name: str) -> Any:
        """Return type and shape of a tensor, unread."""

    def get_tensor(self, name: str) -> Array:
        """Return a tensor."""


class _Term:
    """The tensors of one term, whose names begin with its number."""

    def __init__(self, file: Tensors, at: int) -> None:
        self._file, self._prefix = file, f"{at}."

    def keys(self) -> list[str]:
        return [name.removeprefix(self._prefix) for name in self._file.keys() if name.startswith(self._prefix)]  # noqa: SIM118

    def get_slice(self, name: str) -> Any:
        return self._file.get_slice(self._prefix + name)

    def get_tensor(self, name: str) -> Array:
        return self._file.get_tensor(self._prefix + name)


def sum_parts(
    op: ButterflySum, sealed: Callable[[Any], tuple[Header, dict[str, Array]]]
) -> tuple[Header, dict[str, Array]]:
    """Return the metadata of a sum, without its checksum, and the tensors of all terms."""
    headers: list[Header] = []
    tensors: dict[str, Array] = {}
    for at, term in enumerate(op.terms):
        header, buffers = sealed(term)
        headers.append(header)
        tensors |= {f"{at}.{name}": buffer for name, buffer in buffers.items()}
    header = {"format_version": SUM_VERSION, "kind": SUM, "terms": headers, "error_kind": op.error_kind}
    return header | {"relative_error": None if math.isnan(op.relative_error) else op.relative_error}, tensors


def check_sum(header: Header, names: set[str]) -> None:
    """Check the fields of a sum's metadata, those of its terms aside, and that no tensor belongs to none of them."""
    expect(header.get("format_version") == SUM_VERSION, "format_version", f"{SUM_VERSION} for a sum", header)
    for name in sorted(_FIELDS ^ header.keys()):
        raise ValueError(f"{name[:60]}: {'unknown' if name in header else 'missing'} metadata field")
    terms = header["terms"]
    good = isinstance(terms, list) and 1 <= len(terms) <= _MAX_TERMS and all(isinstance(t, dict) for t in terms)
    expect(good, "terms", f"1 to {_MAX_TERMS} objects", header)
    check_error(header)
    check_digest(header)
    prefixes = {str(at) for at in range(len(terms))}
    for name in sorted(names):
        number, dot, _ = name.partition(".")
        if not dot or number not in prefixes:
            raise ValueError(f"{name[:60]}: unknown tensor")


def read_sum(header: Header, file: Tensors, one: Callable[[Header, Tensors], Any]) -> ButterflySum:
    """Return the sum of the terms, each read by `one`."""
    terms = []
    for at, term in enumerate(header["terms"]):
        try:
            terms.append(one(term, _Term(file, at)))
        except ValueError as problem:
            raise ValueError(f"terms[{at}]: {problem}") from problem
    error = header["relative_error"]
    return ButterflySum(terms, math.nan if error is None else error, header["error_kind"])
