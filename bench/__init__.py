"""Speed, side by side with hand-written kernels and torch. `python -m bench` prints the table."""
