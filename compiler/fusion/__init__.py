"""What becomes one kernel: groups of operations, and the schedule of each."""
