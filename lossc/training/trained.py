"""What is trained: for each element type the arenas of parameters, gradients and state, and their update.

In: the parameters of a step, an optimizer. Out: a `Trained` an element type. Parameters of one group lie together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lossc.arrays import to_dtype
from lossc.ir.diagnostics import Limitation, LirError, did_you_mean
from lossc.ir.frozen import frozen
from lossc.optim import Optimizer
from lossc.parameters import Parameter, Parameters
from lossc.runtime.device import Device
from lossc.runtime.status import StatusWords
from lossc.training.arena import Arena, arena_alignment, segments_of
from lossc.training.update import GroupRange, Update

TRAINED_TYPES = ("f32", "f64")


@frozen
class Trained:
    """Everything of the trained parameters of one element type."""

    parameters: Arena
    gradients: Arena
    state: Mapping[str, Arena]
    update: Update

    @property
    def arenas(self) -> tuple[Arena, ...]:
        """All that an update uses."""
        return (self.parameters, self.gradients, *self.state.values())


def check_groups(optimizer: Optimizer, parameters: Parameters) -> None:
    """Raise LirError where the optimizer has settings for a group that no parameter is in."""
    known = {parameters.entry(name).group for name in parameters}
    for group in getattr(optimizer, "groups", ()):
        if group not in known:
            raise LirError(f"no parameter is in the group `{group}`", *did_you_mean(group, known),
                           f'graph.parameters.set_group("{group}", "*.bias") puts some there')  # fmt: skip


def make_arenas(
    device: Device, optimizer: Optimizer, entries: Sequence[Parameter], shapes: Mapping[str, tuple[int, ...]],
    clip_value: float | None, status: StatusWords | None,
) -> dict[str, Trained]:  # fmt: skip
    """By element type. `status` are the words that keep an update from happening. Raises Limitation for a type that
    parameters are not kept as."""
    trained = {}
    for dtype in dict.fromkeys(entry.type.dtype for entry in entries):
        if dtype not in TRAINED_TYPES:
            raise Limitation(f"a training step keeps parameters as f32 or f64, not {dtype}",
                             'make the parameter f32 and cast it in the graph: w.cast("bf16")')  # fmt: skip
        own = [entry for entry in entries if entry.type.dtype == dtype]
        groups = dict.fromkeys(entry.group for entry in own)
        own = [entry for group in groups for entry in own if entry.group == group]
        table = segments_of([(entry.name, shapes[entry.name]) for entry in own],
                            to_dtype(dtype).itemsize, arena_alignment(device))  # fmt: skip
        parameters, gradients = Arena(device, dtype, table), Arena(device, dtype, table)
        state = {name: Arena(device, dtype, table) for name in optimizer.state}
        ranges = []
        for group in groups:
            members = [table[entry.name] for entry in own if entry.group == group]
            ranges.append(GroupRange(group, members[0].offset, members[-1].stop))
        # Of parameters without elements one is left, which launches nothing.
        ranges = [part for part in ranges if part.stop > part.start] or ranges[:1]
        update = Update(device, optimizer, ranges, parameters, state, clip_value, status)
        trained[dtype] = Trained(parameters, gradients, state, update)
    return trained
