"""README and docs: blocks run in a scratch folder, links lead somewhere; docstring examples hold."""

from __future__ import annotations

import doctest
import importlib
import importlib.machinery
import importlib.util
import pkgutil
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import bitterfly
from bitterfly.commands.cli import main

ROOT = Path(__file__).resolve().parent.parent
_EXTRAS = {"torch": ["torch"], "convolutions.canonical": ["tensorly"], "convolutions.trains": ["tensorly"]}
_EXTRAS |= {"torch.md": ["torch"], "convolutions.md": ["torch", "tensorly"]}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in _EXTRAS.get(page.name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        exec(compile(block, page.name, "exec"), scope)


def test_shell_tour_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("A.npy", bitterfly.transforms.hadamard(64).todense())
    np.save("x.npy", np.arange(64.0))
    blocks = re.findall(r"^```sh\n(bitterfly .*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    commands = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    assert [c[0] for c in commands] == ["compress", "info", "apply", "model"]
    weights = np.random.default_rng(0).standard_normal((96, 128)).astype(np.float32)
    save_file({"layer.weight": weights}, "model.safetensors")
    for command in commands:
        run = CliRunner().invoke(main, command)
        assert run.exit_code == 0, run.output
    assert np.allclose(np.load("y.npy"), np.load("A.npy") @ np.load("x.npy"))
    small = bitterfly.models.load("small.safetensors")
    assert small.nbytes <= weights.size * 2 / 4 and small["layer.weight"].relative_error < 0.1


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_tables_that_are_generated() -> None:
    """Every place on the page has its end and a table or a sentence."""
    text = (ROOT / "docs" / "performance.md").read_text()
    places = re.findall(r"<!-- begin: (.*?) -->\n\n(.*?)\n\n<!-- end -->", text, re.S)
    assert len(places) == text.count("<!-- begin:") == text.count("<!-- end -->") > 0
    for name, content in places:
        assert content.startswith("| ") or name == "machine" or content == "(not on this machine)", name


def test_places_of_tables() -> None:
    """`bench/pages.py`, which writes them, changes nothing else."""
    loader = importlib.machinery.SourceFileLoader("pages", str(ROOT / "bench" / "pages.py"))
    pages = importlib.util.module_from_spec(importlib.util.spec_from_loader("pages", loader))
    loader.exec_module(pages)
    text = "head\n\n<!-- begin: a -->\n\n<!-- end -->\n\nmiddle <!-- begin: b -->\nold\n<!-- end -->\ntail\n"
    assert pages.names(text) == ["a", "b"]
    once = pages.filled(text, "b", "new \\1")
    assert once == text.replace("\nold\n", "\n\nnew \\1\n\n")
    assert pages.filled(once, "b", "new \\1") == once
    assert "x" in pages.filled(text, "a", "x").split("<!-- end -->")[0]
    for broken in ("", text + text, "<!-- begin: a -->", "<!-- begin: a -->\n<!-- begin: b -->\n<!-- end -->"):
        with pytest.raises(ValueError, match="begin: a"):
            pages.filled(broken, "a", "x")


MODULES = [m.name for m in pkgutil.walk_packages(bitterfly.__path__, "bitterfly.") if not m.name.endswith("._core")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    for package in next((extras for part, extras in _EXTRAS.items() if name.startswith(f"bitterfly.{part}")), ()):
        pytest.importorskip(package)
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0
