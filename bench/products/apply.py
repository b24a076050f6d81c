"""Apply: products on one thread against dense BLAS, CSR, lazylinop, pyfaust, scipy.fft.

`python -m bench.products.apply`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import scipy.fft

import bitterfly
from bench import peers, timing
from bitterfly import _core, transforms

DENSE_LIMIT = 4096
SPARSE_LIMIT = 2**16
BITS = (1, 2, 4, 6)
RATIOS = (
    ("CSR chain", "4 bits"),
    ("dense BLAS", "4 bits"),
    ("pyfaust", "4 bits"),
    ("float32", "1 bits"),
    ("float32", "2 bits"),
    ("float32", "4 bits"),
)

Contenders = dict[str, Callable[[], Any]]


@cache
def operators(n: int) -> dict[str, Any]:
    """Random butterflies of n in float32 and in codes of several widths."""
    op = transforms.random(n, rng=np.random.default_rng(n), dtype=np.float32, orthogonal=True)
    return {"float32": op} | {f"{bits} bits": bitterfly.quantize(op, bits=bits) for bits in BITS}


@cache
def fourier(n: int) -> bitterfly.PackedButterfly:
    return bitterfly.quantize(transforms.dft(n, dtype=np.complex64), bits=np.log2(n) / 4)


def relative(y: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(y - expected) / np.linalg.norm(expected))


def peers_of(op: bitterfly.ButterflyOperator, x: np.ndarray) -> Contenders:
    """The same product by others, where it fits."""
    n, found = op.shape[0], {}
    if n <= DENSE_LIMIT:
        a = op.todense()
        found["dense BLAS"] = lambda: a @ x
        if modules := peers.lazylinop():
            values = [np.ascontiguousarray(f) for f in op.factors]
            for backend in ("xp", "scipy"):  # the default, and the one that is faster for one vector
                lazy = modules[0].ksm(values, {"backend": backend, "params": None})
                found[f"lazylinop {backend}"] = lambda lazy=lazy: lazy @ x
    if n <= SPARSE_LIMIT:
        chain = peers.csr_chain(op)
        found["CSR chain"] = lambda: peers.csr_product(chain, x)
        if faust := peers.faust(op):
            theirs = np.asfortranarray(x)  # the order that it asks for
            found["pyfaust"] = lambda: faust @ theirs
    return found


def real_contenders(n: int, columns: int) -> Contenders:
    ops = operators(n)
    x = np.random.default_rng(n).standard_normal(n if columns == 1 else (n, columns)).astype(np.float32)
    out = np.empty_like(x)
    expected = ops["float32"].astype(np.float64).apply(x.astype(np.float64))
    hadamard = _core.hadamard(n, np.dtype(np.float32))
    contenders: Contenders = {"Hadamard": lambda: hadamard.apply(x, out, False, False)}
    for name, op in ops.items():
        assert relative(op.apply(x), expected) <= 2 * (op.relative_error or 0) + 1e-5, name
        contenders[name] = lambda op=op: op.apply(x, out)
    others = peers_of(ops["float32"], x)
    for name, run in others.items():
        assert relative(run(), expected) <= 1e-4, name
    return contenders | others


def dft_contenders(n: int) -> Contenders:
    """All in complex64; scipy.fft with its default of one worker."""
    rng = np.random.default_rng(n)
    packed = fourier(n)
    x = (rng.standard_normal(n) + 1j * rng.standard_normal(n)).astype(np.complex64)
    out = np.empty_like(x)
    expected = scipy.fft.fft(x.astype(np.complex128))
    for run in (packed.apply, scipy.fft.fft):
        assert relative(run(x), expected) <= 1e-5
        assert run(x).dtype == np.complex64
    return {"packed DFT": lambda: packed.apply(x, out), "scipy.fft": lambda: scipy.fft.fft(x)}


def row_of(label: dict[str, Any], contenders: Contenders, rounds: int) -> dict[str, Any]:
    seconds = timing.interleaved(contenders, rounds)
    return label | {f"{name} us": 1e6 * value for name, value in seconds.items()}


def ratios(row: dict[str, Any]) -> dict[str, Any]:
    us = {name[:-3]: value for name, value in row.items() if name.endswith(" us")}
    found = {f"{a} / {b}": us[a] / us[b] for a, b in RATIOS if a in us and b in us}
    return {name: value for name, value in row.items() if not name.endswith(" us")} | found


def one_vector(sizes: list[int], rounds: int) -> dict[str, list[dict[str, Any]]]:
    rows = [row_of({"n": n}, real_contenders(n, 1), rounds) for n in sizes]
    return {"one vector": rows, "one vector, ratios": [ratios(r) for r in rows]}


def many_vectors(sizes: list[int], rounds: int) -> dict[str, list[dict[str, Any]]]:
    rows = [row_of({"n": n, "columns": 64}, real_contenders(n, 64), rounds) for n in sizes]
    return {"64 vectors": rows, "64 vectors, ratios": [ratios(r) for r in rows]}


def transform(sizes: list[int], rounds: int) -> dict[str, list[dict[str, Any]]]:
    rows = [row_of({"n": n}, dft_contenders(n), rounds) for n in sizes]
    return {"Fourier transform": [r | {"packed / scipy": r["packed DFT us"] / r["scipy.fft us"]} for r in rows]}


def main() -> None:
    quick = "--quick" in sys.argv
    rounds = 5 if quick else 11
    sizes = [64, 1024, 4096] if quick else [64, 256, 1024, 4096, 2**14, 2**16, 2**18, 2**20]
    with timing.one_thread():
        tables = one_vector(sizes, rounds) | many_vectors([n for n in sizes if n <= SPARSE_LIMIT], rounds)
        timing.write("apply", tables | transform(sizes, rounds))


if __name__ == "__main__":
    main()
