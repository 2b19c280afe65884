"""The rules of kernels and programs, checked before a driver sees anything."""
