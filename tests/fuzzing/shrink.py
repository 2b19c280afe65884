"""The smallest function that still fails.

In: an example, and whether an example fails. Out: an example that fails with fewer operations, outputs and inputs: each
step drops an output, takes the gradients, or puts an operand, an input or a new input in place of a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from lossc.compiler.pipeline import run_passes
from lossc.ir.diagnostics import LosscError
from lossc.ir.function import Function, Op, Value

from .functions import Example

SECONDS = 60.0


def shrink(example: Example, fails: Callable[[Example], bool], seconds: float = SECONDS) -> Example:
    """`fails` holds for the example, and for what is returned. It takes at most about so many seconds."""
    end = time.monotonic() + seconds
    example = replace(example, function=_needed(example.function))
    while time.monotonic() < end:
        smaller = (replace(example, function=each) for each in _smaller(example))
        found = next((each for each in smaller if time.monotonic() > end or fails(each)), None)
        if found is None or time.monotonic() > end:
            break
        example = found
    return example


def _smaller(example: Example) -> Iterator[Function]:
    size = _size(example.function)
    for candidate in _changed(example):
        try:
            candidate = _needed(candidate())
        except LosscError:
            continue  # a result whose gradient is asked for may be an input by which nothing is differentiated
        if candidate.outputs and _size(candidate) < size:
            yield candidate


def _size(function: Function) -> tuple[int, int, int]:
    return len(function.ops), len(function.outputs), len(function.inputs)


def _changed(example: Example) -> Iterator[Callable[[], Function]]:
    function, names = example.function, example.function.names_of_outputs
    if len(names) > 1:
        for index in range(len(names)):
            yield lambda index=index: _with_outputs(function, [index])
        for index in range(len(names)):
            yield lambda index=index: _with_outputs(function, [i for i in range(len(names)) if i != index])
    if any(op.name == "grad" for op in function.ops):
        yield lambda: run_passes(example.module, ("inline", "expand", "autodiff", "inline", "expand", "dce")).entry
    producer = function.producers()
    for index, output in enumerate(function.outputs):
        for operand in producer[output].operands if output in producer else ():
            outputs = (*function.outputs[:index], operand, *function.outputs[index + 1 :])
            yield lambda outputs=outputs: function.with_(outputs=outputs)
    for op in reversed(function.ops):
        for result in op.results:
            same = [value for value in dict.fromkeys((*op.operands, *function.inputs)) if value.type == result.type]
            for value in same:
                yield lambda result=result, value=value: _instead(function, result, value)
            if op.operands:
                fresh = Value(f"new{len(function.ops)}", result.type)
                yield lambda result=result, fresh=fresh: _instead(
                    function.with_(inputs=(*function.inputs, fresh)), result, fresh
                )
    for number, value in enumerate(function.inputs):
        for other in function.inputs[:number]:
            if other.type == value.type:
                yield lambda value=value, other=other: _instead(function, value, other)


def _with_outputs(function: Function, kept: list[int]) -> Function:
    return function.with_(
        outputs=tuple(function.outputs[index] for index in kept),
        output_names=tuple(function.names_of_outputs[index] for index in kept),
    )


def _instead(function: Function, old: Value, new: Value) -> Function:
    """The function that reads `new` where it read `old`."""

    def read(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(new if value is old else value for value in values)

    ops = tuple(Op(op.name, read(op.operands), op.attributes, op.results, op.span) for op in function.ops)
    return function.with_(ops=ops, outputs=read(function.outputs))


def _needed(function: Function) -> Function:
    """The function without operations and inputs that no output needs."""
    needed, ops = set(function.outputs), []
    for op in reversed(function.ops):
        if op.name == "check" or not needed.isdisjoint(op.results):
            ops.append(op)
            needed.update(op.operands)
    inputs = tuple(value for value in function.inputs if value in needed)
    return function.with_(ops=tuple(reversed(ops)), inputs=inputs)
