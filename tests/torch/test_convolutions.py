"""Packed convolutions: products and gradients are those of torch's own with the oracle's kernel; what is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

import bitterfly
import strategies as own
from bitterfly import reference
from bitterfly.convolutions import FactoredConvolution, signed_cuts, tensor_train, unfolded
from bitterfly.torch import PackedConvolution, load_packed, replace_convolutions

KINDS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def drawn_facts(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    o, d = shape[0], len(shape) - 2
    stride, dilation = (tuple(int(n) for n in rng.integers(1, 4, d)) for _ in range(2))
    groups = int(rng.choice([g for g in range(1, o + 1) if o % g == 0]))
    mode = str(rng.choice(["zeros", "zeros", "reflect", "replicate", "circular"]))
    kind = rng.integers(3)
    padding: Any = tuple(int(n) for n in rng.integers(0, 3, d))
    if kind == 0:
        stride, padding = (1,) * d, "same"
    if kind == 1:
        padding = "valid"
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}


def of_torch(kernel: FactoredConvolution, bias: bool, facts: dict[str, Any]) -> nn.Module:
    """The same convolution of the decoded kernel, in double precision."""
    o, i, *window = kernel.shape
    made = KINDS[len(window)](i * facts["groups"], o, window, bias=bias, **facts).double()
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(reference.kernel(kernel)))
    return made


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # of torch's own
@pytest.mark.parametrize("part", range(4))
def test_products_and_gradients_are_those_of_the_oracle(part: int) -> None:
    for seed in range(part, 160, 4):
        rng, kernel = np.random.default_rng(seed), own.convolution(seed).op
        facts, bias = drawn_facts(rng, kernel.shape), bool(rng.random() < 0.5)
        whole = of_torch(kernel, bias, facts)
        layer = PackedConvolution(kernel, whole.bias, **facts, decoded=bool(rng.random() < 0.5))
        spans = [t * (k - 1) + 4 for t, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        image = [span + int(rng.integers(0, 4)) for span in spans]
        batch = [(), (1,), (3,), (0,)][rng.integers(4)]
        x = torch.from_numpy(rng.standard_normal((*batch, layer.in_channels, *image)))
        if rng.random() < 0.3 and len(image) == 2 and len(batch):
            x = x.to(memory_format=torch.channels_last)
        x.requires_grad_()
        want, found = whole(x), layer(x)
        y = torch.from_numpy(rng.standard_normal(tuple(want.shape)))
        size = 1e3 * np.finfo(kernel.dtype).eps * (1 + float(np.abs(kernel.dense()).max())) * np.prod(kernel.shape[1:])
        assert found.shape == want.shape and torch.all((found - want).abs() <= 100 * size), seed
        (g,), (h,) = (torch.autograd.grad(each, x, y) for each in (found, want))
        assert torch.all((g - h).abs() <= 100 * size * kernel.shape[0]), seed


def model() -> nn.Module:
    torch.manual_seed(0)
    convolutions = nn.Conv2d(8, 32, 3, padding=1), nn.Conv2d(32, 16, 3, stride=2, padding_mode="reflect", padding=1)
    return nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.Flatten(), nn.Linear(16 * 25, 10)).eval()


def kernels(of: nn.Module) -> dict[str, Any]:
    w, v = (of.get_parameter(name).detach().numpy() for name in ("0.weight", "2.weight"))
    train = tensor_train(w, ranks=8).quantized(bits=6, rng=0)
    return {"0.weight": train, "2.weight": bitterfly.quantize_dense(v.reshape(16, -1), bits=4, rng=0)}


def decoded(of: nn.Module, given: dict[str, Any]) -> nn.Module:
    made = copy.deepcopy(of)
    with torch.no_grad():
        for name, kernel in given.items():
            numbers = kernel.dense() if isinstance(kernel, FactoredConvolution) else kernel.todense()
            weight = made.get_parameter(name)
            weight.copy_(torch.from_numpy(numbers).view(weight.shape))
    return made


@pytest.mark.parametrize("packs", [True, False])
def test_a_model_and_its_state(packs: bool) -> None:
    of = model()
    given, x = kernels(of), torch.randn(3, 8, 9, 9)
    want = decoded(of, given)(x)
    packed = replace_convolutions(model(), given, decoded=not packs)
    assert torch.allclose(packed(x), want, atol=1e-5)
    assert packed[0].nbytes == given["0.weight"].nbytes and packed[0].held.structure == "tensor_train"
    assert not any("_stage" in name for name in packed.state_dict())
    assert packed.state_dict()["0.packed"].dtype == torch.uint8
    with torch.device("meta"):
        blank = model()
    again = load_packed(blank, packed.state_dict(), decoded=not packs)
    for same in (again, copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert torch.equal(same(x), packed(x))
    other = replace_convolutions(model(), {"0.weight": signed_cuts(of[0].weight.detach().numpy(), width=9, rng=0)})
    other.load_state_dict({**other.state_dict(), "0.packed": packed.state_dict()["0.packed"]})
    assert other[0].kernel.structure == "tensor_train" and torch.allclose(other[0](x), packed[0](x), atol=1e-6)
    assert "PackedConvolution(8, 32, kernel_size=(3, 3)" in repr(packed)


def test_hooks_stay() -> None:
    made, seen = nn.Sequential(nn.Conv1d(2, 4, 3)), []
    handle = made[0].register_forward_hook(lambda *a: seen.append("after"))
    replace_convolutions(made, {"0.weight": tensor_train(np.ones((4, 2, 3), np.float32), ranks=1)})
    made(torch.ones(1, 2, 5))
    handle.remove()
    made(torch.ones(1, 2, 5))
    assert isinstance(made[0], PackedConvolution) and seen == ["after"]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch's own first use of it
@pytest.mark.parametrize("structure", ["tensor_train", "cuts", "unfolded"])
def test_compiled_in_one_graph(structure: str) -> None:
    torch.compiler.reset()
    w = np.random.default_rng(0).standard_normal((16, 8, 3, 3)).astype(np.float32)
    kernel = {
        "tensor_train": lambda: tensor_train(w, ranks=6).quantized(bits=8, rng=0),
        "cuts": lambda: signed_cuts(w, width=20, rng=0),
        "unfolded": lambda: unfolded(bitterfly.quantize_dense(w.reshape(16, -1), bits=4, rng=0), w.shape),
    }[structure]()
    layer = PackedConvolution(kernel, torch.randn(16), stride=2, padding=1)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 8, 9, 7, requires_grad=True)
    assert torch.allclose(compiled(x), layer(x), atol=1e-5)
    (g,), (h,) = (torch.autograd.grad(each(x).square().sum(), x) for each in (compiled, layer))
    assert torch.allclose(g, h, atol=1e-3)
    tangent = torch.func.jvp(layer, (x.detach(),), (torch.ones_like(x),))[1]  # of forward-mode derivatives
    assert torch.allclose(tangent, layer(torch.ones_like(x)) - layer(torch.zeros_like(x)), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    layer = replace_convolutions(model(), kernels(model()))[0]
    x = torch.randn(2, 8, 5, 5)
    found, want = layer.to(dtype)(x.to(dtype)), layer.float()(x)
    assert found.dtype == dtype and torch.allclose(found.float(), want, atol=0.1)


def test_weights_that_are_shared() -> None:
    first, second = nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3, dilation=2)
    second.weight = first.weight
    kernel = tensor_train(first.weight.detach().numpy(), ranks=2)
    made = replace_convolutions(nn.Sequential(first, second), {"0.weight": kernel})
    assert all(isinstance(layer, PackedConvolution) for layer in made) and made[1].dilation == (2,)
    assert replace_convolutions(nn.Conv1d(4, 4, 3), {"weight": kernel}).kernel is not None


class Other(nn.Conv1d):
    """A convolution of one's own."""


@pytest.mark.parametrize(
    ("module", "what"),
    [
        (nn.ConvTranspose1d(4, 4, 3), "ConvTranspose1d, transposed"),
        (nn.Linear(4, 4), "Linear"),
        (Other(4, 4, 3), "Other"),
    ],
)
def test_modules_that_are_none(module: nn.Module, what: str) -> None:
    kernel = tensor_train(np.ones((4, 4, 3)), ranks=1)
    with pytest.raises(TypeError, match=rf"compressed\['weight'\]: expected a Conv1d, Conv2d or Conv3d, got {what}"):
        replace_convolutions(module, {"weight": kernel})


def test_what_does_not_fit_a_model() -> None:
    kernel = tensor_train(np.ones((4, 4, 3)), ranks=1)
    with pytest.raises(TypeError, match="got LazyConv1d, which has no weight before its first input"):
        replace_convolutions(nn.LazyConv1d(4, 3), {"weight": kernel})
    convolution = nn.Conv1d(4, 4, 2)
    with pytest.raises(KeyError, match="the model has no tensor of this name"):
        replace_convolutions(convolution, {"kernel": kernel})
    with pytest.raises(ValueError, match=r"expected shape \(4, 4, 2\), got \(4, 4, 3\)"):
        replace_convolutions(convolution, {"weight": kernel})
    with pytest.raises(ValueError, match=r"expected shape \(4, 4, 2\), got \(4, 12\)"):
        replace_convolutions(convolution, {"weight": bitterfly.SparseOperator(np.ones((4, 12)))})
    with pytest.raises(TypeError, match="expected a FactoredConvolution or an operator, got ndarray"):
        replace_convolutions(convolution, {"weight": np.ones((4, 4, 2))})
    with pytest.raises(TypeError, match="expected the weight of a convolution, got 'bias' of Conv1d"):
        replace_convolutions(convolution, {"bias": kernel})
    with pytest.raises(TypeError, match="expected the weight of a convolution, got a buffer"):
        replace_convolutions(nn.BatchNorm1d(4), {"running_mean": kernel})
    assert type(convolution) is nn.Conv1d
    state = PackedConvolution(kernel).state_dict()
    with pytest.raises(TypeError, match=r"packed: expected a Conv1d, Conv2d or Conv3d, got Linear"):
        load_packed(nn.Linear(4, 4), state)
    with pytest.raises(ValueError, match=r"packed: expected shape \(4, 4, 2\), got"):
        load_packed(convolution, state)
    with pytest.raises(RuntimeError, match=r"packed: expected an operator of shape \(2, 4, 3\), got \(4, 4, 3\)"):
        PackedConvolution(tensor_train(np.ones((2, 4, 3)), ranks=1)).load_state_dict(state)
    linear = bitterfly.torch.PackedLinear(bitterfly.SparseOperator(np.eye(4)))
    with pytest.raises(RuntimeError, match=r"packed: expected an operator of shape \(4, 4, 3\), got \(4, 4\)"):
        PackedConvolution(kernel).load_state_dict(linear.state_dict())
    with pytest.raises(RuntimeError, match=r"packed: expected an operator of shape \(4, 4\), got \(4, 4, 3\)"):
        linear.load_state_dict(state)


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"kernel": np.ones((4, 2, 3))}, TypeError, "kernel: expected a FactoredConvolution, got ndarray"),
        ({"bias": torch.ones(3)}, ValueError, r"bias: expected shape \(4,\), got \(3,\)"),
        ({"stride": (1, 1)}, ValueError, "stride: expected 1 integers of at least 1"),
        ({"stride": 0}, ValueError, "stride: expected 1 integers of at least 1"),
        ({"dilation": 1.5}, TypeError, "dilation: expected an integer"),
        ({"padding": -1}, ValueError, "padding: expected a number that is not negative"),
        ({"padding": "full"}, ValueError, "padding: expected integers, 'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, ValueError, "padding: expected integers for strides of more than one"),
        ({"groups": 3}, ValueError, "groups: expected a number that divides 4 outputs, got 3"),
        ({"padding_mode": "mirror"}, ValueError, "padding_mode: expected one of zeros, reflect"),
        ({"precision": "double"}, ValueError, "precision: expected float, half, int8"),
    ],
)
def test_arguments_that_do_not_fit(facts: dict[str, Any], error: type[Exception], message: str) -> None:
    kernel = tensor_train(np.ones((4, 2, 3)), ranks=1).quantized(bits=8, rng=0)
    with pytest.raises(error, match=message):
        PackedConvolution(**({"kernel": kernel} | facts))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(1, 2, 9, dtype=torch.int64), TypeError, "x: expected real floating numbers, got torch.int64"),
        (torch.ones(1, 3, 9), ValueError, r"x: expected shape \(N, 2, n_1\) or \(2, n_1\), got \(1, 3, 9\)"),
        (torch.ones(2), ValueError, r"x: expected shape \(N, 2, n_1\)"),
    ],
)
def test_inputs_that_do_not_fit(x: torch.Tensor, error: type[Exception], message: str) -> None:
    layer = PackedConvolution(tensor_train(np.ones((4, 2, 3)), ranks=1))
    with pytest.raises(error, match=message):
        layer(x)
