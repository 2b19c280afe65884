"""Kernel IR to OpenCL C: the only folder that knows C."""
