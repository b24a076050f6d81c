"""Kernels of convolutions in files: the operators of their factors with metadata of their own, or signed cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitterfly.accuracy.known import Known
from bitterfly.files import cuts, storage
from bitterfly.files.container import (
    MAX_SIZE,
    Header,
    Parts,
    Tensors,
    are_ints,
    check_digest,
    check_fields,
    check_sum,
    checked_error,
    checksum,
    covered,
    error_fields,
    expect,
    is_one_of,
    members_of,
    own_tensors,
    read_tensors,
)
from bitterfly.inputs import Array

VERSION = 8
KIND = "convolution"
STRUCTURES = ("canonical", "tensor_train", "cuts", "unfolded")

read_tensor = cuts.read_tensor

_MOST_AXES = 5


def sealed(kernel: Any) -> Parts:
    """Return the metadata, with the checksum, and the tensors of a `FactoredConvolution`."""
    terms: list[Header] = []
    tensors: dict[str, Array] = {}
    for at, factor in enumerate(kernel.factors):
        term, buffers = cuts.describe_tensor(factor) if kernel.structure == "cuts" else storage.sealed(factor)
        terms.append(term)
        tensors |= {f"{at}.{name}": buffer for name, buffer in buffers.items()}
    header: Header = {"format_version": VERSION, "kind": KIND, "shape": list(kernel.shape)}
    header |= {"structure": kernel.structure, "terms": terms} | error_fields(kernel)
    return header | {"sha256": checksum(header, covered(header, tensors))}, tensors


def unsealed(
    header: Header, file: Tensors, cut_tensor: Callable[[Header, Tensors], Any]
) -> tuple[tuple[int, ...], str, tuple[Any, ...], Known]:
    """Return what a `FactoredConvolution` is made of, checked: shape, structure, factors, its error."""
    expect(header.get("kind") == KIND, "kind", repr(KIND), header)
    expect(header.get("format_version") == VERSION, "format_version", f"{VERSION} for kind {KIND!r}", header)
    check_fields(header, {"shape", "structure", "terms"})
    known, shape, terms = checked_error(header), header["shape"], header["terms"]
    check_digest(header)
    good = isinstance(shape, list) and 3 <= len(shape) <= _MOST_AXES and are_ints(shape, len(shape))
    good = good and all(1 <= size < MAX_SIZE for size in shape)
    expect(good, "shape", f"3 to {_MOST_AXES} sizes below {MAX_SIZE}", header)
    expect(is_one_of(header["structure"], STRUCTURES), "structure", f"one of {', '.join(STRUCTURES)}", header)
    most = len(shape) if header["structure"] == "canonical" else 1
    good = isinstance(terms, list) and 1 <= len(terms) <= most and all(isinstance(term, dict) for term in terms)
    expect(good, "terms", f"1 to {most} objects", header)
    own, others = own_tensors(file, len(terms))
    check_sum(header, read_tensors(own, {}))
    read = cut_tensor if header["structure"] == "cuts" else storage.unsealed
    factors = tuple(members_of(terms, others, read))
    for at, factor in enumerate(factors):
        if factor.dtype.kind == "c":
            raise ValueError(f"terms[{at}]: expected real numbers, got {factor.dtype}")
    return tuple(shape), header["structure"], factors, known
