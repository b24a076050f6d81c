"""Quantizers of others: a matrix to the numbers that it becomes, and all bytes of these.

Each in the settings that its authors recommend, through their own code. Bytes are those of codes, scales and zero
points, packed densely, scales in half precision; tables that are the same for all matrices are free, as ours are.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import cache, partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from bench.dense.minilm import grid, on_grid, plain_gptq
from bench.models.tuned import nearest, tuned
from bitterfly import SecondMoments

HALF = 2  # bytes
ONES = "columns alike"
GGML = {"Q4_0": 2, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "IQ2_XXS": 16, "IQ3_XXS": 18}
GGML |= {"IQ3_S": 21, "IQ2_S": 22, "IQ4_XS": 23}
ASKS_FOR_WEIGHTS = ("IQ2_XXS", "IQ2_S")
SUPERBLOCK = 256
VALUES, PROJECTION, DOWN, WORDS = "attention.self.value", "attention.output", "output.dense", "word_embeddings"
_MORE = {f"layer.{at}.{part}": "Q6_K" for at in (2, 5) for part in (VALUES, DOWN)}
_FIRST = {f"layer.{at}.{VALUES}": "Q5_K" for at in (0, 1)}
# What llama-quantize makes of a file type, with its importance matrix, of 6 layers without an output of their own.
MIXES: dict[str, tuple[str, dict[str, str]]] = {
    "Q4_K_M": ("Q4_K", {WORDS: "Q6_K"} | _MORE),
    "Q3_K_M": ("Q3_K", {WORDS: "Q6_K"} | _FIRST | {VALUES: "Q4_K", DOWN: "Q4_K"}),
    "Q2_K": ("Q2_K", {WORDS: "Q6_K", VALUES: "Q3_K", DOWN: "Q3_K"}),
    "IQ3_XXS": ("IQ3_XXS", {WORDS: "Q5_K", "self.query": "IQ2_S", "self.key": "IQ2_S", PROJECTION: "IQ3_S"}),
    "IQ2_XXS": ("IQ2_XXS", {WORDS: "Q5_K", VALUES: "Q2_K"}),
}
HQQ = ((4, 64), (3, 64), (2, 64), (2, 16))

Coded = tuple[np.ndarray, int]
Code = Callable[[np.ndarray, SecondMoments | None], Coded]


class Peer(NamedTuple):
    """A quantizer; tables are given to it without moments, as they have no inputs."""

    name: str
    code: Code
    tables: str = "alike"
    others: Mapping[str, Code] = {}  # by what a name contains, the first that fits
    whole: Callable[[Mapping[str, np.ndarray], Path], dict[str, Coded]] | None = None  # of layers that depend on others

    def __call__(self, name: str, w: np.ndarray, moments: SecondMoments | None) -> Coded:
        """The matrix that becomes of one, and its bytes."""
        return next((code for part, code in self.others.items() if part in name), self.code)(w, moments)


def groups(w: np.ndarray, size: int) -> int:
    """How many groups of columns the rows of a matrix have."""
    return int(w.shape[0] * -(-w.shape[1] // size))


# ---- onnxruntime: one product in a graph, applied to the identity ----


def _graph(w: np.ndarray) -> Any:
    onnx = import_module("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "product",
        [helper.make_tensor_value_info("x", number, ["k", w.shape[1]])],
        [helper.make_tensor_value_info("y", number, ["k", w.shape[0]])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(w.T), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _applied(model: Any, w: np.ndarray) -> Coded:
    """The matrix that a graph stands for, and the bytes of its initializers, floats in half precision."""
    onnx, runtime = import_module("onnx"), import_module("onnxruntime")
    numbers = [onnx.numpy_helper.to_array(each) for each in model.graph.initializer]
    nbytes = sum(x.size * HALF if x.dtype.kind == "f" else x.nbytes for x in numbers if x.size > 1)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (dense,) = session.run(None, {"x": np.eye(w.shape[1], dtype=np.float32)})
    return dense.T, nbytes


def onnx_blocks(algorithm: str, settings: dict[str, Any], w: np.ndarray, moments: SecondMoments | None) -> Coded:
    quantizers = import_module("onnxruntime.quantization.matmul_nbits_quantizer")
    logging.getLogger(quantizers.__name__).setLevel(logging.WARNING)
    config = getattr(quantizers, f"{algorithm}WeightOnlyQuantConfig")(**settings)
    asked = {"bits": settings["customized_weight_config"]["product"]["bits"]} if algorithm == "KQuant" else {}
    found = quantizers.MatMulNBitsQuantizer(_graph(w), block_size=32, algo_config=config, **asked)
    found.process()
    return _applied(found.model.model, w)


def onnx_dynamic(w: np.ndarray, moments: SecondMoments | None) -> Coded:
    onnx, quantization = import_module("onnx"), import_module("onnxruntime.quantization")
    with TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(_graph(w), before)
        quantization.quantize_dynamic(before, after, per_channel=True, weight_type=quantization.QuantType.QInt8)
        return _applied(onnx.load(after), w)


# ---- llama.cpp ----


@cache
def ggml_library() -> Any:
    """libggml-base, at GGML_BASE or of llama_cpp."""
    path = os.environ.get("GGML_BASE", "")
    if not path:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.origin is None:
            raise ImportError("no llama_cpp, and no GGML_BASE=libggml-base.so")
        path = str(Path(spec.origin).parent / "lib" / "libggml-base.so")
    return _declared(ctypes.CDLL(path))


class _Traits(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("block", ctypes.c_int64),
        ("interleaved", ctypes.c_int64),
        ("bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )


def _declared(library: Any) -> Any:
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes, library.ggml_row_size.restype = [ctypes.c_int, size], ctypes.c_size_t
    library.ggml_get_type_traits.restype = ctypes.POINTER(_Traits)
    return library


def ggml(kind: str, weighted: bool, w: np.ndarray, moments: SecondMoments | None) -> Coded:
    """In its blocks, which go on in the next row where a row is no whole number of them.

    Weighted are columns by their mean squares, those of tables alike, which errs less than none.
    """
    library, number, (m, n) = ggml_library(), GGML[kind], w.shape
    rows = 1 if n % SUPERBLOCK == 0 else 2
    assert m % rows == 0
    assert rows * n % SUPERBLOCK == 0
    x = np.ascontiguousarray(w, np.float32)
    squares = np.ones(n) if moments is None else np.diag(moments.matrix) / moments.count
    importance = np.tile(squares, rows).astype(np.float32)
    codes = np.empty(library.ggml_row_size(number, rows * n) * (m // rows), np.uint8)
    given = importance.ctypes.data if weighted else None
    taken = library.ggml_quantize_chunk(number, x.ctypes.data, codes.ctypes.data, 0, m // rows, rows * n, given)
    assert taken == codes.nbytes
    dense = np.empty_like(x)
    library.ggml_get_type_traits(number).contents.to_float(codes.ctypes.data, dense.ctypes.data, dense.size)
    return dense, codes.nbytes


def gguf(kind: str, w: np.ndarray, moments: SecondMoments | None) -> Coded:
    package = import_module("gguf")
    number = package.GGMLQuantizationType[kind]
    codes = package.quants.quantize(np.ascontiguousarray(w, np.float32), number)
    return package.quants.dequantize(codes, number), codes.nbytes


# ---- those of torch ----


def _tensor(w: np.ndarray) -> Any:
    return import_module("torch").from_numpy(np.ascontiguousarray(w, np.float32))


def hqq(bits: int, group: int, w: np.ndarray, moments: SecondMoments | None) -> Coded:
    with redirect_stdout(StringIO()):
        quantizer = import_module("hqq.core.quantize").Quantizer
    codes, facts = quantizer.quantize(_tensor(w), nbits=bits, group_size=group, axis=1, device="cpu")
    for name in ("scale", "zero"):
        facts[name] = facts[name].half().float()
    nbytes = w.size * bits // 8 + 2 * HALF * (w.size // group)  # its 10 numbers of 3 bits in 32 count as 30
    assert facts["scale"].numel() == w.size // group
    return quantizer.dequantize(codes, facts).numpy().reshape(w.shape), nbytes


def bitsandbytes_nf4(w: np.ndarray, moments: SecondMoments | None) -> Coded:
    functional = import_module("bitsandbytes.functional")
    codes, state = functional.quantize_4bit(_tensor(w), blocksize=64, compress_statistics=True, quant_type="nf4")
    sizes = [each.nbytes for each in (codes, state.absmax, state.state2.absmax, state.offset)]
    assert codes.nbytes == w.size // 2
    assert state.absmax.nbytes == w.size // 64
    return functional.dequantize_4bit(codes, state).float().numpy(), sum(sizes)


def bitsandbytes_int8(w: np.ndarray, moments: SecondMoments | None) -> Coded:
    functional = import_module("bitsandbytes.functional")
    codes, scales, _ = functional.int8_vectorwise_quant(_tensor(w).half())
    return codes.float().numpy() * (scales.float().numpy()[:, None] / 127), codes.nbytes + HALF * len(w)


def quanto(kind: str, optimizer: str, w: np.ndarray, moments: SecondMoments | None) -> Coded:
    package = import_module("optimum.quanto")
    qtype, x = getattr(package, kind), _tensor(w)
    if qtype.bits == 8:
        scale = getattr(package, optimizer)()(x, qtype, axis=0)
        return package.quantize_weight(x, qtype, 0, scale, optimized=False).dequantize().numpy(), w.size + HALF * len(w)
    scale, shift = getattr(package, optimizer)()(x, qtype, axis=0, group_size=128)
    found = package.quantize_weight(x, qtype, 0, scale, shift, group_size=128, optimized=False)
    assert scale.numel() == shift.numel() == groups(w, 128)
    return found.dequantize().numpy(), w.size * qtype.bits // 8 + 2 * HALF * groups(w, 128)


def torchao(bits: int, group: int | None, w: np.ndarray, moments: SecondMoments | None) -> Coded:
    """Symmetric integers of a scale for each group of columns, chosen by its HQQ; of one for each row without group."""
    torch, package = import_module("torch"), import_module("torchao.quantization")
    layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(_tensor(w), requires_grad=False)
    granularity = import_module("torchao.quantization.granularity")
    algorithms = import_module("torchao.quantization.quantize_.workflows").IntxChooseQParamsAlgorithm
    config = package.IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{bits}"),
        granularity=granularity.PerAxis(0) if group is None else granularity.PerGroup(group),
        intx_choose_qparams_algorithm=algorithms.AFFINE if group is None else algorithms.HQQ_SCALE_ONLY,
    )
    package.quantize_(layer, config)
    scales = groups(w, group or w.shape[1])
    assert layer.weight.scale.numel() == scales
    return layer.weight.dequantize().float().numpy(), w.size * bits // 8 + HALF * scales


# ---- GPTQ ----


def gptq(bits: int, group: int, w: np.ndarray, moments: SecondMoments | None) -> Coded:
    """Tables: the same grids, of the least squared errors, without the feedback."""
    nbytes = (w.size * bits + groups(w, group) * (16 + bits)) // 8
    if moments is not None:
        return plain_gptq(w, moments, bits, group), nbytes
    x = w.reshape(-1, group)
    return on_grid(x, *grid(x, bits), bits).reshape(w.shape), nbytes


def all_peers() -> list[Peer]:
    peers = [
        Peer(f"onnxruntime RTN {bits}, block 32, {'symmetric' if symmetric else 'asymmetric'}", code)
        for bits in (4, 8)
        for symmetric in (False, True)
        for code in [partial(onnx_blocks, "Default", {"bits": bits, "block_size": 32, "is_symmetric": symmetric})]
    ]
    peers += [Peer("onnxruntime HQQ 4, block 32", partial(onnx_blocks, "HQQ", {"bits": 4, "block_size": 32}))]
    for bits in (4, 8):
        own = {"customized_weight_config": {"product": {"bits": bits, "group_size": 32}}}
        peers += [Peer(f"onnxruntime k_quant {bits}, block 32", partial(onnx_blocks, "KQuant", own))]
    peers += [Peer("onnxruntime int8 dynamic, by rows", onnx_dynamic)]
    for kind in GGML:
        if kind not in ASKS_FOR_WEIGHTS:
            peers += [Peer(f"llama.cpp {kind}", partial(ggml, kind, False))]
        if kind != "Q8_0":
            peers += [Peer(f"llama.cpp {kind}, imatrix", partial(ggml, kind, True), ONES)]
    for mix, (kind, kinds) in MIXES.items():
        others = {part: partial(ggml, other, True) for part, other in kinds.items()}
        name = f"llama.cpp {mix} as llama-quantize mixes, imatrix"
        peers += [Peer(name, partial(ggml, kind, True), f"{kinds[WORDS]}, positions {kind}, {ONES}", others)]
    peers += [Peer(f"gguf {kind}", partial(gguf, kind)) for kind in ("Q4_1", "Q5_0", "Q5_1", "MXFP4")]
    peers += [Peer(f"hqq {bits}, group {size}", partial(hqq, bits, size)) for bits, size in HQQ]
    peers += [Peer("bitsandbytes NF4, group 64", bitsandbytes_nf4), Peer("bitsandbytes int8", bitsandbytes_int8)]
    peers += [
        Peer("optimum-quanto int8", partial(quanto, "qint8", "AbsmaxOptimizer")),
        Peer("optimum-quanto int4, group 128", partial(quanto, "qint4", "MaxOptimizer")),
        Peer("optimum-quanto int4, group 128, its HQQ", partial(quanto, "qint4", "HqqOptimizer")),
        Peer("optimum-quanto int2, group 128, its HQQ", partial(quanto, "qint2", "HqqOptimizer")),
    ]
    peers += [Peer("torchao int8", partial(torchao, 8, None))]
    peers += [Peer(f"torchao int{bits}, group 32, its HQQ", partial(torchao, bits, 32)) for bits in (4, 3, 2)]
    for group in (32, 128):
        for bits in (4, 3, 2):
            peers += [Peer(f"GPTQ {bits}, group {group}", partial(gptq, bits, group), "nearest of the same grids")]
    for bits in (4, 2):
        name, code, whole = f"auto-round {bits}, group 32", partial(nearest, bits, 32), partial(tuned, bits, 32)
        peers += [Peer(name, code, "its plain rounding", whole=whole)]
    return peers
