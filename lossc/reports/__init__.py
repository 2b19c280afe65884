"""What people read about a compiled program: what fused and why, all levels as files, and a picture."""
