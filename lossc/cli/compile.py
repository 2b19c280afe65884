"""`lossc compile`: a program down to one of its levels."""

from __future__ import annotations

from typing import Annotated

import typer

from lossc.compiler import Compiled, compile_module
from lossc.ir.kernel_printer import print_kernel, print_program
from lossc.ir.printer import print_module

from . import options
from .console import say
from .programs import load_module, target_of, with_gradients


def compile(
    file: options.Program,
    emit: Annotated[str, typer.Option("--emit", metavar="LEVEL")] = "cl",
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    function: options.FunctionName = None,
    device: options.Target = None,
    strategy: options.Strategy = None,
) -> None:
    """Compile a program and print one level of it."""
    module = with_gradients(load_module(file, function), grad, options.names(wrt))
    compiled = compile_module(module, target_of(device), strategy)
    say("\n".join(compiled.sources().values()))
