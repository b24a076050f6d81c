"""The commands of whole models: compress a file, say what is in one, and back to a plain file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import click

from bitterfly.commands.console import progress_bars

if TYPE_CHECKING:
    from bitterfly.models.loaded import CompressedModel, Unit

_input_path = click.Path()
_output_path = click.Path(dir_okay=False)
_plot_option = click.option("--plot", type=_output_path, help="Picture of bytes, bits and errors (needs matplotlib).")


@click.group(short_help="Compress a model, look at it, write it back.", no_args_is_help=True)
def model() -> None:
    """Compress all matrices of a model in a safetensors file, each in as many bits as it needs.

    \b
    Examples:
      bitterfly model compress model.safetensors -o small.safetensors --ratio 0.25
      bitterfly model info small.safetensors
      bitterfly model expand small.safetensors -o back.safetensors
    """


@model.command()
@click.argument("given", metavar="IN", type=_input_path)
@click.option("-o", "--output", type=_output_path, required=True, help="File to write.")
@click.option("--ratio", type=float, help="Share of the bytes of all tensors in half precision.")
@click.option("--nbytes", type=click.IntRange(min=1), help="Instead of --ratio: at most so many bytes.")
@click.option("--rtol", type=float, help="Instead of these: largest relative error of each matrix.")
@click.option("--moments", type=_input_path, help="Second moments of inputs, a file of bitterfly.models.save_moments.")
@click.option(
    "--structure",
    type=click.Choice(["auto", "dense"]),
    default="auto",
    show_default=True,
    help="What matrices may become: the best of all, or dense codes.",
)
@click.option("--low-rank", is_flag=True, help="Dense codes, or factors of low rank in codes: for 1.5 bits and less.")
@click.option("--workers", type=int, help="Matrices that are coded at a time. Default: as many as there are cores.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn at random.")
@_plot_option
@click.option(
    "--progress/--no-progress", "wanted", default=None, help="Show progress on stderr. Default: only on a terminal."
)
def compress(
    given: str,
    output: str,
    ratio: float | None,
    nbytes: int | None,
    rtol: float | None,
    moments: str | None,
    structure: Literal["auto", "dense"],
    low_rank: bool,
    workers: int | None,
    seed: int,
    plot: str | None,
    wanted: bool | None,
) -> None:
    """Compress the model IN: a safetensors file, the index of several, or a folder with one of these.

    \b
    Examples:
      bitterfly model compress model.safetensors -o small.safetensors --ratio 0.25
      bitterfly model compress model.safetensors -o small.safetensors --ratio 0.06 --low-rank
      bitterfly model compress folder -o small.safetensors --rtol 0.06 --plot small.png

    Matrices that are done lie in a folder OUTPUT.parts until all are: the same command, given again
    after an interruption, goes on with these and ends with the same file.
    """
    if sum(x is not None for x in (ratio, nbytes, rtol)) != 1:
        raise click.UsageError("give one of --ratio, --nbytes and --rtol, for example --ratio 0.25")
    from bitterfly.files.replacing import check_target
    from bitterfly.models import compress_model, load_moments

    if plot is not None:
        check_target(plot, [given])
        if os.path.realpath(plot) == os.path.realpath(output):
            raise click.UsageError(f"--plot: {plot} is the output itself; name another file")
    asked: dict[str, Any] = {"ratio": ratio, "nbytes": nbytes, "rtol": rtol}
    asked["structure"] = ["low_rank", "dense"] if low_rank else structure
    asked |= {"workers": workers, "rng": seed, "moments": None if moments is None else load_moments(moments)}
    with progress_bars(wanted) as progress:
        small = compress_model(given, output, progress=progress, **asked)
    _echo(small)
    click.echo(f"written         {output}, {os.path.getsize(output):,} bytes")
    _draw(small, plot)


@model.command()
@click.argument("file", metavar="FILE", type=_input_path)
@_plot_option
def info(file: str, plot: str | None) -> None:
    """Say of each tensor in FILE what it is, in how many bits, and how it errs."""
    from bitterfly.files.replacing import check_target
    from bitterfly.models import load

    if plot is not None:
        check_target(plot, [file])
    small = load(file)
    _echo(small)
    _draw(small, plot)


@model.command()
@click.argument("file", metavar="FILE", type=_input_path)
@click.option("-o", "--output", type=_output_path, required=True, help="File to write.")
def expand(file: str, output: str) -> None:
    """Write the model in FILE as a plain safetensors file, in the types and shapes that it had."""
    from bitterfly.files.replacing import check_target
    from bitterfly.models import expand as expand_model

    check_target(output, [file])
    expand_model(file, output)
    click.echo(f"written         {output}, {os.path.getsize(output):,} bytes")


def _echo(small: CompressedModel) -> None:
    rows = [("tensor", "shape", "kind", "stored as", "bytes", "bits", "error", "in metric"), *_rows(small)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{x:<{w}}" if at < 4 else f"{x:>{w}}" for at, (x, w) in enumerate(zip(row, widths, strict=True))]
        click.echo("  ".join(cells).rstrip())
    share = f"{small.nbytes / max(small.half_nbytes, 1):.2%} of {small.half_nbytes:,} in half precision"
    click.echo(f"bytes           {small.nbytes:,} ({share})")


def _rows(small: CompressedModel) -> Iterator[tuple[str, ...]]:
    for name in small:
        units = small.units(name)
        shape, kind = "x".join(map(str, small.shape(name))) or "scalar", small.kind(name)
        for unit in units:
            rows = "" if len(units) == 1 else f"[{unit.rows[0]}:{unit.rows[1]}]"
            stored = small.dtype(name) if kind == "plain" else unit.structure
            printable = "".join(c if c.isprintable() else "?" for c in name)
            yield printable + rows, shape, kind, stored, f"{unit.nbytes:,}", f"{unit.bits:.3g}", *_errors(kind, unit)


def _errors(kind: str, unit: Unit) -> tuple[str, str]:
    if kind == "plain":
        return "", ""
    return f"{unit.relative_error:.3g}", "" if unit.metric_error != unit.metric_error else f"{unit.metric_error:.3g}"


def _draw(small: CompressedModel, path: str | None) -> None:
    if path is None:
        return
    from bitterfly.files.replacing import written

    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        click.echo("For the picture, install matplotlib: pip install 'bitterfly[plot]'")
        return
    from bitterfly.plots import plot_model

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    plot_model(small, figure)
    with written(path) as file:
        figure.savefig(file, format="png", dpi=120)
    click.echo(f"picture         {path}")
