"""Programs in NumPy: every launch as the kernel IR means it, with bounds and races checked. No device, no
driver.

In: a program and arrays by input name, as for a device. Out: the arrays of its outputs; or the error that a
failed check stands for. Memory that nobody wrote holds NaN, or nonsense as an integer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..ir.diagnostics import CheckFailed, CompilerBug, LirError, did_you_mean
from ..ir.failed_checks import failed_in_program
from ..ir.integers import evaluate_integer
from ..ir.program import CHECK_HOLDS, Buffer, Launch, Program, Step, Variant, choose_variant, largest_sizes, turns
from ..ir.shapes import bind_dimensions
from ..ir.types import Type, dim_value, is_integer, numpy_dtype
from .arithmetic import memory_type, poison
from .simulated_launch import simulate_kernel
from .simulated_memory import Counts

__all__ = ["Counts", "simulate", "simulate_kernel"]

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


def simulate(
    program: Program,
    inputs: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
    *,
    strategies: Mapping[str, str] | None = None,
    counts: Counts | None = None,
) -> list[Array]:
    """Run `program` and return its outputs.

    `sizes` binds dimensions that no input has. `strategies` names the strategy to take for a step, whatever
    the guards say; else the first variant whose guard holds is taken. What the launches did is added to
    `counts`, by buffer of the program. Raises LirError for a missing or ill-shaped input and for a failed
    check.
    """
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    bound = _bind(program, arrays, sizes)
    memory = _allocate(program.buffers.values(), {}, largest_sizes(program, bound))
    for (name, type_), buffer in zip(program.inputs, program.input_buffers, strict=True):
        memory[buffer][:] = _to_memory(name, arrays[name], type_)
    for turn in turns(program.step_by_step if strategies else program, bound):
        variant = _choose(turn.step, turn.sizes, (strategies or {}).get(turn.step.name))
        reachable = _allocate(variant.temporaries, memory, turn.sizes)
        for launch in variant.launches:
            there = tuple(turn.instead.get(name, name) for name in launch.buffers)
            _launch(replace(launch, buffers=there), reachable, turn.sizes, counts)
    _raise_failed_check(program, memory, bound)
    types = [type_ for _, type_ in program.outputs]
    return [_from_memory(memory[buffer], type_, bound) for type_, buffer in zip(types, program.output_buffers)]


def _bind(program: Program, arrays: Arrays, sizes: Mapping[str, int] | None) -> dict[str, int]:
    known = [name for name, _ in program.inputs]
    for name in arrays:
        if name not in known:
            raise LirError(f"no input `{name}`", *did_you_mean(name, known), f"the inputs are {', '.join(known)}")
    for name, type_ in program.inputs:
        if name not in arrays:
            raise LirError(f"missing input `{name}`: {type_}")
    return bind_dimensions(program.inputs, {name: array.shape for name, array in arrays.items()}, sizes)


def _allocate(buffers: Iterable[Buffer], known: Arrays, sizes: Mapping[str, int]) -> Arrays:
    """`known` and memory for each buffer: status words hold, the rest is poison; an alias shares."""
    declared = {buffer.name: buffer for buffer in buffers}
    memory = dict(known)
    for name, buffer in declared.items():
        if buffer.alias_of is None:
            size = evaluate_integer(buffer.size, sizes)
            status = buffer.role == "status"
            memory[name] = np.full(size, CHECK_HOLDS, np.int32) if status else poison(buffer.dtype, size)
    for name, buffer in declared.items():
        root = buffer
        while root.alias_of is not None and root.alias_of in declared:
            root = declared[root.alias_of]
        memory[name] = memory[root.alias_of or root.name][: evaluate_integer(buffer.size, sizes)]
    return memory


def _to_memory(name: str, array: Array, type_: Type) -> Array:
    """A flat array of what the buffer holds. Floats may round, integers may not change."""
    target = numpy_dtype(type_.dtype)
    if _kind(array.dtype) != _kind(target):
        raise LirError(f"input `{name}` has type {type_}, found an array of {array.dtype}",
                       f"convert it: {name}.astype({target.name!r})")  # fmt: skip
    with np.errstate(over="ignore"):
        converted = array.astype(target).reshape(-1)
    if is_integer(type_.dtype) and not np.array_equal(converted, array.reshape(-1)):
        raise LirError(f"input `{name}` has values out of range for {type_.dtype}")
    return converted.astype(memory_type(type_.dtype), copy=False)


def _kind(dtype: np.dtype[Any]) -> str:
    """The kind of number. The floats of ml_dtypes are of kind V."""
    return {"f": "float", "V": "float", "i": "integer", "u": "integer"}.get(dtype.kind, str(dtype))


def _choose(step: Step, sizes: Mapping[str, int], strategy: str | None) -> Variant:
    if strategy is None:
        return choose_variant(step.variants, sizes)
    for variant in step.variants:
        if variant.strategy == strategy:
            return variant
    offered = ", ".join(variant.strategy for variant in step.variants)
    raise CompilerBug(f"step {step.name} has no variant by strategy {strategy}", f"it has {offered}")


def _launch(launch: Launch, memory: Arrays, sizes: Mapping[str, int], counts: Counts | None) -> None:
    arguments = [argument.name for argument in launch.kernel.buffers]
    if len(arguments) != len(launch.buffers):
        raise CompilerBug(f"kernel {launch.kernel.name} takes {len(arguments)} buffers, is given {len(launch.buffers)}")
    missing = [buffer for buffer in launch.buffers if buffer not in memory]
    if missing:
        raise CompilerBug(f"kernel {launch.kernel.name} is given buffers that do not exist: {', '.join(missing)}")
    buffer_of = dict(zip(arguments, launch.buffers))
    arrays = {argument: memory[buffer] for argument, buffer in buffer_of.items()}
    scalars = {name: evaluate_integer(value, sizes) for name, value in launch.scalars.items()}
    found = simulate_kernel(launch.kernel, arrays, scalars, evaluate_integer(launch.global_size, sizes))
    if counts is not None:
        counts.add(found, buffer_of)


def _raise_failed_check(program: Program, memory: Arrays, sizes: Mapping[str, int]) -> None:
    for check in program.checks:
        (status,) = (name for name, buffer in program.buffers.items() if buffer.role == "status")
        position = int(memory[status][check.slot])
        if position != CHECK_HOLDS:
            value = None if check.value_buffer is None else memory[check.value_buffer][position]
            raise CheckFailed([failed_in_program(program, check, position, sizes, value)])


def _from_memory(array: Array, type_: Type, sizes: Mapping[str, int]) -> Array:
    shape = tuple(dim_value(dim, sizes) for dim in type_.shape)
    values = array != 0 if type_.dtype == "bool" else array.copy()
    return values.reshape(shape)
