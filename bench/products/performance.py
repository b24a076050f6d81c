"""All comparisons of products; writes the tables and pictures of docs/performance.md.

`python -m bench.products.performance`

Names of sections run these alone, and keep the others of the last run; `--quick` runs small sizes and leaves the page.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import machine, pages, timing
from bench.factorization import factorize
from bench.products import apply, ceilings, chains, core, roofline, weights, workers
from bitterfly import _core

Tables = dict[str, list[dict[str, Any]]]
PAGE = roofline.PICTURES.parent / "performance.md"
UNPINNED = ("threads", "factorize")  # LAPACK of the peer uses all cores


@dataclass(frozen=True)
class Sizes:
    """What a run measures."""

    rounds: int
    one: list[int]
    many: list[int]
    chains: list[int]
    factorize: list[int]
    roofline: list[int]
    adjoint: list[int]
    page: bool


FULL = Sizes(
    rounds=9,
    one=[64, 256, 1024, 4096, 2**14, 2**16, 2**18, 2**20],
    many=[64, 256, 1024, 4096, 2**14, 2**16],
    chains=[1024, 4096, 32768],
    factorize=[1024, 4096, 8192],
    roofline=[2**p for p in range(10, 21)],
    adjoint=[4096, 2**16, 2**20],
    page=True,
)
QUICK = Sizes(
    rounds=3,
    one=[64, 1024, 4096],
    many=[64, 1024],
    chains=[1024],
    factorize=[1024],
    roofline=[2**p for p in range(10, 15)],
    adjoint=[1024, 4096],
    page=False,
)


def general_size(sizes: Sizes) -> int:
    """The chain in the tables of all products."""
    return sizes.chains[min(1, len(sizes.chains) - 1)]


def bounds(sizes: Sizes) -> Tables:
    points = core.points(sizes.roofline, sizes.rounds)
    if sizes.page:
        roofline.draw(points, ceilings.measured())
    return {"ceilings": ceilings.rows(), **core.bounds(points)}


def by_code(_: Sizes) -> Tables:
    isa = _core.available_isas()[0]
    found = weights.rows("float32", 3, [isa])
    return {"nanoseconds per number": weights.combined(found[f"float32, {isa}, ns per number"])}


def factorizations(sizes: Sizes) -> Tables:
    return {"factorize": factorize.speed(sizes.factorize, 3, [(factorize.hadamard, np.float32)])}


SECTIONS: dict[str, Callable[[Sizes], Tables]] = {
    "bounds": bounds,
    "one": lambda s: apply.one_vector(s.one, s.rounds),
    "many": lambda s: core.with_floor(apply.many_vectors(s.many, s.rounds)),
    "fourier": lambda s: apply.transform(s.one, s.rounds),
    "chains": lambda s: {"general chain": chains.rows(s.chains, s.rounds)},
    "adjoint": lambda s: {"adjoint": core.adjoints(s.adjoint, general_size(s), s.rounds)},
    "tiers": lambda s: {"tiers": core.tiers(s.adjoint[0], general_size(s), s.rounds)},
    "threads": lambda s: {"threads": workers.rows(not s.page, s.rounds)},
    "factorize": factorizations,
    "codes": by_code,
}


def contents(tables: Tables, facts: dict[str, Any]) -> dict[str, str]:
    """What stands in the places of the page."""
    shown = {name: timing.table(rows) if rows else "(not on this machine)" for name, rows in tables.items()}
    shown["machine"] = f"Measured {machine.sentence(facts)}"
    return shown


def last_run(name: str) -> Tables:
    path = timing.RESULTS / f"{name}.json"
    kept: Tables = json.loads(path.read_text()) if path.exists() else {}
    return {title: rows for title, rows in kept.items() if title != "machine"}


def main() -> None:
    sizes = QUICK if "--quick" in sys.argv else FULL
    asked = [argument for argument in sys.argv[1:] if argument != "--quick"]
    if unknown := set(asked) - set(SECTIONS):
        raise SystemExit(f"expected some of {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    name = "performance" if sizes.page else "performance-quick"
    tables = last_run(name) if asked else {}
    for section in asked or SECTIONS:
        start = time.perf_counter()
        with nullcontext() if section in UNPINNED else timing.one_thread():
            tables |= SECTIONS[section](sizes)
        print(f"{section}: {time.perf_counter() - start:.1f} s", flush=True)
    timing.write(name, tables)
    if sizes.page:
        pages.fill(PAGE, contents(tables, machine.facts()))


if __name__ == "__main__":
    main()
