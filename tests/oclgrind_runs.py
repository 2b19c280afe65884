"""Run GPU-shaped kernels on the device there is, for `test_oclgrind`: python -m oclgrind_runs WIDTH NUMBER [mistake]

Below oclgrind that device is its simulator, which complains on stderr of what no other device shows: reads of memory
that nobody wrote, accesses out of bounds, races, barriers that a part of a group misses. Every tensor has a buffer of
its own, so nothing hides an overflow. WIDTH is that of vectors, NUMBER the first of `CASES` to run, the only one where
WIDTH is 1. Prints how many runs there were and which gave wrong numbers. With a `mistake` the kernels have that one,
and no numbers are expected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from unittest import mock

import numpy as np
from agreement.agree import Problem
from agreement.cases import Sizing, parse_case

from lossc.compiler.opencl.printer import kernel_source
from lossc.compiler.strategies import row_parts
from lossc.ir.arithmetic import add, integer
from lossc.ir.kernel import Barrier, For, If, Kernel, Stmt, Store
from lossc.ir.program import Program
from lossc.ir.target import GPU_GENERIC, KIB
from lossc.runtime.device import select
from lossc.runtime.execute import Executable

WARPS = {"max_work_group_size": 32}
SMALL = {"max_work_group_size": 64}
LOCAL = {**SMALL, "register_file": 28 * KIB}
NOTHING = {**SMALL, "register_file": 4 * KIB, "local_memory": 4 * KIB}
TILES = {**WARPS, "local_memory": 2 * KIB}
"""GPUs that keep a vector of a row an item in registers and more in local memory, that keep none, and that go over a
long row tile by tile."""

CASES: tuple[tuple[str, str, Mapping[str, int]], ...] = (
    ("row-group", "cross_entropy_loss columns=100 target=i32:rows weight=x:classes ignore_index=1"
     " label_smoothing=0.1", {}),
    ("row-group", "cross_entropy_loss columns=37 gradient=upstream target=x:same reduction='none'", {}),
    ("row-group", "cross_entropy_loss columns=1000 target=u8:rows", LOCAL),
    ("row-group", "cross_entropy_loss columns=1000 target=u8:rows", NOTHING),
    ("row-group", "cross_entropy_loss columns=4096 rows=1 target=u8:rows label_smoothing=0.1", TILES),
    ("row-group", "bce_with_logits_loss columns=33 target=x:same weight=x:classes pos_weight=x:scalar", {}),
    ("row-group", "js_div_loss columns=67 q_logits=x:same", SMALL),
    ("row-group", "cosine_embedding_loss columns=132 x2=x:same t=x:rows", LOCAL),
    ("row-group", "softmax columns=any rows=any", SMALL),
    ("row-parts", "cross_entropy_loss columns=1000 rows=5 target=u8:rows label_smoothing=0.1", WARPS),
    ("row-parts", "js_div_loss columns=1000 rows=5 q_logits=x:same", WARPS),
    ("row-parts", "cross_entropy_loss columns=1003 rows=5 target=u8:rows label_smoothing=0.1", WARPS),
    ("pixel-item", "cross_entropy_loss columns=5 layout=middle target=u8:rows", SMALL),
    ("pixel-item", "dice_loss columns=31 layout=middle t=x:same from_logits=True", NOTHING),
    ("element-group", "mse_loss columns=1000 dtype=f16 t=x:same weight=x:same", SMALL),
    ("matmul-group", "linear_cross_entropy_loss columns=7 rows=37 weight=u8:same target=u8:rows", {}),
)  # fmt: skip
"""Strategy, loss, and what the GPU is said to have. With one reduction of a row, several, none; with checks, ragged
ends, rows shorter than a group, rows in parts, labels of one byte, 16 bits."""

SHORTEST_PART = 128
"""Columns of a part of a row here, which elsewhere has thousands."""


def main() -> int:
    width, number, mistake = int(sys.argv[1]), int(sys.argv[2]), (sys.argv[3] if len(sys.argv) > 3 else None)
    device = select(None)
    launches, wrong = 0, []
    # Oclgrind takes memory for unwritten that an earlier buffer at the same address left so.
    for strategy, text, facts in CASES[number : number + 1 if mistake or width == 1 else None]:
        problem = Problem(parse_case(f"{text} strategy={strategy}"))
        gpu = replace(GPU_GENERIC, vector_width=width, **facts)
        with mock.patch.dict(row_parts.PART, gpu=SHORTEST_PART):
            compiled = problem.compiled(gpu)
        assert any(choice.strategy == strategy for choice in compiled.lowered.choices.values()), text
        program = with_mistake(compiled.program, mistake)
        sources = {kernel.name: kernel_source(kernel) for kernel in program.kernels}
        # What looks for unwritten memory does not know all that LLVM's optimizer makes of a loop.
        options = compiled.build_options + " -cl-opt-disable" * (width == 1)
        run = Executable(program, device, sources, options)
        for sizing, arrays in problem.arrays.items():
            if sizing[0] * sizing[1] > 6000:
                continue  # The simulator is slow.
            found = run(arrays)
            launches += 1
            wrong += [] if mistake else disagreements(problem, sizing, found)
    print(*wrong, sep="\n")
    print(f"{launches} runs on {device}, {len(wrong)} wrong")
    return 1 if wrong else 0


def disagreements(problem: Problem, sizing: Sizing, found: list[np.ndarray]) -> list[str]:
    """Outputs that are far off. Oclgrind rounds the product of an fma: other devices show what is a little off."""
    expected, allowed = problem.references[sizing], problem.allowed[sizing]
    close = [np.allclose(a, b, rtol=0, atol=1e-6 + 4 * c.max(initial=0)) for a, b, c in zip(found, expected, allowed)]
    return [f"{problem.case}, {sizing}, output {index}" for index, fine in enumerate(close) if not fine]


def with_mistake(program: Program, mistake: str | None) -> Program:
    """The program with one mistake in each of its kernels for work-groups."""
    if mistake is None:
        return program
    changes = {
        "no barriers": without_barriers,
        "one row too many": one_row_too_many,
        "nothing stored locally": without_local_stores,
    }
    steps = []
    for step in program.steps:
        variants = []
        for variant in step.variants:
            launches = tuple(replace(launch, entry=changes[mistake](launch.kernel)) for launch in variant.launches)
            variants.append(replace(variant, launches=launches))
        steps.append(replace(step, variants=tuple(variants)))
    return replace(program, steps=tuple(steps))


def without(kernel: Kernel, unwanted: Callable[[Stmt], bool]) -> Kernel:
    def change(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        kept = (s for s in body if not unwanted(s))
        return tuple(replace(s, body=change(s.body)) if isinstance(s, (For, If)) else s for s in kept)

    return replace(kernel, body=change(kernel.body))


def without_barriers(kernel: Kernel) -> Kernel:
    return without(kernel, lambda statement: isinstance(statement, Barrier))


def without_local_stores(kernel: Kernel) -> Kernel:
    """What the items of a group exchange is never written."""
    local = {array.name for array in kernel.local_arrays}
    return without(kernel, lambda statement: isinstance(statement, Store) and statement.buffer in local)


def one_row_too_many(kernel: Kernel) -> Kernel:
    """Every loop over rows, or blocks of them, goes one too far."""

    def change(statement: Stmt) -> Stmt:
        if isinstance(statement, For) and statement.var.name.startswith("row"):
            return replace(statement, stop=add(statement.stop, integer(1)))
        return statement

    return replace(kernel, body=tuple(map(change, kernel.body)))


if __name__ == "__main__":
    sys.exit(main())
