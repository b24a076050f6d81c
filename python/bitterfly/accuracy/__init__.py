"""How an error is known: bounds, measurements, samples, and what a change adds (docs/accuracy.md)."""
