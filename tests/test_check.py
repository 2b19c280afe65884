"""The checkers of kernels and programs: every rule has a text that breaks it alone, and says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_texts import ALL, GROUP_SUM, PRIVATE_ROW, ROW_CROSS_ENTROPY, changed, kernel

from lossc.compiler.checks.kernel import check_kernel, kernel_problems
from lossc.ir.arithmetic import index_var, integer
from lossc.ir.diagnostics import CompilerBug
from lossc.ir.kernel import (
    Apply,
    Assign,
    BufferArgument,
    Const,
    Expr,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Store,
    Var,
    WorkItem,
)
from lossc.ir.target import CPU_AVX512, GPU_GENERIC, OCLGRIND, PRESETS

ROWS = ROW_CROSS_ENTROPY


@pytest.mark.parametrize("device", PRESETS)
@pytest.mark.parametrize("name", ["row_cross_entropy", "group_sum"])
def test_right_kernels_have_no_problems(name: str, device: str) -> None:
    check_kernel(kernel(ALL[name]), PRESETS[device])


def test_stores_past_the_cache_depend_on_the_device() -> None:
    assert kernel_problems(kernel(PRIVATE_ROW), CPU_AVX512) == []
    (problem,) = kernel_problems(kernel(PRIVATE_ROW), OCLGRIND)
    assert problem.endswith("stores past the cache are not known to work on Oclgrind Simulator")


# The text with one change, and the words of the only problem that it has.
BROKEN = {
    "width of a variable": (ROWS, "let %p: f32x16", "let %p: f32x8", "p is of type f32x8"),
    "width of a value": (ROWS, "= -inf:f32x16", "= -inf:f32x8", "the value of type f32x8"),
    "vector of 3": (ROWS, "store %loss", "let %v: f32x3 = 0.0:f32x3\n store %loss", "3 is no width"),
    "missing splat": (ROWS, "splat(%m):f32x16)", "%m):f32x16", "operands of one width"),
    "splat of a vector": (ROWS, "splat(%m)", "splat(%largest)", "splat makes a vector of a scalar"),
    "mixed types": (ROWS, "lt(cast(%label):i64, %C)", "lt(%label, %C):bool", "`lt` does not take"),
    "wrong result type": (ROWS, "%C))\n  if", "%C)):i32\n  if", "`and` gives bool here, not i32"),
    "mask as a number": (ROWS, "%sums := add(%sums, select(%fresh, %e, 0.0:f32x16))",
                         "%sums := add(%sums, %fresh):f32x16", "`add` does not take"),
    "number as a mask": (ROWS, "select(%fresh, %e, 0.0:f32x16)", "select(%e, %e, 0.0:f32x16):f32x16",
                         "`select` does not take"),
    "number as a condition": (ROWS, "if not(%valid)", "if %rest", "the condition is of type i64"),
    "vector as a condition": (ROWS, "if not(%valid)", "if %fresh", "the condition is of type boolx16"),
    "unknown operation": (ROWS, "exp(sub(%x[%tail]:f32x16, splat(%log_sum):f32x16))",
                          "exq(%x[%tail]:f32x16):f32x16", "`exq` is no pointwise operation"),
    "number of operands": (ROWS, "not(%valid)", "not(%valid, %valid):bool", "`not` takes 1 operands"),
    "fma of integers": (ROWS, "mul(%row, %C)", "fma(%row, %C, 0):i64", "operands of one float type"),
    "modulo of floats": (ROWS, "add(%m, log(reduce_add(%sums)))", "mod(%m, %m):f32",
        "operands of one integer type"),
    "half in a register": (ROWS, "store %loss", "let %h: f16 = cast(1.0):f16\n store %loss",
        "f16 is no type"),
    "index that is not i64": (ROWS, "store %loss[%row]", "store %loss[%label]", "an index is i64, found i32"),
    "fewer indices than lanes": (PRIVATE_ROW, "div(%kept[%at], splat(%scale):f32x4)", "%kept[%at]:f32x8",
        "4 indices for 8 lanes"),
    "wrong type of a load": (ROWS, "%labels[%row]", "%labels[%row]:f32", "loaded as f32"),
    "wrong type of a store": (ROWS, "store %loss[%row] = sub(%log_sum, %x[add(%base, %safe)])",
                              "store %loss[%row] = %label", "loss holds f32, the value is i32"),
    "load of what is written": (ROWS, "%x[add(%base, %safe)])\n", "%g[add(%base, %safe)])\n",
        "g is only written"),
    "store to what is read": (ROWS, "store %g[%tail]", "store %x[%tail]", "x is only read"),
    "store to nothing": (ROWS, "store %g[%tail]", "store %h[%tail]", "no buffer h"),
    "load from nothing": (ROWS, "%labels[%row]", "%label[%row]:i32", "no buffer label"),
    "variable before it is bound": (ROWS, "mul(%row, %C)", "mul(%rest:i64, %C)", "rest is not bound here"),
    "variable of an inner block": (ROWS, "store %loss[%row]", "store %loss[%j:i64]", "j is not bound here"),
    "variable of another type": (ROWS, "store %loss[%row]", "store %loss[cast(%m:i64):i64]",
        "m is of type f32"),
    "bound twice": (ROWS, "let %rest: i64", "let %whole: i64 = 3\n  let %rest: i64",
        "whole is bound already"),
    "bound in an outer block": (ROWS, "let %e: f32x16", "let %row: i64 = 3\n    let %e: f32x16",
        "row is bound"),
    "named like a buffer": (ROWS, "let %rest: i64", "let %g: i64 = 3\n  let %rest: i64",
        "g is bound already"),
    "assigned let": (ROWS, "store %loss[", "%rest := 3\n  store %loss[", "rest is no `var`"),
    "assigned loop counter": (ROWS, "prefetch", "%j := 3\n    prefetch", "j is no `var`"),
    "assigned argument": (ROWS, "store %loss[", "%C := 3\n  store %loss[", "C is no `var`"),
    "assigned with another type": (ROWS, "  %sums := add(%sums, select(",
        "  %sums:f32 := reduce_add(select(",
                                   "sums is declared as f32x16"),
    "loop over another type": (ROWS, "for %j in [0, %whole)", "for %j in [0:i32, %whole)", "counts in i64"),
    "loop that never ends": (ROWS, "step 16", "step -16", "never ends"),
    "loop that changes its bound": (GROUP_SUM, "%C) step 8 {", "cast(%sum):i64) step 8 {",
        "the body changes sum"),
    "atomic on floats": (ROWS, "atomic_min %status", "atomic_min %loss", "no i32 buffer"),
    "atomic on what is read": (ROWS, "atomic_min %status", "atomic_min %labels", "no i32 buffer"),
    "atomic of i64": (ROWS, "= cast(%row):i32", "= %row", "value i32: i64, i64"),
    "prefetch of nothing": (ROWS, "prefetch %x", "prefetch %y", "y is no buffer"),
    "prefetch of no level": (ROWS, "level 2", "level 9", "a level from 1 to 3"),
    "scalar past the cache": (ROWS, "store %loss", "store nontemporal %loss", "only whole vectors"),
    "array past the cache": (PRIVATE_ROW, "store %kept", "store nontemporal %kept", "only whole vectors"),
    "integer out of range": (ROWS, "ge(%label, 0:i32)", "ge(%label, 3000000000:i32)", "is no i32"),
    "fraction as an integer": (ROWS, "ge(%label, 0:i32)", "ge(%label, 0.5:i32)", "0.5 is no i32"),
    "infinite integer": (ROWS, "ge(%label, 0:i32)", "ge(%label, inf:i32)", "inf is no i32"),
    "iota of floats": (ROWS, "splat(%m):f32x16", "iota():f32x16", "iota is a vector of integers"),
    "reduced scalar": (ROWS, "log(reduce_add(%sums))", "reduce_add(%m)",
        "reduces the lanes of a number vector"),
    "reduced mask": (ROWS, "let %label: i32", "let %any: bool = reduce_add(%fresh)\n  let %label: i32",
                     "`add` reduces the lanes of a number vector"),
    "divergent barrier": (GROUP_SUM, "if lt(%me, 4) {", "if lt(%me, 4) {\n barrier",
        "`if lt(%me, 4) {`: a barrier"),
    "barrier in a divergent loop": (GROUP_SUM, "%sum := add", "barrier\n %sum := add", "`for %j in"),
    "barrier under what was loaded": (GROUP_SUM, "  barrier\n  if eq(",
        "  if gt(%parts[0], 0.0) {\n barrier\n }\n if eq(",
                                      "a barrier inside"),
    "barrier under a variable": (GROUP_SUM, "  barrier\n  if eq(", """
      var %go: i64 = 0
      for %turn in [0, 2) step 1 {
        if eq(%go, 1) {
          barrier
        }
        %go := %me
      }
      if eq(""", "`if eq(%go, 1) {`"),
    "local memory": (GROUP_SUM, "f32[8]", "f32[8193]", "32772 bytes of local memory"),
    "size of the group": (GROUP_SUM, "local_size 8", "local_size 2048", "work-groups of 2048"),
    "empty group": (GROUP_SUM, "local_size 8", "local_size 0", "work-groups of 0"),
    "empty array": (GROUP_SUM, "f32[8]", "f32[0]", "array parts has 0 elements"),
    "two things of one name": (GROUP_SUM, "write %y", "write %C", "2 arguments or arrays are called C"),
    "kernel called float": (GROUP_SUM, "@group_sum", "@float", "cannot be the name of a kernel"),
    "kernel with a dot": (GROUP_SUM, "@group_sum", "@group.sum", "cannot be the name of a kernel"),
    "name of any kind": (GROUP_SUM, "let %row", 'let %"a b": i64 = 0\n let %row', "is no name"),
    "type of a buffer": (GROUP_SUM, "write %y: f32", "write %y: f33", "unknown type f33"),
    "scalar of half": (GROUP_SUM, "scalar %C: i64", "scalar %C: i64, scalar %D: f16",
        "scalar D has type f16"),
    "vector scalar": (GROUP_SUM, "scalar %C: i64", "scalar %C: i64, scalar %D: f32x4",
        "scalar D has type f32x4"),
    "f64 buffer": (GROUP_SUM, "read %x: f32", "read %z: f64, read %x: f32", "GPU has no f64"),
    "f64 value": (GROUP_SUM, "%parts[1])", "cast(exp(cast(%parts[1]):f64)):f32)", "GPU has no f64"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernel(name: str) -> None:
    text, old, new, words = BROKEN[name]
    device = CPU_AVX512 if text is PRIVATE_ROW else GPU_GENERIC
    problems = kernel_problems(changed(text, old, new), device)
    assert problems
    assert words in problems[0]
    # A broken definition may show where it is used too, but nothing else is wrong.
    with pytest.raises(CompilerBug) as caught:
        check_kernel(changed(text, old, new), device)
    assert len(caught.value.diagnostics) == len(problems)


def test_argument_bytes() -> None:
    def made(buffers: int, scalars: int) -> Kernel:
        arguments = tuple(BufferArgument(f"b{i}", "f32", "read") for i in range(buffers))
        return Kernel("many", arguments, tuple(Var(f"s{i}", "i32") for i in range(scalars)), ())

    assert kernel_problems(made(128, 0), GPU_GENERIC) == []
    assert kernel_problems(made(127, 2), GPU_GENERIC) == []
    (problem,) = kernel_problems(made(127, 3), GPU_GENERIC)
    assert "1028 bytes of arguments" in problem


def test_line_break_in_a_comment() -> None:
    made = replace(kernel(GROUP_SUM), comment=("fine", "one\ntwo"))
    (problem,) = kernel_problems(made, GPU_GENERIC)
    assert "line break" in problem


def test_what_has_no_text() -> None:
    y = BufferArgument("y", "f32", "write")
    at, zero = integer(0), Const(0.0, "f32")
    assert (
        "no query `item`"
        in kernel_problems(Kernel("k", (y,), (), (Store("y", WorkItem("item"), zero),)), GPU_GENERIC)[0]
    )
    lanes = Reduce("xor", Const(0.0, "f32", 4))
    assert "not reduced by `xor`" in kernel_problems(Kernel("k", (y,), (), (Store("y", at, lanes),)), GPU_GENERIC)[0]
    odd = BufferArgument("y", "f32", "sometimes")
    assert "access sometimes" in kernel_problems(Kernel("k", (odd,), (), ()), GPU_GENERIC)[0]


def test_all_problems_are_reported_at_once() -> None:
    made = changed(GROUP_SUM, "store %y[%row]", "store %x[%me:i32]")
    assert len(kernel_problems(replace(made, name="while"), GPU_GENERIC)) == 4


def test_uniform_control_flow_may_hold_barriers() -> None:
    made = kernel("""
        kernel @turns(read %counts: i32, write %y: f32, scalar %n: i64) local_size 4 {
          local %shared: f32[4]
          var %limit: i64 = %n
          for %turn in [group_id(), min(%limit, cast(%counts[group_id()]):i64)) step group_count() {
            let %twice: i64 = mul(%turn, 2)
            if gt(%twice, 5) {
              store %shared[local_id()] = 1.0
              barrier
              store %y[global_id()] = %shared[sub(3, local_id())]
              barrier
            }
          }
        }""")
    assert kernel_problems(made, GPU_GENERIC) == []


def test_a_bound_that_the_kernel_stores_to() -> None:
    body = (Store("n", integer(0), integer(9)),)
    stop = Load("n", integer(0), "i64")
    made = Kernel(
        "k",
        (BufferArgument("n", "i64", "readwrite"),),
        (),
        (For(index_var("i"), integer(0), stop, integer(1), body),),
    )
    assert "the body stores to n" in kernel_problems(made, GPU_GENERIC)[0]


def test_deep_expressions() -> None:
    deep: Expr = integer(0)
    for _ in range(20_000):
        deep = Apply("add", (deep, integer(1)), "i64")
    made = Kernel("deep", (), (), (Let(index_var("a"), deep), Assign(index_var("a"), deep)))
    (problem,) = kernel_problems(made, GPU_GENERIC)
    assert problem.endswith("a is no `var`: it may not be assigned")
