"""Files of every kind and version, kept as they were written: they load, and are written again bit by bit.

``python tests/files/test_kept_files.py`` keeps files of kinds that are new; those that are kept never change.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitterfly
import tolerances
from bitterfly import reference
from bitterfly.cuts import CutTensor
from bitterfly.files import storage
from hostile import loader, operators, tensors, to_bytes

KEPT = Path(__file__).with_name("kept_files.npz")


@cache
def kept() -> dict[str, np.ndarray]:
    with np.load(KEPT) as file:
        return dict(file)


def _dense(op: Any) -> np.ndarray:
    """The matrix in double precision, by the slow twin."""
    return np.asarray(reference.dense(op)).astype("c16" if np.dtype(op.dtype).kind == "c" else "f8")


def _tensor(x: Any) -> np.ndarray:
    """The tensor in double precision, by the slow twin."""
    return reference.cut_tensor(x) if isinstance(x, CutTensor) else reference.kernel(x)


def test_every_kind_is_kept() -> None:
    assert {
        name.removesuffix(" file") for name in kept() if name.endswith(" file")
    } >= operators().keys() | tensors().keys()
    versions = {int(data.tobytes().split(b'\\"format_version\\":')[1][:1]) for name, data in _files()}
    assert versions == {1, 2, 3, 4, 5, 6, 7, 8}


def _files() -> list[tuple[str, np.ndarray]]:
    return [(name, data) for name, data in kept().items() if name.endswith(" file")]


@pytest.mark.parametrize("name", [name.removesuffix(" file") for name, _ in _files()] if KEPT.exists() else [])
def test_old_files_load(name: str, tmp_path: Path) -> None:
    data = kept()[f"{name} file"].tobytes()
    path = tmp_path / "old.safetensors"
    path.write_bytes(data)
    want = kept()[f"{name} matrix"]
    if name in tensors():
        tensor = loader(name)(path)
        np.testing.assert_allclose(_tensor(tensor), want, rtol=0, atol=0 if isinstance(tensor, CutTensor) else 1e-12)
        assert to_bytes(tensor) == data
        return
    op = bitterfly.load(path)
    # The bound of products, in the precision of the twin, once for it and once for what was kept.
    bound = 2 * tolerances.products(op)[0] * (tolerances.eps(np.float64) / tolerances.eps(op.dtype))
    assert np.all(np.abs(_dense(op) - want) <= bound)
    assert storage.to_bytes(op) == data


if __name__ == "__main__":
    found = kept() if KEPT.exists() else {}
    for name, op in operators().items():
        if f"{name} file" not in found:
            found |= {f"{name} file": np.frombuffer(storage.to_bytes(op), np.uint8), f"{name} matrix": _dense(op)}
    for name, tensor in tensors().items():
        if f"{name} file" not in found:
            found |= {f"{name} file": np.frombuffer(to_bytes(tensor), np.uint8), f"{name} matrix": _tensor(tensor)}
    np.savez_compressed(KEPT, **found)
