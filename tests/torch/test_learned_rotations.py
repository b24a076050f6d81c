"""Learned rotations: that they are orthogonal and stored as they are, what they learn, and errors of codes in them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import cholesky

torch = pytest.importorskip("torch")

import bitterfly
from bitterfly import reference
from bitterfly.torch import learn_rotation, rotations
from bitterfly.torch.rotations import _Butterflies

Array = np.ndarray[Any, np.dtype[Any]]


def butterflies(n: int, bits: int, seed: int) -> tuple[_Butterflies, Any]:
    rng = np.random.default_rng(seed)
    made = _Butterflies.at_start(n, rng)
    turns = rng.integers(-(2 ** (bits + 1)), 2 ** (bits + 1), made.angles.shape)
    return made, torch.from_numpy(turns * np.pi / 2**bits)


def moments(n: int, rng: np.random.Generator, decay: float = 0.01) -> Array:
    x = rng.standard_normal((4 * n + 10, n)) * np.geomspace(1, decay, n) @ np.linalg.qr(rng.standard_normal((n, n)))[0]
    return np.asarray(x.T @ x)


def variances(g: Array, op: Any) -> Array:
    """The squared pivots of the damped metric in a basis, by SciPy."""
    q = reference.dense(op)
    h = q @ g @ q.T + 0.01 * np.mean(np.diag(g)) * np.eye(len(g))
    return np.square(np.diag(cholesky(h[::-1, ::-1], lower=True)))


# ---- what is stored ----


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12, 16, 33, 100])
@pytest.mark.parametrize("bits", [2, 3, 5, 8, 16])
def test_the_operator_is_that_of_the_angles(n: int, bits: int) -> None:
    made, angles = butterflies(n, bits, seed=n)
    op = made.operator(angles, bits, np.dtype(np.float64))
    wanted = made.forward(torch.eye(n, dtype=torch.float64), angles).T.numpy()
    for dense in (op.todense(), reference.dense(op)):
        assert np.abs(dense - wanted).max() < 1e-14
        assert np.abs(dense.T @ dense - np.eye(n)).max() < 1e-14
    single = made.operator(angles, bits, np.dtype(np.float32)).todense()
    assert single.dtype == np.float32 and np.abs(single - wanted).max() < 1e-6


def test_bytes() -> None:
    """Two codes for each of 128 blocks of 8 factors, two bits for each sign, a unit of signs."""
    made, angles = butterflies(256, 4, seed=0)
    assert made.operator(angles, 4, np.dtype(np.float32)).nbytes == 8 * 256 * 4 / 8 + 256 * 2 / 8 + 8
    g = moments(256, np.random.default_rng(0))
    q = learn_rotation(np.eye(256), g, steps=0, angle_bits=16, rng=0)
    assert q.nbytes == 8 * 256 * 2 / 8 + 256 * 2 / 8 + 8  # an eighth of a turn takes two bits in any


def test_the_start_is_a_randomized_hadamard_transform() -> None:
    q = learn_rotation(np.eye(32), np.eye(32), steps=0, rng=1).todense()
    assert np.allclose(np.abs(q), 32**-0.5)
    other = learn_rotation(np.eye(32), np.eye(32), steps=0, rng=2).todense()
    assert not np.allclose(q, other)
    assert np.array_equal(q, learn_rotation(np.eye(32), np.eye(32), steps=0, rng=1).todense())


# ---- what is learned ----


@pytest.mark.parametrize("n", [2, 7, 16])
@pytest.mark.parametrize("objective", ["feedback", "error"])
def test_gradients(n: int, objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By differences; codes stay as they are, as the straight-through gradient takes them."""
    rng = np.random.default_rng(n)
    g, a = torch.from_numpy(moments(n, rng)), rng.standard_normal((9, n))
    made, start = butterflies(n, 4, seed=n)
    codes = a @ made.operator(start, 4, np.dtype(np.float64)).todense().T + 0.1 * rng.standard_normal((9, n))
    monkeypatch.setattr(rotations, "quantize_dense", lambda *_, **__: SimpleNamespace(todense=lambda: codes))
    loss = rotations._feedback(g, made) if objective == "feedback" else rotations._error(a, g, made, 2)
    angles = start.clone().requires_grad_()
    loss(angles).backward()
    for place in np.ndindex(*start.shape):
        ends = []
        for step in (1e-5, -1e-5):
            moved = start.clone()
            moved[place] += step
            ends.append(float(loss(moved)))
        assert float(angles.grad[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-7, rel=1e-5)


@pytest.mark.parametrize("n", [16, 24, 48])
@pytest.mark.parametrize("angle_bits", [4, 6])
def test_the_mean_variance_falls_and_their_product_stays(n: int, angle_bits: int) -> None:
    g = moments(n, np.random.default_rng(n))
    w = np.eye(n)
    start, learned = (
        variances(g, learn_rotation(w, g, steps=steps, angle_bits=angle_bits, rng=0)) for steps in (0, 80)
    )
    least = np.exp(np.log(start).mean())
    assert np.exp(np.log(learned).mean()) == pytest.approx(least)
    assert least <= learned.mean() < 0.5 * (start.mean() + least)


def test_the_error_of_codes_falls() -> None:
    """Rows of few distinct directions: a rotation that suits their codes, and in a metric the one that counts."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((64, 4)) @ rng.standard_normal((4, 32))
    for metric in (None, moments(32, rng)):

        def lost(q: Any, metric: Any = metric) -> float:
            plain = {"code": "window7", "head": None, "outliers": None, "rng": 0}
            c = bitterfly.quantize_dense(w, bits=2, rotate=q, **plain).todense() - w
            return float(np.sqrt(np.sum(c @ (np.eye(32) if metric is None else metric) * c)))

        start, learned = (
            learn_rotation(w, metric, objective="error", bits=2, steps=steps, angle_bits=8, rng=0) for steps in (0, 60)
        )
        assert lost(learned) < 0.97 * lost(start)


def test_several_weights_share_one() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((k, 20)).astype(np.float32) for k in (8, 1, 16)]
    g = moments(20, rng)
    for objective in ("feedback", "error"):
        one, all_ = (learn_rotation(w, g, objective=objective, steps=10, rng=0) for w in (np.concatenate(parts), parts))
        assert np.array_equal(one.todense(), all_.todense())
    tensors = [torch.from_numpy(part) for part in parts]
    assert np.array_equal(
        learn_rotation(tensors, g, steps=10, rng=0).todense(), learn_rotation(parts, g, steps=10, rng=0).todense()
    )


# ---- codes in the basis ----


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("objective", ["feedback", "error"])
def test_errors_are_not_below_the_true_ones(dtype: Any, objective: str) -> None:
    """Of products of codes and rotations, for weights of all shapes: uneven, of low rank, zeros, tiny and huge ones."""
    for seed in range(15):
        rng = np.random.default_rng(seed)
        m, n = (int(x) for x in rng.integers(1, 40, 2))
        if seed % 5 == 0:
            m, n = [(1, 17), (23, 1), (1, 1)][seed // 5]
        w = rng.standard_normal((m, n)) * np.geomspace(1, rng.choice([1, 1e-3]), n)
        if seed % 4 == 1:
            w = np.outer(w[:, 0], w[0])
        if seed % 7 == 2:
            w[rng.random((m, n)) < 0.8] = 0
        exponent = {np.float64: 900, np.float32: 100, np.float16: 3}[dtype]
        w = (w * 2.0 ** (exponent * int(rng.integers(-1, 2)))).astype(dtype)
        g = moments(n, rng) if seed % 3 else rng.random(n) + 0.1
        q = learn_rotation(w[:, ::-1], g, objective=objective, steps=3, rng=seed)
        op = bitterfly.quantize_dense(
            w, bits=float(rng.integers(2, 9)) / 2, code="window7", metric=g, rotate=q, rng=seed
        )
        a, exact = w.astype(np.longdouble), reference.dense(op).astype(np.longdouble)
        h = np.diag(g) if g.ndim == 1 else g
        error, size = (np.sqrt(np.sum(x * x)) for x in (exact - a, a))
        assert error <= op.relative_error * size
        weighed = [np.sqrt(max(float(np.sum((y @ h) * y)), 0)) for y in ((exact - a) / (size or 1), a / (size or 1))]
        assert not weighed[1] or weighed[0] <= op.metric_error * weighed[1] * (1 + 1e-12)


def test_one_rate_errs_less_in_a_learned_basis() -> None:
    """In a metric of an uneven spectrum, and on other inputs too."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((64, 64)))[0] * np.geomspace(1, 0.02, 64)[:, None]
    seen, other = ((x := rng.standard_normal((3000, 64)) @ basis).T @ x for _ in range(2))
    w = rng.standard_normal((128, 64))
    q = learn_rotation(w, seen, steps=80, rng=0)
    errors = []
    for rotate in ("inputs", q):
        op = bitterfly.quantize_dense(w, bits=2, metric=seen, rotate=rotate, unequal=False, rng=0)
        lost = op.todense() - w
        errors.append(float(np.sqrt(np.sum(lost @ other * lost) / np.sum(w @ other * w))))
    assert errors[1] < 0.93 * errors[0]


def test_zeros_and_rotations_of_a_few() -> None:
    for objective in ("feedback", "error"):
        q = learn_rotation(np.zeros((3, 12)), np.eye(12), objective=objective, steps=5, rng=0)
        assert bitterfly.quantize_dense(np.zeros((3, 12)), bits=2, rotate=q, rng=0).relative_error == 0
    for n in (1, 2, 3):
        q = learn_rotation(torch.ones(5, n, dtype=torch.bfloat16), np.ones(n), steps=3, rng=0)
        assert q.shape == (n, n) and q.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda w: learn_rotation(w), ValueError, "metric: expected second moments of inputs for objective 'feedback'"),
        (lambda w: learn_rotation(w, np.eye(5)), ValueError, r"metric: expected shape \(4, 4\)"),
        (
            lambda w: learn_rotation(w, objective="rate"),
            ValueError,
            "objective: expected feedback or error, got 'rate'",
        ),
        (lambda w: learn_rotation(w[0], np.eye(4)), ValueError, r"weight: expected real floats of shape \(m, n\)"),
        (lambda w: learn_rotation(w + 0j, np.eye(4)), ValueError, "weight: expected real floats"),
        (lambda w: learn_rotation(w.astype(int), np.eye(4)), ValueError, "weight: expected real floats"),
        (lambda w: learn_rotation(w / 0, np.eye(4)), ValueError, "weight: expected finite numbers"),
        (lambda w: learn_rotation(w[:0], np.eye(4)), ValueError, "weight: expected finite numbers, at least one"),
        (lambda w: learn_rotation([w, w[:, :3]], np.eye(4)), ValueError, r"columns of all, got \[4, 3\]"),
        (lambda w: learn_rotation(w, np.eye(4), angle_bits=1), ValueError, "angle_bits: expected 2 to 16, got 1"),
        (lambda w: learn_rotation(w, np.eye(4), angle_bits=2.5), TypeError, "angle_bits"),
        (lambda w: learn_rotation(w, np.eye(4), steps=-1), ValueError, "steps"),
        (lambda w: learn_rotation(w, np.eye(4), lr=0), ValueError, "lr: expected a positive number, got 0"),
        (lambda w: learn_rotation(w, objective="error", bits=9), ValueError, "bits: expected 1 to 8, got 9"),
    ],
)
def test_refused(call: Callable[[Array], object], error: type[Exception], message: str) -> None:
    with np.errstate(divide="ignore"), pytest.raises(error, match=message):
        call(np.ones((3, 4)))
