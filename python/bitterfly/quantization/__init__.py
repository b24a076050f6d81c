"""From float factors to codes of given bits, error or bytes (docs/pipeline.md)."""
