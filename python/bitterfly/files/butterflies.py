"""Butterflies in files: what all have in common, and a layout for each way of storing one (docs/storage.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from bitterfly import _core
from bitterfly.accuracy.known import Known
from bitterfly.chains.chain import Chain
from bitterfly.files.container import (
    MAX_SIZE,
    Codec,
    Expected,
    Header,
    Parts,
    Tensors,
    are_ints,
    as_reals,
    check_digest,
    check_fields,
    check_sum,
    checked_dtype,
    checked_error,
    error_fields,
    expect,
    is_int,
    is_one_of,
    numbers,
    numbers_of,
    read_tensors,
    reals,
    reals_of,
)
from bitterfly.inputs import Array, IndexArray, as_permutation
from bitterfly.operators.butterfly import Butterfly, ButterflyOperator, PackedButterfly
from bitterfly.operators.views import FLAGS
from bitterfly.stores.codes import scale_length, word_count
from bitterfly.stores.direction_codes import DirectionCodes
from bitterfly.stores.floats import DyadicFloats, HadamardFloats, TiledFloats
from bitterfly.stores.kinds import KINDS, TILED_KINDS, Code, names_of
from bitterfly.stores.scale_codes import ScaleCodes, scale_words
from bitterfly.stores.tile_codes import TiledCodes
from bitterfly.stores.tiles import layouts, planes_of

_ORDERS = ("rows", "columns")
_FIELDS = {"shape", "dtype", "chain", "mode"}
_MAX_FACTORS = 64
_MAX_ENTRIES = 1 << 40


@dataclass(frozen=True)
class _Facts:
    """The checked metadata of a butterfly; of the last three, those that its layout has."""

    chain: Chain
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    mode: str
    known: Known
    ranks: tuple[int, ...] = ()
    codes: tuple[Code, ...] = ()
    scale_code: Code | None = None

    @property
    def planes(self) -> int:
        """Real numbers in a number."""
        return planes_of(self.dtype)


# ---- layouts ----


class _Layout:
    """One way of storing a butterfly: a format version of a kind, its fields, its tensors, and the way back."""

    version: ClassVar[int]
    kind: ClassVar[str]
    fields: ClassVar[set[str]] = set()
    is_tiled: ClassVar[bool] = False  # of any chain, with padding

    @staticmethod
    def describe(store: Any) -> Parts:
        """Return the fields and the tensors of a store."""
        raise NotImplementedError

    @staticmethod
    def expected(facts: _Facts) -> Expected:
        """Return type and shape of the tensors that checked metadata ask for, orders apart."""
        raise NotImplementedError

    @staticmethod
    def build(facts: _Facts, tensors: dict[str, Array], frame: dict[str, Any]) -> Butterfly:
        """Return the operator; `frame` is what the constructors of all butterflies take."""
        raise NotImplementedError


class _DyadicFloats(_Layout):
    version, kind = 1, "float"

    @staticmethod
    def describe(store: DyadicFloats) -> Parts:
        return {}, {"values": as_reals(store.values)}

    @staticmethod
    def expected(facts: _Facts) -> Expected:
        return {"values": numbers_of(facts.dtype, len(facts.chain), 2 * facts.chain.shape[1])}

    @staticmethod
    def build(facts: _Facts, tensors: dict[str, Array], frame: dict[str, Any]) -> Butterfly:
        return ButterflyOperator.from_values(numbers(tensors, "values", facts.dtype), **frame)


class _HadamardFloats(_Layout):
    """The shape and the precision say all."""

    version, kind = 6, "float"

    @staticmethod
    def describe(store: HadamardFloats) -> Parts:
        return {}, {}

    @staticmethod
    def expected(facts: _Facts) -> Expected:
        return {}

    @staticmethod
    def build(facts: _Facts, tensors: dict[str, Array], frame: dict[str, Any]) -> Butterfly:
        return ButterflyOperator.from_store(HadamardFloats(facts.shape[0], facts.dtype), **frame)


class _TiledFloats(_Layout):
    version, kind, fields, is_tiled = 2, "float", {"ranks"}, True

    @staticmethod
    def describe(store: TiledFloats) -> Parts:
        return {"ranks": list(store.ranks)}, store.buffers

    @staticmethod
    def expected(facts: _Facts) -> Expected:
        plan = layouts(facts.chain, facts.ranks)
        values = {"values": reals_of(facts.dtype, sum(at.numbers(facts.planes) for at in plan))}
        return values | ({"pivots": ("U32", [sum(at.pivot_words for at in plan)])} if any(facts.ranks) else {})

    @staticmethod
    def build(facts: _Facts, tensors: dict[str, Array], frame: dict[str, Any]) -> Butterfly:
        pivots = tensors.get("pivots", np.empty(0, np.uint32))
        store = TiledFloats(facts.chain, facts.ranks, reals(tensors, "values"), pivots, facts.planes == 2)
        return ButterflyOperator.from_store(store, **frame)


class _DirectionCodes(_Layout):
    version, kind, fields = 1, "packed", {"codes"}

    @staticmethod
    def describe(store: Any) -> Parts:
        return {"codes": [list(code) for code in store.codes]}, {"words": store.words, "scale": as_reals(store.scale)}

    @staticmethod
    def expected(facts: _Facts) -> Expected:
        lengths = numbers_of(facts.dtype, scale_length(facts.chain, facts.codes))
        return {"words": ("U32", [word_count(facts.chain, facts.codes, facts.planes == 2)]), "scale": lengths}

    @staticmethod
    def build(facts: _Facts, tensors: dict[str, Array], frame: dict[str, Any]) -> Butterfly:
        _check_padding(tensors["words"], facts.codes, facts.shape[0])
        return PackedButterfly(tensors["words"], facts.codes, numbers(tensors, "scale", facts.dtype), **frame)


class _ShortScale(_Layout):
    """As direction codes, the lengths in short floats."""

    version, kind, fields = 4, "packed", {"codes", "scale_code"}

    @staticmethod
    def describe(store: DirectionCodes) -> Parts:
        lengths = cast(ScaleCodes, store.lengths)
        header = {"codes": [list(code) for code in store.codes], "scale_code": list(lengths.code)}
        return header, {"words": store.words, "scale": lengths.store.words, "steps": lengths.store.steps}

    @staticmethod
    def expected(facts: _Facts) -> Expected:
        count = scale_words(facts.chain.shape[1], cast(Code, facts.scale_code), facts.planes == 2)
        return _DirectionCodes.expected(facts) | {"scale": ("U32", [count]), "steps": ("F64", [1])}

    @staticmethod
    def build(facts: _Facts, tensors: dict[str, Array], frame: dict[str, Any]) -> Butterfly:
        _check_padding(tensors["words"], facts.codes, facts.shape[0])
        code, step = cast(Code, facts.scale_code), float(tensors["steps"][0])
        scale = ScaleCodes.of_words(tensors["scale"], code, step, facts.shape[0], facts.dtype)
        return PackedButterfly(tensors["words"], facts.codes, scale, **frame)


class _TiledCodes(_Layout):
    version, kind, fields, is_tiled = 2, "packed", {"codes"}, True

    @staticmethod
    def describe(store: TiledCodes) -> Parts:
        header, tensors = _DirectionCodes.describe(store)
        return header, tensors | {"steps": store.steps}

    @staticmethod
    def expected(facts: _Facts) -> Expected:
        return _DirectionCodes.expected(facts) | {"steps": ("F64", [len(facts.chain)])}

    @staticmethod
    def build(facts: _Facts, tensors: dict[str, Array], frame: dict[str, Any]) -> Butterfly:
        words, steps, scale = tensors["words"], tensors["steps"], numbers(tensors, "scale", facts.dtype)
        _check_units(facts.codes, steps, scale)
        packed = PackedButterfly(words, facts.codes, scale, chain=facts.chain, steps=steps, **frame)
        if not cast(TiledCodes, packed.store).is_canonical():
            raise ValueError("words: unused bits are not zero")
        return packed


_LAYOUTS: dict[tuple[int, str], type[_Layout]] = {
    (layout.version, layout.kind): layout
    for layout in (_DyadicFloats, _HadamardFloats, _TiledFloats, _DirectionCodes, _TiledCodes, _ShortScale)
}


def _layout_of(store: Any) -> type[_Layout]:
    if isinstance(store, DirectionCodes):
        return _ShortScale if isinstance(store.lengths, ScaleCodes) else _DirectionCodes
    layouts_of = {DyadicFloats: _DyadicFloats, HadamardFloats: _HadamardFloats, TiledFloats: _TiledFloats}
    return {**layouts_of, TiledCodes: _TiledCodes}[type(store)]


# ---- writing ----


def _describe(op: Any) -> Parts:
    layout = _layout_of(op.store)
    fields, tensors = layout.describe(op.store)
    header = {
        "format_version": layout.version,
        "kind": layout.kind,
        "shape": list(op.stored_shape),
        "dtype": np.dtype(op.dtype).name,
        "chain": [list(pattern) for pattern in op.stored_chain],
        "mode": op.mode,
    }
    orders = zip(_ORDERS, op.base_permutations, strict=True)
    tensors = {name: order.astype(np.uint32) for name, order in orders if order is not None} | tensors
    return header | error_fields(op) | fields, tensors


# ---- reading ----


def _read(header: Header, file: Tensors) -> Butterfly:
    layout = _checked_layout(header)
    facts = _checked(header, layout)
    orders = {name: ("U32", [size]) for name, size in zip(_ORDERS, facts.chain.shape, strict=True)}
    tensors = read_tensors(file, orders | layout.expected(facts), optional=_ORDERS)
    check_sum(header, tensors)
    permutations = tuple(_order(tensors, name) for name in _ORDERS)
    frame = {"shape": facts.shape, "permutations": permutations, "mode": facts.mode, **facts.known.facts}
    return layout.build(facts, tensors, frame)


CODEC = Codec(_describe, _read)


def _checked_layout(header: Header) -> type[_Layout]:
    version, kind = header.get("format_version"), header.get("kind")
    good = is_int(version) and version in {at for at, _ in _LAYOUTS}
    expect(good, "format_version", "1, 2, 4 or 6 (this release reads no other)", header)
    expect(is_one_of(kind, ("packed", "float")), "kind", "'packed' or 'float'", header)
    kinds = [of for at, of in _LAYOUTS if at == version]
    expect(kind in kinds, "kind", f"{kinds[0]!r} in version {version}", header)
    return _LAYOUTS[cast(int, version), cast(str, kind)]


def _checked(header: Header, layout: type[_Layout]) -> _Facts:
    """Check every field; the digest is not compared."""
    check_fields(header, _FIELDS | layout.fields)
    chain, shape = (_any_chain if layout.is_tiled else _square_dyadic)(header)
    dtype = checked_dtype(header)
    modes = [mode for mode, (_, conjugated) in FLAGS.items() if dtype.kind == "c" or not conjugated]
    expect(is_one_of(header["mode"], modes), "mode", "one of " + ", ".join(modes), header)
    known = checked_error(header)
    ranks = _ranks(header, chain) if "ranks" in header else ()
    scale_code = _scale_code(header) if "scale_code" in header else None
    check_digest(header)
    codes = _codes(header, layout, chain, dtype) if "codes" in header else ()
    return _Facts(chain, shape, dtype, header["mode"], known, ranks, codes, scale_code)


def _square_dyadic(header: Header) -> tuple[Chain, tuple[int, int]]:
    shape = header["shape"]
    good = are_ints(shape, 2) and shape[0] == shape[1] and 2 <= shape[0] <= MAX_SIZE
    good = good and shape[0] & (shape[0] - 1) == 0
    expect(good, "shape", f"two equal powers of two, 2 to {MAX_SIZE}", header)
    chain, given = Chain.square_dyadic(shape[0]), header["chain"]
    good = given == [list(pattern) for pattern in chain] and all(are_ints(pattern, 4) for pattern in given)
    expect(good, "chain", f"the square dyadic chain of size {shape[0]}", header)
    return chain, chain.shape


def _any_chain(header: Header) -> tuple[Chain, tuple[int, int]]:
    patterns, shape = header["chain"], header["shape"]
    good = isinstance(patterns, list) and 1 <= len(patterns) <= _MAX_FACTORS
    good = good and all(are_ints(pattern, 4) and min(pattern) >= 1 for pattern in patterns)
    good = good and all(a * max(b, c) * d <= MAX_SIZE and a * b * c * d <= _MAX_ENTRIES for a, b, c, d in patterns)
    expect(good, "chain", f"1 to {_MAX_FACTORS} patterns (a, b, c, d)", header)
    try:
        chain = Chain(patterns)
    except ValueError as error:
        raise ValueError(f"chain: {error}") from error
    good = are_ints(shape, 2) and all(1 <= size <= most for size, most in zip(shape, chain.shape, strict=True))
    expect(good, "shape", f"two sizes, at most {chain.shape}", header)
    return chain, (shape[0], shape[1])


def _ranks(header: Header, chain: Chain) -> tuple[int, ...]:
    ranks = header["ranks"]
    good = are_ints(ranks, len(chain))
    junctions = zip(ranks, (*chain.ranks, 0), chain, strict=True) if good else ()
    good = good and all(r == 0 or (r == junction and r <= p[1]) for r, junction, p in junctions)
    expect(good, "ranks", "0 or the rank of the junction for each factor", header)
    return tuple(ranks)


def _scale_code(header: Header) -> Code:
    good = _is_code(header["scale_code"], names_of("float"))
    expect(good, "scale_code", "[kind, bits] of kind float1 to float24", header)
    return Code(*header["scale_code"])


def _codes(header: Header, layout: type[_Layout], chain: Chain, dtype: np.dtype[Any]) -> tuple[Code, ...]:
    codes = header["codes"]
    good = isinstance(codes, list) and len(codes) == len(chain)
    expect(good, "codes", f"{len(chain)} of them, one a factor", header)
    kinds = TILED_KINDS if layout.is_tiled else names_of("direction")
    kinds = tuple(kind for kind in kinds if dtype.kind == "c" or not KINDS[kind].is_complex)
    good = all(_is_code(code, kinds) for code in codes)
    rooms = zip(codes, (*chain.ranks, 0), chain, strict=True)
    good = good and all(not KINDS[code[0]].has_pivots or 0 < rank <= p[1] for code, rank, p in rooms)
    expect(good, "codes", f"pairs [kind, bits] of kind {' or '.join(kinds)}", header)
    return tuple(Code(*code) for code in codes)


def _is_code(code: object, kinds: tuple[str, ...]) -> bool:
    if not (isinstance(code, list) and len(code) == 2 and is_one_of(code[0], kinds)):
        return False
    return is_int(code[1]) and code[1] in KINDS[code[0]].widths


def _order(tensors: dict[str, Array], name: str) -> IndexArray | None:
    order = tensors.get(name)
    return None if order is None else as_permutation(order.astype(np.intp), (len(order),), name)


def _check_padding(words: Array, codes: tuple[Code, ...], n: int) -> None:
    """Require the unused bits, which only factors of fewer than 512 columns have, to be zero."""
    start = 0
    for level, code in enumerate(codes):
        stop = start + _core.packed_words(n, code.bits)
        if n < 512:
            part = words[start:stop]
            again = _core.pack(_core.unpack(part, n, n >> (level + 1), code.bits), code.bits)
            if not np.array_equal(part, again):
                raise ValueError(f"words: unused bits of factor {level + 1} are not zero")
        start = stop


def _check_units(codes: tuple[Code, ...], steps: Array, scale: Array) -> None:
    """Refuse units of the codes of any chain, and a scale vector, with which products overflow.

    Codes of this package stand for numbers of order one; a product of them above 2^100 comes from elsewhere.
    """
    if not all(math.isfinite(step) for step in steps):
        raise ValueError("steps: expected finite numbers, got NaN or infinity")
    sizes = [abs(float(step)) * code.largest for code, step in zip(codes, steps, strict=True)]
    reach = math.prod(max(size, 1.0) for size, code in zip(sizes, codes, strict=True) if code.what.is_tiled)
    largest = max(float(abs(part).max(initial=0)) for part in (scale.real, scale.imag))
    if reach > 2.0**100 and not reach * largest < float(np.finfo(scale.dtype).max):
        raise ValueError(f"steps: numbers as large as {max(sizes):.3g} overflow {scale.dtype} in products")
