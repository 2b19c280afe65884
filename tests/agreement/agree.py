"""Run one case at every level and compare.

In: a `Case`, devices. Out: what disagrees, as sentences; nothing where all is well.

The reference is the interpreter on the differentiated, otherwise unchanged function, with f64 in place of every float
type: no rewrite, no rounding, no schedule and no kernel has a part in it. The bounds come from the function as it is
after all passes; for 16-bit floats from the function as written: passes must not round more often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any
from unittest import mock

import numpy as np

from lossc.compiler import Compiled, compile_module
from lossc.compiler.pipeline import run_passes
from lossc.ir.function import Function, Module, Op, Value
from lossc.ir.interp import interpret
from lossc.ir.program import Program
from lossc.ir.target import CPU_AVX512, GPU_GENERIC, DeviceInfo
from lossc.ir.types import dim_value, numpy_dtype
from lossc.runtime import memory
from lossc.runtime.device import Device, select
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import simulate

from .arguments import Kind, arguments, find_kinds
from .bounds import Bounded, evaluate_with_bounds
from .cases import AUTO, Case, Sizing

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

FLOATS = {"f16", "bf16", "f32", "f64"}
LOOSEST, LOOSEST_SHORT = 0.1, 0.5
"""How much of the largest value of an output its bound may be, and in 16 bits."""
LEAST = 0.05
"""The same for an output that is 0 everywhere."""
ROUNDING = 1e-13
"""What the float64 interpreter may leave of a 0: the gradient of a weighted mean by a weight that all share."""

MOST_F16 = float(np.finfo(np.float16).max)

SIMULATED = {"cpu": CPU_AVX512, "gpu": GPU_GENERIC}

# Nothing but what the interpreter needs: gradients taken, calls inlined.
AS_WRITTEN = ("inline", "expand", "autodiff", "inline", "expand", "drop-markers")


@dataclass
class Problem:
    """A case with its arrays and reference values, computed when first asked for."""

    case: Case

    @cached_property
    def module(self) -> Module:
        function = self.case.function()
        return Module({function.name: function})

    @cached_property
    def as_written(self) -> Module:
        return run_passes(self.module, AS_WRITTEN)

    @cached_property
    def prepared(self) -> Module:
        return run_passes(self.module, ("prepare",))

    @cached_property
    def arrays(self) -> Mapping[Sizing, Arrays]:
        """Arrays by numbers of rows and columns."""
        case = self.case
        kinds, label_limit = _kinds(_trial(case))
        ignored = dict(case.attributes).get("ignore_index")
        inputs = self.module.entry.inputs
        found: dict[Sizing, Arrays] = {}
        for sizing in case.sizings:
            rows, columns = sizing
            sizes = case.sizes(sizing)
            classes = max(1, {TRIAL.columns: columns, TRIAL.rows: rows}.get(label_limit, case.features))
            shapes = {value.name: tuple(dim_value(dim, sizes) for dim in value.type.shape) for value in inputs}
            found[sizing] = arguments(self.module.entry, shapes, kinds, case.axis, rows, classes, ignored)
        return found

    @cached_property
    def references(self) -> Mapping[Sizing, list[Array]]:
        entry = in_float64(self.as_written.entry)
        types = [value.type for value in self.module.entry.outputs]
        return {
            sizing: [
                _in_range(array, type_.dtype) for array, type_ in zip(interpret(entry, arrays), types, strict=True)
            ]
            for sizing, arrays in self.arrays.items()
        }

    @cached_property
    def prepared_values(self) -> Mapping[Sizing, list[Bounded]]:
        return {size: evaluate_with_bounds(self.prepared.entry, arrays) for size, arrays in self.arrays.items()}

    @cached_property
    def allowed(self) -> Mapping[Sizing, list[Array]]:
        """How far each output may be from its reference."""
        bounds = self.prepared_values
        if self._is_short:
            bounds = {size: evaluate_with_bounds(self.as_written.entry, arrays) for size, arrays in self.arrays.items()}
        # Twice where the middle of a bound is itself off: f64 arithmetic in the reference, casts to shorter floats.
        dtypes = {value.type.dtype for value in (*self.module.entry.inputs, *self.module.entry.outputs)}
        sides = 1 if dtypes & FLOATS == {"f32"} else 2
        return {size: [sides * bound.error_array() for bound in found] for size, found in bounds.items()}

    @property
    def _is_short(self) -> bool:
        return self.case.dtype in ("f16", "bf16")

    @lru_cache(maxsize=8)  # noqa: B019 (problems are few and short-lived)
    def compiled(self, info: DeviceInfo) -> Compiled:
        return compile_module(self.module, info, None if self.case.strategy == AUTO else self.case.strategy)

    __hash__ = object.__hash__

    # --- comparisons ---

    def check(self, executor: str) -> Iterator[str]:
        """What disagrees at one level: `passes`, `cpu` and `gpu` in the simulator, or a device by its name."""
        if executor == "passes":
            return self.check_rewrites()
        return (
            self.check_simulated(SIMULATED[executor]) if executor in SIMULATED else self.check_device(select(executor))
        )

    def check_rewrites(self) -> Iterator[str]:
        """Whether the passes kept the meaning. They fold constants in their dtype, hence round as a device may."""
        for sizing, bounds in self.prepared_values.items():
            yield from self.compare("the passes", sizing, [bound.value for bound in bounds])

    def check_simulated(self, info: DeviceInfo) -> Iterator[str]:
        program = self.compiled(info).program
        for sizing, arrays in self.arrays.items():
            found = simulate(program, arrays)
            yield from self.against_reference(f"the simulator ({info.name})", sizing, found, program)

    def check_device(self, device: Device) -> Iterator[str]:
        compiled = self.compiled(device.info)
        run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
        for sizing, arrays in self.arrays.items():
            with unwritten_memory_is_nan():
                found = run(arrays)
            yield from self.against_reference(str(device), sizing, found, compiled.program)
            again = run(arrays)
            for name, first, second in zip(_names(compiled.program), found, again, strict=True):
                if first.tobytes() != second.tobytes():
                    yield f"{device}, {_text(sizing)}: `{name}` has other bits at the second run"

    def check_bounds(self) -> Iterator[str]:
        """Which bounds anything would meet: those that are not small beside the values that they belong to. With one
        column much is 0 by itself: the softmax is 1."""
        loosest = LOOSEST_SHORT if self._is_short else LOOSEST
        for sizing, bounds in self.allowed.items():
            for name, reference, bound in zip(
                self.module.entry.names_of_outputs, self.references[sizing], bounds, strict=True
            ):
                within = np.isfinite(reference) & (min(sizing[0], sizing[1] - 1) > 0)
                if reference.dtype.kind in "iub" or not within.any():
                    continue
                largest = np.abs(reference[within]).max()
                largest = LEAST if largest < ROUNDING else largest
                share = np.max(np.broadcast_to(bound, reference.shape)[within]) / largest
                if not share <= loosest:
                    yield f"{_text(sizing)}: the bound of `{name}` is {share:.2g} of its largest value, {largest:.3g}"

    def against_reference(self, where: str, sizing: Sizing, found: list[Array], program: Program) -> Iterator[str]:
        sizes = self.case.sizes(sizing)
        types = [(numpy_dtype(type_.dtype), tuple(dim_value(dim, sizes) for dim in type_.shape))
                 for _, type_ in program.outputs]  # fmt: skip
        if [(array.dtype, array.shape) for array in found] != types:
            of_those = ", ".join(f"{array.dtype}{list(array.shape)}" for array in found)
            declared = ", ".join(f"`{name}`: {type_}" for name, type_ in program.outputs)
            yield f"{where}, {_text(sizing)}: gives {of_those or 'nothing'}, its outputs are {declared}"
            return
        yield from self.compare(where, sizing, found)

    def compare(self, where: str, sizing: Sizing, found: list[Array]) -> Iterator[str]:
        names = self.module.entry.names_of_outputs
        loss = self.references[sizing][0]
        results = zip(names, found, self.references[sizing], self.allowed[sizing], strict=True)
        for name, array, reference, allowed in results:
            if sizing[0] == 0 and array.dtype.kind not in "iub" and name != names[0] and np.isnan(loss).any():
                # The mean over nothing is 0/0. A sum over no rows times its derivative, 1/0, may be 0 or no number.
                array = np.where(np.isnan(array) & (reference == 0), 0, array)
            if self.case.dtype == "f16" and np.isinf(array).any():
                # An f16 inside is infinite before an f32 outside would be.
                beyond = np.isinf(array) & (np.abs(reference) > MOST_F16) & ((array > 0) == (reference > 0))
                array = np.where(beyond, reference, array)
            difference = _worst(array, reference, allowed)
            if difference is not None:
                yield f"{where}, {_text(sizing)}: `{name}`{difference}"


def in_float64(function: Function) -> Function:
    """The function with f64 in place of every float type, so that nothing is rounded."""
    values: dict[Value, Value] = {}

    def wide(value: Value) -> Value:
        if value not in values:
            dtype = "f64" if value.type.dtype in FLOATS else value.type.dtype
            values[value] = Value(value.name, value.type.with_dtype(dtype))
        return values[value]

    def attributes(op: Op) -> dict[str, Any]:
        return {k: "f64" if k == "dtype" and v in FLOATS else v for k, v in op.attributes.items()}

    ops = [
        Op(op.name, tuple(map(wide, op.operands)), attributes(op), tuple(map(wide, op.results))) for op in function.ops
    ]
    inputs, outputs = tuple(map(wide, function.inputs)), tuple(map(wide, function.outputs))
    return function.with_(inputs=inputs, ops=tuple(ops), outputs=outputs, params=frozenset())


@contextmanager
def unwritten_memory_is_nan() -> Iterator[None]:
    """Fresh memory holds NaN (or -1), so that an element which no kernel writes is seen."""

    def poisoned(nbytes: int) -> Array:
        block = new_block(nbytes)
        block.fill(0xFF)
        return block

    new_block = memory._new_block
    memory.POOL.clear()
    with mock.patch.object(memory, "_new_block", poisoned):
        yield


def _text(sizing: Sizing) -> str:
    return f"{sizing[0]} rows of {sizing[1]}"


def _names(program: Program) -> list[str]:
    return [name for name, _ in program.outputs]


def _in_range(array: Array, dtype: str) -> Array:
    """The array with infinities for what f16 rounds to them: all from 65520, halfway from its largest number on."""
    if dtype != "f16":
        return array
    return np.where(np.abs(array) >= MOST_F16 + 16, np.copysign(np.inf, array), array)


def _worst(found: Array, expected: Array, allowed: Array) -> str | None:
    """The element that is furthest beyond what is allowed, in words."""
    if found.dtype.kind in "iub":
        wrong = np.asarray(found != expected)
        excess = wrong.astype(np.float64)
    else:
        found = found.astype(np.float64)
        with np.errstate(all="ignore"):
            difference = np.abs(found - expected)
            same = (found == expected) | (np.isnan(found) & np.isnan(expected)) | (difference <= allowed)
            wrong = ~same
            excess = np.where(np.isfinite(difference), difference / np.maximum(allowed, 1e-300), np.inf)
    if not wrong.any():
        return None
    position = int(np.argmax(np.where(wrong, excess, -1.0)))
    index = [int(i) for i in np.unravel_index(position, found.shape)]
    values = found.reshape(-1)[position], expected.reshape(-1)[position], np.ravel(allowed)[position]
    return (f"{index} is {values[0]:.9g}, expected {values[1]:.9g}, allowed difference {values[2]:.3g} "
            f"({int(wrong.sum())} of {found.size} wrong)")  # fmt: skip


TRIAL = Case("", columns=7, rows=4, features=3)


def _trial(case: Case) -> Case:
    """The case with a small static shape, in f32."""
    small = replace(
        case, columns=TRIAL.columns, rows=1 if case.layout == "row" else TRIAL.rows, features=TRIAL.features
    )
    attributes = tuple((name, value) for name, value in case.attributes if name != "ignore_index")
    return replace(small, dtype="f32", gradient="none", strategy=AUTO, attributes=attributes)


@lru_cache(maxsize=1024)
def _kinds(trial: Case) -> tuple[Mapping[str, Kind], int]:
    sizes = (trial.columns, trial.rows, trial.features)
    return find_kinds(trial.op, trial.function(), trial.axis, [size for size in sizes if isinstance(size, int)])
