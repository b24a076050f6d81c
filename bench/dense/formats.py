"""Published formats of dense weights beside window codes, by error, true bits and time.

`python -m bench.dense.formats [--quick]`. Each format is as its authors store it, with scales in half precision that
are searched for where the format leaves them open; true bits count all of it. None looks at activations. Times are
those of NumPy for the formats of others, with their searches, and of the package for its own.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import bitterfly
from bench import timing
from bench.dense.matrices import antiberty, gaussian, minilm

HALF = 16  # bits of a scale
# The quantiles of a normal distribution that QLoRA stores (Dettmers, Pagnoni, Holtzman, Zettlemoyer, NeurIPS 2023).
NF4 = [-1, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1]
REACHES = np.geomspace(0.02, 1.3, 24)  # of a scale: where the last entry lies, in largest numbers of the group
FINER = np.linspace(0.9, 1.1, 9)
REFITS = 4
PLANES_REFITS = 15  # as LUT-GEMM and its predecessors
# Of the iteration of Lyubarskii and Vershynin: of frames of redundancy 2, random vectors and unit vectors, n >= 384,
# these have the least bound among those for which it converges.
DELTA, ETA = 0.8, 0.5
KASHIN_STEPS = 12
KASHIN = 1 / ((1 - ETA) * np.sqrt(DELTA))

Coded = tuple[np.ndarray, float]


# ---- numbers of a list times a scale ----


def integers(bits: int) -> list[float]:
    """-2^(b-1) .. 2^(b-1) - 1."""
    return [float(q) for q in range(-(1 << (bits - 1)), 1 << (bits - 1))]


def odd(bits: int) -> list[float]:
    """The sums of planes of signs of weights 1, 2, 4, ..: bipolar integers, symmetric and without zero."""
    return [float(q) for q in range(1 - (1 << bits), 1 << bits, 2)]


def shifts(bits: int) -> list[float]:
    """+-1, +-1/2, ..: as DenseShift without zero (Li et al., CVPR 2023)."""
    powers = [2.0**-k for k in range(1 << (bits - 1))]
    return sorted(powers + [-p for p in powers])


def powers_of_two(bits: int) -> list[float]:
    """0 in place of the least of both signs."""
    return [0.0, *(p for p in shifts(bits) if abs(p) > 2.0 ** (1 - (1 << (bits - 1))))]


def grouped(a: np.ndarray, group: int | None) -> np.ndarray:
    """Rows, or groups of numbers that follow each other in a row."""
    return a.reshape(-1, group or a.shape[1]).astype(np.float32)


def half(scale: np.ndarray) -> np.ndarray:
    return scale.astype(np.float16).astype(np.float32)


def nearest(x: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The entries of a sorted list that are nearest to x."""
    steps = np.diff(entries)
    if np.all(steps == steps[0]):
        places = np.clip(np.rint((x - entries[0]) / steps[0]), 0, len(steps))
        return np.asarray(places * steps[0] + entries[0])
    return np.asarray(entries[np.searchsorted((entries[1:] + entries[:-1]) / 2, x)])


def times_scale(x: np.ndarray, scale: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """The nearest ones of the entries times the scales of the rows of x."""
    scale = half(scale)[:, None]
    return np.asarray(nearest(np.divide(x, scale, out=np.zeros_like(x), where=scale != 0), entries) * scale)


def searched_scales(x: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Scales of the rows of x of nearly the least squared error.

    Of both signs where the list is not symmetric; coarse, finer, then least squares and rounding in turn.
    """
    reach = np.max(np.abs(x), axis=1) / np.max(np.abs(entries))
    scale, least = np.zeros(len(x)), np.full(len(x), np.inf)

    def attempt(tried: np.ndarray) -> None:
        nonlocal scale, least
        missed = np.sum((x - times_scale(x, tried, entries)) ** 2, axis=1)
        scale, least = np.where(missed < least, tried, scale), np.minimum(missed, least)

    for sign in (1,) if np.array_equal(entries, -entries[::-1]) else (1, -1):
        for share in REACHES:
            attempt(sign * share * reach)
    coarse = scale
    for factor in FINER:
        attempt(factor * coarse)
    for _ in range(REFITS):
        y = times_scale(x, scale, entries)
        energy = np.sum(y * y, axis=1)
        attempt(scale * np.divide(np.sum(x * y, axis=1), energy, out=np.ones_like(energy), where=energy != 0))
    return scale


def searched(a: np.ndarray, numbers: Sequence[float], group: int | None) -> np.ndarray:
    x, entries = grouped(a, group), np.sort(np.asarray(numbers, np.float32))
    return times_scale(x, searched_scales(x, entries), entries).reshape(a.shape)


def of_list(numbers: Sequence[float], bits: float, group: int | None = None) -> Callable[[np.ndarray], Coded]:
    return lambda a: (searched(a, numbers, group), bits + HALF / (group or a.shape[1]))


# ---- scales by rule ----


def absmax(bits: int) -> Callable[[np.ndarray], Coded]:
    """Round to nearest, the largest number of a row onto the largest integer."""

    def run(a: np.ndarray) -> Coded:
        top = (1 << (bits - 1)) - 1
        x, entries = grouped(a, None), np.arange(-top, top + 1, dtype=np.float32)
        return times_scale(x, np.max(np.abs(x), axis=1) / top, entries).reshape(a.shape), bits + HALF / a.shape[1]

    return run


def q4_0(a: np.ndarray) -> Coded:
    """The rule of ggml: the number of largest magnitude in each 32 becomes -8."""
    x = grouped(a, 32)
    extreme = x[np.arange(len(x)), np.argmax(np.abs(x), axis=1)][:, None]
    steps = extreme / -8
    q = np.floor(np.divide(x, steps, out=np.zeros_like(x), where=steps != 0) + 8.5)
    return ((np.clip(q, 0, 15) - 8) * half(steps)).reshape(a.shape), 4 + HALF / 32


def nf4(a: np.ndarray) -> Coded:
    x = grouped(a, 64)
    return times_scale(x, np.max(np.abs(x), axis=1), np.array(NF4, np.float32)).reshape(a.shape), 4 + HALF / 64


def ternary_rule(a: np.ndarray) -> Coded:
    """The rule of BitNet b1.58 and of MatMul-free language models: one scale, the mean of the magnitudes.

    Five ternary numbers in 8 bits.
    """
    scale = half(np.mean(np.abs(a)))
    return np.clip(np.round(a / scale), -1, 1) * scale, 1.6 + HALF / a.size


def least_maximum(bits: int, group: int | None = None) -> Callable[[np.ndarray], Coded]:
    """Evenly spaced from the least to the largest number of each group: no spacing has a smaller largest error."""

    def run(a: np.ndarray) -> Coded:
        x = grouped(a, group)
        low = half(np.min(x, axis=1))[:, None]
        step = half((np.max(x, axis=1)[:, None] - low) / ((1 << bits) - 1))
        q = np.round(np.divide(x - low, step, out=np.zeros_like(x), where=step != 0))
        return (low + np.clip(q, 0, (1 << bits) - 1) * step).reshape(a.shape), bits + 2 * HALF / x.shape[1]

    return run


# ---- planes of signs, each with a scale of its own ----


def greedy_planes(count: int) -> Callable[[np.ndarray], Coded]:
    """Sums of planes of signs, one by one: each has the signs of what is left, and the mean of its magnitudes."""

    def run(a: np.ndarray) -> Coded:
        rest = grouped(a, None)
        for _ in range(count):
            rest = rest - np.where(rest < 0, -1, 1) * half(np.mean(np.abs(rest), axis=1))[:, None]
        return a - rest, count * (1 + HALF / a.shape[1])

    return run


def refined_planes(count: int, group: int | None) -> Callable[[np.ndarray], Coded]:
    """Scales by least squares and signs by the nearest sum in turn, from bipolar integers and from greedy scales.

    Of Xu et al., Alternating multi-bit quantization (ICLR 2018), the codes of LUT-GEMM (Park et al., ICLR 2024).
    """

    def run(a: np.ndarray) -> Coded:
        x = grouped(a, group)
        best, least = np.zeros_like(x), np.full(len(x), np.inf)
        steps = searched_scales(x, np.array(odd(count), np.float32))
        for start in (steps[:, None] * 2.0 ** np.arange(count, dtype=np.float32), greedy_scales(x, count)):
            scales = start
            for _ in range(PLANES_REFITS):
                y, codes = nearest_sums(x, half(scales))
                missed = np.sum((x - y) ** 2, axis=1)
                best, least = np.where((missed < least)[:, None], y, best), np.minimum(missed, least)
                scales = fitted_scales(x, codes, count)
        return best.reshape(a.shape), count * (1 + HALF / x.shape[1])

    return run


def greedy_scales(x: np.ndarray, count: int) -> np.ndarray:
    scales, rest = np.empty((len(x), count), np.float32), x
    for i in range(count):
        scales[:, i] = np.mean(np.abs(rest), axis=1)
        rest = rest - np.where(rest < 0, -1, 1) * scales[:, i, None]
    return scales


def sums_of(scales: np.ndarray) -> np.ndarray:
    """The sums of the scales of each row with all signs, sign i of sum c being bit i of c."""
    count = scales.shape[1]
    signs = 2.0 * (np.arange(1 << count)[:, None] >> np.arange(count) & 1) - 1
    sums: np.ndarray = scales @ signs.T.astype(np.float32)
    return sums


def nearest_sums(x: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest sum of scales with signs for each number, and which one, by bisection in the sums of its row."""
    sums = sums_of(scales)
    order = np.argsort(sums, axis=1)
    ranked = np.take_along_axis(sums, order, axis=1)
    middles = (ranked[:, 1:] + ranked[:, :-1]) / 2
    at = np.zeros(x.shape, np.intp)
    for step in (1 << i for i in reversed(range(scales.shape[1]))):
        at += step * (x >= np.take_along_axis(middles, at + step - 1, axis=1))
    return np.take_along_axis(ranked, at, axis=1), np.take_along_axis(order, at, axis=1)


def fitted_scales(x: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """The scales of least squares for the signs in `codes`."""
    signs = (2.0 * (codes[:, :, None] >> np.arange(count) & 1) - 1).astype(np.float32)
    transposed = signs.transpose(0, 2, 1)
    gram = (transposed @ signs).astype(np.float64) + 1e-9 * np.eye(count)
    scales: np.ndarray = np.linalg.solve(gram, (transposed @ x[:, :, None]).astype(np.float64))[:, :, 0]
    return scales.astype(np.float32)


# ---- Kashin's representation ----


def frame(n: int) -> np.ndarray:
    """A tight frame of redundancy 2, n columns of a random orthogonal matrix of order 2 n: x = coefficients @ frame."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((2 * n, n)))[0]


def kashin(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Coefficients of the rows of x, none above ``KASHIN / sqrt(N)`` times the length of its row.

    Lyubarskii, Vershynin, Uncertainty principles and vector quantization (IEEE Trans. Inf. Theory 56, 2010): frame
    coefficients, cut at a level, and again for what that has lost, at a lower level.
    """
    length = np.linalg.norm(x, axis=1, keepdims=True)
    level = length / np.sqrt(DELTA * len(u))
    out, rest = np.zeros((len(x), len(u))), x
    for _ in range(KASHIN_STEPS):
        cut = np.clip(rest @ u.T, -level, level)
        out, rest, level = out + cut, rest - cut @ u, level * ETA
    assert np.all(np.linalg.norm(rest, axis=1, keepdims=True) <= 1e-10 * length)
    return out


def kashin_constant(x: np.ndarray) -> float:
    """The largest coefficient there is, times sqrt(N), in lengths of rows; no more than the iteration guarantees."""
    u = frame(x.shape[1])
    x = x[np.any(x, axis=1)].astype(np.float64)
    coefficients = kashin(x, u)
    found = float(np.max(np.abs(coefficients) / np.linalg.norm(x, axis=1, keepdims=True)) * np.sqrt(len(u)))
    assert found <= KASHIN * (1 + 1e-9), found
    assert np.linalg.norm(coefficients @ u - x) <= 1e-9 * np.linalg.norm(x)
    return found


def in_frame(bits: int) -> Callable[[np.ndarray], Coded]:
    """Each of the two coefficients of a weight in `bits` bits, evenly spaced, a scale a row; the frame is a seed."""

    def run(a: np.ndarray) -> Coded:
        u = frame(a.shape[1])
        return searched(kashin(a.astype(np.float64), u), odd(bits), None) @ u, 2 * bits + HALF / a.shape[1]

    return run


# ---- ours ----


def windows(bits: float, code: str) -> Callable[[np.ndarray], Coded]:
    def run(a: np.ndarray) -> Coded:
        op = bitterfly.quantize_dense(a, bits=bits, code=code, head=None, rng=0, workers=1)
        return op.todense(), 8 * op.nbytes / a.size

    return run


def chain_codes(code: str, bits: int) -> Callable[[np.ndarray], Coded]:
    """A list of numbers, a scale a column, as the one factor of a chain: products read the packed bits."""

    def run(a: np.ndarray) -> Coded:
        chain = bitterfly.ButterflyOperator([a.reshape(1, *a.shape, 1)])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the relative error is")
            op = bitterfly.quantize(chain, code=code, bits=bits, rng=0)
        coded, x = op.todense(), np.random.default_rng(1).standard_normal(sum(a.shape)).astype(np.float32)
        for view, same, part in ((op, coded, x[: a.shape[1]]), (op.T, coded.T, x[a.shape[1] :])):
            expected = same.astype(np.float64) @ part
            assert np.linalg.norm(view @ part - expected) <= 1e-5 * np.linalg.norm(expected)
        return coded, 8 * op.nbytes / a.size

    return run


class Format(NamedTuple):
    """A name, bits as it says, and what codes a matrix."""

    name: str
    bits: float
    run: Callable[[np.ndarray], Coded]


def formats() -> Iterator[Format]:
    """All contenders."""
    for bits in (3, 4):
        yield Format("nearest, row, largest", bits, absmax(bits))
    yield Format("int8, row, largest", 8, absmax(8))
    for bits in (3, 4, 6):
        yield Format("nearest, row, searched", bits, of_list(integers(bits), bits))
    for group in (32, 64, 128):
        for bits in (2, 3, 4):
            numbers = odd(bits) if bits == 2 else integers(bits)  # which errs less
            yield Format(f"nearest, {group}, searched", bits, of_list(numbers, bits, group))
    yield Format("Q4_0", 4, q4_0)
    yield Format("NF4, 64", 4, nf4)
    for bits in (1, 2, 3, 4, 8):
        yield Format("bipolar integers, row", bits, of_list(odd(bits), bits))
    for count in (2, 3, 4, 8):
        yield Format("planes, row, greedy", count, greedy_planes(count))
    for count in (2, 3, 4, 8):
        yield Format("planes, row, refined", count, refined_planes(count, None))
    for count in (2, 3, 4):
        yield Format("planes, 128, refined", count, refined_planes(count, 128))
    for bits in (2, 3, 4):
        yield Format("powers of two, row", bits, of_list(powers_of_two(bits), bits))
    for bits in (2, 3, 4):
        yield Format("shifts without zero, row", bits, of_list(shifts(bits), bits))
    yield Format("ternary, mean magnitude", 1.6, ternary_rule)
    yield Format("ternary, row, searched", 1.6, of_list((-1, 0, 1), 1.6))
    for bits in (3, 4, 8):
        yield Format("least maximum, row", bits, least_maximum(bits))
    yield Format("least maximum, 64", 4, least_maximum(4, 64))
    for bits in (1, 2, 3, 4):
        yield Format("Kashin, redundancy 2", 2 * bits, in_frame(bits))
    for code, bits in (("sign", 1), ("ternary", 2), ("shift", 3), ("power_of_two", 4)):
        yield Format(f'chain, "{code}"', bits, chain_codes(code, bits))
    for code in ("window7", "window11"):
        for rate in (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8):
            yield Format(code, rate, windows(rate, code))


def matrices() -> dict[str, np.ndarray]:
    """One of each kind."""
    out = {"Gaussian 1024": gaussian(1024, 1024)}
    for found, network, name in (
        (minilm(), "MiniLM", "encoder.layer.2.attention.self.query.weight"),
        (minilm(), "MiniLM", "encoder.layer.5.output.dense.weight"),
        (antiberty(), "AntiBERTy", "bert.encoder.layer.2.attention.self.query.weight"),
    ):
        if name in found:
            out[f"{network} {' x '.join(map(str, found[name].shape))}"] = found[name]
    return out


def row_of(each: Format, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """Of each matrix the error; the true bits above ``-log2(error)``, the least there are; the largest error.

    The largest error is in root mean square entries of the matrix.
    """
    cells, bits_of, seconds = {}, [], 0.0
    for name, a in weights.items():
        start = time.perf_counter()
        coded, bits = each.run(a)
        seconds += time.perf_counter() - start
        missed = coded.astype(np.float64) - a
        norm = float(np.linalg.norm(a.astype(np.float64)))
        error = float(np.linalg.norm(missed)) / norm
        largest = float(np.max(np.abs(missed))) * np.sqrt(a.size) / norm
        cells[name] = f"{error:.3g} / {bits + np.log2(error):.2f} / {largest:.2g}"
        bits_of.append(bits)
    true_bits = "-".join(dict.fromkeys(f"{bits:.2f}" for bits in (min(bits_of), max(bits_of))))
    row = {"format": each.name, "bits": each.bits, "true bits": true_bits} | cells
    return row | {"s a million": seconds * 1e6 / sum(a.size for a in weights.values())}


def main() -> None:
    weights = dict(list(matrices().items())[: 2 if "--quick" in sys.argv else None])
    rows = []
    for each in formats():
        rows.append(row_of(each, weights))
        print(*rows[-1].values(), sep=" | ", flush=True)
    constants = [{"matrix": name, "K": kashin_constant(a), "K guaranteed": KASHIN} for name, a in weights.items()]
    timing.write(
        "dense_formats",
        {"error / bits above the limit / largest error": rows, "largest of Kashin's coefficients": constants},
    )


if __name__ == "__main__":
    main()
