"""From a source to float factors with their error (docs/general.md)."""
