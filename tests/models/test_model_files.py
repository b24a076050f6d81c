"""Damaged and hostile files of models, compressed or not: refused with a word on why, and nothing is written."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_models as drawn
from safetensors.numpy import save, save_file

import hostile
from bitterfly import SecondMoments, load, models

BYTES = [hostile._bits, hostile._cut, hostile._removed, hostile._repeated, hostile._overwritten, hostile._swapped]
BYTES += [hostile._appended, hostile._length, hostile._tokens]


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"w": rng.standard_normal((64, 96)).astype("f4"), "b": np.ones(7, "f2"), "c": np.zeros(7, "f2")}


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "small"
    table = np.random.default_rng(0).standard_normal((4096, 16)).astype("f2")
    models.compress_model(weights() | {"embed": table}, path, ratio=0.2, structure="dense")
    return path.read_bytes()


# ---- what goes in ----


def container(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


WRONG: dict[str, bytes] = {
    "nothing": b"",
    "no header": b"\x08\0\0",
    "truncated": save(weights())[:-5],
    "more": save(weights()) + b"more",
    "huge header": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": container(b"{" * 40),
    "a list": container(b"[]"),
    "overlap": container({"a": entry("F32", [4], 0, 16), "b": entry("F32", [4], 8, 24)}, bytes(24)),
    "a gap": container({"a": entry("F32", [4], 0, 16), "b": entry("F32", [4], 20, 36)}, bytes(36)),
    "beyond the end": container({"a": entry("F32", [8], 0, 32)}, bytes(16)),
    "another size": container({"a": entry("F32", [5], 0, 16)}, bytes(16)),
    "overflow": container({"a": entry("F32", [1 << 62, 4], 0, 16)}, bytes(16)),
    "negative": container({"a": entry("F32", [-4], 0, 16)}, bytes(16)),
    "no type": container({"a": entry("F33", [4], 0, 16)}, bytes(16)),
    "a name twice": container(
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        bytes(16),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_are_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(WRONG[name])
    with pytest.raises(ValueError) as refused:
        models.compress_model(path, tmp_path / "small", ratio=0.5)
    assert str(refused.value).startswith(f"{path}: header: ") and len(str(refused.value)) < 500
    with pytest.raises(ValueError, match="header: "):
        models.load(path)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def write_index(folder: Path, index: Any) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(index if isinstance(index, str) else json.dumps(index))
    return path


MAPS: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "not valid JSON"),
    "nested": ("[" * 100_000, "not valid JSON"),
    "a list": ([], "weight_map: expected an object"),
    "no map": ({}, "weight_map: expected an object"),
    "numbers": ({"weight_map": {"w": 1}}, "weight_map: expected an object"),
    "a key twice": ('{"weight_map": {"w": "a.safetensors", "w": "a.safetensors"}}', "a key appears twice"),
    "above": ({"weight_map": {"w": "../a.safetensors"}}, "files of the same folder, got '../a.safetensors'"),
    "root": ({"weight_map": {"w": "/etc/passwd"}}, "files of the same folder, got '/etc/passwd'"),
    "backwards": ({"weight_map": {"w": "..\\a.safetensors"}}, "files of the same folder"),
    "the folder": ({"weight_map": {"w": ".."}}, "files of the same folder"),
    "zero": ({"weight_map": {"w": "a\0.safetensors"}}, "files of the same folder"),
    "no such tensor": ({"weight_map": {"w": "a.safetensors", "x": "a.safetensors"}}, "'x' is not in a.safetensors"),
    "unnamed": ({"weight_map": {"w": "a.safetensors"}}, "expected '[bc]' of a.safetensors to be named there"),
}


@pytest.mark.parametrize("name", MAPS)
def test_indices_that_are_none(name: str, tmp_path: Path) -> None:
    index, message = MAPS[name]
    (tmp_path / "folder").mkdir()
    save_file(weights(), tmp_path / "folder" / "a.safetensors")
    save_file(weights(), tmp_path / "a.safetensors")
    write_index(tmp_path / "folder", index)
    with pytest.raises(ValueError, match=message):
        models.compress_model(tmp_path / "folder", tmp_path / "small", ratio=0.5)
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "folder"]


def test_shards_that_do_not_fit(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "a.safetensors")
    save_file({"w": np.zeros((4, 4), "f4")}, tmp_path / "b.safetensors")
    places = dict.fromkeys(weights(), "a.safetensors")
    index = write_index(tmp_path, {"weight_map": places | {"d": "c.safetensors"}})
    with pytest.raises(FileNotFoundError, match=r"c\.safetensors"):
        models.compress_model(index, tmp_path / "small", ratio=0.5)
    write_index(tmp_path, {"weight_map": places | {"w": "b.safetensors"}})
    with pytest.raises(ValueError, match=r"expected 'w' of a\.safetensors to be named there, once"):
        models.compress_model(tmp_path, tmp_path / "small", ratio=0.5)
    index.unlink()
    with pytest.raises(ValueError, match=r"expected an index of shards or one safetensors file, got a\.safe"):
        models.compress_model(tmp_path, tmp_path / "small", ratio=0.5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected a safetensors file, or an index of several, got none"):
        models.compress_model(tmp_path / "empty", tmp_path / "small", ratio=0.5)


def test_models_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="expected a regular file"):
        models.compress_model(tmp_path / "pipe", tmp_path / "small", ratio=0.5)
    with pytest.raises(FileNotFoundError):
        models.compress_model(tmp_path / "missing", tmp_path / "small", ratio=0.5)
    for given, message in (
        ({1: np.ones(3)}, "names of tensors"),
        (7, "a path or a mapping"),
        ({"a": "x"}, "a: expected"),
    ):
        with pytest.raises(TypeError, match=message):
            models.compress_model(given, tmp_path / "small", ratio=0.5)
    for x in (np.ones((64, 64), "c16"), np.array([object()]), np.ones(3, "f16")):
        with pytest.raises(TypeError, match="a: expected an array of numbers that safetensors has, got"):
            models.compress_model({"a": x}, tmp_path / "small", ratio=0.5)
    assert os.listdir(tmp_path) == ["pipe"]


# ---- what comes out ----


def everything(path: Path) -> dict[str, Any]:
    return drawn.contents(models.load(path))


@pytest.mark.parametrize("damage", BYTES, ids=lambda each: each.__name__.strip("_"))
def test_damaged_models_are_refused_or_what_they_were(
    damage: Callable[[bytes, random.Random], bytes], compressed: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "small"
    path.write_bytes(compressed)
    right, messages = everything(path), []
    for trial in range(150):
        path.write_bytes(damage(compressed, random.Random(f"{damage.__name__} {trial}")))
        try:
            found = everything(path)
        except ValueError as error:
            messages.append(str(error))
        else:
            assert found == right
    assert len(messages) > 100
    assert all(message.startswith(f"{path}: ") and len(message) < 1000 for message in messages)


def forged(data: bytes, change: Callable[[dict[str, Any], dict[str, Any]], None], name: str = "w") -> bytes:
    """The file with other facts of the model, or of a tensor, and the checksum made anew."""
    from bitterfly.files.container import canonical
    from bitterfly.models.loaded import facts_key, seal

    size = struct.unpack("<Q", data[:8])[0]
    outer = json.loads(data[8 : 8 + size])
    texts = outer["__metadata__"]
    header, facts = json.loads(texts["bitterfly"]), json.loads(texts[facts_key(name)])
    change(header, facts)
    texts[facts_key(name)] = json.dumps(facts)
    own = {key.removeprefix(facts_key("")): text for key, text in texts.items() if key != "bitterfly"}
    texts["bitterfly"] = canonical(header | {"sha256": seal(header, own)})
    return container(outer, data[8 + size :])


FORGED: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], None], str]] = {
    "kind": (lambda header, facts: header.update(kind="dense"), "this is no compressed model"),
    "version": (lambda header, facts: header.update(format_version=2), "format_version: expected 1"),
    "more fields": (lambda header, facts: header.update(more=1), "more: unknown metadata field"),
    "metadata": (lambda header, facts: header.update(metadata={"a": 1}), "metadata: expected an object of texts"),
    "place": (lambda header, facts: facts.update(place=7), "place: expected each of 0 to 3 once"),
    "kind of tensor": (lambda header, facts: facts.update(kind="head"), "w: kind: expected linear"),
    "shape": (lambda header, facts: facts.update(shape=[96, 64]), r"w: shape: expected units of shapes \[\(96, 64\)\]"),
    "negative": (lambda header, facts: facts.update(shape=[64, -96]), "w: shape: expected a list of sizes"),
    "dtype": (lambda header, facts: facts.update(dtype="I64"), "w: dtype: expected F64"),
    "rows": (lambda header, facts: facts.update(rows=[0, 32]), "w: units: expected 2 objects"),
    "no rows": (lambda header, facts: facts.update(rows=[64]), "w: rows: expected the ascending first rows"),
    "units": (lambda header, facts: facts.update(units=[3]), "w: units: expected 1 objects"),
    "no unit": (lambda header, facts: facts.update(units=[{}]), "w: units: expected operators with"),
    "known": (lambda header, facts: facts["known"][0].update(nbytes=1), "w: known: not what the units say"),
    "loss": (lambda header, facts: facts["known"][0].update(loss=-1.0), "w: known: expected nbytes, metric_error"),
    "error": (lambda header, facts: facts["units"][0].update(relative_error=0.5), "w: sha256: the checksum"),
    "plain": (lambda header, facts: facts.update(kind="plain"), "w: known: unknown field"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_models_are_refused(name: str, compressed: bytes, tmp_path: Path) -> None:
    change, message = FORGED[name]
    (tmp_path / "small").write_bytes(forged(compressed, change))
    with pytest.raises(ValueError, match=message):
        everything(tmp_path / "small")


def test_numbers_of_another_tensor_are_refused(compressed: bytes, tmp_path: Path) -> None:
    swapped = compressed.replace(b'"b":{"dtype"', b'"_":{"dtype"').replace(b'"c":{"dtype"', b'"b":{"dtype"')
    (tmp_path / "small").write_bytes(swapped.replace(b'"_":{"dtype"', b'"c":{"dtype"'))
    small = models.load(tmp_path / "small")
    with pytest.raises(ValueError, match="b: sha256: the checksum does not match"):
        small["b"]
    assert small["w"].shape == (64, 96)
    with pytest.raises(ValueError, match="b: sha256"):
        models.expand(tmp_path / "small", tmp_path / "back")
    assert os.listdir(tmp_path) == ["small"]


def test_operators_and_models_are_told_apart(compressed: bytes, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(compressed)
    with pytest.raises(ValueError, match=r"bitterfly\.models\.load"):
        load(tmp_path / "small")
    save_file(weights(), tmp_path / "plain")
    with pytest.raises(ValueError, match="this is no compressed model"):
        models.load(tmp_path / "plain")


# ---- moments ----


def test_moments_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {f"layers.{at}": SecondMoments(5 + at).update(rng.standard_normal((9, 5 + at))) for at in range(3)}
    given["of none"] = SecondMoments(4)
    models.save_moments(tmp_path / "moments", given)
    found = models.load_moments(tmp_path / "moments")
    assert set(found) == set(given) and len(found) == 4 and "layers.0" in found and "other" not in found
    for name, each in given.items():
        assert np.array_equal(found[name].matrix, each.matrix) and found[name].count == each.count
        assert found[name].update(np.ones(each.n)).count == each.count + 1
    with pytest.raises(KeyError):
        found["other"]
    with pytest.raises(TypeError, match="moments: expected names and SecondMoments"):
        models.save_moments(tmp_path / "moments", {"a": np.eye(3)})  # type: ignore[dict-item]


@pytest.mark.parametrize("damage", BYTES, ids=lambda each: each.__name__.strip("_"))
def test_damaged_moments_are_refused(damage: Callable[[bytes, random.Random], bytes], tmp_path: Path) -> None:
    path = tmp_path / "moments"
    moments = {"w": SecondMoments(3).update(np.arange(12.0).reshape(4, 3)), "v": SecondMoments(2).update(np.ones(2))}
    models.save_moments(path, moments)
    data, messages = path.read_bytes(), []
    for trial in range(100):
        path.write_bytes(damage(data, random.Random(trial)))
        try:
            found = models.load_moments(path)
            read = {name: found[name] for name in found}
        except ValueError as error:
            messages.append(str(error))
        else:
            assert {name: each.count for name, each in read.items()} == {"w": 4, "v": 1}
            assert all(np.array_equal(read[name].matrix, each.matrix) for name, each in moments.items())
    assert len(messages) > 50 and all(message.startswith(f"{path}: ") for message in messages)


def test_moments_that_are_none() -> None:
    for matrix, count, message in (
        (np.ones((2, 3)), 1, "expected a square one"),
        (np.array([[1.0, 2], [3, 4]]), 1, "expected a symmetric one"),
        (np.diag([1.0, -1]), 1, "a diagonal that is not negative, got -1"),
        (np.diag([1.0, np.inf]), 1, "expected finite numbers"),
        (np.eye(2), -1, "count: expected a number that is not negative"),
    ):
        with pytest.raises(ValueError, match=message):
            SecondMoments.of(matrix, count)
    with pytest.raises(TypeError, match="real numbers"):
        SecondMoments.of(np.eye(2) * 1j, 1)
    assert np.array_equal(SecondMoments.of(np.eye(2, dtype="f4"), 3).matrix, np.eye(2))
