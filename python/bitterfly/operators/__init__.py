"""What users hold: stores as SciPy linear operators, sums and stacks of them."""
