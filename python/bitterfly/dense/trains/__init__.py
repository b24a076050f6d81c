"""Tensor trains to codes: what their cores can be stored as, the plans of that, and the best train of these."""
