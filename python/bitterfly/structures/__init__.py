"""Structures beside butterflies: their operators, and projections of matrices to them, with their errors."""

from bitterfly.structures.cross import tensor_train_of_entries
from bitterfly.structures.permutation import PermutationOperator
from bitterfly.structures.projections import circulant, convolution, hankel, kronecker, permutation, sparse, toeplitz
from bitterfly.structures.tensor_train import TensorTrainOperator, rounded, tensor_train
from bitterfly.structures.toeplitz import ToeplitzOperator

__all__ = [
    "PermutationOperator",
    "TensorTrainOperator",
    "ToeplitzOperator",
    "circulant",
    "convolution",
    "hankel",
    "kronecker",
    "permutation",
    "rounded",
    "sparse",
    "tensor_train",
    "tensor_train_of_entries",
    "toeplitz",
]
