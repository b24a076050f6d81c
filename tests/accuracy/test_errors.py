"""No reported error lies below the true one: random small sources through all stages."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
import pytest

import bitterfly
import exact
from bitterfly import structures
from errors import above

_SEEDS = 60_000 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 300
_PARTS = 6


@pytest.mark.parametrize("part", range(_PARTS))
def test_no_error_below_the_true_one(part: int, tmp_path: Any) -> None:
    checked: Counter[str] = Counter()
    found = [line for seed in range(part, _SEEDS, _PARTS) for line in above(seed, str(tmp_path), checked, Counter())]
    assert not found and checked["measured"] > 0 and checked["ledger"] > 0, "\n".join(found)


@pytest.mark.parametrize("seed", [300236, 401517, 405031, 5021008])
def test_found_before(seed: int, tmp_path: Any) -> None:
    """A long integer from slices; entries whose squares fit double precision though their fourth powers do not; graded
    pivot rows whose combinations looked like codes."""
    assert above(seed, str(tmp_path), Counter(), Counter()) == []


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("top", [1.0, 0.75, 0.5])
def test_errors_of_the_largest_numbers(dtype: Any, top: float) -> None:
    """Of entries near the end of double precision, whose differences to those of an operator leave it."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        a = rng.uniform(-1, 1, (16, 24))
        a = a + 1j * rng.uniform(-1, 1, a.shape) if np.dtype(dtype).kind == "c" else a
        a *= top * np.finfo(np.float64).max
        a.flat[rng.integers(a.size)] = np.finfo(np.float64).max
        made = {
            "low rank": lambda a=a: structures.low_rank(a, rank=2),
            "train": lambda a=a: structures.tensor_train(a, [4, 4], [4, 6], ranks=2),
            "coded": lambda a=a: bitterfly.quantize_train(
                structures.tensor_train(a, [4, 4], [4, 6], ranks=2), bits=2, rng=0
            ),
            "rows": lambda a=a: structures.tensor_train_rows(a, ranks=2, rng=0),
            "dense": lambda a=a: bitterfly.quantize_dense(a, bits=1.5, rng=0),
            "beside": lambda a=a: structures.with_sparse(a, 3, structures.toeplitz),
        }
        if a.dtype.kind != "c":
            made["cuts"] = lambda a=a: bitterfly.cuts.matrix(a, width=3, rng=0)
        for name, make in made.items():
            op = make()
            true = exact.error(a, op)
            assert true <= op.relative_error <= 1.1 * float(true), name
