"""Benchmarks of factorizations: time, memory, errors and bytes, beside other packages."""
