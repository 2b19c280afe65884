"""What a compiled program does, in numbers that do not depend on how fast a machine is."""
