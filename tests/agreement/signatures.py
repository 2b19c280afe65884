"""What an operation can be given, found by asking it: each candidate type is tried, what is refused is dropped.

In: the name of an operation (or a chain, `linear+relu`) and the type of its first operand. Out: for each other operand
the choices that it accepts. So a new loss needs no entry here.

A choice is written `dtype:shape`. dtype: `x` that of the first operand, `other` f64 for f32 and f32 for the rest, or a
name. shape: `same`, `rows` (without the class axis), `classes` [C], `last` (the last axis), `scalar`, `matrix`
[K, last], `features` [K]. `-` leaves an optional operand out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from lossc.compiler.pipeline import run_passes
from lossc.ir.builder import Builder
from lossc.ir.composites import COMPOSITES, Composite, make_op
from lossc.ir.diagnostics import LosscError
from lossc.ir.function import Function, Module
from lossc.ir.types import INTEGER_DTYPES, Type, named

ABSENT = "-"
SHAPES = ("same", "rows", "classes", "last", "scalar", "matrix", "features")
DTYPES = ("x", "other", *INTEGER_DTYPES, "bool")
PROBE = Type("f32", tuple(named(name) for name in ("A", "B", "D", "E")))
PROBED_FEATURES = 5


def composite(name: str) -> Composite:
    """The operation that a chain begins with."""
    return COMPOSITES[name.split("+")[0]]


def operand_type(choice: str, x: Type, axis: int, features: int) -> Type:
    """The type that a choice stands for."""
    dtype, shape = choice.split(":")
    axis %= max(1, x.rank)
    shapes = {
        "same": x.shape, "rows": x.shape[:axis] + x.shape[axis + 1 :], "classes": (x.shape[axis],),
        "last": (x.shape[-1],), "scalar": (), "matrix": (features, x.shape[-1]), "features": (features,),
    }  # fmt: skip
    dtypes = {"x": x.dtype, "other": "f64" if x.dtype == "f32" else "f32"}
    return Type(dtypes.get(dtype, dtype), tuple(shapes[shape]))


def build(
    name: str, x: Type, axis: int, operands: Mapping[str, str], attributes: Mapping[str, Any], features: int
) -> Function:
    """A function of one operation (or chain). Raises LirError where the operation refuses its operands."""
    builder = Builder()
    definition = composite(name)
    parameters = [operand.rstrip("?") for operand in definition.operands]
    values = [builder.input(parameters[0], x)]
    for parameter in parameters[1:]:
        if operands.get(parameter, ABSENT) != ABSENT:
            values.append(builder.input(parameter, operand_type(operands[parameter], x, axis, features)))
    given = {key: value for key, value in attributes.items() if key in definition.attributes}
    if "operands" in definition.attributes:
        given["operands"] = tuple(value.name for value in values)
    results = builder.append(make_op(definition.name, values, given))
    for following in name.split("+")[1:]:
        results = builder.append(make_op(following, results, {}))
    return builder.function("case", results, tuple(f"out{index}" for index in range(len(results))))


def _accepts(name: str, x: Type, axis: int, operands: Mapping[str, str]) -> bool:
    attributes = {"axis": axis} if "axis" in composite(name).attributes else {}
    try:
        build(name, x, axis, operands, attributes, PROBED_FEATURES)
    except LosscError:
        return False
    return True


@lru_cache(maxsize=1024)
def _bases(name: str, rank: int, axis: int) -> tuple[Mapping[str, str], ...]:
    """What the required operands can be, with plain dtypes; with any dtype where that is refused."""
    required = [operand for operand in composite(name).operands[1:] if not operand.endswith("?")]
    for dtypes in (("x", "i32"), DTYPES):
        plain = [f"{dtype}:{shape}" for dtype in dtypes for shape in SHAPES]
        bases = (dict(zip(required, row)) for row in itertools.product(plain, repeat=len(required)))
        found = tuple(base for base in bases if _accepts(name, Type("f32", PROBE.shape[:rank]), axis, base))
        if found:
            return found
    return ()


def plain_operands(name: str, rank: int, axis: int) -> Mapping[str, str] | None:
    """The plainest operands, all of them, or None where such a first operand is refused."""
    bases = _bases(name, rank, axis)
    if not bases:
        return None
    choices = operand_choices(name, rank, axis)
    optional = {o.rstrip("?") for o in composite(name).operands if o.endswith("?")}
    given = dict(bases[0])
    for operand in (operand for operand in choices if operand in optional):
        given[operand] = next((c for c in choices[operand] if c != ABSENT
                               and _accepts(name, Type("f32", PROBE.shape[:rank]), axis, {**given, operand: c})),
                              ABSENT)  # fmt: skip
    return given


@lru_cache(maxsize=1024)
def operand_choices(name: str, rank: int, axis: int) -> Mapping[str, tuple[str, ...]]:
    """For each operand but the first what it accepts, for a first operand of that rank with that class axis."""
    definition = composite(name)
    x = Type("f32", PROBE.shape[:rank])
    others = [operand.rstrip("?") for operand in definition.operands[1:]]
    required = [operand for operand in definition.operands[1:] if not operand.endswith("?")]
    bases = _bases(name, rank, axis)

    def accepted(operand: str, choice: str) -> bool:
        return any(_accepts(name, x, axis, {**base, operand: choice}) for base in bases)

    found: dict[str, tuple[str, ...]] = {}
    for operand in others:
        dtypes = DTYPES if operand in required else ("x",)
        candidates = [ABSENT] * (operand not in required) + list(_all_choices(x, axis, dtypes))
        taken = [choice for choice in candidates if accepted(operand, choice)]
        if operand not in required:
            # Weights are floats; one of another precision.
            converted = [c.replace("x:", "other:") for c in taken if c != ABSENT]
            taken += [choice for choice in converted if accepted(operand, choice)][:1]
        found[operand] = tuple(taken)
    return found if bases else {}


@lru_cache(maxsize=1024)
def pairs_columns(name: str, rank: int, axis: int) -> bool:
    """Whether an operation has a value for each pair of columns: the interpreter computes such a tensor."""
    operands = plain_operands(name, rank, axis)
    if operands is None:
        return False
    x = Type("f32", PROBE.shape[:rank])
    function = build(name, x, axis, operands, {"axis": axis}, PROBED_FEATURES)
    primitives = run_passes(Module({function.name: function}), ("expand",)).entry
    shapes = [result.type.shape for op in primitives.ops for result in op.results]
    return any(shape.count(x.shape[axis]) > 1 for shape in shapes)


def _all_choices(x: Type, axis: int, dtypes: Sequence[str]) -> Iterator[str]:
    """One spelling for each type."""
    seen: set[Type] = set()
    for shape, dtype in itertools.product(SHAPES, dtypes):
        type_ = operand_type(f"{dtype}:{shape}", x, axis, PROBED_FEATURES)
        if type_ not in seen:
            seen.add(type_)
            yield f"{dtype}:{shape}"


# What to try for an attribute of this name; other attributes keep their default, truth values take both.
ATTRIBUTES: Mapping[str, Sequence[Any]] = {
    "reduction": ("mean", "sum", "none", "batchmean", "weights"),
    "approximate": ("none", "tanh"),
    "empty": ("nan", "zero"),
    "ignore_index": (None, -100, 1),
    "label_smoothing": (0.0, 0.1),
}


def attribute_choices(name: str) -> Mapping[str, Sequence[Any]]:
    """The values to try for each attribute; the class axis belongs to the layout."""
    found: dict[str, Sequence[Any]] = {}
    for attribute, definition in composite(name).attributes.items():
        if attribute in ATTRIBUTES:
            found[attribute] = ATTRIBUTES[attribute]
        elif definition.kind == "bool":
            found[attribute] = (False, True)
        elif definition.kind == "float" and isinstance(definition.default, (int, float)):
            found[attribute] = (definition.default, definition.default * 0.75 + 0.1)
    return found
