"""Signed cuts of a tensor one after the other: ascents from random signs, some at a time as products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitterfly.cuts.terms import Cuts, images, inner_products, joined, none, outer_products
from bitterfly.inputs import Array

_GROWTH = 1 + 1e-6  # what an ascent grows by at least: images are of single precision
_TURNS = 3  # of the axes behind the first one for each turn of that
_SHARE = 64  # a bit an entry is found in so many groups, and in more where these would have more than
_MOST = 64
_LEAST_ROOM = 1 << 22  # numbers that a group may take, or as many as the tensor has
_NEW = 0.9  # of its gain what a cut has to itself, beside those of its group


def greedy(a: Array, count: int, target: float, starts: int, rng: np.random.Generator) -> Cuts:
    """Return so many cuts of a tensor, or fewer that leave no more than a target of its energy.

    Ascents of a group climb on the same residual: two that end at the same signs, or near, are one cut.
    """
    rest, energy, found = a.reshape(len(a), -1).copy(), energy_of(a), [none(a.shape)]
    room = max(1, max(a.size, _LEAST_ROOM) // (starts * rest.shape[1]))
    group = min(_MOST, room, max(1, a.size // (_SHARE * sum(a.shape))))
    while count > 0 and energy > target:
        some = _distinct(*_group(rest, a.shape, min(group, count), starts, rng), a.size)
        left = energy - np.cumsum(some.c * some.c) * a.size
        some = some.split(int(np.sum(left > target)) + 1)[0]
        if not len(some.c):
            break
        found.append(some)
        count, energy = count - len(some.c), float(left[len(some.c) - 1])
        rest -= (some.sides[0] * some.c.astype(np.float32)[:, None]).T @ _behind(some.sides)
    return joined(found)


def energy_of(a: Array) -> float:
    """Return the sum of squares, in double precision."""
    return float(np.einsum("i,i", a.ravel(), a.ravel(), dtype=np.float64))


def _group(
    rest: Array, shape: Sequence[int], count: int, starts: int, rng: np.random.Generator
) -> tuple[Array, list[Array]]:
    """Return of each of so many ascents, the best of its starts, the inner product with the residual and the signs."""
    drawn = [_signs(rng.integers(2, size=(count * starts, n), dtype=np.int8) - np.float32(0.5)) for n in shape]
    gains, sides = _climbed(rest, drawn)
    best = np.argmax(gains.reshape(starts, count), axis=0) * count + np.arange(count)
    if not np.any(gains > 0) and rest.any():  # random signs may be orthogonal to all
        gains, sides = _climbed(rest, _along_fibres(rest.reshape(shape)))
        best = np.zeros(1, int)
    best = best[np.argsort(-gains[best], kind="stable")]
    return gains[best], [side[best] for side in sides]


def _climbed(rest: Array, sides: list[Array]) -> tuple[Array, list[Array]]:
    """Return the inner products and signs at which ascents end: each side the signs of what the others give.

    The first axis takes two products with the whole residual, which all ascents share; in between the others go on by
    themselves, each in its own tensor.
    """
    shape = [side.shape[1] for side in sides[1:]]
    gains, active = np.full(len(sides[0]), -1.0), np.arange(len(sides[0]))
    ends, sides = [side.copy() for side in sides], list(sides)
    while len(active):
        own = (sides[0] @ rest).reshape(len(active), *shape)
        for _ in range(_TURNS if len(shape) > 1 else 1):
            for axis in range(len(shape)):
                sides[1 + axis] = _signs(images(own, sides[1:], axis))
        image = np.ascontiguousarray((rest @ _behind(sides).T).T)
        sides[0] = _signs(image)
        reached = np.abs(image).sum(axis=1, dtype=np.float64)
        grows = reached > gains[active] * _GROWTH
        gains[active] = reached
        for end, side in zip(ends, sides, strict=True):
            end[active] = side
        active, sides = active[grows], [np.ascontiguousarray(side[grows]) for side in sides]
    return gains, ends


def _behind(sides: Sequence[Array]) -> Array:
    return outer_products(sides[1:]) if len(sides) > 1 else np.ones((len(sides[0]), 1), np.float32)


def _signs(x: Array) -> Array:
    return np.where(x < 0, np.float32(-1), np.float32(1))


def _along_fibres(x: Array) -> list[Array]:
    """Return signs that have a positive inner product with a tensor: those of fibres through its largest numbers."""
    sides = []
    while x.ndim > 1:
        at = np.unravel_index(np.argmax(np.abs(x)), x.shape)
        sides.append(_signs(x[at[:-1]]))
        x = x @ sides[-1]
    return [side[None] for side in (_signs(x), *sides[::-1])]


def _distinct(gains: Array, sides: list[Array], size: int) -> Cuts:
    """Return the cuts of a group that have most of their gain to themselves, each of what those before it leave."""
    gram, c, kept = inner_products(sides), np.zeros(len(gains)), np.zeros(len(gains), bool)
    for j, gain in enumerate(gains):
        own = gain - gram[j] @ c
        kept[j] = own > _NEW * gain
        c[j] = own / size if kept[j] else 0
    return Cuts(c[kept], tuple(side[kept] for side in sides))
