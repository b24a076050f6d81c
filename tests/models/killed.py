"""A compression that is killed at random moments, and goes on: the file is that of one that was not.

python tests/models/killed.py model.safetensors --ratio 0.25 --kills 20 [--moments M]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bitterfly import models


def command(model: Path, out: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "bitterfly.commands.cli", "model", "compress", str(model), "-o", str(out), *options]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_in(folder: str) -> int:
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0


def killed(model: Path, out: Path, options: list[str], files: int, later: float) -> None:
    """Start a compression and kill it some time after so many files of parts are there, if it is not done before."""
    process = subprocess.Popen(command(model, out, options), stdout=subprocess.DEVNULL)
    while process.poll() is None and files_in(f"{out}.parts") < files:
        time.sleep(0.005)
    time.sleep(later)
    process.send_signal(signal.SIGKILL)
    process.wait()


def run(model: Path, folder: Path, options: list[str], kills: int, rng: np.random.Generator) -> list[str]:
    """Return what went wrong in each of so many compressions that were killed once each."""
    begun = time.monotonic()
    subprocess.run(command(model, folder / "whole", options), check=True, stdout=subprocess.DEVNULL)
    seconds, right = time.monotonic() - begun, digest(folder / "whole")
    small = models.load(folder / "whole")
    parts = sum(len(small.units(name)) for name in small if small.kind(name) != "plain")
    wrong = []
    for kill in range(kills):
        out = folder / f"killed{kill}"
        killed(model, out, options, int(rng.integers(0, parts + 1)), rng.uniform(0, seconds / parts))
        there = "whole" if out.exists() else "not there"
        print(f"killed with {files_in(f'{out}.parts')} files of {parts} parts, the file {there}", flush=True)
        if out.exists() and digest(out) != right:
            wrong.append(f"kill {kill}: half a file")
        subprocess.run(command(model, out, options), check=True, stdout=subprocess.DEVNULL)
        if digest(out) != right:
            wrong.append(f"kill {kill}: another file")
        if os.path.exists(f"{out}.parts"):
            wrong.append(f"kill {kill}: parts are left")
        out.unlink()
    if left := [name for name in os.listdir(folder) if name != "whole"]:
        wrong.append(f"left: {left}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ratio", default="0.25")
    parser.add_argument("--moments")
    parser.add_argument("--structure", default="auto")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    options = ["--ratio", asked.ratio, "--structure", asked.structure]
    options += [] if asked.moments is None else ["--moments", asked.moments]
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(asked.model, Path(folder), options, asked.kills, np.random.default_rng(asked.seed))
    print("\n".join(wrong) or f"{asked.kills} kills, the same file each time")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
