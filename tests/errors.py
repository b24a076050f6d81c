"""Random small sources through all stages; no reported error lies below the true one, in extended precision.

`python tests/errors.py FIRST LAST` takes the seeds of a range, counts, and says how far reported errors lie above.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import numpy as np
from scipy.sparse.linalg import aslinearoperator

import bitterfly
import exact
import strategies as own
from bitterfly import Chain, algebra
from bitterfly.stores.kinds import KINDS as CODES
from bitterfly.stores.kinds import names_of

_ABSURD = 2.0  # codes of a few bits may miss by all of the matrix, nothing by more
_MOST_OF_KRON = 200  # entries of an operator in a Kronecker product

KINDS = (*own.KINDS, "low_rank", "diagonal", "sparse", "repeated", "dft", "integers", "small_integers", "half", "bool")
# Numbers that a source cannot hold: what does not fit is refused, as documented.
REFUSALS = (ValueError, OverflowError)


class Sliceable:
    """Rows of an array, and no more than that."""

    def __init__(self, a: np.ndarray) -> None:
        self._a = a
        self.shape, self.dtype = a.shape, a.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._a[rows]


def size(rng: np.random.Generator) -> int:
    """Mostly 1 to 40; powers of two more often than others."""
    return int(1 << rng.integers(0, 6)) if rng.random() < 0.4 else int(rng.integers(1, 41))


def matrix(rng: np.random.Generator) -> np.ndarray:
    """A matrix of any kind, shape and dtype."""
    m = n = size(rng)
    if rng.random() < 0.6:
        n = size(rng)
    kind, dtype = str(rng.choice(KINDS)), own.DTYPES[rng.integers(4)]
    side = max(m, n, 2)
    if kind == "low_rank":
        r = int(rng.integers(1, 4))
        return (own.gaussian(rng, (m, r), dtype) @ own.gaussian(rng, (r, n), dtype)).astype(dtype)
    if kind == "diagonal":
        return np.eye(m, n, dtype=dtype) * own.gaussian(rng, (n,), dtype)
    if kind == "sparse":
        return own.gaussian(rng, (m, n), dtype) * (rng.random((m, n)) < 0.1)
    if kind == "repeated":
        return own.gaussian(rng, (m, n), dtype)[rng.integers(0, m, m)][:, rng.integers(0, n, n)]
    if kind == "dft":
        return np.fft.fft(np.eye(side))[:m, :n].astype(np.result_type(dtype, np.complex64))
    if kind == "integers":
        return rng.integers(-(2**62), 2**62, (m, n))
    if kind == "small_integers":
        return rng.integers(-100, 100, (m, n)).astype(rng.choice(["i1", "i2", "i4", "i8"]))
    if kind == "half":
        return own.gaussian(rng, (m, n), np.float32).astype(np.float16)
    if kind == "bool":
        return rng.random((m, n)) < 0.3
    if kind in ("butterfly", "subnormal", "tiny", "huge"):
        side = max(2, 1 << (side - 1).bit_length())
    with np.errstate(all="ignore"):
        a = own.matrix(kind, side, dtype, int(rng.integers(1 << 32)))[:m, :n]
        if rng.random() < 0.2 and kind != "huge":
            a = own.ldexp(a, int(rng.integers(-100, 100) * (9 if np.finfo(dtype).bits == 64 else 1))).astype(dtype)
    return a if np.all(np.isfinite(a)) else np.zeros_like(a)


def given(rng: np.random.Generator, a: np.ndarray, folder: str) -> tuple[Any, dict[str, Any]]:
    """Hand a matrix over as one of the sources that `factorize` takes."""
    kind = rng.choice(["array", "fortran", "reversed", "map", "rows", "entries", "operator"], p=[0.5, *[0.08] * 5, 0.1])
    if kind == "fortran":
        return np.asfortranarray(a), {}
    if kind == "reversed":
        return np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1], {}
    if kind == "map":
        mapped = np.memmap(os.path.join(folder, "a"), a.dtype, "w+", shape=a.shape)
        mapped[...] = a
        return mapped, {}
    if kind == "rows":
        return Sliceable(a), {}
    if kind == "entries":
        return (lambda i, j: a[np.ix_(i, j)]), {"shape": a.shape}
    if kind == "operator" and a.dtype.kind in "fc" and a.dtype != np.float16:
        return aslinearoperator(a), {}
    return a, {}


def chain_for(rng: np.random.Generator, shape: tuple[int, int]) -> Chain | None:
    """A chain that a matrix of this shape fits, with padding or without; None: the default."""
    m, n = shape
    kind = rng.choice(["default", "for_shape", "monarch", "butterfly", "deformable", "padded", "dense"])
    if kind == "for_shape":
        return Chain.for_shape(shape)
    if kind == "monarch":
        rank = int(rng.integers(1, 4))
        return _or_none(lambda: Chain.monarch(shape, rank=rank))
    if kind == "butterfly":
        leaf, groups, levels = int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
        rows = leaf << max(levels, (-(-m // leaf) - 1).bit_length())
        across = groups << ((rows // leaf).bit_length() - 2)
        columns = -(-n // across) * across
        rank = int(rng.integers(1, 4))
        return _or_none(lambda: Chain.butterfly((rows, columns), rank=rank, leaf=leaf, groups=groups))
    if kind == "deformable":
        blocks = [(int(rng.integers(1, 5)), int(rng.integers(1, 5))) for _ in range(int(rng.integers(1, 4)))]
        p, q = (int(np.prod(side)) for side in zip(*blocks, strict=True))
        blocks[-1] = (blocks[-1][0] * -(-m // p), blocks[-1][1] * -(-n // q))
        p, q = (int(np.prod(side)) for side in zip(*blocks, strict=True))
        return Chain.deformable((p, q), blocks)
    if kind == "padded":
        return Chain.square_dyadic(max(2, 1 << (max(m, n) - 1).bit_length()))
    if kind == "dense":
        return Chain([(1, m, n, 1)])
    return None


def _or_none(chain: Callable[[], Chain]) -> Chain | None:
    try:
        return chain()
    except ValueError:
        return None


def results(seed: int, folder: str, refused: Counter[str]) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield what it is, the exact matrix and the operator, of all stages of one random source."""
    rng = np.random.default_rng([7, seed])
    a = matrix(rng)
    source, known = given(rng, a, folder)

    def tried(name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except REFUSALS as error:
            refused[f"{name}: {type(error).__name__}"] += 1
            return None

    rtol = float(10.0 ** rng.uniform(-6, -0.3)) if callable(source) or rng.random() < 0.3 else None
    chain = chain_for(rng, a.shape)
    asked: dict[str, Any] = {
        "rtol": rtol,
        "permute": str(rng.choice(["auto", "recursive", ""], p=[0.6, 0.1, 0.3])) or None,
        "order": str(rng.choice(["left_to_right", "balanced"], p=[0.8, 0.2])) if chain else "left_to_right",
        "terms": int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05])) if chain else 1,
    }
    op = tried("factorize", lambda: bitterfly.factorize(source, chain, **known, **asked))
    if op is not None:
        yield f"factorize {chain} {asked}", a, op
        members = [op]
        for name, other in followed(rng, op, tried):
            yield f"factorize {chain} {asked}, {name}", a, other
            if name not in _MADE:
                members.append(other)
        for name, made, other in combined(np.random.default_rng([8, seed]), a, members, tried):
            yield f"factorize {chain} {asked}, combined {name}", made, other
    yield from dense(np.random.default_rng([9, seed]), a, source, known, tried)
    yield from cuts(np.random.default_rng([10, seed]), a, tried)
    yield from low_ranks(np.random.default_rng([11, seed]), a, source, known, tried)
    asked = _asked(rng)
    chain = chain_for(rng, a.shape)
    structures: list[Any] = ["auto", "auto", "butterfly", "dense", ["butterfly", "dense"]]
    asked["structure"] = "auto" if chain is not None else structures[rng.integers(len(structures))]
    op = tried("compress", lambda: bitterfly.compress(source, chain, **known, **asked))
    if op is not None:
        yield f"compress {asked}", a, op
        if isinstance(op, bitterfly.PackedButterfly):
            yield f"compress {asked}, dequantize", a, op.dequantize()
        if np.finfo(op.dtype).bits == 64:
            cast = tried("astype", lambda: op.astype(np.complex64 if op.dtype.kind == "c" else np.float32))
            yield from [] if cast is None else [(f"compress {asked}, astype", a, cast)]


def dense(
    rng: np.random.Generator, a: np.ndarray, source: Any, known: dict[str, Any], tried: Callable[..., Any]
) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield window codes of the same source."""
    kind = rng.choice(["bits", "rtol", "nbytes"], p=[0.6, 0.2, 0.2])
    values = {"bits": rng.uniform(1, 8), "rtol": 10.0 ** rng.uniform(-7, -0.3), "nbytes": int(rng.integers(60, 4000))}
    asked: dict[str, Any] = {str(kind): values[str(kind)], "rotate": ["auto", "inputs", "both", False][rng.integers(4)]}
    asked |= {"code": str(rng.choice(["window7", "window11"])), "rng": int(rng.integers(100))}
    if rng.random() < 0.3:
        asked["rotate"] = "scaled" if rng.random() < 0.5 else 10.0 ** rng.uniform(-0.3, 0.3, a.shape[1])
    elif kind != "rtol":
        asked["stages"] = [None, 1, 2, 3][rng.choice(4, p=[0.5, 0.2, 0.2, 0.1])]
    asked["outliers"] = ["auto", None, int(rng.integers(1, 20))][rng.choice(3, p=[0.6, 0.1, 0.3])]
    if kind != "rtol" and rng.random() < 0.3:
        asked["repair"] = int(rng.integers(1, 4))
    if asked.get("stages") in (None, 1) and rng.random() < 0.3:
        seen = rng.standard_normal((int(rng.integers(1, 60)), a.shape[1]))
        asked["metric"] = seen.T @ seen if rng.random() < 0.7 else np.square(seen).sum(axis=0)
    op = tried("dense", lambda: bitterfly.quantize_dense(source, **known, **asked))
    if op is not None:
        yield f"quantize_dense {asked}", a, op
        yield from ((f"quantize_dense {asked}, {name}", a, cast) for name, cast in _cast("", op, tried))


def cuts(rng: np.random.Generator, a: np.ndarray, tried: Callable[..., Any]) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield signed cuts of the real part of the same matrix, and the first ones of them."""
    a, asked = a.real, asked_of_cuts(rng)
    op = tried("cuts", lambda: bitterfly.cuts.matrix(a, **asked))
    if op is not None:
        yield f"cuts.matrix {asked}", a, op
        yield f"cuts.matrix {asked}, truncated", a, op.truncated(int(rng.integers(1, op.width + 1)))


def asked_of_cuts(rng: np.random.Generator) -> dict[str, Any]:
    kind = rng.choice(["width", "bits", "rtol", "nbytes"])
    values = {"width": int(rng.integers(1, 40)), "bits": rng.uniform(0.5, 12), "rtol": 10.0 ** rng.uniform(-2, -0.1)}
    values["nbytes"] = int(rng.integers(20, 2000))
    asked: dict[str, Any] = {str(kind): values[str(kind)], "sweeps": int(rng.choice([0, 2, 16]))}
    return asked | {"starts": int(rng.integers(1, 5)), "rng": int(rng.integers(100))}


def low_ranks(
    rng: np.random.Generator, a: np.ndarray, source: Any, known: dict[str, Any], tried: Callable[..., Any]
) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield matrices of low rank near the same source, and near its Gram matrix."""
    asked: dict[str, Any] = {"rank": int(rng.integers(1, 8))}
    if rng.random() < 0.4:
        asked = {"rtol": float(10.0 ** rng.uniform(-12, -0.3))}
    name = str(rng.choice(["low_rank", "interpolative", "cur", "nystroem", "kronecker", "cross_approximation"]))
    given, exact = source, a
    if name == "low_rank":
        asked |= {"method": str(rng.choice(["auto", "svd", "randomized"])), **known}
        if rng.random() < 0.3:
            seen = rng.standard_normal((int(rng.integers(1, 60)), a.shape[1]))
            asked["metric"] = seen.T @ seen
    elif name == "interpolative":
        given, asked["axis"] = a, int(rng.integers(2))
    elif name == "nystroem":
        with np.errstate(all="ignore"):
            given = exact = a.astype(np.result_type(a.dtype, np.float32)) @ a.conj().T
    elif name == "kronecker":
        given, asked["block"] = a, tuple(int(rng.choice(_divisors(size))) for size in a.shape)
        asked["terms"] = asked.pop("rank", None)
    elif name == "cross_approximation":
        given, asked["shape"] = (lambda i, j: a[np.ix_(i, j)]), a.shape
        asked.setdefault("rtol", 0.1)
    else:
        given = a
    if name not in ("interpolative", "kronecker", "cur"):
        asked["rng"] = int(rng.integers(100))
    op = tried(name, lambda: getattr(bitterfly.structures, name)(given, **asked))
    if op is not None:
        op = getattr(op, "operator", op)
        yield f"{name} {asked}", exact, op
        yield from ((f"{name} {asked}, {cast}", exact, made) for cast, made in _cast("", op, tried))


def _divisors(size: int) -> list[int]:
    return [d for d in range(1, size + 1) if size % d == 0]


def _asked(rng: np.random.Generator) -> dict[str, Any]:
    kind = rng.choice(["rtol", "bits", "nbytes"])
    if kind == "rtol":
        return {"rtol": float(10.0 ** rng.uniform(-6, 0))}
    return {"bits": float(rng.integers(2, 9))} if kind == "bits" else {"nbytes": int(rng.integers(60, 4000))}


def followed(rng: np.random.Generator, op: Any, tried: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield what becomes of float factors: codes, other precisions, sums of the same matrix."""
    names = ["directions", "skeleton", "lattice", "list", "mixed", "rtol", "nbytes", "float"]
    for name in rng.choice(names if isinstance(op, bitterfly.ButterflyOperator) else names[:6], 2):
        asked = _codes(rng, str(name))
        packed = tried(f"quantize {name}", lambda asked=asked: bitterfly.quantize(op, **asked))
        if packed is None:
            continue
        yield f"quantize {asked}", packed
        if rng.random() < 0.3:
            yield from _cast(f"quantize {asked}, ", packed, tried)
    if rng.random() < 0.5:
        yield from _cast("", op, tried)
    if isinstance(op, bitterfly.ButterflyOperator):
        yield "conj twice", op.H.T.conj()
    if rng.random() < 0.2:
        stack = algebra.vstack([op, op])
        yield "stack", algebra.vstack([stack])
    yield "third", op / 3
    if op.shape[0] * op.shape[1] <= _MOST_OF_KRON:
        yield "kron", bitterfly.kron(op, op)


def combined(
    rng: np.random.Generator, a: np.ndarray, members: list[Any], tried: Callable[..., Any]
) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield sums, products and powers of operators that stand for one matrix, and what they stand for."""
    a = a.astype(np.result_type(a.dtype, np.longdouble))
    for name in rng.choice(list(_COMBINED), 3):
        p, q = (members[at] for at in rng.integers(0, len(members), 2))
        c, k = _coefficient(rng, np.result_type(p.dtype, q.dtype)), int(rng.integers(1, 30))
        op = tried(f"combined {name}", lambda name=name, p=p, q=q, c=c, k=k: _COMBINED[name](p, q, c, k))
        if op is not None:
            view = _VIEWS[str(rng.choice(list(_VIEWS)))]
            yield f"{name} of c = {c}, k = {k}, {p!r} and {q!r}", view(_COMBINED[name](a, a, c, k)), view(op)


def _coefficient(rng: np.random.Generator, dtype: Any) -> complex:
    power = 300 if np.finfo(dtype).bits == 64 else 30
    kinds = [1.0, -1.0, 0.0, 2.0**power, 2.0**-power, 1 / 3, float(rng.standard_normal()), -0.6 + 0.8j]
    return kinds[rng.integers(len(kinds))]


# Of operators as of arrays: p and q stand for one matrix.
_COMBINED: dict[str, Callable[[Any, Any, complex, int], Any]] = {
    "sum": lambda p, q, c, k: p + c * q,
    "difference": lambda p, q, c, k: (1 + 2.0**-k) * p - q,
    "zero": lambda p, q, c, k: p - q,
    "three terms": lambda p, q, c, k: (p + c * q) - 2.0**-k * (q - p / 2),
    "gram": lambda p, q, c, k: p.conj().T @ q,
    "product": lambda p, q, c, k: c * (p @ q.T),
    "three factors": lambda p, q, c, k: p @ q.conj().T @ (c * p),
    "power": lambda p, q, c, k: _power(p @ q.T, 1 + k % 4),
    "sum of products": lambda p, q, c, k: c * (p @ q.T) - (1 - 2.0**-k) * (q @ p.T),
    "product of sums": lambda p, q, c, k: (p - (1 - 2.0**-k) * q).T @ (c * p + q).conj(),
    "product of views": lambda p, q, c, k: (p + c * q).T @ p.conj() @ (q - c * p).conj().T,
}


def _power(x: Any, p: int) -> Any:
    return reduce(np.matmul, [x] * p) if isinstance(x, np.ndarray) else x**p


_VIEWS: dict[str, Callable[[Any], Any]] = {
    "forward": lambda x: x,
    "transpose": lambda x: x.T,
    "adjoint": lambda x: x.conj().T,
    "third": lambda x: x / 3,
}


# What becomes of the matrix beside the operator.
_MADE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "stack": lambda a: np.concatenate([a, a]),
    "third": lambda a: a.astype(np.result_type(a.dtype, np.longdouble)) / 3,
    "kron": lambda a: np.kron(a, a.astype(np.result_type(a.dtype, np.longdouble))),
}


def _codes(rng: np.random.Generator, name: str) -> dict[str, Any]:
    if name == "directions":
        return {"code": "direction", "bits": float(rng.integers(2, 33)) / 4}
    if name in ("skeleton", "lattice"):
        return {"code": name, "bits": int(rng.integers(2, 17))}
    if name == "list":
        code = str(rng.choice(names_of("list")))
        return {"code": code, "bits": int(rng.integers(CODES[code].least, CODES[code].most + 1))}
    if name == "float":
        driver = str(rng.choice(["left_to_right", "right_to_left", "pairwise", "refined"]))
        return {"code": "float", "significand": int(rng.integers(1, 12)), "driver": driver}
    if name == "mixed":
        return {"bits": float(rng.uniform(2, 8))}
    return {"rtol": float(10.0 ** rng.uniform(-5, -0.3))} if name == "rtol" else {"nbytes": int(rng.integers(60, 4000))}


def _cast(name: str, op: Any, tried: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    targets = ("c8", "c16") if op.dtype.kind == "c" else ("f4", "f8", "c8", "c16")
    for target in targets:
        try:
            cast = tried(f"astype {target}", lambda target=target: op.astype(target))
        except TypeError:  # codes of real numbers stay real
            continue
        if cast is not None:
            yield f"{name}astype {target}", cast


def above(
    seed: int,
    folder: str,
    checked: Counter[str],
    refused: Counter[str],
    ratios: dict[str, list[float]] | None = None,
) -> list[str]:
    """Return what reports less than its true error, in words; count the others, and take the ratios of both errors."""
    found = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, a, op in results(seed, folder, refused):
            _, _, made = name.partition(", combined ")
            a = _MADE.get(name.split(", ")[-1], np.asarray)(a)
            true, reported = exact.error(a, op), np.longdouble(op.relative_error)
            if made and np.isnan(reported):
                checked["not known"] += 1
                continue
            checked[op.error_kind] += 1
            if ratios is not None and 1e-13 < true < 0.1:
                ratios[made.partition(" of c")[0] or "others"].append(float(reported / true))
            is_part = name.endswith(", truncated")  # of cuts that were fitted together
            if not made and not is_part and true > (_ABSURD if op.kind != "kron" else _ABSURD * (2 + _ABSURD)):
                found.append(f"seed {seed}: {a.dtype} of {a.shape}, {name}: error {true:.3g}, zeros would be nearer")
            if not true <= reported:
                excess = true / reported - 1 if reported else np.inf
                found.append(
                    f"seed {seed}: {a.dtype} of {a.shape}, {name}: {true:.17g} > {reported:.17g} ({op.error_kind}), "
                    f"by {float(excess):.1e} of it"
                )
    return found


def main(first: int, last: int) -> int:
    checked: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    wrong = Counter()
    ratios: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, last):
            try:
                found = above(seed, folder, checked, refused, ratios)
            except Exception as error:
                found = [f"seed {seed}: {type(error).__name__}: {error}"]
            for line in found:
                print(line, flush=True)
                wrong["estimated" if "(estimated)" in line else "other"] += 1
    print(f"seeds {first} to {last}: {sum(checked.values())} results {dict(checked)}, refused {dict(refused)}")
    for name, above_true in sorted(ratios.items()):
        half, most = np.quantile(above_true, [0.5, 0.95])
        print(f"reported over true, {name}: median {half:.3g}, 95 % up to {most:.3g}, of {len(above_true)}")
    print(f"below the true error: {dict(wrong)}")
    return int(wrong["other"] > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
