"""Networks of tests are small: one thread of torch a process."""

from __future__ import annotations

from contextlib import suppress

with suppress(ImportError, AttributeError):  # a folder of this name is no torch
    import torch

    torch.set_num_threads(1)
