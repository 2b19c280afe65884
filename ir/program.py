"""A program: kernels, buffers, and the steps that launch them. Plain data between compiler and runtime.

Sizes, launch geometry and guards are scalar expressions (`kernel.Expr`) over dimension names, so that one program
serves every batch size. A step holds variants: the first whose guard is true is launched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .diagnostics import CompilerBug, Span
from .frozen import frozen
from .integers import evaluate_integer
from .repeat import pieces
from .types import DimLike, Type

if TYPE_CHECKING:
    from .integers import Var
    from .kernel import Expr, Kernel

# The value of a status word while its check holds: larger than any position.
CHECK_HOLDS = 2**31 - 1

# The buffer of the status words. Neither a dimension nor the buffer of a value has a name with a dot in it.
STATUS = "check.status"


@frozen
class Buffer:
    """`role` is input, output, temporary or status. `size` counts elements. A buffer with `alias_of` is the same
    memory under another shape."""

    name: str
    dtype: str
    size: Expr
    role: str
    shape: tuple[DimLike, ...] | None = None
    alias_of: str | None = None


@frozen
class Entry:
    """What running takes of a kernel. Its fields are those of `Kernel`, and programs that were put on disk have it in
    place of each kernel."""

    name: str
    scalars: tuple[Var, ...]
    grouping: int | None


@frozen
class Launch:
    """One kernel with its buffers in the order of its arguments and its scalars by name."""

    entry: Kernel | Entry
    buffers: tuple[str, ...]
    scalars: Mapping[str, Expr]
    global_size: Expr

    @property
    def kernel(self) -> Kernel:
        """With its body, which a program that was found on disk lacks."""
        if isinstance(self.entry, Entry):
            raise CompilerBug(f"the body of {self.entry.name} is asked for, and the program was found on disk")
        return self.entry


@frozen
class Variant:
    """Launches in order, taken where `guard` holds (None: always). `strategy` says how they came about."""

    strategy: str
    launches: tuple[Launch, ...]
    guard: Expr | None = None
    temporaries: tuple[Buffer, ...] = ()


@frozen
class Repeat:
    """Steps that run for one piece of the rows after the other, `most` rows at a time. `step` and `start` are the
    dimension names of a piece's size and of its first row. `carried` pairs the buffer of what the piece before left
    with the buffer of what this one leaves: they change places from piece to piece, so that the last one leaves it in
    the second."""

    rows: Expr
    most: Expr
    step: str
    start: str
    carried: tuple[tuple[str, str], ...]


@frozen
class Step:
    """One fused kernel of the outlined module, in all its variants; the last one has no guard. Neighbours with the
    number of one of the program's `repeats` are repeated together."""

    name: str
    variants: tuple[Variant, ...]
    repeat: int | None = None


@frozen
class Beside:
    """`count` neighbouring steps from number `first` on, none of which waits for another. `variants` do all of them, in
    one launch where there is one for these sizes; the last has no guard."""

    first: int
    count: int
    variants: tuple[Variant, ...]


@frozen
class Turn:
    """A step to run: its sizes, and the buffers that stand in for others."""

    step: Step
    sizes: Mapping[str, int]
    instead: Mapping[str, str]


@frozen
class Check:
    """One run-time check: word `slot` of the status buffer holds the first position that fails. `span` is the place in
    the text that wants it; printing forgets that."""

    slot: int
    attributes: Mapping[str, Any]
    shape: tuple[DimLike, ...]
    value_buffer: str | None
    span: Span | None = field(default=None, compare=False, repr=False)


@frozen
class Program:
    """Everything the runtime needs. `inputs` and `outputs` pair names with types, in order, and `input_buffers` and
    `output_buffers` hold them; `dims` are the names that the shapes of the inputs bind. `together` are variants that do
    all the steps: the first whose guard is true is launched in their place. `beside` are steps whose launches are
    joined."""

    name: str
    inputs: tuple[tuple[str, Type], ...]
    outputs: tuple[tuple[str, Type], ...]
    buffers: Mapping[str, Buffer]
    steps: tuple[Step, ...]
    checks: tuple[Check, ...] = ()
    output_buffers: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    input_buffers: tuple[str, ...] = ()
    together: tuple[Variant, ...] = ()
    beside: tuple[Beside, ...] = ()

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Every kernel of every variant, without repetition."""
        launches = (launch for variant in self.variants for launch in variant.launches)
        return tuple({launch.kernel.name: launch.kernel for launch in launches}.values())

    @property
    def variants(self) -> Iterator[Variant]:
        """Every variant of every step, and those of several steps."""
        yield from (variant for step in self.steps for variant in step.variants)
        yield from self.together
        yield from (variant for several in self.beside for variant in several.variants)

    @property
    def step_by_step(self) -> Program:
        """The same with launches of its own for each step."""
        return replace(self, together=(), beside=())

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """Every name that sizes depend on: those of the inputs, and those of the pieces of repeated steps."""
        return (*self.dims, *(name for repeat in self.repeats for name in (repeat.step, repeat.start)))


def steps_of(program: Program, several: Beside) -> tuple[Step, ...]:
    """The steps that are joined there."""
    return program.steps[several.first : several.first + several.count]


def turns(program: Program, sizes: Mapping[str, int]) -> Iterator[Turn]:
    """Every step as often as it runs, in order; one in place of several that a launch does together."""
    for variant in program.together:
        if holds(variant.guard, sizes):
            yield Turn(Step("together", (replace(variant, guard=None),)), sizes, {})
            return
    for number, group in groupby(_joined(program), key=lambda step: step.repeat):
        steps = tuple(group)
        if number is None:
            yield from (Turn(step, sizes, {}) for step in steps)
            continue
        repeat = program.repeats[number]
        cut = pieces(evaluate_integer(repeat.rows, sizes), evaluate_integer(repeat.most, sizes))
        changed = {name: other for pair in repeat.carried for name, other in (pair, pair[::-1])}
        # A view of one is a view of the other.
        for name, buffer in program.buffers.items():
            if buffer.alias_of in changed:
                changed.setdefault(name, changed[buffer.alias_of])
        for position, (start, size) in enumerate(cut):
            instead = changed if (len(cut) - 1 - position) % 2 else {}
            yield from (Turn(step, {**sizes, repeat.step: size, repeat.start: start}, instead) for step in steps)


def _joined(program: Program) -> Iterator[Step]:
    """The steps, with one in place of those that are joined."""
    beside = {several.first: several for several in program.beside}
    number = 0
    while number < len(program.steps):
        several = beside.get(number)
        if several is None:
            yield program.steps[number]
        else:
            yield Step(" + ".join(step.name for step in steps_of(program, several)), several.variants)
        number += 1 if several is None else several.count


def root_of(name: str, buffers: Mapping[str, Buffer]) -> str:
    """The buffer whose memory a buffer is."""
    while name in buffers and (alias := buffers[name].alias_of) is not None:
        name = alias
    return name


def largest_sizes(program: Program, sizes: Mapping[str, int]) -> dict[str, int]:
    """`sizes` with those of the largest piece of every repeat: what buffers need."""
    largest = dict(sizes)
    for repeat in program.repeats:
        rows, most = evaluate_integer(repeat.rows, sizes), evaluate_integer(repeat.most, sizes)
        largest |= {repeat.step: pieces(rows, most)[0][1], repeat.start: 0}
    return largest


def holds(guard: Expr | None, sizes: Mapping[str, int]) -> bool:
    """Whether a variant may be taken for these sizes."""
    return guard is None or bool(evaluate_integer(guard, sizes))


def choose_variant(variants: Sequence[Variant], sizes: Mapping[str, int]) -> Variant:
    """The first variant whose guard holds; the last one has none."""
    for variant in variants:
        if holds(variant.guard, sizes):
            return variant
    raise CompilerBug("no variant of a step is for these sizes", ", ".join(variant.strategy for variant in variants))
