"""Plans: everything about a run that depends on sizes alone, worked out once for each set of sizes.

In: what `planning.py` finds. Out: a `Plan`: kernels to launch, with all arguments set but those that change from call
to call, where these go, and what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np

from ..ir.frozen import frozen
from ..ir.program import Program, root_of
from .build import BuiltProgram, Kernels
from .device import Device
from .memory import Argument
from .small_outputs import SmallOutput
from .status import StatusWords

Use = tuple[Callable[[int, Any], None], int]
"""Where an argument goes: the `set_arg` of a kernel, and the position."""

PlannedLaunch = tuple[Any, tuple[int], tuple[int] | None]
"""A kernel, its global size and its local size."""


@frozen
class Loaded:
    """A program with all that plans are made from. `fixed_inputs`, `fixed_outputs` and, if given, `status` have memory
    for good."""

    program: Program
    device: Device
    sources: Mapping[str, str]
    options: str
    fixed_inputs: Mapping[str, Argument]
    fixed_outputs: Mapping[str, Argument]
    status: StatusWords | None = None

    @cached_property
    def roots(self) -> dict[str, str]:
        """For each buffer the one whose memory it is."""
        return {name: root_of(name, self.program.buffers) for name in self.program.buffers}

    @cached_property
    def input_buffers(self) -> dict[str, str]:
        return {name: buffer for (name, _), buffer in zip(self.program.inputs, self.program.input_buffers)}

    @cached_property
    def free_inputs(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.program.inputs if name not in self.fixed_inputs)

    @cached_property
    def free_buffers(self) -> tuple[str, ...]:
        return tuple(self.input_buffers[name] for name in self.free_inputs)


@frozen
class PlannedOutput:
    """One output of the program: the buffer that it lies in, and whether the caller gets a copy of that."""

    name: str
    root: str
    shape: tuple[int, ...]
    dtype: np.dtype
    copied: bool


@frozen
class Fresh:
    """An output that each run makes anew. `small` makes it where it is small and pointers are shared."""

    root: str
    shape: tuple[int, ...]
    dtype: np.dtype
    uses: tuple[Use, ...]
    small: SmallOutput | None


@frozen(eq=False)
class Plan:
    """`input_uses` are those of each free input, in order.

    `largest` is the input that large outputs lie apart from, None where all is small. `plain`: pointers are shared, and
    what is handed out is the `fresh` outputs, in order; `quick`: all of it, or these, are small, too. Where
    `synchronous`, a launch returns when it is done. `kernels` keep their programs alive; the first run leaves more of
    the `unsaved` ones to be put on disk.
    `free_outputs` are handed out; `outputs` are these, and fixed ones that a run copies to their places.
    `addresses` are those that the arguments of inputs and outputs are set to, where a run by address was the last.
    `chains` are those that begin with this plan.
    """

    sizes: Mapping[str, int]
    launches: tuple[PlannedLaunch, ...]
    input_uses: tuple[tuple[Use, ...], ...]
    fresh: tuple[Fresh, ...]
    outputs: tuple[PlannedOutput, ...]
    largest: int | None
    plain: bool
    quick: bool
    status: StatusWords | None
    keep: Mapping[str, Argument]
    queue: Any
    synchronous: bool
    kernels: Kernels
    unsaved: list[BuiltProgram]
    free_outputs: Mapping[str, PlannedOutput]
    addresses: list[int] = field(default_factory=list)
    chains: list[Any] = field(default_factory=list)

    def save(self) -> None:
        """When a run is done: put on disk what the driver has compiled for it."""
        while self.unsaved:
            self.unsaved[-1].store()
            self.unsaved.pop()

    @cached_property
    def calls(self) -> tuple[tuple[Any, ...], ...]:
        """What the driver is to be called with, for each launch."""
        return tuple((self.queue, *launch) for launch in self.launches)

    @cached_property
    def result_uses(self) -> tuple[tuple[Use, ...], ...]:
        """Where the outputs go, in order, of a plan that is plain."""
        return tuple(fresh.uses for fresh in self.fresh)
