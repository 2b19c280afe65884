"""Programs compiled to be run: where it is asked for, with the choices that were the fastest when they were measured.

In: a program with its gradients, a device, arrays and sizes. Out: a compiled program, or all that running it takes,
from disk where the same was compiled before.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lossc.compiler import Compiled, compile_module
from lossc.ir.function import Module
from lossc.ir.target import DeviceInfo
from lossc.ready import Ready, ready_program
from lossc.reports.forced import unused_strategy
from lossc.runtime.device import Device
from lossc.tuning.tuned import tuned_program
from lossc.tuning.wanted import tuning_wanted

from .console import show_diagnostic


def compiled_for(module: Module, info: DeviceInfo, strategy: str | None) -> Compiled:
    """The program for a device. Says on stderr where the strategy that was asked for applies nowhere."""
    compiled = compile_module(module, info, strategy)
    _warn(compiled)
    return compiled


def ready_to_run(
    module: Module, device: Device, strategy: str | None, tune: bool | None, arrays: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
) -> Ready:  # fmt: skip
    """The program for these arrays. Where nothing was said, `LOSSC_TUNE` says whether to measure."""
    ready = ready_program(module, device, strategy)
    if strategy is not None:
        _warn(ready.levels)
    if not tuning_wanted(tune):
        return ready
    return tuned_program(ready, device, [arrays[name] for name, _ in ready.program.inputs], sizes)


def _warn(compiled: Compiled) -> None:
    finding = unused_strategy(compiled)
    if finding is not None:
        show_diagnostic(finding)
