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
from lossc.ir.types import Type

DROPOUT_KEY = "dropout_key"
KEY_TYPE = Type("i64")


def has_key(types: Mapping[str, Type]) -> bool:
    """Whether a step feeds one of these inputs by itself."""
    return types.get(DROPOUT_KEY) == KEY_TYPE


def key_at(seed: int, batch: int) -> np.ndarray:
    """The key of batch 0, 1, ...: the lower half of the seed beside the lower half of the number."""
    return np.array((seed % 2**32) << 32 | batch % 2**32, np.uint64).view(np.int64)


def without_dropout(function: Function) -> tuple[Function, dict[Value, Value]]:
    """`function` with x in place of what is dropped from x by the input `dropout_key`, and what stands for what."""
    keys = {value for value in function.inputs if value.name == DROPOUT_KEY}
    instead: dict[Value, Value] = {}
    ops: list[Op] = []
    for op in function.ops:
        operands = tuple(instead.get(operand, operand) for operand in op.operands)
        if op.name == "dropout" and op.operands[1] in keys:
            instead[op.result] = operands[0]
        else:
            ops.append(op if operands == op.operands else replace(op, operands=operands))
    outputs = tuple(instead.get(value, value) for value in function.outputs)
    return function.with_(ops=tuple(ops), outputs=outputs, output_names=function.names_of_outputs), instead
