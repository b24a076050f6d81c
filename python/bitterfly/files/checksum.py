"""The checksum of a file: over its metadata and all of its tensors."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from bitterfly.files.container import Header, canonical
from bitterfly.inputs import Array


def checksum(header: Header, tensors: dict[str, Array]) -> str:
    """SHA-256 over the canonical metadata without the checksum, and over every tensor."""
    covered = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(canonical(covered).encode() + b"\n")
    for name, tensor in sorted(tensors.items()):
        little = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        description = [name, _type_name(tensor), list(tensor.shape)]
        digest.update(json.dumps(description, separators=(",", ":")).encode() + b"\n")
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _type_name(tensor: Array) -> str:
    return f"{tensor.dtype.kind.upper()}{8 * tensor.dtype.itemsize}"
