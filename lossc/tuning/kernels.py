"""What there is to measure in a program: the kernels that run one by one.

In: a program, sizes. Out: names of fused kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lossc.ir.program import Program, turns


def kernels_in_turn(program: Program, sizes: Mapping[str, int]) -> list[str]:
    """The kernels with a launch of their own at these sizes: where one does all, none has a time, or candidates."""
    fused = {step.name for step in program.steps}
    apart = replace(program, beside=())
    return list(dict.fromkeys(turn.step.name for turn in turns(apart, sizes) if turn.step.name in fused))
