"""Kinds of codes: Python and the kernels agree on them, and factors that do not fit their form are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitterfly import _core
from bitterfly.stores.kinds import KINDS, TILED_KINDS, Code, names_of
from bitterfly.stores.tiles import Layout


@pytest.mark.parametrize("kind", names_of("direction"))
def test_widths_of_directions(kind: str) -> None:
    widths = KINDS[kind].widths
    assert all(len(_core.decode(kind, bits, [0])) == 1 for bits in widths)
    for bits in (widths[0] - 1, widths[-1] + 1):
        with pytest.raises(ValueError, match="bits"):
            _core.decode(kind, bits, [0])
    with pytest.raises(ValueError, match="codes of numbers"):
        _ = Code(kind, 1).form


@pytest.mark.parametrize("code", [Code(kind, bits) for kind in TILED_KINDS for bits in KINDS[kind].widths])
def test_kernels_have_the_forms_of_numbers(code: Code) -> None:
    form = code.form
    said = {"form": form.name, "bits": code.bits, "significand": form.significand, "levels": code.levels}
    count = form.words(Layout.of((1, 4, 4, 4), 0), code.bits, 1)
    _core.tiled((16, 16), [_factor(np.zeros(count, np.uint32), **said)], np.dtype(np.float32))
    with pytest.raises(ValueError, match="values"):
        _core.tiled((16, 16), [_factor(np.zeros(count + 16, np.uint32), **said)], np.dtype(np.float32))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({}, "values"),
        ({"form": "roman", "bits": 4}, "form"),
        ({"form": "integer", "bits": 1}, "2 to 16"),
        ({"form": "integer", "bits": 17}, "2 to 16"),
        ({"form": "integer", "bits": 4, "levels": (1.0,) * 16}, "levels"),
        ({"form": "integer", "bits": 4, "significand": 3}, "significand"),
        ({"form": "list", "bits": 2}, "levels"),
        ({"form": "list", "bits": 2, "levels": (0.0, 1.0)}, "levels"),
        ({"form": "list", "bits": 5, "levels": (1.0,) * 32}, "1 to 4"),
        ({"form": "float", "bits": 6}, "significand"),
        ({"form": "float", "bits": 6, "significand": 6}, "bits"),
    ],
)
def test_factors_that_do_not_fit_their_form(form: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.tiled((16, 16), [_factor(np.zeros(64, np.uint32), **form)], np.dtype(np.float32))


def _factor(words: np.ndarray, **form: Any) -> _core.Factor:
    return _core.Factor(pattern=(1, 4, 4, 4), rank=0, values=words, pivots=None, **form)
