"""Corrupted and forged files of every kind, a few seconds of them; `hostile.py` runs as many as asked."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import bitterfly
import hostile
from bitterfly.files import storage
from bitterfly.stores.kinds import names_of
from bitterfly.structures import ToeplitzOperator


def test_files_of_every_kind_are_there() -> None:
    """Every format version, kind, code, mode and precision is among the files that are mutated."""
    headers = [hostile.parts(data)[1] for _, data in hostile.files()]
    for header in headers:  # members of members too
        headers += header.get("terms", ())
    assert {header["format_version"] for header in headers} == {1, 2, 3, 4, 5, 6, 7, 8}
    assert {header["kind"] for header in headers} == storage.CODECS.keys() | {"cut_tensor", "convolution"}
    assert {header.get("mode") for header in headers} >= {"forward", "transpose", "adjoint"}
    assert {header.get("dtype") for header in headers} >= {"float32", "float64", "complex64", "complex128"}
    kinds = {kind for header in headers for kind, _ in header.get("codes", ())}
    assert kinds >= set(names_of("direction", "integer", "list"))
    assert any(kind.startswith("float") for kind in kinds)
    assert any(any(header.get("ranks", ())) for header in headers)


def test_no_file_crashes_or_loads_as_another_operator() -> None:
    out = hostile.run(8000, seed=0)
    assert not out.faults, "\n".join(out.faults)
    changes = {change for change, _ in out.counts}
    assert changes == {"forged", *(change.__name__.strip("_") for change in hostile.DAMAGES)}
    for change in changes:  # most are refused; of forged files some are valid, and of the others some change nothing
        assert out.counts[change, "refused"] > 0
    assert out.counts["forged", "another"] > 0


def test_trials_are_made_of_their_numbers() -> None:
    assert hostile.mutation(1, 77) == hostile.mutation(1, 77)
    assert hostile.mutation(1, 77) != hostile.mutation(2, 77)


@pytest.mark.parametrize("rows", [6000, 1 << 28])
def test_a_few_numbers_may_stand_for_many_rows(rows: int, tmp_path: Path) -> None:
    """A Toeplitz matrix of a band, in a file of some hundred bytes, is valid; only what can be formed is multiplied."""
    op = ToeplitzOperator(np.ones((1, 1, 3)), [rows], [3], first=[-1])
    bitterfly.save(tmp_path / "op", op)
    hostile.check_valid(bitterfly.load(tmp_path / "op"), random.Random(0))
    hostile.check_valid(bitterfly.load(tmp_path / "op") + op, random.Random(0))
    with pytest.raises(ValueError, match="rows, columns: expected a matrix of fewer than 4611686018427387904 of each"):
        ToeplitzOperator(np.ones([1, 1, 3, 3, 3]), [2**30] * 3, [3] * 3, first=[-1] * 3)
