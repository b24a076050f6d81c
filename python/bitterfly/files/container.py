"""The metadata of a stored operator: JSON text to checked fields, trusting nothing."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, cast

from numpy import finfo

from bitterfly.chains.chain import Chain
from bitterfly.stores.kinds import KINDS, TILED_KINDS, Code, names_of

Header = dict[str, Any]

# Version 1: the square dyadic chain. Version 2: any chain, in tiles. Version 4: as version 1, packed, the
# scale vector in short floats. (Versions 3 and 5: operators made of operators, see composites.)
SHORT_SCALE = 4
FORMAT_VERSIONS = (1, 2, SHORT_SCALE)
REAL_TYPE = {"float32": "F32", "float64": "F64", "complex64": "F32", "complex128": "F64"}

_MAX_DEPTH = 32
_MAX_LENGTH = 1 << 20
MAX_SIZE = 1 << 31  # permutations are stored in 32 bits
_MAX_FACTORS = 64
_MAX_ENTRIES = 1 << 40
_MODES = ("forward", "transpose", "adjoint", "conjugate")
_ERROR_KINDS = ("exact", "ledger", "measured", "estimated")
_COMMON = {"format_version", "kind", "shape", "dtype", "chain", "mode"}
_COMMON |= {"relative_error", "error_kind", "sha256"}
_FIELDS = {
    (1, "float"): _COMMON,
    (1, "packed"): _COMMON | {"codes"},
    (2, "float"): _COMMON | {"ranks"},
    (2, "packed"): _COMMON | {"codes"},
    (SHORT_SCALE, "packed"): _COMMON | {"codes", "scale_code"},
}


def canonical(header: Header) -> str:
    """Return the one JSON text of a header: sorted keys, no spaces, ASCII."""
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse(text: str) -> Header:
    """Return the JSON object in `text`; its fields are not checked."""
    check_size(text)
    try:
        header = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"metadata: not valid JSON ({error})") from error
    if not isinstance(header, dict):
        raise ValueError("metadata: expected a JSON object")
    return header


def check_size(text: str) -> None:
    """Raise a ValueError for metadata that are too long, or nested too deeply."""
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"metadata: longer than {_MAX_LENGTH} characters")
    if _depth(text) > _MAX_DEPTH:  # the parser recurses, as deep as the recursion limit, which others may have raised
        raise ValueError(f"metadata: not valid JSON of ours (nested deeper than {_MAX_DEPTH})")


def _depth(text: str) -> int:
    """Return how deep brackets are nested outside of strings."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique_keys(pairs: list[tuple[str, Any]]) -> Header:
    header = dict(pairs)
    if len(header) != len(pairs):
        raise ValueError("a key appears twice")
    return header


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def expect(good: bool, field: str, expected: str, header: Header) -> None:
    """Raise a ValueError that names the field unless it is good."""
    if not good:
        got = repr(header.get(field))
        got = got if len(got) <= 60 else got[:57] + "..."
        raise ValueError(f"{field}: expected {expected}, got {got}")


def _is_int(x: object) -> bool:
    return type(x) is int  # JSON's true and 1.0 are no integers


def checked_header(header: Header) -> tuple[Code, ...]:
    """Check every field, return the codes (none for float factors); digest not compared."""
    version = header.get("format_version")
    good = _is_int(version) and version in FORMAT_VERSIONS
    expect(good, "format_version", "1, 2 or 4 (this release reads no other)", header)
    expect(_is_one_of(header.get("kind"), ("packed", "float")), "kind", "'packed' or 'float'", header)
    expect((version, header["kind"]) in _FIELDS, "kind", f"'packed' in version {version}", header)
    wrong = sorted(_FIELDS[cast(int, version), header["kind"]] ^ header.keys())
    if wrong:
        problem = "unknown" if wrong[0] in header else "missing"
        raise ValueError(f"{wrong[0][:60]}: {problem} metadata field")
    (_check_tiled_shape if version == 2 else _check_shape)(header)
    _check_types(header)
    check_error(header)
    if "ranks" in header:
        _check_ranks(header)
    if "scale_code" in header:
        good = _is_code(header["scale_code"], names_of("float"))
        expect(good, "scale_code", "[kind, bits] of kind float1 to float24", header)
    check_digest(header)
    return _checked_codes(header) if header["kind"] == "packed" else ()


def check_digest(header: Header) -> None:
    """Check that the checksum has the form of one."""
    digest = header["sha256"]
    good = isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    expect(good, "sha256", "64 hexadecimal digits", header)


def _is_one_of(x: object, choices: Any) -> bool:
    return isinstance(x, str) and x in choices


def is_complex(header: Header) -> bool:
    """Whether the dtype in a checked header is a complex one."""
    return cast(str, header["dtype"]).startswith("complex")


def _check_shape(header: Header) -> None:
    shape = header["shape"]
    good = isinstance(shape, list) and len(shape) == 2 and all(map(_is_int, shape))
    good = good and shape[0] == shape[1] and 2 <= shape[0] <= MAX_SIZE
    good = good and shape[0] & (shape[0] - 1) == 0
    expect(good, "shape", f"two equal powers of two, 2 to {MAX_SIZE}", header)
    chain = [list(pattern) for pattern in Chain.square_dyadic(shape[0])]
    good = header["chain"] == chain and _all_ints(header["chain"])
    expect(good, "chain", f"the square dyadic chain of size {shape[0]}", header)


def _check_tiled_shape(header: Header) -> None:
    chain, shape = header["chain"], header["shape"]
    good = isinstance(chain, list) and 1 <= len(chain) <= _MAX_FACTORS
    good = good and all(isinstance(p, list) and len(p) == 4 and all(map(_is_int, p)) and min(p) >= 1 for p in chain)
    good = good and all(max(a * b * d, a * c * d) <= MAX_SIZE and a * b * c * d <= _MAX_ENTRIES for a, b, c, d in chain)
    expect(good, "chain", f"1 to {_MAX_FACTORS} patterns (a, b, c, d)", header)
    try:
        room = Chain(chain).shape
    except ValueError as error:
        raise ValueError(f"chain: {error}") from error
    good = isinstance(shape, list) and len(shape) == 2 and all(map(_is_int, shape))
    good = good and all(1 <= size <= most for size, most in zip(shape, room, strict=True))
    expect(good, "shape", f"two sizes, at most {room}", header)


def _check_ranks(header: Header) -> None:
    chain, ranks = Chain(header["chain"]), header["ranks"]
    good = isinstance(ranks, list) and len(ranks) == len(chain) and all(map(_is_int, ranks))
    junctions = zip(ranks, (*chain.ranks, 0), chain, strict=True) if good else ()
    good = good and all(r == 0 or (r == junction and r <= p[1]) for r, junction, p in junctions)
    expect(good, "ranks", "0 or the rank of the junction for each factor", header)


def _check_types(header: Header) -> None:
    expect(_is_one_of(header["dtype"], REAL_TYPE), "dtype", ", ".join(REAL_TYPE), header)
    modes = _MODES if is_complex(header) else _MODES[:2]
    expect(_is_one_of(header["mode"], modes), "mode", "one of " + ", ".join(modes), header)


def _all_ints(patterns: list[list[object]]) -> bool:
    return all(_is_int(x) for pattern in patterns for x in pattern)


def check_error(header: Header) -> None:
    """Check the error of an operator, and how it is known."""
    error = header["relative_error"]
    good = error is None or (type(error) is float and math.isfinite(error) and error >= 0)
    expect(good, "relative_error", "a finite float, not negative, or null", header)
    good = _is_one_of(header["error_kind"], _ERROR_KINDS)
    expect(good, "error_kind", "one of " + ", ".join(_ERROR_KINDS), header)


def _checked_codes(header: Header) -> tuple[Code, ...]:
    codes, count = header["codes"], len(header["chain"])
    good = isinstance(codes, list) and len(codes) == count
    expect(good, "codes", f"{count} of them, one a factor", header)
    tiled = header["format_version"] == 2
    kinds = TILED_KINDS if tiled else names_of("direction")
    kinds = tuple(kind for kind in kinds if is_complex(header) or not KINDS[kind].is_complex)
    good = all(_is_code(code, kinds) for code in codes)
    if good and tiled:
        chain = Chain(header["chain"])
        rooms = zip(codes, (*chain.ranks, 0), chain, strict=True)
        good = all(code[0] != "skeleton" or 0 < rank <= p[1] for code, rank, p in rooms)
    expect(good, "codes", f"pairs [kind, bits] of kind {' or '.join(kinds)}", header)
    return tuple(Code(*code) for code in codes)


def check_units(codes: tuple[Code, ...], steps: Any, scale: Any) -> None:
    """Refuse units of the codes of any chain, and a scale vector, with which products overflow.

    Codes of this package stand for numbers of order one; a product of them above 2^100 comes from elsewhere.
    """
    if not all(math.isfinite(step) for step in steps):
        raise ValueError("steps: expected finite numbers, got NaN or infinity")
    sizes = [abs(float(step)) * code.largest for code, step in zip(codes, steps, strict=True)]
    reach = math.prod(max(size, 1.0) for size, code in zip(sizes, codes, strict=True) if code.what.is_tiled)
    largest = max(float(abs(part).max(initial=0)) for part in (scale.real, scale.imag))
    if reach > 2.0**100 and not reach * largest < float(finfo(scale.dtype).max):
        raise ValueError(f"steps: numbers as large as {max(sizes):.3g} overflow {scale.dtype} in products")


def _is_code(code: object, kinds: tuple[str, ...]) -> bool:
    if not (isinstance(code, list) and len(code) == 2 and _is_one_of(code[0], kinds)):
        return False
    return _is_int(code[1]) and code[1] in KINDS[code[0]].widths
