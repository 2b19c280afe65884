"""What strategies over rows share: the passes over a row, the loops of a pass, and what a row leaves behind."""
