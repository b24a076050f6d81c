"""Benchmarks of products: times, instructions, and what the machine could do."""
