"""Layers of a structure: their matrix, its variance, gradients, projections, exports, and that they learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from bitterfly import Chain, reference
from bitterfly.torch import BlockTensorTrain, Butterfly, Circulant, Kronecker, LowRank, Monarch, TensorTrain
from bitterfly.torch.structured.layer import StructuredLinear

LAYERS: dict[str, tuple[type[StructuredLinear], tuple[int, int], dict[str, Any]]] = {
    "butterfly": (Butterfly, (16, 16), {}),
    "butterfly, padded": (Butterfly, (13, 22), {}),
    "butterfly of rank 3": (
        Butterfly, (16, 32), {"chain": Chain.butterfly((16, 32), rank=3, leaf=4, groups=4)}
    ),
    "butterfly of one row": (Butterfly, (1, 12), {}),
    "monarch": (Monarch, (12, 20), {}),
    "monarch of rank 2": (Monarch, (16, 24), {"blocks": (4, 6), "rank": 2}),
    "low rank": (LowRank, (11, 17), {"rank": 3}),
    "block tensor train": (BlockTensorTrain, (24, 40), {"rows": [2, 3, 4], "columns": [4, 5, 2], "ranks": 2}),
    "tensor train": (TensorTrain, (24, 40), {"rows": [2, 3, 4], "columns": [4, 5, 2], "ranks": [3, 2]}),
    "tensor train of one core": (TensorTrain, (5, 7), {"rows": [5], "columns": [7], "ranks": []}),
    "kronecker": (Kronecker, (12, 35), {"outer": (3, 7), "inner": (4, 5)}),
    "tall kronecker": (Kronecker, (40, 6), {"outer": (8, 3), "inner": (5, 2)}),
    "circulant": (Circulant, (9, 9), {}),
    "circulant blocks": (Circulant, (8, 12), {}),
    "circulant blocks of 2": (Circulant, (8, 12), {"block": 2}),
}  # fmt: skip
NAMES = list(LAYERS)
SIZED = ("butterfly", "monarch", "low rank", "circulant")


def layer(name: str, seed: int = 0, **named: Any) -> StructuredLinear:
    cls, (m, n), how = LAYERS[name]
    sizes = {"in_features": n, "out_features": m} if name.startswith(SIZED) else {}
    return cls(**sizes, **how, rng=torch.Generator().manual_seed(seed), **named)


def from_dense(name: str, weight: Any, **named: Any) -> StructuredLinear:
    cls, _, how = LAYERS[name]
    return cls.from_dense(weight, **how, **named)


def matrix(of: StructuredLinear) -> np.ndarray:
    return of.dense().detach().double().numpy()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_exports_are_the_matrix_of_the_layer(name: str, dtype: torch.dtype) -> None:
    """By the oracle, from what the operator stores; the numbers are the same, and products round."""
    made = layer(name, dtype=dtype)
    op = made.to_operator()
    exact = reference.dense(op)
    assert op.shape == LAYERS[name][1] and op.relative_error == 0
    assert op.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    eps = torch.finfo(dtype).eps
    assert np.linalg.norm(matrix(made) - exact) <= 20 * eps * np.linalg.norm(exact)
    x = torch.randn(2, 3, op.shape[1]).to(dtype)
    assert made.bias is not None
    y = x.double() @ torch.from_numpy(exact).T + made.bias.double()
    found = made(x)
    assert found.dtype == dtype and found.shape == y.shape
    assert (found.double() - y).norm() <= 20 * eps * (x.double().norm() * np.linalg.norm(exact) + y.norm())


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str) -> None:
    """By finite differences, and those of the dense matrix, which autograd carries on to the parameters."""
    made = layer(name, dtype=torch.float64)
    x = torch.randn(3, made.in_features, dtype=torch.float64, requires_grad=True)
    names = [key for key, _ in made.named_parameters()]

    def of(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(made, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(of, (x, *made.parameters()))
    y = torch.randn(3, made.out_features, dtype=torch.float64)
    both = [
        torch.autograd.grad(((product + made.bias) * y).sum(), [x, *made.parameters()])
        for product in (made(x) - made.bias, x @ made.dense().T)
    ]
    for one, other in zip(*both, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_variance_at_the_start(name: str) -> None:
    """That of torch.nn.Linear, 1 / (3 n), in the mean over draws; entries of padding are none."""
    _, n = LAYERS[name][1]
    squares = [np.mean(np.square(matrix(layer(name, seed, bias=False)))) for seed in range(400)]
    assert np.mean(squares) == pytest.approx(1 / (3 * n), abs=5 * np.std(squares) / np.sqrt(len(squares)))
    made = layer(name)
    assert made.bias is not None
    assert 0 < float(made.bias.detach().abs().max()) <= 1 / np.sqrt(n)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_has_the_structure_comes_back(name: str, dtype: torch.dtype) -> None:
    teacher = layer(name, 1, dtype=dtype)
    found = from_dense(name, teacher.dense(), bias=teacher.bias)
    a = matrix(teacher)
    assert np.linalg.norm(matrix(found) - a) <= 1e3 * torch.finfo(dtype).eps * np.linalg.norm(a)
    assert torch.equal(found.bias, teacher.bias) and found.bias is not teacher.bias
    sizes = [float(x.detach().square().mean()) for x in found._numbers]
    assert max(sizes) <= (1 + 1e-5) * min(sizes)


@pytest.mark.parametrize("name", NAMES)
def test_projections_are_near_and_stay(name: str) -> None:
    """Nearer than zero, orthogonal where they are the nearest, and what they give is given again."""
    m, n = LAYERS[name][1]
    a = np.random.default_rng(0).standard_normal((m, n))
    once = from_dense(name, a)
    found = matrix(once)
    assert once.bias is None and np.linalg.norm(found - a) < np.linalg.norm(a)
    assert np.abs(np.vdot(found, a - found)) <= 1e-3 * np.linalg.norm(a) ** 2
    again = matrix(from_dense(name, once.dense()))
    assert np.linalg.norm(again - found) <= 1e-10 * np.linalg.norm(a)


@pytest.mark.parametrize("name", NAMES)
def test_matrices_of_zeros(name: str) -> None:
    made = from_dense(name, np.zeros(LAYERS[name][1], np.float32))
    assert not matrix(made).any() and made(torch.ones(made.in_features)).shape == (made.out_features,)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("power", [-900, 900])
def test_projections_at_any_scale(name: str, power: int) -> None:
    """Numbers whose squares are out of range: the same layer, factors of one size, times a power of two."""
    weight = np.random.default_rng(0).standard_normal(LAYERS[name][1])
    one, other = from_dense(name, weight), from_dense(name, np.ldexp(weight, power))
    np.testing.assert_allclose(np.ldexp(matrix(other), -power), matrix(one), rtol=1e-6, atol=1e-9)
    sizes = [float(x.detach().abs().max().log2()) for x in other._numbers]
    assert max(sizes) - min(sizes) < 8


def test_weights_in_any_layout() -> None:
    numbers = np.random.default_rng(0).standard_normal((4, 6)).astype("f4")
    numbers.flags.writeable = False
    expected = LowRank.from_dense(torch.from_numpy(numbers.copy()), 2)
    for weight in (numbers, numbers.astype(">f4"), np.asfortranarray(numbers), numbers[::-1].copy()[::-1]):
        made = LowRank.from_dense(weight, 2, bias=numbers[:, 0])
        assert torch.equal(made.factor_0, expected.factor_0) and made.bias.tolist() == numbers[:, 0].tolist()
        made.bias.data.zero_()
    assert numbers.all()


@pytest.mark.parametrize("name", ["butterfly", "low rank", "tensor train", "kronecker", "circulant"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_inputs_that_are_no_real_floats(name: str, dtype: torch.dtype) -> None:
    made = layer(name)
    with pytest.raises(TypeError, match=f"x: expected a tensor of real floating numbers, got {dtype}"):
        made(torch.ones(2, made.in_features).to(dtype))
    with pytest.raises(TypeError, match="x: expected a tensor of real floating numbers, got float64"):
        made(np.ones((2, made.in_features)))


@pytest.mark.parametrize("name", ["butterfly", "monarch of rank 2", "block tensor train", "kronecker", "circulant"])
def test_training_finds_the_teacher(name: str) -> None:
    """Inputs and outputs of a layer of the structure: the loss falls to a thousandth."""
    teacher, made = layer(name, 1), layer(name, 2)
    x = torch.randn(400, teacher.in_features, generator=torch.Generator().manual_seed(3))
    y = teacher(x).detach()
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-2)
    losses = []
    for step in range(600):
        for group in optimizer.param_groups:
            group["lr"] = 5e-2 * (1 - step / 600) + 1e-4
        optimizer.zero_grad()
        loss = (made(x) - y).square().mean() / y.var()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().item())
    assert losses[-1] < 1e-3 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_in_any_shape_and_compiled(name: str) -> None:
    made = layer(name)
    for shape in ((), (0,), (4,), (2, 0), (3, 1, 2)):
        x = torch.randn(*shape, made.in_features)
        assert made(x).shape == (*shape, made.out_features)
        for one, y in zip(x.reshape(-1, made.in_features), made(x).reshape(-1, made.out_features), strict=True):
            assert torch.allclose(made(one), y, atol=1e-5)
    x = torch.randn(5, made.in_features, 2).mT
    torch.compiler.reset()
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), made(x), atol=1e-5)
    again = layer(name, 7)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(x), made(x))


def test_draws_are_those_of_the_generator() -> None:
    for one, other in zip(layer("monarch", 3).parameters(), layer("monarch", 3).parameters(), strict=True):
        assert torch.equal(one, other)
    torch.manual_seed(0)
    first = Monarch(12, 20)
    assert not torch.equal(first.factor_0, Monarch(12, 20).factor_0)
    torch.manual_seed(0)
    assert torch.equal(first.factor_0, Monarch(12, 20).factor_0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Butterfly(0, 3), ValueError, "in_features, out_features: expected positive sizes, got 0 and 3"),
        (lambda: Butterfly(2.5, 3), TypeError, "in_features"),
        (lambda: Butterfly(16, 16, Chain.square_dyadic(8)), ValueError, r"shape: expected at most \(8, 8\)"),
        (lambda: Monarch(12, 20, (3, 3)), ValueError, r"blocks: expected divisors of 20 and 12, got \(3, 3\)"),
        (lambda: LowRank(12, 20, 13), ValueError, "rank: expected 1 to 12, got 13"),
        (lambda: LowRank(12, 20, 0), ValueError, "rank: expected 1 to 12, got 0"),
        (lambda: BlockTensorTrain([2, 2], [2, 2], 3), ValueError, r"ranks: expected at most 2 at junction 0"),
        (
            lambda: BlockTensorTrain([2, 2], [2], 1),
            ValueError,
            "rows, columns: expected as many positive sizes of both",
        ),
        (lambda: TensorTrain([2, 2], [2, 2], [1, 1]), ValueError, "ranks: expected a positive integer, or 1 of them"),
        (lambda: TensorTrain([], [], 1), ValueError, "rows, columns: expected as many positive sizes of both"),
        (lambda: Kronecker((2, 0), (3, 3)), ValueError, "outer"),
        (lambda: Circulant(12, 8, 3), ValueError, "block: expected a divisor of 8 and 12, got 3"),
        (lambda: Monarch(12, 20)(torch.zeros(2, 20)), ValueError, r"x: expected shape \(..., 12\), got \(2, 20\)"),
        (lambda: LowRank(4, 4, 1, dtype=torch.complex64), TypeError, "dtype: expected one of real floating numbers"),
        (lambda: LowRank(4, 4, 1, dtype=torch.int64), TypeError, "dtype: expected one of real floating numbers"),
        (lambda: Monarch.from_dense(np.zeros(3)), ValueError, r"weight: expected real floats of shape \(m, n\)"),
        (lambda: Monarch.from_dense(np.zeros((3, 4), int)), ValueError, "weight: expected real floats"),
        (lambda: LowRank.from_dense(np.eye(3), 1, bias=torch.zeros(4)), ValueError, r"bias: expected shape \(3,\)"),
        (lambda: Kronecker.from_dense(np.eye(5), (2, 2), (2, 2)), ValueError, r"weight: expected shape \(4, 4\)"),
        (lambda: TensorTrain.from_dense(np.eye(4) * np.nan, [2, 2], [2, 2], 1), ValueError, "expected finite"),
    ],
)
def test_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_in_place_of_a_linear_layer() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
    model[0] = Butterfly.from_dense(model[0].weight, bias=model[0].bias)
    assert model(torch.randn(3, 16)).shape == (3, 16) and "Butterfly(16, 16, bias=True, 0.5 of the numbers)" in repr(
        model
    )
