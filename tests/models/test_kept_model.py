"""A model file kept as it was written: it loads, and every tensor is what it was.

``python tests/models/test_kept_model.py`` writes it where there is none; one that is kept never changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import random_models as drawn

from bitterfly import SecondMoments, models, reference
from bitterfly.models.tensors import Tensor, write

KEPT = Path(__file__).parent.parent / "files" / "kept_model.npz"
_SOME = 97  # of so many rows one is kept


def test_an_old_model_loads(tmp_path: Path) -> None:
    with np.load(KEPT) as file:
        kept = dict(file)
    for name in ("model", "moments"):
        (tmp_path / name).write_bytes(kept[f"{name} file"].tobytes())
    small = models.load(tmp_path / "model")
    assert small.names == tuple(kept["names"]) and small.metadata["metadata"] == {"format": "pt"}
    assert {small.kind(name) for name in small} == {"linear", "table", "convolution", "plain"}
    for name in small:
        x, want = small[name], kept[f"{name} numbers"]
        if small.kind(name) == "plain":
            assert isinstance(x, np.ndarray) and np.array_equal(x, want) and x.dtype == want.dtype
        else:
            assert small.shape(name) == tuple(kept[f"{name} shape"])
            np.testing.assert_allclose(reference.dense(x)[::_SOME], want, rtol=1e-5, atol=1e-6)
    known = [[unit.nbytes, unit.relative_error, unit.loss] for name in small for unit in small.units(name)]
    assert np.array_equal(known, kept["known"])
    assert np.array_equal(models.load_moments(tmp_path / "moments")["linear"].matrix, kept["moments"])
    models.expand(tmp_path / "model", tmp_path / "back")


def main() -> None:
    rng = np.random.default_rng(0)
    short, _ = drawn.brain(rng, (70, 60))
    tensors = {"brain": Tensor("BF16", (70, 60), short.reshape(-1).view(np.uint8), 0, short.nbytes)}
    arrays = {"linear": rng.standard_normal((128, 32)).astype("f4"), "steps": np.arange(5)}
    arrays |= {"convolution": rng.standard_normal((16, 32, 3, 3)).astype("f2"), "bias": np.ones(3, "f2")}
    arrays["embed"] = rng.standard_normal((4096, 16)).astype("f2")
    for name, x in arrays.items():
        kind = {"f4": "F32", "f2": "F16", "i8": "I64"}[x.dtype.str[1:]]
        tensors[name] = Tensor(kind, x.shape, x.reshape(-1).view(np.uint8), 0, x.nbytes)
    folder = KEPT.parent
    with open(folder / "given", "wb") as file:
        write(file, tensors, {"format": "pt"})
    moments = {"linear": SecondMoments(32).update(rng.standard_normal((40, 32)))}
    losses = {"brain": 1.0, "linear": 2.0, "convolution": 3.0, "embed": [4.0, 3.0, 2.0, 1.0]}
    small = models.compress_model(
        folder / "given", folder / "model", ratio=0.13, moments=moments, sensitivity=losses, structure="dense"
    )
    models.save_moments(folder / "moments", moments)
    kept = {f"{name} file": np.frombuffer((folder / name).read_bytes(), np.uint8) for name in ("model", "moments")}
    kept |= {"names": np.array(small.names), "moments": moments["linear"].matrix}
    kept["known"] = np.array([[u.nbytes, u.relative_error, u.loss] for name in small for u in small.units(name)])
    for name in small:
        x = small[name]
        kept[f"{name} numbers"] = x if isinstance(x, np.ndarray) else np.asarray(reference.dense(x)[::_SOME], "f4")
        kept[f"{name} shape"] = np.array(small.shape(name))
    np.savez_compressed(KEPT, **kept)
    for name in ("given", "model", "moments"):
        (folder / name).unlink()


if __name__ == "__main__" and not KEPT.exists():
    main()
