"""Benchmarks of signed cuts."""
