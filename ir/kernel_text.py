"""Kernels and programs as text: written by `print_...`, read back exactly by `parse_...`.

    /// softmax of each row, one work-item a row
    kernel @softmax(read %x: f32, write %y: f32, scalar %C: i64) {
      let %base: i64 = mul(global_id(), %C)
      var %m: f32x16 = -inf:f32x16
      for %j in [0, %C) step 16 {
        %m := max(%m, %x[add(%base, %j)]:f32x16)
      }
      ...

`%` marks variables, buffers and arrays. A type stands behind an expression where it is not what the parts
say: a constant is i64, f32 or bool, a load has the type of the buffer and the width of the index, an
operation what `kernel_ops.application_type` says. So a kernel that breaks the rules has a text too, and
can be shown to the checker. `///` lines are the kernel's comment, `//` comments are passed over.
"""

from __future__ import annotations

from .kernel_parser import parse_kernel
from .kernel_printer import print_kernel
from .program_text import parse_program, print_program

__all__ = ["parse_kernel", "parse_program", "print_kernel", "print_program"]
