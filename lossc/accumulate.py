"""Small programs over gradient arenas: adding them up over batches, and their norm.

In: arenas. Out: `Accumulator`, whose arena is the sum over the batches so far, and `SumOfSquares`. Both are LIR,
compiled like everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lossc.arena import Arena
from lossc.compiler import compile_module
from lossc.ir.builder import Builder, Tensor
from lossc.ir.function import Module
from lossc.ir.types import Type, named
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument, copy


def flat_program(
    device: Device, dtype: str, inputs: tuple[str, ...], formula: Callable[..., Tensor],
    fixed_inputs: Mapping[str, Argument] | None = None, result: Argument | None = None,
) -> Executable:  # fmt: skip
    """A formula of arrays of P elements, ready to run. Its output goes to `result` where that is given."""
    build = Builder()
    tensors = [Tensor(build.input(name, Type(dtype, (named("P"),))), build) for name in inputs]
    function = build.function(formula.__name__, [formula(*tensors).value], ("result",))
    compiled = compile_module(Module({function.name: function}, function.name), device.info)
    written = {} if result is None else {"result": result}
    return Executable(compiled.program, device, compiled.sources(), compiled.build_options, fixed_inputs, written)


def accumulate(total: Tensor, gradient: Tensor) -> Tensor:
    return total + gradient


def sum_of_squares(values: Tensor) -> Tensor:
    return (values * values).sum().reshape([1])


class Accumulator:
    """The sum of an arena's contents over several batches, in an arena of its own."""

    def __init__(self, gradients: Arena) -> None:
        self.gradients = gradients
        self.total = Arena(gradients.device, gradients.dtype, gradients.segments)
        # In place: the sum reads only the element that it writes, and arenas have no ragged end.
        read = {"total": self.total.argument, "gradient": gradients.argument}
        self._add = flat_program(gradients.device, gradients.dtype, tuple(read), accumulate, read, self.total.argument)

    def add(self, first: bool) -> None:
        """Add what the gradients are now; the first batch replaces what was there."""
        if first:
            copy(self.total.device, self.gradients.argument, self.total.argument)
        else:
            self._add({})
        self.total.device_is_newer = self.total.argument.copied


class SumOfSquares:
    """The sum of the squares of everything in an arena."""

    def __init__(self, device: Device, dtype: str) -> None:
        self._program = flat_program(device, dtype, ("values",), sum_of_squares)

    def __call__(self, arena: Arena) -> float:
        return float(self._program({"values": arena.argument})[0][0])
