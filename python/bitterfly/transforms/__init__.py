"""Exact butterflies of the fast transforms, and random ones."""

from bitterfly.transforms.fourier import dft, hadamard, idft, random
from bitterfly.transforms.trigonometric import dct, dst, hartley, idct, idst

__all__ = ["dct", "dft", "dst", "hadamard", "hartley", "idct", "idft", "idst", "random"]
