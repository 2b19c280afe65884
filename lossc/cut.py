"""The part of a function that some of its values need.

In: a function and values in it. Out: a function that returns those values and takes only the inputs that reach them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lossc.dropout import without_dropout
from lossc.ir.function import Function, Module, Op, Value
from lossc.ir.signature import unbound_names
from lossc.ir.types import dim_names


def part_of(
    entry: Function, functions: Mapping[str, Function], outputs: Mapping[str, Value], also: Value | None,
    training: bool, every_check: bool,
) -> tuple[Module, Value | None]:  # fmt: skip
    """The part of `entry` and the `functions` that it calls which `outputs` and `also` need, and what `also` is in it.
    With `training` layers of dropout drop, else there are none. `every_check` is as for `cut`."""
    if not training:
        entry, functions, instead = without_dropout(entry, functions)
        outputs = {name: instead.get(value, value) for name, value in outputs.items()}
        also = None if also is None else instead.get(also, also)
    wanted = [*outputs.values(), *([] if also is None or also in outputs.values() else [also])]
    entry = cut(entry, wanted, every_check=every_check)
    entry = entry.with_(outputs=tuple(outputs.values()), output_names=tuple(outputs))
    return module_of(entry, functions.values()), also


def cut(function: Function, outputs: Sequence[Value], names: Sequence[str] = (), every_check: bool = False) -> Function:
    """`function` with these outputs (called `names`) and without what they do not need.

    A `check` stays where its operands come from inputs that are needed anyway; with `every_check` all of them stay,
    and so do calls, which may hold some.
    """
    kept = _needed(function, outputs, ())
    read = {operand for op in kept for operand in op.operands} | set(outputs)
    known = {value for value in function.inputs if value in read}
    checks = []
    for op in function.ops:
        if all(operand in known for operand in op.operands):
            known.update(op.results)
            if op.name == "check":
                checks.append(op)
    if every_check:
        checks = [op for op in function.ops if op.name in ("check", "call")]
    ops = _needed(function, outputs, checks)
    read = {operand for op in ops for operand in op.operands} | set(outputs)
    inputs = [value for value in function.inputs if value in read]
    result = function.with_(ops=tuple(ops), outputs=tuple(outputs), output_names=tuple(names))
    return _with_inputs(result, _naming_all_sizes(result, inputs))


def _needed(function: Function, outputs: Iterable[Value], roots: Iterable[Op]) -> list[Op]:
    wanted, stay = set(outputs), set(roots)
    kept: list[Op] = []
    for op in reversed(function.ops):
        if op in stay or any(result in wanted for result in op.results):
            wanted.update(op.operands)
            kept.append(op)
    return kept[::-1]


def _naming_all_sizes(function: Function, inputs: list[Value]) -> list[Value]:
    """`inputs`, and those beside them that alone give the size of a named dimension."""
    for name in unbound_names(_with_inputs(function, inputs)):
        giver = next((v for v in function.inputs if any(name in dim_names(dim) for dim in v.type.shape)), None)
        if giver is not None and giver not in inputs:
            inputs = [value for value in function.inputs if value in inputs or value is giver]
    return inputs


def _with_inputs(function: Function, inputs: Sequence[Value]) -> Function:
    return function.with_(inputs=tuple(inputs), params=frozenset(v for v in inputs if v in function.params))


def module_of(entry: Function, functions: Iterable[Function]) -> Module:
    """The entry with those of `functions` that it refers to, in their order."""
    known = {function.name: function for function in functions}
    reached: set[str] = set()
    waiting = [entry]
    while waiting:
        for name in waiting.pop().callees():
            if name not in reached:
                reached.add(name)
                waiting.append(known[name])
    others = {name: function for name, function in known.items() if name in reached}
    return Module({**others, entry.name: entry}, entry.name)
