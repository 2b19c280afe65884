"""Functions as passes see them: who reads what, what is dead, and the same function with something changed.

In: a function or a module. Out: an answer, or a new one; the very same object where nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..ir.composites import COMPOSITES
from ..ir.function import Function, Module, Op, Value
from ..ir.types import is_short


def count_readers(function: Function) -> dict[Value, int]:
    """How many operand places and outputs read each value."""
    readers: dict[Value, int] = {}
    for op in function.ops:
        for operand in op.operands:
            readers[operand] = readers.get(operand, 0) + 1
    for output in function.outputs:
        readers[output] = readers.get(output, 0) + 1
    return readers


def has_grad(function: Function) -> bool:
    """Whether a gradient is still to be taken in `function`."""
    return any(op.name == "grad" for op in function.ops)


def rounds_gradient(op: Op) -> bool:
    """Whether a gradient that passes `op` is rounded to 16 bits. Where gradients are still to be taken such an
    operation stays where it is: sums of gradients then round where the text says."""
    return op.name == "cast" and is_short(op.operands[0].type.dtype) and op.result.type.dtype in ("f32", "f64")


def is_root(op: Op) -> bool:
    """Whether an operation stays though nobody reads it: it may refuse the run.

    Losses may hold a `check` that shows only when they are expanded; calls and launches stay until they are inlined.
    """
    is_loss = op.name in COMPOSITES and COMPOSITES[op.name].kind == "loss"
    return is_loss or op.name in ("check", "call", "launch", "repeat")


def without_dead(function: Function) -> Function:
    """`function` without the operations that neither an output nor a root needs."""
    needed = set(function.outputs)
    kept: list[Op] = []
    for op in reversed(function.ops):
        if is_root(op) or any(result in needed for result in op.results):
            needed.update(op.operands)
            kept.append(op)
    return function if len(kept) == len(function.ops) else function.with_(ops=tuple(reversed(kept)))


def with_operands(op: Op, operands: tuple[Value, ...]) -> Op:
    """`op` reading other values of the same types; its results keep their identity."""
    return op if operands == op.operands else replace(op, operands=operands)


def with_values(function: Function, instead: Mapping[Value, Value]) -> Function:
    """`function` with other values in place of some of its own, wherever they are made and read."""
    if not instead:
        return function

    def now(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple([instead.get(value, value) for value in values])

    ops = [with_operands(op, now(op.operands)) for op in function.ops]
    ops = [op if op.results == now(op.results) else replace(op, results=now(op.results)) for op in ops]
    return function.with_(ops=tuple(ops), outputs=now(function.outputs))


def map_functions(module: Module, change: Callable[[Function], Function]) -> Module:
    """Every function changed by `change`, with the names of its outputs kept; the same module where none was."""
    functions = list(module.functions.values())
    changed = [with_names_of(change(function), function) for function in functions]
    if all(new is old for new, old in zip(changed, functions)):
        return module
    return module.with_functions(changed)


def with_names_of(function: Function, original: Function) -> Function:
    """`function` with its outputs called as those of `original`: callers know them by name."""
    names = original.names_of_outputs
    return function if function.names_of_outputs == names else function.with_(output_names=names)
