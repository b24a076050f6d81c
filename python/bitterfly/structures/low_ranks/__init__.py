"""Matrices of low rank: singular triples, chosen rows and columns, sums of Kronecker products."""
