"""Operators to safetensors files and back; what is loaded is checked, checksum included."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from typing import Any, cast

from bitterfly.files import butterflies, composites, cuts, dense, structures, trains
from bitterfly.files.container import Codec, Header, Parts, Tensors, canonical, check_size, checksum, covered, parse
from bitterfly.files.replacing import Path, as_regular_file, replacing
from bitterfly.operators.contract import Operator

METADATA_KEY = "bitterfly"
_NO_OPERATORS = {cuts.TENSOR: "cuts.CutTensor", "convolution": "convolutions.FactoredConvolution"}


def save(path: Path, op: Operator) -> None:
    """Write an operator to a safetensors file.

    Parameters
    ----------
    path : str or path-like
        The file appears, or replaces an older one, only once it is complete.
    op : operator
        Of any kind and in any mode: of a transposed operator the shared buffers are stored, and the mode; of one that
        is made of others, all of these.

    Raises
    ------
    TypeError
        Where `op` is no operator of this package.
    ValueError
        Where operators are made of more operators than a file holds: 1024 at a time, about 2000 in all, 14 deep.
    OSError
        Where the file cannot be written; an existing file is left as it was.
    """
    write(path, sealed(op))


def load(path: Path) -> Operator:
    """Read an operator that `save` has written.

    Parameters
    ----------
    path : str or path-like
        A file in the format of docs/storage.md; of a pipe, a copy is made first.

    Returns
    -------
    operator
        Of the same kind, equal in all buffers, mode and error to what was saved.

    Raises
    ------
    ValueError
        Where the file is no such file, or damaged; the message names the field at fault.
    OSError
        Where the file cannot be read.
    """
    return cast(Operator, read(path, _whole))


def write(path: Path, parts: Parts) -> None:
    """Write sealed metadata and tensors to a file."""
    data = contents(parts)
    with replacing(path) as file:
        file.write(data)


def read(path: Path, reader: Callable[[Header, Tensors], Any]) -> Any:
    """Return what a reader makes of the metadata and tensors of a file; ValueErrors get its name."""
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    try:
        with as_regular_file(path) as regular, safe_open(regular, framework="numpy") as file:
            return reader(_header(file), file)
    except SafetensorError as error:
        reason = textwrap.shorten(str(error), 200)  # it may quote what the file holds
        raise ValueError(f"{name}: header: not a safetensors file, or damaged ({reason})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from error


def to_bytes(op: Operator) -> bytes:
    """Return the contents of a file of an operator."""
    return contents(sealed(op))


def contents(parts: Parts) -> bytes:
    """Return the contents of a file of sealed metadata and tensors."""
    from safetensors.numpy import save as container

    header, tensors = parts
    text = canonical(header)
    check_size(text)
    return container(tensors, metadata={METADATA_KEY: text})


def sealed(op: Any) -> Parts:
    """Return the metadata, with the checksum, and the tensors of an operator."""
    codec = CODECS.get(op.kind) if isinstance(op, Operator) else None
    if codec is None:
        raise TypeError(f"op: expected an operator of this package, got {type(op).__name__}")
    header, tensors = codec.describe(op)
    return header | {"sha256": checksum(header, covered(header, tensors))}, tensors


def _header(file: Any) -> Header:
    text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise ValueError(f"metadata: no key {METADATA_KEY!r}, this is no bitterfly file")
    return parse(text)


def _whole(header: Header, file: Tensors) -> Operator:
    if header.get("kind") == "model":
        raise ValueError("kind: this is a model, not an operator; bitterfly.models.load reads it")
    return unsealed(header, file)


def unsealed(header: Header, file: Tensors) -> Operator:
    """Return the operator of any kind that metadata, unchecked, and tensors are of."""
    kind = header.get("kind")
    if isinstance(kind, str) and kind in _NO_OPERATORS:
        raise ValueError(f"kind: {kind!r} is of tensors, no operator; bitterfly.{_NO_OPERATORS[kind]}.load reads it")
    codec = CODECS.get(kind, butterflies.CODEC) if isinstance(kind, str) else butterflies.CODEC  # refuses other kinds
    return cast(Operator, codec.read(header, file))


CODECS: dict[str, Codec] = {
    "float": butterflies.CODEC,
    "packed": butterflies.CODEC,
    "dense": dense.CODEC,
    **structures.codecs(),
    "tensor_train": trains.codec(sealed, unsealed),
    "cuts": cuts.CODEC,
    **composites.codecs(sealed, unsealed),
}
