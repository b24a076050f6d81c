"""What an operator takes: bits of a number that its factors store and of an entry, operations of a product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2, prod
from typing import Any, NamedTuple


class Numbers(NamedTuple):
    """The numbers that a factor stores, and the bits that they take.

    Real numbers: real and imaginary parts count one by one, a direction code stands for the 2 or 4 of its column. The
    identity rows of skeletons are not stored, nor are the zeros that pad a layout.
    """

    reals: int
    bits: int


class Stored:
    """The bits of an operator: the same definition for single operators, sums and stacks."""

    shape: tuple[int, int]

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """The numbers that each factor stores, and their bits."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        raise NotImplementedError

    @property
    def mean_bits(self) -> float:
        """Bits of the codes (or floats) per real number that the factors store; of all factors, in the mean.

        Pivots, scale vector, index arrays and padding are not counted; `bits_per_number` counts them too.
        """
        return sum(part.bits for part in self.numbers) / self._count

    @property
    def bits_per_number(self) -> float:
        """Bits of all buffers per real number that the factors store: at least `mean_bits`."""
        return 8 * self.nbytes / self._count

    @property
    def bits_per_entry(self) -> float:
        """Bits of all buffers per entry of the dense matrix."""
        return float(8 * self.nbytes / (self.shape[0] * self.shape[1]))

    @property
    def parameters(self) -> int:
        """How many real numbers are stored: real and imaginary parts count one by one, scales and indices do not."""
        return sum(part.reals for part in self.numbers)

    @property
    def flops(self) -> int:
        """Multiplications and additions of real numbers in the product with one vector, of the dtype of the operator.

        A number that multiplies another and is added counts as 2, a complex one as 8; a Fourier transform of n complex
        numbers as ``5 n log2(n)``, of real ones as half of that. Numbers in codes count as others do. Copies, decoding
        and scaling by powers of two are free.
        """
        return _flops(self)

    @property
    def _count(self) -> int:
        return self.parameters or 1  # skeletons of identity rows alone store no number


# ---- operations of products ----


def _flops(op: Any) -> int:
    return _COUNTS.get(op.kind, _of_numbers)(op)


def _is_complex(op: Any) -> bool:
    return bool(op.dtype.kind == "c")


def _times(op: Any) -> int:
    """Return the operations of a product that is added."""
    return 8 if _is_complex(op) else 2


def _of_numbers(op: Any) -> int:
    """Return those of factors whose numbers each meet one number of a vector, and of lengths of columns."""
    lengths = len(getattr(op, "scale", ())) * (6 if _is_complex(op) else 1)
    return int(op.parameters) * _times(op) // (2 if _is_complex(op) else 1) + lengths


def _of_members(op: Any, members: Sequence[Any]) -> list[int]:
    """Return those of members with vectors of the dtype of the whole, which of real ones are two."""
    return [member.flops * (2 if _is_complex(op) and not _is_complex(member) else 1) for member in members]


def _of_sum(op: Any) -> int:
    plane = 2 if _is_complex(op) else 1
    numbers = sum(plane if isinstance(c, float) or not c.imag else 6 for c in op.coefficients if c not in (1, -1))
    return sum(_of_members(op, op.terms)) + int(op.shape[0]) * (plane * (len(op.terms) - 1) + numbers)


def _of_stack(op: Any) -> int:
    added = int(op.shape[0]) * (len(op.parts) - 1) * (2 if _is_complex(op) else 1)
    return sum(_of_members(op, op.parts)) + (added if op.axis == 1 else 0)


def _of_kron(op: Any) -> int:
    """Return those of the first operator with as many vectors as the second has columns, or the other way round."""
    (m, n), (p, q) = (each.shape for each in op.operators)
    a, b = _of_members(op, op.operators)
    return int(min(a * q + b * m, b * n + a * p))


def _of_cores(op: Any) -> int:
    """Return those of one core after the other, from the left or from the right: of codes as stored, else the fewer."""
    transposed = op.mode in ("transpose", "adjoint")
    rows, columns = (2, 1) if transposed else (1, 2)
    sizes = [(_of_core(op, core), core.shape[rows], core.shape[columns]) for core in op.stored_cores]
    found = []
    for ordered in (sizes, sizes[::-1]):
        done, left, total = 1, prod(n for _, _, n in sizes), 0
        for each, m, n in ordered:
            left //= n
            total += each * done * left
            done *= m
        found.append(total)
    return int(found[not transposed] if op.is_coded else min(found))


def _of_core(op: Any, core: Any) -> int:
    """Return those of a core, an array or an operator in codes, with one vector of the dtype of the whole."""
    if hasattr(core, "matrix"):
        return _of_members(op, [core.matrix])[0]
    return int(prod(core.shape)) * _times(core) * (2 if _is_complex(op) and not _is_complex(core) else 1)


def _of_transforms(op: Any) -> int:
    """Return those of transforms of coefficients, of vectors and back, and of the products between."""
    (p, q), length = op.coefficients.shape[:2], prod(op.lengths)
    whole: float = (p * q + p + q) * 5 * length * log2(length) + 8 * p * q * length
    return round(whole if _is_complex(op) else whole / 2)


def _of_codes(op: Any) -> int:
    """Return those of real codes with each part of a vector, and of rotations: additions, and one product a number."""
    sides = zip(op.codes.shape[::-1], op.rotations, strict=True)
    rotated = sum(n * ((n - 1).bit_length() + 1) for n, seed in sides if seed is not None)
    return int(2 * prod(op.codes.shape) + rotated) * (2 if _is_complex(op) else 1)


def _of_basis(op: Any) -> int:
    """Return those of products with a basis, its transpose and a matrix between, and of a difference and a quotient."""
    d, r = op.shape[0], op.basis_size
    return int((2 * d * r + r * r + d) * _times(op))


_COUNTS: dict[str, Callable[[Any], int]] = {
    "sum": _of_sum,
    "product": lambda op: sum(_of_members(op, op.operators)),
    "stack": _of_stack,
    "kron": _of_kron,
    "permutation": lambda op: 0,
    "sparse": lambda op: op.nnz * _times(op),
    "toeplitz": _of_transforms,
    "tensor_train": _of_cores,
    "dense": _of_codes,
    "cuts": lambda op: op.width * (sum(op.shape) + 1),
    "inverse_fisher": _of_basis,
}


def in_words(mean_bits: float, bits_per_number: float) -> str:
    """Say how many bits an operator takes."""
    return f"{mean_bits:.3g} per stored number, {bits_per_number:.3g} with scales, pivots and index arrays"
