"""Structures beside butterflies."""
