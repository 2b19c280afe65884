"""`lossc compile`, `lossc dump` and `lossc explain`: a program at the levels between its text and the device."""

from __future__ import annotations

import dataclasses
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lossc.compiler import Compiled
from lossc.compiler.pipeline import run_passes
from lossc.compiler.reports.traffic import bytes_needed
from lossc.compiler.rewrite import Event, Log
from lossc.ir.function import Module
from lossc.ir.printer import print_module
from lossc.ir.program_text import print_program
from lossc.reports.dump import dumped_files, fused_text, kernel_files, program_files
from lossc.reports.explain import explanation
from lossc.reports.kernels import bytes_moved, kernel_reports, traffic_ratio

from . import options
from .bundle import write_bundle
from .console import note, say, say_json
from .inputs import read_sizes
from .programs import device_to_run_on, load_module, target_of, with_gradients
from .run import gather_inputs
from .tuned import compiled_for, ready_to_run


class Level(str, Enum):
    """What `--emit` takes, from the text down."""

    lir = "lir"
    grad = "grad"
    fused = "fused"
    schedule = "schedule"
    kernels = "kernels"
    cl = "cl"


def _level(word: str) -> Level:
    known = [level.value for level in Level]
    if word not in known:
        raise typer.BadParameter(f"expected one of {', '.join(known)}, found {word!r}")
    return Level(word)


def compile(
    file: options.Program,
    bind: options.BindToTune,
    output: options.Folder = None,
    emit: Annotated[
        Level | None,
        typer.Option(
            "--emit",
            help="Print this level: cl without -o.",
            show_default=False,
            parser=_level,
            metavar=f"[{'|'.join(level.value for level in Level)}]",
        ),
    ] = None,
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.Target = None,
    strategy: options.Strategy = None,
    tune: options.Tune = None,
) -> None:
    """Compile a program to OpenCL kernels.

    Prints one level of it, or writes the kernels and how they are launched into a folder. Needs no OpenCL device.
    """
    if output is not None and emit is not None:
        raise typer.BadParameter("--emit prints one level, -o writes a folder: give one of them", param_hint="--emit")
    module = load_module(file, function)
    if emit is Level.lir:
        say(print_module(with_gradients(module, grad, wrt, of)).rstrip("\n"))
        return
    compiled = _compiled(module, grad, wrt, of, device, strategy, tune, bind)
    if output is not None:
        write_bundle(output, program_files(compiled))
    else:
        say(_text(compiled, emit or Level.cl).rstrip("\n"))


def _compiled(
    module: Module, grad: bool, wrt: str | None, of: str | None, device: str | None, strategy: str | None,
    tune: bool | None, bind: list[str],
) -> Compiled:  # fmt: skip
    """The program with the gradients that are asked for. Only `--tune` needs a device that runs, and sizes; the inputs
    that it measures with are random."""
    differentiated = with_gradients(module, grad, wrt, of)
    if not tune:
        if bind:
            raise typer.BadParameter("it gives the sizes that --tune measures at: give both", param_hint="--bind")
        return compiled_for(differentiated, target_of(device), strategy)
    chosen = device_to_run_on(device)
    arrays, sizes = gather_inputs(module, [], None, bind, 0)
    return ready_to_run(differentiated, chosen, strategy, True, arrays, sizes).levels


def _text(compiled: Compiled, level: Level) -> str:
    match level:
        case Level.grad:
            return print_module(compiled.prepared)
        case Level.fused:
            return print_module(compiled.outlined.module)
        case Level.schedule:
            return fused_text(compiled)
        case Level.kernels:
            return print_program(compiled.program)
        case _:
            return "\n".join(kernel_files(compiled).values())


def dump(
    file: options.Program,
    bind: options.BindToTune,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")],
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.Target = None,
    strategy: options.Strategy = None,
    tune: options.Tune = None,
) -> None:
    """Write a compiled program into a folder.

    Every level, the kernels, how they are launched, and why: to read, to edit, and to run with `lossc run DIR`.
    """
    module = load_module(file, function)
    compiled = _compiled(module, grad, wrt, of, device, strategy, tune, bind)
    write_bundle(output, dumped_files(compiled, output))
    note(f"begin with {output / 'index.txt'}")


def explain(
    file: options.Program,
    bind: options.BindToSee,
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.Target = None,
    strategy: options.Strategy = None,
    tune: options.Tune = None,
    json: options.Json = False,
) -> None:
    """Say what was fused, what was not, and why.

    Rewritings, fused kernels with their strategies and the reasons against others, launches, bytes moved; with --bind
    at these sizes, else where every dimension name is 1024.
    """
    module = load_module(file, function)
    compiled = _compiled(module, grad, wrt, of, device, strategy, tune, bind if tune else [])
    sizes = read_sizes(bind, module.entry)
    if json:
        say_json(_facts(compiled, sizes))
    else:
        say(explanation(compiled, given=sizes))


def _facts(compiled: Compiled, sizes: dict[str, int]) -> dict[str, object]:
    log = Log()
    run_passes(compiled.module, ("prepare",), log=log)
    return {
        "function": compiled.program.name,
        "device": dataclasses.asdict(compiled.device),
        "rewritten": [_event(event) for event in log.fired],
        "not_rewritten": [_event(event) for event in log.missed],
        "kernels": [
            {
                **dataclasses.asdict(report),
                "bytes_moved": [str(term) for term in report.bytes_moved],
                "traffic": [{"buffer": m.buffer, "why": m.why, "bytes": m.bytes} for m in report.traffic.moves],
                "traffic_ratio": report.traffic.ratio,
            }
            for report in kernel_reports(compiled, sizes)
        ],
        "kept_apart": list(compiled.outlined.refused),
        "bytes_moved": [str(term) for term in bytes_moved(compiled)],
        "bytes_needed": [str(term) for term in bytes_needed(compiled)],
        "traffic_ratio": traffic_ratio(compiled, sizes),
    }


def _event(event: Event) -> dict[str, object]:
    return {
        "pass": event.pass_name, "rule": event.rule, "equation": event.equation, "function": event.function,
        "value": event.value, "place": None if event.span is None else str(event.span), "reason": event.reason,
    }  # fmt: skip
