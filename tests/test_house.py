"""The rooms of the package and of the core: who may use whom, no circles, and folders that a reader can overlook."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python" / "bitterfly"
CORE = ROOT / "cpp"
BINDINGS = ROOT / "python" / "bindings"

# A room imports from rooms before it, and from itself; rooms of one line not from one another.
FLOORS = [
    ["ground"],
    ["chains"],
    ["stores", "sources"],
    ["accuracy"],
    ["operators"],
    ["transforms", "algebra", "interop", "factorization", "quantization"],
    ["structures"],
    ["files"],
    ["dense", "cuts"],
    ["compression", "convolutions"],
    ["plots", "models"],
    ["torch", "commands"],
    ["__init__"],
]
FLOOR = {room: at for at, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
MOST_FILES = 12  # of a folder, beside its __init__.py
BESIDE_ROOMS = 6  # files of the bindings that are not those of a room: what they share, the module itself
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


def circles(uses: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left of a graph without those that lead nowhere."""
    left = {name: {x for x in found if x in uses} for name, found in uses.items()}
    while free := [name for name, found in left.items() if not found]:
        for name in free:
            del left[name]
        left = {name: found - set(free) for name, found in left.items()}
    return left


def test_no_circles() -> None:
    assert circles(IMPORTS) == {}


def test_folders_are_small_and_say_what_they_hold() -> None:
    for folder in {p.parent for p in MODULES.values()}:
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        assert len(files) <= (GROUND_FILES if folder == PACKAGE else MOST_FILES), folder
        assert (folder / "__init__.py").read_text().startswith('"""')


@pytest.mark.parametrize("root", ["tests", "bench"])
def test_tests_and_benchmarks_lie_in_the_rooms_of_what_they_are_of(root: str) -> None:
    folders = [p for p in (ROOT / root).iterdir() if p.is_dir() and not p.name.startswith(("_", "."))]
    rooms = {p.name for p in (*PACKAGE.iterdir(), *CORE.iterdir()) if p.is_dir()} | {"workers", "results", "study"}
    assert {p.name for p in folders} <= rooms
    for folder in (ROOT / root, *(p for p in folders if p.name != "results")):  # what benchmarks write
        files = [p for p in folder.iterdir() if p.is_file() and p.name != "__init__.py"]
        assert len(files) <= MOST_FILES, folder


# ---- the core ----

# As above, for includes; and inside rooms of several folders, "" being the room itself.
CORE_FLOORS = [
    ["ground"],
    ["simd"],
    ["kernels"],
    ["stores"],
    ["factorization", "quantization", "short_floats", "products"],
    ["dense"],
    ["cuts"],
]
INNER_FLOORS = {
    "kernels": [["lanes"], ["dyadic", "tiles", "splits", "search", "dense", "trellis", "cuts"], [""]],
    "stores": [["codes"], [""]],
    "short_floats": [["rank_one"], [""]],
    "products": [["panels"], [""]],
}
# All that others include of the kernels, and the bindings beside it.
FACES = {"kernels/kernels.hpp", *(f"kernels/{room}/args.hpp" for room in INNER_FLOORS["kernels"][1])}
CHOICE = "kernels/dispatch.hpp"

SOURCES = {str(p.relative_to(CORE)): p for p in CORE.rglob("*") if p.suffix in {".cpp", ".hpp", ".inl"}}


def included(path: Path) -> list[str]:
    return re.findall(r'^#include "(.+)"$', path.read_text(), re.M)


INCLUDES = {name: included(path) for name, path in SOURCES.items()}


def rooms_of(source: str) -> tuple[str, str]:
    """The room of a file of the core, and the folder inside that room."""
    room, *inner = source.split("/")[:-1] or ["ground"]
    return room, "/".join(inner)


def is_below(own: str, other: str, floors: list[list[str]]) -> bool:
    floor = {room: at for at, rooms in enumerate(floors) for room in rooms}
    return own == other or floor[other] < floor[own]


def may_include(source: str, other: str) -> bool:
    (room, inner), (other_room, other_inner) = rooms_of(source), rooms_of(other)
    if room == other_room:
        return is_below(inner, other_inner, INNER_FLOORS.get(room, [[""]]))
    is_face = room == "kernels" or other_room not in ("kernels", "simd") or other in FACES
    return is_face and is_below(room, other_room, CORE_FLOORS)


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_files_of_the_core_include_what_stands_below_them(source: str) -> None:
    assert [x for x in INCLUDES[source] if x not in SOURCES] == []  # paths from cpp/
    assert [x for x in INCLUDES[source] if not may_include(source, x)] == []


def test_no_circles_in_the_core() -> None:
    """A file and its header are one."""
    uses: dict[str, set[str]] = {}
    for source, includes in INCLUDES.items():
        name = source.rsplit(".", 1)[0]
        uses.setdefault(name, set()).update({x.rsplit(".", 1)[0] for x in includes} - {name})
    assert circles(uses) == {}


def test_folders_of_the_core_are_small() -> None:
    for folder in {p.parent for p in SOURCES.values()}:
        assert len([p for p in folder.iterdir() if p.is_file()]) <= MOST_FILES, folder
    rooms = {room for floor in CORE_FLOORS for room in floor}
    assert len([p for p in BINDINGS.iterdir() if p.stem not in rooms]) <= BESIDE_ROOMS


@pytest.mark.parametrize("path", sorted(BINDINGS.iterdir()), ids=lambda p: p.name)
def test_bindings_include_their_room_and_what_stands_below(path: Path) -> None:
    shared = {"ground", "stores", path.stem}
    foreign = [x for x in included(path) if not (BINDINGS / x).exists()]
    assert [x for x in foreign if rooms_of(x)[0] not in shared and x not in FACES | {CHOICE}] == []


# ---- what is touched to add something ----

ADDING = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding things")[1].split("\n## ")[0]
BULLETS = {found[1]: found[0] for found in re.finditer(r"^\* \*\*([^*]+)\*\* \(.*?(?=^\* )", ADDING, re.M | re.S)}
SUFFIXES = {".cpp", ".hpp", ".inl"}
CODE = [p for folder in ("cpp", "python") for p in (ROOT / folder).rglob("*") if p.suffix in SUFFIXES | {".py"}]


def named(bullet: str) -> tuple[list[str], list[Path], list[str]]:
    """The examples of a list, the files and folders that it names, and all other names."""
    examples, rest = re.findall(r"\((.+?)\)", BULLETS[bullet])[0], BULLETS[bullet].split(")", 1)[1]
    names = re.findall(r"`([\w./]+)`", rest)
    paths = [ROOT / name for name in names if "/" in name or "." in name]
    return re.findall(r"`(\w+)`", examples), paths, [name for name in names if "/" not in name and "." not in name]


def mentions(path: Path, name: str) -> bool:
    """Whether the code of a file, comments and what it exports apart, knows an example: as text, class or constant."""
    text = path.read_text()
    if path.suffix == ".py":
        kept = [node for node in ast.parse(text).body if not ast.unparse(node).startswith("__all__ =")]
        found = [node for statement in kept for node in ast.walk(statement)]
        texts = any(isinstance(node, ast.Constant) and node.value == name for node in found)
        return texts or any(isinstance(node, ast.Name) and node.id == f"Butterfly{name.capitalize()}" for node in found)
    words = re.findall(r"\w+", re.sub(r"//.*", "", text) if path.suffix in SUFFIXES else text)
    return any(re.fullmatch(rf"(k|Butterfly|BITTERFLY_FLAGS_)?{name}(Decoder|Kernels)?", word, re.I) for word in words)


@pytest.mark.parametrize("bullet", sorted(BULLETS))
def test_places_that_an_addition_touches(bullet: str) -> None:
    """They exist and know an example; its own file apart, no other file of the package or of the core does."""
    from bitterfly.operators.contract import Operator

    examples, places, others = named(bullet)
    assert [place for place in places if not place.exists()] == []
    assert [name for name in others if name != "Operator" and not hasattr(Operator, name)] == []
    for example in examples:
        touched = {path for path in CODE if mentions(path, example)} - set(places)
        assert [path for path in sorted(touched) if not path.stem.startswith(example)] == []
    files = [place for place in places if place.is_file() and place.name not in ("one_symbol.py", "vocabulary.hpp")]
    known = {*examples, "float"} if "operators" in bullet else set(examples)
    assert [file for file in files if not any(mentions(file, name) for name in known)] == []


def test_all_kinds_of_additions_have_their_list() -> None:
    assert sorted(BULLETS) == ["A code of directions", "A kind of operators", "A list of numbers", "A tier"]
