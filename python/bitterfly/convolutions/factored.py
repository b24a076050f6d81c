"""Kernels of convolutions in factors: what is stored, what is known of it, its files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import index
from typing import Any, cast

import numpy as np
from scipy.sparse.linalg import LinearOperator

from bitterfly.accuracy.known import ERROR_KINDS, ErrorKind, Known
from bitterfly.convolutions import coded, columns, images, stages
from bitterfly.convolutions.kernel import channels_second, windows_of
from bitterfly.cuts.cut_tensor import CutTensor
from bitterfly.files import convolutions as files
from bitterfly.files import storage
from bitterfly.files.replacing import Path
from bitterfly.inputs import Array
from bitterfly.operators.contract import Operator, checked_error
from bitterfly.structures.tensor_trains.operator import TensorTrainOperator

STRUCTURES = files.STRUCTURES
Factor = Operator | CutTensor


@dataclass(frozen=True, repr=False, eq=False)
class FactoredConvolution:
    """The kernel of a convolution in factors, ``w[o, i, k_1, ..]``, that runs as a sequence of small convolutions.

    Attributes
    ----------
    shape : tuple of int, (out, in, k_1[, k_2[, k_3]])
        Of the kernel; with groups, `in` counts the channels of one.
    structure : {"canonical", "tensor_train", "cuts", "unfolded"}
        ``"canonical"``: ``sum_r A[o, r] X[k_1, r] .. B[i, r]``; ``"tensor_train"``: of the axes out, windows, in, also
        a Tucker decomposition, whose windows are one axis; ``"cuts"``: a sum of signed cuts; ``"unfolded"``: a matrix.
    factors : tuple of operators
        ``"canonical"``: A, of shape (out, R), one of (k, R) for each window of more than one place, and B, of (in, R).
        ``"tensor_train"``: a `TensorTrainOperator` of shape (out, k_1 ... k_d in), its first core (1, out, 1, r), the
        last one (s, 1, in, 1). ``"cuts"``: a `CutTensor`. ``"unfolded"``: an operator of shape (out, in k_1 ... k_d).
    relative_error, error_kind : float, str
        What is known about the error against an original kernel: a bound, NaN where nothing is.

    Raises
    ------
    TypeError, ValueError
        Where these do not fit each other.

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> weight = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    >>> kernel = bitterfly.convolutions.tensor_train(weight, ranks=8)
    >>> kernel
    <32 x 16 x 3 x 3 FactoredConvolution, tensor_train, 3072 bytes, relative error 8.88e-01 (measured)>
    >>> kernel.parameters, kernel.flops((28, 28), padding=1) < 2 * weight.size * 28 * 28
    (768, True)
    """

    shape: tuple[int, ...]
    structure: str
    factors: tuple[Factor, ...]
    relative_error: float = float("nan")
    error_kind: str = "estimated"

    def __post_init__(self) -> None:
        shape = tuple(map(index, self.shape))
        if not 3 <= len(shape) <= 5 or min(shape) < 1:
            raise ValueError(f"shape: expected (out, in, k_1[, k_2[, k_3]]), none of them 0, got {self.shape}")
        if self.structure not in STRUCTURES:
            raise ValueError(f"structure: expected one of {', '.join(STRUCTURES)}, got {self.structure!r}")
        factors = tuple(self.factors)
        for at, factor in enumerate(factors):
            if not isinstance(factor, CutTensor if self.structure == "cuts" else Operator):
                raise TypeError(f"factors[{at}]: expected what {self.structure!r} takes, got {type(factor).__name__}")
            if np.dtype(factor.dtype).kind == "c":
                raise TypeError(f"factors[{at}]: expected real numbers, got {factor.dtype}")
        _check_factors(self.structure, shape, factors)
        if self.error_kind not in ERROR_KINDS:
            raise ValueError(f"error_kind: expected one of {', '.join(ERROR_KINDS)}, got {self.error_kind!r}")
        known = checked_error(self.relative_error, self.error_kind)
        for name, value in (("shape", shape), ("factors", factors), ("relative_error", known.error)):
            object.__setattr__(self, name, value)

    # ---- what it is ----

    @property
    def dtype(self) -> np.dtype[Any]:
        """The widest precision of the factors."""
        return np.result_type(*(factor.dtype for factor in self.factors))

    @property
    def nbytes(self) -> int:
        """Bytes of all factors."""
        return sum(factor.nbytes for factor in self.factors)

    @property
    def parameters(self) -> int:
        """How many numbers are stored, signs among them; scales of codes do not count."""
        return sum(_parameters(factor) for factor in self.factors)

    @property
    def known(self) -> Known:
        """What is known of the error."""
        return Known(self.relative_error, cast(ErrorKind, self.error_kind))

    def dense(self) -> Array:
        """Return the kernel as an array, (out, in, k_1, ..)."""
        first = self.factors[0]
        if isinstance(first, CutTensor):
            return first.todense()
        if self.structure == "unfolded":
            return columns.decoded(first).reshape(self.shape)
        if self.structure == "canonical":
            operators = [factor for factor in self.factors if isinstance(factor, Operator)]
            with np.errstate(over="ignore"):
                return columns.dense(columns.columns_of(operators), self.shape).astype(self.dtype)
        return channels_second(columns.decoded(first), self.shape)

    def flops(self, image: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> int:
        """Return the multiplications and additions that one image takes, each multiplication with its addition as 2.

        Parameters
        ----------
        image : sequence of d integers
            Sizes of the image, without channels.
        stride, padding, dilation : int or sequence of d integers, optional
            As of torch; zeros are added on both sides.
        groups : int, optional
            Of channels, each of which sees its own.
        """
        return images.operations(self, images.places(self.shape, image, stride, padding, dilation, groups))

    def to_operator(
        self, image: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> LinearOperator:
        """Return the convolution of one image as a SciPy ``LinearOperator``, factor by factor.

        Parameters
        ----------
        image, stride, padding, dilation, groups
            See `flops`.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            From flattened arrays (in groups, N_1, ..) to flattened arrays (out, M_1, ..), with its adjoint.

        Raises
        ------
        ValueError, TypeError
            Where the window does not fit the image, and for sizes that are none.
        """
        return images.ImageOperator(self, images.places(self.shape, image, stride, padding, dilation, groups))

    @property
    def stages(self) -> stages.Stages:
        """The small convolutions, in the order in which they are taken."""
        return stages.stages_of(self.structure, self.factors, self.shape)

    def quantized(
        self,
        *,
        bits: float | None = None,
        nbytes: int | None = None,
        weight: Any = None,
        code: str = "window11",
        rng: np.random.Generator | int | None = None,
        workers: int | None = None,
    ) -> FactoredConvolution:
        """Code the factors in a few bits a number.

        Parameters
        ----------
        bits : float, optional
            For each number of the factors that mix channels, those of a train in the mean.
        nbytes : int, optional
            Instead of `bits`: bytes of all factors.
        weight : array_like, optional
            The kernel against which the error is measured anew; else it is at most what is known of this one and what
            changes, together.
        code, rng, workers
            As of `quantize_dense`.

        Returns
        -------
        FactoredConvolution
            Of a tensor train what `quantize_train` returns. Of a sum of outer products: the numbers of windows in
            float16, then B, then A, fitted to what B has become, each in window codes in the metric of all others.

        Raises
        ------
        TypeError, ValueError
            For other structures, where not one of `bits` and `nbytes` is given, and for weights of another shape.
        UnmetError
            Where `nbytes` are too few.
        """
        factors, known = coded.coded(self, bits, nbytes, weight, {"code": code, "rng": rng, "workers": workers})
        return FactoredConvolution(self.shape, self.structure, factors).replaced(known)

    def replaced(self, known: Known) -> FactoredConvolution:
        """Return the same kernel, of whose error something else is known."""
        return replace(self, relative_error=known.error, error_kind=known.kind)

    # ---- files ----

    def save(self, path: Path) -> None:
        """Write the kernel to a safetensors file.

        Parameters
        ----------
        path : str or path-like
            The file appears, or replaces an older one, only once it is complete.

        Raises
        ------
        OSError
            Where the file cannot be written; an existing file is left as it was.
        """
        storage.write(path, files.sealed(self))

    @classmethod
    def load(cls, path: Path) -> FactoredConvolution:
        """Read a kernel that `save` has written.

        Parameters
        ----------
        path : str or path-like
            A file of kind ``"convolution"`` in the format of docs/storage.md.

        Returns
        -------
        FactoredConvolution
            Equal in all buffers and in its error to what was saved.

        Raises
        ------
        ValueError
            Where the file is no such file, or damaged; the message names the field at fault.
        OSError
            Where the file cannot be read.
        """
        return cast(FactoredConvolution, storage.read(path, cls.of_file))

    @classmethod
    def of_file(cls, header: Any, file: Any) -> FactoredConvolution:
        """Return the kernel of metadata, unchecked, and tensors of a file."""
        shape, structure, terms, known = files.unsealed(header, file, _cut_tensor)
        return cls(shape, structure, terms, known.error, known.kind)

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.shape))
        error = f"relative error {self.relative_error:.2e} ({self.error_kind})"
        return f"<{sizes} FactoredConvolution, {self.structure}, {self.nbytes} bytes, {error}>"

    def __reduce__(self) -> tuple[Any, ...]:
        facts = self.shape, self.structure, self.factors, self.relative_error, self.error_kind
        return FactoredConvolution, facts


def _cut_tensor(header: Any, file: Any) -> CutTensor:
    return CutTensor(*files.read_tensor(header, file))


def _parameters(factor: Factor) -> int:
    return factor.parameters if isinstance(factor, Operator) else factor.width * (1 + sum(factor.shape))


def _check_factors(structure: str, shape: tuple[int, ...], factors: tuple[Factor, ...]) -> None:
    """Raise a ValueError for factors that do not fit the shape of the kernel."""
    if structure == "canonical":
        sizes = [shape[0], *(shape[axis] for axis in windows_of(shape)), shape[1]]
        good = len(factors) == len(sizes) and len({factor.shape[-1] for factor in factors}) == 1
        good = good and [factor.shape[0] for factor in factors] == sizes
        expected = f"{len(sizes)} of shapes " + ", ".join(f"({size}, R)" for size in sizes)
    elif structure == "tensor_train":
        good = len(factors) == 1 and _is_train_of(factors[0], shape)
        expected = f"a tensor train of cores (1, {shape[0]}, 1, r), .., (s, 1, {shape[1]}, 1) and windows {shape[2:]}"
    else:
        matrix = shape if structure == "cuts" else (shape[0], int(np.prod(shape[1:])))
        good = len(factors) == 1 and tuple(factors[0].shape) == tuple(matrix)
        expected = f"one of shape {tuple(matrix)}"
    if not good:
        raise ValueError(f"factors: expected {expected}, got shapes {', '.join(str(x.shape) for x in factors)}")


def _is_train_of(op: Any, shape: tuple[int, ...]) -> bool:
    if not isinstance(op, TensorTrainOperator) or op.mode != "forward" or op.stored_rows is not None:
        return False
    sizes = [core.shape for core in op.stored_cores]
    ends = len(sizes) > 1 and sizes[0][1:3] == (shape[0], 1) and sizes[-1][1:3] == (1, shape[1])
    inner = sizes[1:-1]
    return ends and all(m == 1 for _, m, _, _ in inner) and stages.parted([n for *_, n, _ in inner], shape) is not None
