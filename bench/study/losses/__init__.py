"""Errors of matrices, what a network loses by them, and the laws between both."""
