"""Structures beside butterflies: their operators, and projections of matrices to them, with their errors."""

from bitterfly.structures.alternating import with_sparse
from bitterfly.structures.inverse_fisher import InverseFisherOperator
from bitterfly.structures.low_ranks.cross import cross_approximation
from bitterfly.structures.low_ranks.interpolative import cur, interpolative
from bitterfly.structures.low_ranks.kronecker import kronecker
from bitterfly.structures.low_ranks.nystroem import nystroem
from bitterfly.structures.low_ranks.projection import low_rank
from bitterfly.structures.low_ranks.selected import Selected
from bitterfly.structures.monarch import block_tensor_train, monarch
from bitterfly.structures.multilevel import ToeplitzOperator
from bitterfly.structures.permutations import PermutationOperator
from bitterfly.structures.projections import (
    circulant,
    convolution,
    hankel,
    permutation,
    sparse,
    toeplitz,
    toeplitz_of_entries,
)
from bitterfly.structures.tensor_trains.cores import CodedCore
from bitterfly.structures.tensor_trains.cross import tensor_train_of_entries
from bitterfly.structures.tensor_trains.decompositions import added, rounded, tensor_train
from bitterfly.structures.tensor_trains.embeddings import tensor_train_rows
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

__all__ = [
    "CodedCore",
    "InverseFisherOperator",
    "PermutationOperator",
    "Selected",
    "TensorTrainOperator",
    "ToeplitzOperator",
    "added",
    "block_tensor_train",
    "circulant",
    "convolution",
    "cross_approximation",
    "cur",
    "hankel",
    "interpolative",
    "kronecker",
    "monarch",
    "low_rank",
    "nystroem",
    "permutation",
    "rounded",
    "sparse",
    "tensor_train",
    "tensor_train_of_entries",
    "tensor_train_rows",
    "toeplitz",
    "toeplitz_of_entries",
    "with_sparse",
]
