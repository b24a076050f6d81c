"""Rounding in the forward pass: the numbers of the codes, gradients as if there were none, and that it trains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn.utils import parametrize

from bitterfly import reference
from bitterfly.files.storage import to_bytes
from bitterfly.torch import Admm, FixedPoint, PackedLinear, StraightThrough, encoded, replace_linear, straight_through
from bitterfly.torch.packed import from_bytes

CODES = [("window7", 2), ("window11", 3.5), ("sign", 1), ("ternary", 2), ("power_of_two", 3), ("shift", 4)]
LISTS = {
    ("sign", 1): {1.0},
    ("ternary", 2): {0.0, 1.0},
    ("power_of_two", 3): {0.0, 0.25, 0.5, 1.0, 0.125},
    ("shift", 4): {2.0**-k for k in range(8)},
}


def gaussian(m: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("code", "bits"), CODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_numbers_are_those_of_the_operator(code: str, bits: float, dtype: torch.dtype) -> None:
    w = gaussian(24, 40).to(dtype).requires_grad_()
    found = straight_through(w, code, bits)
    op = encoded(w, code, bits)
    exact = reference.dense(op)
    assert found.dtype == dtype and op.shape == (24, 40)
    eps = max(torch.finfo(dtype).eps, 1e-6)
    assert np.abs(found.detach().double().numpy() - exact).max() <= eps * np.abs(exact).max()
    a = w.detach().double().numpy()
    assert np.linalg.norm(exact - a) <= (op.relative_error + eps) * np.linalg.norm(a)
    x = torch.randn(3, 40)
    assert torch.allclose(PackedLinear(op)(x).double(), x.double() @ torch.from_numpy(exact).T, atol=1e-4)


@pytest.mark.parametrize(("code", "bits"), LISTS)
def test_each_row_has_numbers_of_the_list(code: str, bits: int) -> None:
    rows = straight_through(gaussian(16, 64) * torch.logspace(-3, 3, 16)[:, None], code, bits)
    for row in rows.abs():
        values = sorted({round(float(x), 5) for x in row / row.max()} - {0.0})
        assert all(min(abs(v / u - 1) for u in LISTS[code, bits] if u) < 1e-3 for v in values)


@pytest.mark.parametrize(("code", "bits"), CODES)
def test_gradients_pass(code: str, bits: float) -> None:
    w = gaussian(8, 12).requires_grad_()
    y = gaussian(8, 12, 1)
    (straight_through(w, code, bits) * y).sum().backward()
    assert torch.equal(w.grad, y)


def test_windows_of_convolutions_and_zeros() -> None:
    w = torch.randn(8, 3, 3, 3)
    assert torch.equal(straight_through(w, "ternary", 2).flatten(1), straight_through(w.flatten(1), "ternary", 2))
    for code, bits in CODES:
        assert not straight_through(torch.zeros(4, 6), code, bits).any()


@pytest.mark.parametrize(("code", "bits"), [("ternary", 2), ("power_of_two", 3), ("window7", 2)])
def test_training_with_rounding_is_better_than_rounding_after_it(code: str, bits: int) -> None:
    """A classifier, and what `replace_linear` makes of it: the same outputs from packed bits."""
    torch.manual_seed(0)
    x = torch.randn(500, 16)
    y = (torch.tanh(x @ torch.randn(16, 24)) @ torch.randn(24, 4)).argmax(dim=1)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

    def trained(steps: int, lr: float) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    def packed() -> nn.Module:
        made = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        arrays = {f"{at}.bias": model[at].bias.detach().numpy() for at in (0, 2)}
        latent = {f"{at}.weight": getattr(model[at], "parametrizations", model[at]).weight for at in (0, 2)}
        weights = {name: getattr(w, "original", w) for name, w in latent.items()}
        return replace_linear(made, arrays | {name: encoded(w, code, bits) for name, w in weights.items()})

    def loss(of: nn.Module) -> float:
        return float(nn.functional.cross_entropy(of(x), y).detach())

    trained(200, 1e-2)
    before = loss(packed())
    for at in (0, 2):
        parametrize.register_parametrization(model[at], "weight", StraightThrough(code, bits))
    trained(150, 5e-3)
    assert loss(packed()) == pytest.approx(loss(model), rel=1e-4)
    assert loss(model) < 0.7 * before


# ---- fixed point ----


@pytest.mark.parametrize("bits", [1, 2, 5, 12])
@pytest.mark.parametrize("position", [-7, 0, 3])
def test_fixed_point_numbers(bits: int, position: int) -> None:
    fixed, x = FixedPoint(bits), 3.0 * 2.0**-position * gaussian(5, 50).double()
    with torch.no_grad():
        fixed.position.fill_(position + 0.3)  # it counts as the nearest integer
    q = fixed(x).detach() * 2.0**position
    half = 2 ** (bits - 1)
    assert torch.equal(q, torch.clamp(torch.round(x * 2.0**position), -half, half - 1))


def test_gradients_of_fixed_points() -> None:
    """x: one inside the range, zero outside; the position: what rounding and clipping lose, times -ln 2."""
    fixed = FixedPoint(3).double()
    x = torch.tensor([0.3, -0.6, 5.0, -4.0], dtype=torch.float64, requires_grad=True)
    fixed(x).sum().backward()
    assert torch.equal(x.grad, torch.tensor([1.0, 1.0, 0.0, 0.0]).double())
    step, scaled = 0.25, np.array([0.3, -0.6]) / 0.25
    of_step = np.sum(np.round(scaled) - scaled) + 3 - 4
    assert float(fixed.position.grad) == pytest.approx(-np.log(2) * step * of_step)


def test_positions_are_fitted_and_learned() -> None:
    for scale in (1e-3, 1.0, 700.0):
        w = scale * gaussian(20, 30)
        fitted = FixedPoint(4, w)
        errors = []
        for position in range(-20, 20):
            other = FixedPoint(4)
            other.position.data.fill_(position)
            errors.append(float((other(w) - w).detach().norm()))
        assert float((fitted(w) - w).detach().norm()) == pytest.approx(min(errors))
        learned = FixedPoint(4, w)
        learned.position.data += 3
        optimizer = torch.optim.Adam(learned.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            ((learned(w) - w).square().sum() / w.square().sum()).backward()
            optimizer.step()
        assert abs(round(float(learned.position.detach())) - round(float(fitted.position.detach()))) <= 1
    assert "bits=4, position=-" in repr(fitted)
    assert FixedPoint(4, torch.zeros(3)).position == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("power", [-1060, -900, -145, -100, -30, -18, -12, 0, 10, 100, 900])
def test_fixed_points_at_any_scale(dtype: torch.dtype, power: int) -> None:
    """Steps that the precision of the weight does not have among them: no NaN, neither in numbers nor in gradients."""
    w = (gaussian(5, 40).double() * 2.0**power).to(dtype)
    if not torch.isfinite(w).all() or not w.any():
        return
    w.requires_grad_()
    fixed = FixedPoint(8, w).to(torch.promote_types(dtype, torch.float32))  # gradients have the dtype of parameters
    y = fixed(w)
    y.sum().backward()
    near, found = (x.detach().double() * 2.0 ** (-power // 2) * 2.0 ** (-power - -power // 2) for x in (w, y))
    assert y.dtype == dtype and float((found - near).norm()) <= 0.02 * float(near.norm())
    assert torch.isfinite(w.grad).all() and torch.isfinite(fixed.position.grad)


def test_second_derivatives_and_maps_of_fixed_points() -> None:
    fixed, x = FixedPoint(3), gaussian(4, 5)
    assert torch.equal(torch.vmap(fixed)(x), fixed(x))
    gradient = torch.func.grad(lambda x: fixed(x).square().sum())(x)
    inside = (x * 4).round().clamp(-4, 3) == (x * 4).round()
    assert torch.equal(gradient, 2 * fixed(x) * inside)
    x.requires_grad_()
    (first,) = torch.autograd.grad(fixed(x).square().sum(), x, create_graph=True)
    assert torch.equal(torch.autograd.grad(first.sum(), x)[0], 2.0 * inside)


def test_fixed_points_of_numbers_that_are_not_finite() -> None:
    """NaNs stay, infinities are clipped."""
    found = FixedPoint(4)(torch.tensor([torch.nan, torch.inf, -torch.inf])).detach()
    assert found.isnan().tolist() == [True, False, False] and found[1:].tolist() == [0.875, -1.0]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 17, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_fixed_point_numbers_are_stored_as_they_are(bits: int, dtype: torch.dtype) -> None:
    """Not one bit changes, whether the lowest integer occurs or not, however small or large the unit is."""
    rng = torch.Generator().manual_seed(bits)
    far = {torch.float32: (-60, 100, 125), torch.float64: (-60, 125)}.get(dtype, ())
    for shape in ((1, 1), (3, 5), (40, 24), (17, 3), (4, 3, 2, 2)):
        for position in (-2, 0, 5, bits - 1, *far):
            for spread in (0.2, 3.0, 0.0):
                fixed = FixedPoint(bits)
                fixed.position.data.fill_(position)
                unit = 2.0 ** (bits - 1 - position)
                if spread * unit > 0.1 * torch.finfo(dtype).max:
                    continue
                w = (spread * unit * torch.randn(*shape, generator=rng, dtype=torch.float64)).to(dtype)
                op, rounded = fixed.to_operator(w), fixed(w).detach().flatten(1).double().numpy()
                assert np.array_equal(op.todense(), rounded) and np.array_equal(reference.dense(op), rounded)
                a = w.flatten(1).double().numpy()
                assert np.linalg.norm(a - rounded) <= op.relative_error * np.linalg.norm(a)
                assert op.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert fixed.to_operator(np.ones((2, 3), np.float32)).shape == (2, 3)


@pytest.mark.parametrize("bits", range(2, 9))
def test_fixed_point_numbers_take_their_bits(bits: int) -> None:
    """The lowest integer takes scales of the shorter side; without it there are none."""
    fixed = FixedPoint(bits)
    within = torch.clamp(gaussian(160, 320) / 4, -0.5, 0.5)
    clipped = within.clone()
    clipped[3, 5] = -4.0
    m, n = within.shape
    assert fixed.to_operator(within).nbytes == m * n * bits / 8 + 8
    assert fixed.to_operator(clipped).nbytes == m * n * bits / 8 + 8 + 4 * m
    assert fixed.to_operator(clipped.T.contiguous()).nbytes == m * n * bits / 8 + 8 + 4 * m


def test_fixed_points_trained_and_packed() -> None:
    """What a parametrization rounds to is what `replace_linear` multiplies with, from a file too."""
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 16), torch.randn(200, 24)
    y = x @ torch.randn(24, 16)
    parametrize.register_parametrization(layer, "weight", FixedPoint(4, layer.weight))
    optimizer = torch.optim.Adam(layer.parameters(), lr=3e-2)
    for _ in range(150):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
    held = layer.parametrizations.weight
    op = from_bytes(torch.frombuffer(bytearray(to_bytes(held[0].to_operator(held.original))), dtype=torch.uint8))
    assert np.array_equal(op.todense(), layer.weight.detach().numpy())
    packed = replace_linear(nn.Linear(24, 16), {"weight": op, "bias": layer.bias.detach().numpy()})
    assert torch.allclose(packed(x), layer(x), atol=1e-5)


def test_fixed_points_as_projections() -> None:
    """ADMM ends at numbers of the grid, those of the operator."""
    layer = nn.Linear(12, 8, bias=False)
    fixed, start = FixedPoint(3, layer.weight), layer.weight.detach().clone()
    admm = Admm(layer, {"weight": fixed.to_operator}, rho=1.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.2)
    for step in range(60):
        optimizer.zero_grad()
        ((layer.weight - start).square().sum() + admm.penalty()).backward()
        optimizer.step()
        if step % 3 == 2:
            admm.update()
    admm.finish()
    assert np.array_equal(admm.operators["weight"].todense(), layer.weight.detach().numpy())
    assert torch.equal(fixed(layer.weight), layer.weight)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FixedPoint(4, torch.tensor([1.0, torch.nan])), ValueError, "weight: expected finite numbers"),
        (lambda: FixedPoint(4, torch.tensor([1.0, torch.inf])), ValueError, "weight: expected finite numbers"),
        (
            lambda: FixedPoint(4).to_operator(torch.zeros(3)),
            ValueError,
            r"weight: expected real floats of shape \(m, n\)",
        ),
        (
            lambda: FixedPoint(4).to_operator(torch.full((2, 2), torch.nan)),
            ValueError,
            "weight: expected numbers that are",
        ),
        (lambda: encoded(torch.zeros(3), "sign", 1), ValueError, r"weight: expected real floats of shape \(m, n\)"),
        (lambda: encoded(torch.zeros(3, 3, dtype=torch.int64), "sign", 1), ValueError, "weight: expected real floats"),
        (
            lambda: encoded(torch.zeros(3, 3), "sphere", 4),
            ValueError,
            "code: expected window7, window11, sign, ternary",
        ),
        (lambda: encoded(gaussian(3, 3), "ternary", 5), ValueError, "bits: expected 2 for code 'ternary', got 5"),
        (lambda: encoded(torch.full((3, 3), torch.nan), "window7", 2), ValueError, "expected finite"),
        (lambda: FixedPoint(0), ValueError, "bits: expected 1 to 24, got 0"),
        (lambda: FixedPoint(2.5), TypeError, "bits"),
    ],
)
def test_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_fixed_points_beyond_a_range() -> None:
    """In double precision where single has none of their steps; refused where no precision has."""
    w = gaussian(6, 9).double() * 2.0**-140
    for dtype, kind in ((torch.float64, np.float64), (torch.float32, np.float64)):
        fixed = FixedPoint(4, w)
        if dtype == torch.float32:
            fixed.position.data.fill_(130.0)
        op = fixed.to_operator((w * 2.0**12 if dtype == torch.float32 else w).to(dtype))
        assert op.dtype == kind and np.any(op.todense())
    fixed.position.data.fill_(1100.0)
    with pytest.raises(ValueError, match=r"position: numbers times 2\*\*-1100"):
        fixed.to_operator(w)
