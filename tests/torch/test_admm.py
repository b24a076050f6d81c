"""ADMM: its steps, the constrained optimum where the set is convex, and codes that a model has learned to bear."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from bitterfly import structures
from bitterfly.torch import Admm, encoded, replace_linear


def gaussian(m: int, n: int, seed: int) -> torch.Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_steps() -> None:
    """Z <- P(W + U), U <- U + W - Z, and the penalty with its gradient."""
    layer = nn.Linear(3, 3, dtype=torch.float64)
    w = layer.weight.detach().numpy().copy()
    admm = Admm(layer, {"weight": structures.toeplitz}, rho=0.7)
    project = lambda a: structures.toeplitz(a).todense()  # noqa: E731
    z, u = project(w), np.zeros((3, 3))
    for _ in range(3):
        penalty = admm.penalty()
        assert penalty.detach().item() == pytest.approx(0.35 * np.square(w - z + u).sum())
        (gradient,) = torch.autograd.grad(penalty, layer.weight)
        np.testing.assert_allclose(gradient, 0.7 * (w - z + u))
        assert admm.residuals["weight"] == pytest.approx(np.linalg.norm(w - z) / np.linalg.norm(w))
        admm.update()
        z = project(w + u)
        u = u + w - z
    np.testing.assert_allclose(admm.operators["weight"].todense(), z)
    admm.finish()
    np.testing.assert_allclose(layer.weight.detach(), project(w), atol=1e-15)


def test_the_constrained_optimum() -> None:
    """Least squares over circulant matrices, a convex set: what the normal equations of the coefficients give."""
    n = 6
    x, y = gaussian(80, n, 0), gaussian(80, n, 1)
    shifts = [np.roll(np.eye(n), k, axis=0) for k in range(n)]
    columns = np.stack([(x.numpy() @ s.T).ravel() for s in shifts], axis=1)
    best = sum(c * s for c, s in zip(np.linalg.lstsq(columns, y.numpy().ravel(), rcond=None)[0], shifts, strict=True))
    layer = nn.Linear(n, n, bias=False, dtype=torch.float64)
    admm = Admm(layer, {"weight": structures.circulant}, rho=1.0)
    g = x.T @ x / len(x) + torch.eye(n, dtype=torch.float64)
    for _ in range(200):  # the step in W solved exactly
        with torch.no_grad():
            wanted = y.T @ x / len(x) + (admm._nearest["weight"] - admm._sums["weight"])
            layer.weight.copy_(torch.linalg.solve(g, wanted.T).T)
        gradient = torch.autograd.grad((layer(x) - y).square().sum() / (2 * len(x)) + admm.penalty(), layer.weight)[0]
        assert gradient.norm() < 1e-12
        admm.update()
    assert admm.residuals["weight"] < 1e-9
    np.testing.assert_allclose(layer.weight.detach(), best, atol=1e-9)


def test_codes_that_a_model_has_learned_to_bear() -> None:
    """Powers of two in three bits, with correlated inputs: better than coding what was trained without them."""
    torch.manual_seed(0)
    x = torch.randn(600, 32) @ torch.randn(32, 32) / 6
    y = torch.tanh(x @ torch.randn(32, 16))
    model = nn.Sequential(nn.Linear(32, 48), nn.Tanh(), nn.Linear(48, 16))
    code = partial(encoded, code="power_of_two", bits=3)

    def run(steps: int, lr: float, admm: Admm | None) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for step in range(steps):
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            (loss if admm is None else loss + admm.penalty()).backward()
            optimizer.step()
            if admm is not None and step % 10 == 9:
                admm.update()

    run(400, 1e-2, None)
    plain = {name: code(model.get_parameter(name)) for name in ("0.weight", "2.weight")}
    before = {name: x.detach().clone() for name, x in model.state_dict().items()}
    admm = Admm(model, dict.fromkeys(plain, code), rho=2e-2)
    run(600, 3e-3, admm)
    admm.finish()
    loss = (replace_linear(model, admm.operators)(x) - y).detach().square().mean()
    other = nn.Sequential(nn.Linear(32, 48), nn.Tanh(), nn.Linear(48, 16))
    other.load_state_dict(before)
    assert loss < 0.8 * (replace_linear(other, plain)(x) - y).detach().square().mean()


def test_projections_that_write_to_what_they_get() -> None:
    layer = nn.Linear(4, 4)
    before = layer.weight.detach().clone()

    def rounded(a: np.ndarray) -> np.ndarray:
        return np.round(a, out=a)

    admm = Admm(layer, {"weight": rounded})
    found = admm.operators["weight"].copy()
    assert torch.equal(layer.weight, before)
    with torch.no_grad():
        layer.weight += 1
    assert np.array_equal(admm.operators["weight"], found)


def test_refused() -> None:
    layer = nn.Linear(4, 4)
    for projections, rho, error, message in (
        ({"wight": structures.toeplitz}, 1, KeyError, r"projections\['wight'\]: the model has no parameter"),
        ({"bias": structures.toeplitz}, 1, ValueError, r"projections\['bias'\]: expected a matrix, got shape \(4,\)"),
        ({"weight": lambda a: a[:2]}, 1, ValueError, r"projections\['weight'\]: expected a result of shape \(4, 4\)"),
        ({"weight": lambda a: a * 1j}, 1, TypeError, r"projections\['weight'\]: expected a result of real numbers"),
        ({"weight": structures.toeplitz}, 0, ValueError, "rho: expected a positive number, got 0"),
        ({"weight": structures.toeplitz}, float("nan"), ValueError, "rho: expected a positive number, got nan"),
        ({"weight": structures.toeplitz}, "1", TypeError, "rho: expected a number, got str"),
    ):
        with pytest.raises(error, match=message):
            Admm(layer, projections, rho)
    assert Admm(layer, {}).penalty() == 0
