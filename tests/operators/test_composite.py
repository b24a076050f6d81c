"""Sums and stacks: the operator contract, errors, codes and files."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.sparse.linalg import lsqr

import bitterfly
from bitterfly import ButterflyOperator, Chain, algebra, transforms
from strategies import gaussian

RNG = np.random.default_rng(3)
CHAIN = Chain.butterfly((32, 32), rank=2, leaf=4, groups=4)


def _sum(dtype: Any = np.float64) -> Any:
    return bitterfly.factorize(gaussian(np.random.default_rng(0), (32, 32), dtype), CHAIN, terms=3)


def _parts() -> list[ButterflyOperator]:
    chains = (Chain.square_dyadic(32), CHAIN, Chain.square_dyadic(32))
    kinds = (np.float64, np.complex128, np.float64)
    return [ButterflyOperator([gaussian(RNG, p, t) for p in c]) for c, t in zip(chains, kinds, strict=True)]


COMPOSITES = {
    "sum": _sum(),
    "complex sum": algebra.ButterflySum(_parts()),
    "stack": algebra.vstack(_parts()),
    "side by side": algebra.hstack(_parts()),
    "stack of stacks": algebra.vstack([algebra.hstack(_parts()), algebra.hstack(_parts())]),
    "stack of sums": algebra.hstack([_sum(), _sum()]),
}


@pytest.fixture(params=COMPOSITES, ids=str)
def op(request: pytest.FixtureRequest) -> Any:
    return COMPOSITES[request.param]


def test_views_keep_their_type(op: Any) -> None:
    a = op.todense()
    assert a.dtype == op.dtype and a.shape == op.shape
    views = {"T": a.T, "H": a.conj().T}
    for view, dense in [*((getattr(op, name), dense) for name, dense in views.items()), (op.conj(), a.conj())]:
        assert type(view) is type(op) and view.shape == dense.shape and view.nbytes == op.nbytes
        np.testing.assert_allclose(np.asarray(view), dense, atol=1e-12 * np.linalg.norm(a))
        assert view.error_kind == op.error_kind
    assert np.array([op, op]).shape == (2, *op.shape)
    assert np.asarray(op, np.complex64).dtype == np.complex64
    with pytest.raises(ValueError, match="copy"):
        op.__array__(copy=False)


@pytest.mark.filterwarnings("ignore:Calling `matvec` on 'column vectors':FutureWarning")  # SciPy 1.18
def test_products(op: Any) -> None:
    a, (m, n) = op.todense(), op.shape
    bound = 1e-12 * np.linalg.norm(a)
    for shape in ((n,), (n, 1), (n, 3), (n, 0)):
        x = gaussian(RNG, shape, np.complex128)
        for got in (op @ x, op.apply(x)):
            np.testing.assert_allclose(got, a @ x, atol=bound)
        out = np.empty((m, *shape[1:]), np.complex128)
        assert op.apply(x, out=out) is out
        np.testing.assert_allclose(out, a @ x, atol=bound)
    for shape in ((m,), (m, 1), (m, 3)):
        y = gaussian(RNG, shape, np.float64)
        np.testing.assert_allclose(op.H @ y, a.conj().T @ y, atol=bound)
        np.testing.assert_allclose(op.T @ y, a.T @ y, atol=bound)
        np.testing.assert_allclose(y.T @ op, y.T @ a, atol=bound)
    assert op.matvec(np.ones((n, 1))).shape == (m, 1) and op.rmatvec(np.ones(m)).shape == (n,)
    with pytest.raises(ValueError, match="x: expected shape"):
        op.apply(np.ones(n + 1))
    with pytest.raises(TypeError, match="out: expected"):
        op.apply(np.ones(n), out=np.empty(m, np.int32))
    found = lsqr(op, a @ np.ones(n), atol=1e-12, btol=1e-12, iter_lim=2000)[0]
    assert np.linalg.norm(a @ (found - 1)) < 1e-6 * np.linalg.norm(a)


def test_casts_copies_and_traces(op: Any) -> None:
    a = op.todense()
    single = op.astype(np.complex64)
    assert type(single) is type(op) and single.dtype == np.complex64
    assert np.linalg.norm(single.todense() - a) < 1e-5 * np.linalg.norm(a)
    with pytest.raises(TypeError, match="dtype: expected"):
        op.astype(np.int8)
    for other in (pickle.loads(pickle.dumps(op)), copy.deepcopy(op)):
        np.testing.assert_array_equal(other.todense(), a)
    if op.shape[0] == op.shape[1]:
        assert op.trace() == pytest.approx(np.trace(a))
    else:
        with pytest.raises(ValueError, match="trace: expected a square operator"):
            op.trace()
    text = repr(op)
    assert "\n" not in text and type(op).__name__ in text and str(op.dtype) in text and op.error_kind in text


def test_the_error_of_a_stack_is_at_most_that_of_its_worst_part() -> None:
    a = gaussian(RNG, (2, 32, 32), np.float64) * np.array([1.0, 5.0]).reshape(2, 1, 1)
    parts = [bitterfly.factorize(a[0], CHAIN), bitterfly.quantize(bitterfly.factorize(a[1], CHAIN), bits=4)]
    both = algebra.vstack(parts)
    true = np.linalg.norm(both.todense() - np.concatenate(a)) / np.linalg.norm(a)
    assert true <= both.relative_error == max(p.relative_error for p in parts)
    assert both.error_kind == "measured" and algebra.hstack(parts).H.relative_error == both.relative_error
    unknown = algebra.vstack([parts[0], algebra.inverse(transforms.dft(32))])
    assert np.isnan(unknown.relative_error) and unknown.error_kind == "estimated"


def test_what_is_stacked_is_checked() -> None:
    parts = _parts()
    for make in (algebra.vstack, algebra.hstack, algebra.ButterflySum):
        assert make(p for p in parts).nbytes == sum(p.nbytes for p in parts)
        with pytest.raises(ValueError, match="expected at least one"):
            make(iter([]))
        with pytest.raises(TypeError, match=r"\[1\]: expected an operator of this package, got ndarray"):
            make([parts[0], np.eye(32)])
        for bad in (parts[0], 3, np.eye(4)):
            with pytest.raises(TypeError, match="expected operators in a list or other iterable"):
                make(bad)
    with pytest.raises(ValueError, match="axis: expected 0, 1 or"):
        algebra.ButterflyStack(parts, axis=2)
    with pytest.raises(ValueError, match="error_kind: expected one of"):
        algebra.ButterflySum(parts, 0.1, "guessed")


# ---- codes and files ----


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_sums_are_quantized(dtype: Any) -> None:
    a = gaussian(np.random.default_rng(0), (32, 32), dtype)
    op = bitterfly.factorize(a, CHAIN, terms=2)
    packed = bitterfly.quantize(op, bits=8)
    assert type(packed) is algebra.ButterflySum
    assert all(isinstance(term, bitterfly.PackedButterfly) for term in packed.terms)
    true = np.linalg.norm(packed.todense() - a) / np.linalg.norm(a)
    assert op.relative_error <= true * (1 + 1e-5) and true <= packed.relative_error < 1.2 * true + 0.1
    assert packed.error_kind == "measured" and packed.nbytes < op.nbytes
    target = op.relative_error * 1.05
    assert bitterfly.quantize(op, rtol=target).relative_error <= target
    with pytest.raises(ValueError, match=r"rtol: .* cannot be met"):
        bitterfly.quantize(op, rtol=1e-9)
    with pytest.raises(TypeError, match="expected a sum of ButterflyOperators"):
        bitterfly.quantize(packed, bits=4)
    with pytest.raises(TypeError, match="quantize its parts"):
        bitterfly.quantize(algebra.vstack([op, op]), bits=4)


@pytest.mark.parametrize("view", ["forward", "H"])
@pytest.mark.parametrize("packed", [False, True])
def test_sums_are_saved(tmp_path: Path, packed: bool, view: str) -> None:
    op = algebra.ButterflySum(_parts(), 0.25, "measured")
    op = bitterfly.quantize(op, bits=6) if packed else op
    op = op.H if view == "H" else op
    bitterfly.save(tmp_path / "s", op)
    again = bitterfly.load(tmp_path / "s")
    assert type(again) is algebra.ButterflySum and [type(t) for t in again.terms] == [type(t) for t in op.terms]
    assert (again.relative_error, again.error_kind) == (op.relative_error, op.error_kind)
    np.testing.assert_array_equal(again.todense(), op.todense())
    bitterfly.save(tmp_path / "unknown", algebra.ButterflySum(_parts(), np.nan))
    assert np.isnan(bitterfly.load(tmp_path / "unknown").relative_error)


def _rewrite(path: Path, change: Any) -> None:
    """Change metadata and tensors of a file, whatever its checksums are."""
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["bitterfly"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, path, metadata={"bitterfly": json.dumps(header, sort_keys=True, separators=(",", ":"))})


CHANGES: dict[str, Any] = {
    "format_version": lambda header, _: header.update(format_version=2),
    "extra": lambda header, _: header.update(extra=1),
    "error_kind": lambda header, _: header.pop("error_kind"),
    "terms": lambda header, _: header.update(terms=[]),
    "terms.0.": lambda header, _: header["terms"][0].pop("mode"),
    "terms.1.": lambda header, tensors: tensors["1.values"].__setitem__(0, 1.0),
    "1.values": lambda header, tensors: tensors.update({"3.values": tensors.pop("1.values")}),
    "relative_error": lambda header, _: header.update(relative_error=-1.0),
    "sha256": lambda header, _: header.update(relative_error=0.5),
    "odd": lambda header, tensors: tensors.update(odd=np.zeros(1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_damaged_sums_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "s"
    bitterfly.save(path, algebra.ButterflySum(_parts(), 0.25, "measured"))
    _rewrite(path, CHANGES[change])
    with pytest.raises(ValueError):
        bitterfly.load(path)


def test_composites_are_immutable(op: Any) -> None:
    for name in ("relative_error", "error_kind", "shape", "axis", "anything"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(op, name, 5.0)
    with pytest.raises(AttributeError, match="immutable"):
        del op.relative_error
    assert pickle.loads(pickle.dumps(op)).relative_error == op.relative_error or op.relative_error != op.relative_error
