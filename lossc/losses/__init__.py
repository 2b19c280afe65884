"""The losses as users of NumPy and PyTorch know them: names, arguments and rules, as a table."""
