"""Files: what is saved comes back bit for bit, and nothing else comes back at all."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitterfly import ButterflyOperator, PackedButterfly, load, quantize, save, transforms
from bitterfly.files import container, storage

Operator = ButterflyOperator | PackedButterfly
Header = dict[str, Any]
Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

CORRUPTIONS = 10_000


def random_operator(n: int, dtype: str, bits: float | None = None, order: bool = True) -> Operator:
    rng = np.random.default_rng(n)
    plain = transforms.random(n, rng=rng, dtype=dtype)
    rows = np.roll(np.arange(n), 1) if order else None
    op = ButterflyOperator.from_values(
        plain.values, permutations=(rows, None), relative_error=1e-3, error_kind="ledger"
    )
    return op if bits is None else quantize(op, bits=bits)


def buffers(op: Operator) -> Arrays:
    arrays = {"values": op.values} if isinstance(op, ButterflyOperator) else {}
    if isinstance(op, PackedButterfly):
        arrays |= {"words": op.words, "scale": op.scale}
    orders = zip(("rows", "columns"), op.base_permutations, strict=True)
    return arrays | {name: order for name, order in orders if order is not None}


def facts(op: Operator) -> tuple[Any, ...]:
    codes = op.codes if isinstance(op, PackedButterfly) else None
    error = "nan" if math.isnan(op.relative_error) else op.relative_error
    return type(op), op.shape, op.dtype, op.mode, op.chain, error, op.error_kind, codes


def same(left: Operator, right: Operator) -> bool:
    a, b = buffers(left), buffers(right)
    equal = facts(left) == facts(right) and a.keys() == b.keys()
    return equal and all(a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes() for name in a)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("bits", [None, 0.5, 3, 8])
@pytest.mark.parametrize("n", [2, 16, 256])
def test_round_trip(tmp_path: Path, n: int, bits: float | None, dtype: str) -> None:
    op = random_operator(n, dtype, bits)
    save(tmp_path / "op", op)
    again = load(tmp_path / "op")
    assert same(op, again)
    x = np.ones(n)
    assert np.array_equal(op @ x, again @ x)


@pytest.mark.parametrize("mode", ["T", "H", "conj"])
@pytest.mark.parametrize("bits", [None, 2])
def test_round_trip_of_views(tmp_path: Path, bits: float | None, mode: str) -> None:
    base = random_operator(32, "c16", bits)
    op = base.conj() if mode == "conj" else getattr(base, mode)
    save(tmp_path / "op", op)
    again = load(tmp_path / "op")
    assert same(op, again)
    assert again.mode == {"T": "transpose", "H": "adjoint", "conj": "conjugate"}[mode]
    assert np.array_equal(op.todense(), again.todense())


def test_round_trip_of_transforms_and_of_an_unknown_error(tmp_path: Path) -> None:
    for op in (transforms.dft(64), quantize(transforms.dft(64), bits=1.5)):
        save(os.fspath(tmp_path / "op"), op)
        assert same(op, load(os.fspath(tmp_path / "op")))
    values = transforms.hadamard(4).values
    op = ButterflyOperator.from_values(values, relative_error=float("nan"), error_kind="estimated")
    save(tmp_path / "op", op)
    assert math.isnan(load(tmp_path / "op").relative_error)


def test_loaded_buffers_are_aligned(tmp_path: Path) -> None:
    for bits in (None, 2):
        save(tmp_path / "op", random_operator(256, "f8", bits))
        arrays = buffers(load(tmp_path / "op"))
        assert all(arrays[name].ctypes.data % 64 == 0 for name in arrays.keys() - {"rows"})


def test_any_safetensors_reader_understands_the_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    op = random_operator(16, "c8", 2)
    save(tmp_path / "op.safetensors", op)
    tensors = load_file(tmp_path / "op.safetensors")
    assert {name: t.dtype.name for name, t in tensors.items()} == {
        "words": "uint32",
        "scale": "float32",
        "rows": "uint32",
    }
    assert tensors["scale"].shape == (16, 2)


def test_files_are_reproducible(tmp_path: Path) -> None:
    op = random_operator(16, "f8", 2)
    save(tmp_path / "a", op)
    save(tmp_path / "b", op)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- what cannot be written or read ----


def test_save_refuses_other_objects(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="op: expected an operator of this package, got ndarray"):
        save(tmp_path / "op", np.eye(4))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_operating_system_errors_pass_through(tmp_path: Path) -> None:
    op = transforms.hadamard(4)
    with pytest.raises(FileNotFoundError) as missing:
        load(tmp_path / "missing")
    assert missing.value.filename == os.fspath(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
    with pytest.raises(IsADirectoryError):
        save(tmp_path, op)
    with pytest.raises(FileNotFoundError) as nowhere:
        save(tmp_path / "no" / "op", op)
    assert nowhere.value.filename == os.fspath(tmp_path / "no" / "op")


def test_special_files_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        save(tmp_path / "pipe", transforms.hadamard(4))
    assert (tmp_path / "pipe").is_fifo()


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    save(tmp_path / "link", transforms.hadamard(4))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").is_file()


def test_permissions_follow_the_mask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        save(tmp_path / "op", transforms.hadamard(4))
    finally:
        os.umask(old)
    assert (tmp_path / "op").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk; it needs a process of its own."""
    save(tmp_path / "op", transforms.hadamard(4))
    before = (tmp_path / "op").read_bytes()
    program = (
        "import resource, sys, bitterfly\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: bitterfly.save(sys.argv[1], bitterfly.transforms.dft(256))\n"
        "except OSError as error: print(error.filename)\n"
    )
    command = [sys.executable, "-c", program, os.fspath(tmp_path / "op")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == os.fspath(tmp_path / "op")
    assert (tmp_path / "op").read_bytes() == before
    assert os.listdir(tmp_path) == ["op"]


# ---- damaged files ----


def corrupt(good: bytes, kind: int, stranger: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy: cut, bits flipped, bytes swapped, a random tail, a graft."""
    bad = bytearray(good)
    at, other = (int(i) for i in rng.integers(len(good), size=2))
    if kind == 0:
        bad = bad[:at]
    elif kind == 1:
        for bit in rng.integers(8 * len(good), size=int(rng.integers(1, 4))):
            bad[bit // 8] ^= 1 << (bit % 8)
    elif kind == 2:
        bad[at], bad[other] = bad[other], bad[at]
    elif kind == 3:
        bad[at:] = rng.bytes(len(good) - at + int(rng.integers(2)))
    else:
        bad[at:] = stranger[int(rng.integers(len(stranger) + 1)) :]
    return bytes(bad)


def test_ten_thousand_corruptions(tmp_path: Path) -> None:
    """Each is refused, or changed nothing that counts (spaces and escapes of the JSON text)."""
    path, rng = tmp_path / "op", np.random.default_rng(0)
    originals = {}
    for dtype, bits in (("f4", 2), ("c16", 3), ("f8", None)):
        op = random_operator(4, dtype, bits)
        save(path, op)
        originals[path.read_bytes()] = op
    files = list(originals)
    strangers = [*files, b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"{}", bytes(4096)]
    refused = 0
    for trial in range(CORRUPTIONS):
        good = files[trial % 3]
        bad = corrupt(good, trial % 5, strangers[trial // 15 % len(strangers)], rng)
        path.write_bytes(bad)
        try:
            loaded = load(path)
        except ValueError:
            refused += 1
        else:
            assert same(loaded, originals.get(bad, originals[good]))
    assert refused >= 0.95 * CORRUPTIONS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**64 - 1) + b"{}" * 100,
        struct.pack("<Q", 100_000_001) + b" " * 100,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 200_000) + b'{"a":' * 40_000,
        struct.pack("<Q", 4) + b"\xff\xfe{}",
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ValueError, match="bad: "):
        load(tmp_path / "bad")


def header_by_hand(tensors: list[tuple[str, str, list[int], tuple[int, int]]], text: str) -> bytes:
    """Write a safetensors header by hand, tensors given twice or overlapping included."""
    items = [("__metadata__", {"bitterfly": text})]
    pairs = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in items]
    for name, kind, shape, offsets in tensors:
        value = {"dtype": kind, "shape": shape, "data_offsets": offsets}
        pairs.append(f"{json.dumps(name)}:{json.dumps(value)}")
    header = ("{" + ",".join(pairs) + "}").encode()
    size = max((stop for *_, (_, stop) in tensors), default=0)
    return struct.pack("<Q", len(header)) + header + bytes(size)


def test_tensors_given_twice_overlapping_or_of_odd_types(tmp_path: Path) -> None:
    op = random_operator(4, "f4", 2, order=False)
    header, tensors = storage.sealed(op)
    text = container.canonical(header)
    words = 4 * tensors["words"].size
    scale = ("scale", "F32", [4], (words, words + 16))
    code = ("words", "U32", [words // 4], (0, words))
    layouts = [
        [code, scale, ("words", "U32", [0], (0, 0))],
        [code, ("scale", "F32", [4], (words - 16, words))],
        [code, scale, ("words", "U32", [words // 4], (0, words))],
        [("words", "BF16", [words // 2], (0, words)), scale],
        [("words", "F4", [2 * words], (0, words)), scale],
        [("words", "I32", [words // 4], (0, words)), scale],
        [("words", "U32", [], (0, 4)), ("scale", "F32", [4], (4, 20))],
        [("words", "U32", [2**62, 2**62], (0, words)), scale],
        [code, ("scale", "F32", [4], (words + 16, words + 32))],
        [code, ("scale", "F32", [4], (words + 16, words))],
    ]
    for layout in layouts:
        (tmp_path / "bad").write_bytes(header_by_hand(layout, text))
        with pytest.raises(ValueError, match="bad: "):
            load(tmp_path / "bad")


# ---- hostile files: the checksum is right, the contents are not ----


def forge(path: Path, op: Operator, change: Callable[[Header, Arrays], None], sign: bool = True) -> None:
    from safetensors.numpy import save as to_bytes

    header, tensors = storage.sealed(op)
    del header["sha256"]
    tensors = {name: tensor.copy() for name, tensor in tensors.items()}
    change(header, tensors)
    if sign:
        header.setdefault("sha256", container.checksum(header, tensors))
    text = json.dumps(header)
    path.write_bytes(to_bytes(tensors, metadata={"bitterfly": text}))


HEADERS: list[tuple[str, Any]] = [
    ("format_version", 3),
    ("format_version", True),
    ("format_version", "1"),
    ("kind", "banded"),
    ("kind", "float"),
    ("kind", ["packed"]),
    ("shape", [8, 8]),
    ("shape", [16]),
    ("shape", [16, 32]),
    ("shape", [16.0, 16.0]),
    ("shape", [True, True]),
    ("shape", [0, 0]),
    ("shape", [-16, -16]),
    ("shape", [2**62, 2**62]),
    ("shape", [24, 24]),
    ("shape", "16"),
    ("dtype", "float16"),
    ("dtype", "float64"),
    ("dtype", None),
    ("chain", []),
    ("chain", [[1, 2, 2, 8], [2, 2, 2, 4], [4, 2, 2, 2], [8, 2, 2, True]]),
    ("chain", "square_dyadic"),
    ("codes", []),
    ("codes", [["angle", 4]] * 3),
    ("codes", [["angle", 4, 4]] * 4),
    ("codes", [["phase", 4]] * 4),
    ("codes", [["angle", 17]] * 4),
    ("codes", [["angle", 0]] * 4),
    ("codes", [["angle", True]] * 4),
    ("codes", [["angle", 4.0]] * 4),
    ("codes", [[["angle"], 4]] * 4),
    ("codes", {"angle": 4}),
    ("mode", "adjoint"),
    ("mode", "backward"),
    ("mode", 0),
    ("relative_error", -1.0),
    ("relative_error", True),
    ("relative_error", 0),
    ("relative_error", "small"),
    ("error_kind", "guessed"),
    ("error_kind", []),
    ("sha256", "0" * 63),
    ("sha256", "G" * 64),
    ("sha256", "0" * 64),
    ("sha256", 7),
    ("extra", 1),
]


@pytest.mark.parametrize(("field", "value"), HEADERS)
def test_wrong_metadata(tmp_path: Path, field: str, value: Any) -> None:
    def change(header: Header, tensors: Arrays) -> None:
        header[field] = value

    forge(tmp_path / "bad", random_operator(16, "f4", 2), change)
    expected = {"shape": "shape|chain|codes|scale|rows", "dtype": "dtype|scale"}.get(field, field)
    if (field, value) == ("kind", "float"):
        expected = "codes"
    with pytest.raises(ValueError, match=rf"bad: ({expected}): "):
        load(tmp_path / "bad")


@pytest.mark.parametrize("field", sorted({*container.COMMON, "shape", "dtype", "chain", "mode", "codes"}))
def test_missing_metadata(tmp_path: Path, field: str) -> None:
    def change(header: Header, tensors: Arrays) -> None:
        header["sha256"] = "0" * 64
        del header[field]

    forge(tmp_path / "bad", random_operator(16, "f4", 2), change, sign=False)
    with pytest.raises(ValueError, match=rf"bad: {field}: "):
        load(tmp_path / "bad")


def set_nan(name: str) -> Callable[[Header, Arrays], None]:
    return lambda header, tensors: tensors[name].reshape(-1).__setitem__(1, np.nan)


TENSORS: list[tuple[str, float | None, Callable[[Header, Arrays], Any]]] = [
    ("scale", 2, set_nan("scale")),
    ("values", None, set_nan("values")),
    ("words", 2, lambda header, tensors: tensors.update(words=tensors["words"][:-1])),
    ("words", 2, lambda header, tensors: tensors.update(words=tensors["words"].view("f4"))),
    ("words", 2, lambda header, tensors: tensors.pop("words")),
    ("words", 2, lambda header, tensors: tensors["words"].__setitem__(-1, 1)),
    ("values", None, lambda header, tensors: tensors.update(values=tensors["values"].T.copy())),
    ("rows", 2, lambda header, tensors: tensors["rows"].__setitem__(0, tensors["rows"][1])),
    ("rows", 2, lambda header, tensors: tensors["rows"].__setitem__(0, 2**32 - 1)),
    ("rows", None, lambda header, tensors: tensors.update(rows=tensors["rows"][:-1])),
    ("columns", 2, lambda header, tensors: tensors.update(columns=np.zeros(16, np.uint32))),
    ("columns", 2, lambda header, tensors: tensors.update(columns=np.zeros(16, np.int64))),
    ("secret", 2, lambda header, tensors: tensors.update(secret=np.zeros(3))),
]


@pytest.mark.parametrize(("field", "bits", "change"), TENSORS)
def test_wrong_tensors(
    tmp_path: Path, field: str, bits: float | None, change: Callable[[Header, Arrays], None]
) -> None:
    forge(tmp_path / "bad", random_operator(16, "f4", bits), change)
    with pytest.raises(ValueError, match=rf"bad: {field}: "):
        load(tmp_path / "bad")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"a": NaN}',
        '{"a": 1, "a": 1}',
        "[" * 100_000,
        '{"shape": ' + "[" * 900 + "]" * 900 + "}",
        " " * (2 << 20),
        "9" * 5000,
        '{"format_version": 1, "kind": "float", "\\ud800": 0}',
    ],
)
def test_hostile_json(tmp_path: Path, text: str) -> None:
    from safetensors.numpy import save as to_bytes

    data = to_bytes({"values": np.zeros((2, 8))}, metadata={"bitterfly": text})
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(ValueError, match="bad: "):
        load(tmp_path / "bad")


def test_nested_json_does_not_depend_on_the_recursion_limit() -> None:
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(1_000_000)  # as importing some packages does
        with pytest.raises(ValueError, match="nested deeper"):
            container.parse("[" * 100_000)
    finally:
        sys.setrecursionlimit(limit)
    assert container.parse('{"a": "[[[[' + "[" * 100 + '"}') == {"a": "[[[[" + "[" * 100}


def test_not_our_metadata(tmp_path: Path) -> None:
    from safetensors.numpy import save as to_bytes

    (tmp_path / "bad").write_bytes(to_bytes({"weight": np.zeros((4, 4))}))
    with pytest.raises(ValueError, match="metadata: no key 'bitterfly'"):
        load(tmp_path / "bad")


def test_messages_quote_little_of_a_damaged_file(tmp_path: Path) -> None:
    header = json.dumps({"values": "x" * 5000}).encode()
    path = tmp_path / "op"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="header: not a safetensors file") as caught:
        load(path)
    assert len(str(caught.value)) < 500
