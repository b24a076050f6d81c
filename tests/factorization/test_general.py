"""Factorization on any chain: the ledger, optimality, ranks chosen for a tolerance, refusals, sources."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitterfly
from bitterfly import Chain, IncompressibleError, gallery, reference
from bitterfly.chains import families
from bitterfly.chains.radices import Radices
from bitterfly.factorization.orderings import Ordering, orderings

GENERAL = {
    "monarch": Chain.monarch((24, 40), rank=2),
    "dyadic": Chain.butterfly((64, 64), rank=(3, 4, 3, 2), leaf=4, groups=2),
    "prime factors": Chain.for_shape((30, 42)),
    "dense": Chain([(1, 9, 7, 1)]),
    "a and d": Chain([(2, 4, 6, 6), (6, 4, 5, 3)]),
    "tall": Chain.monarch((100, 6), blocks=(2, 3)),
    "wide": Chain.monarch((6, 100), blocks=(2, 10)),
    "column": Chain.for_shape((12, 1)),
    "one": Chain.for_shape((1, 1)),
}


def matrix(shape: tuple[int, int], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape)
    return (a + 1j * rng.standard_normal(shape) if dtype[0] == "c" else a).astype(dtype)


def butterfly_matrix(chain: Chain, dtype: str, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return reference.product(
        [matrix((1, int(np.prod(p))), dtype, int(rng.integers(1 << 30))).reshape(p) for p in chain]
    )


def true_error(a: np.ndarray, op: bitterfly.ButterflyOperator) -> float:
    wide = op.astype(np.complex128 if op.dtype.kind == "c" else np.float64).todense()
    return float(np.linalg.norm(a - wide) / np.linalg.norm(a.astype(wide.dtype)))


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("name", GENERAL)
def test_exact_structure(name: str, dtype: str) -> None:
    a = butterfly_matrix(GENERAL[name], dtype)
    op = bitterfly.factorize(a, GENERAL[name], permute=None)
    assert op.chain == GENERAL[name] and op.dtype == a.dtype and op.error_kind == "ledger"
    assert true_error(a, op) <= op.relative_error <= 1000 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
@pytest.mark.parametrize("name", GENERAL)
@pytest.mark.parametrize("noise", [1e-6, 1e-1, None])
def test_ledger_is_the_true_error(name: str, dtype: str, noise: float | None) -> None:
    chain = GENERAL[name]
    a = butterfly_matrix(chain, "c16" if dtype == "c16" else "f8")
    a = matrix(chain.shape, dtype) if noise is None else a + noise * matrix(chain.shape, a.dtype.str[1:])
    a = a.astype(dtype)
    op = bitterfly.factorize(a, chain, permute=None)
    error = true_error(a, op)
    assert error <= op.relative_error
    floor = 2000 * np.finfo(dtype).eps
    assert op.relative_error <= 1.01 * error + floor


@pytest.mark.parametrize("shape", [(24, 40), (31, 17), (64, 8), (8, 64), (1, 9), (60, 60)])
@pytest.mark.parametrize("rank", [1, 2])
def test_two_factors_are_the_best_possible(shape: tuple[int, int], rank: int) -> None:
    """Monarch blocks are independent: the truncated SVD of each is optimal, here computed directly."""
    try:
        chain = Chain.monarch(shape, rank=rank)
    except ValueError:
        pytest.skip("rank above the block size")
    a = matrix(shape, "c16")
    op = bitterfly.factorize(a, chain, permute=None)
    d, groups = chain[0][3], chain[1][0]
    blocks = a.reshape(shape[0] // d, d, groups, shape[1] // groups).transpose(1, 2, 0, 3)
    s = np.linalg.svd(blocks, compute_uv=False)
    best = np.sqrt(np.sum(s[..., rank:] ** 2)) / np.linalg.norm(a)
    assert true_error(a, op) == pytest.approx(best, rel=1e-6, abs=1e-14)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_any_chain_against_the_bound(blocks: list[tuple[int, int, int]], a: int, d: int, seed: int) -> None:
    rows, columns = [p for p, _, _ in blocks], [q for _, q, _ in blocks]
    ranks: list[int] = []
    for (p, _, _), (_, _, r) in pairwise(blocks):
        ranks.append(min(r, p * (ranks[-1] if ranks else 1)))
    chain = Chain(families.patterns(rows, columns, ranks, a, d))
    x = matrix(chain.shape, "c16", seed)
    op = bitterfly.factorize(x, chain, permute=None)
    assert op.chain == chain and Radices.of(chain).chain(chain.ranks) == chain
    error = true_error(x, op)
    assert error <= op.relative_error <= 1.01 * error + 1e-12


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_scales(scale: float) -> None:
    chain = GENERAL["dyadic"]
    a = butterfly_matrix(chain, "f8") * scale
    op = bitterfly.factorize(a, chain, permute=None)
    assert true_error(a / scale, bitterfly.ButterflyOperator([*op.factors[:-1], op.factors[-1] / scale])) < 1e-12
    assert op.relative_error < 1e-12


def test_graded_and_deficient_blocks() -> None:
    """Singular values over twelve orders, zero blocks, rank-deficient ones: small values come from the rows."""
    chain = Chain.butterfly((128, 128), rank=6, leaf=16, groups=8)
    rng = np.random.default_rng(2)
    u, v = (np.linalg.qr(rng.standard_normal((128, 128)))[0] for _ in range(2))
    a = u @ np.diag(10.0 ** -np.linspace(0, 12, 128)) @ v
    a[:, :16] = 0
    a[::3] = a[1::3][: len(a[::3])].mean(axis=0)
    op = bitterfly.factorize(a, chain, permute=None)
    assert true_error(a, op) <= op.relative_error <= 1.01 * true_error(a, op) + 1e-13
    full = Chain.butterfly((128, 128), rank=(16, 8, 4), leaf=16, groups=8)
    assert bitterfly.factorize(a, full, permute=None).relative_error < 1e-12
    assert bitterfly.factorize(np.zeros((128, 128)), chain).relative_error < 1e-12


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 64])
def test_blocks_of_signs(n: int) -> None:
    """No start of the iteration for a leading vector is orthogonal to one of signs: Walsh functions, and any others."""
    chain = Chain([(1, n, 1, 1), (1, 1, n, 1)])
    signs = np.sign(np.random.default_rng(n).standard_normal((300, n)))
    walsh = bitterfly.transforms.hadamard(n).todense()
    for u in (*walsh, *signs):
        a = np.outer(u, signs[0])
        assert bitterfly.factorize(a, chain, permute=None).relative_error < 1e-10, u
    whole = np.kron(walsh[:8, :8], walsh[:8, :8])
    assert bitterfly.factorize(whole, Chain.monarch(whole.shape)).relative_error < 1e-10


def test_small_singular_values_are_recovered() -> None:
    """Exact rank 8 whose last direction is 1e-9 of the first: a Gram matrix alone would lose it."""
    rng = np.random.default_rng(3)
    u, v = np.linalg.qr(rng.standard_normal((32, 8)))[0], np.linalg.qr(rng.standard_normal((64, 8)))[0]
    a = u @ np.diag(10.0 ** -np.linspace(0, 9, 8)) @ v.T
    op = bitterfly.factorize(a, Chain([(1, 32, 8, 1), (1, 8, 64, 1)]), permute=None)
    assert true_error(a, op) <= op.relative_error < 1e-12


@pytest.mark.parametrize("name", ["nonuniform_dft", "fourier_integral", "hankel", "bessel_j0", "legendre", "dct"])
@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-8])
def test_tolerance_is_met(name: str, rtol: float) -> None:
    a = gallery.KERNELS[name](256).todense()
    op = bitterfly.factorize(a, rtol=rtol)
    error = true_error(a, op)
    assert error <= op.relative_error <= rtol and op.relative_error <= 1.01 * error + 1e-12
    assert op.nbytes < (0.9 if rtol < 1e-6 else 0.65) * a.nbytes


@pytest.mark.parametrize("name", ["nonuniform_dft", "fourier_integral", "bessel_j0", "legendre"])
def test_small_matrices_at_fine_tolerances_are_refused(name: str) -> None:
    """At this size such chains are larger than the matrix."""
    with pytest.raises(IncompressibleError):
        bitterfly.factorize(gallery.KERNELS[name](128).todense(), rtol=1e-8)


@pytest.mark.parametrize("name", ["nonuniform_dft", "fourier_integral", "hankel"])
def test_storage_is_near_the_best_of_a_search(name: str) -> None:
    """Every leaf, group count and ordering, with ranks as small as the tolerance allows."""
    n, rtol = 256, 1e-3
    a = gallery.KERNELS[name](n).todense()
    op = bitterfly.factorize(a, rtol=rtol)
    best = np.inf
    for leaf in (2, 4, 8, 16, 32, 64):
        for groups in (1, 2, 4, 8, 16, 32):
            levels = (n // leaf).bit_length() - 1
            if groups << (levels - 1) > n:
                continue
            most = [min(leaf << at, n // (groups << at)) for at in range(levels)]
            chain = Chain.butterfly((n, n), rank=most, leaf=leaf, groups=groups)
            for rows in (None, "bit_reversal"):
                tried = bitterfly.factorize(a, chain, rtol=rtol, permute=(rows, None))
                best = min(best, tried.chain.nnz)
    assert op.chain.nnz <= 2 * best


@pytest.mark.parametrize(
    ("patterns", "reverse_rows"),
    [
        ([(1, 64, 256, 4), (16, 32, 16, 2), (32, 16, 8, 1)], False),
        ([(1, 128, 256, 2), (16, 32, 16, 1)], False),
        ([(1, 128, 256, 2), (32, 16, 8, 1)], True),
        ([(1, 128, 256, 2), (64, 8, 4, 1)], True),
    ],
)
def test_spectra_that_are_mostly_zero(patterns: list[tuple[int, ...]], reverse_rows: bool) -> None:
    """Ranks as large as the blocks: whatever the spectra, nothing is lost."""
    a = gallery.dft(256).todense()
    permute = ("bit_reversal" if reverse_rows else None, "bit_reversal")
    op = bitterfly.factorize(a, Chain(patterns), rtol=1e-6, permute=permute)
    assert true_error(a, op) <= op.relative_error <= 1e-6


@pytest.mark.parametrize(
    ("name", "n", "rtol"),
    [("gaussian", 512, 1e-2), ("shuffled_dft", 512, 1e-4), ("green_self", 128, 1e-8), ("cauchy", 128, 1e-10)],
)
def test_full_rank_is_refused(name: str, n: int, rtol: float) -> None:
    a = gallery.FULL_RANK[name](n).todense()
    with pytest.raises(IncompressibleError, match=r"not a butterfly at rtol=.* pass a chain") as caught:
        bitterfly.factorize(a, rtol=rtol)
    assert caught.value.storage > 0.9
    forced = bitterfly.factorize(a, Chain.butterfly((n, n), rank=8, leaf=16, groups=16 if n > 128 else 8))
    assert true_error(a, forced) <= forced.relative_error


@pytest.mark.parametrize("name", ["green_self", "cauchy"])
def test_diagonals_cost_ranks(name: str) -> None:
    """Blocks on the diagonal have full rank: what is stored is a large share, unless the matrix is large."""
    n = 1024
    a = gallery.FULL_RANK[name](n).todense()
    op = bitterfly.factorize(a, rtol=1e-4)
    assert true_error(a, op) <= op.relative_error <= 1e-4
    assert 0.2 < op.chain.nnz / a.size < 0.5


@pytest.mark.parametrize("kind", [3, 4])
def test_recursive_orders_halve_the_rank_of_cosine_transforms(kind: int) -> None:
    a = gallery.dct(128, kind=kind).todense()
    plain, best = (bitterfly.factorize(a, rtol=1e-10, permute=p) for p in ("auto", "recursive"))
    assert true_error(a, best) <= best.relative_error <= 1e-10
    assert max(best.chain.ranks) == 2 and best.chain.nnz < plain.chain.nnz
    with pytest.raises(ValueError, match="powers of two, the matrix is 96 x 128"):
        bitterfly.factorize(a[:96], rtol=1e-3, permute="recursive")


def test_rtol_with_a_chain_lowers_its_ranks() -> None:
    a = gallery.nonuniform_dft(256).todense()
    chain = Chain.butterfly((256, 256), rank=16, leaf=16, groups=8)
    loose, tight = (bitterfly.factorize(a, chain, rtol=r, permute=("bit_reversal", None)) for r in (1e-1, 1e-4))
    assert max(loose.chain.ranks) < max(tight.chain.ranks) <= 16
    assert loose.relative_error <= 1e-1 and tight.relative_error <= 1e-4
    with pytest.raises(ValueError, match="rtol: the relative error reached is"):
        bitterfly.factorize(a, Chain.butterfly((256, 256), rank=2, leaf=16, groups=8), rtol=1e-4)
    with pytest.raises(ValueError, match="below the rounding errors"):
        bitterfly.factorize(a, chain, rtol=1e-17)
    with pytest.raises(ValueError, match="not negative"):
        bitterfly.factorize(a, rtol=-1)


@pytest.mark.parametrize("shape", [(200, 300), (1000, 60), (37, 512), (211, 307)])
def test_padded_shapes(shape: tuple[int, int]) -> None:
    m, n = shape
    x, k = np.linspace(0, 1, m) ** 1.5, np.arange(n) - n // 2
    a = np.exp(-2j * np.pi * np.outer(x, k) * min(1, m / n))
    op = bitterfly.factorize(a, rtol=1e-2)
    assert op.shape == shape and op.T.shape == (n, m)
    assert true_error(a, op) <= op.relative_error <= 1e-2
    assert op.nbytes > 0 and op.chain.shape[0] >= m and op.chain.shape[1] >= n
    default = bitterfly.factorize(a)
    assert default.shape == shape and true_error(a, default) <= default.relative_error


def test_given_orders() -> None:
    """Index arrays are base orders of a search; a shuffled kernel is compressed when told its order."""
    rng = np.random.default_rng(4)
    kernel, order = gallery.nonuniform_dft(256).todense(), rng.permutation(256)
    shuffled = np.empty_like(kernel)
    shuffled[order] = kernel
    op = bitterfly.factorize(shuffled, rtol=1e-2, permute=(order, None))
    assert true_error(shuffled, op) <= op.relative_error <= 1e-2
    assert op.chain.nnz == bitterfly.factorize(kernel, rtol=1e-2, permute=(np.arange(256), None)).chain.nnz
    with pytest.raises(IncompressibleError):
        bitterfly.factorize(shuffled, rtol=1e-2)
    with pytest.raises(ValueError, match=r"permute\[0\]"):
        bitterfly.factorize(kernel, rtol=1e-2, permute=(order[:-1], None))


def test_orderings() -> None:
    assert len(orderings((None, None), None, None)) == 4 and len(orderings((None, None), False, None)) == 2
    radices = Radices((4, 2, 2), (2, 2, 4))
    rows, columns = Ordering((None, None), True, False).permutations(radices)
    assert columns is None and rows is not None
    np.testing.assert_array_equal(rows[:4], [0, 8, 4, 12])  # residues of t become runs of rows
    np.testing.assert_array_equal(np.sort(rows), np.arange(16))


class Sliceable:
    """Only what zarr and h5py share: shape, dtype, and slices of rows."""

    def __init__(self, a: np.ndarray) -> None:
        self._a, self.shape, self.dtype, self.reads = a, a.shape, a.dtype, 0

    def __getitem__(self, key: slice) -> np.ndarray:
        assert isinstance(key, slice)
        self.reads += key.stop - key.start
        return self._a[key]


def test_sources_agree(tmp_path: object) -> None:
    a = gallery.nonuniform_dft(128).todense()
    chain = Chain.butterfly((128, 128), rank=6, leaf=8, groups=4)
    mapped = np.memmap(f"{tmp_path}/a", a.dtype, "w+", shape=a.shape)
    mapped[:] = a
    lazy = Sliceable(a)
    expected = bitterfly.factorize(a, chain, permute=("bit_reversal", None))
    entry = lambda rows, cols: a[np.ix_(rows, cols)]  # noqa: E731
    for source in (mapped, lazy, np.asfortranarray(a), a[::1], entry):
        shape = (128, 128) if callable(source) else None
        op = bitterfly.factorize(source, chain, shape=shape, permute=("bit_reversal", None))
        np.testing.assert_allclose(op.todense(), expected.todense(), atol=1e-12)
        assert op.relative_error == pytest.approx(expected.relative_error, rel=1e-9)
    assert lazy.reads == 128  # every row once
    searched = bitterfly.factorize(Sliceable(a), rtol=1e-2)
    assert true_error(a, searched) <= 1e-2


def test_no_dense_temporary() -> None:
    """Beyond the factors: the right part, no larger than the matrix times rank over leaf, and panels."""
    import tracemalloc

    a = np.random.default_rng(5).standard_normal((2048, 2048)).astype("f4")
    chain = Chain.butterfly((2048, 2048), rank=2, leaf=16, groups=4)
    tracemalloc.start()
    bitterfly.factorize(a, chain, permute=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * a.nbytes


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(bad: float) -> None:
    a = gallery.nonuniform_dft(256).todense()
    a[200, 3] = bad
    for request in ({"chain": Chain.butterfly((256, 256), rank=4, leaf=8, groups=4), "permute": None}, {"rtol": 1e-2}):
        with pytest.raises(ValueError, match="expected finite entries"):
            bitterfly.factorize(a, **request)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize(("b", "width"), [(13, 5), (33, 6), (64, 9), (8, 20)])
def test_two_factors_are_the_best_ones(b: int, width: int, dtype: str) -> None:
    """Against the SVD of every block, tall and wide ones."""
    rng, d, groups = np.random.default_rng(b), 3, 2
    chain = Chain([(1, b, groups, d), (groups, d, width, 1)])
    a = rng.standard_normal(chain.shape) + (1j * rng.standard_normal(chain.shape) if dtype[0] == "c" else 0)
    a = a.astype(dtype)
    op = bitterfly.factorize(a, chain, permute=None)
    blocks = a.reshape(b, d, groups, width).transpose(1, 2, 0, 3).astype("c16")
    values = np.linalg.svd(blocks, compute_uv=False)
    best = np.sqrt(np.sum(values[..., 1:] ** 2) / np.sum(values**2))
    assert true_error(a, op) == pytest.approx(best, rel=1e-5)
    assert op.relative_error == pytest.approx(best, rel=1e-4)
