"""Devices, the build cache, memory and execution."""
