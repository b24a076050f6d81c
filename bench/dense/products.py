"""Products of whole `DenseOperator`, rotations included, beside float32 BLAS and onnxruntime: one thread, all in turn.

`python -m bench.dense.products [--quick]`. onnxruntime, of 4 bits in blocks of 32 with scales in single precision, is
taken where it is installed (pip install onnxruntime onnx): with vectors in floats, as exact as BLAS, and in bytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from operator import matmul
from typing import Any

import numpy as np

import bitterfly
from bench import timing
from bitterfly import _core
from bitterfly.stores.dense.codes import BLOCK, DenseCodes, tiles_bytes
from bitterfly.stores.dense.tiles import padded

N = 4096
GROUP = 32  # of onnxruntime
COUNTS = (1, 8, 64)  # of vectors
CODES = [(code, bits) for code in ("window7", "window11") for bits in (2, 4)]
# Relative errors of products of Gaussian numbers. With one byte for each number the largest of them counts.
PRECISIONS = {"float": 1e-6, "half": 1e-4, "int8": 3e-2}
LEVELS = {0: ("floats", 1e-5), 4: ("bytes", 3e-2)}

Product = Callable[[], Any]


def random_operator(code: str, bits: float, rng: np.random.Generator) -> bitterfly.DenseOperator:
    """Any bytes are codes: how long a product takes does not depend on them."""
    half_bits = int(2 * bits)
    tiles = padded(rng.integers(256, size=tiles_bytes(N, N, half_bits), dtype=np.uint8))
    codes = DenseCodes((N, N), code, [half_bits] * (N // BLOCK), [tiles], np.ones(N, np.float16))
    return bitterfly.DenseOperator(codes, inputs=1)


def in_precision(op: bitterfly.DenseOperator, precision: Any) -> bitterfly.DenseOperator:
    """The same codes for products of another precision."""
    return bitterfly.DenseOperator(op.codes, inputs=op.rotations[0], precision=precision)


def packed_fours(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of 4 bits, two in a byte, the scales of groups of a row, and the matrix that they stand for."""
    x = a.reshape(len(a), -1, GROUP)
    extreme = np.take_along_axis(x, np.argmax(np.abs(x), axis=2)[:, :, None], axis=2)
    scale = np.where(extreme == 0, 1, extreme / -8).astype(np.float32)
    q = np.clip(np.floor(x / scale + np.float32(8.5)), 0, 15).astype(np.uint8)
    values = (q.astype(np.float32) - 8) * scale
    return q[:, :, ::2] | q[:, :, 1::2] << 4, scale[:, :, 0], values.reshape(a.shape)


def onnx_session(q: np.ndarray, scale: np.ndarray, level: int) -> Any | None:
    """A session of one node, ``y = x W^T``; None where onnxruntime is not installed."""
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    m, n = len(q), q.shape[1] * GROUP
    node = helper.make_node(
        "MatMulNBits",
        ["x", "q", "scale"],
        ["y"],
        domain="com.microsoft",
        K=n,
        N=m,
        bits=4,
        block_size=GROUP,
        accuracy_level=level,
    )
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["count", n])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["count", m])],
        [numpy_helper.from_array(q, "q"), numpy_helper.from_array(scale.ravel(), "scale")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def first_output(session: Any, x: np.ndarray) -> np.ndarray:
    """The one output of a session, a row for each row of x."""
    y: np.ndarray = session.run(None, {"x": x})[0]
    return y.T


def check(name: str, run: Product, expected: np.ndarray, tolerance: float) -> Product:
    error = np.linalg.norm(run() - expected) / np.linalg.norm(expected)
    assert error <= tolerance, (name, error)
    return run


def contenders(
    count: int, ops: dict[str, bitterfly.DenseOperator], peers: dict[int, Any], fours: Any
) -> dict[str, Product]:
    """All products with so many vectors, checked against double precision.

    bitterfly and BLAS take vectors as columns, each next to each other in memory; onnxruntime takes them as rows.
    """
    rng = np.random.default_rng(count)
    rows = rng.standard_normal((count, N), np.float32)
    x = rows[0] if count == 1 else rows.T
    wide = x.astype(np.float64)
    out: dict[str, Product] = {}
    for name, op in ops.items():
        a = op.todense()
        exact = a.astype(np.float64)
        for label, dense, expected in (("", a, exact @ wide), (" adjoint", a.T, exact.T @ wide)):
            if f"BLAS{label}" not in out:
                out[f"BLAS{label}"] = check("BLAS", partial(matmul, dense, x), expected, 1e-5)
            for precision, tolerance in PRECISIONS.items():
                own = in_precision(op, precision)
                key = f"{name} {precision}{label}"
                out[key] = check(key, partial(matmul, own.H if label else own, x), expected, tolerance)
    for level, session in peers.items():
        name, tolerance = LEVELS[level]
        expected = fours.astype(np.float64) @ rows.T.astype(np.float64)
        out[f"onnxruntime {name}"] = check(name, partial(first_output, session, rows), expected, tolerance)
    return out


def rows_of(count: int, products: dict[str, Product], rounds: int) -> list[dict[str, Any]]:
    """Microseconds a vector, and how many times as long BLAS takes, the adjoint for adjoints."""
    seconds = timing.interleaved(products, rounds, budget=0.005)
    floats = seconds.get("onnxruntime floats")
    out = []
    for name, each in seconds.items():
        blas = seconds["BLAS adjoint" if name.endswith("adjoint") else "BLAS"]
        row = {"product": name, "vectors": count, "us a vector": 1e6 * each / count, "BLAS / this": blas / each}
        if floats and not name.endswith("adjoint"):
            row["onnxruntime floats / this"] = floats / each
        out.append(row)
    return out


def main() -> None:
    quick = "--quick" in sys.argv
    rng = np.random.default_rng(0)
    ops = {f"{code} {bits} bits": random_operator(code, bits, rng) for code, bits in CODES[:: 3 if quick else 1]}
    a = rng.standard_normal((N, N), np.float32)
    q, scale, fours = packed_fours(a)
    found = {level: onnx_session(q, scale, level) for level in LEVELS}
    peers = {level: session for level, session in found.items() if session is not None}
    with timing.one_thread():
        sections = {}
        for count in COUNTS[: 2 if quick else None]:
            rows = rows_of(count, contenders(count, ops, peers, fours), 3 if quick else 15)
            sections[f"{N} x {N}, {count} vectors, {_core.active_isa()}, load {os.getloadavg()[0]:.1f}"] = rows
        timing.write("dense_products", sections)


if __name__ == "__main__":
    main()
