"""No reported error lies below the true one: random small sources through all stages."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

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
