"""Every bound that the tests use, derived from the number of operations and the unit roundoff."""

from __future__ import annotations

from typing import Any

import numpy as np


def eps(dtype: Any) -> float:
    return float(np.finfo(np.dtype(dtype)).eps)


def levels(n: int) -> int:
    return n.bit_length() - 1


def gamma(operations: int, dtype: Any) -> float:
    """Higham's gamma_k = k u / (1 - k u) with u = eps / 2."""
    k = operations * eps(dtype) / 2
    return k / (1 - k)


def product_bound(n: int, dtype: Any) -> float:
    """Relative to the product of the moduli of all factors with |x|.

    Each factor costs an output two products and a sum of real numbers (8 roundings count for the complex case and for a
    coefficient that was decoded with an error of up to 8 u: three complex products of table entries), the scale vector
    and the conversion one each.
    """
    return gamma(levels(n) * 16 + 4, dtype)


def exact_factors(n: int, dtype: Any) -> float:
    """Relative error of factorizing a matrix that is an exact butterfly.

    A level rounds a direction (2 u), its product with a row (3 u); p levels, errors add up at worst.
    """
    return 5 * levels(n) * eps(dtype) / 2


def exact_codes(n: int, dtype: Any) -> float:
    """Relative error of a dense matrix formed from codes that are exact: products (8 u a level) and the scale (2 u)."""
    return exact_factors(n, dtype) + gamma(8 * levels(n) + 2, dtype)


# An error that was summed up in single or double and rounded by the products may differ from the true one by this much.
LEDGER = 0.01

# The laws of docs/accuracy.md with a statistical margin: root mean square over draws against the law.
REAL_LAW, REAL_MARGIN = 0.907, 1.05
COMPLEX_LAW = 0.9
