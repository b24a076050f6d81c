"""Relative errors of `quantize_dense` on trained weights beside those on Gaussian matrices, and the bytes below 6 %.

`python -m bench.dense.weights [--window7] [--quick]`: the other code; fewer matrices.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bench.dense.matrices import antiberty, gaussian, group_of, minilm
from bitterfly.operators.contract import ButterflySum

BITS = (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)
BOUNDS = {
    "window11": (0.546, 0.389, 0.276, 0.199, 0.142, 0.102, 0.0735, 0.0415, 0.0255, 0.0080),
    "window7": (0.550, 0.403, 0.290, 0.212, 0.154, 0.115, 0.0835, 0.048, 0.0255, 0.0080),
}
ORDERS = (256, 1024, 4096)
REFERENCE = "Gaussian 1024 x 1024"
FEW_ROWS = 64  # of fewer, codes are mostly padding
TOLERANCE = 0.06  # in at most half of the bytes of half floats: the published claim for all matrices of a network
_CHECKED = 1 << 21  # entries up to which the error is computed again

Weights = dict[str, dict[str, np.ndarray]]


def matrices(quick: bool) -> Weights:
    """The matrices of each group."""
    out: Weights = {f"Gaussian {n} x {n}": {"": gaussian(n, n)} for n in ORDERS[: 2 if quick else None]}
    for network, found in (("MiniLM", minilm()), ("AntiBERTy", antiberty())):
        for name, a in found.items():
            group = out.setdefault(f"{network} {group_of(name, a)}", {})
            if len(a) >= FEW_ROWS and not (quick and (len(group) == 2 or a.size > _CHECKED)):
                group[name] = a
    return {group: found for group, found in out.items() if found}


def checked(a: np.ndarray, op: Any) -> float:
    """The relative error that an operator says it has, no less than it has."""
    if a.size <= _CHECKED:
        found = np.linalg.norm(op.todense().astype(np.float64) - a) / np.linalg.norm(a.astype(np.float64))
        assert found <= op.relative_error * (1 + 1e-6), (found, op.relative_error)
    return float(op.relative_error)


def coded(a: np.ndarray, code: str, bits: float) -> Iterator[tuple[str, float, float]]:
    """Yield which heads were allowed, the error and the true bits: "auto", and None where it makes a difference."""
    op = bitterfly.quantize_dense(a, bits=bits, code=code, rng=0)
    yield "auto", checked(a, op), 8 * op.nbytes / a.size
    if isinstance(op, ButterflySum):
        op = bitterfly.quantize_dense(a, bits=bits, code=code, head=None, rng=0)
    yield "None", checked(a, op), 8 * op.nbytes / a.size


def errors(weights: Weights, code: str) -> dict[str, list[dict[str, Any]]]:
    """Tables of a row for each group and a column for each rate."""
    limits = {"weights": "asked for at most", "matrices": "", "head": ""}
    tables: dict[str, list[dict[str, Any]]] = {
        "mean error": [limits | _columns(BOUNDS[code])],
        "largest error": [limits | _columns(BOUNDS[code])],
        "mean / Gaussian 1024": [],
        "largest / Gaussian 1024": [],
        "true bits": [],
    }
    reference = np.ones(len(BITS))
    for group, found in sorted(weights.items(), key=lambda item: item[0] != REFERENCE):
        measured: dict[str, list[list[tuple[float, float]]]] = {"auto": [], "None": []}
        for a in found.values():
            for bits in BITS:
                for head, error, true_bits in coded(a, code, bits):
                    rates = measured[head]
                    if bits == BITS[0]:
                        rates.append([])
                    rates[-1].append((error, true_bits))
        for head, values in measured.items():
            if head == "None" and values == measured["auto"]:
                continue
            each, bits_of = np.array(values).transpose(2, 0, 1)
            if group == REFERENCE:
                reference = each[0]
            row = {"weights": group, "matrices": len(found), "head": head}
            columns = (each.mean(0), each.max(0), each.mean(0) / reference, each.max(0) / reference, bits_of.mean(0))
            for table, values_of in zip(tables.values(), columns, strict=True):
                table.append(row | _columns(values_of))
            print(row, np.round(each.max(0), 4).tolist(), flush=True)
    return tables


def _columns(values: Any) -> dict[str, float]:
    return {f"{bits:g} bits": float(value) for bits, value in zip(BITS, values, strict=True)}


def below(found: dict[str, np.ndarray], code: str) -> list[dict[str, Any]]:
    """The fewest bytes in which every matrix errs by less than 6 %; of tiny tables, those of half floats if fewer."""
    rows: dict[str, dict[str, Any]] = {}
    for name, a in found.items():
        start = time.perf_counter()
        op = bitterfly.quantize_dense(a, rtol=TOLERANCE, code=code, rng=0)
        seconds = time.perf_counter() - start
        error = checked(a, op)
        assert error <= TOLERANCE
        for group in (group_of(name, a), "all"):
            row = rows.setdefault(group, {"weights": group, "matrices": 0, "bytes": 0, "of half floats": 0})
            row["matrices"] += 1
            row["bytes"] += min(op.nbytes, 2 * a.size)
            row["of half floats"] += 2 * a.size
            row["share"] = row["bytes"] / row["of half floats"]
            row["largest error"] = max(row.get("largest error", 0.0), error)
            row["s"] = row.get("s", 0.0) + seconds
    return sorted(rows.values(), key=lambda row: row["weights"] == "all")


def main() -> None:
    quick = "--quick" in sys.argv
    code = "window7" if "--window7" in sys.argv else "window11"
    sections = {f"{title}, {code}": rows for title, rows in errors(matrices(quick), code).items()}
    if not quick and (found := minilm()):
        sections[f"MiniLM, every matrix below 6 %, {code}"] = below(found, code)
    timing.write("dense_weights" if code == "window11" else f"dense_weights_{code}", sections)


if __name__ == "__main__":
    main()
