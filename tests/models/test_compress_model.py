"""Whole models, compressed and read again: errors, bytes, what is left alone, and files that come back."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_models as drawn
from safetensors.numpy import load_file, save_file

import exact
from bitterfly import SecondMoments, models
from bitterfly.accuracy.metric import as_metric
from bitterfly.inputs import UnmetError
from bitterfly.models.tensors import Tensor, opened, shortened, write

CODED = ("linear", "table", "convolution")


def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two layers, a table in four parts, a bias."""
    return {
        "first.weight": rng.standard_normal((64, 128)).astype("f4"),
        "first.bias": rng.standard_normal(64).astype("f2"),
        "embeddings.weight": rng.standard_normal((4100, 32)).astype("f4"),
        "second.weight": (rng.standard_normal((96, 64)) * np.geomspace(1, 0.1, 64)).astype("f2"),
    }


def true_metric_error(a: np.ndarray, op: Any, moments: SecondMoments) -> np.longdouble:
    metric = as_metric(moments, a.shape[1])
    assert metric is not None
    wide = metric.astype(np.longdouble)
    matrix = a.astype(np.longdouble)
    missed = exact.dense(op).astype(np.longdouble) - matrix
    above, below = (np.einsum("ij,jk,ik", x, wide, x, optimize=True) for x in (missed, matrix))
    return np.sqrt(above / below) if below else np.longdouble(0)


def check(given: Mapping[str, np.ndarray], moments: Mapping[str, SecondMoments], small: models.CompressedModel) -> None:
    """What is left alone is what it was; no error is above what is said of it."""
    assert small.names == tuple(given) and len(small) == len(given)
    for name, x in given.items():
        found, units = small[name], small.units(name)
        assert small.shape(name) == np.shape(x)
        if small.kind(name) == "plain":
            assert isinstance(found, np.ndarray) and found.dtype == np.asarray(x).dtype.newbyteorder("=")
            assert np.array_equal(found, x, equal_nan=found.dtype.kind == "f") and units[0].nbytes == found.nbytes
            continue
        a = drawn.as_matrix(x)
        ops = found.parts if len(units) > 1 else [found]
        assert found.shape == a.shape and found.nbytes == sum(unit.nbytes for unit in units)
        for op, unit in zip(ops, units, strict=True):
            rows = a[slice(*unit.rows)]
            assert op.relative_error == unit.relative_error and exact.error(rows, op) <= unit.relative_error
            assert unit.bits == pytest.approx(8 * op.nbytes / rows.size)
            if name in moments and unit.metric_error == unit.metric_error:
                assert true_metric_error(rows, op, moments[name]) <= unit.metric_error
    assert small.nbytes == sum(unit.nbytes for name in small for unit in small.units(name))


@pytest.mark.parametrize("seed", range(40))
def test_any_model_in_bytes(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    given, moments = drawn.model(rng)
    structure: Any = "dense" if seed % 4 else "auto"
    coded = {name: x for name, x in given.items() if name.startswith("layers") or name == "convolution"}
    alone = sum(np.asarray(x).nbytes for name, x in given.items() if name not in coded)
    nbytes = alone + int(sum(x.size for x in coded.values()) * rng.uniform(3, 8) / 8)
    small = models.compress_model(
        given, tmp_path / "small", nbytes=nbytes, moments=moments, structure=structure, rng=seed
    )
    check(given, moments, small)
    assert small.nbytes <= nbytes
    assert small.kind("convolution") == "convolution" and small.kind("mask") == small.kind("flags") == "plain"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("seed", range(20))
def test_any_model_of_an_error(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([1, seed])
    given, moments = drawn.model(rng)
    rtol = float(10 ** rng.uniform(-1.5, -0.4))
    small = models.compress_model(given, tmp_path / "small", rtol=rtol, moments=moments, structure="dense")
    check(given, moments, small)
    for name in small:
        for unit in small.units(name):
            counted = unit.relative_error if name not in moments else unit.metric_error
            assert not counted > rtol


def test_files_come_back_in_their_types(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    short, wide = drawn.brain(rng, (64, 128))
    alone, _ = drawn.brain(rng, (7,))
    tensors = {
        "brain": Tensor("BF16", (64, 128), short.reshape(-1).view(np.uint8), 0, short.nbytes),
        "alone": Tensor("BF16", (7,), alone.view(np.uint8), 0, alone.nbytes),
        "quarter": Tensor("F8_E4M3", (9,), np.arange(9, dtype=np.uint8), 0, 9),
    }
    for name, dtype in (("half", "F16"), ("double", "F64")):
        x = rng.standard_normal((70, 2, 40)).astype({"F16": "f2", "F64": "f8"}[dtype])
        tensors[name] = Tensor(dtype, x.shape, x.reshape(-1).view(np.uint8), 0, x.nbytes)
    with open(tmp_path / "model", "wb") as file:
        write(file, tensors, {"format": "pt"})
    small = models.compress_model(tmp_path / "model", tmp_path / "small", ratio=0.5)
    assert small.metadata["metadata"] == {"format": "pt"} and small.dtype("brain") == "BF16"
    assert exact.error(wide, small["brain"]) <= small.units("brain")[0].relative_error < 0.02
    with pytest.raises(TypeError, match=r"quarter: dtype: NumPy has no F8_E4M3"):
        small["quarter"]
    models.expand(tmp_path / "small", tmp_path / "back")
    back = opened(str(tmp_path / "back"))
    assert back.metadata == {"format": "pt"}
    for name, tensor in tensors.items():
        found = back.tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        if small.kind(name) == "plain":
            assert np.array_equal(found.raw(), tensor.raw())
        else:
            decoded = small[name].todense().reshape(found.shape)
            expected = shortened(decoded) if name == "brain" else decoded.astype(found.array().dtype)
            bits = found.raw().view("<u2").reshape(found.shape) if name == "brain" else found.array()
            np.testing.assert_allclose(bits.astype("f8"), expected.astype("f8"), rtol=1e-3, atol=1e-6)


def test_expanded_numbers_are_finite(tmp_path: Path) -> None:
    """What codes round to beyond the largest number of a type becomes that number."""
    rng = np.random.default_rng(0)
    given = {"w": np.where(rng.random((64, 64)) < 0.5, 1, -1).astype("f2") * np.float16(65504)}
    models.compress_model(given, tmp_path / "small", ratio=0.1, structure="dense")
    models.expand(tmp_path / "small", tmp_path / "back")
    back = load_file(tmp_path / "back")["w"]
    assert np.all(np.isfinite(back)) and np.abs(back).max() == 65504


def shards(folder: Path, given: dict[str, np.ndarray]) -> None:
    names = list(given)
    for at in range(2):
        save_file({name: given[name] for name in names[at::2]}, folder / f"model-{at}.safetensors", {"format": "np"})
    places = ", ".join(f'"{name}": "model-{at % 2}.safetensors"' for at, name in enumerate(names))
    (folder / "model.safetensors.index.json").write_text(f'{{"metadata": {{}}, "weight_map": {{{places}}}}}')


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_wherever_a_model_comes_from(tmp_path: Path) -> None:
    """Arrays, one file, a folder with it, shards: the same operators; the same file where names come in one order."""
    given = weights(np.random.default_rng(0))
    (tmp_path / "one").mkdir()
    (tmp_path / "some").mkdir()
    save_file(given, tmp_path / "one" / "model.safetensors", {"format": "np"})
    shards(tmp_path / "some", given)
    sources: list[Any] = [given, tmp_path / "one" / "model.safetensors", tmp_path / "one", tmp_path / "some"]
    sources.append(tmp_path / "some" / "model.safetensors.index.json")
    found = []
    for at, source in enumerate(sources):
        small = models.compress_model(source, tmp_path / f"small{at}", ratio=0.2)
        found.append({name: drawn.contents(small)[name] for name in given})
        assert small.metadata["metadata"] == ({} if at == 0 else {"format": "np"})
    assert all(each == found[0] for each in found)
    assert digest(tmp_path / "small1") == digest(tmp_path / "small2")
    assert digest(tmp_path / "small3") == digest(tmp_path / "small4")


def test_the_file_does_not_depend_on_workers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = weights(rng)
    moments = {"first.weight": SecondMoments(128).update(rng.standard_normal((300, 128)))}
    seen = set()
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        pools: list[int | Executor] = [1, 2, 5, threads, processes]
        for workers in pools:
            models.compress_model(given, tmp_path / "small", ratio=0.2, moments=moments, workers=workers)
            seen.add(digest(tmp_path / "small"))
    assert len(seen) == 1


def test_joblib_runs_it(tmp_path: Path) -> None:
    loky = pytest.importorskip("joblib.externals.loky")
    given = weights(np.random.default_rng(0))
    models.compress_model(given, tmp_path / "one", ratio=0.2, workers=1)
    executor = loky.get_reusable_executor(2)
    models.compress_model(given, tmp_path / "two", ratio=0.2, workers=executor)
    executor.shutdown()  # joblib.Parallel would take it for one of its own
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_tables_are_looked_up(tmp_path: Path) -> None:
    given = weights(np.random.default_rng(0))
    small = models.compress_model(given, tmp_path / "small", ratio=0.25)
    table = small["embeddings.weight"]
    assert [unit.rows for unit in small.units("embeddings.weight")] == [
        (0, 576),
        (576, 1088),
        (1088, 2112),
        (2112, 4100),
    ]
    index = np.array([0, 4099, 575, 576, 2111, 2112, 3, 3])
    np.testing.assert_allclose(table.rows(index), table.todense()[index], atol=1e-5)


def test_a_model_is_a_mapping_that_can_be_pickled(tmp_path: Path) -> None:
    given = weights(np.random.default_rng(0))
    small = models.compress_model(given, tmp_path / "small", ratio=0.25)
    again = pickle.loads(pickle.dumps(small))
    assert drawn.contents(again) == drawn.contents(small) == drawn.contents(models.load(tmp_path / "small"))
    assert "first.bias" in small and "other" not in small and set(small) == set(given)
    with pytest.raises(KeyError):
        small["other"]
    assert "4 tensors, 3 coded" in repr(small)


def test_progress_is_told_matrix_by_matrix(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    given = weights(np.random.default_rng(0))
    first = given["first.weight"]
    models.compress_model(
        given,
        tmp_path / "small",
        ratio=0.2,
        sensitivity=lambda x: float(np.sum(x["first.weight"] != first)),
        progress=lambda *each: told.append(each),
    )
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == ["look", "probe", "code", "write"]
    for stage in stages:
        shares = [share for each, share in told if each == stage]
        assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    assert [share for stage, share in told if stage == "code"] == [at / 6 for at in range(7)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "nbytes, ratio, rtol: expected one of them"),
    "two": ({"ratio": 0.2, "rtol": 0.1}, "nbytes, ratio, rtol: expected one of them"),
    "ratio": ({"ratio": 1.5}, "ratio: expected a number above 0, at most 1, got 1.5"),
    "nan": ({"ratio": np.nan}, "ratio: expected a number above 0"),
    "rtol": ({"rtol": 1.0}, "rtol: expected a number below 1"),
    "nbytes": ({"nbytes": 1000}, r"nbytes: expected at least 26\d\d\d bytes, 128 for tensors left alone"),
    "too little": ({"ratio": 0.01}, r"ratio: expected at least \d+ bytes, 128 for tensors left alone"),
    "structure": ({"ratio": 0.2, "structure": "svd"}, "structure: expected 'auto', one of"),
    "moments": ({"ratio": 0.2, "moments": {"third": 1}}, "moments: the model has no tensor 'third'"),
    "of a bias": ({"ratio": 0.2, "moments": {"first.bias": 1}}, "moments: first.bias is not coded"),
    "shape": (
        {"ratio": 0.2, "moments": {"first.weight": np.eye(3)}},
        r"first\.weight: metric: expected shape \(128, 128\)",
    ),
    "sensitivity": ({"ratio": 0.2, "sensitivity": {"first.weight": 1.0}}, "got none for 'embeddings.weight'"),
    "negative": (
        {"ratio": 0.2, "sensitivity": {"first.weight": -1.0, "embeddings.weight": 1.0, "second.weight": 1.0}},
        r"sensitivity\['first\.weight'\]: expected finite numbers that are not negative, got -1",
    ),
    "parts": (
        {"ratio": 0.2, "sensitivity": {"first.weight": 1.0, "embeddings.weight": [1.0, 2.0], "second.weight": 1.0}},
        r"sensitivity\['embeddings\.weight'\]: expected a number, or one for each of 4 parts, got 2",
    ),
    "loss": ({"ratio": 0.2, "sensitivity": lambda x: float("nan")}, "sensitivity: expected a finite loss of the model"),
    "no loss": ({"ratio": 0.2, "sensitivity": lambda x: 1.0}, "sensitivity: expected a loss by some of the matrices"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    asked, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        models.compress_model(weights(np.random.default_rng(0)), tmp_path / "small", **asked)
    assert not (tmp_path / "small").exists()


def test_what_codes_do_not_make_smaller_is_left_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal((64, 96)).astype(name) for name in ("f2", "f4", "f8")}
    given["sign"] = np.sign(given["f2"])
    for rtol, coded in ((1e-2, set(given)), (1e-5, {"f4", "f8"}), (1e-7, {"f8"}), (1e-15, set())):
        small = models.compress_model(given, tmp_path / "small", rtol=rtol, structure="dense")
        assert {name for name in small if small.kind(name) != "plain"} == coded, rtol
        check(given, {}, small)
        assert max(unit.relative_error for name in small for unit in small.units(name)) <= rtol
        for name, x in given.items():
            assert sum(unit.nbytes for unit in small.units(name)) <= x.nbytes


def test_the_least_bytes_that_a_message_names_are_enough(tmp_path: Path) -> None:
    given = weights(np.random.default_rng(0))
    with pytest.raises(UnmetError) as refused:
        models.compress_model(given, tmp_path / "small", nbytes=1)
    least = int(str(refused.value).split("at least ")[1].split(" ")[0])
    assert models.compress_model(given, tmp_path / "small", nbytes=least).nbytes <= least
    with pytest.raises(UnmetError, match=str(least)):
        models.compress_model(given, tmp_path / "other", nbytes=least - 1)


def test_the_model_itself_is_not_overwritten(tmp_path: Path) -> None:
    save_file(weights(np.random.default_rng(0)), tmp_path / "model.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    for out in ("model.safetensors", "link"):
        with pytest.raises(ValueError, match="is the input"):
            models.compress_model(tmp_path / "model.safetensors", tmp_path / out, ratio=0.2)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_names_that_stand_for_codes_are_refused(tmp_path: Path) -> None:
    given = weights(np.random.default_rng(0)) | {"first.weight:0.scale": np.ones(3)}
    with pytest.raises(ValueError, match="has the name of what another tensor is coded in"):
        models.compress_model(given, tmp_path / "small", ratio=0.2)
    strange = {f"w{at}:0" if at else 'ü"\n': x for at, x in enumerate(weights(np.random.default_rng(0)).values())}
    small = models.compress_model(strange, tmp_path / "small", ratio=0.2)
    check(strange, {}, small)


def test_a_model_without_matrices(tmp_path: Path) -> None:
    given = {"bias": np.ones(5, "f2"), "steps": np.arange(3)}
    check(given, {}, models.compress_model(given, tmp_path / "small", ratio=1))
    check({}, {}, models.compress_model({}, tmp_path / "none", ratio=1))


@pytest.mark.parametrize("name", ["__metadata__", "a\ud800", "\udcff"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    """They are refused before an older file is lost."""
    matrix = np.random.default_rng(0).standard_normal((64, 64))
    (tmp_path / "small").write_bytes(b"older")
    with pytest.raises(ValueError, match="model: expected names that safetensors has, got"):
        models.compress_model({"w": matrix, name: matrix}, tmp_path / "small", ratio=0.3)
    with pytest.raises(ValueError, match="moments: expected names that safetensors has, got"):
        models.save_moments(tmp_path / "small", {name: SecondMoments(64)})
    assert (tmp_path / "small").read_bytes() == b"older"


@pytest.mark.parametrize(
    "name", ["", "..", "../../w", "/etc/w", "a\nb", "a\0b", "w:0.codes", "gr\u00f6\u00dfe \U0001f98b", "w" * 70000]
)
def test_names_of_any_kind(name: str, tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal((64, 64))
    given = {name: matrix, name.upper() + "?": 2 * matrix, f"{name}.bias": matrix[0]}
    small = models.compress_model(given, tmp_path / "small", ratio=0.4, structure="dense")
    models.save_moments(tmp_path / "moments", {name: SecondMoments(64).update(matrix)})
    assert np.array_equal(
        models.load_moments(tmp_path / "moments")[name].matrix, SecondMoments(64).update(matrix).matrix
    )
    models.expand(tmp_path / "small", tmp_path / "back")
    for key, x in load_file(tmp_path / "back").items():
        error = np.linalg.norm(x - given[key]) / np.linalg.norm(given[key])
        assert error <= small.units(key)[0].relative_error * (1 + 1e-12) if key in small and x.ndim == 2 else error == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "moments", "small"]


def test_inputs_are_not_written_over(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal((64, 64))
    save_file({"w": matrix}, tmp_path / "model")
    models.save_moments(tmp_path / "moments", {"w": SecondMoments(64).update(matrix)})
    moments = models.load_moments(tmp_path / "moments")
    for path in ("model", "moments"):
        with pytest.raises(ValueError, match=r"is the input .* itself, which would be lost"):
            models.compress_model(tmp_path / "model", tmp_path / path, ratio=0.3, moments=moments)
    models.compress_model(tmp_path / "model", tmp_path / "small", ratio=0.3, moments=moments)
    with pytest.raises(ValueError, match=r"is the input .* itself, which would be lost"):
        models.expand(tmp_path / "small", tmp_path / "small")
    assert models.load(tmp_path / "small")["w"].shape == (64, 64)


def test_losses_cannot_change_the_model(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal((64, 64))
    given = {"w": matrix.copy(), "bias": np.ones(3)}

    def loss(tensors: Mapping[str, np.ndarray]) -> float:
        tensors["bias"][...] = 0
        return 0.0

    with pytest.raises(ValueError, match="read-only"):
        models.compress_model(given, tmp_path / "small", ratio=0.3, sensitivity=loss)
    assert np.array_equal(given["w"], matrix) and given["bias"].all()
    given["w"][0, 0] = 1  # it can be written to as before


def test_moments_of_no_inputs_do_not_count(tmp_path: Path) -> None:
    """Of layers that a model has and does not call, as `torch.nn.MultiheadAttention` has one."""
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal((64, 64)) for name in ("called", "not called")}
    moments = {"called": SecondMoments(64).update(rng.standard_normal((99, 64)))}
    models.compress_model(given, tmp_path / "one", ratio=0.3, moments=moments)
    more = moments | {"not called": SecondMoments(64)}
    models.save_moments(tmp_path / "moments", more)
    for at, each in enumerate((more, models.load_moments(tmp_path / "moments"))):
        models.compress_model(given, tmp_path / f"other{at}", ratio=0.3, moments=each)
        assert digest(tmp_path / f"other{at}") == digest(tmp_path / "one")
    zeros = SecondMoments(64).update(np.zeros((3, 64)))
    with pytest.raises(ValueError, match="not called: metric: expected a number other than zero, got zeros alone"):
        models.compress_model(given, tmp_path / "one", ratio=0.3, moments=moments | {"not called": zeros})
