"""Operators made of operators in files: the metadata of all members in one text, their tensors under numbered names."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from bitterfly.files import butterflies
from bitterfly.files.container import (
    MAX_SIZE,
    Codec,
    Header,
    Parts,
    Tensors,
    check_digest,
    check_fields,
    check_sum,
    checked_error,
    checked_metric_errors,
    error_fields,
    expect,
    members_of,
    metric_errors_of,
    own_tensors,
    read_tensors,
)
from bitterfly.inputs import Array
from bitterfly.operators.butterfly import Butterfly
from bitterfly.operators.contract import UNKNOWN, ButterflyProduct, ButterflySum, Operator
from bitterfly.operators.kron import ButterflyKron
from bitterfly.operators.stacks import ButterflyStack

PLAIN_SUM = 3  # format version of sums of butterflies without coefficients
COMPOSITE = 5  # and of all else, to any depth
METRIC = 7  # of those whose error in a metric is known

_MAX_TERMS = 1 << 10


class _Fact(NamedTuple):
    """What a kind has beside members: as JSON, and from checked metadata."""

    to_json: Callable[[Any], Any]
    read: Callable[[Header], Any]


class _Kind(NamedTuple):
    """A class, made of members, and its facts, named as fields, attributes and arguments."""

    make: Callable[..., Operator]
    facts: dict[str, _Fact]


def codecs(sealed: Callable[[Any], Parts], read: Callable[[Header, Tensors], Any]) -> dict[str, Codec]:
    """Return the codecs of all kinds made of members, which `sealed` describes and `read` reads."""
    return {kind: Codec(partial(_describe, sealed), partial(_read, read)) for kind in _KINDS}


# ---- writing ----


def _describe(sealed: Callable[[Any], Parts], op: Any) -> Parts:
    expect(len(op.members) <= _MAX_TERMS, "op", f"at most {_MAX_TERMS} members", {"op": len(op.members)})
    headers: list[Header] = []
    tensors: dict[str, Array] = {}
    for at, member in enumerate(op.members):
        header, buffers = sealed(member)
        headers.append(header)
        tensors |= {f"{at}.{name}": buffer for name, buffer in buffers.items()}
    version = PLAIN_SUM if isinstance(op, ButterflySum) and _is_plain(op) else COMPOSITE
    version = version if all(map(math.isnan, op._metric_errors)) else METRIC
    facts = {name: fact.to_json(getattr(op, name)) for name, fact in _facts(version, op.kind).items()}
    if version == METRIC:
        facts |= metric_errors_of(op)
    return {"format_version": version, "kind": op.kind, "terms": headers} | error_fields(op) | facts, tensors


def _is_plain(op: ButterflySum) -> bool:
    butterflies_alone = all(isinstance(term, Butterfly) for term in op.terms)
    return butterflies_alone and all(type(c) is float and c == 1 for c in op.coefficients)


def _facts(version: int, kind: str) -> dict[str, _Fact]:
    return {} if version == PLAIN_SUM else _KINDS[kind].facts


# ---- reading ----


def _read(read: Callable[[Header, Tensors], Any], header: Header, file: Tensors) -> Operator:
    version, kind = header.get("format_version"), header["kind"]
    versions = [PLAIN_SUM, COMPOSITE, METRIC] if kind == "sum" else [COMPOSITE, METRIC]
    good = type(version) is int and version in versions
    expect(good, "format_version", f"{' or '.join(map(str, versions))} for kind {kind!r}", header)
    facts, terms = _facts(header["format_version"], kind), header.get("terms")
    has_metric = header["format_version"] == METRIC
    check_fields(header, {"terms", *facts} | ({"metric_errors"} if has_metric else set()))
    good = isinstance(terms, list) and 1 <= len(terms) <= _MAX_TERMS and all(isinstance(t, dict) for t in terms)
    expect(good, "terms", f"1 to {_MAX_TERMS} objects", header)
    known = checked_error(header)
    check_digest(header)
    values = {name: fact.read(header) for name, fact in facts.items()}
    errors = checked_metric_errors(header) if has_metric else UNKNOWN
    check_sum(header, {})
    own, others = own_tensors(file, len(header["terms"]))
    read_tensors(own, {})
    members = members_of(header["terms"], others, butterflies.CODEC.read if version == PLAIN_SUM else read)
    try:
        op = _KINDS[kind].make(members, **values, **known.facts)
    except OverflowError as problem:
        raise ValueError(str(problem)) from problem
    if max(op.shape) > MAX_SIZE:
        raise ValueError(f"terms: an operator of shape {op.shape} exceeds {MAX_SIZE} rows or columns")
    return op._viewed(_metric_errors=errors)


# ---- kinds ----


def _read_axis(header: Header) -> Any:
    axis = header["axis"]
    good = (type(axis) is int and axis in (0, 1)) or axis == "diagonal"
    expect(good, "axis", "0, 1 or 'diagonal'", header)
    return axis


def _read_coefficients(header: Header) -> list[complex]:
    numbers = header["coefficients"]
    good = isinstance(numbers, list) and len(numbers) == len(header["terms"]) and all(map(_is_number, numbers))
    expect(good, "coefficients", "a finite float, or a pair of them, for each term", header)
    return [complex(*c) if isinstance(c, list) else c for c in numbers]


def _is_number(x: object) -> bool:
    parts = x if isinstance(x, list) else [x]
    good = all(type(part) is float and math.isfinite(part) for part in parts)
    return good and (parts is not x or len(parts) == 2)


def _as_pairs(numbers: tuple[complex, ...]) -> list[float | list[float]]:
    return [[x.real, x.imag] if isinstance(x, complex) else x for x in numbers]


_KINDS = {
    "sum": _Kind(ButterflySum, {"coefficients": _Fact(_as_pairs, _read_coefficients)}),
    "product": _Kind(ButterflyProduct, {}),
    "stack": _Kind(ButterflyStack, {"axis": _Fact(lambda axis: axis, _read_axis)}),
    "kron": _Kind(ButterflyKron, {}),
}
