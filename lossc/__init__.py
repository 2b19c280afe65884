"""lossc: a compiler for loss graphs that emits OpenCL."""
