"""From a source to the smallest operator of an error, or the least error of given bytes."""
