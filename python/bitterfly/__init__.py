"""Matrices as products of sparse butterfly factors, packed to a few bits, multiplied straight from the packed bits."""

from bitterfly import ordering, transforms
from bitterfly.chain import Chain
from bitterfly.compress import CompressReport, compress
from bitterfly.config import __version__, show_config
from bitterfly.factorize import factorize
from bitterfly.operator import ButterflyOperator, PackedButterfly
from bitterfly.quantize import quantize
from bitterfly.search import IncompressibleError
from bitterfly.storage import load, save

__all__ = [
    "ButterflyOperator",
    "Chain",
    "CompressReport",
    "IncompressibleError",
    "PackedButterfly",
    "__version__",
    "compress",
    "factorize",
    "load",
    "ordering",
    "quantize",
    "save",
    "show_config",
    "transforms",
]
