"""Windows of an array as loops along all of it: what is computed of each is computed under a mask.

The losses of `x[:, :10]` and `x[:, 10:30]` reduce rows along two axes, and the gradient is stored along a third. Here
each value of a window gets as many columns as the array has, and a mask says which of them count: where it does not
hold, reductions and margins choose what is neutral, and nobody looks at what else is computed. Windows of one column
become numbers of the row.

    reduce y = reduce (select inside x neutral)    pad v = select inside v beside    exact, where y = slice x

In: a function that is no single kernel as it is written. Out: the same along whole arrays, and of which operation each
came. Kernels go along stretches in which masks do not change (`emission/marks.py`): they compute and read no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...ir.builder import Builder
from ...ir.frozen import frozen
from ...ir.function import Function, Op, Value
from ...ir.ops import FREE, REDUCTIONS
from ...ir.schedule import Place
from ...ir.types import DimLike, Shape, add_dims, subtract_dims
from ..functions import without_dead
from ..numbers import COUNTED, identity
from .axes import Axes, Slot, is_unit_reshape, join_axes, long_axes, values_in_order


@frozen
class Window:
    """`size` columns from `start` on, and so many `after` it."""

    start: DimLike
    size: DimLike
    after: DimLike


@frozen
class Masked:
    """A function along the columns of whole arrays, the operation that each of its own was, and where in which window
    its checks are, and what it stores."""

    function: Function
    original: Mapping[Op, Op]
    places: Mapping[Op | Value, Place]


def under_masks(function: Function) -> Masked | None:
    """`function` along whole arrays; None where it has no windows, or what lies in one lies in two at once, along one
    axis or two."""
    if not any(op.name in ("slice", "pad") for op in function.ops):
        return None
    if any(op.name in ("matmul", "concat") or (op.name == "reshape" and not is_unit_reshape(op))
           for op in function.ops):  # fmt: skip
        return None
    narrow, function, axes = function, _with_own_repeats(function), Axes()
    for op in function.ops:
        join_axes(op, axes)
    parts: dict[Slot, Window] = {}
    arrays: set[Slot] = set()
    for op in (op for op in function.ops if op.name in ("slice", "pad")):
        array, part = (op.operands[0], op.result) if op.name == "slice" else (op.result, op.operands[0])
        slot, window = axes.find((part, op.attributes["axis"])), _window(op)
        if window is None or parts.setdefault(slot, window) != window:
            return None
        arrays.add(axes.find((array, op.attributes["axis"])))
    long = ([axes.find((value, axis)) for axis in long_axes(value)] for value in values_in_order(function))
    if not parts.keys().isdisjoint(arrays) or any(sum(slot in parts for slot in own) > 1 for own in long):
        return None
    stored = {axes.find((value, axis)) for value in function.outputs for axis in range(value.type.rank)}
    if not stored.isdisjoint(parts) and stored.isdisjoint(arrays):
        return None  # kernels of their own read no more, and store whole vectors
    masking = _Masking(function, axes, parts)
    masked = masking.masked()
    if masked is None:
        return None
    made = narrow.producers()
    was = {masking.at[value]: value for op in function.ops for value in op.results}
    original = {op: made[was[value]] for op in masked.ops for value in op.results
                if was.get(value) in made and made[was[value]].name == op.name}  # fmt: skip
    return Masked(masked, original, masking.places)


def _window(op: Op) -> Window | None:
    """Where in an array something lies."""
    (operand,), axis = op.operands, op.attributes["axis"]
    if op.name == "pad":
        return Window(op.attributes["before"], operand.type.shape[axis], op.attributes["after"])
    after = subtract_dims(operand.type.shape[axis], op.attributes["stop"])
    return None if after is None else Window(op.attributes["start"], op.result.type.shape[axis], after)


def _with_own_repeats(function: Function) -> Function:
    """Every use of a constant, or of what only repeats, is one of its own: windows of one size share them."""
    producer, ops = function.producers(), list[Op]()

    def own(value: Value) -> Value:
        op = producer.get(value)
        if op is None or value in function.outputs or op.name not in (*FREE, "broadcast"):
            return value
        copy = Value(value.name, value.type, value.span)
        ops.append(replace(op, operands=tuple(map(own, op.operands)), results=(copy,)))
        return copy

    for op in function.ops:
        ops.append(replace(op, operands=tuple(map(own, op.operands))))
    return without_dead(function.with_(ops=tuple(ops)))


@dataclass
class _Masking:
    """A function in the making."""

    function: Function
    axes: Axes
    parts: Mapping[Slot, Window]
    build: Builder = field(default_factory=Builder)
    at: dict[Value, Value] = field(default_factory=dict)
    masks: dict[tuple[Window, Shape, int], Value] = field(default_factory=dict)
    places: dict[Op | Value, Place] = field(default_factory=dict)

    def masked(self) -> Function | None:
        function, build = self.function, self.build
        for value in function.inputs:
            self.at[value] = self._input(value)
        for op in function.ops:
            build.span = op.span
            found = self._op(op)
            if found is None:
                return None
            self.at.update(zip(op.results, found))
        outputs = tuple(map(self._stored, function.outputs))
        return without_dead(function.with_(ops=tuple(build.ops), outputs=outputs))

    def window(self, value: Value, axis: int) -> Window | None:
        """The window that `value` runs along by its axis, if it has more than one column."""
        return None if value.type.shape[axis] == 1 else self.parts.get(self.axes.find((value, axis)))

    def _axis(self, value: Value) -> tuple[int, Window] | None:
        """The axis along which `value` lies within an array."""
        found = [(axis, window) for axis in range(value.type.rank) if (window := self.window(value, axis))]
        return found[0] if found else None

    def _shape(self, value: Value) -> Shape:
        """The shape of what `value` becomes."""
        windows = [self.window(value, axis) for axis in range(value.type.rank)]
        return tuple(size if window is None else _sum(window.start, _sum(size, window.after))
                     for size, window in zip(value.type.shape, windows))  # fmt: skip

    def _input(self, value: Value) -> Value:
        """What lies beside the values of a window: zeros."""
        inside = self._axis(value)
        if inside is None:
            return value
        axis, window = inside
        return self.build.emit("pad", value, hint=value.name, axis=axis, before=window.start, after=window.after)

    def _stored(self, value: Value) -> Value:
        """What is stored where a window is, in an array of its size."""
        inside, found = self._axis(value), self.at[value]
        if inside is None or found.type == value.type:
            return found
        axis, window = inside
        nothing = False if value.type.dtype == "bool" else 0
        chosen = self._chosen(found, window, axis, nothing, value.name)
        self.places[chosen] = value.type.shape, axis, window.start
        return chosen

    def _number(self, number: DimLike, dtype: str, shape: Shape) -> Value:
        """A size as a number, everywhere."""
        if isinstance(number, int):
            return self.build.constant(number, dtype, shape)
        found = self.build.emit("cast", self.build.emit("size", of=(number,)), dtype=dtype)
        return self.build.emit("broadcast", found, dims=(), shape=shape)

    def _chosen(self, value: Value, window: Window, axis: int, beside: float | int | bool, hint: str) -> Value:
        """`value` where a window is, else a constant."""
        shape = value.type.shape
        if window.start == window.after == 0:
            return value
        key = window, shape, axis
        if key not in self.masks:
            self.masks[key] = self._mask(*key)
        other = self.build.constant(beside, value.type.dtype, shape)
        return self.build.emit("select", self.masks[key], value, other, hint=hint)

    def _mask(self, window: Window, shape: Shape, axis: int) -> Value:
        """Whether a column is in the window."""
        build = self.build
        place = build.emit("iota", axis=axis, dtype="i32", shape=shape)
        found = []
        if window.start != 0:
            found.append(build.emit("ge", place, self._number(window.start, "i32", shape), hint="begun"))
        if window.after != 0:
            end = self._number(_sum(window.start, window.size), "i32", shape)
            found.append(build.emit("lt", place, end, hint="not_ended"))
        return found[0] if len(found) == 1 else build.emit("and", *found, hint="inside")

    # --- operations ---

    def _op(self, op: Op) -> tuple[Value, ...] | None:
        operands = [self.at[operand] for operand in op.operands]
        match op.name:
            case "slice":
                return (self._slice(op, operands[0]),)
            case "pad":
                return (self._pad(op, operands[0]),)
            case "check" if (inside := self._axis(op.operands[0])) is not None:
                return self._check(op, operands, *inside)
            case "iota" if (along := self._along(op, op.result)) is not None:
                return self._iota(op, along)
            case "gather" if (along := self._along(op, op.operands[0])) is not None:
                return self._gather(op, operands, along)
            case "eq" if (found := self._compared(op)) is not None:
                operands = found
            case name if name in REDUCTIONS:
                operands = [self._reduced(op, operands[0])]
        shapes = [self._shape(result) for result in op.results]
        same = all(shape == result.type.shape for shape, result in zip(shapes, op.results))
        if same and all(a is b for a, b in zip(operands, op.operands)) and len(operands) == len(op.operands):
            return self.build.append(op)
        attributes = {name: shapes[0] if name == "shape" else value for name, value in op.attributes.items()}
        return self.build.emit_many(op.name, operands, attributes, [result.name for result in op.results])

    def _along(self, op: Op, value: Value) -> Window | None:
        """The window along whose columns an operation counts or picks."""
        return self.window(value, op.attributes["axis"])

    def _check(self, op: Op, operands: list[Value], axis: int, window: Window) -> tuple[Value, ...]:
        """It holds beside the window, and fails at a place in it."""
        ok, *shown = operands
        chosen = self._chosen(ok, window, axis, True, ok.name)
        check = replace(op, operands=(chosen, *shown))
        self.places[check] = op.operands[0].type.shape, axis, window.start
        return self.build.append(check)

    def _slice(self, op: Op, array: Value) -> Value:
        """The array itself; of one column a number a row."""
        axis, (size,) = op.attributes["axis"], (op.result.type.shape[op.attributes["axis"]],)
        if size != 1:
            return array
        shape = (*array.type.shape[:axis], *array.type.shape[axis + 1 :])
        column = self._number(op.attributes["start"], "i32", shape)
        found = self.build.emit("gather", array, column, hint=op.result.name, axis=axis)
        return self.build.emit("reshape", found, hint=op.result.name, shape=op.result.type.shape)

    def _pad(self, op: Op, value: Value) -> Value:
        axis, shape = op.attributes["axis"], self._shape(op.result)
        (operand,) = op.operands
        if operand.type.shape[axis] == 1:
            dims = tuple(range(value.type.rank))
            value = self.build.emit("broadcast", value, hint=value.name, dims=dims, shape=shape)
        window = Window(op.attributes["before"], operand.type.shape[axis], op.attributes["after"])
        return self._chosen(value, window, axis, op.attributes["value"], op.result.name)

    def _iota(self, op: Op, window: Window) -> tuple[Value, ...] | None:
        """The number of a column in its window."""
        if op.result.type.dtype not in COUNTED:
            return None
        build, shape, dtype = self.build, self._shape(op.result), op.result.type.dtype
        place = build.emit("iota", hint=op.result.name, axis=op.attributes["axis"], dtype=dtype, shape=shape)
        if window.start == 0:
            return (place,)
        return (build.emit("sub", place, self._number(window.start, dtype, shape), hint=op.result.name),)

    def _gather(self, op: Op, operands: list[Value], window: Window) -> tuple[Value, ...] | None:
        """What lies at a place in the window: 0 beside it, as of the array where it has no such place."""
        build, (source, places) = self.build, operands
        dtype, shape = places.type.dtype, places.type.shape
        if dtype not in COUNTED or self._axis(op.operands[1]) is not None:
            return None
        if window.start == window.after == 0:
            return build.emit_many("gather", operands, dict(op.attributes), [op.result.name])
        # At most the last: as a bound of what is looked at, less than the size would be one column more.
        last = (build.emit("le", places, self._number(window.size - 1, dtype, shape)) if isinstance(window.size, int)
                else build.emit("lt", places, self._number(window.size, dtype, shape)))  # fmt: skip
        ends = [build.emit("ge", places, build.constant(0, dtype, shape)), last]
        is_there, zero = build.emit("and", *ends), build.constant(0, dtype, shape)
        place = build.emit("select", is_there, places, zero, hint=places.name)
        if window.start != 0:
            place = build.emit("add", place, self._number(window.start, dtype, shape), hint=places.name)
        found = build.emit("gather", source, place, axis=op.attributes["axis"], hint=op.result.name)
        nothing = build.constant(0, found.type.dtype, shape)
        return (build.emit("select", is_there, found, nothing, hint=op.result.name),)

    def _compared(self, op: Op) -> list[Value] | None:
        """iota - start == broadcast(place) as iota == broadcast(place + start): one number a row is shifted."""
        producer = self.function.producers()
        for counted, other in (op.operands, op.operands[::-1]):
            iota, repeat = producer.get(counted), producer.get(other)
            if iota is None or repeat is None or iota.name != "iota" or repeat.name != "broadcast":
                continue
            window = self._along(iota, counted)
            (place,) = repeat.operands
            if window is None or window.start == 0 or self._axis(place) is not None:
                continue
            build, (dtype, shape) = self.build, (counted.type.dtype, self._shape(counted))
            column = build.emit("iota", hint=counted.name, axis=iota.attributes["axis"], dtype=dtype, shape=shape)
            start = self._number(window.start, dtype, place.type.shape)
            moved = build.emit("add", self.at[place], start, hint=place.name)
            dims = repeat.attributes["dims"]
            return [column, build.emit("broadcast", moved, hint=other.name, dims=dims, shape=shape)]
        return None

    def _reduced(self, op: Op, value: Value) -> Value:
        """What a reduction along a window looks at: beside it, what changes nothing."""
        (operand,) = op.operands
        inside = self._axis(operand)
        if inside is None or inside[0] not in op.attributes["axes"]:
            return value
        return self._chosen(value, inside[1], inside[0], identity(op.name, operand.type.dtype), operand.name)


def _sum(a: DimLike, b: DimLike) -> DimLike:
    """The parts of an array's size, which is one."""
    found = add_dims(a, b)
    assert found is not None
    return found
