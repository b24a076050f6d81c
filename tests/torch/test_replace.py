"""Models whose layers give way to packed ones, by the names of their state dicts."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

import bitterfly
from bitterfly.torch import PackedEmbedding, PackedLinear, load_packed, replace_linear


class Model(nn.Module):
    """A table that is shared with the last layer, as those of language models are."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 32)
        self.inner = nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.LayerNorm(48), nn.Linear(48, 32))
        self.last = nn.Linear(32, 40, bias=False)
        self.last.weight = self.table.weight
        self.register_buffer("shift", torch.zeros(32))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.last(self.inner(self.table(index)) + self.shift)


def model() -> Model:
    torch.manual_seed(0)
    made = Model().eval()
    made.shift += 1
    return made


def compressed(of: nn.Module) -> dict[str, object]:
    """As a file of a model is read: operators of matrices, arrays of all else, shared ones once."""
    numbers = {name: x.detach().numpy().copy() for name, x in of.state_dict().items() if name != "last.weight"}
    return {name: bitterfly.quantize_dense(x, bits=4, rng=0) if x.ndim == 2 else x for name, x in numbers.items()}


def dense(given: dict[str, object]) -> Model:
    """The model of the same matrices, in floats."""
    numbers = {name: torch.from_numpy(np.asarray(x).copy()) for name, x in given.items()}
    made = model()
    made.load_state_dict(numbers | {"last.weight": numbers["table.weight"]})
    return made


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_model_of_operators_alone(device: str) -> None:
    given, index = compressed(model()), torch.randint(40, (3, 5))
    with torch.device(device):
        made = Model().eval()
    assert replace_linear(made, given) is made
    assert isinstance(made.table, PackedEmbedding) and isinstance(made.last, PackedLinear)
    assert made.table.operator is not given["table.weight"] and not made.last.training
    assert torch.allclose(made(index), dense(given)(index), atol=1e-5)
    assert sorted(name for name, _ in made.named_parameters()) == [
        "inner.0.bias", "inner.2.bias", "inner.2.weight", "inner.3.bias"
    ]  # fmt: skip
    assert not any(x.is_meta for x in (*made.parameters(), *made.buffers()))


def test_arrays_alone_fill_a_model_without_memory() -> None:
    """What is shared stays shared, and what does not learn does not."""
    with torch.device("meta"):
        made = Model().eval()
    made.inner[0].weight.requires_grad_(False)
    arrays = {name: x.detach().numpy() for name, x in model().state_dict().items() if name != "last.weight"}
    replace_linear(made, arrays)
    index = torch.randint(40, (3, 5))
    assert made.last.weight is made.table.weight and not made.inner[0].weight.requires_grad
    assert torch.equal(made(index), model()(index))


def test_what_has_no_name_stays() -> None:
    made = model()
    before = made.inner[0]
    bias = made.inner[3].bias
    replace_linear(made, {"inner.3.weight": compressed(made)["inner.3.weight"]}, precision="half")
    assert made.inner[0] is before and made.inner[3].bias is bias and made.inner[3].operator.precision == "half"


def test_a_layer_by_itself() -> None:
    layer = nn.Linear(16, 24)
    op = bitterfly.transforms.hadamard(32)[:24, :16]
    found = replace_linear(layer, {"weight": bitterfly.quantize_dense(np.asarray(op), bits=4, rng=0)})
    assert isinstance(found, PackedLinear) and found.bias is layer.bias


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_states_come_back(device: str) -> None:
    made, index = replace_linear(model(), compressed(model())), torch.randint(40, (3, 5))
    state = made.state_dict()
    with torch.device(device):
        again = Model().eval()
    load_packed(again, state)
    assert torch.equal(again(index), made(index))
    again.load_state_dict(state)
    del state["inner.0.packed"]
    with pytest.raises(RuntimeError, match=r"inner\.0"):
        load_packed(model(), state)


def test_a_transformer_of_torch_in_training() -> None:
    """What is not packed learns through what is; the packed layers stay what they are."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
    ops = {name: bitterfly.quantize_dense(layer.get_parameter(name).detach().numpy(), bits=4, rng=0)
           for name in ("linear1.weight", "linear2.weight")}  # fmt: skip
    replace_linear(layer, ops)
    x, target = torch.randn(8, 5, 32), torch.randn(8, 5, 32)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().item())
    assert losses[-1] < 0.8 * losses[0]
    assert np.array_equal(layer.linear1.operator.todense(), ops["linear1.weight"].todense())


def test_what_no_layer_can_pack_is_decoded() -> None:
    """Weights of convolutions, of what looks at the weights of its layers, and those that such a module shares."""
    made = nn.ModuleDict({
        "conv": nn.Conv2d(3, 8, 3),
        "attention": nn.MultiheadAttention(32, 4),
        "short": nn.Embedding(40, 32, max_norm=1.0),
        "linear": nn.Linear(32, 32),
        "bilinear": nn.Bilinear(3, 4, 5),
    })  # fmt: skip
    made["linear"].weight = made["attention"].out_proj.weight
    names = ["conv.weight", "attention.in_proj_weight", "attention.out_proj.weight", "short.weight", "bilinear.weight"]
    ops = {
        name: bitterfly.quantize_dense(made.get_parameter(name).detach().flatten(1).numpy(), bits=4, rng=0)
        for name in names
    }
    kinds = [type(module) for module in made.modules()]
    replace_linear(made, ops)
    assert [type(module) for module in made.modules()] == kinds
    for name, op in ops.items():
        assert np.array_equal(made.get_parameter(name).detach().flatten(1), op.todense())
    assert made["linear"].weight is made["attention"].out_proj.weight


def test_arrays_of_any_layout_and_tensors() -> None:
    numbers = np.random.default_rng(0).standard_normal((5, 7)).astype("f4")
    wide = np.repeat(numbers, 2, axis=1)
    tensor = torch.from_numpy(numbers)
    for given in (
        numbers.astype(">f4"), np.asfortranarray(numbers), wide[:, ::2], numbers[::-1].copy()[::-1], numbers.tolist(),
        tensor, tensor.clone().requires_grad_(), tensor.T.contiguous().T, nn.Parameter(tensor.clone()),
    ):  # fmt: skip
        made = replace_linear(nn.Linear(7, 5), {"weight": given})
        assert torch.equal(made.weight.detach(), tensor) and made.weight.requires_grad
    short = replace_linear(nn.Linear(7, 5, dtype=torch.bfloat16), {"weight": tensor.bfloat16()})
    assert torch.equal(short.weight.detach(), tensor.bfloat16())
    with torch.device("meta"):
        made = nn.Linear(7, 5)
    replace_linear(made, {"weight": tensor, "bias": tensor[:, 0]})
    made.weight.data.zero_()
    assert np.array_equal(tensor, numbers) and tensor.any()  # in memory of their own


def test_complex_numbers_are_not_made_real() -> None:
    made = nn.Linear(7, 5)
    before = made.weight.detach().clone()
    with pytest.raises(TypeError, match=r"compressed\['weight'\]: expected real numbers, got torch.complex128"):
        replace_linear(made, {"bias": np.ones(5), "weight": np.full((5, 7), 1j)})
    assert torch.equal(made.weight, before) and not torch.equal(made.bias, torch.ones(5))  # nothing has been replaced
    conv = nn.Conv2d(2, 5, 3)
    with pytest.raises(TypeError, match=r"weight.*: expected real numbers, got torch.complex128"):
        replace_linear(conv, {"weight": bitterfly.structures.low_rank(np.full((5, 18), 1j), rank=1)})


def test_buffers_of_two_names() -> None:
    made = nn.ModuleDict({"a": nn.BatchNorm1d(4), "b": nn.BatchNorm1d(4)})
    made["b"].running_mean = made["a"].running_mean
    replace_linear(made, {name: np.full(4, 2.0) for name in ("a.running_mean", "b.running_mean")})
    assert made["a"].running_mean.tolist() == [2.0] * 4 and made["b"].running_mean is made["a"].running_mean


def test_hooks_stay() -> None:
    """With the handles that remove them; those of moments among them."""
    made, seen = nn.Sequential(nn.Linear(32, 16)), []
    handles = [
        made[0].register_forward_hook(lambda *a: seen.append("after")),
        made[0].register_forward_pre_hook(lambda layer, args, kwargs: seen.append("before"), with_kwargs=True),
        made[0].register_full_backward_hook(lambda *a: seen.append("back")),
    ]
    x = torch.ones(1, 32, requires_grad=True)
    replace_linear(made, {"0.weight": bitterfly.quantize_dense(np.ones((16, 32), np.float32), bits=4, rng=0)})
    made(x).sum().backward()
    assert isinstance(made[0], PackedLinear) and seen == ["before", "after", "back"]
    for handle in handles:
        handle.remove()
    made(x).sum().backward()
    assert len(seen) == 3


def test_refused() -> None:
    op = bitterfly.quantize_dense(np.eye(32, dtype=np.float32), bits=4, rng=0)
    for made, name, error, message in (
        (model(), "inner.9.weight", KeyError, r"compressed\['inner.9.weight'\]: the model has no tensor"),
        (model(), "inner.0.weight", ValueError, r"compressed\['inner.0.weight'\]: expected shape \(48, 32\), got"),
        (nn.Linear(32, 32), "bias", ValueError, r"compressed\['bias'\]: expected shape \(32,\), got \(32, 32\)"),
    ):
        with pytest.raises(error, match=message):
            replace_linear(made, {name: op})
    made = model()
    with pytest.raises(KeyError, match="no tensor"):
        replace_linear(made, {"inner.3.weight": compressed(made)["inner.3.weight"], "x": 0})
    assert isinstance(made.inner[3], nn.Linear)  # nothing has been replaced
    state = PackedLinear(op).state_dict()["packed"]
    with pytest.raises(ValueError, match=r"0.packed: expected shape \(32, 64\), got \(32, 32\)"):
        load_packed(nn.Sequential(nn.Linear(64, 32)), {"0.packed": state})
    with pytest.raises(RuntimeError, match=r"[Uu]nexpected key.*7.packed"):
        load_packed(nn.Sequential(nn.ReLU()), {"7.packed": state})
    with pytest.raises(TypeError, match=r"0.packed: expected a Linear, or an Embedding without max_norm, got ReLU"):
        load_packed(nn.Sequential(nn.ReLU()), {"0.packed": PackedLinear(op).state_dict()["packed"]})
