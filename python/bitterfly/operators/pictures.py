"""Pictures of chains: the rank of each junction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_ranks(op: Any, ax: Axes | None = None) -> Axes:
    """Draw the rank of each junction beside the largest rank that its blocks allow.

    Parameters
    ----------
    op : ButterflyOperator or PackedButterfly
    ax : matplotlib Axes, optional
        Default: the current axes of pyplot.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    ax = axes_of(ax)
    chain = op.chain
    (m, n), ranks = chain.shape, np.array(chain.ranks, int)
    rows = m // np.array([pattern[3] for pattern in list(chain)[:-1]], int)
    columns = n // np.array([pattern[0] for pattern in list(chain)[1:]], int)
    ax.bar(np.arange(1, len(ranks) + 1), ranks, color="tab:blue")
    ax.set_xticks(np.arange(1, len(ranks) + 1), [f"{b}x{w}" for b, w in zip(rows, columns, strict=True)], rotation=60)
    ax.tick_params("x", labelsize=7)
    ax.set_xlabel("size of the blocks")
    ax.set_ylabel("rank")
    ax.set_title(f"{op.shape[0]} x {op.shape[1]}, {len(chain)} factors, error {op.relative_error:.1e}", fontsize=9)
    return ax


def axes_of(ax: Axes | None) -> Axes:
    """Return the axes given, or the current ones of pyplot."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.gca()
