"""Few bits for a dense perceptron: after training, with and without second moments, by ADMM, and in training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

import bitterfly
from bench.study.tasks import Task, learn
from bench.torch.mnist import CODE, LAYERS, SIZES, WEIGHTS, after_training, packed
from bitterfly.torch import Admm, StraightThrough, encoded, second_moments

ENTRIES = sum(m * n for n, m in pairwise(SIZES))
AGAIN, RATE = 120, 2e-4  # steps after training, and their rate of learning


def moments_of(model: nn.Module, x: torch.Tensor) -> dict[str, Any]:
    """Second moments of the inputs of the three layers."""
    with second_moments(model) as moments, torch.no_grad():
        model(x)
    return {name: moments[name] for name in WEIGHTS}


def with_moments(model: nn.Module, bits: float, task: Task) -> nn.Module:
    moments = moments_of(model, task.seen()[0])
    code = partial(bitterfly.quantize_dense, bits=bits, code=CODE, rng=0)
    return packed(model, {name: code(model.get_parameter(name).detach(), metric=moments[name]) for name in WEIGHTS})


def longer(model: nn.Module, task: Task, seed: int) -> nn.Module:
    """Trained for as many more steps as the others are, without codes."""
    return learn(copy.deepcopy(model), task, AGAIN, RATE, seed)


def by_admm(model: nn.Module, bits: float, task: Task, seed: int) -> nn.Module:
    model = copy.deepcopy(model)
    code = partial(bitterfly.quantize_dense, bits=bits, code=CODE, head=None, outliers=None, rng=0)
    admm = Admm(model, dict.fromkeys(WEIGHTS, code), rho=1e-2)
    learn(model, task, AGAIN, RATE, seed, admm)
    admm.finish()
    return packed(model, admm.operators)


def in_training(model: nn.Module, bits: float, task: Task, seed: int) -> nn.Module:
    """Rounded in the forward pass, learning as if it were not."""
    model = copy.deepcopy(model)
    for at in LAYERS:
        parametrize.register_parametrization(model.get_submodule(at), "weight", StraightThrough(CODE, bits))
    learn(model, task, AGAIN, RATE, seed)
    kept = {f"{at}.weight": model.get_parameter(f"{at}.parametrizations.weight.original") for at in LAYERS}
    return packed(model, {name: encoded(weight, CODE, bits) for name, weight in kept.items()})


def bytes_of(model: nn.Module) -> int:
    """Of packed matrices; biases are the same in all."""
    return int(sum(getattr(module, "nbytes", 0) for module in model.modules()))


def ways(task: Task, seed: int, model: nn.Module) -> dict[str, Callable[[float], nn.Module]]:
    """Functions of bits."""
    again = longer(model, task, seed)
    return {
        "after training": partial(after_training, model),  # type: ignore[dict-item]
        "with second moments": partial(with_moments, model, task=task),
        "longer training, then second moments": partial(with_moments, again, task=task),
        "ADMM": partial(by_admm, model, task=task, seed=seed),
        "in training": partial(in_training, model, task=task, seed=seed),
    }


def signed_cuts(model: nn.Module, bits: float) -> tuple[nn.Module, int]:
    """The two large matrices as sums of signed cuts, after training, and their bytes."""
    model, nbytes = copy.deepcopy(model), 0
    for at in LAYERS[:2]:
        weight = model.get_submodule(at).weight
        op = bitterfly.cuts.matrix(weight.detach().numpy(), bits=bits, rng=0)
        weight.data = torch.from_numpy(np.ascontiguousarray(op.todense()))
        nbytes += op.nbytes
    return model, nbytes
