"""The tree itself: layers, the check of one symbol a tier, docstrings, a quiet and light import."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import bitterfly
from bitterfly import Chain, algebra, gallery, interop, models, ordering, plots
from bitterfly.operators import stacks
from bitterfly.transforms import trigonometric

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    p
    for folder in ("cpp", "python", "tests", "bench")
    for p in (ROOT / folder).rglob("*")
    if p.suffix in {".py", ".pyi", ".cpp", ".hpp", ".inl"}
]


def test_the_core_never_sees_python() -> None:
    assert [p for p in (ROOT / "cpp").rglob("*") if p.is_file() and "pybind11" in p.read_text()] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_say_what_they_do(path: Path) -> None:
    lines = path.read_text().splitlines()
    if path.suffix != ".pyi":
        assert lines[0].startswith(("//", '"""'))


def test_only_the_command_line_prints() -> None:
    package = ROOT / "python" / "bitterfly"
    loud = [p.name for p in package.rglob("*.py") if re.search(r"^\s*print\(", p.read_text(), re.M)]
    assert set(loud) <= {"demo.py"}  # the text of a program that it runs in a child process


TABLE = "namespace bitterfly { extern const int kScalarKernels; }  const int bitterfly::kScalarKernels = 1;"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (f"namespace {{ inline int twice(int x) {{ return 2 * x; }} }} static int of = twice(1); {TABLE}", None),
        (f"inline int twice(int x) {{ return 2 * x; }} int (*weak)(int) = twice; {TABLE}", "twice"),
        (f"int twice(int x) {{ return 2 * x; }} {TABLE}", "twice"),
        ("static int nothing;", "found none"),
        (TABLE.replace("Scalar", "Avx2"), "kAvx2Kernels"),
    ],
    ids=["one", "weak", "strong", "none", "another"],
)
def test_a_tier_that_exports_more_than_its_table_is_not_linked(source: str, found: str | None, tmp_path: Path) -> None:
    """A weak symbol of a file compiled for AVX could be linked into everyone's code; every build checks its objects."""
    compiler, nm = shutil.which("g++") or shutil.which("c++"), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("no compiler or nm")
    target = tmp_path / "tier.o"
    subprocess.run([compiler, "-x", "c++", "-c", "-", "-o", str(target)], input=source, text=True, check=True)
    script = ROOT / "cpp" / "kernels" / "one_symbol.py"
    run = subprocess.run(
        [sys.executable, str(script), nm, str(target), "scalar"], capture_output=True, text=True, check=False
    )
    assert (run.returncode == 0) is (found is None), run.stderr
    assert found is None or found in run.stderr


PUBLIC = {name: getattr(bitterfly, name) for name in bitterfly.__all__ if callable(getattr(bitterfly, name))}
PUBLIC |= {f"transforms.{name}": getattr(bitterfly.transforms, name) for name in ("hadamard", "dft", "idft", "random")}
PUBLIC |= {
    f"models.{name}": each for name, each in vars(models).items() if name in models.__all__ and inspect.isfunction(each)
}
OTHERS = {
    f"{module.__name__.removeprefix('bitterfly.')}.{name}": function
    for module in (algebra, stacks, gallery, interop, ordering, plots, trigonometric)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if not name.startswith("_") and function.__module__ == module.__name__
}
OTHERS |= {name: function for name, function in inspect.getmembers(Chain, inspect.ismethod) if name[0] != "_"}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name: str) -> None:
    doc = inspect.getdoc(PUBLIC[name])
    assert doc
    if inspect.isfunction(PUBLIC[name]):
        assert "Raises\n" in doc or name.startswith(("transforms.", "ordering."))
        assert "Returns\n" in doc or PUBLIC[name].__annotations__["return"] == "None"
        assert "Parameters\n" in doc or not inspect.signature(PUBLIC[name]).parameters


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_modules_are_documented(name: str) -> None:
    """A sentence that says what comes back, and sections or where they are, or what the parameters are."""
    doc = inspect.getdoc(OTHERS[name])
    assert doc and doc.split()[0] in ("Return", "Draw")
    known = "Parameters\n" in doc or "Raises\n" in doc or "see `" in doc
    assert known or all(
        parameter in ("n", "rng", "return") or parameter in doc for parameter in OTHERS[name].__annotations__
    )


def functions_of(x: object) -> list[Any]:
    """A function, or the methods and properties that a class has of this package."""
    if not inspect.isclass(x):
        return [inspect.unwrap(x)]
    own = [value for base in x.__mro__ if base.__module__.startswith("bitterfly") for value in vars(base).values()]
    found = [getattr(value, "fget", getattr(value, "__func__", value)) for value in own]
    return [x, *filter(inspect.isfunction, found)]


@pytest.mark.parametrize("name", PUBLIC | OTHERS)
def test_annotations_can_be_read(name: str) -> None:
    """Without names that only type checkers import, those of matplotlib apart, which is optional."""
    for function in functions_of((PUBLIC | OTHERS)[name]):
        typing.get_type_hints(function, localns={"Axes": object, "Figure": object})


def test_import_is_quiet_and_light() -> None:
    code = (
        "import sys, bitterfly;"
        "heavy = {'safetensors', 'click', 'matplotlib', 'hypothesis', 'torch'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_folders_of_tests_are_no_packages() -> None:
    """Else whoever asks whether torch is installed finds the folder of its tests."""
    found = importlib.util.find_spec("torch")
    assert found is None or found.loader is not None
    assert importlib.util.find_spec("accuracy") is None


def test_the_layers_of_torch_say_what_they_need() -> None:
    code = "import sys; sys.modules['torch'] = None; import bitterfly; bitterfly.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.endswith(
        'ImportError: bitterfly.torch: expected torch, found none; pip install "bitterfly[torch]"\n'
    )


@pytest.mark.parametrize(("value", "ok"), [("scalar", True), ("", True), ("mmx", False)])
def test_isa_of_the_environment(value: str, ok: bool) -> None:
    code = "import bitterfly; print(bitterfly.show_config()['isa'])"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"BITTERFLY_ISA": value}, capture_output=True, text=True, check=False
    )
    assert (run.returncode == 0) is ok
    assert (
        (run.stdout.strip() == (value or bitterfly._core.available_isas()[0])) if ok else "BITTERFLY_ISA" in run.stderr
    )
