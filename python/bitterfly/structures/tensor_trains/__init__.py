"""Tensor trains: their operator and its cores, from matrices, from entries, of tables, and how far two are apart."""
