"""Dense matrices in memory: window codes, the tiles that kernels read, rotations."""
