"""A matrix to the smallest operator: the fewest bytes that meet an error, the least error of given bytes, measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from bitterfly.advice import quiet, warn_if_large, warn_if_larger
from bitterfly.chains.chain import Chain
from bitterfly.compression.request import Structure, checked_request
from bitterfly.compression.stages import Progress, Work
from bitterfly.compression.structures import Found, best_structure
from bitterfly.factorization.factorize import require_chain
from bitterfly.factorization.orderings import Permute
from bitterfly.inputs import UnmetError
from bitterfly.operators.contract import Operator
from bitterfly.operators.report import CompressReport, Tried
from bitterfly.sources.given import as_source, at_hand
from bitterfly.workers import building_workers, set_workers

__all__ = ["CompressReport", "compress"]


def compress(
    a: Any,
    chain: Chain | None = None,
    *,
    shape: tuple[int, int] | None = None,
    rtol: float | None = None,
    bits: float | None = None,
    nbytes: int | None = None,
    structure: Literal["auto"] | Structure | Sequence[Structure] = "auto",
    permute: Permute = "auto",
    rng: np.random.Generator | int | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Operator:
    """Compress a matrix to an operator in few bits: of the structure that it has, else dense codes.

    Parameters
    ----------
    a : array_like, shape (m, n), or what else `factorize` takes
        Real or complex matrix.
    chain : Chain, optional
        As for `factorize`. Default: the default chain of the shape where that meets `rtol`, or errs no more than codes
        of so many `bits`; else a search.
    shape : (m, n), optional
        Shape of the matrix that an entry function stands for.
    rtol : float, optional
        Largest relative error in the Frobenius norm. Without `bits`, the fewest bits whose measured error meets it are
        taken. In a search, the float factors are allowed half of it.
    bits : float, optional
        As for `quantize`: most bits per number stored in the factors, or the width of its integer; of dense codes, at
        most 8 per number of the matrix. With `rtol` as well, the error at that width is checked. ``op.mean_bits``, and
        ``op.report.bits``, say how many were needed.
    nbytes : int, optional
        Instead of `bits`: the least error found in at most so many bytes, all buffers counted; without a chain, float
        factors of several tolerances are tried. With `rtol` as well, the error is checked. At least one of `rtol`,
        `bits` and `nbytes` is needed.
    structure : "auto", a name or a list of names, optional
        What the operator may be: "permutation"; "toeplitz", circulant ones too; "hankel"; "sparse", the entries that
        are not zero, by rows or by diagonals; "kronecker", a product of two or, coded, a sum of such; "low_rank",
        coded factors; "tensor_train", coded cores of as many digits as the sizes have prime factors; "butterfly",
        packed; "dense", window codes as of `quantize_dense` and what stands beside them; "cuts", of a real matrix.
        "auto": the best of all, and the sum of a butterfly and window codes: see Notes. With a chain, and for what is
        not held as an array (entry functions of more than 16 MiB, operators of more than 4096 x 4096), that is a
        butterfly; with `bits` a butterfly or dense codes.
    permute, rng
        Order of rows and columns, and the source of the probe's choices, see `factorize`, and of the rotations of dense
        codes.
    progress : callable, optional
        Called as ``progress(stage, fraction)`` with the stage "look" (at the entries), "factorize", "quantize",
        "measure", "allocate" (bits of each factor) or "dense" and the share of it that is done.
    workers : int, optional
        Threads of all stages, as for `factorize`.

    Returns
    -------
    Operator
        Of the class of its structure. A sum is one of dense codes and what stands beside them: outliers, a head, a
        butterfly. Its ``relative_error`` is measured against all of `a` (where that is an entry function of more than
        16 MiB, or an operator of more than 4096 x 4096: estimated, an upper bound with a confidence of 97.7 %), and
        ``op.report`` is a `CompressReport`.

    Raises
    ------
    ValueError
        Where none or a bad value of `rtol`, `bits`, `nbytes` is given, where `rtol` cannot be met (the message says
        what was reached) or only in more bytes than those of the matrix, and where `nbytes` are too few.
    IncompressibleError
        Where `a` is no butterfly to that accuracy, and dense codes are not allowed or do not reach it.
    TypeError
        Where `a` is no matrix of numbers.

    Notes
    -----
    A look at the entries finds the first four and single Kronecker products; some singular values of the matrix, and of
    its entries in other orders, tell what low rank, sums of Kronecker products and tensor trains come to; where one of
    them takes next to nothing, it is the answer. Others are made where they are expected to be better than what was
    found, cuts below one bit an entry. What dense codes take and how they err follows from the shape of the matrix;
    what a butterfly does is known from the blocks that a search looks at, from float factors, then from codes. Of the
    two, the one of fewer bytes is taken for `rtol`, the one of the lesser error for `nbytes` and `bits`; where a
    butterfly is better by a factor of 1.3, or with `bits` of half of the bytes and float factors that err at most twice
    as much, no dense codes are made, and where its float factors are too many or too far off, none of it. For `rtol`
    and `nbytes`, a butterfly that holds the structure of a matrix below its noise is then added to dense codes of the
    rest, where that is predicted to gain 10 %. Sums of dense codes reach errors of 2e-6 in single, 3e-13 in double
    precision.

    Measuring takes ``m n log n`` operations, by the products with panels of the identity; a second dense matrix is
    formed only of what a butterfly leaves to dense codes.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> op = bitterfly.compress(np.fft.fft(np.eye(64)), rtol=1e-10)
    >>> op.report.bits, op.report.relative_error < 1e-10
    (0.875, True)
    """
    require_chain(chain, takes_bits=True)
    request = checked_request(rtol, bits, nbytes, structure, chain, permute, rng)
    with set_workers(building_workers(workers)), quiet(), np.errstate(under="ignore"):
        work = Work(at_hand(as_source(a, shape)), progress)
        found, tried = best_structure(work, request)
    if request.nbytes is not None and request.rtol is not None and not found.known.error <= request.rtol:
        raise UnmetError(f"rtol: {request.rtol:.3g} is not met: {nbytes} bytes reach {found.known.error:.3g}")
    op = _reported(work, found, tried, request.rtol)
    if rtol is None:
        refusing = "; rtol= refuses what is no butterfly" if "dense" not in request.structures else ""
        warn_if_large(op.relative_error, f"more bits or bytes, or no chain{refusing}")
    if bits is not None:
        warn_if_larger(op.nbytes, work.nbytes, "fewer bits, or nbytes=, which is never exceeded")
    return op


def _reported(work: Work, found: Found, tried: tuple[Tried, ...], rtol: float | None) -> Operator:
    """Return the operator with its error and its report."""
    op, facts = found.op, found.known.facts
    report = CompressReport(
        shape=work.source.shape,
        dtype=np.dtype(op.dtype).name,
        rtol=rtol,
        structure=found.structure,
        tried=tried,
        bits=op.mean_bits,
        **facts,
        nbytes=op.nbytes,
        dense_nbytes=work.nbytes,
        bits_per_number=op.bits_per_number,
        bits_per_entry=op.bits_per_entry,
        seconds=work.seconds,
    )
    return op._viewed(_fact=found.known, report=report)
