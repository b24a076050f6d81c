"""Numbers and operations of all kinds of operators: the table of docs/structures.md, and what composites add."""

from __future__ import annotations

from collections.abc import Callable
from math import log2, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitterfly
import strategies as own
from bitterfly import ButterflyOperator, SparseOperator, algebra, structures
from bitterfly.dense.trains.quantize import quantize_train
from bitterfly.structures import PermutationOperator, TensorTrainOperator

TABLE = Path(__file__).resolve().parents[2] / "docs" / "structures.md"
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def dense(m: int, n: int) -> Any:
    return ButterflyOperator([numbers(1, m, n, 1)])


def train(*shapes: tuple[int, int, int, int]) -> Any:
    return TensorTrainOperator([numbers(*shape) for shape in shapes])


def sparse(m: int, n: int, k: int) -> Any:
    a = np.zeros(m * n)
    a[RNG.permutation(m * n)[:k]] = 1
    return SparseOperator(a.reshape(m, n))


K, D = 3, 4  # of the cores of trains

# The first words of a row of the table; the sizes that its formulas are in; an operator of them.
ROWS: dict[str, tuple[dict[str, int], Callable[[], Any]]] = {
    "dense": ({"m": 5, "n": 7}, lambda: dense(5, 7)),
    "low rank r": ({"m": 50, "n": 70, "r": 3}, lambda: train((1, 50, 1, 3), (3, 1, 70, 1))),
    "Kronecker product": (
        {"p": 4, "q": 5, "s": 6, "t": 7},
        lambda: bitterfly.kron(dense(4, 5), dense(6, 7)),
    ),
    "sum of r of these": (
        {"p": 4, "q": 5, "s": 6, "t": 7, "r": 3},
        lambda: train((1, 4, 5, 3), (3, 6, 7, 1)),
    ),
    "tensor train of d cores": (
        {"r": 2, "k": K, "d": D, "n": K**D},
        lambda: train((1, K, K, 2), (2, K, K, 2), (2, K, K, 2), (2, K, K, 1)),
    ),
    "Monarch": (
        {"m": 24, "n": 30, "p": 4, "q": 5, "r": 2},
        lambda: structures.monarch(numbers(24, 30), (4, 5), rank=2),
    ),
    "block tensor train": (
        {"r": 2, "k": K, "d": D, "n": K**D},
        lambda: structures.block_tensor_train(numbers(K**D, K**D), [K] * D, [K] * D, ranks=2),
    ),
    "butterfly": ({"n": 64}, lambda: bitterfly.transforms.random(64, rng=0)),
    "circulant": ({"n": 64}, lambda: structures.circulant(numbers(64, 64))),
    "Toeplitz": ({"m": 24, "n": 25, "L": 48}, lambda: structures.toeplitz(numbers(24, 25))),
    "permutation": ({"n": 9}, lambda: PermutationOperator(RNG.permutation(9), dtype=np.float64)),
    "sparse": ({"m": 9, "n": 8, "k": 20}, lambda: sparse(9, 8, 20)),
    "inverse of a damped mean": (
        {"m": 4, "n": 30},
        lambda: structures.InverseFisherOperator(numbers(4, 30), 1.0),
    ),
}


def rows() -> dict[str, list[str]]:
    part = TABLE.read_text().split("## Numbers and operations")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines[1:]}


def value(formula: str, sizes: dict[str, int], before: float) -> float:
    """A formula of the table, whose products are written side by side."""
    words = {"log2": log2, "min": min, **sizes}
    if formula == "r times that":
        return sizes["r"] * before
    if formula == "twice as many":
        return 2 * before
    out, last = "", ""
    for word in formula.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").replace("^", " ** ").split():
        joins = last not in ("", "(", ",", "+", "-", "**", "log2", "min") and word not in (")", ",", "+", "-", "**")
        out, last = f"{out} {'*' if joins else ''} {word}", word
    return float(eval(out, {"__builtins__": {}}, words))


@pytest.mark.parametrize("name", ROWS)
def test_the_table_of_numbers_and_operations(name: str) -> None:
    sizes, make = ROWS[name]
    (cells,) = (found for row, found in rows().items() if row.startswith(name))
    op = make()
    stored, taken = (cells[0], cells[1])
    parameters = value(stored, sizes, 0)
    before = value(rows()["Kronecker product, p x q and s x t"][1], sizes, 0) if taken == "r times that" else parameters
    assert op.parameters == parameters
    assert op.flops == round(value(taken, sizes, before))


def test_all_rows_of_the_table_are_tested() -> None:
    assert [[row for row in rows() if row.startswith(name)] for name in ROWS] == [[row] for row in rows()]


def test_complex_numbers_count_four_times() -> None:
    for op in (dense(5, 7), train((1, 5, 1, 2), (2, 1, 6, 1)), sparse(9, 8, 20), bitterfly.transforms.random(8, rng=0)):
        wide = op.astype(np.complex128)
        assert wide.flops == 4 * op.flops
        assert wide.parameters == 2 * op.parameters
    transforms = structures.circulant(numbers(64, 64) * 1j)
    assert transforms.flops == 15 * 64 * 6 + 8 * 64


def test_what_composites_add() -> None:
    a, b = dense(5, 7), dense(5, 7)
    one = a.flops
    assert (a + b).flops == 2 * one + 5
    assert (2 * a - b / 3).flops == 2 * one + 5 + 2 * 5
    assert (a @ b.T).flops == 2 * one
    assert algebra.vstack([a, b]).flops == algebra.block_diag([a, b]).flops == 2 * one
    assert algebra.hstack([a, b]).flops == 2 * one + 5
    assert (1j * a).flops == 2 * one + 6 * 5  # real numbers and a complex vector; complex numbers times i
    assert bitterfly.kron(a, dense(2, 3)).flops == min(3 * one + 5 * 12, 7 * 12 + 2 * one)
    assert (a + b).parameters == 2 * 35


def test_codes_and_cuts() -> None:
    a = numbers(64, 128).astype(np.float32)
    plain = bitterfly.quantize_dense(a, bits=3, rotate=False, head=None, outliers=None, rng=0)
    assert plain.flops == 2 * a.size
    rotated = bitterfly.quantize_dense(a, bits=3, rotate="inputs", head=None, outliers=None, rng=0)
    assert rotated.flops == 2 * a.size + 128 * (7 + 1)
    assert bitterfly.cuts.matrix(a, width=5, rng=0).flops == 5 * (64 + 128 + 1)
    op = bitterfly.transforms.random(64, rng=0)
    packed = bitterfly.quantize(op, bits=4)
    assert packed.flops == op.flops + 64  # the lengths of the columns


def test_cores_in_codes_count_as_stored() -> None:
    """The right factor of a low rank, then the left one, and the rotations of their vectors."""
    plain = train((1, 96, 1, 8), (8, 1, 128, 1))
    assert plain.flops == plain.T.flops == 2 * 8 * (96 + 128)
    coded = quantize_train(plain.astype(np.float32), bits=4, rng=0)
    assert coded.is_coded
    assert coded.flops == sum(core.matrix.flops for core in coded.stored_cores) >= plain.flops
    assert coded.T.flops == coded.flops


def test_every_operator_knows() -> None:
    """No more than a dense matrix and what transforms and rotations of its sides take, for every kind and view."""
    for seed in range(200):
        drawn = own.operator(seed)
        op = drawn.op
        assert isinstance(op.flops, int) and isinstance(op.parameters, int), drawn.how
        assert op.flops >= 0 and op.conj().flops == op.flops
        assert op.parameters == sum(part.reals for part in op.numbers)
        for member in op.members:
            assert member.flops <= op.flops or op.kind == "kron"
        if not op.members and op.kind not in ("sum", "stack"):
            assert op.T.flops <= 8 * op.flops + 8 * prod(op.shape)
