"""Matrices and tensors as sums of signed cuts, one bit for each place along each axis of a cut."""

from bitterfly.cuts.cut_tensor import CutTensor
from bitterfly.cuts.matrix import matrix
from bitterfly.cuts.tensor import tensor

__all__ = ["CutTensor", "matrix", "tensor"]
