"""Tensor values as kernel expressions: how each operation is spelled, how partial results meet."""
