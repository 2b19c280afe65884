"""From fused kernels to a program: choose a strategy for each, lower it, lay out the buffers.

In: an outlined module with its schedules, facts of a device. Out: a `Program`, and for each kernel the strategy that
was chosen with the reasons against the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..ir.arithmetic import integer, maximum, minimum
from ..ir.diagnostics import CompilerBug, Limitation
from ..ir.frozen import frozen
from ..ir.function import Function, Op, Value
from ..ir.names import distinct
from ..ir.program import STATUS, Beside, Buffer, Check, Program, Repeat, Step, Variant, root_of
from ..ir.schedule import Schedule
from ..ir.target import DeviceInfo
from ..ir.types import ITEM_SIZE, bind_dim, dim_names
from .block_by_block import block_by_block
from .checks.kernel import check_kernel
from .checks.program import check_program
from .decisions import Candidate, Decision
from .emission.points import product, size_of
from .fused import Fused
from .fusion.outline import Outlined
from .overwriting import is_read_in_place, overwrites
from .pieces import elements_per_row, has_rows, rows_at_a_time, step_of_pieces
from .side_by_side import side_by_side
from .single_item import joined, with_single_item
from .strategies import choose, lower_with, stores_once

KERNELS_LEAVE = 15
"""Sixteenths of a memory budget that are for values: the driver keeps half a mebibyte for each kernel it has built."""


@frozen
class Choice:
    """Why a fused kernel is lowered as it is."""

    strategy: str
    against: Mapping[str, str]
    why: str


@frozen
class Lowered:
    program: Program
    choices: Mapping[str, Choice]
    fused: Mapping[str, Fused]


def lower(
    outlined: Outlined, device: DeviceInfo, strategy: str | None = None, decided: Mapping[str, Decision] | None = None
) -> Lowered:
    """The program of an outlined module on a device. `strategy` is used wherever it applies, what is `decided` for a
    kernel goes before that."""
    lowering = _Lowering(outlined, device, strategy, decided or {})
    program = lowering.program(outlined.module.entry)
    for kernel in program.kernels:
        check_kernel(kernel, device)
    check_program(program)
    return Lowered(program, lowering.choices, lowering.fused)


class _Lowering:
    def __init__(self, outlined: Outlined, device: DeviceInfo, strategy: str | None, decided: Mapping[str, Decision]):
        self.outlined, self.device, self.strategy, self.decided = outlined, device, strategy, decided
        self.names = buffer_names(outlined.module.entry)
        self.buffers: dict[str, Buffer] = {}
        self.checks: list[Check] = []
        self.steps: list[Step] = []
        self.repeats: list[Repeat] = []
        self.of_pieces: list[str] = []
        self.choices: dict[str, Choice] = {}
        self.fused: dict[str, Fused] = {}

    def program(self, entry: Function) -> Program:
        names = self.names
        outputs = dict.fromkeys(entry.outputs, "output")
        self.allocate(entry.inputs, {}, dict.fromkeys(entry.inputs, "input"))
        self.allocate(_results(entry), _views(entry), outputs)
        self.function(entry)
        if self.checks:
            self.buffers[STATUS] = Buffer(STATUS, "i32", integer(len(self.checks)), "status")
        together, beside = self.together(entry.name), self.beside(entry)
        for variant in (*(variant for step in self.steps for variant in step.variants), *together):
            self.buffers.update({buffer.name: buffer for buffer in variant.temporaries})
        dims = dict.fromkeys(name for value in entry.inputs for dim in value.type.shape for name in dim_names(dim))
        return Program(
            entry.name, tuple((value.name, value.type) for value in entry.inputs),
            tuple(zip(entry.names_of_outputs, (value.type for value in entry.outputs))), self.buffers,
            tuple(self.steps), tuple(self.checks), tuple(names[value] for value in entry.outputs), tuple(dims),
            tuple(value.name for value in entry.inputs if value in entry.params), tuple(self.repeats),
            tuple(names[value] for value in entry.inputs),
            together, beside,
        )  # fmt: skip

    def together(self, name: str) -> tuple[Variant, ...]:
        """The launches of all steps, for few rows and for blocks of them."""
        few = joined(name, self.steps, self.fused, self.buffers, self.device)
        if self.strategy is not None or any(variant.guard is None for variant in few):
            return few
        return (*few, *block_by_block(name, self.steps, self.fused, self.buffers, self.device))

    def beside(self, entry: Function) -> tuple[Beside, ...]:
        """The launches of neighbouring steps that do not wait for one another."""
        old = {value.name: self.names[value] for value in entry.inputs}
        new = dict(zip(entry.names_of_outputs, (root_of(self.names[value], self.buffers) for value in entry.outputs)))
        shared = [(old[one], new[other]) for one, other in overwrites(self.outlined)]
        return side_by_side(entry.name, self.steps, self.buffers, shared, self.device)

    def allocate(self, values: Iterable[Value], views: Mapping[Value, Value], roles: Mapping[Value, str]) -> None:
        """A buffer for each value; a view is the memory of what it looks at."""
        for value in values:
            name, shape = self.names[value], value.type.shape
            alias = self.names[views[value]] if value in views else None
            role = roles.get(value, "temporary")
            self.buffers[name] = Buffer(name, value.type.dtype, product(shape), role, shape, alias)

    def function(self, function: Function) -> None:
        """The steps of the entry, or of a function that it repeats."""
        for op in function.ops:
            if op.name == "launch":
                self.steps.append(self.step(op))
            elif op.name == "repeat":
                self.repeat(op)
            elif op.name != "reshape":  # that is a view: memory under another shape, no step
                raise CompilerBug(f"`{op.name}` was not outlined")

    def step(self, op: Op) -> Step:
        name, names = op.attributes["callee"], self.names
        schedule = self.outlined.schedules[name]
        stored = dict(zip(schedule.function.inputs, map(names.get, op.operands)))
        slots = _slots(schedule, stored, self.checks)
        inside, outside = (*schedule.function.inputs, *schedule.function.outputs), (*op.operands, *op.results)
        buffers = {value: names[stored] for value, stored in zip(inside, outside)}
        reserved = frozenset(_piece_names(self.outlined.module.entry))
        fused = Fused(name, schedule, buffers, slots, reserved=reserved)
        self.fused[name] = fused
        chosen, against = self.choose(fused)
        decision = self.decided.get(name)
        candidate = decision.candidate if decision else Candidate(chosen)
        why = decision.why if decision else "asked for" if chosen == self.strategy else "cost model"
        self.choices[name] = Choice(chosen, against, why)
        return Step(name, with_single_item(fused, lower_with(candidate, fused, self.device), self.device))

    def choose(self, fused: Fused) -> tuple[str, Mapping[str, str]]:
        decision = self.decided.get(fused.name)
        return choose(fused, self.device, decision.candidate.strategy if decision else self.strategy)

    def is_written_over(self, function: Function, old: Value, new: Value) -> bool:
        """Whether what is carried on can stay in one buffer: the one kernel that reads it stores the new value of an
        element once, after it has read that element and nothing else of it."""
        users = [op for op in function.ops if old in op.operands]
        if len(users) != 1 or users[0].name != "launch" or new not in users[0].results:
            return False
        (op,) = users
        schedule = self.outlined.schedules[op.attributes["callee"]]
        if not is_read_in_place(schedule, op, [value for value in op.operands if value is old], new):
            return False
        kernel = schedule.function
        buffers = zip((*kernel.inputs, *kernel.outputs), (*op.operands, *op.results))
        fused = Fused(kernel.name, schedule, {value: self.names[stored] for value, stored in buffers}, {})
        return stores_once(self.choose(fused)[0])

    def scratch(self, steps: Iterable[Step]) -> int:
        """Bytes that the work-items of a launch keep for themselves at most, of those that run at the same time. A GPU
        has registers for that."""
        if self.device.kind != "cpu":
            return 0
        kernels = (launch.kernel for step in steps for variant in step.variants for launch in variant.launches)
        each = (sum(array.size * ITEM_SIZE[array.dtype] for array in kernel.private_arrays) for kernel in kernels)
        return self.device.compute_units * max(each, default=0)

    def repeat(self, op: Op) -> None:
        """The steps of one piece. What is cut lies in the buffers of the whole; the rest has buffers of a piece."""
        function = self.outlined.module.functions[op.attributes["callee"]]
        step, start = op.attributes["step"], op.attributes["start"]
        carried, before = function.outputs[: op.attributes["carried"]], function.inputs[len(op.operands) :]
        outside = {**dict(zip(function.inputs, op.operands)), **dict(zip(function.outputs, op.results))}
        self.names |= buffer_names(function, self.names.values())
        self.names |= {value: self.names[whole] for value, whole in outside.items()}
        views = _views(function)
        over = [(old, new) for old, new in zip(before, carried) if self.is_written_over(function, old, new)]
        self.names |= {old: self.names[new] for old, new in over}
        if views.keys() & set(function.outputs):
            raise Limitation(f"@{function.name} is repeated and gives a view, which no kernel writes piece by piece",
                             "give what the view looks at, and reshape it outside", span=op.span)  # fmt: skip
        waiting = [pair for pair in zip(before, carried) if pair not in over]
        inside = [value for value in (*(old for old, _ in waiting), *_results(function)) if value not in outside]
        self.allocate(inside, views, {})
        first, first_check = len(self.steps), len(self.checks)
        self.function(function)
        # A view of something cut is cut as well.
        cut = {value for value in outside if has_rows(value, step)}
        for value, source in views.items():
            cut |= {value} if source in cut else set()
        row_elements = {self.names[value]: elements_per_row(value.type.shape, step) for value in cut}
        pairs = tuple((self.names[old], self.names[new]) for old, new in waiting)
        held = [value for value in inside if value not in views]
        budget = op.attributes["budget"] * KERNELS_LEAVE // 16 - self.scratch(self.steps[first:])
        most = rows_at_a_time(budget, held, step)
        rows = size_of(op.attributes["rows"][0])
        for earlier in self.repeats:
            # What shares memory has as many rows.
            most = minimum(most, earlier.most) if earlier.rows == rows else most
        self._share([self.names[value] for value in held if has_rows(value, step)])
        self.repeats.append(Repeat(rows, most, step, start, pairs))
        number = len(self.repeats) - 1
        # A check is of all rows, and shows what is still there after the last piece.
        checked = {check.slot: elements_per_row(check.shape, step) for check in self.checks[first_check:]}
        self.checks[first_check:] = [
            replace(check, shape=tuple(bind_dim(dim, {step: op.attributes["rows"][0]}) for dim in check.shape),
                    value_buffer=check.value_buffer if check.value_buffer in row_elements else None)
            for check in self.checks[first_check:]
        ]  # fmt: skip
        inside_pieces = self.steps[first:]
        self.steps[first:] = [step_of_pieces(s, number, start, row_elements, checked) for s in inside_pieces]

    def _share(self, names: Sequence[str]) -> None:
        """Have the temporaries `names` of a repeat lie where those of a repeat before it lay: the same pieces of rows,
        which that one needs no longer."""
        free = list(self.of_pieces)
        for name in names:
            mine = self.buffers[name]
            other = next((other for other in free if self.buffers[other].dtype == mine.dtype), None)
            if other is None:
                self.of_pieces.append(name)
                continue
            free.remove(other)
            place = self.buffers[other]
            self.buffers[other] = replace(place, size=maximum(place.size, mine.size))
            self.buffers[name] = replace(mine, alias_of=other)


def _results(function: Function) -> list[Value]:
    return [result for op in function.ops for result in op.results]


def _views(function: Function) -> dict[Value, Value]:
    """What each reshape looks at."""
    return {op.result: op.operands[0] for op in function.ops if op.name == "reshape"}


def _piece_names(function: Function) -> set[str]:
    """What the sizes and first rows of pieces are called: arguments of kernels."""
    return {op.attributes[key] for op in function.ops if op.name == "repeat" for key in ("step", "start")}


def buffer_names(function: Function, others: Iterable[str] = ()) -> dict[Value, str]:
    """A distinct identifier for every value of a function, none of `others`."""
    taken: set[str] = {*others, *(n for v in function.inputs for d in v.type.shape for n in dim_names(d))}
    taken |= _piece_names(function)
    values = (*function.inputs, *_results(function))
    wanted = (re.sub(r"[^A-Za-z0-9_]", "_", value.name) or "value" for value in values)
    return dict(zip(values, distinct(wanted, taken)))


def _as_stored(values: Iterable[Value], kernel: Function) -> Iterator[Value]:
    """The values, each before its changes of type and shape: the same numbers in the same order, perhaps in memory
    where the others are not."""
    producer = kernel.producers()
    for value in values:
        while value in producer and producer[value].name in ("cast", "reshape"):
            value = producer[value].operands[0]
        yield value


def _slots(schedule: Schedule, stored: Mapping[Value, str | None], checks: list[Check]) -> dict[Op, int]:
    """Number the checks of a kernel, adding them to those of the program. `stored` names the buffers of its inputs."""
    slots: dict[Op, int] = {}
    # Those of the kernel as it is written tell where they fail.
    for op, written in zip(*([op for op in function.ops if op.name == "check"]
                             for function in (schedule.function, schedule.written))):  # fmt: skip
        slots[op] = len(checks)
        ok, *shown = written.operands
        buffer = next((stored[v] for v in _as_stored(shown, schedule.written) if v in stored), None)
        checks.append(Check(slots[op], op.attributes, ok.type.shape, buffer, op.span))
    return slots
