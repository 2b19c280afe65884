"""The agreement matrix: every loss, on every strategy and edge shape, gives the same numbers at every level.

    interpreter in float64 = simulated kernels = each OpenCL device

within a bound that is computed for the very program that runs (`bounds`). `cases` says what can vary, `covering`
picks few cases that have every pair of choices, `agree` runs one, `python -m tests.agreement` runs as many as wished.
A new loss or strategy joins by itself: operands and attributes are found by asking the operation what it accepts.
"""
