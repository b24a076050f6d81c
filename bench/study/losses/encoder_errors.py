"""A sentence encoder (MiniLM) with one matrix, or all, approximated: errors, and what embeddings lose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from safetensors.numpy import load_file

from bench.dense.minilm import CALIBRATION, Tokenizer, installed, linear_layers, texts
from bench.models.minilm import PROBED, Judge, prepared, weights_of
from bench.study.losses.errors import Errors, errors, joined, low_rank, noisy, rounded, window_codes
from bitterfly import models

HELD_OUT = slice(2000, 2100)
TABLES = ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight")
ALONE = ("layer.0.", "layer.5.", TABLES[0])  # units that are approximated by themselves
BUDGETS = (0.25, 0.18, 0.125)

Row = dict[str, Any]
Kept = Callable[[str, Callable[[], list[Row]]], list[Row]]
Make = Callable[[str, np.ndarray], np.ndarray]


class Units:
    """All matrices of the model, their inputs, and two judges: of texts for probes and of others."""

    def __init__(self, folder: Path) -> None:
        self.path, self._moments_path = prepared(folder)
        self.weights = weights_of(self.path)
        self.moments = models.load_moments(self._moments_path)
        self.names = [*TABLES, *linear_layers(self.weights)]
        strings = texts()
        self.probing = Judge(self.weights, strings[PROBED]).loss
        self.judge = Judge(self.weights, strings[HELD_OUT]).loss
        self._seen = {TABLES[0]: self._tokens(strings[CALIBRATION]), TABLES[1]: self._places(strings[CALIBRATION])}

    def _tokens(self, strings: list[str]) -> np.ndarray:
        """How often each token is looked up."""
        tokenizer = Tokenizer(installed() / "vocab.txt")
        self._lengths = []
        counts = np.zeros(len(self.weights[TABLES[0]]))
        for text in strings:
            tokens = tokenizer(text)
            self._lengths.append(len(tokens))
            np.add.at(counts, tokens, 1)
        return counts

    def _places(self, strings: list[str]) -> np.ndarray:
        return np.array([sum(length > at for length in self._lengths) for at in range(len(self.weights[TABLES[1]]))])

    def errors(self, name: str, found: np.ndarray) -> Errors:
        """Of a matrix, also with its outputs at one size; the products of tables are the rows that texts look up."""

        def products(w: np.ndarray) -> np.ndarray:
            if name in TABLES:
                return np.sqrt(self._seen[name])[:, None] * w
            if name not in self._seen:
                values, vectors = np.linalg.eigh(self.moments[name].matrix)
                self._seen[name] = (vectors * np.sqrt(np.maximum(values, 0))).T
            out: np.ndarray = self._seen[name] @ w.T
            return out

        w = self.weights[name]
        missed, sizes = (np.linalg.norm(products(x), axis=0) for x in (found - w, w))
        return errors(w, found, products) | {"outputs": float(np.sqrt(np.mean(np.square(missed / sizes))))}

    def lost(self, found: Mapping[str, np.ndarray], judge: Callable[[Mapping[str, np.ndarray]], float]) -> float:
        """What embeddings lose by other matrices."""
        return judge({**self.weights, **found})


def approximations(units: Units, few: bool) -> Iterator[tuple[str, float, Make]]:
    """Names, how much, and functions of a matrix; few of them for one matrix alone."""

    def in_metric(name: str, w: np.ndarray, bits: float) -> np.ndarray:
        return window_codes(w, bits, None if name in TABLES else units.moments[name])

    for bits in (1, 2, 3) if few else (1, 1.5, 2, 3, 4):
        yield "window codes, metric", bits, partial(in_metric, bits=bits)
    for bits in (2,) if few else (2, 3):
        yield "window codes", bits, lambda name, w, bits=bits: window_codes(w, bits)
    for whole in (2, 3) if few else (3, 4, 5):
        yield "rounding", whole, lambda name, w, whole=whole: rounded(w, whole)
    for share in (0.5, 0.25) if few else (0.85, 0.7):
        yield "low rank", share, lambda name, w, share=share: low_rank(w, share)
    for error in (0.1, 0.4) if few else (0.05, 0.1, 0.2):
        yield "noise", error, lambda name, w, error=error: noisy(w, error, np.random.default_rng(crc32(name.encode())))


def study(folder: Path, kept: Kept) -> None:
    """Probes of all units, then some units alone, then all of them together."""
    folder.mkdir(exist_ok=True)
    units = Units(folder)

    def probe(name: str) -> list[Row]:
        w = units.weights[name]
        found = window_codes(w, 2, None if name in TABLES else units.moments[name])
        return [{"unit": name, "loss": max(units.lost({name: found}, units.probing), 0.0), **units.errors(name, found)}]

    probes = {name: kept(f"probe, {name}", partial(probe, name))[0] for name in units.names}

    def facts(found: Mapping[str, np.ndarray]) -> Row:
        parts = [(units.errors(name, w), probes[name], probes[name]["loss"]) for name, w in found.items()]
        return {"loss": units.lost(found, units.judge)} | joined(parts)

    def alone(name: str, way: str, much: float, make: Make) -> list[Row]:
        return [{"where": name, "way": way, "much": much, **facts({name: make(name, units.weights[name])})}]

    def whole(way: str, much: float, make: Make) -> list[Row]:
        found = {name: make(name, units.weights[name]) for name in units.names}
        return [{"where": "all", "way": way, "much": much, **facts(found)}]

    def budget(ratio: float) -> list[Row]:
        out, back = folder / "small.safetensors", folder / "back.safetensors"
        losses = {name: row["loss"] for name, row in probes.items()}
        models.compress_model(units.path, out, ratio=ratio, moments=units.moments, sensitivity=losses)
        models.expand(out, back)
        found = load_file(back)
        facts_of = facts({name: found[name].astype(np.float32) for name in units.names})
        return [{"where": "all", "way": "compress_model", "much": ratio, **facts_of}]

    for way, much, make in approximations(units, few=False):
        kept(f"all, {way}, {much}", partial(whole, way, much, make))
    for name in units.names:
        if any(part in name for part in ALONE):
            for way, much, make in approximations(units, few=True):
                kept(f"{name}, {way}, {much}", partial(alone, name, way, much, make))
    for ratio in BUDGETS:
        kept(f"all, compress_model, {ratio}", partial(budget, ratio))
