"""Benchmarks of codes: errors, bits and times, beside published numbers."""
