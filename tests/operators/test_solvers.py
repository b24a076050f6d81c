"""Solvers of SciPy run for real on float and packed operators; solutions checked against dense computations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg as sla

import bitterfly
import strategies as own
import tolerances
from bitterfly import transforms

N = 64
Operator = bitterfly.ButterflyOperator | bitterfly.PackedButterfly


@pytest.fixture(params=["float", "packed"])
def packed(request: pytest.FixtureRequest) -> bool:
    return request.param == "packed"


@pytest.fixture(params=own.DTYPES, ids=lambda d: np.dtype(d).name)
def op(packed: bool, request: pytest.FixtureRequest) -> Operator:
    """A well-conditioned butterfly: orthogonal, with columns scaled between 1 and 2, rows and columns permuted."""
    rng = np.random.default_rng(1)
    base = transforms.random(N, rng=rng, dtype=request.param, orthogonal=True)
    factors = [f.copy() for f in base.factors]
    factors[-1] *= np.linspace(1, 2, N, dtype=np.float32).reshape(-1, 1, 2, 1)
    op = bitterfly.ButterflyOperator(factors, permutations=("bit_reversal", rng.permutation(N)))
    return bitterfly.quantize(op, bits=4) if packed else op


def dense(op: Operator) -> np.ndarray:
    return op.astype(np.result_type(op.dtype, np.float64)).todense()


def tolerance(op: Operator) -> float:
    return tolerances.solution(N, op.dtype, np.linalg.cond(dense(op)))


def right_side(op: Operator) -> np.ndarray:
    return own.gaussian(np.random.default_rng(2), (N,), op.dtype)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # SciPy's lsmr in single precision
@pytest.mark.parametrize("name", ["lsqr", "lsmr", "gmres", "cg", "bicgstab", "minres"])
def test_linear_systems(op: Operator, name: str) -> None:
    if name == "minres" and op.dtype.kind == "c":
        pytest.skip("SciPy's minres is for real symmetric operators")
    b, tight = right_side(op), tolerances.eps(op.dtype)
    if name in ("lsqr", "lsmr"):
        x = getattr(sla, name)(op, b, atol=tight, btol=tight)[0]
    elif name == "gmres":
        x, info = sla.gmres(op, b, rtol=10 * tight, restart=N, maxiter=20)
        assert info == 0
    else:
        x, info = getattr(sla, name)(op.H @ op, op.H @ b, rtol=10 * tight, maxiter=500)
        assert info == 0
    expected = np.linalg.solve(dense(op), b)
    assert np.linalg.norm(x - expected) <= tolerance(op) * np.linalg.norm(expected)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("solver", ["lsqr", "lsmr"])
def test_damped_least_squares(op: Operator, solver: str) -> None:
    """min |A x - b|^2 + |x|^2, whose normal matrix A^H A + 1 is better conditioned than A^H A."""
    b, tight = right_side(op), tolerances.eps(op.dtype)
    x = getattr(sla, solver)(op, b, damp=1.0, atol=tight, btol=tight)[0]
    a = dense(op)
    expected = np.linalg.solve(a.conj().T @ a + np.eye(N), a.conj().T @ b)
    assert np.linalg.norm(x - expected) <= tolerance(op) * np.linalg.norm(expected)


@pytest.mark.parametrize("solver", ["arpack", "propack"])
@pytest.mark.parametrize("which", ["LM", "SM"])
def test_svds(op: Operator, solver: str, which: str) -> None:
    u, s, vh = sla.svds(op, k=3, solver=solver, which=which, rng=np.random.default_rng(3), maxiter=20 * N)
    a = dense(op)
    every = np.linalg.svd(a, compute_uv=False)
    expected = every[:3] if which == "LM" else every[-3:]
    bound = tolerances.eigenvalue(N, op.dtype, np.linalg.cond(a)) * every[0]
    np.testing.assert_allclose(np.sort(s)[::-1], expected, rtol=0, atol=bound)
    # A residual as large as the square root of the error of a value would be possible for a Ritz pair.
    assert np.linalg.norm(a @ vh.conj().T - u * s) <= np.sqrt(bound * every[0])


# lobpcg stops at a default tolerance of sqrt(eps) N, and SciPy 1.18 tells of its inner solves.
@pytest.mark.filterwarnings("ignore:Exited:UserWarning")
@pytest.mark.filterwarnings("ignore:An ill-conditioned:scipy.linalg.LinAlgWarning")
def test_svds_by_lobpcg(op: Operator) -> None:
    u, s, vh = sla.svds(op, k=3, solver="lobpcg", rng=np.random.default_rng(3), maxiter=2000)
    a = dense(op)
    expected = np.linalg.svd(a, compute_uv=False)[:3]
    residual = np.sqrt(tolerances.eps(op.dtype)) * N * expected[0]
    np.testing.assert_allclose(np.sort(s)[::-1], expected, rtol=0, atol=residual)
    assert np.linalg.norm(a @ vh.conj().T - u * s) <= np.sqrt(3) * residual


def test_eigsh(op: Operator) -> None:
    gram, a = op.H @ op, dense(op)
    values, vectors = sla.eigsh(gram, k=3, rng=np.random.default_rng(4))
    expected = np.linalg.eigvalsh(a.conj().T @ a)[-3:]
    bound = tolerances.eigenvalue(N, op.dtype) * expected[-1]
    np.testing.assert_allclose(np.sort(values), expected, rtol=0, atol=bound)
    assert np.linalg.norm(a.conj().T @ (a @ vectors) - vectors * values) <= np.sqrt(bound * expected[-1])


def test_eigsh_of_a_symmetric_butterfly(packed: bool) -> None:
    """Hadamard is symmetric: its eigenvalues are +- sqrt(n), and 2 bits a column hold it exactly."""
    op: Operator = transforms.hadamard(N)
    op = bitterfly.quantize(op, bits=1) if packed else op
    values = sla.eigsh(op, k=4, which="BE", rng=np.random.default_rng(4), return_eigenvectors=False)
    bound = tolerances.eigenvalue(N, float) * np.sqrt(N)
    np.testing.assert_allclose(values, np.sqrt(N) * np.array([-1, -1, 1, 1]), rtol=0, atol=bound)


def test_eigs(op: Operator) -> None:
    a = dense(op)
    values = sla.eigs(op, k=4, rng=np.random.default_rng(5), return_eigenvectors=False)
    everything = np.linalg.eigvals(a)
    nearest = [np.min(np.abs(everything - z)) for z in values]
    # A simple eigenvalue moves by the backward error times the condition of its vectors.
    condition = np.linalg.cond(np.linalg.eig(a)[1])
    assert max(nearest) <= tolerances.eigenvalue(N, op.dtype, condition) * np.linalg.norm(a, 2)


def test_expm_multiply(op: Operator) -> None:
    b, a = right_side(op), dense(op)
    got = sla.expm_multiply(op, b, traceA=op.trace())
    expected = scipy.linalg.expm(a) @ b
    bound = tolerances.exponential(N, op.dtype, np.linalg.norm(a, 1), np.linalg.norm(a, 2))
    assert np.linalg.norm(got - expected) <= bound * np.linalg.norm(expected)


def test_a_least_squares_problem_from_a_matrix() -> None:
    """From a dense matrix to a solution: the packed operator's error bounds that of the residual."""
    rng = np.random.default_rng(6)
    k = np.arange(N)
    a = np.exp(-2j * np.pi * (np.outer(k, k) % N) / N) * rng.uniform(1, 2, N)
    op = bitterfly.compress(a, rtol=1e-4)
    b = own.gaussian(rng, (N,), complex)
    x = sla.lsqr(op, b, atol=tolerances.eps(float), btol=tolerances.eps(float))[0]
    slack = tolerance(op) * np.linalg.cond(a) * np.linalg.norm(b)
    assert np.linalg.norm(a @ x - b) <= op.relative_error * np.linalg.norm(a) * np.linalg.norm(x) + slack
