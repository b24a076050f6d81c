"""Benchmarks: one file a verb, peers in the same run, results asserted before they are timed."""

import os

# Peers run on the kernels and block sizes that OpenBLAS itself takes for this CPU, not on those of the environment.
# It reads the names when NumPy is imported.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)
