"""Files of butterflies on any chain: bit for bit in every form, and nothing broken comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bitterfly
from bitterfly import Chain, gallery, load, save

FORMS = ["float", "skeleton floats", "skeleton", "lattice"]


def operator(form: str, dtype: str) -> bitterfly.ButterflyOperator | bitterfly.PackedButterfly:
    kernel = gallery.nonuniform_dft(256) if dtype[0] == "c" else gallery.bessel_j0(512)
    a = kernel.todense().astype(dtype)
    if form == "skeleton floats":
        return bitterfly.factorize(lambda rows, cols: a[np.ix_(rows, cols)], shape=a.shape, rtol=3e-2)
    op = bitterfly.factorize(a[:-3, 1:], rtol=3e-2)
    return op if form == "float" else bitterfly.quantize(op, bits=6, code=form)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("form", FORMS)
def test_round_trip(tmp_path: Path, form: str, dtype: str) -> None:
    op = operator(form, dtype)
    x = np.random.default_rng(0).standard_normal((op.shape[1], 3))
    for view in (op, op.H, op.T):
        save(tmp_path / "a.bfly", view)
        again = load(tmp_path / "a.bfly")
        assert type(again) is type(op) and again.shape == view.shape and again.dtype == op.dtype
        assert again.chain == view.chain and again.mode == view.mode and again.nbytes == view.nbytes
        assert (again.relative_error, again.error_kind) == (op.relative_error, op.error_kind)
        z = x if again.shape[1] == len(x) else np.ones((again.shape[1], 2))
        np.testing.assert_array_equal(again @ z, view @ z)
        save(tmp_path / "b.bfly", again)
        assert (tmp_path / "a.bfly").read_bytes() == (tmp_path / "b.bfly").read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_corruptions(tmp_path: Path, form: str) -> None:
    """Flipped, cut and appended bytes: refused with a ValueError, never a crash."""
    good = tmp_path / "good"
    save(good, operator(form, "c8"))
    content, rng = good.read_bytes(), np.random.default_rng(0)
    header = int.from_bytes(content[:8], "little")
    bad = tmp_path / "bad"
    for trial in range(600):
        broken = bytearray(content)
        end = 8 + header if trial % 2 else len(broken)
        at = int(rng.integers(end))
        if trial % 3 == 0:
            broken = broken[:at]
        else:
            broken[at] ^= int(rng.integers(1, 256))
        bad.write_bytes(bytes(broken))
        with pytest.raises(ValueError, match=r"\w"):
            load(bad)


def test_one_factor_and_tall(tmp_path: Path) -> None:
    for shape in ((1, 1), (7, 3), (1, 9), (300, 2)):
        a = np.random.default_rng(1).standard_normal(shape)
        op = bitterfly.factorize(a, Chain.for_shape(shape))
        for each in (op, bitterfly.quantize(op, bits=8, code="lattice")):
            save(tmp_path / "a", each)
            np.testing.assert_array_equal(load(tmp_path / "a").todense(), each.todense())
