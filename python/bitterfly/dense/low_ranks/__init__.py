"""Matrices of low rank in window codes: which triples take how many bits, and their two factors in these."""
