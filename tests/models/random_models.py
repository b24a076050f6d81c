"""Random small models: matrices of every kind and type, in every layout, and tensors that are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitterfly import SecondMoments
from bitterfly.models import CompressedModel
from bitterfly.models.tensors import shortened, widened

KINDS = (
    "normal",
    "graded",
    "low_rank",
    "alike",
    "outliers",
    "zero",
    "one",
    "identity",
    "toeplitz",
    "sparse",
    "denormal",
)
FLOATS = ("f8", "f4", "f2")


def matrix(rng: np.random.Generator, m: int, n: int, dtype: str) -> np.ndarray:
    """A matrix of numbers that fit the type."""
    kind = str(rng.choice(KINDS))
    a = rng.standard_normal((m, n))
    if kind == "graded":
        a *= np.geomspace(1, 1e-3, n)
    elif kind == "low_rank":
        a = np.linalg.multi_dot([a[:, :3], a[:3]]) if n >= 3 else a
    elif kind == "alike":
        a = a[:1] + 0.01 * a
    elif kind == "outliers":
        a[rng.integers(0, m, 5), rng.integers(0, n, 5)] = 60
    elif kind in ("zero", "one"):
        a[...] = 0
        a[-1, 0] = kind == "one"
    elif kind == "identity":
        a = np.eye(m, n)
    elif kind == "toeplitz":
        a = a.ravel()[np.subtract.outer(np.arange(m), np.arange(n)) + n]
    elif kind == "sparse":
        a *= rng.random((m, n)) < 0.02
    elif kind == "denormal":
        a *= float(np.finfo(dtype).smallest_subnormal) * 8
    elif rng.random() < 0.3:
        power = {"f8": 900, "f4": 100, "f2": 8}[dtype]
        a *= 2.0 ** (power * rng.choice([-1, 1]))
    return a.astype(dtype)


def laid_out(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The same numbers in another layout, one that cannot be written to among them."""
    kind = rng.integers(5)
    if kind == 1:
        return np.asfortranarray(x)
    if kind == 2:
        return np.ascontiguousarray(x[::-1])[::-1]
    if kind == 3:
        return np.repeat(x, 2, axis=0)[::2]
    if kind == 4:
        return x.astype(x.dtype.newbyteorder(">"))
    x.flags.writeable = False
    return x


def model(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, SecondMoments]]:
    """Tensors by name, and second moments of the inputs of some."""
    found: dict[str, np.ndarray] = {"bias": rng.standard_normal(70).astype("f2"), "steps": np.arange(6)}
    found |= {"scalar": np.float32(3), "none": np.zeros((0, 64), "f4"), "flags": rng.random((80, 80)) < 0.5}
    found["small"] = rng.standard_normal((15, 300)).astype("f4")
    moments = {}
    for at in range(3):
        dtype = str(rng.choice(FLOATS))
        m, n = (int(rng.integers(16, 90)), int(rng.integers(260, 300))) if at else (16, int(rng.integers(256, 700)))
        m, n = (n, m) if rng.random() < 0.3 else (m, n)
        name = f"layers.{at}.weight"
        found[name] = laid_out(rng, matrix(rng, m, n, dtype))
        if rng.random() < 0.5:
            inputs = rng.standard_normal((int(rng.integers(1, 400)), n)) * np.geomspace(1, rng.choice([1, 1e-3]), n)
            moments[name] = SecondMoments(n).update(inputs)
    dtype = str(rng.choice(FLOATS))
    found["convolution"] = matrix(rng, 32, 16 * 9, dtype).reshape(32, 16, 3, 3)
    with_infinity = rng.standard_normal((64, 70))
    with_infinity[3, 4] = rng.choice([np.inf, np.nan])
    found["mask"] = with_infinity
    names = list(found)
    return {names[at]: found[names[at]] for at in rng.permutation(len(names))}, moments


def brain(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of bfloat16 in 16 bits each, and in single precision."""
    short = shortened(rng.standard_normal(shape).astype("f4"))
    return short, widened(short)


def as_matrix(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


def contents(small: CompressedModel) -> dict[str, Any]:
    """Everything that a compressed model holds."""
    found: dict[str, Any] = {"metadata": small.metadata}
    for name in small:
        each = small[name]
        found[name] = small.kind(name), small.shape(name), small.dtype(name), small.units(name), _numbers(each)
    return found


def _numbers(each: Any) -> bytes:
    return bytes((each if isinstance(each, np.ndarray) else each.todense()).tobytes())
