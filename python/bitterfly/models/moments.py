"""Second moments of the inputs of matrices, by name, in a file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from bitterfly.accuracy.moments import SecondMoments
from bitterfly.files.container import Header, canonical, expect, is_int, parse
from bitterfly.files.replacing import Path, replacing
from bitterfly.files.storage import METADATA_KEY
from bitterfly.models.loaded import digest_of
from bitterfly.models.tensors import TensorFile, check_name, of_array, opened, write

_log = logging.getLogger("bitterfly")

_VERSION = 1
_FIELDS = {"format_version", "kind", "count", "sha256"}


class StoredMoments(Mapping[str, SecondMoments]):
    """Second moments in a file, by name; read when they are asked for, each time anew.

    Attributes
    ----------
    path : str
    """

    def __init__(self, path: Path) -> None:
        self.path = os.path.realpath(os.fspath(path))
        self._file = opened(self.path)
        try:
            self._facts = _checked(self._file)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error

    def __getitem__(self, name: str) -> SecondMoments:
        tensor, facts = self._file.tensors[name], self._facts[name]
        if digest_of(tensor) != facts["sha256"]:
            raise ValueError(f"{self.path}: {name}: the checksum does not match the contents, the file is damaged")
        try:
            return SecondMoments.of(tensor.array(), facts["count"])
        except ValueError as error:
            raise ValueError(f"{self.path}: {name}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.tensors)

    def __len__(self) -> int:
        return len(self._file.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._file.tensors

    @property
    def counts(self) -> dict[str, int]:
        """How many inputs each has seen."""
        return {name: facts["count"] for name, facts in self._facts.items()}


class Seen(Mapping[str, Any]):
    """Moments by name, without those of no inputs: of layers that a model has and does not call."""

    def __init__(self, moments: Mapping[str, Any]) -> None:
        stored = moments.counts if isinstance(moments, StoredMoments) else None
        counts = stored or {name: x.count for name, x in moments.items() if isinstance(x, SecondMoments)}
        self._moments = moments
        self._names = [name for name in moments if counts.get(name) != 0]
        for name in moments.keys() - set(self._names):
            _log.info("%s: its moments have seen no inputs, and do not count", name)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._moments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def save_moments(path: Path, moments: Mapping[str, SecondMoments]) -> None:
    """Write second moments of the inputs of matrices to a safetensors file.

    Parameters
    ----------
    path : str or path-like
        The file appears, or replaces an older one, only once it is complete.
    moments : mapping of names to SecondMoments

    Raises
    ------
    TypeError, ValueError
        Where they are no such mapping, and for names that safetensors does not have.
    OSError
        Where the file cannot be written.
    """
    if not isinstance(moments, Mapping):
        raise TypeError(f"moments: expected a mapping of names to SecondMoments, got {type(moments).__name__}")
    for name in moments:
        check_name(name, "moments")
        if not isinstance(moments[name], SecondMoments):
            raise TypeError(f"moments: expected names and SecondMoments, got {name!r}: {type(moments[name]).__name__}")
    tensors = {name: of_array(moments[name].matrix.T, name) for name in moments}
    metadata = {}
    for name, tensor in tensors.items():
        facts = {"format_version": _VERSION, "kind": "moments", "count": moments[name].count}
        metadata[f"{METADATA_KEY}:{name}"] = canonical(facts | {"sha256": digest_of(tensor)})
    with replacing(path) as file:
        write(file, tensors, metadata)


def load_moments(path: Path) -> StoredMoments:
    """Open a file of second moments that `save_moments` has written.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    mapping of names to SecondMoments
        Read, and checked, when they are asked for.

    Raises
    ------
    ValueError
        Where the file is no such file, or damaged.
    OSError
        Where it cannot be read.
    """
    return StoredMoments(path)


def _checked(file: TensorFile) -> dict[str, Header]:
    first = len(METADATA_KEY) + 1
    facts = {key[first:]: parse(text) for key, text in file.metadata.items()}
    if facts.keys() != file.tensors.keys():
        raise ValueError("metadata: expected what is known of each tensor, as save_moments writes it")
    for name, known in facts.items():
        expect(known.keys() == _FIELDS and known["kind"] == "moments", "kind", "'moments'", known)
        expect(known["format_version"] == _VERSION, "format_version", f"{_VERSION} for kind 'moments'", known)
        expect(is_int(known["count"]) and known["count"] >= 0, "count", "an integer, not negative", known)
        tensor = file.tensors[name]
        square = len(tensor.shape) == 2 and tensor.shape[0] == tensor.shape[1]
        if tensor.dtype != "F64" or not square:
            raise ValueError(f"{name[:60]}: expected F64 of a square shape, got {tensor.dtype} of {list(tensor.shape)}")
    return facts
