"""Programs as commands see them: a file, which of its functions, which gradients, and for which device.

In: what stands on the command line. Out: a module whose entry is the function to work on, the facts of a device to
compile for, or a device to run on.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from lossc.compiler.gradient import request_module_gradients
from lossc.compiler.lints import find_lints
from lossc.cut import module_of
from lossc.ir.diagnostics import DeviceError, LirError, Source
from lossc.ir.drafts import file_source
from lossc.ir.function import Module
from lossc.ir.parser import load, parse
from lossc.ir.target import CPU_AVX512, PRESETS, DeviceInfo, read_device_info
from lossc.ir.types import is_float
from lossc.runtime.device import DEVICE_VARIABLE, Device, devices, select

from .console import note, show_diagnostic

STDIN = "-"


def read_source(path: str) -> Source:
    """The text of a file, or of stdin for `-`."""
    if path != STDIN:
        return file_source(Path(path))
    try:
        return Source("<stdin>", sys.stdin.buffer.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LirError(f"cannot read stdin: byte {error.start} is not UTF-8 text", code="LIR0015") from None


def load_module(path: str, function: str | None = None) -> Module:
    """The module in a file, with `function` as its entry, else the one that nobody calls. Warnings about what the
    entry needs go to stderr."""
    module = parse(read_source(path).text, "<stdin>", Path.cwd()) if path == STDIN else load(path)
    if not module.functions:
        raise LirError(f"{path!r} has no function" if path != STDIN else "stdin has no function",
                       "a program is func @f(%x: f32[B, 10]) -> (f32[1]) { ... }")  # fmt: skip
    if function is not None:
        module = Module(module.functions, function.removeprefix("@"))
    for finding in find_lints(module_of(module.entry, module.functions.values())):
        show_diagnostic(finding)
    return module


def with_gradients(module: Module, grad: bool, wrt: str | None, of: str | None) -> Module:
    """The module whose entry also returns gradients of the output `of`, else of its first one: by `wrt`, "a,b", or
    by every float input where only `grad` is asked for. They are called `grad_a`."""
    if wrt is not None:
        return request_module_gradients(module, [name.strip() for name in wrt.split(",") if name.strip()], of)
    if grad or of is not None:
        inputs = module.entry.inputs
        return request_module_gradients(module, [v.name for v in inputs if is_float(v.type.dtype)] or None, of)
    return module


def target_of(name: str | None) -> DeviceInfo:
    """The facts of the device to compile for: a preset by its name, a description in a .json file, a device of this
    machine by its own, else the one that `lossc run` would take, else the CPU preset. Compiling needs no driver."""
    asked = name if name is not None else os.environ.get(DEVICE_VARIABLE)
    preset = (asked or "").strip().replace("-", "_")
    if preset in PRESETS:
        return PRESETS[preset]
    if name is not None and name.endswith(".json"):
        return read_device_info(file_source(Path(name)).text, name)
    if asked is None or not asked.strip():
        try:
            found = devices()
        except DeviceError:
            found = []
        if not found:
            note(f"no OpenCL device was found: compiling for the preset cpu-avx512, {CPU_AVX512.name}")
            return CPU_AVX512
    try:
        return select(name).info
    except DeviceError as error:
        presets = ", ".join(preset.replace("_", "-") for preset in PRESETS)
        hint = f"compiling needs no device: there are the presets {presets}, and descriptions in .json files"
        raise DeviceError([replace(d, notes=(*d.notes, hint)) for d in error.diagnostics]) from None


def device_to_run_on(name: str | None) -> Device:
    """The device called `name`, else the one that `LOSSC_DEVICE` names, else the best."""
    asked = name if name is not None else os.environ.get(DEVICE_VARIABLE, "")
    if asked.strip().replace("-", "_") in PRESETS or (name or "").endswith(".json"):
        raise DeviceError(f"`{asked}` is a description to compile for, not a device that can run",
                          "`lossc devices` lists the devices of this machine")  # fmt: skip
    return select(name)
