"""Second moments of the inputs of layers: those of the inputs themselves, over batches, without padding."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

import bitterfly
from bitterfly.torch import second_moments


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_inputs_of_each_layer_over_batches(dtype: torch.dtype) -> None:
    made, x = model().to(dtype), torch.randn(40, 3, 8).to(dtype)
    with second_moments(made) as moments:
        for batch in x.split(11):
            made(batch)
    made(x)  # no longer seen
    inputs = {"0.weight": x, "2.weight": torch.cat([made[:2](batch) for batch in x.split(11)])}
    assert list(moments) == list(inputs) and len(moments) == 2
    for name, seen in inputs.items():
        rows = seen.detach().double().reshape(-1, seen.shape[-1]).numpy()
        assert moments[name].count == 120
        np.testing.assert_allclose(moments[name].matrix, rows.T @ rows, rtol=1e-12, atol=1e-12)


def test_inputs_by_name() -> None:
    layer = nn.Linear(3, 2)
    with second_moments(layer) as moments:
        layer(input=torch.ones(4, 3))
    assert moments["weight"].count == 4 and np.array_equal(moments["weight"].matrix, np.full((3, 3), 4.0))


def test_sums_are_in_double_precision() -> None:
    """A small input after a large one is not lost, as it would be in single precision."""
    layer = nn.Linear(2, 1)
    with second_moments(layer) as moments:
        layer(torch.tensor([[1e4, 0.0]]))
        for _ in range(3):
            layer(torch.tensor([[1e-2, 1.0]]))
    assert moments["weight"].matrix[0, 0] == pytest.approx(float(torch.tensor(1e4)) ** 2 + 3e-4, rel=1e-15)


def test_padding_is_left_out() -> None:
    made, x = model(), torch.randn(4, 6, 8)
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 0])[:, None]
    with second_moments(made, ["0.weight"]) as moments, moments.masked(mask.long()):
        made(x)
    rows = x[mask].double().numpy()
    assert moments["0.weight"].count == 10
    np.testing.assert_allclose(moments["0.weight"].matrix, rows.T @ rows, rtol=1e-12, atol=1e-12)
    with second_moments(made) as moments:
        with moments.masked(mask):
            made(x[:, 0])  # (batch, n), behind a pooling: no tokens to mask
        made(x)
    assert moments["0.weight"].count == 4 + 24


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (4, 3, 9, 8)),
        (nn.Conv2d(2, 4, 1, bias=False), (2, 6, 5)),
        (nn.Conv1d(3, 5, 4, stride=3, padding=2, dilation=2), (4, 3, 20)),
        (nn.Conv1d(2, 3, 2), (2, 7)),
    ],
)
def test_windows_of_convolutions(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """With them the energy of the outputs is that of the weights, as a matrix, in the metric."""
    x = torch.randn(shape)
    with second_moments(nn.Sequential(layer)) as moments, torch.no_grad():
        y = layer(x) if layer.bias is None else layer(x) - layer.bias.reshape(-1, *[1] * (layer.weight.ndim - 2))
    w = layer.weight.detach().double().flatten(1).numpy()
    found = moments["0.weight"]
    assert found.count * len(w) == y.numel()
    assert np.trace(w @ found.matrix @ w.T) == pytest.approx(float(y.double().square().sum()), rel=1e-5)


def test_they_are_metrics_of_codes() -> None:
    made = model()
    x = torch.randn(500, 8) * torch.logspace(0, -2, 8)
    with second_moments(made) as moments:
        made(x)
    w = made[0].weight.detach().numpy()
    op = bitterfly.quantize_dense(w, bits=3, metric=moments["0.weight"], rng=0)
    lost = np.linalg.norm(x.numpy() @ (op.todense() - w).T) / np.linalg.norm(x.numpy() @ w.T)
    assert lost <= op.metric_error * (1 + 1e-5)


def test_layers_that_are_left_out_or_refused() -> None:
    made = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding="same"), nn.LayerNorm(3))
    assert list(second_moments(made)) == []
    for name, error, message in (
        ("0.weight", TypeError, "names: '0.weight': expected one group"),
        ("1.weight", TypeError, "names: '1.weight': expected one group"),
        ("2.weight", TypeError, "names: '2.weight': expected a Linear, a Conv1d or a Conv2d, got LayerNorm"),
        ("3.weight", KeyError, "names: the model has no weight of the name '3.weight'"),
    ):
        with pytest.raises(error, match=message):
            second_moments(made, [name])
