"""Which outputs of a program may lie where its inputs lie.

In: an outlined module with the schedules of its kernels. Out: pairs of an input and an output.
"""

from __future__ import annotations

from ..ir.function import Function, Value
from .fusion.outline import Outlined


def overwrites(outlined: Outlined) -> frozenset[tuple[str, str]]:
    """Names of an input and an output of one type that may share memory, where this has no ragged end: vectors that
    overlap there would read what was just written.

    They may if the kernel that stores the output reads the input only at the element that it stores, in one pass, and
    no later kernel reads it.
    """
    entry = outlined.module.entry
    outputs = dict(zip(entry.names_of_outputs, entry.outputs))
    return frozenset(
        (source.name, name)
        for source in entry.inputs
        for name, target in outputs.items()
        if source.type == target.type and _overwrites(outlined, source, target)
    )


def _overwrites(outlined: Outlined, read: Value, stored: Value) -> bool:
    entry = outlined.module.entry
    positions = {result: index for index, op in enumerate(entry.ops) for result in op.results}
    if stored not in positions:
        return False
    for index, op in enumerate(entry.ops):
        if read not in op.operands or index < positions[stored]:
            continue
        if index > positions[stored] or op.name != "launch":
            return False
        kernel = outlined.module.functions[op.attributes["callee"]]
        if not _same_element(outlined, kernel, read, stored):
            return False
    return True


def _same_element(outlined: Outlined, kernel: Function, read: Value, stored: Value) -> bool:
    schedule = outlined.schedules[kernel.name]
    pointwise = not schedule.row_reductions and schedule.matmul is None
    indexed = any(op.name == "gather" for op in kernel.ops)
    # The launch of a kernel has the values of its body as operands and results.
    same = schedule.where.get(read) is not None and schedule.where.get(read) == schedule.where.get(stored)
    return pointwise and not indexed and same
