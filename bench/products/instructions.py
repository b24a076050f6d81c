"""Instructions of a call of the main kernels, counted by callgrind.

`python -m bench.products.instructions [--check | --keep]`

Counts do not depend on what else the machine does. `--keep` writes them to instructions.json; `--check` fails where one
is more than 3 % above what stands there. Valgrind knows no AVX-512, so the tier is avx2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bench.products import weights
from bitterfly import transforms
from bitterfly.stores.kinds import Code

KEPT = Path(__file__).with_name("instructions.json")
TIER = "avx2"
ALLOWED = 1.03
CALLS = 2
N, SMALL, VECTORS = 4096, 256, 64

# A call of getpgid(2) ends a part of the count; the part of `calls` is followed by one of 2 * calls.
CHILD = f"""
import os, sys, pathlib
import numpy as np
import bitterfly
from bitterfly import _core

def counted(run):
    run(1)
    for calls in ({CALLS}, 2 * {CALLS}):
        os.getpgid(0)
        run(calls)
    os.getpgid(0)

def product(kernel, n, dtype, columns, transposed):
    x, out = (_core.aligned_empty([n] if columns == 1 else [n, columns], dtype) for _ in range(2))
    x[...] = 1
    counted(lambda calls: kernel.seconds(x, out, transposed, calls))

def repeated(run):
    counted(lambda calls: [run() for _ in range(calls)])

assert _core.active_isa() == "{TIER}"
for line in sys.stdin.read().splitlines():
    kind, path, columns, transposed = line.split("|")
    if kind == "hadamard":
        product(_core.hadamard({N}, np.dtype(np.float32)), {N}, np.dtype(np.float32), int(columns), False)
    elif kind == "product":
        op = bitterfly.load(path)
        product(op._kernel, op.shape[1], op.dtype, int(columns), transposed == "True")
    elif kind == "factorize":
        a = bitterfly.load(path).todense()
        repeated(lambda: _core.factorize(a))
    else:
        op = bitterfly.load(path)
        options = dict(code="float", significand=4, driver="left_to_right") if kind == "floats" else dict(bits=4)
        repeated(lambda: bitterfly.quantize(op, workers=1, **options))
"""


def operators() -> dict[str, Any]:
    """What is multiplied; made outside of the count."""
    rng = np.random.default_rng(0)
    op = transforms.random(N, rng=rng, dtype=np.float32)
    ranked = bitterfly.ButterflyOperator([weights.gaussian(rng, p, "complex64") for p in weights.RANKED])
    blocks = bitterfly.ButterflyOperator([weights.gaussian(rng, p, "float32") for p in weights.BLOCKS])
    return {
        "float32": op,
        "1 bit": bitterfly.quantize(op, bits=1),
        "2 bits": bitterfly.quantize(op, bits=2),
        "4 bits": bitterfly.quantize(op, bits=4),
        "6 bits": bitterfly.quantize(op, bits=6),
        "64 x 64 blocks, lattice, 4 bits": weights.random_codes(blocks, [Code("lattice", 4)] * 2, rng),
        "rank 16, complex skeletons, 4 bits": bitterfly.quantize(ranked, code="skeleton", bits=4),
    }


def cases(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield names, and the lines that the child reads."""
    yield f"Hadamard, n = {N}", "hadamard||1|"
    for name, op in operators().items():
        path = folder / f"{name}.safetensors"
        bitterfly.save(path, op)
        n = op.shape[0]
        yield f"{name}, n = {n}", f"product|{path}|1|False"
        if name not in ("1 bit", "2 bits", "6 bits"):
            yield f"{name}, n = {n}, adjoint", f"product|{path}|1|True"
            yield f"{name}, n = {n}, {VECTORS} columns", f"product|{path}|{VECTORS}|False"
    small = folder / "small.safetensors"
    bitterfly.save(small, transforms.random(SMALL, rng=0, dtype=np.float32))
    yield f"factorize, n = {SMALL}", f"factorize|{small}||"
    yield f"quantize to directions of 4 bits, n = {SMALL}", f"directions|{small}||"
    yield f"quantize to floats, left to right, t = 4, n = {SMALL}", f"floats|{small}||"


def parts(lines: list[str], folder: Path) -> list[int]:
    """Instructions between calls of getpgid, in their order."""
    command = ["valgrind", "--tool=callgrind", "--dump-before=getpgid", f"--callgrind-out-file={folder}/out"]
    settings = {"BITTERFLY_ISA": TIER, "BITTERFLY_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    run = [*command, sys.executable, "-c", CHILD]
    text = "\n".join(lines)
    subprocess.run(run, input=text, env=os.environ | settings, check=True, text=True, stderr=subprocess.PIPE)
    dumps = sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    found = [[line for line in dump.read_text().splitlines() if line.startswith("totals:")] for dump in dumps]
    return [int(totals[0].split()[1]) for totals in found if totals]


def counts() -> dict[str, int]:
    """Instructions a call: what 2 * CALLS calls take beyond CALLS of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        named = dict(cases(folder))
        found = parts(list(named.values()), folder)
    assert len(found) in (3 * len(named), 3 * len(named) + 1), (len(found), len(named))
    return {name: (found[3 * at + 2] - found[3 * at + 1]) // CALLS for at, name in enumerate(named)}


def facts() -> dict[str, str]:
    valgrind = subprocess.run(["valgrind", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    return {
        "compiler": str(bitterfly.show_config()["compiler"]),
        "tier": TIER,
        "valgrind": valgrind.removeprefix("valgrind-"),
    }


def main() -> None:
    found, about = counts(), facts()
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {"counts": {}}
    rows = []
    for name, count in found.items():
        row: dict[str, Any] = {"call": name, "instructions": count}
        if name in kept["counts"]:
            row |= {"kept": kept["counts"][name], "ratio": count / kept["counts"][name]}
        rows.append(row)
    timing.show({", ".join(f"{key} {value}" for key, value in about.items()): rows})
    if "--keep" in sys.argv:
        KEPT.write_text(json.dumps({**about, "counts": found}, indent=1) + "\n")
    elif "--check" in sys.argv:
        if different := [key for key in about if kept.get(key) != about[key]]:
            print(f"kept with another {' and '.join(different)}: {[kept.get(key) for key in different]}")
        missing = sorted(set(found) ^ set(kept["counts"]))
        grown = [f"{r['call']}: {r['ratio']:.3f}" for r in rows if r.get("ratio", 0) > ALLOWED]
        if missing or grown:
            raise SystemExit(f"more instructions: {grown}; not in both: {missing}")


if __name__ == "__main__":
    main()
