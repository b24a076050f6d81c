"""What `compress` makes of matrices of a structure, and tensor trains of tables of six variables by their entries.

`python -m bench.structures.found [--quick]`
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

import bitterfly
from bench import timing
from bitterfly import structures

SIZES = (512, 1024, 2048, 4096)
RTOL = 1e-3
TABLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "1 / (1 + sum x)": lambda x: 1 / (1 + x.sum(axis=1)),
    "sin(sum x)": lambda x: np.sin(x.sum(axis=1)),
    "exp(-|x|)": lambda x: np.exp(-np.sqrt(np.square(x + 1 / 32).sum(axis=1))),
    "1 / |x|": lambda x: 1 / np.sqrt(np.square(x + 1 / 32).sum(axis=1)),
}


def matrices(n: int) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield names, matrices in single precision, and the bytes that it is obvious to store."""
    rng = np.random.default_rng(0)
    t = rng.standard_normal((2, n))
    bands = [rng.standard_normal(n - abs(k)) for k in range(-2, 3)]
    few = scipy.sparse.random_array((n, n), density=0.01, rng=rng).toarray()
    small, large = rng.standard_normal((32, 32)), rng.standard_normal((n // 32, n // 32))
    low_rank = rng.standard_normal((n, 8)) @ rng.standard_normal((8, n))
    pairs = [(rng.standard_normal((32, 32)), rng.standard_normal((n // 32, n // 32))) for _ in range(3)]
    x = np.arange(n) / n
    kernel = 1 / (1 + np.add.outer(x, 3 * x) + np.outer(x, x))  # of rank 2 up to 4.6e-4
    found = [
        ("circulant", scipy.linalg.circulant(t[0]), 4 * n),
        ("Toeplitz", scipy.linalg.toeplitz(t[0], t[1]), 8 * n),
        ("permutation", np.eye(n)[rng.permutation(n)], 4 * n),
        ("Kronecker product", np.kron(small, large), 4 * (small.size + large.size)),
        ("identity", np.eye(n), 4),
        ("rank 8", low_rank, 4 * 16 * n),
        ("five diagonals", scipy.sparse.diags_array(bands, offsets=range(-2, 3)).toarray(), 4 * 5 * n),
        ("1 % of the entries", few, 8 * np.count_nonzero(few) + 4 * n),
        ("Hankel", scipy.linalg.hankel(t[0], t[1]), 8 * n),
        ("three Kronecker products", sum(np.kron(*pair) for pair in pairs), 3 * 4 * (small.size + large.size)),
        ("1 / (1 + x + 3 y + x y)", kernel, 4 * 2 * n * 2),
    ]
    for name, a, nbytes in found:
        yield name, a.astype(np.float32), nbytes


def compressed(n: int) -> list[dict[str, Any]]:
    rows = []
    for name, a, obvious in matrices(n):
        start = perf_counter()
        op = bitterfly.compress(a, rtol=RTOL)
        seconds = perf_counter() - start
        facts = {"structure": op.report.structure, "bytes": op.nbytes, "of the obvious": op.nbytes / obvious}
        rows.append({"matrix": name} | facts | {"error": op.relative_error, "seconds": seconds})
    return rows


def tables() -> list[dict[str, Any]]:
    rows = []
    digits = np.random.default_rng(5).integers(0, 32, (20000, 6))
    places = np.ravel_multi_index(tuple(digits.T), [32] * 6)
    for name, table in TABLES.items():
        values = table(digits / 32)
        for rtol in (1e-3, 1e-6, 1e-9):
            seen = 0

            def entries(i: np.ndarray, _: np.ndarray, table: Any = table) -> np.ndarray:
                nonlocal seen
                seen += len(i)
                return np.asarray(table(i / 32))

            start = perf_counter()
            op = structures.tensor_train_of_entries(entries, [32] * 6, rtol=rtol, rng=0)
            seconds = perf_counter() - start
            error = np.linalg.norm(op.entries(places, 0) - values) / np.linalg.norm(values)
            facts = {"asked": rtol, "error": float(error), "reported": op.relative_error, "ranks": max(op.ranks)}
            rows.append({"table": name} | facts | {"entries": seen, "of all": seen / 32**6, "seconds": seconds})
    return rows


def main() -> None:
    sizes = SIZES[:1] if "--quick" in sys.argv else SIZES
    sections = {f"compress(rtol={RTOL:g}), n = {n}": compressed(n) for n in sizes}
    timing.write("structures", sections | {"tables of six variables, 32^6 entries": tables()})


if __name__ == "__main__":
    main()
