"""Packed layers: products and gradients are those of the oracle, and what torch does with modules holds for them."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import settings
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import bitterfly
import strategies as own
import tolerances
from bitterfly import reference
from bitterfly.torch import PackedEmbedding, PackedLinear

OPERATORS = 6 * settings.default.max_examples
SHAPES = [(), (1,), (7,), (3, 5), (2, 1, 4), (0,), (2, 0, 3)]


def coded(m: int = 96, n: int = 64, seed: int = 0, **how: object) -> bitterfly.DenseOperator:
    a = np.random.default_rng(seed).standard_normal((m, n)).astype(np.float32)
    return bitterfly.quantize_dense(a, **({"bits": 4, "head": None} | how), rng=seed)


def linear(**how: object) -> PackedLinear:
    torch.manual_seed(0)
    return PackedLinear(coded(**how), torch.randn(96))


def expected(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
    dense = torch.from_numpy(reference.dense(layer.operator))
    return x.double() @ dense.T + (0 if layer.bias is None else layer.bias.double())


@pytest.mark.parametrize("part", range(4))
def test_products_and_gradients_are_those_of_the_oracle(part: int) -> None:
    """Of operators of every kind, in any leading shape; within the bounds of products."""
    rng, seen = np.random.default_rng(part), 0
    for seed in range(part, OPERATORS, 4):
        drawn = own.operator(seed)
        if drawn.op.dtype.kind == "c":
            with pytest.raises(TypeError, match="operator: expected real numbers, got complex"):
                PackedLinear(drawn.op)
            continue
        layer = PackedLinear(drawn.op)
        bound, _, least = tolerances.products(layer.operator)
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        x, y = (torch.from_numpy(rng.standard_normal((*shape, n))) for n in drawn.op.shape[::-1])
        if rng.random() < 0.5:
            x, y = x.float(), y.float()
        x.requires_grad_()
        found = layer(x)
        found.backward(y)
        assert found.dtype == x.dtype and found.shape == y.shape
        eps = torch.finfo(x.dtype).eps  # of the conversion to the dtype of x, and its least number
        tiny = eps * torch.finfo(x.dtype).smallest_normal
        for got, given, a, most in ((found, x, drawn.dense, bound), (x.grad, y, drawn.dense.T, bound.T)):
            assert got is not None
            with np.errstate(all="ignore"):
                wide = given.detach().double().numpy()
                y0 = wide @ a.T
                off = ~(np.abs(got.detach().numpy() - y0) <= (np.abs(wide) @ most.T + least) + eps * np.abs(y0) + tiny)
            assert not (off & (np.abs(y0) < float(torch.finfo(x.dtype).max))).any(), drawn.how
        seen += 1
    assert seen >= OPERATORS // 16


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "every other", "expanded", "sliced"])
def test_dtypes_and_layouts(dtype: torch.dtype, layout: str) -> None:
    layer = linear()
    x = torch.randn(4, 6, 64).to(dtype)
    x = {
        "contiguous": x,
        "transposed": x.transpose(0, 1).contiguous().transpose(0, 1),
        "every other": x.repeat_interleave(2, dim=-1)[..., ::2],
        "expanded": x[:1].expand(4, 6, 64),
        "sliced": torch.cat([x, x])[1:5],
    }[layout]
    y = layer(x)
    assert y.dtype == dtype and y.is_contiguous()
    tolerance = max(2e-6, 2 * torch.finfo(dtype).eps)
    assert torch.allclose(y.double(), expected(layer, x), rtol=tolerance, atol=10 * tolerance)


def test_gradients_by_finite_differences() -> None:
    """Of single precision, the operator in double: x and the bias, and once more, since the gradient is linear."""
    layer = PackedLinear(coded(20, 16).astype(np.float64), torch.randn(20, dtype=torch.float64))
    x = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    assert layer.bias is not None

    def of(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"bias": bias}, (x,)).pow(2)

    assert torch.autograd.gradcheck(of, (x, layer.bias))
    assert torch.autograd.gradgradcheck(of, (x, layer.bias))


def test_gradients_of_a_layer_that_is_gone() -> None:
    x = torch.randn(2, 64, requires_grad=True)
    y = linear()(x).sum()
    gc.collect()
    y.backward()
    column = reference.dense(coded()).sum(axis=0)
    assert np.allclose(x.grad, np.stack([column, column]), atol=1e-4)


@pytest.mark.parametrize("how", [torch.no_grad, torch.inference_mode])
def test_without_gradients(how: object) -> None:
    layer, x = linear(), torch.randn(5, 64)
    with how():  # type: ignore[operator]
        y = layer(x)
    assert not y.requires_grad and torch.equal(y, layer(x))


def test_operators_of_torch_keep_what_it_asks_of_them() -> None:
    layer, table = linear(), PackedEmbedding(coded())
    x = torch.randn(3, 64, requires_grad=True)
    checked = torch.library.opcheck(torch.ops.bitterfly.multiply.default, (x, layer._handle, False))
    assert set(checked.values()) == {"SUCCESS"}
    checked = torch.library.opcheck(
        torch.ops.bitterfly.rows.default, (torch.tensor([[1, 2]]), table._handle, torch.float32)
    )
    assert set(checked.values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_in_one_graph(backend: str) -> None:
    """By the tracers of torch.compile, forward and backward; what they make of it, an `inductor` turns into code."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(PackedEmbedding(coded(50)), linear(), torch.nn.GELU(), PackedLinear(coded(64, 96)))
    index = torch.randint(50, (4, 7))
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    assert torch.equal(compiled(index), model(index))
    assert torch.equal(compiled(index[:2, :3]), model(index[:2, :3]))
    x = torch.randn(5, 64, requires_grad=True)
    (g,) = torch.autograd.grad(torch.compile(model[1:], fullgraph=True, backend=backend)(x).pow(2).sum(), x)
    assert torch.allclose(g, torch.autograd.grad(model[1:](x).pow(2).sum(), x)[0])


def test_vmap() -> None:
    layer, x = linear(), torch.randn(3, 64, 5)
    y = torch.func.vmap(layer, in_dims=2)(x)
    assert torch.allclose(y, layer(x.movedim(2, 0)))
    table, index = PackedEmbedding(coded(50)), torch.randint(50, (4, 6))
    assert torch.equal(torch.func.vmap(table, in_dims=1)(index), table(index.T))


class Seen(TorchDispatchMode):
    """Names of the operators of this package that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "bitterfly":
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch's own first use of it
@pytest.mark.parametrize("requires_grad", [False, True])
def test_forward_derivatives(requires_grad: bool) -> None:
    w = np.random.default_rng(0).standard_normal((7, 12)).astype(np.float32)
    layer = PackedLinear(bitterfly.quantize_dense(w, bits=4, rng=0), torch.randn(7))
    x, t = torch.randn(3, 12, requires_grad=requires_grad), torch.randn(3, 12)
    matrix = torch.from_numpy(reference.dense(layer.operator)).float()
    wanted = t @ matrix.T
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, t))).tangent
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(torch.func.jvp(layer, (x,), (t,))[1], wanted, atol=1e-5)
    assert torch.allclose(torch.func.jacfwd(layer)(x[0]), matrix, atol=1e-5)
    compiled = torch.compile(lambda x, t: torch.func.jvp(layer, (x,), (t,))[1], backend="eager")
    assert torch.allclose(compiled(x.detach(), t), wanted, atol=1e-5)
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(layer(x)).tangent is None


def test_products_that_torch_looks_on_at_are_its_operators() -> None:
    """Modes, traces, devices and transforms see `multiply`; elsewhere products are the same without it."""
    layer, x = linear(), torch.randn(3, 64)
    y = layer(x)
    assert torch.equal(y, torch.ops.bitterfly.multiply(x, layer._handle, False) + layer.bias)
    with Seen() as seen:
        assert torch.equal(layer(x), y)
    assert seen.names == ["bitterfly.multiply.default"]
    with torch.no_grad():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated, and takes sizes for constants
            assert torch.equal(torch.jit.trace(layer, x)(x + 1), layer(x + 1))
        graph = make_fx(layer)(x)
    assert "bitterfly.multiply" in graph.code and torch.equal(graph(x + 1), layer(x + 1))
    with torch.device("meta"):
        assert torch.equal(layer(x), y)
    with torch.no_grad():
        assert torch.equal(torch.func.vmap(layer)(x), y)
        assert type(PackedLinear(coded())(FakeTensorMode().from_tensor(x))) is FakeTensor
    assert layer(x).detach().resize_(2).shape == (2,)


# ---- modules ----


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_copies(make: object) -> None:
    model = torch.nn.ModuleList([linear(), PackedEmbedding(coded())]).eval()
    again = make(model)  # type: ignore[operator]
    x, index = torch.randn(4, 64), torch.tensor([0, 95, 3])
    y, rows = model[0](x), model[1](index)
    del model
    gc.collect()
    assert torch.equal(again[0](x), y) and torch.equal(again[1](index), rows) and not again[0].training


def test_state_is_bytes_and_comes_back() -> None:
    layer = linear()
    state = layer.state_dict()
    assert {name: (x.dtype, x.ndim) for name, x in state.items()} == {
        "bias": (torch.float32, 1),
        "packed": (torch.uint8, 1),
    }
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other = PackedLinear(coded(seed=1), torch.zeros(96), precision="half")
    other.load_state_dict(torch.load(file))  # of tensors alone: nothing is unpickled that could run
    x = torch.randn(5, 64)
    assert other.operator.precision == "half" and not torch.equal(other(x), layer(x))
    assert torch.allclose(other(x), layer(x), atol=1e-2)
    assert np.array_equal(other.operator.todense(), layer.operator.todense())


def damaged(state: dict[str, torch.Tensor]) -> torch.Tensor:
    state["packed"][-20] ^= 1
    return state["packed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged, "packed: .*checksum|packed: .*sha256"),
        (lambda state: state["packed"][:9], "packed: .*not a safetensors file"),
        (lambda state: state["packed"].float(), "packed: expected bytes, a tensor of uint8, got torch.float32"),
        (
            lambda state: PackedLinear(coded(96, 32)).state_dict()["packed"],
            r"packed: .*shape \(96, 64\), got \(96, 32\)",
        ),
    ],
)
def test_states_that_do_not_fit(change: object, message: str) -> None:
    layer = linear()
    state = layer.state_dict()
    state["packed"] = change(state)  # type: ignore[operator]
    with pytest.raises(RuntimeError, match=message):
        layer.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"[Mm]issing key.*packed"):
        layer.load_state_dict({"bias": torch.zeros(96)})
    assert np.array_equal(layer.operator.todense(), coded().todense())


def test_precision_is_that_of_all_codes_and_of_the_layer_alone() -> None:
    whole = bitterfly.hstack([coded(), 2.0 * coded(seed=1)]) @ bitterfly.block_diag([coded(64, 64), coded(64, 32)])
    exact, coarse = PackedLinear(whole), PackedLinear(whole, precision="int8")
    assert all(op.precision == "float" for op in whole.operators[0].parts[0:1])
    x = torch.randn(30, whole.shape[1])
    error = (coarse(x) - exact(x)).norm() / exact(x).norm()
    assert 1e-3 < float(error) < 1e-1
    assert coarse.operator.relative_error == whole.relative_error or np.isnan(whole.relative_error)


def test_rows_are_looked_up() -> None:
    table = PackedEmbedding(coded(50))
    dense = reference.dense(table.operator)
    index = torch.randint(50, (3, 4), dtype=torch.int32)
    assert np.allclose(table(index), dense[index], atol=1e-5)
    assert table(torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2, 64)
    assert table(torch.tensor(7)).shape == (64,)
    assert PackedEmbedding(coded(50), dtype=torch.bfloat16)(index).dtype == torch.bfloat16
    for wrong in (50, -1):
        with pytest.raises(IndexError, match="index: expected 0 to 49"):
            table(torch.tensor([3, wrong]))


def test_facts() -> None:
    layer = linear()
    assert (layer.in_features, layer.out_features, layer.nbytes) == (64, 96, layer.operator.nbytes)
    assert "64, 96, bias=True, 4." in repr(layer)
    assert [name for name, _ in layer.named_parameters()] == ["bias"] and not list(layer.buffers())
    assert layer.to(torch.float64).bias.dtype == torch.float64
    assert layer(torch.randn(2, 64)).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PackedLinear(np.eye(3)), TypeError, "operator: expected an operator of this package, got ndarray"),
        (lambda: PackedLinear(coded(), torch.zeros(95)), ValueError, r"bias: expected shape \(96,\), got \(95,\)"),
        (
            lambda: PackedLinear(coded(), precision="fp8"),
            ValueError,
            "precision: expected float, half, int8, got 'fp8'",
        ),
        (lambda: linear()(torch.zeros(2, 63)), ValueError, r"x: expected shape \(..., 64\), got \(2, 63\)"),
        (lambda: linear()(torch.tensor(1.0)), ValueError, r"x: expected shape \(..., 64\), got \(\)"),
        (lambda: linear()(torch.zeros(64, dtype=torch.int64)), TypeError, "x: expected real floating numbers"),
        (lambda: linear()(torch.zeros(64, dtype=torch.complex64)), TypeError, "x: expected real floating numbers"),
        (lambda: linear().to("meta")(torch.zeros(64)), ValueError, "bias: expected a tensor on the device of x, cpu"),
        (lambda: linear()(np.zeros(64, np.float32)), TypeError, "x: expected a tensor, got ndarray"),
        (lambda: PackedEmbedding(coded())([1, 2]), TypeError, "index: expected a tensor, got list"),
        (lambda: PackedLinear(coded(), np.zeros(96)), TypeError, "bias: expected a tensor, got ndarray"),
        (
            lambda: PackedEmbedding(coded())(torch.zeros(3)),
            TypeError,
            "index: expected int64 or int32, got torch.float",
        ),
    ],
)
def test_refused(call: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


def test_traced_without_memory() -> None:
    assert linear().to("meta")(torch.zeros(2, 64, device="meta")).shape == (2, 96)


LOADED = """
import io, sys, numpy as np, torch, bitterfly
from bitterfly.torch import PackedLinear
others = [PackedLinear(bitterfly.quantize_dense(np.full((96, 64), 7, np.float32), bits=4, rng=0)) for _ in range(50)]
try:
    torch.jit.load(io.BytesIO(sys.stdin.buffer.read()))(torch.ones(1, 64))
except RuntimeError as error:
    print(error)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traces_of_another_process_find_no_other_operator() -> None:
    """What is saved has the number of an operator of this process, which is none of that one."""
    packed, traced = io.BytesIO(), torch.jit.trace(PackedLinear(coded()), torch.ones(2, 64))
    torch.jit.save(traced, packed)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED], input=packed.getvalue(), capture_output=True, check=True
    )
    assert "handle: expected that of a module that is still there" in done.stdout.decode()
