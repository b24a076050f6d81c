"""Where entries come from: anything that users hand in, as rows and blocks."""
