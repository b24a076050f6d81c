"""Supports of factors: patterns to chains, and what happens where two factors meet."""
