"""The commands of whole models: files, tables, pictures, and one-line errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from bitterfly import SecondMoments, models
from bitterfly.commands.cli import main

PNG = b"\x89PNG\r\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model and the moments of its inputs."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    layers = {"first.weight": (96, 128), "second.weight": (64, 96), "embed.weight": (4096, 16), "bias": (96,)}
    save_file({name: rng.standard_normal(shape).astype("f2") for name, shape in layers.items()}, "model.safetensors")
    models.save_moments("moments", {"first.weight": SecondMoments(128).update(rng.standard_normal((300, 128)))})
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["model", *arguments], prog_name="bitterfly")


def succeeds(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def fails(*arguments: str, status: int = 1) -> str:
    """Check that there is one line on stderr and nothing else; return it."""
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("bitterfly: error: ") and result.stderr.count("\n") == 1
    return result.stderr


def compressed(*options: str) -> str:
    return succeeds("compress", "model.safetensors", "-o", "small", *(options or ("--ratio", "0.25")))


def test_compress_info_expand(folder: Path) -> None:
    text = compressed("--ratio", "0.25", "--moments", "moments", "--workers", "1")
    small = models.load("small")
    lines = {line.split()[0]: line.split() for line in text.splitlines()}
    first = small.units("first.weight")[0]
    row = ["96x128", "linear", first.structure, f"{first.nbytes:,}", f"{first.bits:.3g}", f"{first.relative_error:.3g}"]
    assert lines["first.weight"][1:] == [*row, f"{first.metric_error:.3g}"]
    assert lines["bias"][1:] == ["96", "plain", "F16", "192", "16"]
    assert [name for name in lines if name.startswith("embed.weight[")] == [
        f"embed.weight[{unit.rows[0]}:{unit.rows[1]}]" for unit in small.units("embed.weight")
    ]
    assert lines["bytes"][1] == f"{small.nbytes:,}" and f"of {small.half_nbytes:,} in half" in text
    assert small.nbytes <= 0.25 * small.half_nbytes
    assert lines["written"][1:] == ["small,", f"{os.path.getsize('small'):,}", "bytes"]
    assert succeeds("info", "small") == text.split("written")[0]
    assert succeeds("expand", "small", "-o", "back") == f"written         back, {os.path.getsize('back'):,} bytes\n"
    for name, x in load_file("model.safetensors").items():
        back = load_file("back")[name]
        assert (back.dtype, back.shape) == (x.dtype, x.shape)
        assert np.linalg.norm(back.astype("f8") - x) <= 0.3 * np.linalg.norm(x.astype("f8"))


def test_other_requests(folder: Path) -> None:
    compressed("--nbytes", "30000", "--structure", "dense")
    assert models.load("small").nbytes <= 30_000
    compressed("--ratio", "0.12", "--low-rank", "--moments", "moments")
    assert models.load("small").nbytes <= 0.12 * models.load("small").half_nbytes
    compressed("--rtol", "0.1")
    assert max(unit.relative_error for unit in models.load("small").units("embed.weight")) <= 0.1
    before = Path("small").read_bytes()
    compressed("--rtol", "0.1", "--seed", "1")
    assert Path("small").read_bytes() != before


def test_pictures(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert "picture         new.png\n" in compressed("--ratio", "0.25", "--plot", "new.png")
    assert "picture         old.png\n" in succeeds("info", "small", "--plot", "old.png")
    assert Path("new.png").read_bytes()[:6] == Path("old.png").read_bytes()[:6] == PNG
    assert "is the input small itself" in fails("info", "small", "--plot", "small")
    arguments = ("compress", "model.safetensors", "-o", "other", "--ratio", "0.25", "--plot", "other")
    message = fails(*arguments, status=2)
    assert "is the output" in message and not os.path.exists("other")


def test_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compressed()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "For the picture, install matplotlib" in succeeds("info", "small", "--plot", "p.png")
    assert not os.path.exists("p.png")


def test_progress(folder: Path) -> None:
    result = run("compress", "model.safetensors", "-o", "small", "--ratio", "0.25", "--progress")
    assert result.exit_code == 0 and all(stage in result.stderr for stage in ("look", "code", "write"))


def test_mistakes(folder: Path) -> None:
    assert "give one of --ratio" in fails("compress", "model.safetensors", "-o", "small", status=2)
    assert "give one of" in fails("compress", "m", "-o", "small", "--ratio", ".2", "--rtol", ".1", status=2)
    for arguments, message in (
        (("compress", "missing", "-o", "small", "--ratio", "0.2"), "missing: No such file"),
        (("compress", "model.safetensors", "-o", "small", "--ratio", "0.01"), "ratio: expected at least"),
        (("compress", "model.safetensors", "-o", "model.safetensors", "--ratio", "0.2"), "is the input"),
        (("compress", "model.safetensors", "-o", "no/small", "--ratio", "0.2"), "No such file"),
        (
            ("compress", "model.safetensors", "-o", "s", "--ratio", "0.2", "--moments", "model.safetensors"),
            "metadata: ",
        ),
        (("info", "model.safetensors"), "model.safetensors: metadata: this is no compressed model"),
        (("info", "missing"), "missing: No such file"),
        (("expand", "model.safetensors", "-o", "back"), "this is no compressed model"),
    ):
        assert message in fails(*arguments)
    compressed()
    assert "is the input small itself" in fails("expand", "small", "-o", "small")
    assert sorted(os.listdir()) == ["model.safetensors", "moments", "small"]


def test_help_teaches() -> None:
    text = succeeds("--help")
    for command in ("compress", "info", "expand"):
        assert f"bitterfly model {command} " in text
        assert "--help" in succeeds(command, "--help")
