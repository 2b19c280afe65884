"""`lossc check`: is what the device computes right?

Two comparisons, both with the float64 interpreter on the program as it was written, before any rewriting: the results
and gradients of the device with those of the interpreter, and the interpreter's gradients with finite differences of
its own results, in one random direction for each input. What `stop_gradient` gives is held while an input moves: that
is the function whose gradient the program asks for. Nor do casts between floats round there: the steps are too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import typer

from lossc.compiler.functions import with_operands, without_dead
from lossc.compiler.gradient import request_module_gradients
from lossc.compiler.pipeline import run_passes
from lossc.differences import differs, relative_difference
from lossc.ir.diagnostics import LirError
from lossc.ir.frozen import frozen
from lossc.ir.function import Function, Module, Value
from lossc.ir.interp import interpret
from lossc.ir.types import dim_names, is_float

from . import options
from .console import note, say_json, say_table
from .exits import Failed
from .programs import device_to_run_on, load_module
from .run import execute, gather_inputs
from .tuned import compiled_for

DEFAULT_SIZE = 33
"""Rows for dimensions that nothing gives: two whole vectors of 16 and a rest."""
DIFFERENCE_TOLERANCE = 1e-4
STEP = 1e-5
ROUNDING = 1e-6

Arrays = dict[str, np.ndarray]


@frozen
class Finding:
    """One result of the program. `error` is the largest difference over the largest value; `difference` the same for
    a gradient and finite differences, None for what is no gradient."""

    name: str
    type: str
    error: float
    difference: float | None
    fine: bool


def check(
    file: options.Program,
    inputs: options.Inputs,
    bind: options.Bind,
    params: options.Params = None,
    random: Annotated[
        int, typer.Option("--random", metavar="SEED", min=0, help="The seed of inputs that are not given.")
    ] = 0,
    wrt: Annotated[
        str | None, typer.Option("--wrt", metavar="A,B", help="Gradients by these inputs only.", show_default=False)
    ] = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.RunDevice = None,
    strategy: options.Strategy = None,
    json: options.Json = False,
) -> None:
    """Check results and gradients of a device.

    Both are compared with float64 arithmetic on the program as it is written, and the gradients with finite
    differences. What is not given is random; dimensions get the size 33. Status 1 where something is wrong.
    """
    module = load_module(file, function)
    wanted = options.names(wrt) or [v.name for v in module.entry.inputs if is_float(v.type.dtype)]
    names = module.entry.names_of_outputs
    position = _position(module.entry, of)
    arrays, sizes = gather_inputs(module, inputs, params, [*bind, *_default_sizes(module.entry, inputs, bind)], random)
    if wanted:
        module = request_module_gradients(module, wanted, names[position])
    chosen = device_to_run_on(device)
    results = execute(compiled_for(module, chosen.info, strategy), chosen, arrays, sizes)
    findings = compare(module, position, wanted, results, arrays, sizes)
    if json:
        say_json({"device": str(chosen), "results": [vars(finding) for finding in findings]})
    else:
        note(f"checked on {chosen}")
        rows = [(f.name, f.type, f"{f.error:.1e}", "" if f.difference is None else f"{f.difference:.1e}",
                 "fine" if f.fine else "WRONG") for f in findings]  # fmt: skip
        say_table(("result", "type", "error", "finite differences", ""), rows)
        untold = [f.name for f in findings if f.difference is None and f.name in {f"grad_{name}" for name in wanted}]
        if untold:
            note(f"no finite differences for {', '.join(untold)}: a step leaves what the program or numbers allow")
    if not all(finding.fine for finding in findings):
        raise Failed


def compare(
    module: Module, position: int, wanted: list[str], results: Arrays, arrays: Arrays, sizes: Mapping[str, int]
) -> list[Finding]:
    """The results of a device beside what they should be."""
    # Nothing but what the interpreter needs: no rewriting, no simplification.
    reference = run_passes(module, ("inline", "expand", "autodiff", "inline", "expand")).entry
    expected = dict(zip(reference.names_of_outputs, interpret(reference, arrays, sizes)))
    smooth = unrounded(reference)
    slopes = expected
    if smooth is not reference:
        slopes = dict(zip(reference.names_of_outputs, interpret(smooth, arrays, sizes)))
    moved, around = held(smooth, position, arrays, sizes)
    findings = []
    for value, (name, result) in zip(reference.outputs, results.items()):
        error = relative_difference(result, expected[name])
        slope = None
        if name.startswith("grad_") and name.removeprefix("grad_") in wanted:
            slope = slope_error(moved, name.removeprefix("grad_"), slopes[name], around, sizes)
        fine = not differs(value.type.dtype, error) and (slope is None or slope <= DIFFERENCE_TOLERANCE)
        findings.append(Finding(name, str(value.type), error, slope, fine))
    return findings


def unrounded(function: Function) -> Function:
    """The function without casts from one float type to another, as the float64 interpreter can run it."""
    instead: dict[Value, Value] = {}
    ops = []
    for op in function.ops:
        operands = tuple(instead.get(operand, operand) for operand in op.operands)
        if op.name == "cast" and is_float(op.result.type.dtype) and is_float(operands[0].type.dtype):
            instead[op.result] = operands[0]
        else:
            ops.append(with_operands(op, operands))
    if not instead:
        return function
    outputs = tuple(instead.get(output, output) for output in function.outputs)
    return function.with_(ops=tuple(ops), outputs=outputs, output_names=function.names_of_outputs)


def held(function: Function, position: int, arrays: Arrays, sizes: Mapping[str, int]) -> tuple[Function, Arrays]:
    """The function of the one result, with an input for what each `stop_gradient` gives; and all its inputs."""
    stopped = [op.result for op in function.ops if op.name == "stop_gradient"]
    values = interpret(function.with_(outputs=tuple(stopped), output_names=()), arrays, sizes)
    # No name of the language has a space.
    inputs = {value: Value(f"stopped {index}", value.type) for index, value in enumerate(stopped)}
    ops = (with_operands(op, tuple(inputs.get(operand, operand) for operand in op.operands)) for op in function.ops)
    output = function.outputs[position]
    moved = function.with_(inputs=(*function.inputs, *inputs.values()), ops=tuple(ops),
                           outputs=(inputs.get(output, output),), output_names=())  # fmt: skip
    return without_dead(moved), {**arrays, **{inputs[value].name: array for value, array in zip(stopped, values)}}


def slope_error(
    function: Function, name: str, gradient: np.ndarray, arrays: Arrays, sizes: Mapping[str, int]
) -> float | None:
    """How far the derivative of the one result along a random direction is from the central difference, over the
    gradient's length.

    None where a step in that direction leaves what the program allows, such as a probability above 1, or what numbers
    can hold.
    """
    base = np.asarray(arrays[name], np.float64)
    direction = np.random.default_rng(len(name)).standard_normal(base.shape)
    step = STEP * max(1.0, float(np.abs(base).max(initial=0.0)))
    try:
        ahead, behind = (
            float(np.sum(interpret(function, {**arrays, name: base + sign * step * direction}, sizes)[0]))
            for sign in (1, -1)
        )
    except LirError:
        return None
    if not (np.isfinite(ahead) and np.isfinite(behind)):
        return None
    length = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
    # Below this the difference of two such values is rounding.
    floor = max(ROUNDING * max(abs(ahead), abs(behind)), np.finfo(np.float64).tiny)
    return abs((ahead - behind) / (2 * step) - float(np.sum(gradient * direction))) / max(length, floor)


def _position(function: Function, of: str | None) -> int:
    names = function.names_of_outputs
    if not names:
        raise LirError(f"@{function.name} returns nothing: there is nothing to check", span=function.span)
    if of is not None and of not in names:
        raise LirError(f"@{function.name} has no output `{of}`", f"outputs: {', '.join(names)}", span=function.span)
    return names.index(of) if of is not None else 0


def _default_sizes(entry: Function, inputs: list[str], bind: list[str]) -> list[str]:
    """A size for each dimension where no arrays are given that could have one."""
    if inputs:
        return []
    names = dict.fromkeys(name for v in entry.inputs for dim in v.type.shape for name in dim_names(dim))
    given = {word.partition("=")[0] for word in bind}
    return [f"{name}={DEFAULT_SIZE}" for name in names if name not in given]
