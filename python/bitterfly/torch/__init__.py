"""Compressed matrices in networks of torch: packed layers, layers of a structure to train, second moments of inputs.

It needs torch, which `import bitterfly` does not import.
"""

try:
    import torch.nn as _nn  # noqa: F401
except ImportError as error:
    raise ImportError('bitterfly.torch: expected torch, found none; pip install "bitterfly[torch]"') from error

from bitterfly.torch.moments import second_moments
from bitterfly.torch.packed import PackedEmbedding, PackedLinear
from bitterfly.torch.replace import load_packed, replace_linear

__all__ = ["PackedEmbedding", "PackedLinear", "load_packed", "replace_linear", "second_moments"]
