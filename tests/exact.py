"""The true error of an operator, multiplied out in extended precision with the matrix scaled to about one."""

from __future__ import annotations

from typing import Any

import numpy as np

import bitterfly
import strategies as own
from bitterfly import reference
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.scale_codes import ScaleCodes
from bitterfly.stores.tile_codes import values_of
from bitterfly.stores.tiles import Skeleton

Operator = bitterfly.ButterflyOperator | bitterfly.PackedButterfly


def floats(op: Operator) -> bitterfly.ButterflyOperator:
    """The factors that an operator stands for, in double precision or better than its own."""
    if isinstance(op, bitterfly.ButterflyOperator):
        return op
    return op.astype(np.result_type(op.dtype, np.float64)).dequantize()


def true_error(a: np.ndarray, op: Operator) -> float:
    """Return ||a - op|| / ||a||, or ||op|| where a is zero."""
    a, exponent = own.wide(a)
    dtype = np.result_type(a.dtype, np.longdouble)
    n, identity = len(a), np.arange(len(a))
    product = np.eye(n, dtype=dtype)
    for f in reversed(floats(op).factors):
        blocks, _, _, d = f.shape
        product = np.einsum("ijkl,iklx->ijlx", f.astype(dtype), product.reshape(blocks, 2, d, n)).reshape(n, n)
    rows, columns = (identity if p is None else p for p in op.permutations)
    difference = product * np.longdouble(2) ** -exponent - a[np.ix_(rows, columns)]
    return float(norm(difference) / (norm(a) or 1))


def norm(a: np.ndarray) -> np.longdouble:
    return np.sqrt(np.sum(np.abs(a).astype(np.longdouble) ** 2))


def error(a: np.ndarray, op: Any) -> np.longdouble:
    """Return ||a - op||_F / ||a||_F of any operator in extended precision; 0 / 0 is 0, all else over 0 infinite."""
    exact = a.astype(np.result_type(a.dtype, np.longdouble))
    missed, total = norm(dense(op) - exact), norm(exact)
    return np.longdouble(missed and np.inf) if total == 0 else missed / total


def error_of_tensor(x: np.ndarray, cut: Any) -> np.longdouble:
    """Return the relative error of signed cuts of a tensor in extended precision."""
    exact = x.astype(np.longdouble)
    missed, total = norm(reference.cut_tensor(cut, np.longdouble) - exact), norm(exact)
    return np.longdouble(missed and np.inf) if total == 0 else missed / total


def error_of_kernel(w: np.ndarray, conv: Any) -> np.longdouble:
    """Return the relative error of the kernel of a convolution in extended precision."""
    exact = w.astype(np.longdouble)
    missed, total = norm(reference.kernel(conv, np.longdouble, dense) - exact), norm(exact)
    return np.longdouble(missed and np.inf) if total == 0 else missed / total


def dense(op: Any) -> np.ndarray:
    """Return the matrix that stored factors, codes and lengths stand for, multiplied out in extended precision."""
    if op.members:
        return reference.together(op, [dense(member) for member in op.members])
    if op.kind == "dense":
        return reference.in_mode(op, reference.rotated(op, reference.dense_codes(op, np.longdouble)))
    if op.kind == "cuts":
        return reference.in_mode(op, reference.cuts(op, np.longdouble))
    if op.kind == "tensor_train":
        wide = np.result_type(op.dtype, np.longdouble)
        cores = [core if isinstance(core, np.ndarray) else _of_code(core) for core in op.stored_cores]
        whole = _of_cores([core.astype(wide) for core in cores])
        return reference.in_mode(op, whole if op.stored_rows is None else whole[op.stored_rows])
    if op.kind in reference._STRUCTURES:  # of numbers that are stored one by one
        return reference.dense(op).astype(np.result_type(op.dtype, np.longdouble))
    stored = _in_order(_product(_stored(op)), op)
    stored = stored.T if op.mode in ("transpose", "adjoint") else stored
    return stored.conj() if op.mode in ("adjoint", "conjugate") else stored


def _of_code(core: Any) -> np.ndarray:
    return dense(core.matrix).reshape(core.shape)


def _of_cores(cores: list[np.ndarray]) -> np.ndarray:
    out = np.ones((1, 1, 1), cores[0].dtype)
    for core in cores:
        out = np.einsum("mnr,rpqs->mpnqs", out, core)
        out = out.reshape(out.shape[0] * out.shape[1], out.shape[2] * out.shape[3], -1)
    return out[:, :, 0]


def _in_order(product: np.ndarray, op: Any) -> np.ndarray:
    """Return the rows and columns of a product of factors in the order of the operator, without padding."""
    rows, columns = (np.arange(n) if p is None else p for p, n in zip(op.base_permutations, product.shape, strict=True))
    out = np.empty_like(product)
    out[np.ix_(rows, columns)] = product
    return out[: op.stored_shape[0], : op.stored_shape[1]]


def _product(factors: list[np.ndarray]) -> np.ndarray:
    a, _, c, d = factors[-1].shape
    product = np.eye(a * c * d, dtype=np.longdouble)
    for f in reversed(factors):
        a, b, c, d = f.shape
        product = np.einsum("ijkl,iklx->ijlx", f, product.reshape(a, c, d, -1)).reshape(a * b * d, -1)
    return product


def _stored(op: Any) -> list[np.ndarray]:
    """Return the numbers of all factors, the lengths of the columns taken into the last one."""
    real = np.longdouble
    wide = np.result_type(op.dtype, real)
    if isinstance(op, bitterfly.ButterflyOperator):
        return [f.astype(wide) for f in op.store.factors()]
    store, chain = op.store, op.stored_chain
    if isinstance(store, DirectionCodes):
        units = [reference.decode(*code, q, real) for code, q in zip(store.codes, store.unpack(), strict=True)]
        factors = [unit.transpose(0, 3, 1, 2) for unit in units]
    else:
        factors = [_tile(*part, q, wide) for part, q in zip(store._parts(), store.unpack(), strict=True)]
    if len(store.lengths):
        a, _, c, d = chain[-1]
        factors[-1] = factors[-1] * _lengths(store.lengths, wide).reshape(a, 1, c, d)
    return factors


def _tile(layout: Any, code: Any, step: float, _: Any, masks: Any, q: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    numbers = values_of(code, q).astype(np.longdouble) * np.longdouble(step)
    blocks = numbers[..., 0].astype(dtype)
    if numbers.shape[2] == 2:
        blocks.imag = numbers[..., 1]
    factor = layout.factor_of(blocks, None if masks is None else layout.pivots_of(masks))
    return factor.dense() if isinstance(factor, Skeleton) else factor


def _lengths(lengths: Any, dtype: np.dtype[Any]) -> np.ndarray:
    if not isinstance(lengths, ScaleCodes):
        return lengths.astype(dtype)
    reals = values_of(lengths.code, lengths.store.unpack()[0])
    reals = reals.reshape(len(lengths), -1).astype(np.longdouble) * np.longdouble(lengths.step)
    return np.asarray(reals[:, 0] if reals.shape[1] == 1 else reals[:, 0] + 1j * reals[:, 1])
