"""Structures beside butterflies: their operators, and projections of matrices to them, with their errors."""

from bitterfly.structures.permutation import PermutationOperator
from bitterfly.structures.toeplitz import ToeplitzOperator

__all__ = ["PermutationOperator", "ToeplitzOperator"]
