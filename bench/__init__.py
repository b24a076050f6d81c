"""Benchmarks: one file a verb, peers in the same run, results asserted before they are timed."""
