"""Compressions that end before their time, and what is left of them."""

from __future__ import annotations

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
