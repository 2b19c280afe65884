"""The `lossc` command."""
