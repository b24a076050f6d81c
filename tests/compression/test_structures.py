"""compress takes butterflies for butterflies, all else for dense matrices: what is best by true bytes and errors."""

from __future__ import annotations

import contextlib
import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import bitterfly
import exact
from bitterfly import Chain, DenseOperator, IncompressibleError, PackedButterfly, compress, transforms
from bitterfly.algebra import ButterflySum
from bitterfly.compression import structures
from bitterfly.compression.stages import Work
from bitterfly.inputs import UnmetError
from bitterfly.sources import given

Matrix = np.ndarray[Any, np.dtype[Any]]
N = 96


def noise(m: int = N, n: int = N, dtype: str = "f4", seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, n))
    return (a + 1j * rng.standard_normal((m, n)) if np.dtype(dtype).kind == "c" else a).astype(dtype)


def weights() -> Matrix:
    """Entries with tails, rows of unequal lengths, an outlier."""
    rng = np.random.default_rng(1)
    a = rng.standard_t(4, (128, N)) * np.exp(rng.standard_normal(128))[:, None] / 50
    a[3, 7] = 40 * np.std(a)
    return a.astype(np.float32)


def low_rank() -> Matrix:
    rng = np.random.default_rng(2)
    return rng.standard_normal((160, 3)) @ rng.standard_normal((3, 144)) * 2 + noise(160, 144, "f8")


DFT = np.fft.fft(np.eye(128))
DENSE: dict[str, Matrix] = {
    "noise": noise(),
    "double": noise(70, 50, "f8"),
    "complex": noise(64, 48, "c8"),
    "double complex": noise(33, 64, "c16"),
    "weights": weights(),
    "low rank": low_rank(),
}
REQUESTS: list[dict[str, float]] = [{"rtol": 1e-2}, {"rtol": 0.15}, {"bits": 6}, {"nbytes": 9000}]


def checked(a: Matrix, **asked: Any) -> Any:
    """Compress, and compare what is reported and promised with what is true."""
    op = compress(a, **asked)
    true = float(exact.error(a, op))
    assert true <= op.relative_error and op.relative_error == op.report.relative_error
    assert true >= 0.99 * op.relative_error - 1e-6
    assert op.nbytes == op.report.nbytes <= asked.get("nbytes", np.inf)
    assert op.relative_error <= asked.get("rtol", np.inf)
    assert op.mean_bits <= asked.get("bits", np.inf)
    assert op.shape == a.shape and op.dtype == a.dtype
    return op


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
@pytest.mark.parametrize("name", DENSE)
def test_what_is_no_butterfly_becomes_dense(name: str, request_: dict[str, float]) -> None:
    op = checked(DENSE[name], **request_, structure=["butterfly", "dense"])
    assert op.report.structure == "dense" and isinstance(op, DenseOperator | ButterflySum)
    assert [each.name for each in op.report.tried][:2] == ["butterfly", "dense"]
    best = checked(DENSE[name], **request_)
    assert best.nbytes <= op.nbytes if "rtol" in request_ else best.relative_error <= op.relative_error


@pytest.mark.parametrize("dtype", ["f4", "c16"])
@pytest.mark.parametrize("request_", [{"rtol": 1e-2}, {"rtol": 1e-4}, {"nbytes": 48_000}, {"nbytes": 60_000}], ids=str)
def test_a_butterfly_below_noise_is_added_to_dense_codes_of_the_rest(dtype: str, request_: dict[str, float]) -> None:
    n = 256
    a = np.asarray(transforms.dft(n).todense() if dtype[0] == "c" else transforms.hadamard(n).todense()).astype(dtype)
    a += 0.1 * noise(n, n, dtype)
    op, alone = checked(a, **request_), checked(a, structure="dense", **request_)
    assert op.report.structure == "butterfly + dense"
    assert [each.name for each in op.report.tried][:3] == ["butterfly", "dense", "butterfly + dense"]
    butterfly, *rest = op.terms
    assert isinstance(butterfly, PackedButterfly) and isinstance(rest[-1], DenseOperator)
    assert op.nbytes < 0.85 * alone.nbytes if "rtol" in request_ else op.relative_error < 0.35 * alone.relative_error
    assert "butterfly + dense" in str(op.report)


@pytest.mark.parametrize("request_", [*REQUESTS, {"rtol": 1e-6}], ids=str)
def test_a_butterfly_stays_what_it_is(request_: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Work, "dense", None)  # not even tried
    op = checked(DFT, **request_)
    old = compress(DFT, structure="butterfly", **request_)  # type: ignore[arg-type]
    assert isinstance(op, PackedButterfly) and isinstance(old, PackedButterfly)
    assert np.array_equal(op.words, old.words) and op.relative_error == old.relative_error
    assert op.report.structure == old.report.structure == "butterfly"
    butterfly, dense = op.report.tried
    assert butterfly == (*("butterfly", op.nbytes), op.relative_error, "measured")
    assert old.report.tried == (butterfly,)
    assert dense.name == "dense" and (dense.note == "predicted" or "reach about" in dense.note)


@pytest.mark.parametrize("request_", [{"rtol": 1e-2}, {"bits": 5}, {"nbytes": 12000}], ids=str)
def test_a_butterfly_takes_no_more_searches(request_: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[tuple[str, float]] = []
    searched = Work.searched

    def counted(work: Work, rtol: float, **asked: Any) -> Any:
        searches.append((structure, rtol))
        return searched(work, rtol, **asked)

    monkeypatch.setattr(Work, "searched", counted)
    a = bitterfly.gallery.legendre(200).todense()
    for structure in ("auto", "butterfly"):
        assert compress(a, structure=structure, **request_).report.structure == "butterfly"  # type: ignore[arg-type]
    auto, alone = (sorted(rtol for name, rtol in searches if name == each) for each in ("auto", "butterfly"))
    assert auto == alone


def test_a_head_is_taken_where_it_pays() -> None:
    op = checked(low_rank(), rtol=0.05)
    assert isinstance(op, ButterflySum) and op.nbytes < 0.8 * compress(noise(160, 144, "f8"), rtol=0.05).nbytes


def test_close_ones_are_compared_by_what_they_are() -> None:
    """A butterfly and dense codes of about as many bytes: both are made, the smaller one is kept."""
    op = checked(noise(2, 2, "f8"), rtol=0.2, structure=["butterfly", "dense"])
    butterfly, dense = op.report.tried
    assert {butterfly.note, dense.note} == {"measured"}
    assert op.nbytes == min(butterfly.nbytes, dense.nbytes)


def test_more_than_the_matrix_is_nothing() -> None:
    for shape in ((1, 50), (1, 1)):
        with pytest.raises(IncompressibleError, match=r"keep the array; dense codes would take [\d,]+ bytes"):
            compress(noise(*shape), rtol=1e-2, structure=["butterfly", "dense"])
    assert compress(noise(300, 1), rtol=0.2, structure=["butterfly", "dense"]).report.structure == "dense"


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 2), (3, 5), (17, 2)])
@pytest.mark.parametrize("dtype", ["f4", "c16"])
@pytest.mark.parametrize("request_", [{"rtol": 0.2}, {"bits": 1}, {"bits": 2}, {"nbytes": 1500}], ids=str)
def test_small_and_thin_ones(shape: tuple[int, int], dtype: str, request_: dict[str, float]) -> None:
    a = noise(*shape, dtype=dtype)
    try:
        op = compress(a, **request_)  # type: ignore[arg-type]
    except IncompressibleError:
        assert "rtol" in request_
        return
    assert exact.error(a, op) <= op.relative_error <= request_.get("rtol", 1)
    assert op.nbytes <= request_.get("nbytes", np.inf)


@pytest.mark.parametrize("request_", [{"rtol": 0.0}, {"rtol": 0.1}, {"bits": 2}, {"nbytes": 1500}], ids=str)
def test_zeros(request_: dict[str, float]) -> None:
    for structure in ("auto", "dense"):
        op = compress(np.zeros((32, 32)), structure=structure, **request_)  # type: ignore[arg-type]
        assert op.relative_error == 0 and not np.any(op.todense())
    if "bits" in request_:
        return
    for structure in ("toeplitz", "hankel", "sparse", "kronecker", "low_rank", "tensor_train", "cuts"):
        for zeros in (np.zeros((32, 48), np.float32), np.zeros((13, 7)), np.zeros((32, 32), np.complex64)):
            if structure == "cuts" and zeros.dtype.kind == "c":
                continue
            op = compress(zeros, structure=structure, **request_)  # type: ignore[arg-type]
            assert op.relative_error == 0 and op.nbytes < zeros.nbytes and op.report.structure == structure
            assert op.dtype == zeros.dtype and op.shape == zeros.shape and not np.any(op.todense())


# ---- what is asked for ----


def test_one_structure() -> None:
    assert compress(DFT, rtol=0.1, structure="dense").report.structure == "dense"
    assert compress(DFT, rtol=0.1, structure=["dense"]).report.tried[0].note == "measured"
    assert compress(DFT, rtol=0.1, structure=("butterfly",)).report.structure == "butterfly"
    assert compress(noise(), rtol=0.1, structure=["dense", "butterfly"]).report.structure == "dense"
    for kind in ("auto", "butterfly"):
        op = compress(noise(32, 16), Chain.monarch((32, 16), rank=2), bits=8, structure=kind)  # type: ignore[arg-type]
        assert op.report.structure == "butterfly" and len(op.report.tried) == 1


@pytest.mark.parametrize("structure", ["svd", "", None, [], ["butterfly", "svd"], ["auto"], 3, {"dense"}])
def test_wrong_structures(structure: Any) -> None:
    with pytest.raises(ValueError, match=r"structure: expected 'auto', one of .*, or a list of these, got"):
        compress(noise(), rtol=0.1, structure=structure)


def test_a_chain_is_one_of_a_butterfly() -> None:
    with pytest.raises(ValueError, match="structure: expected 'butterfly' or 'auto' beside a chain, got 'dense'"):
        compress(noise(), Chain.for_shape((N, N)), rtol=0.1, structure="dense")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rtol": 1e-7}, r"a: not a butterfly at rtol=1e-07: sampled .*; dense codes reach about 1\.9e-06 in float32$"),
        ({"rtol": 0.1, "structure": "butterfly"}, r"a: not a butterfly at rtol=0\.1: .* all the same$"),
        (
            {"rtol": 1e-7, "structure": "dense"},
            r"rtol: 1e-07 is not met: sums of codes in float32 reach about 1\.9e-06",
        ),
        ({"rtol": 0.05, "bits": 3}, r"not a butterfly at rtol=0\.05: .*; dense codes of 3 bits a number err 0\.14$"),
        ({"rtol": 0.05, "nbytes": 3000}, r"rtol: 0\.05 is not met: 3000 bytes reach 0\.\d+$"),
        ({"nbytes": 20}, r"nbytes: no butterfly of at most 20 bytes was found; .* take at least 1,\d+ bytes$"),
        ({"bits": 0.5, "structure": "dense"}, r"bits: expected 1 to 8, got 0\.5"),
        ({"bits": 17}, "bits: expected a number above 0, at most 16"),
    ],
    ids=str,
)
def test_refusals(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compress(noise(), **asked)


def test_refusals_keep_their_facts() -> None:
    with pytest.raises(IncompressibleError) as caught:
        compress(noise(64, 64), rtol=1e-3, structure="butterfly")
    assert caught.value.rank > 10 and min(caught.value.block) > 10 and caught.value.storage > 0.9


def test_bits_and_bytes_with_an_error_to_be_checked() -> None:
    op = checked(noise(), rtol=0.08, bits=4)
    assert op.report.structure == "dense" and op.mean_bits == 4
    assert checked(noise(), rtol=0.08, nbytes=6000).report.structure == "dense"


def test_more_bits_than_dense_codes_have() -> None:
    op = checked(noise(), bits=12)
    assert op.report.structure == "dense" and op.mean_bits == 8


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_said_so(bad: float) -> None:
    a = noise(128, 100)
    a[70, 45] = bad
    for structure in ("auto", "dense"):
        with pytest.raises(ValueError, match="a: expected finite entries"):
            compress(a, rtol=0.1, structure=structure)  # type: ignore[arg-type]


def test_a_butterfly_that_was_given_up_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions may be wrong: what dense codes miss is left to the butterfly, without limits."""

    def missed(*_: Any) -> None:
        raise structures.UnmetError("rtol: 0.1 is not met: 8 bits a number reach 0.2")

    monkeypatch.setattr(structures, "_dense", missed)
    monkeypatch.setattr("bitterfly.compression.rivals.CLEARLY", 1e-3)
    op = compress(bitterfly.gallery.legendre(128).todense(), rtol=0.1, structure=["butterfly", "dense"])
    assert op.report.structure == "butterfly" and op.relative_error <= 0.1
    assert op.report.tried[1].note == "refused, 0.1 is not met: 8 bits a number reach 0.2"
    with pytest.raises(IncompressibleError, match="not a butterfly"):
        compress(noise(), rtol=0.1, structure=["butterfly", "dense"])


def test_what_is_no_array_stays_a_butterfly(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = bitterfly.gallery.hankel(128)
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 0)
    op = compress(kernel, rtol=1e-2)
    assert op.report.structure == "butterfly" and len(op.report.tried) == 1
    a = noise(64, 64, "f8")
    with pytest.raises(ValueError, match="not a butterfly at rtol"):
        compress(lambda i, j: a[np.ix_(i, j)], shape=a.shape, rtol=0.1)
    dense = compress(lambda i, j: a[np.ix_(i, j)], shape=a.shape, rtol=0.1, structure="dense")
    assert exact.error(a, dense) <= dense.relative_error <= 0.1


# ---- what passes through ----


@pytest.mark.parametrize("asked", [{"rtol": 0.05}, {"nbytes": 5000}, {"bits": 3}], ids=str)
def test_the_same_for_an_rng_and_all_workers(asked: dict[str, Any]) -> None:
    a = noise(80, 112)
    first = compress(a, **asked).todense()
    assert np.array_equal(first, compress(a, **asked).todense())
    assert np.array_equal(first, compress(a, workers=3, **asked).todense())
    seeded, again = (compress(a, rng=np.random.default_rng(7), **asked).todense() for _ in range(2))
    assert np.array_equal(seeded, again) and not np.array_equal(seeded, first)


def test_stages() -> None:
    calls: dict[str, list[float]] = {}
    op = compress(noise(), rtol=0.1, progress=lambda stage, share: calls.setdefault(stage, []).append(share))
    assert set(calls) == {"look", "factorize", "dense"} == set(op.report.seconds)
    assert calls["dense"][0] == 0 and calls["dense"][-1] == 1


def test_memory_map_and_slices(tmp_path: Path) -> None:
    a = noise(64, 80)
    np.save(tmp_path / "a.npy", a)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.array_equal(compress(mapped, bits=4).todense(), compress(a, bits=4).todense())


# ---- the report ----


def test_the_report_of_dense_codes() -> None:
    op = compress(noise(), rtol=1e-2)
    text = str(op.report)
    assert "structure       dense\n  butterfly     refused, rank " in text
    assert f"\n  dense         {op.nbytes:,} bytes, relative error {op.relative_error:.3g} (measured)\n" in text
    assert "dense" in text.splitlines()[-1] and op.report.dense_nbytes == 4 * N * N
    assert op.report.bits == op.mean_bits and 7 <= op.bits_per_entry <= 8
    assert "given up, float factors err 0." in str(compress(noise(64, 64), bits=4).report)


def test_the_report_of_a_butterfly() -> None:
    text = str(compress(DFT, rtol=1e-2).report)
    assert "structure       butterfly\n  butterfly     " in text and "(predicted)" in text
    assert "  dense         not tried, they reach about 2.6e-13 in complex128\n" in str(
        compress(DFT, rtol=1e-13).report
    )


@pytest.mark.parametrize("a", [noise(), low_rank(), DFT], ids=["dense", "sum", "butterfly"])
def test_all_results_have_reports_that_views_casts_and_pickles_keep(a: Matrix) -> None:
    op = compress(a, rtol=0.1)
    others = (op.T, op.H, op.conj(), copy.deepcopy(op), pickle.loads(pickle.dumps(op)))
    wide = op.astype(np.result_type(op.dtype, np.float64))
    for other in (*others, wide):
        assert other.report == op.report is not None
    assert (op + op).report is None and (2 * op).report is None
    assert bitterfly.quantize_dense(noise(), bits=2).report is None


def test_replaced() -> None:
    op = compress(noise(), rtol=0.1)
    assert isinstance(op, DenseOperator)
    assert op.replaced(relative_error=0.5).report is op.report
    other = compress(noise(), rtol=0.2).report
    assert op.replaced(report=other).report is other


def simple(name: str, n: int, dtype: str) -> tuple[Matrix, str, int]:
    """A matrix of a structure, its name, and the bytes that it is obvious to store."""
    rng, item = np.random.default_rng(0), np.dtype(dtype).itemsize
    t = noise(3, n, dtype)
    if name == "circulant":
        return scipy.linalg.circulant(t[0]), "toeplitz", item * n
    if name == "toeplitz":
        return scipy.linalg.toeplitz(t[0], t[1]), "toeplitz", item * (2 * n - 1)
    if name == "permutation":
        return np.eye(n, dtype=dtype)[rng.permutation(n)], "permutation", 4 * n
    if name == "identity":
        return np.eye(n, dtype=dtype), "toeplitz", item
    if name == "kronecker":
        b, c = noise(8, 4, dtype), noise(n // 8, n // 4, dtype, 1)
        padding = 160 * item if n < 128 else 0  # of small factors, to 16 lanes
        return np.kron(b, c), "kronecker", b.nbytes + c.nbytes + padding
    if name == "banded":
        return np.triu(np.tril(noise(n, n, dtype), 2), -1), "sparse", 4 * item * n
    a = np.where(rng.random((n, n)) < 0.01, noise(n, n, dtype), 0).astype(dtype)
    return a, "sparse", np.count_nonzero(a) * (item + 4) + 4 * n


@pytest.mark.parametrize("dtype", ["f4", "c16"])
@pytest.mark.parametrize("n", [64, 256])
@pytest.mark.parametrize("name", ["circulant", "toeplitz", "permutation", "identity", "kronecker", "banded", "sparse"])
def test_what_a_look_at_the_entries_finds(name: str, n: int, dtype: str) -> None:
    a, structure, obvious = simple(name, n, dtype)
    for asked in ({"rtol": 1e-3}, {"nbytes": 2 * obvious + 40}):
        op = checked(a, **asked)
        assert op.report.structure == structure or (op.report.structure, structure) == ("tensor_train", "kronecker")
        assert op.nbytes <= 1.1 * obvious + 16
        assert op.relative_error <= 1e-3
    x = noise(n, 2, dtype)
    np.testing.assert_allclose(op @ x, a @ x, atol=2e-4 * np.abs(a @ x).max())
    alone = checked(a, rtol=1e-3, structure=structure)
    assert alone.nbytes >= checked(a, rtol=1e-3).nbytes


def test_structures_with_noise_are_projected() -> None:
    for name in ("circulant", "toeplitz", "kronecker"):
        a, structure, obvious = simple(name, 128, "f8")
        a = a + 1e-3 * np.linalg.norm(a) / 128 * noise(128, 128, "f8")
        op = checked(a, rtol=1.1e-3)
        assert op.report.structure == structure and op.nbytes <= 1.1 * obvious
        with pytest.raises(UnmetError, match=f"structure: the matrix is none of {structure} as far as asked for"):
            compress(a, rtol=5e-4, structure=structure)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 13])
def test_errors_of_permutations_are_kept(n: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(n)
    a = np.eye(n)[rng.permutation(n)] + 0.01 * rng.standard_normal((n, n))
    op = compress(a, rtol=0.3, structure="permutation").T
    bitterfly.save(tmp_path / "op", op)
    for again in (op, pickle.loads(pickle.dumps(op)), bitterfly.load(tmp_path / "op"), copy.deepcopy(op)):
        assert exact.error(a.T, again) <= again.relative_error < 0.3 and again.error_kind == "measured"
        assert np.array_equal(again.todense(), op.todense())


@pytest.mark.parametrize("structure", ["sparse", "dense", "cuts"])
def test_nothing_larger_than_the_matrix_for_an_error(structure: str) -> None:
    a = noise(5, 9)
    with pytest.raises(UnmetError, match=f"rtol: 0.001 is met by {structure}, in .* keep the array"):
        compress(a, rtol=1e-3, structure=structure)


@pytest.mark.parametrize("scale", [2.0**-1060, 2.0**900, 1.7e308])
def test_no_warnings_of_numpy_at_any_scale(scale: float) -> None:
    rng = np.random.default_rng(0)
    for a in (
        rng.uniform(-1, 1, (48, 32)) * (1 + 1j),
        rng.uniform(-1, 1, (1, 1)),
        np.sign(rng.standard_normal((64, 64))),
    ):
        with np.errstate(under="ignore"):
            a = a * scale
        for asked in ({"rtol": 0.1}, {"nbytes": a.size}):
            with contextlib.suppress(UnmetError, ValueError):
                op = compress(a, **asked)  # warnings are errors
                assert exact.error(a, op) <= op.relative_error


@pytest.mark.parametrize("rtol", [0.3, 0.1])
def test_what_is_small_for_the_shape_may_be_more_than_dense_codes_take(rtol: float) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((96, 96)) + 1j * rng.standard_normal((96, 96))
    assert compress(a, rtol=rtol).nbytes <= compress(a, rtol=rtol, structure=["butterfly", "dense"]).nbytes
