"""Matrices as products of sparse butterfly factors, packed to a few bits, multiplied straight from the packed bits."""

from typing import TYPE_CHECKING, Any

from bitterfly import algebra, cuts, ordering, structures, transforms
from bitterfly.accuracy.moments import SecondMoments
from bitterfly.algebra import block_diag, hstack, kron, vstack
from bitterfly.chains.chain import Chain
from bitterfly.compression.compress import CompressReport, compress
from bitterfly.config import __version__, show_config
from bitterfly.dense.quantize import quantize_dense
from bitterfly.dense.trains.quantize import quantize_train
from bitterfly.factorization.factorize import factorize
from bitterfly.factorization.search import IncompressibleError
from bitterfly.files.storage import load, save
from bitterfly.inputs import UnmetError
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.cuts import SignedCut
from bitterfly.operators.dense import DenseOperator
from bitterfly.operators.sparse import SparseOperator
from bitterfly.quantization.quantize import quantize
from bitterfly.quantization.rank_one import quantize_rank_one
from bitterfly.workers import get_workers, set_workers

__all__ = [
    "ButterflyOperator",
    "Chain",
    "CompressReport",
    "DenseOperator",
    "IncompressibleError",
    "PackedButterfly",
    "SecondMoments",
    "SignedCut",
    "SparseOperator",
    "UnmetError",
    "__version__",
    "algebra",
    "block_diag",
    "compress",
    "convolutions",
    "cuts",
    "factorize",
    "gallery",
    "get_workers",
    "hstack",
    "interop",
    "kron",
    "load",
    "models",
    "ordering",
    "plots",
    "quantize",
    "quantize_dense",
    "quantize_rank_one",
    "quantize_train",
    "save",
    "set_workers",
    "show_config",
    "structures",
    "transforms",
    "vstack",
]

if TYPE_CHECKING:
    from bitterfly import convolutions, gallery, interop, models, plots

# Imported on first use: they need more, or are seldom needed.
_LAZY = ("convolutions", "gallery", "interop", "models", "plots", "torch")


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return import_module(f"bitterfly.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
