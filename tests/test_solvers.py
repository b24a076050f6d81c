"""Solvers of SciPy run for real on float and packed operators; solutions checked against dense computations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg as sla

import bitterfly
from bitterfly import transforms

N = 64
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
Operator = bitterfly.ButterflyOperator | bitterfly.PackedButterfly


@pytest.fixture(params=["float", "packed"])
def packed(request: pytest.FixtureRequest) -> bool:
    return request.param == "packed"


@pytest.fixture(params=DTYPES, ids=lambda d: np.dtype(d).name)
def op(packed: bool, request: pytest.FixtureRequest) -> Operator:
    """A well-conditioned butterfly: orthogonal, with columns scaled between 1 and 2."""
    rng = np.random.default_rng(1)
    base = transforms.random(N, rng=rng, dtype=request.param, orthogonal=True)
    factors = [f.copy() for f in base.factors]
    factors[-1] *= np.linspace(1, 2, N, dtype=np.float32).reshape(-1, 1, 2, 1)
    op = bitterfly.ButterflyOperator(factors)
    return bitterfly.quantize(op, bits=4) if packed else op


def tolerance(op: Operator) -> float:
    """A hundred roundings of the operator's precision; the condition number is at most 2 plus the code error."""
    return 100 * N * float(np.finfo(op.dtype).eps)


def right_side(op: Operator) -> np.ndarray:
    rng = np.random.default_rng(2)
    b = rng.standard_normal(N)
    return (b + 1j * rng.standard_normal(N)).astype(op.dtype) if op.dtype.kind == "c" else b.astype(op.dtype)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # SciPy's lsmr in single precision
@pytest.mark.parametrize("name", ["lsqr", "lsmr", "gmres", "cg"])
def test_linear_systems(op: Operator, name: str) -> None:
    b, tight = right_side(op), float(np.finfo(op.dtype).eps)
    a = op.todense().astype(np.result_type(op.dtype, np.float64))
    if name in ("lsqr", "lsmr"):
        x = getattr(sla, name)(op, b, atol=tight, btol=tight)[0]
    elif name == "gmres":
        x, info = sla.gmres(op, b, rtol=10 * tight, restart=N, maxiter=20)
        assert info == 0
    else:
        x, info = sla.cg(op.H @ op, op.H @ b, rtol=10 * tight, maxiter=500)
        assert info == 0
    expected = np.linalg.solve(a, b)
    assert np.linalg.norm(x - expected) <= tolerance(op) * np.linalg.norm(expected)


# lobpcg stops at a default tolerance that depends on the dtype, and SciPy 1.18 tells of its inner solves.
@pytest.mark.filterwarnings("ignore:Exited:UserWarning")
@pytest.mark.filterwarnings("ignore:An ill-conditioned:scipy.linalg.LinAlgWarning")
@pytest.mark.parametrize("solver", ["arpack", "propack", "lobpcg"])
def test_svds(op: Operator, solver: str) -> None:
    k = 3
    u, s, vh = sla.svds(op, k=k, solver=solver, rng=np.random.default_rng(3), maxiter=2000)
    order = np.argsort(s)[::-1]
    expected = np.linalg.svd(op.todense(), compute_uv=False)[:k]
    np.testing.assert_allclose(s[order], expected, rtol=np.sqrt(tolerance(op)))
    residual = np.linalg.norm(op @ vh.conj().T - u * s)
    assert residual <= 10 * np.sqrt(tolerance(op)) * expected[0]


def test_eigsh(op: Operator) -> None:
    gram = op.H @ op
    values = sla.eigsh(gram, k=3, rng=np.random.default_rng(4), return_eigenvectors=False)
    a = op.todense()
    expected = np.linalg.eigvalsh(a.conj().T @ a)[-3:]
    np.testing.assert_allclose(np.sort(values), expected, rtol=tolerance(op))


def test_expm_multiply(op: Operator) -> None:
    b = right_side(op)
    a = op.todense()
    got = sla.expm_multiply(op, b, traceA=op.trace())
    expected = scipy.linalg.expm(a.astype(np.result_type(a.dtype, np.float64))) @ b
    assert np.linalg.norm(got - expected) <= tolerance(op) * np.linalg.norm(expected)
