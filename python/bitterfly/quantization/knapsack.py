"""Options of bytes and error for each part of an operator; which to take for an error, or for bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Option(NamedTuple):
    """One way to store a part: its bytes, the square of its error, and the width that stands for it."""

    nbytes: int
    square: float
    width: int


class Knapsack:
    """Parts whose squared errors add up, each stored in one of several ways.

    The options of a part that matter lie on the lower convex hull of (bytes, squared error); steps along the hulls are
    taken where the square falls most for a byte. That is the optimum of the relaxed problem, one step short of whole.

    Parameters
    ----------
    parts : sequence of sequence of Option
        At least one option for each part.
    """

    def __init__(self, parts: Sequence[Sequence[Option]]) -> None:
        self._hulls = [_hull(options) for options in parts]

    @property
    def least(self) -> int:
        """The fewest bytes."""
        return sum(hull[0].nbytes for hull in self._hulls)

    def within(self, square: float) -> list[Option] | None:
        """Return options of few bytes whose squared errors add up to at most `square`."""
        at = [0] * len(self._hulls)
        for part in self._order():
            if self._square(at) <= square:
                break
            at[part] += 1
        if self._square(at) > square:
            return None
        self._narrow(at, square)
        return self._chosen(at)

    def in_bytes(self, nbytes: int, in_order: bool = False) -> list[Option] | None:
        """Return options of little error in at most `nbytes`.

        Steps that do not fit are passed over; `in_order`, the first one is the end.
        """
        at, spent, closed = [0] * len(self._hulls), self.least, set()
        if spent > nbytes:
            return None
        for part in self._order():
            if part in closed:
                continue
            more = self._hulls[part][at[part] + 1].nbytes - self._hulls[part][at[part]].nbytes
            if spent + more > nbytes:
                if in_order:
                    break
                closed.add(part)
            else:
                at[part], spent = at[part] + 1, spent + more
        return self._chosen(at)

    def _order(self) -> list[int]:
        """Return the part that makes each step, the best gain for a byte first."""
        steps = [
            ((low.square - high.square) / (high.nbytes - low.nbytes), part)
            for part, hull in enumerate(self._hulls)
            for low, high in pairwise(hull)
        ]
        return [part for _, part in sorted(steps, key=lambda step: -step[0])]

    def _narrow(self, at: list[int], square: float) -> None:
        """Take back steps that turn out not to be needed, the largest first."""
        for part in sorted(range(len(at)), key=lambda part: -self._step_back(part, at)):
            while at[part] > 0:
                at[part] -= 1
                if self._square(at) > square:
                    at[part] += 1
                    break

    def _step_back(self, part: int, at: list[int]) -> int:
        hull, now = self._hulls[part], at[part]
        return hull[now].nbytes - hull[now - 1].nbytes if now else 0

    def _square(self, at: list[int]) -> float:
        return sum(option.square for option in self._chosen(at))

    def _chosen(self, at: list[int]) -> list[Option]:
        return [hull[step] for hull, step in zip(self._hulls, at, strict=True)]


def widths_of(options: list[Option] | None) -> list[int] | None:
    """Return the widths that options stand for."""
    return None if options is None else [option.width for option in options]


def _hull(options: Sequence[Option]) -> list[Option]:
    """Return the lower convex hull, from the fewest bytes to the least square."""
    hull: list[Option] = []
    for option in sorted(options):
        if hull and (option.square >= hull[-1].square or option.nbytes == hull[-1].nbytes):
            continue
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def _is_above(left: Option, middle: Option, right: Option) -> bool:
    """Whether `middle` does not lie below the line from `left` to `right`."""
    falls = (left.square - middle.square) * (right.nbytes - left.nbytes)
    return falls <= (left.square - right.square) * (middle.nbytes - left.nbytes)
