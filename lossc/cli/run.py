"""`lossc run`: a program on a device, with arrays from files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from lossc.compiler import Compiled
from lossc.ir.diagnostics import CheckFailed, CompilerBug, Diagnostic, LirError
from lossc.ir.failed_checks import message_of_check
from lossc.ir.function import Function, Module
from lossc.ir.types import Type, dim_names, dim_value, dtype_of
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable

from . import options
from .array_files import archive_bytes
from .bundle import read_dump
from .console import note, say, say_json
from .files import check_target, write_file
from .inputs import Given, bound_sizes, converted, missing_inputs, read_inputs, read_params, read_sizes
from .programs import device_to_run_on, load_module, with_gradients
from .random_inputs import bounds_of_inputs, random_array
from .tuned import ready_to_run

SHOWN_VALUES = 8
JSON_VALUES = 1000
OUTPUTS = (".npz", ".npy", ".safetensors")


def run(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A .lir file, a folder of `lossc dump`, or - for stdin.", show_default=False
        ),
    ],
    inputs: options.Inputs,
    bind: options.Bind,
    params: options.Params = None,
    random: options.Random = None,
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.RunDevice = None,
    strategy: options.Strategy = None,
    tune: options.Tune = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the results: .npz or .safetensors; .npy where there is one."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Run a program on a device.

    FILE is a program, or a folder that `lossc dump` wrote: then its kernels run as they stand there. Each input is
    given by --input, or by --params for params, or is random with --random. Prints the results in short; -o writes
    them to a file.
    """
    if output is not None:
        check_target(output, OUTPUTS)
    if os.path.isdir(file):
        if grad or wrt or of or function or strategy or tune:
            raise LirError(f"{file!r} is a compiled program: its gradients, function and strategies are fixed",
                           "give these options to lossc dump")  # fmt: skip
        chosen, results = _replay(Path(file), inputs, params, bind, random, device)
    else:
        module = load_module(file, function)
        arrays, sizes = gather_inputs(module, inputs, params, bind, random)
        chosen = device_to_run_on(device)
        ready = ready_to_run(with_gradients(module, grad, wrt, of), chosen, strategy, tune, arrays, sizes)
        results = _results(Executable(ready.program, chosen, ready.sources, ready.options), arrays, sizes)
    if output is not None:
        if output.suffix == ".npy" and len(results) != 1:
            raise LirError(f"{str(output)!r} holds one array, the program has {len(results)} results: "
                           f"{', '.join(results)}", "write an .npz file")  # fmt: skip
        write_file(output, archive_bytes(output, results))
    if json:
        say_json({"device": str(chosen), "results": [_facts(name, array) for name, array in results.items()]})
    else:
        note(f"ran on {chosen}")
        for name, array in results.items():
            say(_line(name, array))


def _replay(
    folder: Path, inputs: list[str], params: Path | None, bind: list[str], random: int | None, device: str | None
) -> tuple[Device, dict[str, np.ndarray]]:
    """Run the kernels of a dump as they stand in their files."""
    dumped = read_dump(folder)
    arrays, sizes = gather_inputs(dumped.module, inputs, params, bind, random)
    chosen = device_to_run_on(device)
    executable = Executable(dumped.program, chosen, dumped.sources, dumped.build_options)
    try:
        return chosen, _results(executable, arrays, sizes)
    except CompilerBug as error:
        # What the OpenCL compiler refuses is not lossc's text any more.
        named = [name for name in dumped.sources if re.search(rf"\b(?:kernel|void) {name}\b", str(error))]
        notes = tuple(f"the kernel is in {folder / 'kernels' / name}.cl" for name in named[-1:])
        raise LirError([replace(d, code=LirError.code, notes=(*notes, *d.notes)) for d in error.diagnostics]) from None
    except CheckFailed as error:
        raise LirError([_at_its_check(d, dumped.prepared.entry) for d in error.diagnostics]) from None


def _at_its_check(diagnostic: Diagnostic, entry: Function) -> Diagnostic:
    """A program that was read from a file has no places: they are in the text beside it."""
    places = (
        op.span
        for op in entry.ops
        if op.name == "check" and diagnostic.message.startswith(message_of_check(op.attributes))
    )
    return replace(diagnostic, span=next(places, None))


def execute(
    compiled: Compiled, device: Device, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The results by name."""
    executable = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    return _results(executable, arrays, sizes)


def _results(
    executable: Executable, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    program = executable.program
    needed = {name: arrays[name] for name, _ in program.inputs}
    return dict(zip((name for name, _ in program.outputs), executable(needed, sizes=sizes)))


def gather_inputs(
    module: Module, words: list[str], params: Path | None, bind: list[str], seed: int | None
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """An array for every input of the entry, and the size of every dimension name."""
    entry = module.entry
    given: dict[str, Given] = read_params(params, entry) if params is not None else {}
    given |= read_inputs(words, entry)
    bound = read_sizes(bind, entry)
    arrays = converted(entry, given)
    sizes = bound_sizes(entry, arrays, bound, given)
    missing = [value for value in entry.inputs if value.name not in arrays]
    if missing and seed is None:
        raise missing_inputs(missing)
    if missing:
        assert seed is not None
        arrays |= _random(module, seed, sizes, [value.name for value in missing])
    return arrays, sizes


def _random(module: Module, seed: int, sizes: Mapping[str, int], names: list[str]) -> dict[str, np.ndarray]:
    values = [value for value in module.entry.inputs if value.name in names]
    _refuse_unbound(module.entry, sizes)
    bounds = bounds_of_inputs(module, sizes)
    arrays = {}
    for value in values:
        try:
            arrays[value.name], how = random_array(value, bounds[value.name], sizes, seed)
        except MemoryError:
            shape = tuple(dim_value(dim, sizes) for dim in value.type.shape)
            raise LirError(f"not enough memory for random values of `{value.name}`: {Type(value.type.dtype, shape)}",
                           "bind smaller sizes", span=value.span) from None  # fmt: skip
        note(f"input `{value.name}`: {value.type} is random, {how}")
    return arrays


def _refuse_unbound(entry: Function, sizes: Mapping[str, int]) -> None:
    for value in entry.inputs:
        unknown = [name for dim in value.type.shape for name in dim_names(dim) if name not in sizes]
        if unknown:
            raise LirError(f"nothing gives the size of {unknown[0]} in `{value.name}`: {value.type}",
                           f"bind it: --bind {unknown[0]}=32", span=value.span)  # fmt: skip


# --- results ------------------------------------------------------------------------------------------------


def _line(name: str, array: np.ndarray) -> str:
    head = f"{name}: {Type(_dtype(array), array.shape)}"
    if array.size <= SHOWN_VALUES:
        values = [str(value) if array.dtype.kind in "iub" else f"{value:.9g}" for value in array.ravel().tolist()]
        return f"{head} = {', '.join(values)}"
    return f"{head}  " + "  ".join(f"{fact} {number:.6g}" for fact, number in summary(array).items())


def _facts(name: str, array: np.ndarray) -> dict[str, Any]:
    facts = {"name": name, "dtype": _dtype(array), "shape": list(array.shape), **summary(array)}
    return {**facts, "values": array.tolist()} if array.size <= JSON_VALUES else facts


def _dtype(array: np.ndarray) -> str:
    return dtype_of(array.dtype) or str(array.dtype)


def summary(array: np.ndarray) -> dict[str, float | int]:
    """What to say of an array instead of its values."""
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    facts: dict[str, float | int] = {}
    if finite.size:
        facts = {"min": float(finite.min()), "mean": float(finite.mean()), "max": float(finite.max()),
                 "norm": float(np.linalg.norm(finite))}  # fmt: skip
    if finite.size < values.size:
        facts |= {"nan": int(np.isnan(values).sum()), "inf": int(np.isinf(values).sum())}
    return facts
