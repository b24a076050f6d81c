"""Operators in safetensors files, and back (docs/storage.md)."""
