"""A compressed model in its file: names to operators and arrays, one at a time; back to a plain file."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from bitterfly.files.container import canonical, expect, is_int, parse
from bitterfly.files.replacing import Path, check_target, replacing
from bitterfly.files.storage import METADATA_KEY, unsealed
from bitterfly.inputs import Array
from bitterfly.models.tensors import FLOATS, Tensor, TensorFile, nbytes_of, opened, shortened, write
from bitterfly.operators.contract import Operator
from bitterfly.operators.stacks import vstack

VERSION = 1
CODED = ("linear", "table", "convolution")
KINDS = (*CODED, "plain")

_NUMBERS = ("metric_error", "sensitivity", "loss")
_PANEL = 1 << 20  # entries that are decoded at once


class Unit(NamedTuple):
    """What is known of some rows of a tensor.

    Attributes
    ----------
    rows : (int, int)
        The first, and the one after the last.
    structure : str
        Kind of the operator: "dense", "sum", "toeplitz", ...; "plain" of tensors that are as they were.
    nbytes : int
        Of all buffers.
    bits : float
        All bytes, for each entry.
    relative_error : float
        Measured on all entries; 0 of plain ones.
    metric_error : float
        In the metric of the inputs; NaN without one.
    sensitivity : float
        What the model loses by it alone in codes of two bits; NaN where that was not asked for.
    loss : float
        What it is expected to lose by this operator alone, by the squares of both errors.
    """

    rows: tuple[int, int]
    structure: str
    nbytes: int
    bits: float
    relative_error: float
    metric_error: float
    sensitivity: float
    loss: float


class CompressedModel(Mapping[str, Operator | Array]):
    """A model file that `compress_model` has written: tensor names to operators, and arrays of what was left alone.

    A tensor is read, and checked, when it is asked for, each time anew. Matrices, tables and convolutions (as matrices
    of output channels times the rest) are operators; of several units, stacks of them. All else is an array in the
    precision of the file: a read-only map of it, BF16 in single precision.

    Attributes
    ----------
    path : str
    """

    def __init__(self, path: Path) -> None:
        self.path = os.path.realpath(os.fspath(path))
        file = opened(self.path)
        try:
            self._header, self._facts = _checked(file)
            self._buffers = _by_owner(file.tensors, self._facts)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error

    def __getitem__(self, name: str) -> Operator | Array:
        facts = self._facts[name]
        if facts["kind"] == "plain":
            return self._array(name)
        try:
            pairs = zip(facts["units"], self._of_units(name), strict=True)
            ops = [unsealed(unit, _Buffers(own)) for unit, own in pairs]
            ops = _known_to(ops, facts)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}: {name}: {error}") from error
        return ops[0] if len(ops) == 1 else vstack(ops)

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, name: object) -> bool:
        return name in self._facts

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors, in the order of the model."""
        return tuple(self._facts)

    @property
    def metadata(self) -> dict[str, Any]:
        """What else the file says: ``"settings"`` of the compression, ``"metadata"`` of the file of the model."""
        return {key: self._header[key] for key in ("settings", "metadata")}

    @property
    def nbytes(self) -> int:
        """Bytes of all operators and arrays, without names and facts."""
        return sum(unit.nbytes for name in self for unit in self.units(name))

    @property
    def half_nbytes(self) -> int:
        """Bytes of the model in half precision: 2 for each floating-point number, all other numbers as they are."""
        return nbytes_of(Tensor(self.dtype(name), self.shape(name), "", 0, self._plain_nbytes(name)) for name in self)

    @property
    def sensitivities(self) -> dict[str, list[float]]:
        """What the model loses by each unit of its matrices in codes of two bits, for another `compress_model`.

        Raises
        ------
        ValueError
            Where that was not asked for.
        """
        found = {name: [unit.sensitivity for unit in self.units(name)] for name in self if self.kind(name) != "plain"}
        if any(math.isnan(each) for losses in found.values() for each in losses):
            raise ValueError(f"{self.path}: sensitivity: the model was compressed without one")
        return found

    def kind(self, name: str) -> str:
        """Return "linear", "table", "convolution", or "plain" for an array that was left alone."""
        return str(self._facts[name]["kind"])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape that a tensor had; operators are matrices."""
        return tuple(self._facts[name]["shape"])

    def dtype(self, name: str) -> str:
        """Return the type that a tensor had, as safetensors has it: "F32", "BF16", ..."""
        return str(self._facts[name]["dtype"])

    def units(self, name: str) -> tuple[Unit, ...]:
        """Return what is known of the operators that a tensor is made of, top to bottom; one for most."""
        facts = self._facts[name]
        if facts["kind"] == "plain":
            return (self._plain_unit(name),)
        ends = [*facts["rows"][1:], facts["shape"][0]]
        row = math.prod(facts["shape"][1:])
        return tuple(
            Unit(
                (first, end),
                unit["kind"],
                known["nbytes"],
                8 * known["nbytes"] / ((end - first) * row),
                *(
                    math.nan if each is None else each
                    for each in (unit["relative_error"], *(known[key] for key in _NUMBERS))
                ),
            )
            for first, end, unit, known in zip(facts["rows"], ends, facts["units"], facts["known"], strict=True)
        )

    def __repr__(self) -> str:
        coded = sum(self.kind(name) != "plain" for name in self)
        share = self.nbytes / max(self.half_nbytes, 1)
        return f"<CompressedModel of {len(self)} tensors, {coded} coded, {share:.1%} of the bytes in half precision>"

    def plain(self, name: str) -> Tensor:
        """Return a tensor that was left alone, by its bytes, checked.

        Raises
        ------
        ValueError
            Where the file is damaged.
        """
        tensor = self._buffers[name][""]
        if digest_of(tensor) != self._facts[name]["sha256"]:
            raise ValueError(f"{self.path}: {name}: sha256: the checksum does not match the contents")
        return tensor

    def _array(self, name: str) -> Array:
        try:
            return self.plain(name).array()
        except TypeError as error:
            raise TypeError(f"{self.path}: {name}: {error}") from error

    def _plain_nbytes(self, name: str) -> int:
        return self._buffers[name][""].nbytes if self.kind(name) == "plain" else 0

    def _plain_unit(self, name: str) -> Unit:
        shape, nbytes = self.shape(name), self._plain_nbytes(name)
        bits = 8 * nbytes / math.prod(shape) if nbytes else 0.0
        return Unit((0, shape[0] if shape else 1), "plain", nbytes, bits, 0.0, math.nan, math.nan, 0.0)

    def _of_units(self, name: str) -> list[dict[str, Tensor]]:
        """Return the buffers of each unit of a tensor."""
        found: list[dict[str, Tensor]] = [{} for _ in self._facts[name]["units"]]
        for key, buffer in self._buffers[name].items():
            number, _, inner = key.partition(".")
            if not number.isdecimal() or not inner or int(number) >= len(found):
                raise ValueError(f"{key[:60]}: unknown tensor")
            found[int(number)][inner] = buffer
        return found


def load(path: Path) -> CompressedModel:
    """Open a model that `compress_model` has written.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    CompressedModel
        A mapping; tensors are read when they are asked for.

    Raises
    ------
    ValueError
        Where the file is no such file, or damaged; the message names what is at fault. What a tensor holds is checked
        when it is asked for.
    OSError
        Where the file cannot be read.
    """
    return CompressedModel(path)


def expand(path: Path, out: Path) -> None:
    """Write a compressed model as a plain safetensors file, every tensor in the type and the shape that it had.

    Parameters
    ----------
    path : str or path-like
        A file of `compress_model`.
    out : str or path-like
        The file appears, or replaces an older one, only once it is complete.

    Raises
    ------
    ValueError
        Where the file is no such file, or damaged, and where `out` is it.
    OSError
        Where a file cannot be read or written.
    """
    model = load(path)
    check_target(os.fspath(out), [model.path])
    with replacing(out) as file:
        write(file, {name: _Expanded(model, name) for name in model}, model.metadata["metadata"])


class _Expanded:
    """A tensor of a model as it was, decoded while it is written."""

    def __init__(self, model: CompressedModel, name: str) -> None:
        self._model, self._name = model, name
        self.dtype, self.shape = model.dtype(name), model.shape(name)
        is_plain = model.kind(name) == "plain"
        self.nbytes = model.units(name)[0].nbytes if is_plain else math.prod(self.shape) * FLOATS[self.dtype]

    def chunks(self) -> Iterator[Array]:
        """Yield its bytes, a few rows at a time."""
        if self._model.kind(self._name) == "plain":
            yield self._model.plain(self._name).raw()
            return
        op = self._model[self._name]
        assert isinstance(op, Operator)
        step = max(_PANEL // op.shape[1], 1)
        for first in range(0, op.shape[0], step):
            rows = op.rows(slice(first, first + step))
            yield as_stored(rows, self.dtype)


class _Buffers:
    """The tensors of one operator, as its codec reads them."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    def keys(self) -> list[str]:
        return list(self._tensors)

    def get_slice(self, name: str) -> _Slice:
        return _Slice(self._tensors[name])

    def get_tensor(self, name: str) -> Array:
        return self._tensors[name].array()


class _Slice(NamedTuple):
    tensor: Tensor

    def get_dtype(self) -> str:
        return self.tensor.dtype

    def get_shape(self) -> tuple[int, ...]:
        return self.tensor.shape


# ---- what the file says ----


def facts_key(name: str) -> str:
    """Return the key of what is known of a tensor, in the metadata of the file."""
    return f"{METADATA_KEY}:{name}"


def seal(header: dict[str, Any], facts: dict[str, str]) -> str:
    """Return the SHA-256 of what a file says of the model and of all its tensors."""
    covered = {key: value for key, value in header.items() if key != "sha256"}
    texts = [canonical(covered), *(f"{name}\n{text}" for name, text in sorted(facts.items()))]
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _checked(file: TensorFile) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return what a file says of the model, and of each tensor in its order."""
    text = file.metadata.get(METADATA_KEY)
    header = {} if text is None else parse(text)
    if header.get("kind") != "model":
        raise ValueError(
            "metadata: this is no compressed model; compress_model writes them, bitterfly.load reads operators"
        )
    expect(header.get("format_version") == VERSION, "format_version", f"{VERSION} for kind 'model'", header)
    fields = {"format_version", "kind", "settings", "metadata", "sha256"}
    for field in sorted(fields ^ header.keys()):
        raise ValueError(f"{field[:60]}: {'unknown' if field in header else 'missing'} metadata field")
    expect(isinstance(header["settings"], dict), "settings", "an object", header)
    kept = header["metadata"]
    good = isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values())
    expect(good, "metadata", "an object of texts", header)
    first = len(facts_key(""))
    texts = {key[first:]: text for key, text in file.metadata.items() if key != METADATA_KEY}
    if any(key[:first] != facts_key("") for key in file.metadata.keys() - {METADATA_KEY}):
        raise ValueError("metadata: expected no keys but those of this package")
    if seal(header, texts) != header["sha256"]:
        raise ValueError("sha256: the checksum does not match the contents, the file is damaged")
    facts = {name: _checked_facts(name, parse(text)) for name, text in texts.items()}
    places = sorted(each["place"] for each in facts.values())
    if places != list(range(len(facts))):
        raise ValueError(f"place: expected each of 0 to {len(facts) - 1} once")
    return header, dict(sorted(facts.items(), key=lambda item: item[1]["place"]))


def _checked_facts(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a tensor, its fields checked; the units are checked when they are read."""
    try:
        expect(facts.get("kind") in KINDS, "kind", ", ".join(KINDS), facts)
        is_plain = facts["kind"] == "plain"
        fields = {"place", "kind", "dtype", "shape"} | ({"sha256"} if is_plain else {"rows", "units", "known"})
        for field in sorted(fields ^ facts.keys()):
            raise ValueError(f"{field[:60]}: {'unknown' if field in facts else 'missing'} field")
        expect(is_int(facts["place"]), "place", "an integer", facts)
        shape = facts["shape"]
        good = isinstance(shape, list) and all(is_int(size) and 0 <= size < 1 << 62 for size in shape)
        expect(good, "shape", "a list of sizes", facts)
        expect(isinstance(facts["dtype"], str), "dtype", "a text", facts)
        if is_plain:
            return facts
        expect(facts["dtype"] in FLOATS, "dtype", ", ".join(FLOATS), facts)
        expect(len(shape) >= 2 and min(shape) >= 1, "shape", "at least two sizes, none of them zero", facts)
        rows = facts["rows"]
        good = isinstance(rows, list) and all(map(is_int, rows)) and rows[:1] == [0] and sorted(set(rows)) == rows
        expect(good and rows[-1] < shape[0], "rows", "the ascending first rows of the units, from 0", facts)
        for field in ("units", "known"):
            units = facts[field]
            good = isinstance(units, list) and len(units) == len(rows) and all(isinstance(each, dict) for each in units)
            expect(good, field, f"{len(rows)} objects", facts)
        _check_known(facts)
    except ValueError as error:
        raise ValueError(f"{name[:60]}: {error}") from error
    return facts


def _check_known(facts: dict[str, Any]) -> None:
    for unit, known in zip(facts["units"], facts["known"], strict=True):
        good = known.keys() == {"nbytes", *_NUMBERS} and is_int(known["nbytes"]) and known["nbytes"] >= 0
        good = good and all(_is_known(known[key]) for key in _NUMBERS)
        expect(good, "known", f"nbytes, {', '.join(_NUMBERS)} of each unit", facts)
        good = isinstance(unit.get("kind"), str) and "relative_error" in unit and _is_known(unit["relative_error"])
        expect(good, "units", "operators with their kind and error", facts)


def _is_known(x: object) -> bool:
    return x is None or (type(x) is float and x >= 0)


def _known_to(ops: list[Operator], facts: dict[str, Any]) -> list[Operator]:
    """Return operators with the errors in metrics that files of their kind have not; compare what they have."""
    shape, ends = facts["shape"], [*facts["rows"][1:], facts["shape"][0]]
    n = math.prod(shape[1:])
    shapes = [(end - first, n) for first, end in zip(facts["rows"], ends, strict=True)]
    if [op.shape for op in ops] != shapes:
        raise ValueError(f"shape: expected units of shapes {shapes}, got {[op.shape for op in ops]}")
    found = []
    for op, known in zip(ops, facts["known"], strict=True):
        error = math.nan if known["metric_error"] is None else known["metric_error"]
        if op.nbytes != known["nbytes"] or not (math.isnan(op.metric_error) or op.metric_error == error):
            raise ValueError("known: not what the units say themselves")
        found.append(op if math.isnan(error) else op._viewed(_metric_errors=(error, math.nan)))
    return found


def _by_owner(tensors: dict[str, Tensor], facts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Tensor]]:
    """Return the buffers of each tensor of the model: one without a name, or those of numbered units."""
    found: dict[str, dict[str, Tensor]] = {name: {} for name in facts}
    for key, buffer in tensors.items():
        if key in facts and facts[key]["kind"] == "plain":
            good = (buffer.dtype, list(buffer.shape)) == (facts[key]["dtype"], facts[key]["shape"])
            expect(good, f"{key[:60]}: dtype, shape", f"{buffer.dtype} of {list(buffer.shape)}", facts[key])
            found[key][""] = buffer
            continue
        name, colon, inner = key.rpartition(":")
        if not colon or name not in facts or facts[name]["kind"] == "plain":
            raise ValueError(f"{key[:60]}: unknown tensor")
        found[name][inner] = buffer
    missing = [name for name in facts if facts[name]["kind"] == "plain" and not found[name]]
    if missing:
        raise ValueError(f"{missing[0][:60]}: missing tensor")
    return found


def as_stored(x: Array, dtype: str) -> Array:
    """Return the bytes of numbers in a type of a file, in which those too large become the largest that are finite."""
    if dtype == "BF16":
        return shortened(x).reshape(-1).view(np.uint8)
    target = np.dtype(f"<f{FLOATS[dtype]}")
    most = np.finfo(target).max
    return np.clip(x, -most, most).astype(target).reshape(-1).view(np.uint8)


def digest_of(tensor: Tensor) -> str:
    """Return the SHA-256 of type, shape and bytes of a tensor."""
    digest = hashlib.sha256(canonical({"dtype": tensor.dtype, "shape": list(tensor.shape)}).encode() + b"\n")
    digest.update(tensor.raw().data)
    return digest.hexdigest()
