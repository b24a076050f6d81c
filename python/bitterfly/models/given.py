"""What a model comes in: a safetensors file, a folder of shards with their index, or arrays by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from bitterfly.files.container import unique_keys
from bitterfly.files.replacing import Path
from bitterfly.models.tensors import Tensor, TensorFile, check_name, of_array, opened

_SUFFIX, _INDEX = ".safetensors", ".safetensors.index.json"
_MOST_INDEX = 100_000_000  # bytes, as of the header of a file


def given(model: Path | Mapping[str, Any]) -> TensorFile:
    """Return the tensors of a model, unread, and its metadata.

    Raises
    ------
    ValueError, TypeError
        Where files are damaged, shards are missing or do not hold what the index says, and names are no names.
    OSError
        Where a file cannot be read.
    """
    if isinstance(model, Mapping):
        for name in model:
            check_name(name, "model")
        return TensorFile({name: of_array(x, name) for name, x in model.items()}, {})
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"model: expected a path or a mapping of names to arrays, got {type(model).__name__}")
    path = os.fspath(model)
    if os.path.isdir(path):
        path = _in_folder(path)
    return _of_index(path) if path.endswith(".json") else opened(path)


def _in_folder(folder: str) -> str:
    """Return the index of the shards in a folder, else its only safetensors file."""
    for suffix in (_INDEX, _SUFFIX):
        found = sorted(name for name in os.listdir(folder) if name.endswith(suffix))
        if len(found) == 1:
            return os.path.join(folder, found[0])
        if found:
            raise ValueError(
                f"{folder}: expected an index of shards or one safetensors file, got {', '.join(found[:4])}"
            )
    raise ValueError(f"{folder}: expected a safetensors file, or an index of several, got none")


def _of_index(path: str) -> TensorFile:
    """Return the tensors of all shards that an index names, in its order."""
    places = _weight_map(path)
    shards = {name: opened(os.path.join(os.path.dirname(path), name)) for name in sorted(set(places.values()))}
    found: dict[str, Tensor] = {}
    for name, shard in places.items():
        if name not in shards[shard].tensors:
            raise ValueError(f"{path}: weight_map: {name[:60]!r} is not in {shard}")
        found[name] = shards[shard].tensors[name]
    for shard, file in shards.items():
        for name in file.tensors:
            if places.get(name) != shard:
                raise ValueError(f"{path}: weight_map: expected {name[:60]!r} of {shard} to be named there, once")
    metadata: dict[str, str] = {}
    for file in shards.values():
        metadata |= file.metadata
    return TensorFile(found, metadata)


def _weight_map(path: str) -> dict[str, str]:
    """Return the shard of each tensor: names of files in the folder of the index."""
    if os.path.getsize(path) > _MOST_INDEX:
        raise ValueError(f"{path}: longer than {_MOST_INDEX} bytes")
    try:
        with open(path, encoding="utf-8") as file:
            index = json.load(file, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise ValueError(f"{path}: weight_map: expected an object of tensors and the files that hold them")
    for shard in set(places.values()):
        if shard != os.path.basename(shard) or shard in ("", ".", "..") or "\\" in shard or "\0" in shard:
            raise ValueError(f"{path}: weight_map: expected files of the same folder, got {shard[:60]!r}")
    return places
