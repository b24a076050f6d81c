"""Files that appear, or replace older ones, only once they are complete; streams, which are read and written whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

Path = str | os.PathLike[str]

_STANDARD_OUTPUTS = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@contextmanager
def replacing(path: Path, folder: str | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, or in this folder, and let it take its place if the block succeeds."""
    target = _target(path)
    temporary = os.path.join(folder or os.path.dirname(target), f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = os.fspath(path)
            del error.filename2  # None would be shown
        raise


def _target(path: Path) -> str:
    """Return the file that `path` leads to, through links; an OSError where it is there and no regular file."""
    target = os.path.realpath(os.fspath(path))
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
    return target


# ---- what the command line reads and writes ----


def is_standard_output(path: Path) -> bool:
    """Whether `path` stands for standard output: "-" and the names that the system has for it."""
    return os.fspath(path) in _STANDARD_OUTPUTS


def _is_stream(path: str) -> bool:
    """Whether `path` is standard output, a pipe or a device, which is written to, not replaced."""
    with suppress(OSError):
        mode = os.stat(path).st_mode
        return is_standard_output(path) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return is_standard_output(path)


def check_target(path: str, inputs: Sequence[str] = ()) -> None:
    """Find out before the work whether `path` can be written, by a file that comes and goes in its directory.

    Raises
    ------
    ValueError
        Where it is one of the inputs, by whatever name, or a terminal.
    OSError
        Where its directory is missing or not writable, or it is a directory.
    """
    if is_standard_output(path) and sys.stdout.isatty():
        raise ValueError("standard output is a terminal; name a file, or pipe it into a command")
    if _is_stream(path):
        return
    target = _target(path)
    for name in inputs:
        with suppress(OSError):  # one of them is not there
            if os.path.samefile(name, path):
                raise ValueError(f"{path}: is the input {name} itself, which would be lost; name another file")
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(target)):
            pass
    except OSError as error:
        error.filename = path
        raise


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """Open `path` for writing: a stream at once, a file as `replacing` does."""
    if not _is_stream(path):
        with replacing(path) as file:
            yield file
    elif is_standard_output(path):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with open(path, "wb") as file:
            yield file


@contextmanager
def as_regular_file(source: Path | BinaryIO) -> Iterator[str]:
    """Give the name of a regular file with the contents of `source`: itself, or a copy of a stream, read to its end."""
    if not isinstance(source, (str, os.PathLike)):
        with _spooled(source) as copy:
            yield copy
        return
    with open(source, "rb") as file:  # what is missing or no file is Python's OSError, with its name
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            with _spooled(file) as copy:
                yield copy
            return
    yield os.fspath(source)


@contextmanager
def _spooled(stream: BinaryIO) -> Iterator[str]:
    with tempfile.NamedTemporaryFile() as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        yield copy.name
