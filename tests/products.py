"""Products of any operator in any layout against the one oracle; as a program, as many as asked for.

python tests/products.py --products 1000000 --isa avx2 --seed 0
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from typing import Any

import numpy as np

import strategies as own
import tolerances
from bitterfly import _core

MOST_COLUMNS = 70
COLUMNS = [0, 1, 1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 23, 24, 31, 32, 33, 36, 40, 48, 63, 64, 70]
ORDERS = ["C", "F", "backwards", "every other row", "every third column", "one column again and again", "list"]
TARGETS = ["new", "new", "C", "F", "inside", "in place"]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128, np.int8, np.float16, np.bool_]


def laid_out(x: np.ndarray, order: str) -> Any:
    """The same numbers in another layout; columns that are one column repeated are all like the first."""
    if order == "C":
        return np.ascontiguousarray(x)
    if order == "F":
        return np.asfortranarray(x)
    if order == "backwards":
        return np.ascontiguousarray(x[::-1])[::-1]
    if order == "every other row":
        return np.repeat(x, 2, axis=0)[::2]
    if order == "every third column":
        return np.repeat(x, 3, axis=1)[:, ::3]
    if order == "one column again and again":
        return np.broadcast_to(x[:, :1], x.shape)
    return x.tolist() if x.size else x


def target(kind: str, shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Memory for a result, and the memory around it, which is not to be touched."""
    if kind == "new":
        return None, None
    if kind in ("C", "F"):
        out = np.full(shape, 7, dtype, order=kind)
        return out, out
    around = np.full([2 * s + 3 for s in shape], 7, dtype)
    return around[tuple(slice(1, 1 + 2 * s, 2) for s in shape)], around


class Checks:
    """All products of one operator. `dense` and the bounds are formed once."""

    def __init__(self, seed: int) -> None:
        self.seed, self.count = seed, 0
        drawn = own.operator(seed)
        self.op, self.how = drawn.op, drawn.how
        self.dense = drawn.dense
        self.bound, _, self.least = tolerances.products(self.op)
        self.rng = np.random.default_rng([seed, 1])

    def run(self, calls: int) -> int:
        views = {"forward": (self.op, self.dense, self.bound)}
        views["H"] = (self.op.H, self.dense.conj().T, self.bound.T)
        views["T"] = (self.op.T, self.dense.T, self.bound.T)
        views["conj"] = (self.op.conj(), self.dense.conj(), self.bound)
        names = list(views)
        products = {}
        for _ in range(calls):
            name = str(self.rng.choice(names, p=[0.45, 0.25, 0.2, 0.1]))
            op, dense, bound = views[name]
            dtype = DTYPES[int(self.rng.choice(len(DTYPES), p=[0.25, 0.25, 0.2, 0.15, 0.05, 0.05, 0.05]))]
            if (name, dtype) not in products:
                x = self.vectors(op.shape[1], dtype)
                wide = x.astype(np.result_type(x.dtype, np.float64))
                products[name, dtype] = x, dense @ wide, bound @ np.abs(wide)
            self.product(f"{name} {np.dtype(dtype)}", op, *products[name, dtype])
        self.whole(views[str(self.rng.choice(names))])
        return self.count

    def vectors(self, n: int, dtype: Any) -> np.ndarray:
        x = self.rng.standard_normal((n, MOST_COLUMNS))
        if np.dtype(dtype).kind == "c":
            x = x + 1j * self.rng.standard_normal(x.shape)
        return (4 * x).astype(dtype)

    def product(self, name: str, op: Any, x: np.ndarray, y: np.ndarray, most: np.ndarray) -> None:
        columns = int(self.rng.choice(COLUMNS))
        first = int(self.rng.integers(0, MOST_COLUMNS - columns + 1))
        part = slice(first, first + columns)
        order, kind = str(self.rng.choice(ORDERS)), str(self.rng.choice(TARGETS))
        workers = int(self.rng.integers(1, 3))
        x, y, most = x[:, part], y[:, part], most[:, part]
        if order == "one column again and again" and columns:
            y, most = np.repeat(y[:, :1], columns, 1), np.repeat(most[:, :1], columns, 1)
        given = laid_out(x, order)
        if isinstance(given, list):
            x = np.asarray(given)
        if columns == 1 and self.rng.random() < 0.7 and not isinstance(given, list):
            given, y, most = given[:, 0], y[:, 0], most[:, 0]
        where = f"seed {self.seed}, {name}, {columns} columns {order} to {kind}, {workers} workers: {self.how}"
        got = self.call(op, given, y.shape, kind, workers, where)
        with np.errstate(all="ignore"):
            off = ~(np.abs(got.astype(y.dtype) - y) <= most + self.least)
            if off.any():
                ratio = float(np.max(np.abs(got - y) / np.maximum(most, np.finfo(np.float64).tiny)))
                size = float(np.max(np.abs(got - y)) / np.max(np.abs(y)))
                raise AssertionError(f"{ratio:.3g} times the bound, {size:.2g} of the result, {where}")
        self.count += 1

    def call(self, op: Any, x: Any, shape: tuple[int, ...], kind: str, workers: int, where: str) -> np.ndarray:
        if kind == "new":
            way = int(self.rng.integers(5 if np.ndim(x) == 1 else 3))
            if way == 0 or isinstance(x, list):
                return op.apply(x, workers=workers)
            if way >= 3:
                return np.asarray(op.matvec(x) if way == 3 else op.H.rmatvec(x))
            return np.asarray(op @ x if way == 1 else op.dot(x))
        array = np.asarray(x)
        dtype = np.result_type(op.dtype, own_floating(array.dtype))
        if kind == "in place":
            if array.shape != shape or array.dtype != dtype or array.strides == (0, 0) or not array.flags.writeable:
                kind = "inside"
            else:
                same = np.array(array)
                return op.apply(same, same, workers=workers)
        out, around = target(kind, shape, dtype)
        got = op.apply(x, out, workers=workers)
        assert got is out, where
        if around is not out:
            copy = np.array(got)
            out[...] = 7
            assert np.all(around == 7), f"{where}: numbers beside the result were written"
            return copy
        return got

    def whole(self, view: tuple[Any, np.ndarray, np.ndarray]) -> None:
        """The dense matrix, some of its rows, and its trace."""
        op, dense, bound = view
        where = f"seed {self.seed}: {self.how}"
        least = self.least
        with np.errstate(all="ignore"):
            some = [0, -1, op.shape[0] // 2]
            for name, got, index in (("todense", op.todense(), slice(None)), ("rows", op.rows(some), some)):
                room = np.maximum(bound[index] + least, np.finfo(np.float64).tiny)
                ratio = float(np.max(np.abs(got - dense[index]) / room, initial=0))
                assert ratio <= 1, f"{name}, {ratio:.3g} times the bound, {where}"
            self.parts(op, dense, bound, where)
            if op.shape[0] == op.shape[1]:
                moduli = np.trace(np.abs(dense) + bound)
                most = np.trace(bound) + 2 * tolerances.gamma(op.shape[0], op.dtype) * moduli + op.shape[0] * least
                assert abs(op.trace() - np.trace(dense)) <= most, f"trace, {where}"
        self.count += 1

    def parts(self, op: Any, dense: np.ndarray, bound: np.ndarray, where: str) -> None:
        """Entries, rows, columns and blocks, as NumPy takes them from the dense matrix."""
        i, j = (self.rng.integers(-size, size, 3) for size in op.shape)
        keys = [(i[0], j[0]), (slice(None), j[0]), (i, slice(None, None, 3)), (i, j), i[0], np.ix_(i, j)]
        key = keys[int(self.rng.integers(len(keys)))]
        got, expected = op[key], dense[key]
        assert np.shape(got) == np.shape(expected) and got.dtype == op.dtype, where
        room = np.maximum(bound[key] + self.least, np.finfo(np.float64).tiny)
        assert np.max(np.abs(got - expected) / room, initial=0) <= 1, f"{key} of the operator, {where}"


def own_floating(dtype: np.dtype) -> np.dtype:
    """What vectors of other numbers are converted to."""
    from bitterfly.inputs import as_floating

    return as_floating(np.zeros(1, dtype), "x").dtype


def check(seed: int, calls: int = 40) -> int:
    """Check products of the operator of a seed; return how many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        return Checks(seed).run(calls)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--isa", choices=_core.available_isas(), default=_core.active_isa())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calls", type=int, default=40, help="products of each operator")
    parser.add_argument("--keep-going", action="store_true", help="count operators that are off instead of stopping")
    asked = parser.parse_args()
    _core.select_isa(asked.isa)
    _core.set_least_parallel_work(0)
    start, done, seed, wrong = time.perf_counter(), 0, asked.seed, 0
    while done < asked.products:
        try:
            done += check(seed, asked.calls)
        except AssertionError as error:
            if not asked.keep_going:
                raise
            wrong, done = wrong + 1, done + asked.calls
            print(error, file=sys.stderr)
        seed += 1
    seconds = time.perf_counter() - start
    print(f"{asked.isa}: {done} products of {seed - asked.seed} operators, {wrong} operators off, {seconds:.0f} s")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
