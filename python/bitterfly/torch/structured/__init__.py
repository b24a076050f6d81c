"""Layers of a structure, which learn and are exported."""
