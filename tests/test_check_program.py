"""The checker of programs: every rule has a program that breaks it, and says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_texts import sum_program

from lossc.compiler.checks.program import check_program, program_problems
from lossc.ir.arithmetic import index_var, integer
from lossc.ir.diagnostics import CompilerBug
from lossc.ir.kernel import Apply, Const
from lossc.ir.program import Buffer, Program, Step, Variant
from lossc.ir.types import Type


def _with_variants(program: Program, *variants: Variant) -> Program:
    return replace(program, steps=(Step("sum", variants),))


def _with_buffer(program: Program, buffer: Buffer) -> Program:
    return replace(program, buffers={**program.buffers, buffer.name: buffer})


def _broken_programs() -> dict[str, tuple[Program, str]]:
    program = sum_program()
    by_rows, direct = program.steps[0].variants
    first, finish = by_rows.launches
    x, total, status = (program.buffers[name] for name in ("x", "total", "status"))
    other_kernel = replace(finish.kernel, body=())

    def launch(**changes: object) -> Program:
        return _with_variants(program, replace(direct, launches=(replace(direct.launches[0], **changes),)))

    return {
        "no variant": (_with_variants(program), "step sum has no variant"),
        "guarded end": (_with_variants(program, by_rows), "the last variant, rows, has a guard"),
        "never taken": (_with_variants(program, direct, direct), "is never taken"),
        "guard of no truth": (_with_variants(program, replace(by_rows, guard=index_var("B")), direct),
        "not bool"),
        "unknown dimension": (launch(global_size=index_var("D")), "D, which is no dimension"),
        "size by exp": (launch(global_size=Apply("neg", (integer(3),), "i64")),
        "is not computed from integers"),
        "size of f32": (launch(global_size=Const(1.0, "f32")), "is not computed from integers"),
        "mixed size": (launch(global_size=Apply("add", (integer(3), integer(4)), "i32")),
        "gives i64, not i32"),
        "truth in a size": (
            launch(global_size=Apply("add", (integer(3), Apply("lt", (integer(1), integer(2)), "bool")),
        "i64")),
            "does not take"),
        "too few buffers": (launch(buffers=("x",)), "gives 1 of 2 buffers"),
        "unknown buffer": (launch(buffers=("x", "sum")), "unknown: ['sum']"),
        "buffer of another type": (launch(buffers=("status", "total")),
        "gives status of i32 for part of f32"),
        "scalars": (launch(scalars={}), "gives scalars [], it takes ['B']"),
        "store to an input": (launch(buffers=("total", "x")), "writes to the input x"),
        "one memory twice": (launch(buffers=("total", "seen")),
        "gives total, which it writes, under two names"),
        "two kernels of a name": (
            _with_variants(program, replace(by_rows, launches=(first, replace(finish,
        entry=other_kernel))), direct),
            "two kernels are called finish"),
        "role": (_with_buffer(program, replace(total, role="result")), "has role result"),
        "alias of nothing": (_with_buffer(program, replace(total, alias_of="sum")), "memory of sum"),
        "alias of itself": (_with_buffer(program, replace(total, alias_of="seen")), "memory of seen"),
        "name of a buffer": (replace(program, buffers={**program.buffers, "y": total}),
        "buffer total is called y"),
        "type of an input": (_with_buffer(program, replace(x, dtype="f64")), "input x: f32[B, C] has no such buffer"),
        "outputs": (replace(program, output_buffers=("total",)), "2 outputs and 1 buffers"),
        "type of an output": (
            replace(program, outputs=(("total", Type("f64", (1,))), program.outputs[1])),
        "has no such buffer"),
        "params": (replace(program, params=("w",)), "parameters that are no inputs: w"),
        "status words": (_with_buffer(program, replace(status, size=integer(2))),
        "1 checks need one status buffer"),
        "slots": (replace(program, checks=(replace(program.checks[0], slot=1),)), "share a word"),
        "value of a check": (
            replace(program, checks=(replace(program.checks[0], value_buffer="y"),)),
        "shows y, which is no buffer"),
    }  # fmt: skip


def test_right_program_has_no_problems() -> None:
    check_program(sum_program())


@pytest.mark.parametrize("name", _broken_programs())
def test_broken_program(name: str) -> None:
    program, words = _broken_programs()[name]
    problems = list(program_problems(program))
    assert any(words in problem for problem in problems), problems
    with pytest.raises(CompilerBug):
        check_program(program)
