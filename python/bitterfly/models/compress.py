"""A model to a file of operators: which matrices, in how many bytes each, part by part; then all in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from itertools import groupby
from typing import Any

import numpy as np

from bitterfly.compression.request import checked_request
from bitterfly.dense.low_ranks.plans import Plans
from bitterfly.files.replacing import Path, check_target, replacing
from bitterfly.inputs import UnmetError, as_bytes, as_number, check_rtol
from bitterfly.models.coding import Coded, Structures, cleared, held, with_low_rank
from bitterfly.models.given import given
from bitterfly.models.jobs import Jobs, Progress
from bitterfly.models.loaded import CompressedModel
from bitterfly.models.moments import Seen, StoredMoments
from bitterfly.models.rates import Curve, Share, WithLowRank, curve, least_of, shared
from bitterfly.models.sensitivity import Loss, Losses, by_default, checked_losses, losses_of_probes
from bitterfly.models.tensors import Tensor, nbytes_of, write
from bitterfly.models.together import model_file
from bitterfly.models.units import Part, is_finite, kind_of, parts_of

_FILLED = 0.9  # of the bytes of codes: what takes less has a structure, and is no better with more

Sensitivity = Mapping[str, float | Sequence[float]] | Loss | None


def compress_model(
    model: Path | Mapping[str, Any],
    out: Path,
    *,
    nbytes: int | None = None,
    ratio: float | None = None,
    rtol: float | None = None,
    moments: Mapping[str, Any] | None = None,
    sensitivity: Sensitivity = None,
    structure: Structures = "auto",
    workers: int | Executor | None = None,
    rng: np.random.Generator | int | None = 0,
    progress: Progress | None = None,
) -> CompressedModel:
    """Compress all matrices of a model, each in as many bits as it needs, into one file.

    Parameters
    ----------
    model : str, path-like or mapping of names to arrays
        A safetensors file, the index of several, a folder with one of these, or arrays. Files are mapped: of the model
        a few matrices are in memory at a time.
    out : str or path-like
        The file appears, or replaces an older one, only once it is complete. Until then the matrices that are done lie
        in a folder beside it, ``out + ".parts"``: after an interruption, the same call goes on with these and ends with
        the same file.
    nbytes : int, optional
        The least loss in at most so many bytes: of all operators and of all tensors that are left alone. Names and
        facts, about one kilobyte for each matrix, come on top.
    ratio : float, optional
        Instead of `nbytes`: the share of the bytes of the model in half precision, that is of 2 for each floating-point
        number of every tensor in the model, whatever its type, and of all other tensors as they are.
    rtol : float, optional
        Instead of these: the fewest bytes in which each matrix (each part of one) errs by at most `rtol`; in the metric
        of its inputs where there is one. Those that codes would not make smaller are left alone.
    moments : mapping of names to SecondMoments or arrays, optional
        Of the inputs of matrices, as ``metric`` of `quantize_dense`; `load_moments` reads some from a file. Those that
        have seen no inputs do not count.
    sensitivity : mapping of names to floats, or callable, optional
        What the model loses by an error. A callable gets a mapping of all names to arrays, and returns the loss, such
        as that on a few texts: it is called once for the model as it is, and once for each part, with this alone in
        codes of 2 bits. A call that goes on asks again for two of these losses, and for all if they differ. A mapping
        has these losses of each matrix, or of each of its parts, such as the ``sensitivities`` of a model that was
        compressed before. Losses are taken to add up, and to grow with the square of the error. Default: that of each
        part is the root of its number of entries.
    structure : "auto", "dense", or others as for `compress`, optional
        What operators may be. With a metric: what a look at the entries finds, or dense codes. Where "low_rank" is
        named and bytes are asked for, matrices may become products of two factors in codes, in the metric, beside what
        else is named: below one bit a number, and where a few triples hold what counts. That takes the singular values
        of all matrices, and codes of two bits of all of them first.
    workers : int or concurrent.futures.Executor, optional
        How many matrices are coded at a time, by threads; -1 stands for all cores. Or an executor, of processes as
        well, such as ``joblib.externals.loky.get_reusable_executor()``. The file does not depend on it.
    rng : numpy.random.Generator or int, optional
        Draws what is random. With None, an interrupted call cannot go on.
    progress : callable, optional
        Called as ``progress(stage, fraction)``, with "look", "probe", "code", "recode" (where the structure of some
        matrices leaves bytes to others) and "write".

    Returns
    -------
    CompressedModel
        As `load` returns it.

    Raises
    ------
    ValueError
        Where files are damaged, none or more than one of `nbytes`, `ratio`, `rtol` is given, and where what is asked
        for cannot be met. The message names the argument, or the tensor.
    TypeError
        Where a model has numbers that safetensors does not have.
    OSError
        Where files cannot be read or written; BlockingIOError where another call is writing `out`.

    Notes
    -----
    Coded are floating-point tensors of two or more dimensions, as matrices of the first one times all others, that have
    at least 16 rows and columns and 4096 entries, all of them finite: linear layers, convolutions, tables such as
    embeddings. Tables of 4096 rows and more are coded in four parts, first rows first. All others stay as they are, in
    their own type.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from bitterfly import models
    >>> rng = np.random.default_rng(0)
    >>> layers = {"first": rng.standard_normal((128, 256)), "second": rng.standard_normal((64, 128))}
    >>> weights = {f"{name}.weight": w.astype(np.float16) for name, w in layers.items()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small = models.compress_model(weights, f"{folder}/small.safetensors", ratio=0.25)
    ...     small.nbytes <= 0.25 * small.half_nbytes, small["first.weight"].shape
    (True, (128, 256))
    """
    rtol, ratio = (None if x is None else as_number(x, name) for x, name in ((rtol, "rtol"), (ratio, "ratio")))
    _check_request(nbytes, ratio, rtol, structure)
    file = given(model)
    target = os.path.realpath(os.fsdecode(out))
    inputs = {each.held for each in file.tensors.values() if isinstance(each.held, str)}
    check_target(target, sorted(inputs | ({moments.path} if isinstance(moments, StoredMoments) else set())))
    moments = Seen(_named(moments, file.tensors, "moments"))
    told = progress or (lambda stage, fraction: None)
    parts = _parts(file.tensors, moments, told)
    budget = _budget(file.tensors, parts, nbytes, ratio, with_low_rank(structure))
    seed = int(np.random.default_rng(rng).integers(1 << 63))
    jobs = Jobs(parts, moments, structure, seed, f"{target}.parts", workers, told)
    settings: dict[str, Any] = {"nbytes": nbytes, "ratio": ratio, "rtol": rtol, "seed": seed}
    settings["structure"] = structure if isinstance(structure, str) else list(structure)
    with held(jobs.folder):
        if budget is None:
            assert rtol is not None
            parts, coded = _worthwhile(parts, jobs.of_error(rtol, "code"))
            losses = [Losses()] * len(parts)
        else:
            coded, losses = _in_bytes(file.tensors, parts, jobs, budget, sensitivity)
        told("write", 0.0)
        tensors, metadata = model_file(file, parts, coded, losses, settings)
        with replacing(target, jobs.folder) as opened:
            write(opened, tensors, metadata)
        cleared(jobs.folder)
    told("write", 1.0)
    return CompressedModel(target)


def _check_request(nbytes: Any, ratio: float | None, rtol: float | None, structure: Any) -> None:
    if sum(x is not None for x in (nbytes, ratio, rtol)) != 1:
        raise ValueError("nbytes, ratio, rtol: expected one of them, for example ratio=0.25")
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"ratio: expected a number above 0, at most 1, got {ratio}")
    check_rtol(rtol)
    checked_request(0.5, None, None, structure, None, "auto", None)


def _named(given: Mapping[str, Any] | None, tensors: Mapping[str, Tensor], what: str) -> Mapping[str, Any]:
    """Return what is given by names of tensors; refuse others."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise TypeError(f"{what}: expected a mapping of names of tensors, got {type(given).__name__}")
    for name in given:
        if name not in tensors:
            raise ValueError(f"{what}: the model has no tensor {name!r}")
    return given


def _parts(tensors: Mapping[str, Tensor], moments: Mapping[str, Any], told: Progress) -> list[Part]:
    """Return all parts that are coded, in the order of the model."""
    found: list[Part] = []
    for at, (name, tensor) in enumerate(tensors.items()):
        told("look", at / len(tensors))
        kind = kind_of(name, tensor, name in moments)
        if kind != "plain" and is_finite(tensor):
            found += parts_of(name, kind, tensor)
        elif name in moments:
            raise ValueError(f"moments: {name} is not coded, a tensor {tensor.dtype} of {list(tensor.shape)}")
    told("look", 1.0)
    return found


def _budget(
    tensors: Mapping[str, Tensor], parts: Sequence[Part], nbytes: Any, ratio: float | None, has_low_rank: bool
) -> int | None:
    """Return the bytes that are left for codes; None where an error is asked for."""
    if nbytes is None and ratio is None:
        return None
    whole = as_bytes(nbytes) if ratio is None else int(ratio * nbytes_of(tensors.values()))
    coded = {part.name for part in parts}
    alone = sum(tensor.nbytes for name, tensor in tensors.items() if name not in coded)
    least = alone + sum(least_of(part.shape, has_low_rank) for part in parts)
    if whole < least:
        name, given = ("nbytes", nbytes) if ratio is None else ("ratio", f"{ratio:.3g}, {whole} bytes")
        each = "a few triples of each of the others" if has_low_rank else "1 bit for each number of the others"
        raise UnmetError(
            f"{name}: expected at least {least} bytes, {alone} for tensors left alone and {each}, got {given}"
        )
    return whole - alone


def _worthwhile(parts: Sequence[Part], coded: Sequence[Coded | None]) -> tuple[list[Part], list[Coded]]:
    """Return the parts of tensors that take fewer bytes than as they are."""
    kept: list[tuple[Part, Coded]] = []
    for _, group in groupby(zip(parts, coded, strict=True), key=lambda pair: pair[0].name):
        own = list(group)
        done = [(part, each) for part, each in own if each is not None]
        if len(done) == len(own) and sum(each.nbytes for _, each in done) < own[0][0].tensor.nbytes:
            kept += done
    return [part for part, _ in kept], [each for _, each in kept]


def _in_bytes(
    tensors: Mapping[str, Tensor], parts: Sequence[Part], jobs: Jobs, nbytes: int, sensitivity: Sensitivity
) -> tuple[list[Coded], list[Losses]]:
    """Return all parts of the least loss, and what is known of it for each."""
    curves = [curve(part.shape, 1 if part.name in jobs.moments else None) for part in parts]
    probes: list[Coded] | None = None
    if callable(sensitivity) or jobs.with_low_rank:
        probes = jobs.in_bytes([each.probed for each in curves], "probe")
    if probes is not None and jobs.with_low_rank:
        curves = _with_low_rank(parts, curves, jobs.moments, probes)
    if sensitivity is None:
        losses = by_default(parts)
    elif callable(sensitivity):
        assert probes is not None
        losses = losses_of_probes(sensitivity, tensors, parts, probes)
    else:
        losses = checked_losses(_named(sensitivity, tensors, "sensitivity"), parts)
    shares, coded = _shared_and_coded(jobs, curves, losses, nbytes)
    if sensitivity is None:
        return coded, [Losses()] * len(parts)
    if probes is None:
        return coded, [Losses(loss, share.loss) for loss, share in zip(losses, shares, strict=True)]
    return coded, [Losses(loss, _expected(loss, *both)) for loss, *both in zip(losses, coded, probes, strict=True)]


def _with_low_rank(
    parts: Sequence[Part], curves: Sequence[Curve], moments: Mapping[str, Any], probes: Sequence[Coded]
) -> list[Curve]:
    """Return what factors of low rank take and lose as well, beside the errors of probes."""
    found = list(curves)
    for at, (part, probe) in enumerate(zip(parts, probes, strict=True)):
        if probe.error > 0:
            plans = Plans(part.array(), moments.get(part.name))
            found[at] = WithLowRank(curves[at], plans, probe.error**2)
    return found


def _shared_and_coded(
    jobs: Jobs, curves: Sequence[Curve], losses: Sequence[float], nbytes: int
) -> tuple[list[Share], list[Coded]]:
    """Return the shares of all parts, and these coded; what a structure leaves of its share goes to the others."""
    shares = shared(curves, losses, nbytes)
    coded = jobs.in_bytes([share.nbytes for share in shares], "code")
    taken = [each.taken(share.nbytes) for each, share in zip(curves, shares, strict=True)]
    others = [at for at, each in enumerate(coded) if each.nbytes >= _FILLED * taken[at]]
    if not others or len(others) == len(coded):
        return shares, coded
    left = nbytes - sum(each.nbytes for at, each in enumerate(coded) if at not in others)
    for at, share in zip(
        others, shared([curves[at] for at in others], [losses[at] for at in others], left), strict=True
    ):
        shares[at] = share
    return shares, jobs.in_bytes([share.nbytes for share in shares], "recode")


def _expected(loss: float, coded: Coded, probe: Coded) -> float:
    """Return the loss of codes from that of others, by the squares of both errors."""
    return loss * (coded.error / probe.error) ** 2 if probe.error else 0.0
