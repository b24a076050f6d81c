"""Hypothesis profiles, and the fixture that runs a test on every tier of this machine."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # processes side by side: threads of a BLAS would wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from collections.abc import Iterator
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from bitterfly import _core


class NoPackages(FileFinder):
    """Folders here are named after rooms of the package, and are no packages of these names: torch is one."""

    def find_spec(self, fullname: str, target: object = None) -> ModuleSpec | None:
        spec = super().find_spec(fullname, target)
        return spec if spec is not None and spec.loader is not None else None


TESTS = str(Path(__file__).parent)
sys.path_importer_cache[TESTS] = NoPackages(TESTS, (SourceFileLoader, [".py"]))

settings.register_profile("dev", max_examples=30, deadline=None)
settings.register_profile(
    "ci", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


TIERS = ("scalar", "avx2", "avx512")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a test run: the tiers on which nothing ran, since this CPU or this build has none of them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(config, "workerinput"):
        missing = [tier for tier in TIERS if tier not in _core.available_isas()]
        reporter.write_line(f"tiers NOT RUN: {', '.join(missing)}" if missing else f"tiers run: {', '.join(TIERS)}")


@pytest.fixture(params=_core.available_isas(), scope="module")
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.active_isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)
