"""What every command shares: mistakes become one line and an exit status, and work shows its progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

Progress = Callable[[str, float], None]
_MISTAKES = (OSError, ValueError, TypeError, ArithmeticError, EOFError)


class Group(click.Group):
    """Turns what users get wrong into one line on stderr and an exit status."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command; alone, end the process with 0, 1 (refused) or 2 (misused)."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)  # type: ignore[call-overload]
        status = 0
        try:
            result = super().main(*args, standalone_mode=False, **extra)  # type: ignore[call-overload]
            status = result if isinstance(result, int) else 0
            sys.stdout.flush()
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except click.Abort:
            _fail("interrupted", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except MemoryError as error:
            _fail(f"not enough memory ({error})" if str(error) else "not enough memory", 1)
        except _MISTAKES as error:
            _fail(_one_line(error), 1)
        sys.exit(status)


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"bitterfly: error: {message}", err=True)
    sys.exit(status)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


@contextmanager
def progress_bars(wanted: bool | None) -> Iterator[Progress | None]:
    """Give a callback that draws one bar a stage on stderr; None where nobody looks."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield None
        return
    bars = _Bars()
    try:
        yield bars
    finally:
        bars.close()


class _Bars:
    """One progress bar a stage; ``bars(stage, fraction)`` starts and moves them."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, fraction: float) -> None:
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = click.progressbar(length=100, label=f"{stage:<12}", file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(round(100 * fraction) - self._bar.pos)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
            self._stage = ""
