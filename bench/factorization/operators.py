"""Operators that people bring: noisy chains, Monarch, non-uniform DFT, LSQR, measured matrices, entry functions.

`-m bench.factorization.operators [ksd] [nonuniform] [matrices] [entries]`.

Data of others is taken where it is installed: silero-vad (the constants in its package), pyamg.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsqr

import bitterfly
from bench import peers, timing
from bitterfly import Chain, gallery, plots
from bitterfly.accuracy.sampled import sampled_error
from bitterfly.sources.given import EntrySource

NOISE = 0.1
RANK_ONE = [(1, 8, 8, 1024), (8, 8, 8, 128), (64, 8, 8, 16), (512, 16, 16, 1)]
RANK_FOUR = [(1, 32, 32, 256), (8, 32, 32, 32), (64, 32, 32, 4), (512, 16, 16, 1)]


def noisy(chain: Chain, rng: np.random.Generator) -> np.ndarray:
    """A random product on the chain, float32, and noise of a tenth of its norm."""
    factors = [(rng.standard_normal(p) / np.sqrt(p[2])).astype(np.float32) for p in chain]
    a = bitterfly.ButterflyOperator(factors).todense()
    noise = rng.standard_normal(a.shape).astype(np.float32)
    return a + np.float32(NOISE * np.linalg.norm(a) / np.linalg.norm(noise)) * noise


def against_ksd(rounds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for name, chain in {
        "square dyadic, n = 8192": Chain.square_dyadic(8192),
        "rank 1, n = 8192": Chain(RANK_ONE),
        "rank 4, n = 8192": Chain(RANK_FOUR),
        "Monarch, 4096 x 1024": Chain([(1, 64, 32, 64), (32, 64, 32, 1)]),
    }.items():
        is_monarch = len(chain) == 2
        a = rng.standard_normal(chain.shape).astype(np.float32) if is_monarch else noisy(chain, rng)
        ours: list[Any] = []
        contenders: dict[str, Callable[[], object]] = {
            "ours": lambda ours=ours, a=a, chain=chain: ours.append(bitterfly.factorize(a, chain, permute=None))
        }
        theirs: list[Any] = []
        modules = peers.lazylinop()
        if modules:
            butterfly = modules[0]
            pattern = butterfly.Chain(list(map(tuple, chain)))
            contenders["ksd"] = lambda theirs=theirs, a=a, pattern=pattern, b=butterfly: theirs.append(
                b.ksd(a, pattern)
            )
        seconds = timing.interleaved(contenders, rounds, budget=0)
        row = {"matrix": name, "s": seconds["ours"], "error": error_of(ours[-1], a), "ledger": ours[-1].relative_error}
        if theirs:
            row |= {"ksd s": seconds["ksd"], "ksd error": error_of(theirs[-1], a)}
            row["ratio"] = seconds["ksd"] / seconds["ours"]
        rows.append(row)
        print(row, flush=True)
    return rows


def error_of(op: Any, a: np.ndarray) -> float:
    missed = total = 0.0
    for first in range(0, a.shape[1], 512):
        unit = np.zeros((a.shape[1], min(512, a.shape[1] - first)), a.dtype)
        unit[first + np.arange(unit.shape[1]), np.arange(unit.shape[1])] = 1
        exact = a[:, first : first + unit.shape[1]].astype(np.float64)
        missed += float(np.sum((exact - op @ unit) ** 2))
        total += float(np.sum(exact**2))
    return float(np.sqrt(missed / total))


def nonuniform(rounds: int) -> list[dict[str, Any]]:
    """Compressed at 1e-2, in codes; products in single precision against BLAS, one vector, this thread."""
    a = gallery.nonuniform_dft(4096).todense().astype(np.complex64)
    op = bitterfly.compress(a, rtol=1e-2)
    x = np.random.default_rng(0).standard_normal(4096).astype(np.complex64)
    seconds = timing.interleaved({"ours": lambda: op @ x, "dense": lambda: a @ x}, rounds, budget=0.05)
    found = {"share of bytes": op.nbytes / a.nbytes, "error": op.relative_error, "bits": op.report.bits}
    found |= {"us": 1e6 * seconds["ours"], "dense us": 1e6 * seconds["dense"]}
    rows = [found | {"ratio": seconds["dense"] / seconds["ours"], "chain": repr(op.chain)[:60]}]
    print(rows, flush=True)
    rows.append(least_squares(a, op))
    return rows


def least_squares(a: np.ndarray, op: bitterfly.PackedButterfly) -> dict[str, Any]:
    """LSQR to 1e-2, with noise of one percent on the right-hand side: iterations and time with either operator."""
    n = a.shape[1]
    rng = np.random.default_rng(1)
    exact = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    b = a @ exact
    noise = rng.standard_normal(len(b)) + 1j * rng.standard_normal(len(b))
    b = b + 1e-2 * np.linalg.norm(b) / np.linalg.norm(noise) * noise
    # conj(A^T conj(y)): no conjugate copy of the dense matrix at every product
    adjoint = np.ascontiguousarray(a.conj().T)
    dense = LinearOperator(a.shape, matvec=lambda x: a @ x, rmatvec=lambda y: adjoint @ y, dtype=a.dtype)
    row: dict[str, Any] = {}
    for name, operator in (("dense", dense), ("ours", op)):
        start = time.perf_counter()
        x, _, iterations, *_ = lsqr(operator, b, atol=1e-2, btol=1e-2)
        row[f"LSQR {name} s"] = time.perf_counter() - start
        row[f"{name} iterations"] = iterations
        row[f"{name} error"] = float(np.linalg.norm(x - exact) / np.linalg.norm(exact))
    row["LSQR ratio"] = row["LSQR dense s"] / row["LSQR ours s"]
    print(row, flush=True)
    return row


def matrices() -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    spec = importlib.util.find_spec("silero_vad")
    if spec is not None and spec.submodule_search_locations:
        archive = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.jit"
        with zipfile.ZipFile(archive) as file:
            basis = next(item for item in file.infolist() if item.file_size == 4 * 258 * 256)
            found["silero-vad STFT basis"] = np.frombuffer(file.read(basis), np.float32).reshape(258, 256)
    try:
        from pyamg.gallery import load_example

        example = load_example("helmholtz_2D")
        inverse = np.linalg.inv(example["A"].toarray())
        points = np.asarray(example["vertices"])[:, :2]
        # The mesh is discontinuous: its unknowns lie at vertices that repeat; left half against right half.
        order = np.argsort(points[:, 0], kind="stable")[: inverse.shape[0]]
        half = len(order) // 2
        left, right = order[:half], order[half:]
        left, right = (part[bitterfly.ordering.morton(points[part])] for part in (left, right))
        found["pyamg helmholtz_2D inverse, left x right"] = inverse[np.ix_(left, right)]
    except ImportError:
        pass
    found["Helmholtz plates, 2-D, n = 1024"] = gallery.helmholtz_plates(1024, dim=2).todense()
    found["Helmholtz plates, 3-D, n = 1024"] = gallery.helmholtz_plates(1024).todense()
    return found


def honest() -> list[dict[str, Any]]:
    """What a tolerance costs, and what an SVD and dense 4-bit codes reach, an SVD in as many bytes."""
    rows = []
    for name, matrix in matrices().items():
        a = matrix.astype(np.complex64 if matrix.dtype.kind == "c" else np.float32)
        for rtol in (1e-1, 1e-2, 1e-3):
            row: dict[str, Any] = {"matrix": name, "shape": "x".join(map(str, a.shape)), "rtol": rtol}
            try:
                op = bitterfly.compress(a, rtol=rtol)
            except ValueError as error:
                rows.append(row | {"refused": str(error)[:80]})
            else:
                svd = min((e for size, e in plots.truncated_svd(a) if size <= op.nbytes), default=1.0)
                row |= {"error": op.relative_error, "share of bytes": op.nbytes / a.nbytes, "SVD": svd}
                ((size, error4),) = plots.dense_codes(a, (4,))
                rows.append(row | {"dense 4 bits": error4, "their share": size / a.nbytes})
            print(rows[-1], flush=True)
    return rows


def entries() -> list[dict[str, Any]]:
    """Entry functions: what is evaluated, processor time of one thread, the error on 1024 random rows, bytes."""
    rows = []
    for name, n, rtol in (
        ("fourier_integral", 4096, 1e-4),
        ("fourier_integral", 16384, 1e-4),
        ("fourier_integral", 65536, 1e-4),
        ("helmholtz_plates", 4096, 1e-2),
        ("helmholtz_plates", 4096, 1e-4),
        ("helmholtz_plates", 16384, 1e-2),
        ("helmholtz_plates", 16384, 1e-4),
        ("nonuniform_dft", 32768, 1e-3),
        ("nonuniform_dft", 32768, 1e-4),
    ):
        source = EntrySource(gallery.KERNELS[name](n), (n, n))
        start = time.process_time()
        op = bitterfly.factorize(source, rtol=rtol, workers=1)
        row: dict[str, Any] = {"kernel": name, "n": n, "rtol": rtol, "s": time.process_time() - start}
        row["million entries"] = source.entries / 1e6
        error, _ = sampled_error(source, op, 1024, np.random.default_rng(1))
        row |= {"error / rtol": error / rtol, "reported / rtol": op.relative_error / rtol, "MB": op.nbytes / 1e6}
        rows.append(row | {"ranks": "-".join(map(str, op.chain.ranks))})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    rounds = 2 if "--quick" in sys.argv else 5
    parts = {
        "ksd": against_ksd,
        "nonuniform": nonuniform,
        "matrices": lambda _: honest(),
        "entries": lambda _: entries(),
    }
    for name in [p for p in parts if p in sys.argv] or list(parts):
        with timing.one_thread() if name == "nonuniform" else nullcontext():
            timing.write(f"operators-{name}", {name: parts[name](rounds)})


if __name__ == "__main__":
    main()
