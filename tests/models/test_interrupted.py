"""Compressions that end before their time, and what is left of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import killed
import numpy as np
import pytest
from safetensors.numpy import save_file

from bitterfly import models
from bitterfly.models import coding


def layers(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"layers.{at}.weight": rng.standard_normal((96, 256)).astype("f4") for at in range(8)}


def test_killed_compressions_go_on(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    save_file(layers(), tmp_path / "model.safetensors")
    options = ["--ratio", "0.2", "--structure", "dense"]
    assert killed.run(tmp_path / "model.safetensors", tmp_path / "work", options, 4, np.random.default_rng()) == []


def stopped(given: dict[str, np.ndarray], out: Path, after: int, ratio: float = 0.2) -> None:
    """Compress until so many matrices are done."""

    def progress(stage: str, share: float) -> None:
        if stage == "code" and share >= after / len(given):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.compress_model(given, out, ratio=ratio, structure="dense", workers=1, progress=progress)


def coded_again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is coded from now on."""
    names: list[str] = []
    own = coding._coded

    def told(a: np.ndarray, job: coding.Job) -> object:
        names.append(job.part.name)
        return own(a, job)

    monkeypatch.setattr(coding, "_coded", told)
    return names


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = layers()
    models.compress_model(given, tmp_path / "whole", ratio=0.2, structure="dense")
    stopped(given, tmp_path / "small", 5)
    assert not (tmp_path / "small").exists() and len(list((tmp_path / "small.parts").iterdir())) == 5
    names = coded_again(monkeypatch)
    models.compress_model(given, tmp_path / "small", ratio=0.2, structure="dense", workers=1)
    assert len(names) == 3 and not (tmp_path / "small.parts").exists()
    assert (tmp_path / "small").read_bytes() == (tmp_path / "whole").read_bytes()


def test_errors_in_metrics_are_known_again(tmp_path: Path) -> None:
    """Of structures too, whose own files do not have them."""
    rng = np.random.default_rng(0)
    given = {"toeplitz": rng.standard_normal(300)[np.subtract.outer(np.arange(128), np.arange(128)) + 128]}
    given |= {"sparse": np.eye(128) * (rng.random((128, 128)) < 0.5), "turned": np.eye(128)[::-1]} | layers()
    metric = np.diag(np.geomspace(1, 0.01, 128))
    moments = dict.fromkeys(("toeplitz", "sparse", "turned"), metric)
    models.compress_model(given, tmp_path / "whole", ratio=0.2, moments=moments)

    def progress(stage: str, share: float) -> None:
        if stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.compress_model(given, tmp_path / "small", ratio=0.2, moments=moments, progress=progress)
    small = models.compress_model(given, tmp_path / "small", ratio=0.2, moments=moments)
    assert (tmp_path / "small").read_bytes() == (tmp_path / "whole").read_bytes()
    assert all(small[name].metric_error == small.units(name)[0].metric_error < 1e-6 for name in moments)


def test_other_inputs_and_other_settings_are_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = layers()
    stopped(given, tmp_path / "small", 8)
    changed = dict(given)
    changed["layers.3.weight"] = given["layers.3.weight"].copy()
    changed["layers.3.weight"][5, 7] += 1
    names = coded_again(monkeypatch)
    stopped(changed, tmp_path / "small", 8)
    assert names == ["layers.3.weight"]
    stopped(given, tmp_path / "small", 8, ratio=0.3)
    assert sorted(names[1:]) == sorted(given)


def test_damaged_parts_are_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = layers()
    models.compress_model(given, tmp_path / "whole", ratio=0.2, structure="dense")
    stopped(given, tmp_path / "small", 8)
    for at, part in enumerate(sorted((tmp_path / "small.parts").iterdir())[:3]):
        data = bytearray(part.read_bytes())
        data[-1 - at] ^= 1
        part.write_bytes(data[: len(data) - at])
    names = coded_again(monkeypatch)
    models.compress_model(given, tmp_path / "small", ratio=0.2, structure="dense")
    assert len(names) == 3 and (tmp_path / "small").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    given = layers()
    (tmp_path / "small.parts").mkdir()
    (tmp_path / "small.parts" / "notes.txt").write_text("mine")
    models.compress_model(given, tmp_path / "small", ratio=0.2, structure="dense")
    assert [path.name for path in (tmp_path / "small.parts").iterdir()] == ["notes.txt"]


def test_a_failure_leaves_an_older_file(tmp_path: Path) -> None:
    given = layers()
    (tmp_path / "small").write_bytes(b"older")
    with pytest.raises(ValueError, match=r"layers\.2\.weight: metric: expected shape"):
        models.compress_model(given, tmp_path / "small", ratio=0.2, moments={"layers.2.weight": np.eye(3)})
    assert (tmp_path / "small").read_bytes() == b"older"
    with pytest.raises(OSError, match="No such file"):
        models.compress_model(given, tmp_path / "missing" / "small", ratio=0.2)
    with pytest.raises(IsADirectoryError):
        models.compress_model(given, tmp_path, ratio=0.2)
    with pytest.raises(ValueError, match=r"w: metric: expected shape"):
        models.compress_model({"w": given["layers.0.weight"]}, tmp_path / "one", ratio=0.2, moments={"w": np.eye(3)})
    assert not (tmp_path / "one.parts").exists()


# ---- losses of probes ----


class Loss:
    """The squared error of all matrices, of some weights; it may be interrupted, and has been asked so often."""

    def __init__(self, given: Mapping[str, np.ndarray], factor: float = 1.0, calls: int | None = None) -> None:
        self.given, self.factor, self.calls, self.count = given, factor, calls, 0

    def __call__(self, tensors: Mapping[str, np.ndarray]) -> float:
        if self.count == self.calls:
            raise KeyboardInterrupt
        self.count += 1
        squares = (np.square(tensors[name] - x).sum() * (at + 1) for at, (name, x) in enumerate(self.given.items()))
        return self.factor * float(sum(squares))


def probed(given: dict[str, np.ndarray], out: Path, loss: Loss) -> bytes:
    models.compress_model(given, out, ratio=0.2, structure="dense", workers=1, sensitivity=loss)
    return out.read_bytes()


@pytest.mark.parametrize("calls", [0, 1, 2, 5, 8])
def test_losses_of_probes_are_not_asked_for_again(calls: int, tmp_path: Path) -> None:
    """But for two: that of the model as it is, and the last one. The file is the same to the last bit."""
    given = layers()
    whole = probed(given, tmp_path / "whole", Loss(given))
    with pytest.raises(KeyboardInterrupt):
        probed(given, tmp_path / "small", Loss(given, calls=calls))
    loss = Loss(given)
    assert probed(given, tmp_path / "small", loss) == whole
    known = max(calls - 1, 0)
    assert loss.count == 1 + len(given) - max(known - 1, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "whole"]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"after":NaN,"before":0.0}', b'{"after":"1","before":0.0}', b"[]"])
def test_losses_of_another_kind_are_asked_for_again(damage: bytes, tmp_path: Path) -> None:
    """Though the model as it is loses nothing in both; and those whose files are damaged."""
    given = layers()
    whole = probed(given, tmp_path / "whole", Loss(given))
    with pytest.raises(KeyboardInterrupt):
        probed(given, tmp_path / "small", Loss(given, factor=7.0, calls=6))
    loss = Loss(given)
    assert probed(given, tmp_path / "small", loss) == whole and loss.count == 9
    with pytest.raises(KeyboardInterrupt):
        probed(given, tmp_path / "small", Loss(given, calls=6))
    for path in (tmp_path / "small.parts").glob("*.loss"):
        path.write_bytes(damage)
    loss = Loss(given)
    assert probed(given, tmp_path / "small", loss) == whole and loss.count == 9


# ---- two calls at once ----


def test_another_call_that_writes_the_same_file_is_refused(tmp_path: Path) -> None:
    given, begun, go_on = layers(), threading.Event(), threading.Event()

    def progress(stage: str, share: float) -> None:
        if stage == "code":
            begun.set()
            assert go_on.wait(60)

    def first() -> None:
        models.compress_model(given, tmp_path / "small", ratio=0.2, structure="dense", progress=progress, workers=1)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(60)
    try:
        models.compress_model(given, tmp_path / "other", ratio=0.2, structure="dense")
        with pytest.raises(BlockingIOError, match="Another call writes this file"):
            models.compress_model(given, tmp_path / "small", ratio=0.2, structure="dense")
    finally:
        go_on.set()
        thread.join()
    assert (tmp_path / "small").read_bytes() == (tmp_path / "other").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "small"]


def test_executors_end_what_was_begun_and_begin_nothing(tmp_path: Path) -> None:
    """Where a call is interrupted: the files of parts do not change behind its back."""

    def progress(stage: str, share: float) -> None:
        if stage == "code" and share > 0:
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            models.compress_model(
                layers(), tmp_path / "small", ratio=0.2, structure="dense", workers=executor, progress=progress
            )
        before = sorted((tmp_path / "small.parts").iterdir())
        executor.submit(time.sleep, 0).result()
    assert sorted((tmp_path / "small.parts").iterdir()) == before
