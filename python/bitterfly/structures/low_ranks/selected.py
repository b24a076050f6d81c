"""What rows and columns of a matrix are chosen, and the operator that they make."""

from __future__ import annotations

from typing import NamedTuple

from bitterfly.inputs import IndexArray
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator


class Selected(NamedTuple):
    """An operator made of rows, or columns, of a matrix.

    Attributes
    ----------
    operator : TensorTrainOperator
    rows, columns : ndarray of int or None
        Which ones, in the order of the cores; None where it is made of none.
    entries : int
        How many entries of the matrix were looked at.
    """

    operator: TensorTrainOperator
    rows: IndexArray | None
    columns: IndexArray | None
    entries: int
