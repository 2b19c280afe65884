"""Kernels written by hand, as text, and a program: what simulator, checkers and printers are tested on."""

from __future__ import annotations

from lossc.ir.arithmetic import at_least, index_var, integer, mul
from lossc.ir.kernel import Kernel
from lossc.ir.kernel_text import parse_kernel
from lossc.ir.program import Buffer, Check, Launch, Program, Step, Variant
from lossc.ir.types import Type, named

ROW_CROSS_ENTROPY = """\
/// loss and gradient of cross-entropy, one work-item a row, 16 lanes
/// the ragged end of a row is one more vector that overlaps the last
kernel @row_cross_entropy(
  read %x: f32, read %labels: i32, write %loss: f32, write %g: f32, readwrite %status: i32, scalar %C: i64
) {
  let %row: i64 = global_id()
  let %base: i64 = mul(%row, %C)
  let %whole: i64 = mul(div(%C, 16), 16)
  let %rest: i64 = mod(%C, 16)
  let %tail: i64 = add(%base, sub(%C, 16))
  let %fresh: boolx16 = ge(iota():i64x16, splat(sub(16, %rest)):i64x16)
  var %largest: f32x16 = -inf:f32x16
  for %j in [0, %whole) step 16 {
    prefetch %x[add(add(%base, %j), 256)] level 2
    %largest := max(%largest, %x[add(%base, %j)]:f32x16)
  }
  if gt(%rest, 0) {
    %largest := max(%largest, %x[%tail]:f32x16)
  }
  let %m: f32 = reduce_max(%largest)
  var %sums: f32x16 = 0.0:f32x16
  for %j in [0, %whole) step 16 {
    %sums := add(%sums, exp(sub(%x[add(%base, %j)]:f32x16, splat(%m):f32x16)))
  }
  if gt(%rest, 0) {
    let %e: f32x16 = exp(sub(%x[%tail]:f32x16, splat(%m):f32x16))
    %sums := add(%sums, select(%fresh, %e, 0.0:f32x16))
  }
  let %log_sum: f32 = add(%m, log(reduce_add(%sums)))
  let %label: i32 = %labels[%row]
  let %valid: bool = and(ge(%label, 0:i32), lt(cast(%label):i64, %C))
  if not(%valid) {
    atomic_min %status[0] = cast(%row):i32
  }
  let %safe: i64 = select(%valid, cast(%label):i64, 0)
  store %loss[%row] = sub(%log_sum, %x[add(%base, %safe)])
  for %j in [0, %whole) step 16 {
    let %p: f32x16 = exp(sub(%x[add(%base, %j)]:f32x16, splat(%log_sum):f32x16))
    store %g[add(%base, %j)] = %p
  }
  if gt(%rest, 0) {
    store %g[%tail] = exp(sub(%x[%tail]:f32x16, splat(%log_sum):f32x16))
  }
  store %g[add(%base, %safe)] = sub(exp(sub(%x[add(%base, %safe)], %log_sum)), 1.0)
}
"""

GROUP_SUM = """\
/// the sum of each row, one work-group of 8 a row
kernel @group_sum(read %x: f32, write %y: f32, scalar %C: i64) local_size 8 {
  local %parts: f32[8]
  let %row: i64 = group_id()
  let %me: i64 = local_id()
  var %sum: f32 = 0.0
  for %j in [%me, %C) step 8 {
    %sum := add(%sum, %x[add(mul(%row, %C), %j)])
  }
  store %parts[%me] = %sum
  barrier
  if lt(%me, 4) {
    store %parts[%me] = add(%parts[%me], %parts[add(%me, 4)])
  }
  barrier
  if lt(%me, 2) {
    store %parts[%me] = add(%parts[%me], %parts[add(%me, 2)])
  }
  barrier
  if eq(%me, 0) {
    store %y[%row] = add(%parts[0], %parts[1])
  }
}
"""

# A row is kept in private memory between two passes; rows of 4 lanes are loaded by index.
PRIVATE_ROW = """\
kernel @reverse_scaled(read %x: f32, write %y: f32) {
  private %kept: f32[8]
  let %base: i64 = mul(global_id(), 8)
  var %largest: f32x4 = 0.0:f32x4
  for %j in [0, 8) step 4 {
    let %v: f32x4 = %x[add(%base, %j)]:f32x4
    store %kept[%j] = %v
    %largest := max(%largest, abs(%v))
  }
  let %scale: f32 = reduce_max(%largest)
  for %j in [0, 8) step 4 {
    let %at: i64x4 = sub(splat(sub(7, %j)):i64x4, iota():i64x4)
    store nontemporal %y[add(%base, %j)] = div(%kept[%at], splat(%scale):f32x4)
  }
}
"""

ALL = {"row_cross_entropy": ROW_CROSS_ENTROPY, "group_sum": GROUP_SUM, "private_row": PRIVATE_ROW}


def kernel(text: str) -> Kernel:
    return parse_kernel(text)


def changed(text: str, old: str, new: str) -> Kernel:
    """The kernel with one mistake in it: the first `old` is `new`."""
    assert old in text
    return parse_kernel(text.replace(old, new, 1))


# A program of two kernels.

B, C = named("B"), named("C")

SCALE = kernel("""
    kernel @scale(read %x: f32, write %part: f32, readwrite %status: i32, scalar %C: i64) {
      let %row: i64 = global_id()
      var %sum: f32 = 0.0
      for %j in [0, %C) step 1 {
        let %v: f32 = %x[add(mul(%row, %C), %j)]
        if lt(%v, 0.0) {
          atomic_min %status[0] = cast(add(mul(%row, %C), %j)):i32
        }
        %sum := add(%sum, %v)
      }
      store %part[%row] = %sum
    }""")
FINISH = kernel("""
    kernel @finish(read %part: f32, write %total: f32, scalar %B: i64) {
      var %sum: f32 = 0.0
      for %row in [0, %B) step 1 {
        %sum := add(%sum, %part[%row])
      }
      store %total[0] = %sum
    }""")


def sum_program() -> Program:
    """The sum of a matrix of non-negative numbers; rows of one element take another variant."""
    b, c = index_var("B"), index_var("C")
    finish = Launch(FINISH, ("part", "total"), {"B": b}, integer(1))
    part = Buffer("part", "f32", b, "temporary")
    scale = Launch(SCALE, ("x", "part", "status"), {"C": c}, b)
    direct = Launch(FINISH, ("x", "total"), {"B": b}, integer(1))
    variants = (
        Variant("rows", (scale, finish), at_least(c, 2), (part,)),
        Variant("direct", (direct,)),
    )
    buffers = {
        "x": Buffer("x", "f32", mul(b, c), "input", (B, C)),
        "total": Buffer("total", "f32", integer(1), "output", (1,)),
        "seen": Buffer("seen", "f32", integer(1), "output", (), alias_of="total"),
        "status": Buffer("status", "i32", integer(1), "status"),
    }
    check = Check(0, {"code": "sign", "message": "no number may be negative"}, (B, C), "x")
    return Program(
        "sum", (("x", Type("f32", (B, C))),), (("total", Type("f32", (1,))), ("seen", Type("f32"))), buffers,
        (Step("sum", variants),), (check,), ("total", "seen"), ("B", "C"), input_buffers=("x",),
    )  # fmt: skip
