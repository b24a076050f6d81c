"""auto-round on MiniLM: signs of gradients find how weights are rounded, block by block (Cheng et al., SignRound)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from bench.dense.minilm import CALIBRATION, HEADS, LAYERS, Tokenizer, installed, linear_layers, texts
from bitterfly import SecondMoments

HALF = 2  # bytes of a scale
TOKENS, STEPS = 48, 200  # of a text: the few that are longer end there; of each block, its default


def _model(weights: Mapping[str, np.ndarray]) -> Any:
    torch, transformers = import_module("torch"), import_module("transformers")
    facts = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    model = transformers.BertModel(transformers.BertConfig(**facts), add_pooling_layer=False).eval()
    missing = model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()}, strict=False)
    assert not missing.unexpected_keys
    assert all("position_ids" in name for name in missing.missing_keys)
    return model


class _Padding:
    """What it asks of a tokenizer."""

    pad_token_id, pad_token, name_or_path = 0, "[PAD]", ""


def _samples() -> list[dict[str, Any]]:
    torch, tokenizer, found = import_module("torch"), Tokenizer(installed() / "vocab.txt"), []
    for text in texts()[CALIBRATION]:
        tokens = tokenizer(text)[:TOKENS]
        padded = torch.zeros(1, TOKENS, dtype=torch.long)
        padded[0, : len(tokens)] = torch.tensor(tokens)
        found.append({"input_ids": padded, "attention_mask": (padded != 0).long()})
    return found


def tuned(bits: int, group: int, weights: Mapping[str, np.ndarray], folder: Path) -> dict[str, tuple[np.ndarray, int]]:
    """All linear layers, in symmetric integers of a scale for each group of columns, and the bytes of each.

    They are kept in the folder, and taken from there.
    """
    kept = folder / f"auto_round_{bits}_{group}.safetensors"
    if not kept.exists():
        save_file(_rounded(bits, group, weights), kept)
    found = load_file(kept)
    return {name: (found[name], _nbytes(weights[name], bits, group)) for name in linear_layers(dict(weights))}


def _rounded(bits: int, group: int, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    package, samples = import_module("auto_round"), _samples()
    logging.getLogger("autoround").setLevel(logging.ERROR)
    rounder = package.AutoRound(
        _model(weights),
        _Padding(),
        scheme={"bits": bits, "group_size": group, "sym": True, "data_type": "int", "act_bits": 16},
        dataset=samples,
        iters=STEPS,
        seqlen=TOKENS,
        nsamples=len(samples),
        device_map="cpu",
        enable_torch_compile=False,
    )
    model, _ = rounder.quantize()
    found = model.state_dict()
    return {name: found[name].detach().float().numpy() for name in linear_layers(dict(weights))}


def _nbytes(w: np.ndarray, bits: int, group: int) -> int:
    return w.size * bits // 8 + w.size // group * HALF


def nearest(bits: int, group: int, w: np.ndarray, moments: SecondMoments | None) -> tuple[np.ndarray, int]:
    """Its plain rounding, for tables."""
    torch, rounding = import_module("torch"), import_module("auto_round.data_type.int")
    found, *_ = rounding.quant_tensor_sym(torch.from_numpy(w.copy()), bits=bits, group_size=group)
    return found.float().numpy(), _nbytes(w, bits, group)
