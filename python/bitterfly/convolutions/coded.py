"""Kernels in factors to kernels whose factors are codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitterfly.accuracy.known import Known
from bitterfly.convolutions.columns import as_factor, change_between, columns_of, decoded, error_of
from bitterfly.convolutions.kernel import as_kernel, check_one
from bitterfly.dense.quantize import quantize_dense
from bitterfly.dense.trains.quantize import quantize_train
from bitterfly.inputs import Array, UnmetError, as_bytes
from bitterfly.operators.contract import Operator
from bitterfly.powers import near_one, scaled
from bitterfly.structures.tensor_trains.decompositions import measured

_DEPENDENT = 1e-12  # of the largest eigenvalue of a Gram matrix


def coded(
    kernel: Any, bits: float | None, nbytes: int | None, weight: Any, options: dict[str, Any]
) -> tuple[tuple[Operator, ...], Known]:
    """Return codes of the factors of a `FactoredConvolution` and their error; see its method `quantized`."""
    check_one(bits=bits, nbytes=nbytes)
    if kernel.structure not in ("canonical", "tensor_train"):
        raise TypeError(f"structure: expected 'canonical' or 'tensor_train', got {kernel.structure!r}, coded already")
    against = None if weight is None else as_kernel(weight)
    if against is not None and against.array.shape != kernel.shape:
        raise ValueError(f"weight: expected shape {kernel.shape}, got {against.array.shape}")
    is_train = kernel.structure == "tensor_train"
    if is_train:
        factors: tuple[Any, ...] = (quantize_train(kernel.factors[0], bits=bits, nbytes=nbytes, **options),)
    else:
        factors = _columns(kernel.factors, bits, None if nbytes is None else as_bytes(nbytes), options)
    if against is None:
        pair = kernel.factors[0], factors[0]
        change = pair[0].change_to(pair[1]) if is_train else change_between(kernel.factors, factors)
        known = kernel.known.then(change, kind="measured")
    else:
        found = measured(factors[0], against.matrix) if is_train else error_of(against.matrix, columns_of(factors))
        fact = Known.of(found) if is_train else found
        known = Known(against.rounding, "exact").then(fact.error, kind=fact.kind)
    return factors, known


def _columns(
    factors: Sequence[Operator], bits: float | None, nbytes: int | None, options: dict[str, Any]
) -> tuple[Operator, ...]:
    """Return the factors with windows in float16, and codes of B and then of A in the metric of all others."""
    options = options | {"rng": np.random.default_rng(options["rng"])}
    left, *windows, right = (decoded(factor).astype(np.float64) for factor in factors)
    short = [near_one(each) for each in windows]
    halves = [near.astype(np.float16) for near, _ in short]
    right = scaled(right, sum(exponent for _, exponent in short))
    inner, crossed = np.ones((2, left.shape[1], left.shape[1]))
    for (near, _), half in zip(short, halves, strict=True):
        wide = half.astype(np.float64)
        inner, crossed = inner * (wide.T @ wide), crossed * (near.T @ wide)
    rest = None if nbytes is None else nbytes - sum(each.nbytes for each in halves)
    share = None if rest is None else rest * len(right) // (len(left) + len(right))
    near_left, power = near_one(left)
    dtype = np.result_type(*(factor.dtype for factor in factors))
    code_of_right = _coded(right.astype(dtype), near_left.T @ near_left * inner, bits, share, options)
    after, exponent = near_one(decoded(code_of_right).astype(np.float64))
    gram = after.T @ after * inner
    fitted = near_left @ (scaled(right, -exponent).T @ after * crossed) @ _inverse(gram)
    rest = None if rest is None else rest - code_of_right.nbytes
    code_of_left = _coded(scaled(fitted, power).astype(dtype), gram, bits, rest, options)
    return code_of_left, *map(as_factor, halves), code_of_right


def _coded(x: Array, gram: Array, bits: float | None, nbytes: int | None, options: dict[str, Any]) -> Operator:
    if nbytes is not None and nbytes < 1:
        raise UnmetError(f"nbytes: expected room for codes beside the windows, got {nbytes} bytes for a factor")
    metric = gram if gram.any() else None
    return quantize_dense(x, bits=bits, nbytes=nbytes, metric=metric, **options)


def _inverse(gram: Array) -> Array:
    return np.asarray(np.linalg.pinv(gram, rcond=_DEPENDENT, hermitian=True))
