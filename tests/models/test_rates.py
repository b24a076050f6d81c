"""Bytes of each part: never more in all, the least predicted loss up to a step, and what a loss of zero means."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from bitterfly import SecondMoments, models
from bitterfly.inputs import UnmetError
from bitterfly.models.rates import Curve, curve, shared
from bitterfly.models.sensitivity import by_default, checked_losses
from bitterfly.models.tensors import of_array
from bitterfly.models.units import kind_of, parts_of


def test_curves_are_what_codes_do() -> None:
    """Bytes to one in a hundred, errors to a few percent up to 5 bits; with more, short rows err less."""
    import bitterfly

    a = np.random.default_rng(0).standard_normal((256, 384))
    found = Curve(a.shape, 1)
    unit = bitterfly.quantize_dense(a, nbytes=found.probed, rng=0)
    for nbytes in found.nbytes[:: len(found.nbytes) // 6]:
        op = bitterfly.quantize_dense(a, nbytes=nbytes, stages=1, rng=0)
        assert 0.99 * nbytes <= op.nbytes <= nbytes
        square = (op.relative_error / unit.relative_error) ** 2
        above = 1.06 if nbytes <= 5.1 * a.size / 8 else 2
        assert 0.94 * square <= found.square(nbytes) <= above * square
    assert found.square(found.probed) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(30))
def test_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [(int(rng.integers(16, 200)), int(rng.integers(16, 200))) for _ in range(3)]
    curves = [curve(shape, 1) for shape in shapes]
    losses = (10 ** rng.uniform(-2, 2, 3)).tolist()
    least, most = (sum(each.nbytes[end] for each in curves) for end in (0, -1))
    budget = int(rng.integers(least, most + 100))
    shares = shared(curves, losses, budget)
    assert sum(share.nbytes for share in shares) <= budget
    assert all(share.nbytes <= each.nbytes[-1] for share, each in zip(shares, curves, strict=True))
    tables = [
        [(size, loss * each.square(size)) for size in each.nbytes] for loss, each in zip(losses, curves, strict=True)
    ]
    choices = itertools.product(*tables)
    best = min(sum(y for _, y in choice) for choice in choices if sum(x for x, _ in choice) <= budget)
    step = max(max(low - high for (_, low), (_, high) in itertools.pairwise(table)) for table in tables)
    assert sum(share.loss for share in shares) <= best + step
    with pytest.raises(UnmetError, match=f"nbytes: expected at least {least}"):
        shared(curves, losses, least - 1)


def test_more_bytes_lose_less() -> None:
    curves = [curve((64, 64), 1), curve((200, 96), None)]
    found = [sum(each.loss for each in shared(curves, [1, 5], nbytes)) for nbytes in range(4000, 22_000, 500)]
    assert found == sorted(found, reverse=True)


def test_what_loses_nothing_takes_the_least() -> None:
    curves = [curve((64, 64), 1), curve((200, 96), None)]
    shares = shared(curves, [0, 1], 30_000)
    assert [share.nbytes for share in shares] == [curves[0].nbytes[0], curves[1].nbytes[-1]]
    assert [share.nbytes for share in shared(curves, [0, 0], 30_000)] == [each.nbytes[0] for each in curves]


@pytest.mark.parametrize(
    ("name", "shape", "has_moments", "kind"),
    [
        ("layers.0.weight", (64, 64), False, "linear"),
        ("layers.0.weight", (63, 64), False, "plain"),
        ("layers.0.weight", (15, 1000), False, "plain"),
        ("layers.0.weight", (1000, 16), False, "table"),
        ("layers.0.weight", (1000, 16), True, "linear"),
        ("embeddings.position.weight", (128, 64), False, "table"),
        ("model.embed_tokens.weight", (128, 64), False, "table"),
        ("transformer.wte.weight", (128, 64), False, "table"),
        ("embeddings.weight", (128, 64), True, "linear"),
        ("conv", (64, 3, 7, 7), False, "convolution"),
        ("conv", (64, 128, 3), False, "convolution"),
        ("conv", (64, 1, 3, 3), False, "plain"),
        ("bias", (10_000,), False, "plain"),
        ("bias", (), False, "plain"),
        ("none", (0, 64), False, "plain"),
    ],
)
def test_kinds(name: str, shape: tuple[int, ...], has_moments: bool, kind: str) -> None:
    assert kind_of(name, of_array(np.zeros(shape, "f4"), name), has_moments) == kind
    assert kind_of(name, of_array(np.zeros(shape, "i4"), name), has_moments) == "plain"


def test_parts_of_tables() -> None:
    table = of_array(np.zeros((30_522, 16), "f2"), "words")
    assert [(part.first, part.end) for part in parts_of("words", "table", table)] == [
        (0, 3840),
        (3840, 7680),
        (7680, 15_296),
        (15_296, 30_522),
    ]
    assert len(parts_of("words", "linear", table)) == 1
    for m in (4095, 4096, 4097, 5000, 99_999):
        parts = parts_of("words", "table", of_array(np.zeros((m, 16), "f2"), "words"))
        assert [part.first for part in parts[1:]] == [part.end for part in parts[:-1]] and parts[-1].end == m
        assert len(parts) == (1 if m == 4095 else 4) and all(part.first % 64 == 0 for part in parts)


def test_losses_of_tables_are_shared() -> None:
    parts = parts_of("words", "table", of_array(np.zeros((8192, 16), "f2"), "words"))
    found = checked_losses({"words": 3.0}, parts)
    assert sum(found) == pytest.approx(3) and found[3] == pytest.approx(2 * found[0])
    assert np.allclose(np.divide(found, by_default(parts)), found[0] / by_default(parts)[0])
    assert checked_losses({"words": [1, 2, 3, 4]}, parts) == [1, 2, 3, 4]


def layers(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {f"layers.{at}": (rng.standard_normal((128, 256)) / 16).astype("f4") for at in range(3)}


def test_sensitivities_decide(tmp_path: Path) -> None:
    """A loss of a quadratic form: what is predicted is what is measured, and better than without knowing it."""
    rng = np.random.default_rng(0)
    given = layers(rng)
    inputs = rng.standard_normal((400, 256)) * np.geomspace(1, 0.05, 256)
    weights, calls = {"layers.0": 1.0, "layers.1": 0.01, "layers.2": 30.0}, []

    def loss(tensors: object) -> float:
        calls.append(1)
        lost = ((np.asarray(tensors[name]) - given[name]) @ inputs.T for name in given)  # type: ignore[index]
        return 5 + sum(w * float(np.sum(each**2)) for w, each in zip(weights.values(), lost, strict=True))

    moments = {name: SecondMoments(256).update(inputs) for name in given}
    known = models.compress_model(given, tmp_path / "known", ratio=0.2, moments=moments, sensitivity=loss)
    assert len(calls) == 4
    plain = models.compress_model(given, tmp_path / "plain", ratio=0.2, moments=moments)
    found = {name: known[name].todense() for name in known}
    predicted = sum(known.units(name)[0].loss for name in known)
    assert loss(found) - 5 == pytest.approx(predicted, rel=0.02)
    assert loss(found) - 5 < 0.5 * (loss({name: plain[name].todense() for name in plain}) - 5)
    bits = [known.units(name)[0].bits for name in known]
    assert bits[1] + 1 < bits[0] < bits[2] - 1
    again = models.compress_model(
        given, tmp_path / "again", ratio=0.2, moments=moments, sensitivity=known.sensitivities
    )
    assert [again.units(name)[0].nbytes for name in again] == [known.units(name)[0].nbytes for name in known]
    with pytest.raises(ValueError, match="the model was compressed without one"):
        plain.sensitivities  # noqa: B018


def test_bytes_that_a_structure_leaves_go_to_the_others(tmp_path: Path) -> None:
    given = layers(np.random.default_rng(0)) | {
        "turned": np.eye(256, dtype="f4")[::-1],
        "nothing": np.zeros((256, 256)),
    }
    small = models.compress_model(given, tmp_path / "small", ratio=0.2)
    assert small.units("turned")[0].structure in ("permutation", "toeplitz", "sparse")
    assert small.units("turned")[0].relative_error == small.units("nothing")[0].relative_error == 0
    assert 0.98 * 0.2 * small.half_nbytes < small.nbytes <= 0.2 * small.half_nbytes


def test_structures_in_a_metric(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    toeplitz = rng.standard_normal(300)[np.subtract.outer(np.arange(128), np.arange(128)) + 128].astype("f4")
    moments = {"w": SecondMoments(128).update(rng.standard_normal((50, 128)))}
    auto, dense = (
        models.compress_model({"w": toeplitz}, tmp_path / name, ratio=0.2, moments=moments, structure=name)  # type: ignore[arg-type]
        for name in ("auto", "dense")
    )
    assert auto.units("w")[0].structure == "toeplitz" and auto.nbytes < 0.5 * dense.nbytes
    assert auto["w"].metric_error == auto.units("w")[0].metric_error
    assert auto.units("w")[0].metric_error < 1e-6 < dense.units("w")[0].metric_error < 0.2
