"""Where entries come from: sources compared with themselves, powers of two, nothing is read twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

import bitterfly
from bitterfly import Chain, gallery
from bitterfly.accuracy.sampled import sampled_error
from bitterfly.sources import given
from bitterfly.sources.given import OperatorSource, as_source, at_hand

Matrix = NDArray[Any]


def relative(a: Matrix, b: Matrix) -> float:
    """Return ``||a - b||_F / ||a||_F`` in double precision over a power of two."""
    wide = np.result_type(a.dtype, np.float64)
    parts = np.ascontiguousarray(np.stack([a.astype(wide), b.astype(wide)])).view(np.float64)
    parts = np.ldexp(parts, -int(np.frexp(np.max(np.abs(parts)))[1]))
    return float(np.linalg.norm(parts[0] - parts[1]) / np.linalg.norm(parts[0]))


class Sliced:
    """A matrix that gives slices alone, and counts the numbers read."""

    def __init__(self, a: Matrix, chunks: tuple[Any, Any] | None = None) -> None:
        self._a, self.shape, self.dtype, self.chunks, self.read = a, a.shape, a.dtype, chunks, 0

    def __getitem__(self, part: Any) -> Matrix:
        parts = part if isinstance(part, tuple) else (part,)
        assert all(isinstance(p, slice) for p in parts)
        for p, size, chunk in zip(parts, self.shape, self.chunks or (1, 1), strict=False):
            first, last, _ = p.indices(size)
            step = chunk[0] if isinstance(chunk, tuple) else chunk
            assert first % step == 0 and (last % step == 0 or last == size), "a chunk would be read twice"
        out = self._a[part]
        self.read += out.size
        return out


def smooth(shape: tuple[int, int], dtype: Any) -> Matrix:
    """A kernel of low rank away from a point outside."""
    m, n = shape
    x, y = np.arange(m)[:, None] / m, np.arange(n)[None, :] / n
    real = np.cos(40 * x * y) / (x + y + 0.5)
    return (real + 1j * np.sin(40 * x * y) if np.dtype(dtype).kind == "c" else real).astype(dtype)


def _operator(a: Matrix) -> LinearOperator:
    adjoint = a.conj().T
    return LinearOperator(
        a.shape,
        dtype=a.dtype,
        matvec=lambda x: a @ x,
        rmatvec=lambda x: adjoint @ x,
        matmat=lambda x: a @ x,
        rmatmat=lambda x: adjoint @ x,
    )


SOURCES: dict[str, Callable[[Matrix], Any]] = {
    "array": lambda a: a,
    "slices": Sliced,
    "chunks": lambda a: Sliced(a, (32, 64)),
    "entries": lambda a: lambda rows, columns: a[np.ix_(rows, columns)],
    "operator": _operator,
}
SCALES = [("float32", -80), ("complex64", 70), ("float64", -600), ("complex128", 500)]


# ---- powers of two ----


@pytest.mark.parametrize("kind", ["array", "slices", "entries", "operator"])
@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_powers_of_two_change_nothing(kind: str, dtype: str, exponent: int) -> None:
    a = smooth((64, 96), dtype)
    power = np.ldexp(np.ones((), a.real.dtype), exponent)
    for verb in (bitterfly.factorize, partial(bitterfly.compress, structure=["butterfly", "dense"])):
        one, other = (verb(SOURCES[kind](b), shape=a.shape, rtol=1e-2) for b in (a, a * power))
        assert other.relative_error == pytest.approx(one.relative_error, rel=1e-3)
        assert one.nbytes == other.nbytes and one.error_kind == other.error_kind
        assert relative(a * power, other.todense()) <= other.relative_error * (1 + 1e-6) <= 1e-2 * (1 + 1e-6)
        assert relative(a, one.todense()) == pytest.approx(relative(a * power, other.todense()), rel=1e-3)


@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_estimates_of_scaled_matrices(dtype: str, exponent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large to be read: from rows of entries, and from products."""
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 0)
    monkeypatch.setattr(given, "_SMALL_SIDE", 0)
    a = smooth((320, 300), dtype)
    power = np.ldexp(np.ones((), a.real.dtype), exponent)
    op, scaled_op = (bitterfly.factorize(b, Chain.monarch(a.shape)) for b in (a, a * power))
    true = relative(a, op.todense())
    for kind in ("entries", "operator"):
        one, other = (
            sampled_error(as_source(SOURCES[kind](b), a.shape), made, 64, np.random.default_rng(3))
            for b, made in ((a, op), (a * power, scaled_op))
        )
        assert one[0] == pytest.approx(true, rel=0.3)
        assert other == pytest.approx(one, rel=1e-2)


@pytest.mark.parametrize("kind", ["entries", "operator"])
@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_powers_of_two_change_nothing_of_large_sources(
    kind: str, dtype: str, exponent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are never read as a whole: skeletons, recovered blocks, estimates."""
    monkeypatch.setattr(given, "_EVALUATED_BYTES", 0)
    monkeypatch.setattr(given, "_SMALL_SIDE", 0)
    a = smooth((320, 320), dtype)
    power = np.ldexp(np.ones((), a.real.dtype), exponent)
    one, other = (bitterfly.factorize(SOURCES[kind](b), shape=a.shape, rtol=1e-2) for b in (a, a * power))
    assert other.error_kind == "estimated" and other.nbytes == one.nbytes
    assert other.relative_error == pytest.approx(one.relative_error, rel=1e-3)
    assert (
        relative(a * power, other.todense()) <= 1.1 * other.relative_error <= 1.1e-2
    )  # an upper bound with a confidence


def test_an_estimate_of_nothing() -> None:
    zero = np.zeros((300, 40))
    op = bitterfly.factorize(zero, Chain.monarch(zero.shape))
    assert sampled_error(as_source(SOURCES["entries"](zero), zero.shape), op, 8, np.random.default_rng(0)) == (0, 0)


# ---- operators that contradict themselves ----


@pytest.mark.parametrize("size", [(96, 128), (128, 96), (96, 96)])
@pytest.mark.parametrize("how", ["fft", "rows", "elementwise"])
def test_matvecs_that_are_right_for_vectors(how: str, size: tuple[int, int]) -> None:
    """SciPy's own products of blocks hand over columns (n, 1), for which these functions do other things, or fail."""
    m, n = size
    k = np.arange(1, n + 1)

    def forward(x: Matrix) -> Matrix:
        if how == "fft":
            return np.fft.fft(x, m)  # along the last axis
        if how == "rows":
            return np.array([np.sum(np.exp(-2j * np.pi * i * k / n) * x) for i in range(m)])
        return np.fft.fft(k * x, m)

    def adjoint(y: Matrix) -> Matrix:
        return dense.conj().T @ y

    dense = np.stack([forward(unit) for unit in np.eye(n)], axis=1)
    operator = LinearOperator((m, n), dtype=np.complex128, matvec=forward, rmatvec=adjoint)
    whole = at_hand(as_source(operator, None)).rows(np.arange(m))
    np.testing.assert_allclose(whole, dense, atol=1e-12 * np.abs(dense).max())
    found = bitterfly.factorize(operator, Chain.for_shape((m, n)), permute=None)
    assert relative(dense, found.todense()) <= found.relative_error


def _real_part(a: Matrix) -> LinearOperator:
    return LinearOperator(
        a.shape,
        dtype=a.dtype,
        matvec=lambda x: a @ x.real,
        rmatvec=lambda y: (a.conj().T @ y).real.astype(a.dtype),
        matmat=lambda x: a @ x.real,
        rmatmat=lambda y: (a.conj().T @ y).real.astype(a.dtype),
    )


def _transpose(a: Matrix) -> LinearOperator:
    return LinearOperator(a.shape, dtype=a.dtype, matvec=lambda x: a @ x, rmatvec=lambda y: a.T @ y)


def _other_block(a: Matrix) -> LinearOperator:
    return LinearOperator(a.shape, dtype=a.dtype, matvec=lambda x: a @ x, matmat=lambda x: a @ x[::-1])


def _affine(a: Matrix) -> LinearOperator:
    return LinearOperator(a.shape, dtype=a.dtype, matvec=lambda x: a @ x.ravel() + 1)


def _other_adjoint(a: Matrix) -> LinearOperator:
    return LinearOperator(a.shape, dtype=a.dtype, matvec=lambda x: a @ x, rmatvec=lambda y: 1.1 * (a.conj().T @ y))


@pytest.mark.parametrize("exponent", [0, -600, 500])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_real_part, "expected matvec to be linear over the complex numbers"),
        (_transpose, "expected rmatvec .*, it multiplies by the transpose"),
        (_other_block, "expected matmat to multiply as matvec does"),
        (_affine, "expected matvec to be linear over the complex numbers"),
        (
            _other_adjoint,
            "expected rmatvec to multiply by the adjoint of what matvec multiplies by; for random vectors",
        ),
    ],
)
def test_operators_that_contradict_themselves(
    make: Callable[[Matrix], LinearOperator], message: str, exponent: int
) -> None:
    a = gallery.fourier_integral(96).todense()[:64] * 2.0**exponent
    if make is _affine:
        a = gallery.fourier_integral(96).todense()[:64]
    for verb in (bitterfly.factorize, bitterfly.compress):
        with pytest.raises(ValueError, match=message):
            verb(make(a), rtol=1e-3)
        with pytest.raises(ValueError, match=message):
            verb(make(a), Chain.for_shape(a.shape), rtol=1e-3)


def test_forward_products_are_the_operator() -> None:
    """An adjoint that is right to a few digits, or none, is not used: columns come from forward products."""
    a = smooth((64, 96), np.float64)
    rough = LinearOperator(a.shape, dtype=a.dtype, matvec=lambda x: a @ x, rmatvec=lambda y: a.T @ y * (1 + 1e-5))
    alone = LinearOperator(a.shape, dtype=a.dtype, matvec=lambda x: a @ x)
    for operator in (rough, alone):
        np.testing.assert_allclose(at_hand(as_source(operator, None)).rows(np.arange(64)), a, rtol=1e-14)


def test_large_operators_on_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come from the adjoint, and the result is compared with products."""
    monkeypatch.setattr(given, "_SMALL_SIDE", 0)
    a, chain = smooth((256, 256), np.float64), Chain.monarch((256, 256), rank=6)
    op = bitterfly.factorize(_operator(a), chain)
    assert relative(a, op.todense()) <= op.relative_error
    rough = LinearOperator(a.shape, dtype=a.dtype, matvec=lambda x: a @ x, rmatvec=lambda y: a.T @ y * (1 + 1e-3))
    with pytest.raises(ValueError, match=r"expected rmatvec .* products with random vectors show"):
        bitterfly.factorize(rough, chain)


def test_outliers_of_large_operators_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """All entries take part in each product."""
    monkeypatch.setattr(given, "_SMALL_SIDE", 0)
    a = smooth((512, 512), np.float64)
    op = bitterfly.factorize(a, rtol=1e-6)
    a[100, 37] += np.linalg.norm(a)
    source = OperatorSource(_operator(a))
    true = relative(a, op.todense())
    for seed in range(20):
        estimate, upper = sampled_error(source, op, 256, np.random.default_rng(seed))
        assert 0.7 * true < estimate < 1.3 * true <= 1.3 * upper


# ---- entry functions ----


@pytest.mark.parametrize("whole", [False, True])
def test_entries_of_another_kind(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real at the corners and in the middle, complex between."""
    if not whole:
        monkeypatch.setattr(given, "_EVALUATED_BYTES", 0)
    n = 256
    x = np.arange(n) / n

    def entry(rows: Matrix, columns: Matrix) -> Matrix:
        away = np.abs(x[rows][:, None] - x[columns][None, :] - 0.25) - 0.05
        return np.asarray(np.emath.sqrt(away))

    for chain in (None, Chain.for_shape((n, n))):
        with pytest.raises(TypeError, match="entry: expected float64, as in the first block, got complex128 at rows"):
            bitterfly.factorize(entry, chain, shape=(n, n), rtol=0.5)


def test_entries_of_higher_precision() -> None:
    def entry(rows: Matrix, columns: Matrix) -> Matrix:
        return np.ones((len(rows), len(columns)), np.float32 if len(rows) < 4 else np.float64)

    with pytest.raises(TypeError, match="entry: expected float32, as in the first block, got float64"):
        bitterfly.factorize(entry, shape=(64, 64), rtol=1e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 30.0, 100.0])
def test_rounding_is_no_wrong_order(dtype: Any, offset: float) -> None:
    """``|x|^2 + |y|^2 - 2 x.y`` cancels where coordinates are off the origin, in blocks in another way than alone."""
    rng = np.random.default_rng(0)
    x, y = (np.sort(rng.random((300, 3)), axis=0).astype(dtype) + dtype(offset) + dtype(shift) for shift in (0, 3))

    def entry(rows: Matrix, columns: Matrix) -> Matrix:
        p, q = x[rows], y[columns]
        squares = np.sum(p * p, 1)[:, None] + np.sum(q * q, 1)[None, :] - 2 * (p @ q.T)
        return np.asarray(1 / np.sqrt(np.maximum(squares, 0)), dtype)

    a = entry(np.arange(300), np.arange(300))
    op = bitterfly.factorize(entry, shape=(300, 300), rtol=1e-1)
    assert relative(a, op.todense()) <= 1e-1


WRONG: dict[str, Callable[[Matrix, Matrix, Callable[[Matrix, Matrix], Matrix]], Matrix]] = {
    "rows reversed": lambda rows, columns, f: f(rows[::-1], columns),
    "columns reversed": lambda rows, columns, f: f(rows, columns[::-1]),
    "transposed": lambda rows, columns, f: f(rows, columns).T,
    "sorted": lambda rows, columns, f: f(np.roll(rows, 1), columns),
    "pairs": lambda rows, columns, f: np.broadcast_to(np.diag(f(rows, columns)), (len(rows), len(columns))),
    "sides exchanged": lambda rows, columns, f: f(columns, rows),
    "normalised": lambda rows, columns, f: f(rows, columns) / np.max(np.abs(f(rows, columns))),
}


@pytest.mark.parametrize(
    ("wrong", "weight"), [*((wrong, 1.0) for wrong in WRONG), *((wrong, 1e-9) for wrong in list(WRONG)[:5])]
)
def test_wrong_orders(wrong: str, weight: float) -> None:
    """A wrong order is told where it matters to a billionth of the entries; other entries are by their size."""

    def entry(rows: Matrix, columns: Matrix) -> Matrix:
        return WRONG[wrong](
            rows, columns, lambda i, j: 1 + weight * np.sin(1 + i[:, None] * 0.7 + np.sqrt(j)[None, :] * 1.3)
        )

    with pytest.raises(ValueError, match="blocks and single entries differ"):
        as_source(entry, (301, 301))


@pytest.mark.parametrize(("name", "shape"), [("fourier_integral", (1000, 700)), ("bessel_j0", (500, 500))])
def test_small_entry_functions_are_evaluated_once(name: str, shape: tuple[int, int]) -> None:
    kernel, evaluated = gallery.KERNELS[name](max(shape)), 0

    def entry(rows: Matrix, columns: Matrix) -> Matrix:
        nonlocal evaluated
        evaluated += len(rows) * len(columns)
        return kernel(rows, columns)

    op = bitterfly.factorize(entry, shape=shape, rtol=1e-4)
    assert evaluated <= 1.1 * shape[0] * shape[1]
    array = bitterfly.factorize(kernel(np.arange(shape[0]), np.arange(shape[1])), rtol=1e-4)
    assert op.nbytes == array.nbytes and op.relative_error == array.relative_error and op.error_kind == "ledger"


def test_hot_pixels_are_measured() -> None:
    """A single entry that stands out, wherever a matrix comes from."""
    a = smooth((96, 128), np.float64)
    a[17, 100] += 2 * np.linalg.norm(a)
    for kind, make in SOURCES.items():
        op = bitterfly.factorize(make(a), shape=a.shape, rtol=1e-2)
        assert op.error_kind == "ledger" and relative(a, op.todense()) <= op.relative_error <= 1e-2, kind
        packed = bitterfly.compress(make(a), shape=a.shape, rtol=1e-2)
        assert packed.error_kind == "measured" and relative(a, packed.todense()) <= 1e-2, kind


# ---- slices ----


@pytest.mark.parametrize("held", [1 << 30, 1 << 10])
@pytest.mark.parametrize("panel", [1 << 25, 1 << 12])
@pytest.mark.parametrize("chunks", [None, (64, 64), (7, 11), (300, 16), ((100, 200), (256,)), (1 << 20, 1 << 20)])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", ">c8", "i2"])
def test_slices_are_read_once(
    dtype: str, chunks: tuple[Any, Any] | None, panel: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "_PANEL_BYTES", panel)
    monkeypatch.setattr(given, "_HELD_BYTES", held)
    a = (100 * smooth((300, 256), np.complex128 if dtype == ">c8" else np.float64)).astype(dtype)
    if isinstance(chunks, tuple) and isinstance(chunks[0], tuple):
        chunks = ((100, 100, 100), (256,))
    file = Sliced(a, chunks)
    whole = at_hand(as_source(file, None)).rows(np.arange(300))
    assert file.read == a.size and np.array_equal(whole, a)
    assert whole.dtype == {"<f8": np.float64, ">f4": np.float32, ">c8": np.complex64, "i2": np.float64}[dtype]


@pytest.mark.parametrize("held", [1 << 30, 1 << 10])
def test_slices_as_arrays(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over the data, whatever the ordering, and the result of the array."""
    monkeypatch.setattr(given, "_HELD_BYTES", held)
    for a in (smooth((120, 128), np.float64), gallery.hadamard(128).todense()):
        file = Sliced(a, (32, 32))
        for verb, rtol in ((bitterfly.factorize, 1e-3), (bitterfly.compress, 0.1)):
            op, array = verb(file, rtol=rtol), verb(a, rtol=rtol)
            assert op.nbytes == array.nbytes and op.relative_error == array.relative_error
            assert op.error_kind == array.error_kind
        assert file.read == 2 * a.size


@pytest.mark.parametrize("dtype", [">f4", "<i2", "<f4"])
def test_maps_of_other_types(dtype: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are converted in panels to a map, never in memory as a whole."""
    monkeypatch.setattr(given, "_PANEL_BYTES", 1 << 12)
    a = np.rint(100 * smooth((128, 128), np.float64))
    a.astype(dtype).tofile(tmp_path / "a")
    mapped = np.memmap(tmp_path / "a", dtype, "r", shape=a.shape)
    made = at_hand(as_source(mapped, None))
    assert np.array_equal(made.rows(np.arange(128)), a)
    owner: Any = made.array
    while not isinstance(owner, np.memmap):
        owner = owner.base
    op, plain = (bitterfly.factorize(b, permute=None) for b in (mapped, a.astype(made.dtype)))
    assert op.chain == plain.chain and np.array_equal(op.values, plain.values)


def test_hdf5(tmp_path: Any) -> None:
    h5py = pytest.importorskip("h5py")
    a = smooth((300, 256), np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", data=a, chunks=(64, 64), compression="gzip", dtype=">f4")
        op = bitterfly.factorize(data, rtol=1e-3)
        assert op.dtype == np.float32 and relative(a, op.todense()) <= op.relative_error <= 1e-3
        assert bitterfly.compress(data, rtol=1e-2).error_kind == "measured"


def test_full_disks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(given, "_HELD_BYTES", 1 << 10)
    monkeypatch.setattr(given.os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"a: 614400 bytes are read from slices once and kept in .* \(TMPDIR\)"):
        bitterfly.factorize(Sliced(smooth((300, 256), np.float64)), rtol=1e-3)


def test_wrong_slices() -> None:
    class Short(Sliced):
        def __getitem__(self, part: Any) -> Matrix:
            return super().__getitem__(part)[:, 1:]

    with pytest.raises(ValueError, match=r"a: expected a slice of shape \(20, 30\), as a.shape says, got \(20, 29\)"):
        bitterfly.factorize(Short(np.ones((20, 30))), rtol=1e-3)
    real = Sliced(np.ones((20, 30)) * 1j)
    real.dtype = np.dtype(np.float64)
    with pytest.raises(TypeError, match="a: expected real numbers, its dtype being float64, got complex128"):
        bitterfly.factorize(real, rtol=1e-3)
    unknown = Sliced(np.ones((20, 10)))
    unknown.shape = (float("nan"), 10)
    with pytest.raises(ValueError, match=r"a: expected a shape of integers, got \(nan, 10\)"):
        bitterfly.factorize(unknown, rtol=1e-3)
    with pytest.raises(ValueError, match=r"a: expected a matrix \(two dimensions\), got 3"):
        bitterfly.factorize(Sliced(np.ones((2, 2, 2))), rtol=1e-3)
    with pytest.raises(TypeError, match="a: expected real or complex numbers, got dtype object"):
        bitterfly.factorize(Sliced(np.ones((20, 30), object)), rtol=1e-3)


# ---- tensors ----


class Tensor:
    """As a torch.Tensor: a dtype that NumPy does not know, and an array on request."""

    dtype = "torch.complex128"

    def __init__(self, a: Matrix, error: Exception | None = None) -> None:
        self._a, self._error, self.shape = a, error, a.shape

    def __getitem__(self, part: Any) -> Tensor:
        return Tensor(self._a[part])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Matrix:
        if self._error is not None:
            raise self._error
        return self._a


def test_tensors() -> None:
    a = gallery.dft(64).todense()
    assert relative(a, bitterfly.factorize(Tensor(a), rtol=1e-10).todense()) < 1e-10
    needs = RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    for error in (needs, TypeError("Got unsupported ScalarType BFloat16")):
        with pytest.raises(TypeError, match=r"a: expected what numpy\.asarray takes, got Tensor: ") as caught:
            bitterfly.compress(Tensor(a, error), rtol=1e-3)
        assert str(error) in str(caught.value)


# ---- what NumPy is told to raise ----


def test_underflow_is_harmless() -> None:
    x = np.linspace(-30, 30, 128)
    with np.errstate(under="ignore"):
        gaussian = np.exp(-((x[:, None] - x[None, :]) ** 2))
        small = np.ldexp(gaussian, -500)
    with np.errstate(under="raise"):
        for a in (gaussian, small):
            for kind in ("array", "entries"):
                op = bitterfly.factorize(SOURCES[kind](a), shape=a.shape, rtol=1e-2)
                bitterfly.quantize(op, bits=8)
            assert bitterfly.compress(a, rtol=0.1).relative_error <= 0.1
