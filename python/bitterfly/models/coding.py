"""One part of a model to an operator in a file of its own, which is found again by what went into it."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Literal, NamedTuple

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from bitterfly.accuracy.metric import as_metric, measure_in_metric
from bitterfly.accuracy.moments import SecondMoments
from bitterfly.advice import quiet
from bitterfly.compression.compress import compress
from bitterfly.compression.request import Structure
from bitterfly.config import __version__
from bitterfly.dense.low_ranks.coded import in_codes
from bitterfly.dense.quantize import quantize_dense
from bitterfly.files.container import canonical
from bitterfly.files.replacing import replacing
from bitterfly.files.storage import load, to_bytes
from bitterfly.inputs import Array, UnmetError
from bitterfly.models.units import Part
from bitterfly.operators.contract import Operator

Structures = Literal["auto"] | Structure | Sequence[Structure]

_BY_ENTRIES: tuple[Structure, ...] = ("permutation", "toeplitz", "sparse", "kronecker")
_OURS = re.compile(r"[0-9a-f]{64}\.(safetensors|loss)|\.[0-9a-f]{16}\.tmp")

_log = logging.getLogger("bitterfly")


class Job(NamedTuple):
    """What is asked of a part: `nbytes` or `rtol`. Other processes can do it.

    Attributes
    ----------
    seed : int
        Of all parts; what is drawn for one depends on its name and its rows as well.
    folder : str
        Where the file goes, or is found.
    """

    part: Part
    nbytes: int | None
    rtol: float | None
    moments: SecondMoments | Array | None
    structure: Structures
    seed: int
    folder: str
    workers: int


class Coded(NamedTuple):
    """A part that is done: its file, and what is known of it."""

    path: str
    structure: str
    nbytes: int
    relative_error: float
    metric_error: float

    @property
    def error(self) -> float:
        """The error that counts: in the metric where there is one; 0 where the matrix is nothing in it."""
        error = self.relative_error if np.isnan(self.metric_error) else self.metric_error
        return error if np.isfinite(error) else 0.0


def code(job: Job) -> Coded:
    """Return a part, coded now or before.

    Raises
    ------
    ValueError, TypeError
        Where it cannot be coded as asked for; the message begins with its name.
    """
    part = job.part
    try:
        a = part.array()
        path = os.path.join(job.folder, f"{_key(job, a)}.safetensors")
        op = _found(path, a, job)
        if op is None:
            with quiet():
                op = _written(path, _coded(a, job), part)
        return Coded(path, op.kind, op.nbytes, op.relative_error, op.metric_error)
    except UnmetError as error:
        raise UnmetError(f"{part.name}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{part.name}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{part.name}: {error}") from error
    finally:
        _give_back()


def code_if_met(job: Job) -> Coded | None:
    """Return a part as `code` does; None where its error is out of reach."""
    try:
        return code(job)
    except UnmetError as error:
        _log.info("%s", error)
        return None


def _give_back() -> None:
    """Give memory that was freed back to the system, where the C library keeps it for each thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


@contextmanager
def held(folder: str) -> Iterator[None]:
    """Make the folder of parts, and keep other calls out of it while a block runs, where the system can.

    Raises
    ------
    BlockingIOError
        Where another call holds it.
    """
    handle = _locked(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            os.rmdir(folder)  # a call that fails at once leaves nothing
        if handle is not None:
            fcntl.flock(handle, fcntl.LOCK_UN)  # processes that were forked meanwhile have it open as well
            os.close(handle)


def _locked(folder: str) -> int | None:
    os.makedirs(folder, exist_ok=True)
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(folder)):
            return handle
    except BlockingIOError as error:
        os.close(handle)
        raise BlockingIOError(errno.EAGAIN, "Another call writes this file, and has its parts in", folder) from error
    except FileNotFoundError:
        pass
    except OSError:  # file systems without locks
        os.close(handle)
        return None
    os.close(handle)
    return _locked(folder)  # the call before has ended, and removed the folder


def cleared(folder: str) -> None:
    """Remove the files of parts; the folder too, if nothing else is in it."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if _OURS.fullmatch(name):
                os.unlink(os.path.join(folder, name))
    with suppress(OSError):
        os.rmdir(folder)


def _key(job: Job, a: Array) -> str:
    """Return the SHA-256 of all that an operator depends on."""
    part = job.part
    asked: dict[str, Any] = {
        "version": __version__,
        "name": part.name,
        "rows": [part.first, part.end],
        "dtype": part.tensor.dtype,
        "shape": list(part.shape),
        "nbytes": job.nbytes,
        "rtol": job.rtol,
        "structure": job.structure if isinstance(job.structure, str) else list(job.structure),
        "seed": job.seed,
        "metric": None if job.moments is None else list(_matrix_of(job.moments).shape),
    }
    digest = hashlib.sha256(canonical(asked).encode() + b"\n")
    digest.update(np.ascontiguousarray(a).view(np.uint8).data)
    if job.moments is not None:
        digest.update(np.ascontiguousarray(_matrix_of(job.moments).T).view(np.uint8).data)  # no copy of columns
    return digest.hexdigest()


def _found(path: str, a: Array, job: Job) -> Operator | None:
    """Return an operator that was coded before, if there is one and its file is whole."""
    if not os.path.exists(path):
        return None
    try:
        op = load(path)
    except ValueError as error:
        _log.warning("coded anew: %s", error)
        return None
    # Files of some kinds have no errors in metrics.
    return _in_metric(a, op, job) if job.moments is not None and np.isnan(op.metric_error) else op


def _written(path: str, op: Operator, part: Part) -> Operator:
    with replacing(path) as file:
        file.write(to_bytes(op))
    _log.info("%s, rows %d to %d: %r", part.name, part.first, part.end, op)
    return op


def _coded(a: Array, job: Job) -> Operator:
    """Return the least error in so many bytes, or the fewest bytes for an error."""
    asked: dict[str, Any] = {"nbytes": job.nbytes, "rtol": job.rtol, "workers": job.workers}
    if job.nbytes is not None and with_low_rank(job.structure) and a.any():
        return _of_low_rank_or(a, job, job.nbytes)
    if job.moments is None and job.structure != "dense":
        return compress(a, structure=job.structure, rng=_generator(job), **asked)
    names = _structures(job.structure)
    others = [name for name in names if name != "dense"]
    found: list[Operator] = []
    with suppress(UnmetError) if "dense" in names else nullcontext():
        if others:
            found.append(_in_metric(a, compress(a, structure=others, rng=_generator(job), **asked), job))
    if "dense" in names:
        found.append(quantize_dense(a, metric=job.moments, rng=_generator(job), **asked))
    return _best(found, job)


def with_low_rank(structure: Structures) -> bool:
    """Whether factors of low rank are asked for by name."""
    return structure == "low_rank" if isinstance(structure, str) else "low_rank" in structure


def _of_low_rank_or(a: Array, job: Job, nbytes: int) -> Operator:
    """Return factors of low rank in codes, or the best of the other structures that are asked for."""
    found: list[Operator] = []
    others = [name for name in _structures(job.structure) if name != "low_rank"]
    with suppress(UnmetError) if others else nullcontext():
        found.append(in_codes(a, nbytes=nbytes, metric=job.moments, rng=_generator(job), workers=job.workers))
    with suppress(UnmetError) if found else nullcontext():
        if others:
            found.append(_coded(a, job._replace(structure=others if others != ["dense"] else "dense")))
    return _best(found, job)


def _structures(asked: Structures) -> list[Structure]:
    """Return what operators may be that are for a metric: butterflies are found without it, and only if asked for."""
    if isinstance(asked, str):
        return [*_BY_ENTRIES, "dense"] if asked == "auto" else [asked]
    return list(asked)


def _best(found: Sequence[Operator], job: Job) -> Operator:
    if job.rtol is None:
        return min(found, key=lambda op: (_counted(op), op.nbytes))
    fitting = [op for op in found if _counted(op) <= job.rtol]
    if not fitting:
        raise UnmetError(f"rtol: {job.rtol:.3g} is not met in the metric: {min(map(_counted, found)):.3g} is reached")
    return min(fitting, key=lambda op: op.nbytes)


def _in_metric(a: Array, op: Operator, job: Job) -> Operator:
    """Return an operator with its error in the metric."""
    metric = as_metric(job.moments, a.shape[1])
    assert metric is not None
    error = measure_in_metric(np.asarray(a), op, metric)
    return op._viewed(_metric_errors=(error if np.isfinite(error) else np.nan, np.nan))


def _counted(op: Operator) -> float:
    """Return the error in the metric, that of all entries where it is not known."""
    return op.relative_error if np.isnan(op.metric_error) else op.metric_error


def _generator(job: Job) -> np.random.Generator:
    text = f"{job.part.name}\n{job.part.first}".encode("utf-8", "surrogatepass")
    return np.random.default_rng([job.seed, int.from_bytes(hashlib.sha256(text).digest()[:8], "little")])


def _matrix_of(moments: SecondMoments | Array) -> Array:
    return moments.matrix if isinstance(moments, SecondMoments) else np.asarray(moments)
