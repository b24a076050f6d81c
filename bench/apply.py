"""Apply: products on one thread against dense BLAS, CSR, lazylinop, scipy.fft. `python -m bench.apply`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
import threadpoolctl

import bitterfly
from bench import peers, timing
from bitterfly import _core, transforms

DENSE_LIMIT = 4096
BITS = (1, 2, 4, 6)
RATIOS = (
    ("CSR chain", "4 bits"),
    ("dense BLAS", "4 bits"),
    ("float factors", "1 bits"),
    ("float factors", "2 bits"),
    ("float factors", "4 bits"),
)


def real_contenders(n: int, columns: int) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(n)
    op = transforms.random(n, rng=rng, dtype=np.float32, orthogonal=True)
    x = rng.standard_normal(n if columns == 1 else (n, columns)).astype(np.float32)
    out = np.empty_like(x)
    expected = op.astype(np.float64).apply(x.astype(np.float64))
    contenders: dict[str, Callable[[], Any]] = {"float factors": lambda: op.apply(x, out)}
    for bits in BITS:
        packed = bitterfly.quantize(op, bits=bits)
        error = np.linalg.norm(packed.apply(x) - expected) / np.linalg.norm(expected)
        assert error <= 2 * packed.relative_error + 1e-5
        contenders[f"{bits} bits"] = lambda p=packed: p.apply(x, out)
    if n <= DENSE_LIMIT:
        a = op.todense()
        contenders["dense BLAS"] = lambda: a @ x
        if modules := peers.lazylinop():
            values = [np.ascontiguousarray(f) for f in op.factors]
            for backend in ("xp", "scipy"):  # the default, and the one that is faster for one vector
                lazy = modules[0].ksm(values, {"backend": backend, "params": None})
                contenders[f"lazylinop {backend}"] = lambda lazy=lazy: lazy @ x
    if n <= 2**16:
        chain = peers.csr_chain(op)
        contenders["CSR chain"] = lambda: peers.csr_product(chain, x)
    for name, run in contenders.items():
        if "bits" not in name:
            assert np.linalg.norm(run() - expected) <= 1e-4 * np.linalg.norm(expected), name
    return contenders


def dft_contenders(n: int) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(n)
    packed = bitterfly.quantize(transforms.dft(n, dtype=np.complex64), bits=np.log2(n) / 4)
    x = (rng.standard_normal(n) + 1j * rng.standard_normal(n)).astype(np.complex64)
    out = np.empty_like(x)
    expected = scipy.fft.fft(x.astype(np.complex128))
    assert np.linalg.norm(packed.apply(x) - expected) <= 1e-4 * np.linalg.norm(expected)
    return {"packed DFT": lambda: packed.apply(x, out), "scipy.fft": lambda: scipy.fft.fft(x)}


def row_of(label: dict[str, Any], contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    seconds = timing.interleaved(contenders, rounds)
    return label | {f"{name} us": 1e6 * value for name, value in seconds.items()}


def ratios(row: dict[str, Any]) -> dict[str, Any]:
    us = {name[:-3]: value for name, value in row.items() if name.endswith(" us")}
    found = {f"{a} / {b}": us[a] / us[b] for a, b in RATIOS if a in us and b in us}
    return {name: value for name, value in row.items() if not name.endswith(" us")} | found


def core_contenders(n: int) -> dict[str, _core.Core]:
    """Products of the core alone: Hadamard without weights, packed codes, float32 factors, all in the same passes."""
    op = transforms.random(n, rng=np.random.default_rng(n), dtype=np.float32)
    contenders = {"Hadamard": _core.hadamard(n, np.dtype(np.float32)), "float32": op._kernel}
    for bits in (2, 4):
        contenders[f"{bits} bits"] = bitterfly.quantize(op, bits=bits)._kernel
    return contenders


def core_row(n: int, rounds: int) -> dict[str, Any]:
    """Medians of calls within the core, against the measured peak of additions and the own Hadamard transform."""
    contenders = core_contenders(n)
    x, out = (_core.aligned_empty([n], np.dtype(np.float32)) for _ in range(2))
    x[...] = np.random.default_rng(0).standard_normal(n)
    contenders["Hadamard"].apply(x, out, False, False)
    assert abs(np.linalg.norm(out) / np.linalg.norm(x) / np.sqrt(n) - 1) <= 1e-5
    peak = max(_core.add_peak(20_000) for _ in range(rounds))
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, kernel in contenders.items():
            for mode, transposed in (("", False), (" adjoint", True)):
                calls = max(int(4e-3 / kernel.seconds(x, out, transposed, 1)), 1)
                samples.setdefault(name + mode, []).append(kernel.seconds(x, out, transposed, calls))
    us = {name: 1e6 * float(np.median(values)) for name, values in samples.items()}
    row: dict[str, Any] = {"n": n, "add peak G/s": peak / 1e9}
    row["Hadamard / peak"] = n * np.log2(n) / (us["Hadamard"] * 1e-6) / peak
    row |= {f"{name} us": value for name, value in us.items()}
    row |= {f"{name} / Hadamard": us[name] / us["Hadamard"] for name in ("2 bits", "4 bits")}
    return row | {f"float32 / {name}": us["float32"] / us[name] for name in ("2 bits", "4 bits")}


def by_tier(n: int, rounds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    op = transforms.random(n, rng=rng, dtype=np.float32)
    x = rng.standard_normal(n).astype(np.float32)
    rows = []
    for bits in (0, 2, 4):
        used = bitterfly.quantize(op, bits=bits) if bits else op
        row: dict[str, Any] = {"n": n, "bits": bits or "float32"}
        for isa in _core.available_isas():
            _core.select_isa(isa)
            row |= row_of({}, {isa: lambda u=used: u.apply(x), f"{isa} adjoint": lambda u=used: u.H.apply(x)}, rounds)
        rows.append(row)
    _core.select_isa(_core.available_isas()[0])
    return rows


def main() -> None:
    quick = "--quick" in sys.argv
    rounds = 5 if quick else 21
    timing.one_thread()
    with threadpoolctl.threadpool_limits(1):
        sizes = [64, 1024, 4096] if quick else [64, 256, 1024, 4096, 2**16, 2**20]
        one = [row_of({"n": n}, real_contenders(n, 1), rounds) for n in sizes]
        many = [row_of({"n": n, "columns": 64}, real_contenders(n, 64), rounds) for n in sizes if n <= DENSE_LIMIT]
        dft = [row_of({"n": n}, dft_contenders(n), rounds) for n in sizes if n <= 2**16]
        tiers = by_tier(4096, rounds)
        core = [core_row(n, rounds) for n in sizes if n >= 1024]
    timing.write(
        "apply",
        {
            "one vector": one,
            "ratios": [ratios(r) for r in one + many],
            "64 vectors": many,
            "DFT": dft,
            "tiers": tiers,
            "core": core,
        },
    )


if __name__ == "__main__":
    main()
