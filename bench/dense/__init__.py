"""Benchmarks of dense matrices in few bits: errors on trained weights, other formats, products."""
