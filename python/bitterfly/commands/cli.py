"""The command line: compress a matrix, look at an operator, apply it, and a demonstration."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import click

from bitterfly.bits import in_words
from bitterfly.commands.console import Group, progress_bars
from bitterfly.commands.model import model
from bitterfly.compression.request import STRUCTURES

if TYPE_CHECKING:
    from bitterfly.compression.request import Structure
    from bitterfly.inputs import Array
    from bitterfly.stores.kinds import Code

_SUFFIX = ".bfly.safetensors"


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from bitterfly import __version__

        click.echo(f"bitterfly {__version__}")
        context.exit()


_progress_option = click.option(
    "--progress/--no-progress",
    "wanted",
    default=None,
    help="Show progress on stderr. Default: only on a terminal.",
)
_output_path = click.Path(dir_okay=False)
_input_path = click.Path()


@click.group(
    cls=Group,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command has its own help: bitterfly compress --help",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_context
def main(context: click.Context) -> None:
    """Matrices as products of butterfly factors, in a few bits per entry.

    A matrix whose blocks have low rank in the right order (a fast transform, a Fourier integral
    operator, a Green's function between two sets, ...) becomes about log2(n) sparse factors; these
    are stored in a few bits, and products are computed straight from the bits. Other matrices are
    stored in dense codes of 1 to 8 bits a number.

    \b
    Start here:
      bitterfly demo                                 see it work on a built-in example
      bitterfly compress A.npy --rtol 1e-3           write A.bfly.safetensors
      bitterfly info A.bfly.safetensors              error, bytes, bits
      bitterfly apply A.bfly.safetensors x.npy -o y.npy
      bitterfly model compress model.safetensors -o small.safetensors --ratio 0.25

    \b
    And from Python:
      op = bitterfly.load("A.bfly.safetensors")      a SciPy LinearOperator
      y = op @ x
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


main.add_command(model)


@main.command(short_help="Compress a matrix from an .npy file.")
@click.argument("matrix", metavar="A.npy", type=_input_path)
@click.option("--rtol", type=float, help="Largest relative error (Frobenius norm) to accept.")
@click.option(
    "--bits", type=float, help="Bits per stored number: up to 8; 2 to 16 on general chains; 1 to 8 of dense codes."
)
@click.option("--nbytes", type=click.IntRange(min=1), help="Instead of --bits: the least error in so many bytes.")
@click.option("-o", "--output", type=_output_path, help=f"File to write. Default: the matrix's name{_SUFFIX}.")
@click.option(
    "--structure",
    type=click.Choice(["auto", *STRUCTURES]),
    default="auto",
    show_default=True,
    metavar="NAME",
    help=f"What the operator may be: the best of all, or one of {', '.join(STRUCTURES)}.",
)
@click.option(
    "--permute",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="Try bit reversal of rows and columns, or leave them as they are.",
)
@_progress_option
def compress(
    matrix: str,
    rtol: float | None,
    bits: float | None,
    nbytes: int | None,
    output: str | None,
    structure: Structure | Literal["auto"],
    permute: str,
    wanted: bool | None,
) -> None:
    """Compress the matrix in A.npy and report the error, measured on all of its entries.

    Give --rtol to get the fewest bits that meet it, --bits to choose the bits, --nbytes to get the
    least error in so many bytes, or --rtol with one of these to have the error checked. What has no
    other structure is stored in dense codes, or in sums of them. The matrix is read by memory
    map: m x n, of float32, float64, complex64 or complex128. The name - stands for standard input
    and, after -o, for standard output; the report then goes to stderr.

    \b
    Examples:
      bitterfly compress A.npy --rtol 1e-3
      bitterfly compress A.npy --bits 4 -o small.bfly.safetensors
      bitterfly compress A.npy --nbytes 20000

    An error that cannot be met is an error of the command (exit status 1): nothing is written.
    Whether the output can be written is checked first. A file of that name is replaced, once the
    new one is complete; the matrix itself is never replaced.
    """
    if (rtol, bits, nbytes) == (None, None, None):
        raise click.UsageError("give --rtol, --bits or --nbytes, for example --rtol 1e-3")
    from bitterfly.compression.compress import compress as compress_matrix
    from bitterfly.files.replacing import check_target, is_standard_output, written
    from bitterfly.files.storage import to_bytes

    output = output or ("-" if matrix == "-" else os.path.splitext(matrix)[0] + _SUFFIX)
    check_target(output, [matrix])
    a = _load_array(matrix)
    order: Literal["auto"] | None = None if permute == "none" else "auto"
    with progress_bars(wanted) as progress, _blaming("a", _label(matrix)):
        op = compress_matrix(
            a, rtol=rtol, bits=bits, nbytes=nbytes, structure=structure, permute=order, progress=progress
        )
    data = to_bytes(op)
    with written(output) as file:
        file.write(data)
    aside = is_standard_output(output)
    click.echo(op.report, err=aside)
    click.echo(f"written         {'standard output' if aside else output}, {len(data):,} bytes", err=aside)


@main.command(short_help="Say what is in an operator file.")
@click.argument("operator", metavar="OP", type=_input_path)
def info(operator: str) -> None:
    """Say what is in the operator file OP (- for standard input), after checking it against its checksum.

    \b
    Example:
      bitterfly info A.bfly.safetensors
    """
    op = _load_operator(operator)
    for name, value in _facts(op):
        click.echo(f"{name:<16}{value}")


@main.command(short_help="Multiply an operator with vectors.")
@click.argument("operator", metavar="OP", type=_input_path)
@click.argument("vector", metavar="x.npy", type=_input_path)
@click.option("-o", "--output", type=_output_path, required=True, help="File to write: y.npy.")
@click.option("--transpose", is_flag=True, help="Apply the transpose.")
@click.option("--adjoint", is_flag=True, help="Apply the conjugate transpose.")
def apply(operator: str, vector: str, output: str, transpose: bool, adjoint: bool) -> None:
    """Write the product of the operator in OP with the vector, or the columns, in x.npy.

    The name - stands for standard input, for one of the two, and after -o for standard output.

    \b
    Examples:
      bitterfly apply A.bfly.safetensors x.npy -o y.npy
      bitterfly apply A.bfly.safetensors y.npy -o z.npy --adjoint
      make-x | bitterfly apply A.bfly.safetensors - -o - | use-y

    A file of the name of the output is replaced, once the new one is complete; the inputs never are.
    """
    if transpose and adjoint:
        raise click.UsageError("--transpose and --adjoint exclude each other")
    if operator == vector == "-":
        raise click.UsageError("OP and x.npy cannot both be standard input")
    import numpy as np

    from bitterfly.files.replacing import check_target, written

    check_target(output, [operator, vector])
    op = _load_operator(operator)
    x = np.asarray(_load_array(vector))
    with _blaming("x", _label(vector)):
        y = (op.H if adjoint else op.T if transpose else op).apply(x)
    data = io.BytesIO()  # np.save itself seeks, which pipes do not
    np.save(data, y, allow_pickle=False)
    with written(output) as file:
        file.write(data.getbuffer())


@main.command()
@click.option(
    "-o",
    "--output",
    type=_output_path,
    default="bitterfly-demo.png",
    show_default=True,
    help="Picture to write (needs matplotlib).",
)
@click.option(
    "--size",
    type=click.Choice(["8", "16", "32", "64"]),
    default="64",
    show_default=True,
    help="Side of the photographed picture; the matrix has size**2 rows and columns.",
)
@_progress_option
def demo(output: str, size: str, wanted: bool | None) -> None:
    """Photograph with a single pixel, and compress the camera.

    A single-pixel camera shows Walsh-Hadamard masks, one after the other, and adds up the light.
    The lamp drifts, the corners are darker, the masks are not perfect: its matrix is known from
    calibration only, dense. The demonstration compresses that matrix to several widths and
    reconstructs the picture with the packed operators. Everything that is printed is measured.
    """
    from bitterfly.commands import demo as example
    from bitterfly.files.replacing import check_target, is_standard_output

    check_target(output)
    aside = is_standard_output(output)
    with progress_bars(wanted) as progress:
        result = example.run(int(size), progress)
    click.echo(example.table(result), err=aside)
    try:
        example.save_picture(result, output)
    except ImportError:
        click.echo("For the picture, install matplotlib: pip install 'bitterfly[plot]'", err=aside)
    else:
        click.echo(f"Picture: {output}", err=aside)


def _load_array(path: str) -> Array:
    """Map an .npy file into memory; all that can be wrong with it is a ValueError with its name."""
    import numpy as np

    from bitterfly.files.replacing import as_regular_file

    with as_regular_file(sys.stdin.buffer if path == "-" else path) as regular:
        with open(regular, "rb") as file:
            magic = file.read(6)
        if magic != b"\x93NUMPY":
            found = ", but an .npz archive: extract one array" if magic[:2] == b"PK" else ""
            raise ValueError(f"{_label(path)}: not an .npy file{found}")
        try:
            array: Array = np.load(regular, mmap_mode="r", allow_pickle=False)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # NumPy lets its tokenizer's errors through as well
            raise ValueError(f"{_label(path)}: {error}") from error
    return array


def _label(path: str) -> str:
    return "standard input" if path == "-" else path


@contextmanager
def _blaming(argument: str, label: str) -> Iterator[None]:
    """Name the file where an error message begins with the argument that was read from it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if str(error).startswith(f"{argument}: "):
            raise ValueError(label + str(error).removeprefix(argument)) from error
        raise


def _load_operator(path: str) -> Any:
    from bitterfly.files.replacing import as_regular_file
    from bitterfly.files.storage import load

    if path != "-":
        return load(path)
    with as_regular_file(sys.stdin.buffer) as regular, _blaming(regular, _label(path)):
        return load(regular)


def _facts(op: Any) -> Iterator[tuple[str, str]]:
    m, n = op.shape
    dense = m * n * op.dtype.itemsize
    yield "shape", f"{m} x {n}"
    yield "dtype", str(op.dtype)
    yield from _factors(op)
    yield "relative error", f"{op.relative_error:.3g} ({op.error_kind})"
    yield "bytes", f"{op.nbytes:,} ({op.nbytes / dense:.3%} of the dense {dense:,}; {_per_entry(op)})"
    yield "bits", in_words(op.mean_bits, op.bits_per_number)
    for at, term in enumerate(op.members, 1):
        yield f"{'term' if op.kind == 'sum' else 'member'} {at}", f"{term.nbytes:,} bytes"
        yield "  bits", in_words(term.mean_bits, term.bits_per_number)
        yield from ((f"  {name}", fact) for name, fact in _factors(term))


def _factors(op: Any) -> Iterator[tuple[str, str]]:
    from bitterfly.operators.butterfly import Butterfly, PackedButterfly
    from bitterfly.operators.dense import DenseOperator

    if isinstance(op, DenseOperator):
        yield "kind", "dense codes"
        yield "codes", f"{op.codes.name}: " + ", ".join(_rates(op.codes.half_bits.tolist())) + " blocks of columns"
        yield "rotated", " and ".join(_sides(*op.rotations[::-1])) or "no"
        return
    if not isinstance(op, Butterfly):
        yield "kind", f"{op.kind} of {len(op.members)} operators" if op.members else op.kind
        return
    codes = op.codes if isinstance(op, PackedButterfly) else None
    yield "kind", "float factors" if codes is None else "packed codes"
    yield "mode", op.mode
    yield "factors", str(len(op.chain)) + (", square dyadic" if op.chain.is_square_dyadic else "")
    if not op.chain.is_square_dyadic:
        yield "patterns", " ".join(map(_pattern, op.chain))
        yield "ranks", " ".join(map(str, op.chain.ranks)) or "none"
        if op.shape != op.chain.shape:
            yield "padded to", "{} x {}".format(*op.chain.shape)
    if codes is not None:
        tiled = codes[0].what.is_tiled
        yield "codes", ", ".join(_runs(codes)) + ("; bits a number" if tiled else "; bits a column")
    yield "permuted", " and ".join(_sides(*op.permutations)) or "no"


def _pattern(pattern: tuple[int, ...]) -> str:
    return "({},{},{},{})".format(*pattern)


def _per_entry(op: Any) -> str:
    return f"{op.bits_per_entry:.3g} bits per matrix entry"


def _runs(codes: Sequence[Code]) -> Iterator[str]:
    for (kind, bits), same in groupby(codes):
        count = len(list(same))
        yield f"{kind}:{bits}" + (f" x {count}" if count > 1 else "")


def _rates(half_bits: Sequence[int]) -> Iterator[str]:
    for rate in sorted(set(half_bits)):
        yield f"{rate / 2:g} bits x {half_bits.count(rate)}"


def _sides(rows: Any, columns: Any) -> list[str]:
    return [name for name, order in (("rows", rows), ("columns", columns)) if order is not None]


if __name__ == "__main__":
    main()
