"""Factors and codes in memory, as kernels read them (docs/format.md)."""
