"""Two tasks for a perceptron of 1024, 1024, 256 and 10 units, in five folds of 5000 digits, and how it learns them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from bench.torch.mnist import BATCH, Data, digits
from bitterfly.torch import Admm

FOLDS, SEEN, PAIRS = 5, 2000, 5000


class Task(NamedTuple):
    """Data to learn from, as many as asked for, and to be judged by, which are of other digits."""

    name: str
    draw: Callable[[int, torch.Generator], Data]
    held: Data
    steps: int

    def seen(self) -> Data:
        """Data of those to learn from: they give moments and losses of probes."""
        return self.draw(SEEN, torch.Generator().manual_seed(1))


@cache
def _all() -> Data:
    (x, y), (x_rest, y_rest) = digits()
    return torch.cat([x, x_rest]), torch.cat([y, y_rest])


def _folded(fold: int) -> tuple[Data, Data]:
    x, y = _all()
    held = torch.arange(len(x)) % FOLDS == fold
    return (x[~held], y[~held]), (x[held], y[held])


def _some(data: Data, count: int, rng: torch.Generator) -> Data:
    at = torch.randint(len(data[0]), (count,), generator=rng)
    return data[0][at], data[1][at]


def _pairs(data: Data, count: int, rng: torch.Generator) -> Data:
    """Two digits beside each other, each at half its width, and their sum modulo ten."""
    x, y = data
    left, right = torch.randint(len(x), (2, count), generator=rng)
    return torch.cat([x[left], x[right]], dim=2).flatten(1), (y[left] + y[right]) % 10


def single(fold: int) -> Task:
    """Which digit it is, of 1000 in the fold."""
    data, held = _folded(fold)
    return Task("digits", partial(_some, data), held, 400)


def sums(fold: int) -> Task:
    """The sum of two digits modulo ten: ten classes, none of which a part of the picture tells from the others."""

    def halves(data: Data) -> Data:
        x = data[0].view(-1, 32, 32)
        return (x[:, :, ::2] + x[:, :, 1::2]) / 2, data[1]

    data, held = (halves(each) for each in _folded(fold))
    return Task("sums", partial(_pairs, data), _pairs(held, PAIRS, torch.Generator().manual_seed(2)), 800)


TASKS: dict[str, Callable[[int], Task]] = {"digits": single, "sums": sums}


def learn(
    model: nn.Module, task: Task, steps: int, lr: float, seed: int, admm: Admm | None = None, every: int = 20
) -> nn.Module:
    """Minimize the cross entropy by Adam, its rate falling to zero, and the penalty, up to date now and then."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    rng = torch.Generator().manual_seed(1000 + seed)
    for step in range(steps):
        x, y = task.draw(BATCH, rng)
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        (loss if admm is None else loss + admm.penalty()).backward()
        optimizer.step()
        if admm is not None and (step + 1) % every == 0:
            admm.update()
    return model


class Judge:
    """What a model loses beside another one, on the same inputs."""

    def __init__(self, model: nn.Module, data: Data) -> None:
        self._x, self._y = data
        self._before = self._scores(model)
        self.accuracy = self._accuracy(self._before)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The accuracy and what is lost of it; the share of answers that differ; the divergence of probabilities."""
        after = self._scores(model)
        accuracy = self._accuracy(after)
        return {
            "accuracy": accuracy,
            "lost": self.accuracy - accuracy,
            "changed": float((after.argmax(dim=1) != self._before.argmax(dim=1)).double().mean()),
            "divergence": float((self._before.exp() * (self._before - after)).sum(dim=1).mean()),
        }

    def _scores(self, model: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(self._x).double().log_softmax(dim=1)
        return found

    def _accuracy(self, scores: torch.Tensor) -> float:
        return float((scores.argmax(dim=1) == self._y).double().mean())
