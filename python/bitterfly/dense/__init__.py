"""Matrices without structure: to codes of any rate, in a metric or by themselves."""
