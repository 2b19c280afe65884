"""The best kernels we could write by hand: what generated ones are measured against."""
