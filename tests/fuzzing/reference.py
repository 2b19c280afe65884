"""What must come out of a function for some arrays, as far as floats of its own types can tell.

In: a function of primitives, arrays. Out: its values in float64, how far an evaluation in the declared types may be off
(`agreement.bounds`), and where it is certain what they are: a number, an infinity or NaN. That is where evaluations in
f32, with numbers below the normal range and without, and in float64 with every result moved a little, agree. A device
may round otherwise, and of two infinities that cancel for one order of a sum nothing can be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from agreement.bounds import ULPS, evaluate_with_bounds

from lossc.ir.function import Function, Op, Value
from lossc.ir.interp import bind_shapes, evaluate_op, interpret
from lossc.ir.types import is_float

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
LARGEST = 1e36
"""Of what is larger the parts of a sum may be infinite in f32."""
POLES = ("constant", "div", "log", "log1p", "pow")
"""Operations that are infinite without any overflow."""
JITTER = 2.0**-21


@dataclass(frozen=True)
class Reference:
    """For each output its value, how far it may be off, and where it is `certain` to be a number, NaN or infinite."""

    values: tuple[Array, ...]
    allowed: tuple[Array, ...]
    certain: tuple[Array, ...]

    def difference(self, index: int, found: Array, only_numbers: bool = False) -> str | None:
        """The element of an output that is furthest beyond what is allowed, in words; with `only_numbers` NaN and
        infinities of the reference may be anything."""
        value, allowed = self.values[index], self.allowed[index]
        if found.shape != value.shape:
            return f"has the shape {list(found.shape)}, not {list(value.shape)}"
        if value.dtype.kind != "f":
            wrong = np.asarray(found != value) & self.certain[index]
            excess = wrong.astype(np.float64)
        else:
            found = found.astype(np.float64)
            with np.errstate(all="ignore"):
                off = np.abs(found - value)
                excess = np.where(np.isfinite(off), off / np.maximum(allowed, 1e-300), np.inf)
                is_number = np.isfinite(value)
                same = (found == value) | (np.isnan(found) & np.isnan(value)) | (is_number & (off <= allowed))
                meant = np.where(is_number, np.isfinite(allowed) & (np.abs(value) < LARGEST), not only_numbers)
                wrong = np.asarray(~same & meant & self.certain[index])
        if not wrong.any():
            return None
        at = np.unravel_index(int(np.argmax(np.where(wrong, excess, -1.0))), wrong.shape)
        return (f"{[int(place) for place in at]} is {found[at]:.9g}, expected {value[at]:.9g}, allowed difference "
                f"{allowed[at]:.3g} ({int(wrong.sum())} of {wrong.size} wrong)")  # fmt: skip


def refer(function: Function, arrays: Arrays) -> Reference | None:
    """None where finite operands give infinite results: in another order they might not."""
    bounded = evaluate_with_bounds(function, arrays)
    single = _evaluate(function, arrays, np.float32)
    if single is None:
        return None
    others = [single, _evaluate(function, arrays, np.float32, flush=True)]
    others += [_evaluate(function, arrays, np.float64, direction) for direction in (1, -1)]
    values, allowed, certain = [], [], []
    for index, bound in enumerate(bounded):
        value, found = bound.value, [np.asarray(other[index]) for other in others if other is not None]
        values.append(value)
        if value.dtype.kind != "f":
            allowed.append(bound.error_array())
            certain.append(np.logical_and.reduce([bound.error_array() == 0, *(each == value for each in found)]))
            continue
        with np.errstate(all="ignore"):
            spread = np.max([np.abs(each.astype(np.float64) - value) for each in found], axis=0, initial=0.0)
        allowed.append(2 * bound.error_array() + np.where(np.isnan(spread), np.inf, 4 * spread))
        certain.append(np.logical_and.reduce([_kind(each) == _kind(value) for each in found]))
    return Reference(tuple(values), tuple(allowed), tuple(certain))


def is_finite_throughout(function: Function, arrays: Arrays) -> bool:
    """Whether all that is computed on the way are numbers: where they are not, some passes say more than the text."""
    values = tuple(result for op in function.ops if op.name != "constant" for result in op.results)
    found = interpret(function.with_(outputs=values, output_names=()), arrays)
    return all(np.isfinite(array).all() for array in found)


def _kind(values: Array) -> Array:
    """0 for a number, -1 and 1 for infinities, 2 for NaN."""
    return np.where(np.isnan(values), 2, np.where(np.isinf(values), np.sign(values), 0))


def _evaluate(
    function: Function, arrays: Arrays, dtype: type, direction: int = 0, flush: bool = False
) -> list[Array] | None:
    """The outputs with floats of `dtype`, each result of arithmetic moved a little in a `direction`, and 0 below the
    normal range with `flush`. None where f32 overflows.

    By the other direction each is moved the other way, and every 0 has the other sign: none is promised.
    """
    jitter = np.random.default_rng(0)
    sizes = bind_shapes(function, {name: array.shape for name, array in arrays.items()})
    known: dict[Value, Array] = {}
    for value in function.inputs:
        known[value] = arrays[value.name].astype(dtype) if is_float(value.type.dtype) else arrays[value.name]
    with np.errstate(all="ignore"):
        for op in function.ops:
            evaluate_op(op, known, sizes)
            for result in op.results:
                if not is_float(result.type.dtype):
                    continue
                found = np.asarray(known[result]).astype(dtype)
                if flush:
                    found = np.where(np.abs(found) < SMALLEST_NORMAL, np.copysign(dtype(0), found), found)
                if direction and (ULPS.get(op.name, 0) or op.name in ("reduce_sum", "matmul")):
                    moved = jitter.uniform(JITTER / 2, JITTER, found.shape) * jitter.choice([-1, 1], found.shape)
                    found = found * (1 + direction * moved)
                if direction and op.name != "constant":
                    found = np.where(found == 0, direction * 0.0, found)
                known[result] = found
                if not direction and op.name not in POLES and _overflows(op, found, known):
                    return None
    return [known[value] for value in function.outputs]


def _overflows(op: Op, found: Array, known: Mapping[Value, Array]) -> bool:
    return bool(np.isinf(found).any()) and all(np.isfinite(known[operand]).all() for operand in op.operands)
