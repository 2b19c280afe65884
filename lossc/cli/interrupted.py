"""The status of a command that was interrupted: also before the modules that commands are made of are there."""

INTERRUPTED = 130
"""What a shell gives for a command that SIGINT ended."""
