"""Turns a matrix into float butterfly factors on any chain, with the error known from a ledger."""

from __future__ import annotations

import logging
from functools import partial
from operator import index
from typing import Any, Literal, overload

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.sampled import check_products
from bitterfly.advice import warn_if_large
from bitterfly.chains.chain import Chain
from bitterfly.chains.radices import Radices
from bitterfly.factorization.balanced import balanced
from bitterfly.factorization.digits import rank_one_chains
from bitterfly.factorization.greedy import greedy
from bitterfly.factorization.interpolative import in_skeletons
from bitterfly.factorization.orderings import Ordering, Permute, candidate_orderings, sides_of
from bitterfly.factorization.scaling import rescaled
from bitterfly.factorization.search import (
    WORTHWHILE,
    Choice,
    IncompressibleError,
    best_ordering,
    choose,
    rank_one_ordering,
    stored_bytes,
    thinnest,
    worth_finding,
)
from bitterfly.factorization.skeletons import from_skeletons
from bitterfly.factorization.splits import Ledger
from bitterfly.factorization.truncated import truncated_svds
from bitterfly.inputs import Array, Permutations, as_number, as_permutation, as_uint32, check_rtol, meant
from bitterfly.operators.butterfly import ButterflyOperator
from bitterfly.operators.contract import ButterflySum
from bitterfly.precision import rounding_term, split_rounding
from bitterfly.sources.given import (
    ArraySource,
    EntrySource,
    OperatorSource,
    SliceableSource,
    Source,
    as_source,
    at_hand,
)
from bitterfly.workers import building_workers, get_workers, set_workers

_log = logging.getLogger("bitterfly")

_DEFAULT_SEED = 0
_TALL = 4  # rows a column from which a search works on the transpose
_SURPRISE = 1.25  # times the entries predicted, from which on other chains are tried

Order = Literal["left_to_right", "balanced"]


@overload
def factorize(
    a: Any,
    chain: Chain | None = None,
    *,
    shape: tuple[int, int] | None = None,
    rtol: float | None = None,
    permute: Permute = "auto",
    order: Order = "left_to_right",
    terms: Literal[1] = 1,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> ButterflyOperator: ...
@overload
def factorize(
    a: Any,
    chain: Chain | None = None,
    *,
    shape: tuple[int, int] | None = None,
    rtol: float | None = None,
    permute: Permute = "auto",
    order: Order = "left_to_right",
    terms: int,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> ButterflyOperator | ButterflySum: ...
def factorize(
    a: Any,
    chain: Chain | None = None,
    *,
    shape: tuple[int, int] | None = None,
    rtol: float | None = None,
    permute: Permute = "auto",
    order: Order = "left_to_right",
    terms: int = 1,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> ButterflyOperator | ButterflySum:
    """Approximate a matrix by a product of butterfly factors.

    Parameters
    ----------
    a : array_like, shape (m, n), or callable
        Real or complex matrix. float32, float64, complex64 and complex128 are worked on as they are, with any strides,
        read-only or memory-mapped; other types are converted (float16 to float32, integers to float64). Or anything
        with a shape, a dtype and slices, all of which is read once (above 1 GiB to a temporary file). Or an entry
        function ``entry(rows, cols)`` that returns the block of entries at ``rows x cols``, two vectors of indices:
        above 16 MiB no dense matrix is formed; `rtol` or a chain is needed. Or a LinearOperator: products with vectors
        and blocks of them are all that is asked of it, see Notes.
    chain : Chain, optional
        The sparsity patterns of the factors. If it is larger than the matrix, that is padded with zeros. Default: with
        `rtol`, a search; else ``Chain.square_dyadic(n)``, or ``Chain.for_shape((m, n))`` where `a` is not a square of a
        power of two.
    shape : (m, n), optional
        Shape of the matrix that an entry function stands for.
    rtol : float, optional
        Largest relative error, in the Frobenius norm. Without a chain, orderings, chain and ranks are chosen for the
        least storage that meets it; with one, ranks are made as small as it allows.
    permute : "auto", "recursive", None or (rows, columns)
        Permutation of the matrix before it is factorized. "auto" compares the natural order and the reversed digits of
        rows and of columns on a few blocks of the matrix and keeps the best. A pair gives each side as None (natural),
        "bit_reversal" (the digits of the chain are reversed) or an index array: ``a[rows][:, columns]`` is factorized.
        "recursive" compares all pairs of the eight classical permutations of `ordering.recursive` (transforms of sizes
        2^p may have a lower rank in one of them: the DCT-IV has rank 2 instead of 4).
        In a search, an index array (of points along a curve, say) is an order in which neighbours belong together, and
        its digits may be reversed on top.
    order : "left_to_right" or "balanced"
        Of the splits on a given chain. "balanced" splits in the middle first, holds the whole matrix in memory and
        mostly errs less where the error is large; it does not lower ranks.
    terms : int
        Number of butterflies on `chain` that are summed, each of what those before leave (greedily).
    rng : numpy.random.Generator or int, optional
        Chooses the blocks that are looked at. Default: a fixed seed, so that results are reproducible.
    workers : int, optional
        Threads, on which results do not depend. Default: those of `set_workers` or BITTERFLY_NUM_THREADS, else all
        cores, since a matrix is factorized once (products use one thread).

    Returns
    -------
    ButterflyOperator, or ButterflySum with several terms
        Its ``relative_error`` is ``||a - op||_F / ||a||_F``: the energy discarded by all splits plus a bound on the
        rounding errors; it never lies below the true error. From an entry function it is an estimate.

    Raises
    ------
    TypeError, ValueError
        For input that is no finite matrix, chains that do not fit, or where `rtol` cannot be met.
    IncompressibleError
        Where a search finds no chain that is smaller than the matrix.

    Notes
    -----
    Each split replaces blocks by their best approximation of the junction's rank, ``U (U^H block)`` with orthonormal
    columns in ``U`` (which a search keeps as ``P [I; T]``): the hierarchical algorithm of Le, Zheng, Riccietti and
    Gribonval, *Butterfly factorization with error guarantees* (2024). The discarded energies add up exactly to the
    squared error, which with `L` factors is at most ``sqrt(L - 1)`` times that of the best possible factors; with two
    factors (:meth:`Chain.monarch`) it is the least possible. Blocks are divided by their Gram matrices; singular values
    below the square root of the precision are taken again from the rotated rows.

    A LinearOperator is multiplied with blocks of unit vectors, ``min(m, n)`` of them in all where that is at most 4096,
    else ``m`` on a given chain; up to 11 more products compare it with itself and with its adjoint. Without a chain,
    for larger sizes, the blocks in the middle of the chain, of rank `r`, are recovered from
    about ``5 r sqrt(n)`` random vectors (generalized Nystrom), and skeletons are chosen from these.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> a = np.fft.fft(np.eye(256))
    >>> op = bitterfly.factorize(a)
    >>> op.relative_error < 1e-13
    True
    >>> x, k = np.linspace(0, 1, 512) ** 2, np.arange(-256, 256)
    >>> op = bitterfly.factorize(np.exp(-2j * np.pi * np.outer(x, k)), rtol=1e-3)
    >>> op.relative_error <= 1e-3
    True
    """
    require_chain(chain)
    rtol = None if rtol is None else as_number(rtol, "rtol")
    check_rtol(rtol)
    if order not in ("left_to_right", "balanced"):
        raise ValueError(f"order: expected 'left_to_right' or 'balanced', got {order!r}")
    if index(terms) < 1:
        raise ValueError(f"terms: expected a positive integer, got {terms}")
    with set_workers(building_workers(workers)), np.errstate(under="ignore"):
        source, seed = as_source(a, shape), _seed(rng)
        if chain is None and rtol is None:
            chain = _default_chain(source)
        if chain is None:
            assert rtol is not None
            if terms > 1 or order != "left_to_right":
                raise ValueError("chain: expected a Chain beside terms and order, which a search does not use")
            return _searched(at_hand(source), rtol, permute, seed, WORTHWHILE)
        _check_fit(source, chain)
        source = at_hand(source)
        one = partial(_on_chain, chain=chain, permute=permute, order=order, seed=seed)
        op = greedy(source, terms, rtol, one) if terms > 1 else one(source, rtol=rtol)
        if isinstance(source, OperatorSource):
            check_products(source, op)
    _check_met(op, rtol)
    if rtol is None:
        warn_if_large(op.relative_error, "rtol= searches for larger ranks and other chains")
    return op


def by_spectra(a: Any, chain: Chain, rtol: float | None = None, workers: int | None = None) -> ButterflyOperator:
    """Factorize in the natural order, from all singular values of all blocks, of at most the ranks of the chain.

    `factorize` ends the iteration for a single singular vector once little is to be gained. With two factors, this is
    the best approximation in the Frobenius norm.

    Raises
    ------
    ValueError
        As `factorize`.
    """
    natural: Permutations = (None, None)
    with set_workers(building_workers(workers)), np.errstate(under="ignore"):
        source = as_source(a, None)
        _check_fit(source, chain)
        source, radices = at_hand(source), Radices.of(chain)
        if rtol is None:
            return _operator(source, natural, *rescaled(source, natural, radices, chain.ranks, lambda *_: 0.0, 0.0))
        op = _adaptive(source, natural, radices, rtol, chain.ranks, chain.ranks)
    _check_met(op, rtol)
    return op


def _check_met(op: ButterflyOperator | ButterflySum, rtol: float | None) -> None:
    if rtol is not None and not op.relative_error <= rtol:
        raise ValueError(
            f"rtol: the relative error reached is {op.relative_error:.3g}, more than the {rtol:.3g} asked for: the "
            "matrix is not that close to this chain in the orderings tried; larger ranks, or no chain (a search), "
            "may meet it"
        )


def searched(
    source: Source,
    rtol: float,
    permute: Permute = "auto",
    rng: np.random.Generator | int | None = None,
    worthwhile: float = WORTHWHILE,
) -> ButterflyOperator:
    """Search as `factorize` does without a chain; refuse what takes more than this share of the bytes of the matrix.

    Raises
    ------
    IncompressibleError, ValueError
        As `factorize`.
    """
    return _searched(source, rtol, permute, _seed(rng), worthwhile)


def require_chain(chain: Any, takes_bits: bool = False) -> None:
    """Raise a TypeError unless `chain` is one, or None; a number there is one whose name was left out."""
    if chain is None or isinstance(chain, Chain):
        return
    raise TypeError(f"chain: expected a Chain, got {type(chain).__name__}{meant(chain, takes_bits)}")


def _seed(rng: np.random.Generator | int | None) -> int:
    if rng is None:
        return _DEFAULT_SEED
    return int(np.random.default_rng(rng).integers(1 << 62))


def _default_chain(source: Source | SliceableSource) -> Chain:
    if isinstance(source, EntrySource):
        raise ValueError("rtol: expected a tolerance, or a chain, beside an entry function")
    m, n = source.shape
    return Chain.square_dyadic(n) if m == n and n >= 2 and n & (n - 1) == 0 else Chain.for_shape(source.shape)


def _on_chain(
    source: Source, *, chain: Chain, rtol: float | None, permute: Permute, order: Order, seed: int
) -> ButterflyOperator:
    radices, ranks = Radices.of(chain), chain.ranks
    if isinstance(permute, str):
        ordering = best_ordering(source, candidate_orderings(source, permute), radices, ranks, seed)
        permutations = ordering.permutations(radices)
    else:
        permutations = _fixed(permute, chain)
    if order == "balanced":
        return _operator(source, permutations, *balanced(source, permutations, radices, ranks))
    if chain.is_square_dyadic and isinstance(source, ArraySource) and source.shape == chain.shape:
        return _dyadic(source.array, permutations)
    if rtol is not None and max(ranks, default=1) > 1:
        return _adaptive(source, permutations, radices, rtol, ranks, ranks)
    return _operator(source, permutations, *rescaled(source, permutations, radices, ranks))


def _check_fit(source: Source | SliceableSource, chain: Chain) -> None:
    if any(have > room for have, room in zip(source.shape, chain.shape, strict=True)):
        raise ValueError(f"chain: of shape {chain.shape}, too small for a matrix of shape {source.shape}")
    for at, (pattern, rank) in enumerate(zip(chain, chain.ranks, strict=False)):
        if rank > pattern[1]:
            raise ValueError(
                f"chain: the junction of factors {at} and {at + 1} has rank {rank}, more than the {pattern[1]} "
                f"rows of a block of factor {at}, {pattern}"
            )


def _fixed(permute: Permute, chain: Chain) -> Permutations:
    if permute is None:
        return None, None
    rows, columns = sides_of(permute)
    return (
        as_permutation(rows, chain.row_digits, "permute[0]"),
        as_permutation(columns, chain.column_digits, "permute[1]"),
    )


def _dyadic(matrix: Array, permutations: Permutations) -> ButterflyOperator:
    rows, columns = (as_uint32(p) for p in permutations)
    values, discarded = _core.factorize(matrix, rows, columns, get_workers())
    error = float(discarded) + rounding_term(matrix.shape[0], matrix.dtype)
    _log.info("factorized %s x %s: relative error %.2e", *matrix.shape, error)
    return ButterflyOperator.from_values(values, permutations=permutations, relative_error=error, error_kind="ledger")


def _searched(source: Source, rtol: float, permute: Permute, seed: int, worthwhile: float) -> ButterflyOperator:
    """Search chains; tall arrays as their transposes, since splits work on Gram matrices of the rows of a block."""
    m, n = source.shape
    if not (isinstance(source, ArraySource) and permute == "auto" and m > _TALL * n):
        return _found(source, rtol, permute, seed, worthwhile)
    try:
        op: ButterflyOperator = _found(source.transposed(), rtol, permute, seed, worthwhile).T
        return op
    except IncompressibleError as error:
        raise error.transposed() from None


def _found(source: Source, rtol: float, permute: Permute, seed: int, worthwhile: float) -> ButterflyOperator:
    least = float(np.finfo(source.dtype).eps)
    if not rtol > least:
        raise ValueError(f"rtol: {rtol:.3g} is below the precision of {source.dtype}, {least:.2g}{_finer(source)}")
    orderings = candidate_orderings(source, permute)
    slim = thinnest(source, orderings, rtol, seed)
    found = _rank_one(source, orderings, rtol, permute, seed, slim)
    limit = np.inf if found is None else found.store.nbytes
    choices = choose(source, orderings, rtol, seed, limit, slim, worthwhile)
    if isinstance(source, OperatorSource):
        source.forget()
    op = _smallest(source, choices, rtol, seed, found)
    m, n = source.shape
    ratio = op.nbytes / (m * n * source.dtype.itemsize)
    if ratio > worthwhile:
        raise IncompressibleError(
            f"a: not a butterfly at rtol={rtol:.3g}: the chain chosen from sampled blocks needs the ranks "
            f"{op.chain.ranks}, {ratio:#.2g} times the bytes of the {m} x {n} matrix; pass a chain to factorize "
            "all the same",
            max(op.chain.ranks, default=0),
            storage=ratio,
        )
    if not op.relative_error <= rtol:
        raise ValueError(
            f"rtol: {rtol:.3g} is not met, full ranks reach {op.relative_error:.3g} in {source.dtype}{_finer(source)}"
        )
    return op


def _finer(source: Source) -> str:
    """Say what would meet a tolerance that single precision cannot."""
    wide = np.result_type(source.dtype, np.float64)
    return "" if wide == source.dtype else f"; in {wide} it may be met: pass a.astype({str(wide)!r})"


def _rank_one(
    source: Source, orderings: list[Ordering], rtol: float, permute: Permute, seed: int, slim: Choice | None
) -> ButterflyOperator | None:
    """Return the smallest chain of rank one that meets `rtol`: with digits in any order, or the default chain.

    It takes fewer bytes than the truncated SVDs of a thin matrix.
    """
    candidates = list(rank_one_chains(source, rtol)) if permute == "auto" else []
    limit = source.shape[0] * source.shape[1] * source.dtype.itemsize
    limit = limit if slim is None else min(limit, slim.nbytes)
    default = Radices.of(Chain.for_shape(source.shape))
    if not candidates and len(default.rows) > 1 and _rank_one_bytes(source, default) < min(limit, worth_finding(slim)):
        ordering = rank_one_ordering(source, orderings, default, rtol, seed)
        candidates = [] if ordering is None else [(ordering, default)]
    found: ButterflyOperator | None = None
    for ordering, radices in candidates:
        nbytes = _rank_one_bytes(source, radices)
        if nbytes >= (limit if found is None else found.store.nbytes):
            continue
        try:
            op = _with_ranks(source, Choice(ordering, radices, (1,) * (len(radices.rows) - 1), nbytes), rtol, seed)
        except ValueError as error:  # skeletons, of entries that samples showed wrongly
            _log.debug("%s", error)
            continue
        _log.info("radices %s, %s: relative error %.2e", radices.rows, ordering.name, op.relative_error)
        if op.relative_error <= rtol and op.store.nbytes <= nbytes:
            found = op
    return found


def _rank_one_bytes(source: Source, radices: Radices) -> int:
    return stored_bytes(radices.chain((1,) * (len(radices.rows) - 1)), source.shape, source.dtype)


def _with_ranks(source: Source, choice: Choice, rtol: float, seed: int) -> ButterflyOperator:
    """Factorize with the ranks predicted; from skeletons with those that they need."""
    if not isinstance(source, ArraySource):
        return from_skeletons(source, choice, rtol, seed)
    permutations = choice.ordering.permutations(choice.radices)
    op = _as_dyadic(source, choice, permutations)
    if op is None:
        op = _lean(_operator(source, permutations, *rescaled(source, permutations, choice.radices, choice.ranks)), rtol)
    return op


def _smallest(
    source: Source, choices: list[Choice], rtol: float, seed: int, found: ButterflyOperator | None
) -> ButterflyOperator:
    """Factorize with the first choice; with the others too where that takes much more than predicted."""
    best = found
    for at, choice in enumerate(choices):
        if at > 0 and best is not None and best.store.nbytes <= _SURPRISE * choice.nbytes:
            break
        try:
            op = _of_choice(source, choice, rtol, seed)
        except ValueError:
            if best is None:
                raise
            continue
        if best is None or (op.relative_error <= rtol and op.store.nbytes < best.store.nbytes):
            best = op
    assert best is not None
    return best


def _of_choice(source: Source, choice: Choice, rtol: float, seed: int) -> ButterflyOperator:
    if not isinstance(source, ArraySource):
        return from_skeletons(source, choice, rtol, seed)
    permutations = choice.ordering.permutations(choice.radices)
    op = _as_dyadic(source, choice, permutations)
    if op is None or not op.relative_error <= rtol:
        svds = None
        if all(side is None for side in permutations) and choice.radices.rows == (source.shape[0], 1):
            svds = truncated_svds(source.array, choice.radices, rtol, choice.ranks[0])
        if svds is not None:
            op = _operator(source, permutations, *svds)
        else:
            op = _adaptive(source, permutations, choice.radices, rtol, choice.ranks, None)
        op = _lean(op, rtol)
    return op


def _lean(op: ButterflyOperator, rtol: float) -> ButterflyOperator:
    """Return the operator in skeleton form, unless its rounding takes the error beyond `rtol`."""
    lean = in_skeletons(op)
    return lean if lean.relative_error <= rtol or not op.relative_error <= rtol else op


def _adaptive(
    source: Source,
    permutations: Permutations,
    radices: Radices,
    rtol: float,
    expected: tuple[int, ...],
    most: tuple[int, ...] | None,
) -> ButterflyOperator:
    """Factorize with the smallest ranks, at most those of `most`, that spend what `rtol` allows evenly."""
    rounding = split_rounding(radices.rows, expected, source.dtype)
    if not 2 * rounding < rtol:
        raise ValueError(
            f"rtol: {rtol:.3g} is below the rounding errors of {source.dtype}, about {2 * rounding:.2g}{_finer(source)}"
        )
    splits = len(radices.rows) - 1

    def rule(at: int, total: float, discarded: float) -> float:
        return ((rtol - 2 * rounding) ** 2 * total - discarded) / (splits - at)

    return _operator(source, permutations, *rescaled(source, permutations, radices, most, rule, 1e-3 * rtol**2))


def _as_dyadic(source: Source, choice: Choice, permutations: Permutations) -> ButterflyOperator | None:
    """Return the square dyadic factorization where that is what was chosen."""
    dyadic = set(choice.radices.rows) == set(choice.radices.columns) == {2} and set(choice.ranks) == {1}
    dyadic = dyadic and choice.radices.shape == source.shape
    return _dyadic(source.array, permutations) if dyadic and isinstance(source, ArraySource) else None


def _operator(
    source: Source, permutations: Permutations, factors: list[Array], ranks: tuple[int, ...], ledger: Ledger
) -> ButterflyOperator:
    rows = [f.shape[1] for f in factors]
    error = ledger.relative + split_rounding(rows, ranks, source.dtype, full_rows=True)
    _log.info("factorized %s x %s: ranks %s, relative error %.2e", *source.shape, ranks, error)
    return ButterflyOperator(
        factors, shape=source.shape, permutations=permutations, relative_error=error, error_kind="ledger"
    )
