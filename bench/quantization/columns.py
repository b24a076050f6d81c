"""What integer codes with bits of their own for each column of a junction would gain; their products do not exist.

Model: the error of a column counts with the energy of the row that it meets, so bits differ by half the log2 of it, and
what is saved is half the log2 of the arithmetic over the geometric mean of the energies of a junction's columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import bitterfly
from bench.quantization.points import bytes_at
from bitterfly import _core, gallery
from bitterfly.quantization.tiles import receive

LEAST, MOST = 2, 16  # bits; columns that should have fewer are left out


def energies(op: bitterfly.ButterflyOperator) -> list[np.ndarray]:
    """Mean energies of the rows to the right of each junction, by their place in the rank."""
    out = []
    for at, rank in enumerate(op.chain.ranks):
        rows = bitterfly.ButterflyOperator(op.factors[at + 1 :]).todense()
        a, _, c, d = op.chain[at]
        out.append(np.sum(np.abs(rows) ** 2, axis=1).reshape(a, c // rank, rank, d).mean((0, 1, 3)))
    return out


def coded(op: bitterfly.ButterflyOperator, widths: list[np.ndarray]) -> tuple[float, float]:
    """Bytes and relative error, the columns of factor k at place j of a junction in `widths[k][j]` bits."""
    carried, factors, bits = None, [], 0
    for factor, rank, widths_here in zip(op.factors, (*op.chain.ranks, 1), widths, strict=True):
        f = factor.astype(np.complex128)
        f = f if carried is None else receive(f, carried)
        a, b, c, d = f.shape
        columns = np.ascontiguousarray(f.transpose(0, 3, 2, 1)).reshape(a, d, c // rank, rank, b)
        values, lengths = np.zeros_like(columns), np.zeros(columns.shape[:-1], complex)
        for j, width in enumerate(widths_here):
            if width < LEAST:
                continue
            bits += int(width) * 2 * b * a * d * (c // rank)
            q, mu = _core.lattice_codes(np.ascontiguousarray(columns[..., j, :]).reshape(-1, b), int(width))
            reals = (q.astype(float) - 2 ** (width - 1)) * 2.0 ** (1 - width)
            values[..., j, :] = reals.reshape(-1, 2).copy().view(complex).reshape(a, d, c // rank, b)
            lengths[..., j] = mu.view(complex).reshape(a, d, c // rank)
        carried = lengths[..., np.newaxis] * np.eye(rank)
        factors.append(np.ascontiguousarray(values.reshape(a, d, c, b).transpose(0, 3, 2, 1)))
    a, b, c, d = factors[-1].shape
    assert carried is not None
    factors[-1] *= carried[..., 0, 0].transpose(0, 2, 1).reshape(a, 1, c, d)
    exact = bitterfly.ButterflyOperator(op.factors).todense()
    error = np.linalg.norm(bitterfly.ButterflyOperator(factors).todense() - exact) / np.linalg.norm(exact)
    return bits / 8 + 8 * op.shape[1], float(error)


def row(name: str, n: int, rtol: float) -> dict[str, Any]:
    op = bitterfly.factorize(gallery.KERNELS[name](n).todense(), rtol=rtol)
    found = energies(op)
    equal = [coded(op, [np.full(rank, width) for rank in (*op.chain.ranks, 1)]) for width in range(5, 15)]
    own = []
    for mean in range(5, 14):
        widths = [np.clip(np.round(mean + 0.5 * np.log2(e / e.mean())), 0, MOST) for e in found]
        own.append(coded(op, [*widths, np.array([mean])]))
    saved = np.mean([0.5 * np.log2(e.mean() / np.exp(np.mean(np.log(e)))) for e in found])
    ratio = bytes_at(own, rtol) / bytes_at(equal, rtol)
    return {"kernel": name, "n": n, "error": rtol, "bits saved, model": saved, "own bits / equal bits": ratio}


def rows() -> list[dict[str, Any]]:
    cases = [(name, rtol) for name in ("nonuniform_dft", "fourier_integral") for rtol in (1e-2, 1e-3)]
    return [row(name, 512, rtol) for name, rtol in cases]
