"""The file of a model from the files of its parts: their buffers under the names of the tensors, and what is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bitterfly.files.container import canonical, check_size, parse
from bitterfly.files.storage import METADATA_KEY
from bitterfly.models.coding import Coded
from bitterfly.models.loaded import VERSION, digest_of, facts_key, seal
from bitterfly.models.sensitivity import Losses
from bitterfly.models.tensors import Tensor, TensorFile, opened
from bitterfly.models.units import Part


def model_file(
    model: TensorFile,
    parts: Sequence[Part],
    coded: Sequence[Coded],
    losses: Sequence[Losses],
    settings: dict[str, Any],
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of the file of a model, unread, and its metadata.

    Raises
    ------
    ValueError
        Where two tensors would have one name.
    """
    tensors: dict[str, Tensor] = {}
    facts: dict[str, dict[str, Any]] = {}
    for place, (name, tensor) in enumerate(model.tensors.items()):
        facts[name] = {"place": place, "dtype": tensor.dtype, "shape": list(tensor.shape)}
    for at, (part, each) in enumerate(zip(parts, coded, strict=True)):
        known = facts[part.name]
        known.setdefault("kind", part.kind)
        units = known.setdefault("units", [])
        file = opened(each.path)
        buffers = {f"{part.name}:{len(units)}.{key}": buffer for key, buffer in file.tensors.items()}
        tensors |= buffers
        units.append(parse(file.metadata[METADATA_KEY]))
        known.setdefault("rows", []).append(part.first)
        known.setdefault("known", []).append(_known(each, losses[at]))
    for name, tensor in model.tensors.items():
        if "units" not in facts[name]:
            if name in tensors:
                raise ValueError(f"{name}: has the name of what another tensor is coded in; give it another one")
            tensors[name] = tensor
            facts[name] |= {"kind": "plain", "sha256": digest_of(tensor)}
    texts = {name: canonical(each) for name, each in facts.items()}
    header: dict[str, Any] = {"format_version": VERSION, "kind": "model", "settings": settings}
    header["metadata"] = model.metadata
    header["sha256"] = seal(header, texts)
    metadata = {METADATA_KEY: canonical(header)} | {facts_key(name): text for name, text in texts.items()}
    for text in metadata.values():
        check_size(text)
    return tensors, metadata


def _known(coded: Coded, losses: Losses) -> dict[str, Any]:
    error = None if math.isnan(coded.metric_error) else coded.metric_error
    return {"nbytes": coded.nbytes, "metric_error": error} | losses._asdict()
