"""The operations of the kernel IR and their types. The meaning of the pointwise primitives is in `ops`.

In: an operation's name, the (dtype, width) of each operand. Out: that of the result, or a `LirError` that
says why there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from .diagnostics import LirError, did_you_mean
from .kernel import Expr
from .ops import PRIMITIVES
from .types import DTYPES, Type, is_float, is_integer

RegisterType = tuple[str, int]

WIDTHS = (1, 2, 4, 8, 16)

# Beside the primitives: how many operands of one type, and of which kind. The result has their type.
KERNEL_OPERATIONS: Mapping[str, tuple[int, str]] = {
    "mod": (2, "integer"),
    "fma": (3, "float"),
    "max_number": (2, "float"),
    "copysign": (2, "f32"),
    "power_of_two": (1, "f32"),
    "exponent_of": (1, "f32"),
    "significand_of": (1, "f32"),
    "reciprocal_power": (1, "f32"),
    "round_f16": (1, "f32"),
    "round_bf16": (1, "f32"),
    "zip_low": (2, "number"),
    "zip_high": (2, "number"),
}

# Whose results have lanes from other places.
ACROSS_LANES = ("zip_low", "zip_high")

# What `reduce` joins lanes with, and the kind of operand it takes.
REDUCTIONS: Mapping[str, str] = {
    "add": "number", "max": "number", "min": "number", "max_number": "float", "or": "bool", "and": "bool",
}  # fmt: skip

QUERIES = ("global_id", "local_id", "group_id", "global_size", "group_count")


def spell_type(dtype: str, width: int) -> str:
    """`f32` for a scalar, `f32x16` for a vector of 16 lanes."""
    return dtype if width == 1 else f"{dtype}x{width}"


def read_type(text: str) -> RegisterType:
    """The inverse of `spell_type`."""
    found = re.fullmatch(r"([a-z]+?[0-9]*)(?:x([0-9]{1,3}))?", text)
    if found is None or found[1] not in DTYPES:
        raise LirError(f"`{text}` is no type of a register", "write f32, i64, bool, or f32x16 for 16 lanes")
    return found[1], int(found[2] or 1)


def postorder(expression: Expr) -> list[Expr]:
    """The expression and all inside it, operands from the left before what uses them; for any depth."""
    nodes: list[Expr] = []
    pending = [expression]
    while pending:
        node = pending.pop()
        nodes.append(node)
        pending += node.operands
    return nodes[::-1]


def is_kind(dtype: str, kind: str) -> bool:
    match kind:
        case "number":
            return dtype != "bool"
        case "float":
            return is_float(dtype)
        case "integer":
            return is_integer(dtype)
        case _:
            return dtype == kind


def application_type(op: str, operands: Sequence[RegisterType], dtype: str | None = None) -> RegisterType:
    """The type of `op` applied to operands of these types. `dtype` is what a `cast` casts to."""
    return _application_type(op, tuple(operands), dtype)


@cache
def _application_type(op: str, operands: tuple[RegisterType, ...], dtype: str | None) -> RegisterType:
    primitive = PRIMITIVES.get(op)
    if op in KERNEL_OPERATIONS:
        arity, kind = KERNEL_OPERATIONS[op]
    elif primitive is not None and primitive.kind == "pointwise":
        arity, kind = len(primitive.operands), None
    else:
        known = [*KERNEL_OPERATIONS, *(name for name, row in PRIMITIVES.items() if row.kind == "pointwise")]
        raise LirError(f"`{op}` is no pointwise operation", *did_you_mean(op, known))
    found = ", ".join(spell_type(*operand) for operand in operands)
    if len(operands) != arity:
        raise LirError(f"`{op}` takes {arity} operands, found ({found})")
    if len({width for _, width in operands}) > 1:
        raise LirError(f"`{op}` takes operands of one width, found ({found})", "splat widens a scalar")
    if kind is not None:
        if len(set(operands)) > 1 or not is_kind(operands[0][0], kind):
            raise LirError(f"`{op}` takes operands of one {kind} type, found ({found})")
        if op in ACROSS_LANES and operands[0][1] == 1:
            raise LirError(f"`{op}` takes vectors, found ({found})")
        return operands[0]
    assert primitive is not None
    width = operands[0][1]
    types = tuple(Type(operand) for operand, _ in operands)
    try:
        (result,) = primitive.infer(types, {"dtype": dtype})
    except LirError:
        raise LirError(f"`{op}` does not take operands of types ({found})") from None
    return result.dtype, width
