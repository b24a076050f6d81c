"""What a model loses by the errors of its parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from bitterfly.files.container import canonical, parse
from bitterfly.files.replacing import replacing
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
        numbers = [as_number(given, name) * (size / sum(sizes)) for size in sizes]
    for number in numbers:
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name}: expected finite numbers that are not negative, got {number}")
    return numbers


def losses_of_probes(
    loss: Loss, tensors: Mapping[str, Tensor], parts: Sequence[Part], probes: Sequence[Coded]
) -> list[float]:
    """Return what a model loses by each part alone; gains, which chance brings, are none.

    Losses are kept beside the files of the probes. Those that an earlier call has kept count if that of the model as it
    is, and the last of them, come out the same again to the last bit.

    Raises
    ------
    ValueError, TypeError
        Where a loss is no finite number, and where none of them is above that of the model as it is.
    """
    before = _finite(loss(_Model(tensors)), "of the model")

    def looked_up(at: int) -> float:
        after = _finite(loss(_Model(tensors, parts[at], probes[at])), f"with {parts[at].name} in codes")
        _keep(probes[at], before, after)
        return after

    known = {at: after for at, probe in enumerate(probes) if (after := _kept(probe, before)) is not None}
    if known and known[max(known)] != (again := looked_up(max(known))):
        known = {max(known): again}
    found = [max((known[at] if at in known else looked_up(at)) - before, 0.0) for at in range(len(parts))]
    if not any(found):
        raise ValueError("sensitivity: expected a loss by some of the matrices in codes of 2 bits, got none")
    return found


def _keep(probe: Coded, before: float, after: float) -> None:
    """Write a loss, and that of the model as it is, beside the file of the probe."""
    with replacing(_beside(probe)) as file:
        file.write(canonical({"before": before, "after": after}).encode())


def _kept(probe: Coded, before: float) -> float | None:
    """Return the loss that was kept for the same loss of the model as it is."""
    try:
        with open(_beside(probe), encoding="utf-8") as file:
            kept = parse(file.read())
    except (FileNotFoundError, ValueError):
        return None
    after = kept.get("after")
    return after if kept.get("before") == before and isinstance(after, float) and math.isfinite(after) else None


def _beside(probe: Coded) -> str:
    return f"{probe.path.removesuffix('.safetensors')}.loss"


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
        try:
            array = self._tensors[name].array()
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from error
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
