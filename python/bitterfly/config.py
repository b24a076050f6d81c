"""Which bitterfly this is: version, compiler, instruction sets."""

from __future__ import annotations

from bitterfly import _core

__version__ = "0.1.0"


def show_config() -> dict[str, object]:
    """Return the facts of this build and machine.

    Returns
    -------
    dict
        ``version``, ``compiler``, ``x86_tiers`` (whether they were built), ``available_isas`` (tiers that this CPU can
        run, best first) and ``isa`` (the tier in force).

    Raises
    ------
    ValueError
        Where the environment variable ``BITTERFLY_ISA`` names no tier that this CPU can run.
    """
    return {"version": __version__, **_core.config(), "isa": _core.active_isa()}
