"""Rules for slices, joined tensors and margins: each is looked through where what is behind it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...ir.function import Op, Value
from ...ir.ops import is_pointwise
from ...ir.types import DimLike, add_dims, is_at_most, subtract_dims
from ...ir.windows import offsets
from ..functions import rounds_gradient
from ..rewrite import Rebuild, Rules
from ._match import constant_of, expand, view_of
from ._shapes import constant_in_another_shape, same_shape

MOST_OPERATIONS = 64
"""More are not looked through for the sake of a slice."""


def slice_twice(op: Op, build: Rebuild) -> Value | None:
    """slice of slice along one axis = one slice  exact"""
    inner = _along_the_same(op, build, "slice")
    if inner is None:
        return None
    start, stop = (add_dims(inner.attributes["start"], op.attributes[name]) for name in ("start", "stop"))
    return None if start is None or stop is None else _sliced(build, inner.operands[0], op, start, stop)


def slice_of_pad(op: Op, build: Rebuild) -> Value | None:
    """slice of (pad x) = pad of a slice of x, or what is beside x  exact"""
    inner = _along_the_same(op, build, "pad")
    if inner is None:
        return None
    (x,) = inner.operands
    parts = _parts(op, (x,), [inner.attributes["before"]])
    if parts is None:
        return None
    (part,) = parts
    value = inner.attributes["value"]
    if part.is_empty:
        return build.constant(value, x.type.dtype, op.result.type.shape)
    found = _sliced(build, x, op, part.start, part.stop)
    if part.before == part.after == 0:
        return found
    return build.emit("pad", found, axis=op.attributes["axis"], before=part.before, after=part.after, value=value)


def slice_of_concat(op: Op, build: Rebuild) -> Value | None:
    """slice of (concat a, b) = slice of a, or of b, or those joined  exact"""
    inner = _along_the_same(op, build, "concat")
    if inner is None:
        return None
    axis = op.attributes["axis"]
    parts = _parts(op, inner.operands, offsets(tuple(operand.type for operand in inner.operands), axis))
    if parts is None:
        return None
    found = [_sliced(build, x, op, part.start, part.stop) for x, part in zip(inner.operands, parts)
             if not part.is_empty]  # fmt: skip
    if not found:
        return build.constant(0, op.result.type.dtype, op.result.type.shape)
    return found[0] if len(found) == 1 else build.emit("concat", *found, axis=axis)


def slice_of_repeated(op: Op, build: Rebuild) -> Value | None:
    """slice along what repeats = fewer repetitions  exact"""
    view = view_of(build, op.operands[0])
    if view is None or op.attributes["axis"] in view[1]:
        return None
    return expand(build, view[0], view[1], op.result.type.shape)


def slice_before_computing(op: Op, build: Rebuild) -> Value | None:
    """slice of f(concat(a, b), c) = f(slice of concat(a, b), slice of c), so with pad  exact"""
    order = _computed(build, op)
    if order is None:
        return None
    found: dict[Value, Value] = {}

    def part(value: Value) -> Value:
        if value not in found:
            found[value] = _sliced(build, value, op, op.attributes["start"], op.attributes["stop"])
        return found[value]

    for each in order:
        operands = [part(operand) for operand in each.operands]
        (found[each.result],) = build.emit_many(each.name, operands, dict(each.attributes), (each.result.name,))
    return found[op.operands[0]]


def _computed(build: Rebuild, op: Op) -> list[Op] | None:
    """The pointwise operations that make what is cut, in order, where one of them reads something joined along the
    axis."""
    order: list[Op] = []
    seen: set[Value] = set()
    joined = False
    pending: list[Value | Op] = [op.operands[0]]
    while pending:
        item = pending.pop()
        if isinstance(item, Op):
            order.append(item)
            continue
        if item in seen:
            continue
        seen.add(item)
        maker = build.producer(item)
        # Above what rounds gradients those by the parts would meet, each rounded.
        if maker is not None and is_pointwise(maker.name) and not rounds_gradient(maker):
            pending += [maker, *maker.operands]
        elif maker is not None and maker.name in ("concat", "pad"):
            joined = joined or maker.attributes["axis"] == op.attributes["axis"]
        if len(seen) > MOST_OPERATIONS:
            return None
    return order if joined and order else None


def pad_twice(op: Op, build: Rebuild) -> Value | None:
    """pad of pad along one axis with one value = one pad  exact"""
    inner = _along_the_same(op, build, "pad")
    if inner is None or not _is_same(inner.attributes["value"], op.attributes["value"]):
        return None
    before, after = (add_dims(inner.attributes[name], op.attributes[name]) for name in ("before", "after"))
    if before is None or after is None:
        return None
    axis, value = op.attributes["axis"], op.attributes["value"]
    return build.emit("pad", inner.operands[0], axis=axis, before=before, after=after, value=value)


def pad_with_its_own(op: Op, build: Rebuild) -> Value | None:
    """pad of a constant with that number = the constant  exact"""
    number = constant_of(build, op.operands[0])
    if number is None or not _is_same(number, op.attributes["value"]):
        return None
    return build.constant(number, op.result.type.dtype, op.result.type.shape)


def pad_of_empty(op: Op, build: Rebuild) -> Value | None:
    """pad of what has no elements along the axis = what is beside it  exact"""
    (x,) = op.operands
    if x.type.shape[op.attributes["axis"]] != 0:
        return None
    return build.constant(op.attributes["value"], x.type.dtype, op.result.type.shape)


def join_once(op: Op, build: Rebuild) -> Value | None:
    """concat of concat = one concat; what is empty goes; concat of neighbouring slices = one slice  exact"""
    axis = op.attributes["axis"]
    flat: list[Value] = []
    for operand in op.operands:
        inner = build.match(operand, "concat")
        flat += inner.operands if inner is not None and inner.attributes["axis"] == axis else (operand,)
    found: list[Value] = []
    for operand in flat:
        if operand.type.shape[axis] == 0:
            continue
        joined = _neighbours(build, found[-1], operand, axis) if found else None
        found[-1:] = [joined] if joined is not None else [*found[-1:], operand]
    if found == list(op.operands) and len(found) > 1:
        return None
    if not found:
        return op.operands[0] if op.operands[0].type == op.result.type else None
    return found[0] if len(found) == 1 else build.emit("concat", *found, axis=axis)


def _neighbours(build: Rebuild, first: Value, second: Value, axis: int) -> Value | None:
    a, b = build.match(first, "slice"), build.match(second, "slice")
    if a is None or b is None or a.operands != b.operands or {a.attributes["axis"], b.attributes["axis"]} != {axis}:
        return None
    if a.attributes["stop"] != b.attributes["start"]:
        return None
    return build.emit("slice", *a.operands, axis=axis, start=a.attributes["start"], stop=b.attributes["stop"])


def _along_the_same(op: Op, build: Rebuild, name: str) -> Op | None:
    inner = build.match(op.operands[0], name)
    return inner if inner is not None and inner.attributes["axis"] == op.attributes["axis"] else None


def _is_same(a: Any, b: Any) -> bool:
    # As floats -0.0 is told from 0.0 and NaN is itself; of whole numbers these have 53 bits.
    return repr(float(a)) == repr(float(b)) and (a == b or a != a)


def _sliced(build: Rebuild, x: Value, op: Op, start: DimLike, stop: DimLike) -> Value:
    axis = op.attributes["axis"]
    if start == 0 and stop == x.type.shape[axis]:
        return x
    return build.emit("slice", x, axis=axis, start=start, stop=stop)


class Part(NamedTuple):
    """What a slice has of one operand: how much of the slice is before it, from where to where of the operand, and how
    much comes after."""

    before: DimLike
    start: DimLike
    stop: DimLike
    after: DimLike

    @property
    def is_empty(self) -> bool:
        return self.start == self.stop


def _parts(op: Op, operands: Sequence[Value], starts: Sequence[DimLike]) -> list[Part] | None:
    """The parts of operands of which each begins at its place in what is cut; None where that is not known."""
    start, stop = op.attributes["start"], op.attributes["stop"]
    found: list[Part] = []
    for operand, own in zip(operands, starts):
        end = add_dims(own, operand.type.shape[op.attributes["axis"]])
        low, high = _largest(start, own), None if end is None else _least(stop, end)
        if low is None or high is None:
            return None
        if is_at_most(high, low):
            found.append(Part(0, 0, 0, 0))
            continue
        before, first, last, after = (
            subtract_dims(*pair) for pair in ((low, start), (low, own), (high, own), (stop, high))
        )
        if before is None or first is None or last is None or after is None:
            return None
        found.append(Part(before, first, last, after))
    return found


def _least(a: DimLike, b: DimLike) -> DimLike | None:
    """The smaller of two places, where that is known."""
    if is_at_most(a, b):
        return a
    return b if is_at_most(b, a) else None


def _largest(a: DimLike, b: DimLike) -> DimLike | None:
    least = _least(a, b)
    return None if least is None else b if least == a else a


WINDOWS: Rules = {
    "slice": (
        constant_in_another_shape, same_shape, slice_twice, slice_of_pad, slice_of_concat, slice_of_repeated,
        slice_before_computing,
    ),
    "pad": (same_shape, pad_of_empty, pad_twice, pad_with_its_own),
    "concat": (join_once,),
}  # fmt: skip
