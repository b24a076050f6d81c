"""Kernels of convolutions as sequences of small convolutions: CP, Tucker, tensor trains, signed cuts, codes."""

from bitterfly.convolutions.canonical import cp
from bitterfly.convolutions.factored import FactoredConvolution
from bitterfly.convolutions.given import signed_cuts, unfolded
from bitterfly.convolutions.trains import tensor_train, tucker

__all__ = ["FactoredConvolution", "cp", "signed_cuts", "tensor_train", "tucker", "unfolded"]
