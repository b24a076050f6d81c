"""A whole sentence encoder in given bytes, by ways that lack one thing or another that `compress_model` does."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bitterfly
from bench.dense.minilm import texts
from bench.models.minilm import HELD_OUT, PROBED, Judge, prepared, weights_of
from bench.study import scalar
from bitterfly import models
from bitterfly.models.given import given
from bitterfly.models.rates import curve, shared
from bitterfly.models.sensitivity import by_default, checked_losses
from bitterfly.models.units import Part, kind_of, parts_of

PROBES_AT = 0.25  # of the bytes: where losses of probes are asked for

MOST_ROWS = 1024  # of tables that may become factors: `compress` finds none in longer ones of this model


class Coded(NamedTuple):
    """What a matrix becomes, and the bytes that it takes."""

    dense: np.ndarray
    nbytes: int
    structure: str = "dense"


class Way(NamedTuple):
    """How matrices become codes.

    Attributes
    ----------
    code : str
        "scalar", "window7" or "window11".
    rotate, feedback, unequal : bool
        Whether columns are mixed; make good for each other in the metric of their inputs; take rates by it.
    beside : bool
        Heads, outliers, several stages: what `quantize_dense` takes beside or after the codes.
    share : str
        Of the bytes of each matrix: "alike" for all numbers, by "entries" (the default), by "probes".
    low_rank : bool
        Whether tables may become coded factors, as `compress` finds them.
    """

    code: str = "window11"
    rotate: bool = True
    feedback: bool = True
    unequal: bool = True
    beside: bool = True
    share: str = "probes"
    low_rank: bool = True


class Whole:
    """The encoder, the moments of its inputs, what its probes say, and who judges it.

    Parameters
    ----------
    folder : Path
        Keeps what is made once.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path, moments = prepared(folder)
        self.weights, self.moments = weights_of(self.path), models.load_moments(moments)
        strings = texts()
        self.judge, self._probing = Judge(self.weights, strings[HELD_OUT]), strings[PROBED]
        tensors = given(self.path).tensors
        self.parts = [
            part
            for name, tensor in tensors.items()
            if (kind := kind_of(name, tensor, name in self.moments)) != "plain"
            for part in parts_of(name, kind, tensor)
        ]
        coded = {part.name for part in self.parts}
        self.alone = sum(tensor.nbytes for name, tensor in tensors.items() if name not in coded)
        self.half = 2 * sum(w.size for w in self.weights.values())
        self.entries = sum(part.shape[0] * part.shape[1] for part in self.parts)

    @cached_property
    def probes(self) -> Mapping[str, Any]:
        """What the model loses by each matrix in two bits."""
        path = self.folder / "sensitivities.json"
        if not path.exists():
            loss = Judge(self.weights, self._probing).loss
            path.write_text(json.dumps(self.compressed(PROBES_AT, loss).sensitivities))
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def compressed(self, budget: float, sensitivity: Any) -> models.CompressedModel:
        """What `compress_model` makes of it, in window codes."""
        asked: dict[str, Any] = {
            "moments": self.moments,
            "sensitivity": sensitivity,
            "structure": "dense",
            "workers": 1,
        }
        return models.compress_model(self.path, self.folder / "small.safetensors", ratio=budget, **asked)

    def run(self, way: Way, budget: float) -> dict[str, Any]:
        """What is known of the model in a share of its bytes in half precision."""
        shares, predicted = self.shares(way, budget)
        found = self.of_parts(lambda part: coded(part, way, shares[part], self.moments), budget)
        return found | ({"predicted": predicted} if way.share == "probes" else {})

    def shares(self, way: Way, budget: float) -> tuple[dict[Part, int], float]:
        """The bytes of each part, as `compress_model` shares them, and the loss that it expects."""
        left = int(budget * self.half) - self.alone
        if way.share == "alike":
            return {part: left * part.shape[0] * part.shape[1] // self.entries for part in self.parts}, np.nan
        curves = [curve(part.shape, 1 if part.name in self.moments else None) for part in self.parts]
        by_probes = way.share == "probes"
        losses = checked_losses(self.probes, self.parts) if by_probes else by_default(self.parts)
        found = shared(curves, losses, left)
        sizes = {part: each.nbytes for part, each in zip(self.parts, found, strict=True)}
        return sizes, sum(each.loss for each in found)

    def of_parts(self, make: Callable[[Part], Coded], budget: float) -> dict[str, Any]:
        """What is known of the model whose parts are made one by one."""
        weights, nbytes = dict(self.weights), self.alone
        for part in self.parts:
            found, taken, _ = make(part)
            whole = weights[part.name] if weights[part.name] is not self.weights[part.name] else None
            if whole is None:
                whole = weights[part.name] = np.array(self.weights[part.name], np.float32)
            whole[part.first : part.end] = found.reshape(whole[part.first : part.end].shape)
            nbytes += taken
        return self.judged(weights, nbytes, budget)

    def judged(self, weights: Mapping[str, np.ndarray], nbytes: int, budget: float | None) -> dict[str, Any]:
        """Bytes as a share of those in half precision, the loss, and the nearest neighbours that stay."""
        assert budget is None or nbytes <= budget * self.half
        lost, recall = self.judge.judged(weights)
        return {"bytes": nbytes / self.half, "lost": lost, "recall": recall}


def coded(part: Part, way: Way, nbytes: int, moments: Mapping[str, Any]) -> Coded:
    """A matrix in at most so many bytes, and those that it takes."""
    metric = moments.get(part.name) if way.feedback else None
    found = None if metric is not None or not way.low_rank else _if_low_rank(part, nbytes)
    if found is not None:
        return found
    if way.code == "scalar":
        return Coded(*scalar.coded(part.array(), nbytes, way.rotate, metric, way.unequal, _seed(part)))
    asked: dict[str, Any] = {} if way.beside else {"head": None, "outliers": None, "stages": 1}
    asked |= {"rotate": "auto" if way.rotate else False, "code": way.code, "nbytes": nbytes}
    if metric is None:
        return _without_metric(part, tuple(asked.items()))
    return _of(bitterfly.quantize_dense, part, asked | {"metric": metric, "unequal": way.unequal})


@lru_cache(maxsize=64)
def _without_metric(part: Part, asked: tuple[tuple[str, Any], ...]) -> Coded:
    """Codes that several steps have in common, one after the other: those of tables."""
    return _of(bitterfly.quantize_dense, part, dict(asked))


@lru_cache(maxsize=64)
def _if_low_rank(part: Part, nbytes: int) -> Coded | None:
    """Coded factors where `compress` takes these and not codes."""
    if part.kind != "table" or part.shape[0] > MOST_ROWS:
        return None
    found = _of(bitterfly.compress, part, {"nbytes": nbytes, "structure": ["low_rank", "dense"]})
    return found if found.structure == "low_rank" else None


def _of(make: Callable[..., Any], part: Part, asked: dict[str, Any]) -> Coded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # errors above a half
        op = make(part.array(), rng=_seed(part), workers=1, **asked)
    return Coded(op.todense(), op.nbytes, op.report.structure if op.report else "dense")


def _seed(part: Part) -> int:
    return int.from_bytes(hashlib.sha256(f"{part.name} {part.first}".encode()).digest()[:7], "little")
