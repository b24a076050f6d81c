"""The rooms of the package: who may import whom, no circles, and folders that a reader can overlook."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "python" / "bitterfly"

# A room imports from rooms before it, and from itself; rooms of one line not from one another.
FLOORS = [
    ["ground"],
    ["chains"],
    ["stores", "sources"],
    ["accuracy"],
    ["operators"],
    ["transforms", "algebra", "interop"],
    ["factorization", "quantization", "files"],
    ["compression"],
    ["plots"],
    ["commands"],
    ["__init__"],
]
FLOOR = {room: at for at, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
MOST_FILES = 12  # of a folder, beside its __init__.py
GROUND_FILES = 14  # those that are public, and those that everything uses


def room_of(module: str) -> str:
    first = module.split(".")[0]
    return first if first in FLOOR else "ground"


def imported(path: Path) -> Iterator[str]:
    """All modules of the package that a file imports, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bitterfly":
            inner = (node.module or "").removeprefix("bitterfly").lstrip(".")
            for alias in node.names:
                whole = f"{inner}.{alias.name}".lstrip(".")
                name = whole if whole in MODULES or f"{whole}.__init__" in MODULES else inner
                if name:
                    yield name
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("bitterfly.") for a in node.names if a.name.startswith("bitterfly."))


IMPORTS = {name: {x.removesuffix(".__init__") for x in imported(path)} - {name} for name, path in MODULES.items()}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_rooms_import_from_rooms_before_them(module: str) -> None:
    own = room_of(module)
    wrong = [x for x in IMPORTS[module] if room_of(x) != own and FLOOR[room_of(x)] >= FLOOR[own]]
    assert wrong == []


def test_no_circles() -> None:
    left = {name: {x for x in found if x in MODULES} for name, found in IMPORTS.items()}
    while free := [name for name, found in left.items() if not found]:
        for name in free:
            del left[name]
        left = {name: found - set(free) for name, found in left.items()}
    assert left == {}


def test_folders_are_small_and_say_what_they_hold() -> None:
    for folder in {p.parent for p in MODULES.values()}:
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        assert len(files) <= (GROUND_FILES if folder == PACKAGE else MOST_FILES), folder
        assert (folder / "__init__.py").read_text().startswith('"""')
