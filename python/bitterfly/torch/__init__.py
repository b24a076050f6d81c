"""Compressed matrices in networks of torch: packed layers, layers of a structure to train, second moments of inputs.

It needs torch, which `import bitterfly` does not import.
"""

try:
    import torch.nn as _nn  # noqa: F401
except ImportError as error:
    raise ImportError('bitterfly.torch: expected torch, found none; pip install "bitterfly[torch]"') from error

from bitterfly.torch.admm import Admm
from bitterfly.torch.convolutions import PackedConvolution
from bitterfly.torch.moments import ModelMoments, second_moments
from bitterfly.torch.packed import PackedEmbedding, PackedLinear
from bitterfly.torch.replace import load_packed, replace_convolutions, replace_linear
from bitterfly.torch.rotations import learn_rotation
from bitterfly.torch.rounding import FixedPoint, StraightThrough, encoded, straight_through
from bitterfly.torch.structured.chains import BlockTensorTrain, Butterfly, LowRank, Monarch
from bitterfly.torch.structured.circulant import Circulant
from bitterfly.torch.structured.trains import Kronecker, TensorTrain

__all__ = [
    "Admm",
    "BlockTensorTrain",
    "Butterfly",
    "Circulant",
    "FixedPoint",
    "Kronecker",
    "LowRank",
    "ModelMoments",
    "Monarch",
    "PackedConvolution",
    "PackedEmbedding",
    "PackedLinear",
    "StraightThrough",
    "TensorTrain",
    "encoded",
    "learn_rotation",
    "load_packed",
    "replace_convolutions",
    "replace_linear",
    "second_moments",
    "straight_through",
]
