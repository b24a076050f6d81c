"""Puts generated tables between the markers of a page; all else on it is written by hand."""

from __future__ import annotations

import re
from pathlib import Path

END = "<!-- end -->"


def begin(name: str) -> str:
    return f"<!-- begin: {name} -->"


def names(text: str) -> list[str]:
    """The names of the places, in their order."""
    return re.findall(r"<!-- begin: (.*?) -->", text)


def filled(text: str, name: str, content: str) -> str:
    """The text with the content in the place of this name; there is exactly one."""
    if text.count(begin(name)) != 1:
        raise ValueError(f"expected one {begin(name)}, found {text.count(begin(name))}")
    head, rest = text.split(begin(name))
    old, mark, tail = rest.partition(END)
    if not mark or names(old):
        raise ValueError(f"{begin(name)} has no {END} of its own")
    return f"{head}{begin(name)}\n\n{content}\n\n{mark}{tail}"


def fill(page: Path, contents: dict[str, str]) -> None:
    """Write those contents for which the page has a place."""
    text = page.read_text()
    for name in names(text):
        if name in contents:
            text = filled(text, name, contents[name])
    page.write_text(text)
