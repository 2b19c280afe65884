"""Dropout that training steps do and predictions do not, by an input of the graph that is called `dropout_key`.

In: a function. Out: the function as a prediction runs it, and the keys that a training step feeds. `nn.Dropout` drops
by the input `dropout_key`: a step gives it a new value for each batch, decided by the graph's seed and the number of
batches so far. A `dropout` with any other key is the user's own and stays in everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lossc.ir.function import Function, Op, Value
from lossc.ir.names import fresh
from lossc.ir.types import Type

DROPOUT_KEY = "dropout_key"
KEY_TYPE = Type("i64")


def has_key(types: Mapping[str, Type]) -> bool:
    """Whether a step feeds one of these inputs by itself."""
    return types.get(DROPOUT_KEY) == KEY_TYPE


def key_at(seed: int, batch: int) -> np.ndarray:
    """The key of batch 0, 1, ...: the lower half of the seed beside the lower half of the number."""
    return np.array((seed % 2**32) << 32 | batch % 2**32, np.uint64).view(np.int64)


def without_dropout(
    function: Function, others: Mapping[str, Function]
) -> tuple[Function, dict[str, Function], dict[Value, Value]]:
    """`function` with x in place of what is dropped from x by the input `dropout_key`, and what stands for what.

    What it calls with the key does without, too: `others` and the functions that this makes of them are the second
    result. Functions with a gradient of their own stay as they are.
    """
    functions = {**others, function.name: function}
    keys = frozenset(value for value in function.inputs if value.name == DROPOUT_KEY)
    changed, instead = _without(function, keys, functions)
    return changed, functions, instead


def _without(
    function: Function, keys: frozenset[Value], functions: dict[str, Function]
) -> tuple[Function, dict[Value, Value]]:
    instead: dict[Value, Value] = {}
    ops: list[Op] = []
    for op in function.ops:
        operands = tuple(instead.get(operand, operand) for operand in op.operands)
        if op.name == "dropout" and op.operands[1] in keys:
            instead[op.result] = operands[0]
        elif op.name == "call" and not keys.isdisjoint(operands):
            ops.append(_called_without(_with_operands(op, operands), keys, functions))
        else:
            ops.append(_with_operands(op, operands))
    outputs = tuple(instead.get(value, value) for value in function.outputs)
    return function.with_(ops=tuple(ops), outputs=outputs, output_names=function.names_of_outputs), instead


def _with_operands(op: Op, operands: tuple[Value, ...]) -> Op:
    return op if operands == op.operands else replace(op, operands=operands)


def _called_without(op: Op, keys: frozenset[Value], functions: dict[str, Function]) -> Op:
    """The call of a function that drops nothing by the key, and no longer takes it where it only dropped by it."""
    callee = functions[op.attributes["callee"]]
    if callee.gradient:
        return op
    given = frozenset(inner for inner, operand in zip(callee.inputs, op.operands) if operand in keys)
    changed, _ = _without(callee, given, functions)
    if changed.ops == callee.ops:
        return op
    read = {operand for inner in changed.ops for operand in inner.operands} | set(changed.outputs)
    left = [value not in given or value in read for value in changed.inputs]
    name = fresh(f"{callee.name}_without_dropout", functions)
    inputs = tuple(value for value, stays in zip(changed.inputs, left) if stays)
    functions[name] = replace(changed, name=name, inputs=inputs)
    operands = tuple(operand for operand, stays in zip(op.operands, left) if stays)
    return replace(op, operands=operands, attributes={**op.attributes, "callee": name})
