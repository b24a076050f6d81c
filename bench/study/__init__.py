"""Studies whose pictures and tables the documentation shows."""
