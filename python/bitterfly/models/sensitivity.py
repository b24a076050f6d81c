"""What a model loses by the errors of its parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from bitterfly.files.storage import load
from bitterfly.inputs import Array, as_number
from bitterfly.models.coding import Coded
from bitterfly.models.tensors import Tensor
from bitterfly.models.units import Part

Loss = Callable[[Mapping[str, Array]], float]


class Losses(NamedTuple):
    """What a model loses by a part alone, in codes of two bits and as it is in the file; None where nobody says."""

    sensitivity: float | None = None
    loss: float | None = None


def by_default(parts: Sequence[Part]) -> list[float]:
    """Return losses of parts of which nothing is known: the roots of their sizes.

    That lies between all matrices alike and all numbers alike.
    """
    return [math.sqrt(math.prod(part.shape)) for part in parts]


def checked_losses(given: Mapping[str, float | Sequence[float]], parts: Sequence[Part]) -> list[float]:
    """Return the losses of parts in codes of two bits: those of their tensors, or numbers for each part.

    Raises
    ------
    ValueError, TypeError
        Where one is missing, or no finite number that is not negative.
    """
    found: list[float] = []
    for name, group in groupby(parts, key=lambda part: part.name):
        own = list(group)
        if name not in given:
            raise ValueError(f"sensitivity: expected numbers for each matrix, got none for {name!r}")
        found += _checked(given[name], f"sensitivity[{name!r}]", by_default(own))
    return found


def _checked(given: float | Sequence[float], name: str, sizes: list[float]) -> list[float]:
    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) != len(sizes):
            raise ValueError(f"{name}: expected a number, or one for each of {len(sizes)} parts, got {len(given)}")
        numbers = [as_number(each, name) for each in given]
    else:
        numbers = [as_number(given, name) * size / sum(sizes) for size in sizes]
    for number in numbers:
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name}: expected finite numbers that are not negative, got {number}")
    return numbers


def losses_of_probes(
    loss: Loss, tensors: Mapping[str, Tensor], parts: Sequence[Part], probes: Sequence[Coded]
) -> list[float]:
    """Return what a model loses by each part alone; gains, which chance brings, are none.

    Raises
    ------
    ValueError, TypeError
        Where a loss is no finite number, and where none of them is above that of the model as it is.
    """
    before = _finite(loss(_Model(tensors)), "of the model")
    found = []
    for part, probe in zip(parts, probes, strict=True):
        after = _finite(loss(_Model(tensors, part, probe)), f"with {part.name} in codes")
        found.append(max(after - before, 0.0))
    if not any(found):
        raise ValueError("sensitivity: expected a loss by some of the matrices in codes of 2 bits, got none")
    return found


def _finite(loss: object, where: str) -> float:
    number = as_number(loss, f"sensitivity: the loss {where}")
    if not math.isfinite(number):
        raise ValueError(f"sensitivity: expected a finite loss {where}, got {number}")
    return number


class _Model(Mapping[str, Array]):
    """The arrays of a model, one part from its codes; read when they are asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], part: Part | None = None, probe: Coded | None = None) -> None:
        self._tensors, self._part, self._probe = tensors, part, probe

    def __getitem__(self, name: str) -> Array:
        array = self._tensors[name].array()
        if self._part is None or self._probe is None or name != self._part.name:
            return array
        changed = array.astype(np.result_type(array.dtype, np.float32))
        rows = changed[self._part.first : self._part.end]
        rows[...] = load(self._probe.path).todense().reshape(rows.shape)
        return changed

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
