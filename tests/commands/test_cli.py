"""The command line as a user meets it: output, files, exit statuses, and one-line errors."""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import bitterfly
import tolerances
from bitterfly import bits, transforms
from bitterfly.commands import demo
from bitterfly.commands.cli import main
from bitterfly.files import storage

PNG = b"\x89PNG\r\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a matrix, a compressed operator and vectors."""
    monkeypatch.chdir(tmp_path)
    a = transforms.random(64, rng=0, dtype="c16").todense()
    np.save("A.npy", a)
    np.save("x.npy", np.arange(64.0))
    np.save("X.npy", np.ones((64, 3), dtype=np.float32))
    bitterfly.save("A.bfly.safetensors", bitterfly.compress(a, bits=4))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="bitterfly")


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


def test_help_teaches() -> None:
    text = succeeds("--help")
    assert text == succeeds() == succeeds("-h")
    for command in ("demo", "compress A.npy --rtol 1e-3", "info A.bfly", "apply A.bfly"):
        assert f"bitterfly {command}" in text
    for command in ("compress", "info", "apply"):
        assert f"bitterfly {command} " in succeeds(command, "--help")
    assert "--output" in succeeds("demo", "--help")


def test_version() -> None:
    assert succeeds("--version") == f"bitterfly {bitterfly.__version__}\n"


def test_compress(folder: Path) -> None:
    text = succeeds("compress", "A.npy", "--rtol", "1e-2", "-o", "B.safetensors")
    assert "relative error" in text and "written         B.safetensors" in text
    op = bitterfly.load("B.safetensors")
    a = np.load("A.npy")
    assert np.linalg.norm(op.todense() - a) <= 1e-2 * np.linalg.norm(a)
    assert op.error_kind == "measured"


def test_compress_names_its_output(folder: Path) -> None:
    os.unlink("A.bfly.safetensors")
    succeeds("compress", "A.npy", "--bits", "2", "--permute", "none")
    assert {code.bits for code in bitterfly.load("A.bfly.safetensors").codes} == {8}


def test_compress_that_misses_rtol_writes_nothing(folder: Path) -> None:
    np.save("noise.npy", np.random.default_rng(0).standard_normal((32, 32)))
    message = fails("compress", "noise.npy", "--rtol", "1e-14")
    assert "not a butterfly at rtol" in message
    assert not os.path.exists("noise.bfly.safetensors")


def test_compress_takes_what_is_no_butterfly(folder: Path) -> None:
    np.save("noise.npy", np.random.default_rng(0).standard_normal((64, 96)))
    text = succeeds("compress", "noise.npy", "--rtol", "1e-1")
    assert "structure       dense\n  butterfly     refused, rank " in text
    assert bitterfly.load("noise.bfly.safetensors").kind == "dense"
    text = succeeds("info", "noise.bfly.safetensors")
    for fact in ("dense codes", "window11: ", "bits x", "blocks of columns", "rotated         columns"):
        assert fact in text
    message = fails("compress", "noise.npy", "--rtol", "1e-2", "--structure", "butterfly")
    assert "noise.npy: not a butterfly at rtol" in message
    assert "dense codes reach about 2.6e-13" in fails("compress", "noise.npy", "--rtol", "1e-14")
    assert "structure       dense" in succeeds("compress", "noise.npy", "--rtol", "1e-4", "-o", "E")
    assert bitterfly.load("E").relative_error <= 1e-4
    assert "structure       dense" in succeeds("compress", "A.npy", "--bits", "2", "--structure", "dense", "-o", "D")


def test_info(folder: Path) -> None:
    text = succeeds("info", "A.bfly.safetensors")
    for fact in ("64 x 64", "complex128", "packed codes", "sphere:16", "measured", "bits"):
        assert fact in text
    bitterfly.save("F.safetensors", transforms.dft(8))
    text = succeeds("info", "F.safetensors")
    assert "float factors" in text and "columns" in text and "codes" not in text


def test_info_of_any_chain(folder: Path) -> None:
    rng = np.random.default_rng(0)
    chain = bitterfly.Chain([(1, 10, 6, 30), (3, 60, 80, 1)])
    op = bitterfly.ButterflyOperator([rng.standard_normal(p) for p in chain], shape=(300, 200))
    bitterfly.save("F.safetensors", op)
    text = succeeds("info", "F.safetensors")
    facts = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in text.splitlines())
    assert facts["shape"] == "300 x 200" and facts["padded to"] == "300 x 240" and facts["factors"] == "2"
    assert facts["patterns"] == "(1,10,6,30) (3,60,80,1)" and facts["ranks"] == "2"
    share = op.nbytes / (300 * 200 * 8)
    per_entry = f"{op.bits_per_entry:.3g} bits per matrix entry"
    assert facts["bytes"] == f"{op.nbytes:,} ({share:.3%} of the dense 480,000; {per_entry})"
    assert facts["bits"] == bits.in_words(op.mean_bits, op.bits_per_number)
    bitterfly.save("Q.safetensors", bitterfly.quantize(op, bits=5))
    text = succeeds("info", "Q.safetensors")
    assert "skeleton:5, lattice:5; bits a number" in text and "dyadic" not in text
    np.save("v.npy", np.ones(200))
    bitterfly.save("S.safetensors", bitterfly.algebra.ButterflySum([op, op]))
    text = succeeds("info", "S.safetensors")
    assert "sum of 2 operators" in text and text.count("300 x 240") == 2 and "300 x 200" in text
    succeeds("apply", "S.safetensors", "v.npy", "-o", "y")


def test_bits_in_the_help() -> None:
    assert "2 to 16 on general chains" in " ".join(succeeds("compress", "--help").split())


@pytest.mark.parametrize(
    ("flag", "view"),
    [
        ([], lambda op: op),
        (["--transpose"], lambda op: op.T),
        (["--adjoint"], lambda op: op.H),
    ],
)
@pytest.mark.parametrize("name", ["x.npy", "X.npy"])
def test_apply(folder: Path, name: str, flag: list[str], view: Callable[[Any], Any]) -> None:
    assert succeeds("apply", "A.bfly.safetensors", name, "-o", "y", *flag) == ""
    op = view(bitterfly.load("A.bfly.safetensors"))
    assert np.array_equal(np.load("y"), op @ np.load(name))


def write(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)


def write_array(name: str, **change: Any) -> None:
    a = np.eye(8)
    for at, value in change.items():
        a[int(at[1:]), 0] = value
    np.save(name, a)


BAD_MATRICES: list[tuple[Callable[[str], Any], str]] = [
    (lambda name: None, "bad.npy: No such file"),
    (lambda name: os.mkdir(name), "bad.npy: Is a directory"),
    (lambda name: write(name, b""), "bad.npy: not an .npy file"),
    (lambda name: write(name, b"hello"), "bad.npy: not an .npy file"),
    (lambda name: write(name, b"PK\x03\x04"), "npz archive"),
    (lambda name: write(name, b"\x93NUMPY"), "bad.npy: "),
    (lambda name: write(name, b"\x93NUMPY\x01\x00\x08\x00{broken\n"), "bad.npy: "),
    (lambda name: write(name, Path("A.npy").read_bytes()[:-1]), "bad.npy: "),
    (lambda name: np.save(name, np.array([[None]]), allow_pickle=True), "bad.npy: "),
    (lambda name: np.save(name, np.array([["a"]])), "bad.npy: expected real or complex numbers"),
    (lambda name: np.save(name, np.zeros((0, 0))), "at least one row"),
    (lambda name: np.save(name, np.ones(8)), "bad.npy: expected a matrix"),
    (lambda name: write_array(name, _1=np.nan), "finite"),
    (lambda name: write_array(name, _2=np.inf), "finite"),
]


@pytest.mark.parametrize(("make", "message"), BAD_MATRICES)
def test_bad_matrices(folder: Path, make: Callable[[str], Any], message: str) -> None:
    make("bad.npy")
    assert message in fails("compress", "bad.npy", "--bits", "2")
    assert not os.path.exists("bad.bfly.safetensors")


def test_bad_operators_and_vectors(folder: Path) -> None:
    np.save("short.npy", np.ones(8))
    np.save("text.npy", np.full(64, "a"))
    np.save("cube.npy", np.ones((64, 2, 2)))
    output = ("-o", "y.npy")
    op = "A.bfly.safetensors"
    assert "missing: No such file" in fails("info", "missing")
    assert "A.npy: " in fails("info", "A.npy")
    expected = "short.npy: expected shape (64,), (64, k) or (..., 64, k), got (8,)"
    assert expected in fails("apply", op, "short.npy", *output)
    assert "cube.npy: expected shape" in fails("apply", op, "cube.npy", *output)
    fails("apply", op, "text.npy", *output)
    assert not os.path.exists("y.npy")


def test_outputs_that_cannot_be_written(folder: Path) -> None:
    where = os.path.join("no", "file")
    assert f"{where}: No such file" in fails("compress", "A.npy", "--bits", "2", "-o", where)
    assert f"{where}: No such file" in fails("apply", "A.bfly.safetensors", "x.npy", "-o", where)
    fails("compress", "A.npy", "--bits", "2", "-o", "/proc/version")


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["compress", "A.npy", "--rtol", "1e-3"], os.path.join("no", "file")),
        (["compress", "A.npy", "--rtol", "1e-3"], "/proc/new"),
        (["apply", "A.bfly.safetensors", "x.npy"], os.path.join("no", "file")),
        (["demo"], os.path.join("no", "file")),
    ],
)
def test_targets_are_checked_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], output: str
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(importlib.import_module("bitterfly.compression.compress"), "compress", work)
    monkeypatch.setattr(demo, "run", work)
    monkeypatch.setattr(storage, "load", work)
    assert f"{output}: " in fails(*command, "-o", output)


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_inputs_are_never_replaced(folder: Path, link: Callable[[str, str], Any] | None) -> None:
    cases = {"A.npy": ("compress", "A.npy", "--bits", "2"), "x.npy": ("apply", "A.bfly.safetensors", "x.npy")}
    cases["A.bfly.safetensors"] = cases["x.npy"]
    for name, command in cases.items():
        before, output = Path(name).read_bytes(), name
        if link:
            output = f"link to {name}"
            link(name, output)
        assert f"{output}: is the input {name} itself" in fails(*command, "-o", output)
        assert "itself" in fails(*command, "-o", os.path.join("..", folder.name, output))
        assert Path(name).read_bytes() == before


def test_other_files_are_replaced_and_the_help_says_so(folder: Path) -> None:
    write("y.npy", b"old")
    succeeds("apply", "A.bfly.safetensors", "x.npy", "-o", "y.npy")
    assert np.load("y.npy").shape == (64,)
    for command in ("compress", "apply"):
        assert "replaced" in succeeds(command, "--help")


def piped(data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from bitterfly.commands.cli import main; main()", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def array_of(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data))


@pytest.mark.parametrize("dash", ["-", "/dev/stdin"])
def test_standard_input_and_output(folder: Path, dash: str) -> None:
    """A matrix goes in, an operator comes out, and so do vectors; reports go to stderr."""
    out = dash.replace("stdin", "stdout")
    done = piped(Path("A.npy").read_bytes(), "compress", dash, "--bits", "4", "-o", out)
    assert done.returncode == 0 and b"relative error" in done.stderr, done.stderr
    write("B", done.stdout)
    op = bitterfly.load("B")
    done = piped(Path("x.npy").read_bytes(), "apply", "B", dash, "-o", out)
    assert done.stderr == b"" and np.array_equal(array_of(done.stdout), op @ np.load("x.npy"))
    done = piped(Path("B").read_bytes(), "apply", dash, "X.npy", "-o", out, "--adjoint")
    assert done.stderr == b"" and np.array_equal(array_of(done.stdout), op.H @ np.load("X.npy"))
    assert b"64 x 64" in piped(Path("B").read_bytes(), "info", dash).stdout
    assert sorted(os.listdir()) == ["A.bfly.safetensors", "A.npy", "B", "X.npy", "x.npy"]


def test_a_matrix_from_standard_input_goes_to_standard_output(folder: Path) -> None:
    result = CliRunner().invoke(main, ["compress", "-", "--bits", "2"], input=Path("A.npy").read_bytes())
    assert result.exit_code == 0 and "standard output" in result.stderr
    write("B", result.stdout_bytes)
    assert bitterfly.load("B").shape == (64, 64)


def test_named_pipes(folder: Path) -> None:
    op = bitterfly.load("A.bfly.safetensors")
    for name in ("op", "in", "out"):
        os.mkfifo(name)
    feeds = [subprocess.Popen(["cp", source, name]) for source, name in (("A.bfly.safetensors", "op"), ("x.npy", "in"))]
    with subprocess.Popen(["cat", "out"], stdout=subprocess.PIPE) as reader:
        assert succeeds("apply", "op", "in", "-o", "out") == ""
        assert reader.stdout is not None
        y = array_of(reader.stdout.read())
    assert [feed.wait() for feed in feeds] == [0, 0] and Path("out").is_fifo()
    assert np.array_equal(y, op @ np.load("x.npy"))


@pytest.mark.parametrize("data", [b"", b"hello"])
def test_streams_of_something_else(folder: Path, data: bytes) -> None:
    for command in (["info", "-"], ["compress", "-", "--bits", "2"], ["apply", "A.bfly.safetensors", "-", "-o", "y"]):
        result = CliRunner().invoke(main, command, input=data)
        assert result.exit_code == 1 and result.stdout == ""
        assert result.stderr.startswith("bitterfly: error: standard input: ") and "/tmp" not in result.stderr


@pytest.mark.parametrize("shape", [(9, 64), (64, 9)])
def test_views_of_rectangular_operators(folder: Path, shape: tuple[int, int]) -> None:
    op = bitterfly.factorize(np.random.default_rng(0).standard_normal(shape), bitterfly.Chain.for_shape(shape))
    bitterfly.save("R", op)
    m, n = shape
    for flag, same, size in ((None, op, n), ("--transpose", op.T, m), ("--adjoint", op.H, m)):
        flags = [flag] if flag else []
        np.save("v.npy", np.arange(size, dtype=float))
        np.save("w.npy", np.ones(m + n - size))
        succeeds("apply", "R", "v.npy", "-o", "y", *flags)
        assert np.array_equal(np.load("y"), same @ np.arange(size, dtype=float))
        assert f"w.npy: expected shape ({size},), " in fails("apply", "R", "w.npy", "-o", "y", *flags)


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["compress"],
        ["compress", "A.npy"],
        ["compress", "A.npy", "--rtol", "small"],
        ["compress", "A.npy", "--rtoll", "1"],
        ["apply", "A.bfly.safetensors", "x.npy"],
        ["apply", "A.bfly.safetensors", "x.npy", "-o", "y", "--adjoint", "--transpose"],
        ["apply", "-", "-", "-o", "y"],
        ["demo", "--size", "7"],
    ],
)
def test_usage_errors_have_status_two(folder: Path, arguments: list[str]) -> None:
    fails(*arguments, status=2)


@pytest.mark.parametrize(
    "options",
    [["--bits", "9"], ["--bits", "nan"], ["--rtol", "-1"], ["--rtol", "nan"], ["--rtol", "1e-30"]],
)
def test_values_out_of_range(folder: Path, options: list[str]) -> None:
    message = fails("compress", "A.npy", *options)
    assert options[0].removeprefix("--") in message


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (MemoryError("Unable to allocate 1 TiB"), "not enough memory (Unable", 1),
        (MemoryError(), "not enough memory", 1),
        (OSError(28, "No space left on device", "A"), "A: No space left on device", 1),
        (OverflowError("two\nlines\x1b"), "two lines?", 1),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_what_the_machine_refuses(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    message: str,
    status: int,
) -> None:
    def fail(path: str) -> None:
        raise error

    monkeypatch.setattr(storage, "load", fail)
    result = run("info", "A.bfly.safetensors")
    assert result.exit_code == status
    assert f"bitterfly: error: {message}" in result.stderr


def test_progress_on_demand(folder: Path) -> None:
    result = run("compress", "A.npy", "--bits", "2", "--progress")
    assert result.exit_code == 0
    assert "factorize" in result.stderr and "measure" in result.stderr
    assert "\n" in result.stdout and "factorize  " not in result.stdout


# ---- the demonstration ----


def test_phantom() -> None:
    picture = demo.shepp_logan(64)
    assert picture.shape == (64, 64)
    assert picture[0, 0] == 0 and picture.max() == 1 and picture.min() > -1e-12
    assert picture[32, 32] == pytest.approx(0.2)


def test_demo(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    text = succeeds("demo", "--size", "16", "-o", "picture.png")
    for word in ("dense", "float factors", "1 bit ", "4 bits", "picture error", "picture.png"):
        assert word in text
    assert Path("picture.png").read_bytes().startswith(PNG)


def test_demo_errors_fall_with_the_bits() -> None:
    result = demo.run(16)
    errors = [row.error for row in result.rows[2:]]
    assert errors == sorted(errors, reverse=True)
    codes = tolerances.REAL_LAW * np.sqrt(np.log2(16 * 16)) / 4**6  # of the widest, 6 bits; independent of the noise
    assert errors[-1] <= tolerances.REAL_MARGIN * np.hypot(result.rows[1].error, codes)
    assert result.rows[-1].picture_error < result.rows[2].picture_error
    sizes = [row.nbytes for row in result.rows[2:]]
    assert sizes == sorted(sizes) and sizes[-1] < result.rows[0].nbytes


def test_demo_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = succeeds("demo", "--size", "8")
    assert "pip install 'bitterfly[plot]'" in text and "float factors" in text
    assert not os.path.exists("bitterfly-demo.png")


def test_a_real_process(folder: Path) -> None:
    command = [sys.executable, "-c", "from bitterfly.commands.cli import main; main()"]
    done = subprocess.run([*command, "info", "A.npy"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "error: A.npy: " in done.stderr and "Traceback" not in done.stderr
    done = subprocess.run([*command, "info", "A.bfly.safetensors"], capture_output=True, text=True, check=True)
    assert "64 x 64" in done.stdout and done.stderr == ""


def test_a_closed_pipe_is_no_traceback(folder: Path) -> None:
    program = "from bitterfly.commands.cli import main; main()"
    line = f'"{sys.executable}" -c "{program}" --help | true'
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
