"""`lossc opt`: run passes and look at what each does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from lossc.compiler.pipeline import PIPELINES, Step, UntilStable, help_of, pass_names, run_passes
from lossc.ir.function import Module
from lossc.ir.printer import print_module

from . import options
from .console import say, say_json, say_table, warn
from .files import check_target, write_file, write_files
from .programs import load_module, with_gradients


def opt(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .lir file; - reads stdin.")] = "",
    passes: Annotated[str, typer.Option("--passes", metavar="A,B", help="Passes and pipelines, in order.")] = "prepare",
    show: Annotated[bool, typer.Option("--list", help="List the passes and pipelines.")] = False,
    print_after_all: Annotated[
        bool, typer.Option("--print-after-all", help="Print the module after each pass, on stderr.")
    ] = False,
    dump_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a file for each pass that changed something.")
    ] = None,
    time_passes: Annotated[
        bool, typer.Option("--time-passes", help="Print how long each pass took, on stderr.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the result there.")
    ] = None,
    function: options.FunctionName = None,
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (with --list).")] = False,
) -> None:
    """Run passes on a program and print what they leave."""
    if show:
        _list(json)
        return
    if not file:
        raise typer.BadParameter("name a .lir file, or list the passes with --list", param_hint="FILE")
    if json:
        raise typer.BadParameter("goes with --list: programs are printed as LIR", param_hint="--json")
    if output is not None:
        check_target(output)
    steps = options.names(passes)
    module = with_gradients(load_module(file, function), grad, wrt, of)
    history = _History(print_after_all)
    history.texts["00-input.lir"] = print_module(module)
    result = print_module(run_passes(module, steps, history.add))
    if dump_dir is not None:
        write_files(dump_dir, history.texts)
    if output is not None:
        write_file(output, result)
    else:
        say(result.rstrip("\n"))
    if time_passes:
        _print_times(history.times)


@dataclass
class _History:
    """What the passes did: texts by file name, seconds and changes by pass."""

    prints: bool
    texts: dict[str, str] = field(default_factory=dict)
    times: list[tuple[str, float, bool]] = field(default_factory=list)

    def add(self, name: str, before: Module, after: Module, seconds: float) -> None:
        changed = after is not before
        self.times.append((name, seconds, changed))
        number = len(self.times)
        if changed:
            self.texts[f"{number:02}-{name}.lir"] = f"// after {name}\n{print_module(after)}"
        if self.prints:
            warn(f"// {number}. after {name}: {print_module(after) if changed else 'nothing changed'}")


def _print_times(times: list[tuple[str, float, bool]]) -> None:
    totals: dict[str, tuple[int, int, float]] = {}
    for name, seconds, changed in times:
        runs, changes, total = totals.get(name, (0, 0, 0.0))
        totals[name] = (runs + 1, changes + changed, total + seconds)
    rows = [(name, str(runs), str(changes), f"{total * 1e3:.2f}") for name, (runs, changes, total) in totals.items()]
    rows.append(("total", str(len(times)), "", f"{sum(seconds for _, seconds, _ in times) * 1e3:.2f}"))
    say_table(("pass", "runs", "changed", "ms"), rows, on_stderr=True)


def _list(json: bool) -> None:
    passes = {name: help_of(name) for name in pass_names()}
    pipelines = {name: ", ".join(map(_spell, steps)) for name, steps in PIPELINES.items()}
    if json:
        say_json({"passes": passes, "pipelines": pipelines})
        return
    say_table(("pass", "what it does"), list(passes.items()))
    say("")
    say_table(("pipeline", "passes"), list(pipelines.items()))


def _spell(step: Step) -> str:
    return f"({', '.join(step.passes)})*" if isinstance(step, UntilStable) else step
