"""A model file in, a smaller model file out: every matrix in a few bits, the bits where they count."""

from bitterfly.models.compress import compress_model
from bitterfly.models.loaded import CompressedModel, Unit, expand, load
from bitterfly.models.moments import StoredMoments, load_moments, save_moments

__all__ = [
    "CompressedModel",
    "StoredMoments",
    "Unit",
    "compress_model",
    "expand",
    "load",
    "load_moments",
    "save_moments",
]
