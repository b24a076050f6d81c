"""All parts of a model, a few at a time, by threads or by an executor; none depends on another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from bitterfly.models.coding import Coded, Job, Structures, code, code_if_met, with_low_rank
from bitterfly.models.units import Part
from bitterfly.workers import available_cores, building_workers

Result = TypeVar("Result")
Progress = Callable[[str, float], None]

_AT_ONCE = 1 << 22  # entries of parts that threads have in hand together, unless one is larger


class Jobs:
    """What makes the parts of a model.

    Parameters
    ----------
    parts : sequence of Part
    moments : mapping
        Of names to second moments; looked up when a part begins.
    structure
    seed : int
    folder : str
        Where the files of parts go.
    workers : int, Executor or None
    progress : callable
    """

    def __init__(
        self,
        parts: Sequence[Part],
        moments: Mapping[str, Any],
        structure: Structures,
        seed: int,
        folder: str,
        workers: int | Executor | None,
        progress: Progress,
    ) -> None:
        self.moments, self.folder = moments, folder
        self.with_low_rank = with_low_rank(structure)
        self._parts, self._structure, self._seed, self._progress = parts, structure, seed, progress
        self._executor = workers if isinstance(workers, Executor) else None
        self._count = available_cores() if isinstance(workers, Executor) else building_workers(workers)
        self._sizes = [_size(part, part.name in moments) for part in parts]
        self._most = max(_AT_ONCE, *self._sizes) if parts else _AT_ONCE
        # The largest first: the last ones to end are small.
        self._order = sorted(range(len(parts)), key=lambda at: -self._sizes[at])

    def in_bytes(self, nbytes: Sequence[int], stage: str) -> list[Coded]:
        """Return all parts, in so many bytes each; what was done before is found."""
        return self._done(code, lambda at: self._job(at, nbytes[at], None, stage), stage)

    def of_error(self, rtol: float, stage: str) -> list[Coded | None]:
        """Return all parts with errors of at most `rtol`; None where codes do not reach it."""
        return self._done(code_if_met, lambda at: self._job(at, None, rtol, stage), stage)

    def _done(self, work: Callable[[Job], Result], job: Callable[[int], Job], stage: str) -> list[Result]:
        self._progress(stage, 0.0)
        found: dict[int, Result] = {}
        for at, each in self._as_done(work, job):
            found[at] = each
            self._progress(stage, len(found) / len(self._parts))
        return [found[at] for at in range(len(self._parts))]

    def _job(self, at: int, nbytes: int | None, rtol: float | None, stage: str) -> Job:
        part = self._parts[at]
        moments = self.moments.get(part.name)
        threads = max(round(self._count * self._sizes[at] / self._most), 1) if self._executor is None else 1
        structure = "dense" if stage == "probe" and self.with_low_rank else self._structure
        return Job(part, nbytes, rtol, moments, structure, self._seed, self.folder, threads)

    def _as_done(self, work: Callable[[Job], Result], job: Callable[[int], Job]) -> Iterator[tuple[int, Result]]:
        """Yield the number of each part and what it became, in the order in which they end.

        Those that threads have in hand together have no more entries than the largest part, or a few millions.
        """
        if self._executor is None and self._count == 1:
            yield from ((at, work(job(at))) for at in self._order)
            return
        left, pending = list(self._order), dict[Future[Result], int]()
        with self._running(pending) as executor:
            while left or pending:
                while (at := self._next(left, pending.values())) is not None:
                    left.remove(at)
                    pending[executor.submit(work, job(at))] = at
                ended, _ = wait(pending, return_when=FIRST_COMPLETED)
                yield from [(pending.pop(future), future.result()) for future in ended]

    def _next(self, left: Sequence[int], others: Collection[int]) -> int | None:
        """Return the largest part that there is room for."""
        if len(others) >= self._count:
            return None
        room = self._most - sum(self._sizes[each] for each in others)
        return next((at for at in left if self._executor is not None or self._sizes[at] <= room), None)

    @contextmanager
    def _running(self, pending: Collection[Future[Any]]) -> Iterator[Executor]:
        """Give an executor; after a failure, what it has begun ends, and nothing else begins."""
        executor = ThreadPoolExecutor(self._count) if self._executor is None else self._executor
        try:
            yield executor
        finally:
            wait([future for future in pending if not future.cancel()])
            if executor is not self._executor:
                executor.shutdown()


def _size(part: Part, has_moments: bool) -> int:
    """Return the entries of the matrix, and of the metric of its inputs twice: so much more memory it takes."""
    m, n = part.shape
    return m * n + (2 * n * n if has_moments else 0)
