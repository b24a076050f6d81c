"""Orthogonal butterflies whose angles are learned: bases in which a matrix loses less when it is coded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import pi
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from bitterfly.accuracy.metric import as_metric
from bitterfly.algebra import block_diag
from bitterfly.dense.feedback import DAMPING
from bitterfly.dense.quantize import quantize_dense
from bitterfly.inputs import Array, as_count, as_number
from bitterfly.operators.butterfly import ButterflyOperator, PackedButterfly
from bitterfly.operators.contract import ButterflyProduct, Operator
from bitterfly.powers import near_one
from bitterfly.quantization.quantize import quantize
from bitterfly.stores.kinds import Code
from bitterfly.stores.scale_codes import ScaleCodes
from bitterfly.torch.products import array_of
from bitterfly.torch.rounding import as_weight

Objective = Literal["feedback", "error"]

_log = logging.getLogger("bitterfly")

_SIGNS = Code("float1", 2)
_BITS = (2, 16)  # of an angle: a quarter of a half turn is where all of them start


def learn_rotation(
    weight: Any,
    metric: Any = None,
    *,
    objective: Objective = "feedback",
    bits: float = 2,
    steps: int = 100,
    lr: float = 0.02,
    angle_bits: int = 4,
    rng: np.random.Generator | int | None = None,
) -> Operator:
    """Return an orthogonal butterfly of learned angles, for ``quantize_dense(weight, rotate=...)``.

    It starts as a randomized Hadamard transform, a butterfly all of whose angles are an eighth of a turn, and learns by
    gradients. Two that overlap mix inputs that are no power of two in number.

    Parameters
    ----------
    weight : torch.Tensor or array_like, shape (m, n), or a sequence of such
        Several, such as queries, keys and values, have one rotation of the inputs that they share.
    metric : array_like of shape (n, n) or (n,), or SecondMoments, optional
        Second moments of the inputs, see `quantize_dense`; needed for "feedback".
    objective : {"feedback", "error"}, optional
        What falls. "feedback": the mean variance of an input given those after it, by Cholesky's factor of the rotated
        metric, to which errors of codes of one rate are proportional once columns make good for each other. "error":
        the squared error of window codes without that, straight through, in the metric where there is one.
    bits : float, optional
        Of the codes for "error".
    steps, lr : int, float, optional
        Of Adam, for angles in radians.
    angle_bits : int, optional
        2 to 16, of a column of a 2 x 2 rotation: half a turn has ``2**angle_bits`` angles.
    rng : numpy.random.Generator or int, optional
        Draws the signs.

    Returns
    -------
    operator, shape (n, n)
        In float64 for weights in double precision, else in float32; orthogonal up to the rounding of its products. Of
        the angles that were met, those that are best once coded; at worst those of the start.

    Raises
    ------
    ValueError, TypeError
        Where weights are no real floats, are not finite or differ in columns, for a metric that is none, and for other
        objectives, bits and steps.

    Notes
    -----
    All products of these variances are the determinant of the metric, whatever the rotation: so their mean is least
    where they are equal, and for rates that follow them one by one no rotation is better than another. Learned
    butterflies from a Hadamard transform on: Xu, Yao, Chen, Gao, *ButterflyQuant: ultra-low-bit LLM quantization
    through learnable orthogonal butterfly transforms* (arXiv:2509.09679, 2025).

    Examples
    --------
    >>> import numpy as np, bitterfly
    >>> from bitterfly.torch import learn_rotation
    >>> rng = np.random.default_rng(0)
    >>> w = rng.standard_normal((64, 32)).astype(np.float32)
    >>> x = rng.standard_normal((500, 32)) * np.geomspace(1, 0.01, 32)
    >>> q = learn_rotation(w, x.T @ x, steps=50, rng=0)
    >>> kept = {"metric": x.T @ x, "unequal": False, "bits": 2, "rng": 0}
    >>> learned, fixed = (bitterfly.quantize_dense(w, rotate=r, **kept) for r in (q, "inputs"))
    >>> learned.metric_error < 0.9 * fixed.metric_error
    True
    """
    a, dtype = _stacked(weight)
    n = a.shape[1]
    if objective not in get_args(Objective):
        raise ValueError(f"objective: expected {' or '.join(get_args(Objective))}, got {objective!r}")
    g = as_metric(metric, n)
    if g is None and objective == "feedback":
        raise ValueError("metric: expected second moments of inputs for objective 'feedback', got None")
    width, count, rate = as_count(angle_bits, "angle_bits"), as_count(steps, "steps"), as_number(lr, "lr")
    if not _BITS[0] <= width <= _BITS[1]:
        raise ValueError(f"angle_bits: expected {_BITS[0]} to {_BITS[1]}, got {angle_bits}")
    if not 0 < rate < float("inf"):
        raise ValueError(f"lr: expected a positive number, got {lr}")
    butterflies = _Butterflies.at_start(n, np.random.default_rng(rng))
    whole = torch.from_numpy(np.eye(n) if g is None else np.diag(g) if g.ndim == 1 else g)
    loss = _feedback(whole, butterflies) if objective == "feedback" else _error(a, whole, butterflies, bits)
    learns = a.any() and n > 1
    angles = _best(butterflies, loss, count, rate, width) if learns else butterflies.angles
    return butterflies.operator(angles, width, dtype)


class _Butterflies(NamedTuple):
    """Butterflies of 2^p numbers, one after the other: where each begins, its signs, and its angles (p, 2^(p-1))."""

    n: int
    firsts: list[int]
    signs: torch.Tensor
    angles: torch.Tensor

    @classmethod
    def at_start(cls, n: int, rng: np.random.Generator) -> _Butterflies:
        p = n.bit_length() - 1
        firsts = [0] if n == 1 << p else [0, n - (1 << p)]
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], (len(firsts), 1 << p)))
        angles = torch.full((len(firsts), p, max((1 << p) // 2, 1)), pi / 4, dtype=torch.float64)
        return cls(n, firsts, signs, angles)

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """Return ``x Q^T`` for x of shape (k, n)."""
        size = self.signs.shape[1]
        for first, signs, stages in zip(self.firsts, self.signs, angles, strict=True):
            part = x[:, first : first + size] * signs
            for at, theta in enumerate(stages):
                part = _turned(part, theta, 1 << at)
            x = torch.cat([x[:, :first], part, x[:, first + size :]], dim=1)
        return x

    def operator(self, angles: torch.Tensor, bits: int, dtype: np.dtype[Any]) -> Operator:
        """Return the operator of angles that are coded already."""
        parts = [_packed(stages, signs, bits) for stages, signs in zip(angles, self.signs, strict=True)]
        whole = [self._beside(part, first) for part, first in zip(parts, self.firsts, strict=True)]
        op = whole[0] if len(whole) == 1 else ButterflyProduct(whole[::-1])
        return op.astype(dtype)

    def _beside(self, part: PackedButterfly, first: int) -> Operator:
        """Return a butterfly and ones before or behind it along the diagonal."""
        rest = self.n - part.shape[0]
        if not rest:
            return part
        ones = ButterflyOperator([np.ones((1, 1, 1, rest))])
        same = quantize(ones, code="float", significand=1)
        return block_diag([same, part] if first else [part, same])


def _turned(x: torch.Tensor, theta: torch.Tensor, stride: int) -> torch.Tensor:
    """Return rows whose numbers i and i + stride are turned together."""
    pairs = x.reshape(len(x), -1, 2, stride)
    cos, sin = (f(theta).reshape(-1, stride) for f in (torch.cos, torch.sin))
    a, b = pairs[:, :, 0], pairs[:, :, 1]
    return torch.stack([cos * a - sin * b, sin * a + cos * b], dim=2).reshape(x.shape)


def _packed(stages: torch.Tensor, signs: torch.Tensor, bits: int) -> PackedButterfly:
    """Return the butterfly of coded angles, ``Q_1 ... Q_p diag(signs)``, Q_p that of the first of the stages."""
    factors = []
    for at, theta in enumerate(stages.numpy()):
        cos, sin = (f(theta).reshape(-1, 1 << at) for f in (np.cos, np.sin))
        factors.append(np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1))
    if not factors:
        return quantize(ButterflyOperator([signs.numpy().reshape(1, 1, 1, -1)]), code="float", significand=1)
    found = quantize(ButterflyOperator(factors[::-1]), bits=bits / 2, code="angle")
    scale = np.sign(found.scale) * signs.numpy()
    return PackedButterfly(
        found.words, found.codes, ScaleCodes.of(scale, _SIGNS), relative_error=0.0, error_kind="exact"
    )


# ---- what is learned ----

_Loss = Callable[[torch.Tensor], torch.Tensor]


def _feedback(metric: torch.Tensor, butterflies: _Butterflies) -> _Loss:
    """Return half the logarithm of the mean of the squared pivots: bits."""
    ridge = DAMPING * metric.diagonal().mean() * torch.eye(len(metric), dtype=metric.dtype)

    def loss(angles: torch.Tensor) -> torch.Tensor:
        half = butterflies.forward(metric, angles)
        whole = butterflies.forward(half.T, angles)
        factor = torch.linalg.cholesky(torch.flip((whole + whole.T) / 2, (0, 1)) + ridge)
        return torch.log2(factor.diagonal().square().mean()) / 2

    return loss


def _error(a: Array, metric: torch.Tensor, butterflies: _Butterflies, bits: float) -> _Loss:
    """Return half the logarithm of the relative squared error of window codes, which a gradient takes as they are."""
    x = torch.from_numpy(a)
    total = (x @ metric * x).sum()

    def loss(angles: torch.Tensor) -> torch.Tensor:
        turned = butterflies.forward(x, angles)
        codes = quantize_dense(array_of(turned), bits=bits, code="window7", rotate=False, head=None, outliers=None)
        lost = turned - torch.from_numpy(codes.todense())
        half = butterflies.forward(metric, angles)
        return torch.log2((lost @ butterflies.forward(half.T, angles) * lost).sum() / total) / 2

    return loss


def _best(butterflies: _Butterflies, loss: _Loss, steps: int, lr: float, bits: int) -> torch.Tensor:
    """Return the coded angles of least loss, of the start and of each tenth step."""
    angles = butterflies.angles.clone().requires_grad_()
    optimizer = torch.optim.Adam([angles], lr=lr)
    best, least = butterflies.angles, float("inf")
    every = max(steps // 10, 1)
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            coded = torch.round(angles.detach() * (2**bits / pi)) * (pi / 2**bits)
            found = float(loss(coded))
            if found < least:
                best, least = coded, found
            _log.debug("rotation: step %d, %.4f bits", step, found)
        value = loss(angles)
        if step == steps or not torch.isfinite(value):  # nothing is lost, or nothing counts
            break
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return best


# ---- what users hand in ----


def _stacked(weight: Any) -> tuple[Array, np.dtype[Any]]:
    """Return all weights, one above the other, in double precision and near one; and the precision of a rotation."""
    several = isinstance(weight, (list, tuple)) and len(weight) > 0 and np.ndim(weight[0]) > 1
    given = [array_of(as_weight(w).flatten(1).cpu()) for w in (weight if several else [weight])]
    columns = [w.shape[1] for w in given]
    if len(set(columns)) > 1:
        raise ValueError(f"weight: expected the same number of columns of all, got {columns}")
    if not all(w.size and np.all(np.isfinite(w)) for w in given):
        raise ValueError("weight: expected finite numbers, at least one, got infinities, NaNs or none")
    dtype = np.result_type(*given)
    return near_one(np.concatenate(given))[0], dtype
