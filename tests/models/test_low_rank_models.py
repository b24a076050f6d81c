"""Models of factors of low rank in codes: below one bit a number, in metrics, beside codes of all entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_models as drawn
from test_compress_model import check

from bitterfly import SecondMoments, models
from bitterfly.dense.low_ranks.plans import Plans, least_bytes
from bitterfly.inputs import UnmetError
from bitterfly.models.rates import WithLowRank, curve, least_of

BOTH = ["low_rank", "dense"]


def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Layers of which a few triples hold most, and one of which they do not."""
    found = {
        f"layers.{at}.weight": rng.standard_normal((384, 16)) @ rng.standard_normal((16, 256))
        + 0.3 * rng.standard_normal((384, 256))
        for at in range(2)
    }
    found["layers.2.weight"] = rng.standard_normal((256, 256))
    return {name: x.astype("f4") for name, x in found.items()} | {"layers.0.bias": np.zeros(384, "f2")}


@pytest.mark.parametrize("seed", range(10))
def test_any_model(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([2, seed])
    given, moments = drawn.model(rng)
    coded = {name: x for name, x in given.items() if name.startswith("layers") or name == "convolution"}
    alone = sum(np.asarray(x).nbytes for name, x in given.items() if name not in coded)
    nbytes = alone + int(sum(x.size for x in coded.values()) * rng.uniform(2.5, 6) / 8)
    structure: Any = BOTH if seed % 3 else ["sparse", *BOTH]
    small = models.compress_model(
        given, tmp_path / "small", nbytes=nbytes, moments=moments, structure=structure, rng=seed
    )
    check(given, moments, small)
    assert small.nbytes <= nbytes


def test_below_one_bit(tmp_path: Path) -> None:
    """Where codes of all entries are refused, factors keep most; where both fit, both lose less than codes."""
    rng = np.random.default_rng(0)
    given = weights(rng)
    moments = {
        name: SecondMoments(256).update(rng.standard_normal((600, 256)) * np.geomspace(1, 0.1, 256))
        for name in ("layers.0.weight", "layers.2.weight")
    }
    with pytest.raises(UnmetError, match=r"ratio: expected at least .* 1 bit for each number"):
        models.compress_model(given, tmp_path / "small", ratio=0.05, moments=moments, structure="dense")
    small = models.compress_model(given, tmp_path / "small", ratio=0.05, moments=moments, structure=BOTH)
    check(given, moments, small)
    assert small.nbytes <= 0.05 * small.half_nbytes
    assert small.units("layers.0.weight")[0].metric_error < 0.35
    with pytest.raises(UnmetError, match=r"ratio: expected at least .* a few triples of each"):
        models.compress_model(given, tmp_path / "less", ratio=0.01, moments=moments, structure=BOTH)
    lost = []
    for structure in ("dense", BOTH):
        found = models.compress_model(given, tmp_path / "again", ratio=0.1, moments=moments, structure=structure)
        units = [found.units(name)[0] for name in given if found.kind(name) != "plain"]
        lost.append(sum((u.relative_error if np.isnan(u.metric_error) else u.metric_error) ** 2 for u in units))
    assert lost[1] < lost[0]
    back = models.load(tmp_path / "again")
    assert drawn.contents(back) == drawn.contents(found) and back.units("layers.0.weight")[0].structure == "product"


def test_losses_and_files(tmp_path: Path) -> None:
    """Losses of probes are those of codes of two bits, whatever parts become; files do not depend on threads."""
    given = weights(np.random.default_rng(1))

    def loss(tensors: object) -> float:
        return float(sum(np.sum((tensors[name] - given[name]) ** 2) for name in given))  # type: ignore[index]

    files = []
    for workers in (1, 2):
        small = models.compress_model(
            given, tmp_path / f"{workers}", ratio=0.08, structure=BOTH, sensitivity=loss, workers=workers
        )
        files.append((tmp_path / f"{workers}").read_bytes())
    assert files[0] == files[1]
    dense = models.compress_model(given, tmp_path / "dense", ratio=0.2, structure="dense", sensitivity=loss)
    assert dense.sensitivities == small.sensitivities
    for name in ("layers.0.weight", "layers.2.weight"):
        unit = small.units(name)[0]
        lost = float(np.sum((small[name].todense() - given[name]) ** 2))
        assert unit.loss == pytest.approx(lost, rel=0.05)


def test_curves() -> None:
    """The less of both, of as few bytes as the fewest of both."""
    a = weights(np.random.default_rng(2))["layers.0.weight"]
    codes, plans, unit = curve(a.shape, None), Plans(a, None), 0.07
    found = WithLowRank(codes, plans, unit)
    assert found.nbytes[0] == least_of(a.shape, True) == least_bytes(a.shape) < least_of(a.shape, False)
    squares = [found.square(nbytes) for nbytes in found.nbytes]
    assert squares == sorted(squares, reverse=True)
    for nbytes, square in zip(found.nbytes, squares, strict=True):
        own = plans.square(nbytes) / unit
        least = min(own, codes.square(nbytes)) if nbytes >= codes.nbytes[0] else own
        assert least <= square * (1 + 1e-12)
        assert square <= codes.square(nbytes) if nbytes >= codes.nbytes[0] else True
