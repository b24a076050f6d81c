"""Nanoseconds a number that the encoder of window codes takes on one core, by tier.

`python -m bench.quantization.window_encode`: the least of many short runs, since other work on the machine only adds.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

from bench import timing
from bitterfly import _core, reference
from bitterfly.stores.dense.windows import WINDOW_BITS, WindowCode, encode, window_code

ROUNDS = 1000
SEQUENCES = {"scalar": 1, "avx2": 32, "avx512": 32}


def nanoseconds(code: WindowCode, isa: str, rounds: int, around: int) -> float:
    x = np.random.default_rng(0).standard_normal((SEQUENCES[isa], 64), np.float32) / np.float32(code.step)
    y = reference.window_decode(encode(x, code, around=around), code.table, code.masks, code.rate)
    assert np.linalg.norm(x - y) < 1.2 * code.error * np.linalg.norm(x)
    least = np.inf
    for _ in range(rounds):
        start = time.perf_counter()
        _core.window_encode(x, code.table, code.masks, code.half_bits, 64, 1, around)
        least = min(least, time.perf_counter() - start)
    return least / x.size * 1e9


def main() -> None:
    rounds = ROUNDS // 10 if "--quick" in sys.argv else ROUNDS
    rows: list[dict[str, Any]] = []
    before = _core.active_isa()
    with timing.one_thread():
        for isa in _core.available_isas():
            _core.select_isa(isa)
            for name in WINDOW_BITS:
                row: dict[str, Any] = {"tier": isa, "code": name}
                for rate in (1, 2, 4):
                    code = window_code(name, rate)
                    row[f"{rate} bits"] = nanoseconds(code, isa, rounds, 0)
                    row[f"{rate} bits, all rows twice"] = nanoseconds(code, isa, rounds, 64)
                rows.append(row)
    _core.select_isa(before)
    timing.write("window_encode", {f"encoder of window codes, ns a number (load {os.getloadavg()[0]:.1f})": rows})


if __name__ == "__main__":
    main()
