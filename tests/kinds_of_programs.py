"""One program of every kind that the compiler makes: what each command and method must be able to look into."""

from __future__ import annotations

from collections.abc import Mapping

SPLIT = """\
func @f(%x: f32[N, 6], %w: f32[10, 6], %t: i32[N]) -> (%loss: f32[1], %gx: f32[N, 6], %gw: f32[10, 6]) {
  %loss = linear_cross_entropy_loss %x, %w, %t {memory_budget = 700}
  %gx, %gw = grad %loss, %x, %w
  return %loss, %gx, %gw
}
"""

# The mean's divisor is known at the end: the gradient takes a second turn over the pieces.
SPLIT_TWICE = """\
func @f(%x: f32[N, 6], %w: f32[10, 6], %t: i32[N], %b: f32[10], %cw: f32[10]) -> (%loss: f32[1], %g: f32[10]) {
  %loss = linear_cross_entropy_loss %x, %w, %t, %b, %cw {memory_budget = 700, label_smoothing = 0.1}
  %g = grad %loss, %cw
  return %loss, %g
}
"""

DROPOUT = """\
func @f(%x: f32[N, 6], %w: f32[6, 6], %key: i64[]) -> (%loss: f32[1], %gw: f32[6, 6]) {
  %y = linear %x, %w
  %kept = dropout %y, %key {p = 0.5}
  %loss = l2_loss %kept
  %gw = grad %loss, %w
  return %loss, %gw
}
"""

TWO_DTYPES = """\
func @f(%x: f32[N, 6], param %w: f16[6, 6], param %b: f32[6]) -> (%loss: f32[1], %gw: f16[6, 6], %gb: f32[6]) {
  %half = cast %x {dtype = f16}
  %y = linear %half, %w
  %wide = cast %y {dtype = f32}
  %all = broadcast %b {dims = [1], shape = [N, 6]}
  %z = add %wide, %all
  %h = relu %z
  %loss = l2_loss %h
  %gw, %gb = grad %loss, %w, %b
  return %loss, %gw, %gb
}
"""

NO_KERNELS = """\
func @f(%x: f32[N, 6]) -> (%y: f32[N, 2, 3]) {
  %y = reshape %x {shape = [N, 2, 3]}
  return %y
}
"""

SEVERAL_OUTPUTS = """\
func @f(%x: f32[N, 6], %t: i32[N]) -> (%rows: f32[N], %same: f32[N], %total: f32[1], %p: f32[N, 6], %x2: f32[N, 6]) {
  %rows = cross_entropy_loss %x, %t {reduction = "none"}
  %sum = reduce_sum %rows {axes = [0]}
  %total = reshape %sum {shape = [1]}
  %p = softmax %x
  return %rows, %rows, %total, %p, %x
}
"""

CALLS = """\
func @f(%x: f32[N, 6], %w: f32[6, 6]) -> (%loss: f32[1], %gx: f32[N, 6]) {
  %a = call @layer(%x, %w)
  %b = call @layer(%a, %w)
  %loss = l2_loss %b
  %gx = grad %loss, %x
  return %loss, %gx
}

func @layer(%x: f32[B, C], %w: f32[D, C]) -> (f32[B, D]) {
  %y = linear %x, %w
  %z = tanh %y
  return %z
}
"""

KERNELS_BY_HAND = """\
func @f(%x: f32[N, 6]) -> (%p: f32[N, 6], %largest: f32[N]) {
  %e, %largest = launch @exponentials(%x)
  %p = launch @shares(%e)
  return %p, %largest
}

kernel @exponentials(%x: f32[N, 6]) -> (f32[N, 6], f32[N]) {
  %m = reduce_max %x {axes = [1]}
  %wide = broadcast %m {dims = [0], shape = [N, 6]}
  %d = sub %x, %wide
  %e = exp %d
  return %e, %m
}

kernel @shares(%e: f32[N, 6]) -> (f32[N, 6]) {
  %s = reduce_sum %e {axes = [1]}
  %wide = broadcast %s {dims = [0], shape = [N, 6]}
  %p = div %e, %wide
  return %p
}
"""

# What is carried from piece to piece is read through a view of it; of what a piece leaves, a choice is made.
REPEAT_BY_HAND = """\
func @f(%x: f32[N, 6]) -> (%s: f32[2, 3], %r: f32[N]) {
  %s, %k = repeat @piece(%x) {rows = [N], step = "R", start = "S", carried = 1, budget = 1}
  %negative = lt %k, 0.0
  %r = select %negative, 0.0, %k
  return %s, %r
}

func @piece(%x: f32[R, 6], %before: f32[2, 3]) -> (f32[2, 3], f32[R]) {
  %view = reshape %before {shape = [3, 2]}
  %columns = reduce_max %view {axes = [0]}
  %both = reduce_sum %columns {axes = [0]}
  %known = mul %both, 0.5
  %n = size {of = [S]}
  %first = eq %n, 0
  %before_this = select %first, 0.0, %known
  %here = reduce_sum %x {axes = [0, 1]}
  %sum = add %before_this, %here
  %all = broadcast %sum {dims = [], shape = [2, 3]}
  %k = reduce_sum %x {axes = [1]}
  return %all, %k
}
"""

CHECKS = """\
func @f(%x: f32[N, 6], %t: f32[N, 6]) -> (%loss: f32[1], %g: f32[N, 6]) {
  %loss = bce_loss %x, %t
  %g = grad %loss, %x
  return %loss, %g
}
"""

KINDS: Mapping[str, str] = {
    "split": SPLIT,
    "split twice": SPLIT_TWICE,
    "dropout": DROPOUT,
    "two dtypes": TWO_DTYPES,
    "no kernels": NO_KERNELS,
    "several outputs": SEVERAL_OUTPUTS,
    "calls": CALLS,
    "kernels by hand": KERNELS_BY_HAND,
    "repeat by hand": REPEAT_BY_HAND,
    "checks": CHECKS,
}
