"""Running LIR text on a device or in the simulator, in one line."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from functions import PLAIN, evaluate, passes

from lossc.compiler import Compiled, compile_module
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import simulate

Arrays = dict[str, np.ndarray]


class Runner:
    """A compiled text that is called with arrays by keyword and returns its outputs by name.

    `device` is an OpenCL device, or None for the simulator.
    """

    def __init__(self, text: str, device: Device | None, strategy: str | None = None):
        self.compiled: Compiled = compile_module(parse(text), CPU_AVX512 if device is None else device.info, strategy)
        self.executable: Executable | None = None
        if device is not None:
            sources, options = self.compiled.sources(), self.compiled.build_options
            self.executable = Executable(self.compiled.program, device, sources, options)

    def __call__(self, **arrays: np.ndarray) -> Arrays:
        program = self.compiled.program
        found = simulate(program, arrays) if self.executable is None else self.executable(arrays)
        return {name: array for (name, _), array in zip(program.outputs, found)}


def run(text: str, device: Device | None, strategy: str | None = None, **arrays: np.ndarray) -> Arrays:
    return Runner(text, device, strategy)(**arrays)


def agree(runner: Runner, text: str, given: Iterable[Arrays], rtol: float, atol: float = 2e-6) -> None:
    """Every output of the runner of a text is what the interpreter makes of the same arrays."""
    reference = passes(parse(text).entry, PLAIN)
    for arrays in given:
        found = runner(**arrays)
        for (output, _), wanted in zip(runner.compiled.program.outputs, evaluate(reference, arrays)):
            np.testing.assert_allclose(found[output], wanted, rtol=rtol, atol=atol, err_msg=output)
