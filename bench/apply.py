"""Apply: products on one thread against dense BLAS, CSR, lazylinop, scipy.fft. `python -m bench.apply`."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import threadpoolctl

import bitterfly
from bench import peers, timing
from bitterfly import _core, transforms

DENSE_LIMIT, SPARSE_LIMIT, BLOCK_LIMIT = 4096, 2**16, 2**14
BITS = (1, 2, 4, 6)
BACKENDS = {"lazylinop": "xp", "lazylinop scipy": "scipy"}
RATIOS = (
    ("CSR chain", "4 bits"),
    ("lazylinop scipy", "4 bits"),
    ("dense BLAS", "4 bits"),
    ("float factors", "1 bits"),
    ("float factors", "2 bits"),
    ("float factors", "4 bits"),
)


class Problem(NamedTuple):
    """One product to time: the float operator, the vectors, and whether its adjoint is meant."""

    op: bitterfly.ButterflyOperator
    x: np.ndarray
    adjoint: bool


def problem(n: int, columns: int, adjoint: bool) -> Problem:
    rng = np.random.default_rng(n)
    op = transforms.random(n, rng=rng, dtype=np.float32, orthogonal=True)
    return Problem(op, rng.standard_normal(n if columns == 1 else (n, columns)).astype(np.float32), adjoint)


def turned(op: Any, adjoint: bool) -> Any:
    return op.H if adjoint else op


def ours(p: Problem) -> tuple[timing.Contenders, dict[str, int]]:
    """Our products, into a buffer that is there already, and the bytes of each operator."""
    out = np.empty_like(p.x)
    operators: dict[str, Any] = {"float factors": p.op}
    operators |= {f"{bits} bits": bitterfly.quantize(p.op, bits=bits) for bits in BITS}
    calls: timing.Contenders = {}
    for name, operator in operators.items():
        calls[name] = lambda f=turned(operator, p.adjoint): f.apply(p.x, out)
    return calls, {name: operator.nbytes for name, operator in operators.items()}


def theirs(p: Problem) -> tuple[timing.Contenders, dict[str, int]]:
    """The peers that fit, and the bytes of their matrices."""
    n, calls, nbytes = p.op.shape[0], timing.Contenders(), {}
    if n <= DENSE_LIMIT:
        a = p.op.todense()
        f = a.T if p.adjoint else a
        calls["dense BLAS"], nbytes["dense BLAS"] = lambda: f @ p.x, a.nbytes
    if n <= SPARSE_LIMIT:
        chain = peers.csr_chain(p.op)
        used = peers.transposed(chain) if p.adjoint else chain
        calls["CSR chain"], nbytes["CSR chain"] = lambda: peers.csr_product(used, p.x), peers.csr_nbytes(chain)
    modules = peers.lazylinop() if n <= SPARSE_LIMIT else None
    for name, backend in BACKENDS.items() if modules else ():
        factors = [np.ascontiguousarray(v) for v in p.op.factors]
        lazy = modules[0].ksm(factors, {"backend": backend, "params": None})
        calls[name] = lambda f=turned(lazy, p.adjoint): f @ p.x
    return calls, nbytes


def check(p: Problem, calls: timing.Contenders) -> None:
    """Float products to 1e-4; packed ones to twice the error that the operator reports (norm 1: orthogonal)."""
    expected = turned(p.op.astype(np.float64), p.adjoint).apply(p.x.astype(np.float64))
    for name, run in calls.items():
        bits = name.removesuffix(" bits")
        bound = 2 * bitterfly.quantize(p.op, bits=float(bits)).relative_error if bits != name else 0.0
        assert np.linalg.norm(run() - expected) <= (bound + 1e-4) * np.linalg.norm(expected), name


def product(n: int, columns: int, adjoint: bool, rounds: int) -> dict[str, dict[str, Any]]:
    """Rows of one product, one for each of the tables: times, ratios, traffic."""
    p = problem(n, columns, adjoint)
    (calls, nbytes), (peer_calls, peer_nbytes) = ours(p), theirs(p)
    calls |= peer_calls
    check(p, calls)
    samples = timing.interleaved(calls, rounds)
    label = {"n": n, "columns": columns, "side": "adjoint" if adjoint else "forward"}
    times = timing.medians(samples, "us")
    found = {f"{a} / {b}": timing.ratio(samples, a, b) for a, b in RATIOS if a in samples and b in samples}
    traffic = {
        name: 1e-3 * (size + 2 * p.x.nbytes) / times[f"{name} us"] for name, size in (nbytes | peer_nbytes).items()
    }
    return {"times": label | times, "ratios": label | found, "traffic": label | traffic}


def dft_product(n: int, rounds: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    op = transforms.dft(n, dtype=np.complex64)
    packed = bitterfly.quantize(op, bits=np.log2(n) / 4)
    x = (rng.standard_normal(n) + 1j * rng.standard_normal(n)).astype(np.complex64)
    out = np.empty_like(x)
    expected = scipy.fft.fft(x.astype(np.complex128))
    for used in (op, packed):
        assert np.linalg.norm(used.apply(x) - expected) <= 1e-4 * np.linalg.norm(expected)
    calls: timing.Contenders = {
        "packed DFT": lambda: packed.apply(x, out),
        "float factors": lambda: op.apply(x, out),
        "scipy.fft": lambda: scipy.fft.fft(x),
    }
    return {"n": n} | timing.medians(timing.interleaved(calls, rounds), "us")


def on_tiers(n: int, bits: int, rounds: int) -> dict[str, Any]:
    """One operator on every instruction set, checked against the first one's result."""
    p = problem(n, 1, False)
    used = bitterfly.quantize(p.op, bits=bits) if bits else p.op
    first, *_ = isas = _core.available_isas()
    expected = used.apply(p.x)
    row: dict[str, Any] = {"n": n, "bits": bits or "float32"}
    for isa in isas:
        _core.select_isa(isa)
        assert np.linalg.norm(used.apply(p.x) - expected) <= 1e-5 * np.linalg.norm(expected), isa
        calls: timing.Contenders = {isa: lambda: used.apply(p.x), f"{isa} adjoint": lambda: used.H.apply(p.x)}
        row |= {k: v for k, v in timing.medians(timing.interleaved(calls, rounds), "us").items() if "quart" not in k}
    _core.select_isa(first)
    return row


def grid(sizes: list[int]) -> list[tuple[int, int, bool]]:
    cases = itertools.product((False, True), (1, 64), sizes)
    return [(n, columns, adjoint) for adjoint, columns, n in cases if columns == 1 or n <= BLOCK_LIMIT]


def main() -> None:
    options = timing.options(__doc__)
    quick = options.quick
    rounds = 5 if quick else 15
    sizes = [64, 1024, 4096] if quick else [64, 256, 1024, 4096, 2**14, 2**16, 2**18, 2**20]
    timing.one_thread()
    with threadpoolctl.threadpool_limits(1):
        rows = [product(*case, rounds) for case in grid(sizes)]
        sections = {name: [row[name] for row in rows] for name in ("times", "ratios", "traffic")}
        sections["DFT"] = [dft_product(n, rounds) for n in sizes]
        sections["tiers"] = [on_tiers(n, bits, rounds) for n in (4096, 2**16) for bits in (0, 1, 2, 4, 6)]
        sections["traffic, GB/s"] = sections.pop("traffic")
        timing.write("apply", sections, options.output)


if __name__ == "__main__":
    main()
